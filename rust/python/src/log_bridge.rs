//! Log records to Python's `logging`.

use log::{LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;
use pyo3_log::{Caching, Logger, ResetHandle};

use crate::visit::Visit;

/// The bridge, closed when the interpreter exits.
struct Bridge {
    python: Logger,
}

/// Installs the bridge; `None` where the process has one. Of other crates than `ours` only warnings pass: each record takes
/// the GIL in an I/O thread, and their debug records name addresses.
///
/// A library prints nothing by itself: without a handler of its own, Python would write warnings of `logger` to stderr.
pub(crate) fn install(py: Python<'_>, logger: &str, ours: &[&str], caching: Caching) -> PyResult<Option<ResetHandle>> {
    let logging = py.import("logging")?;
    let silence = logging.call_method0("NullHandler")?;
    logging.call_method1("getLogger", (logger,))?.call_method1("addHandler", (silence,))?;
    let all = Logger::new(py, caching)?.filter(LevelFilter::Warn);
    let python = ours.iter().fold(all, |python, ours| python.filter_target((*ours).to_owned(), LevelFilter::Debug));
    let cache = python.reset_handle();
    // A module is initialised once per process; a second logger would mean that it already is.
    if log::set_boxed_logger(Box::new(Bridge { python })).is_err() {
        return Ok(None);
    }
    log::set_max_level(LevelFilter::Debug);
    Ok(Some(cache))
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
