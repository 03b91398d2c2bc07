//! Kernel log records to Python's `logging`: target `seakernel::sea` arrives at the logger `seakernel.sea`.

use std::sync::OnceLock;

use log::{LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;
use pyo3_log::{Caching, Logger, ResetHandle};

use crate::visit::Visit;

static CACHE: OnceLock<ResetHandle> = OnceLock::new();

/// Installs the bridge. Of other crates only warnings pass: each record takes the GIL in an I/O thread, and their debug
/// records name addresses.
///
/// A library prints nothing by itself: without a handler of its own, Python would write warnings to stderr.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    let logging = py.import("logging")?;
    let silence = logging.call_method0("NullHandler")?;
    logging.call_method1("getLogger", ("seakernel",))?.call_method1("addHandler", (silence,))?;
    let python = Logger::new(py, Caching::LoggersAndLevels)?
        .filter(LevelFilter::Warn)
        .filter_target("seakernel".to_owned(), LevelFilter::Debug)
        .filter_target("seakernel_local".to_owned(), LevelFilter::Debug);
    let cache = python.reset_handle();
    // The module is initialised once per process; a second logger would mean that it already is.
    if log::set_boxed_logger(Box::new(Bridge { python })).is_ok() {
        log::set_max_level(LevelFilter::Debug);
        let _ = CACHE.set(cache);
    }
    Ok(())
}

/// Forgets the levels seen so far, so that a program may configure logging after the import and before it connects.
pub(crate) fn forget_levels() {
    if let Some(cache) = CACHE.get() {
        cache.reset();
    }
}

/// The same for programs that configure logging later still.
#[pyfunction]
pub(crate) fn forget_log_levels() {
    forget_levels();
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
