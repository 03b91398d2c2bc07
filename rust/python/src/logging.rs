//! Kernel log records to Python's `logging`: target `seakernel::sea` arrives at the logger `seakernel.sea`.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use log::{LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3_log::{Caching, Logger, ResetHandle};
use tokio::time;

static CACHE: OnceLock<ResetHandle> = OnceLock::new();
/// How many threads are on their way into a log handler or out of it. Atomics and no lock: another thread may fork.
static IN_HANDLERS: AtomicUsize = AtomicUsize::new(0);
/// How many threads are forking.
static FORKS: AtomicUsize = AtomicUsize::new(0);
static CLOSED: AtomicBool = AtomicBool::new(false);
/// How long a fork waits for the threads in handlers, and they for the fork.
const FORK_PATIENCE: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(1);

thread_local! {
    /// In how many handlers this thread is, one inside the other.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

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
        guard_forks(py)?;
    }
    Ok(())
}

/// Keeps forks and log handlers apart. A file that a handler is just writing to has a lock that a forked child inherits
/// taken and that nobody frees there, so that its first log line would hang. Programs with one thread know nothing of the
/// threads that log for them here.
fn guard_forks(py: Python<'_>) -> PyResult<()> {
    let hooks = PyDict::new(py);
    hooks.set_item("before", wrap_pyfunction!(before_fork, py)?)?;
    hooks.set_item("after_in_parent", wrap_pyfunction!(after_fork_in_parent, py)?)?;
    hooks.set_item("after_in_child", wrap_pyfunction!(after_fork_in_child, py)?)?;
    let os = py.import("os")?;
    if os.hasattr("register_at_fork")? {
        os.call_method("register_at_fork", (), Some(&hooks))?;
    }
    Ok(())
}

#[pyfunction]
fn before_fork(py: Python<'_>) {
    FORKS.fetch_add(1, Ordering::SeqCst);
    let own = usize::from(DEPTH.get() > 0);
    // Those inside need the GIL to leave.
    py.detach(|| wait_while(|| IN_HANDLERS.load(Ordering::SeqCst) > own));
}

#[pyfunction]
fn after_fork_in_parent() {
    FORKS.fetch_sub(1, Ordering::SeqCst);
}

#[pyfunction]
fn after_fork_in_child() {
    // Of the threads there were, only this one exists here.
    IN_HANDLERS.store(usize::from(DEPTH.get() > 0), Ordering::SeqCst);
    FORKS.store(0, Ordering::SeqCst);
}

fn wait_while(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + FORK_PATIENCE;
    while condition() && Instant::now() < deadline {
        thread::sleep(TICK);
    }
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
        time::sleep(TICK).await;
    }
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

/// This thread's stay in a log handler; handlers that log themselves are one stay.
struct Inside;

impl Inside {
    fn enter() -> Self {
        let depth = DEPTH.get();
        DEPTH.set(depth + 1);
        if depth == 0 {
            let forking = || FORKS.load(Ordering::SeqCst) > 0;
            let deadline = Instant::now() + FORK_PATIENCE;
            IN_HANDLERS.fetch_add(1, Ordering::SeqCst);
            while forking() && Instant::now() < deadline {
                IN_HANDLERS.fetch_sub(1, Ordering::SeqCst);
                // Whoever forks needs the GIL, which this thread may have.
                if Python::try_attach(|py| py.detach(|| wait_while(forking))).is_none() {
                    wait_while(forking);
                }
                IN_HANDLERS.fetch_add(1, Ordering::SeqCst);
            }
        }
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth == 0 {
            IN_HANDLERS.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
