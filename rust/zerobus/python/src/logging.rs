//! The client's log records to Python's `logging`: target `seakernel_zerobus::call` arrives at the logger
//! `seakernel_zerobus.call`.

use log::{LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;
use pyo3_log::{Caching, Logger};

use crate::visit::Visit;

/// Installs the bridge. Of other crates only warnings pass: each record takes the GIL in an I/O thread.
///
/// A library prints nothing by itself: without a handler of its own, Python would write warnings to stderr.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    let logging = py.import("logging")?;
    let silence = logging.call_method0("NullHandler")?;
    logging.call_method1("getLogger", ("seakernel_zerobus",))?.call_method1("addHandler", (silence,))?;
    // Levels are asked each time, so that a program may configure logging whenever it likes: records are few.
    let python = Logger::new(py, Caching::Loggers)?
        .filter(LevelFilter::Warn)
        .filter_target("seakernel".to_owned(), LevelFilter::Debug)
        .filter_target("seakernel_zerobus".to_owned(), LevelFilter::Debug)
        .filter_target("seakernel_zerobus_local".to_owned(), LevelFilter::Debug);
    // The module is initialised once per process; a second logger would mean that it already is.
    if log::set_boxed_logger(Box::new(Bridge { python })).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
    Ok(())
}

/// The bridge, closed when the interpreter exits.
struct Bridge {
    python: Logger,
}

impl Log for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.python.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.python.enabled(record.metadata()) {
            return;
        }
        if let Some(_visit) = Visit::begin() {
            self.python.log(record);
        }
    }

    fn flush(&self) {}
}
