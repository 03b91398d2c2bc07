//! Kernel log records to Python's `logging`: target `seakernel::sea` arrives at the logger `seakernel.sea`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use log::{LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;
use pyo3_log::{Caching, Logger, ResetHandle};
use tokio::time;

static CACHE: OnceLock<ResetHandle> = OnceLock::new();
/// How many threads are on their way into a log handler or out of it.
static IN_HANDLERS: AtomicUsize = AtomicUsize::new(0);
static CLOSED: AtomicBool = AtomicBool::new(false);

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

/// Lets no record in any more and waits for those inside, for `patience` at most: a thread that the exit of the
/// interpreter finds in a log handler is unwound through frames that cannot be unwound, which ends the process.
pub(crate) async fn close(patience: Duration) {
    CLOSED.store(true, Ordering::SeqCst);
    let deadline = Instant::now() + patience;
    while IN_HANDLERS.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
        time::sleep(Duration::from_millis(1)).await;
    }
}

/// Forgets threads that were in a handler when this process was forked off: they do not exist here.
pub(crate) fn forget_threads() {
    IN_HANDLERS.store(0, Ordering::SeqCst);
}

/// The bridge, with a door that can be closed.
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
        let _inside = Inside::enter();
        if !CLOSED.load(Ordering::SeqCst) {
            self.python.log(record);
        }
    }

    fn flush(&self) {}
}

struct Inside;

impl Inside {
    fn enter() -> Self {
        IN_HANDLERS.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // Not below zero, should this thread have been forked inside a handler.
        let _ = IN_HANDLERS.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |inside| inside.checked_sub(1));
    }
}
