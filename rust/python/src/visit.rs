//! Visits of our code to the interpreter from whatever thread, which its exit and its forks wait for.
//!
//! A thread that the exit finds inside is unwound through frames that cannot be unwound, which ends the process. A file that
//! a log handler is just writing to has a lock that a forked child inherits taken and that nobody frees there, so that its
//! first log line would hang. Programs with one thread know nothing of the threads that log for them here.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::time;

/// Threads on their way into the interpreter or out of it. Atomics and no lock: another thread may fork.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// Threads that are forking.
static FORKS: AtomicUsize = AtomicUsize::new(0);
static CLOSED: AtomicBool = AtomicBool::new(false);
/// How long a fork waits for the threads inside, and they for the fork.
const FORK_PATIENCE: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(1);

thread_local! {
    /// In how many visits this thread is, one inside the other.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// This thread's stay; visits during a visit are one stay.
pub(crate) struct Visit;

impl Visit {
    /// Begins a visit; `None` where the interpreter is exiting.
    pub(crate) fn begin() -> Option<Self> {
        let depth = DEPTH.get();
        DEPTH.set(depth + 1);
        if depth == 0 {
            let forking = || FORKS.load(Ordering::SeqCst) > 0;
            let deadline = Instant::now() + FORK_PATIENCE;
            INSIDE.fetch_add(1, Ordering::SeqCst);
            while forking() && Instant::now() < deadline {
                INSIDE.fetch_sub(1, Ordering::SeqCst);
                // Whoever forks needs the GIL, which this thread may have.
                if Python::try_attach(|py| py.detach(|| wait_while(forking))).is_none() {
                    wait_while(forking);
                }
                INSIDE.fetch_add(1, Ordering::SeqCst);
            }
        }
        let visit = Self;
        (!CLOSED.load(Ordering::SeqCst)).then_some(visit)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth == 0 {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Imports a module that may not have been imported yet. A fork waits for it: in the child an import that another thread had
/// begun would never end.
pub(crate) fn import<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyModule>> {
    let _visit = Visit::begin();
    py.import(name)
}

/// Lets nobody in any more and waits for those inside, for `patience` at most.
pub(crate) async fn close(patience: Duration) {
    CLOSED.store(true, Ordering::SeqCst);
    let deadline = Instant::now() + patience;
    while INSIDE.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
        time::sleep(TICK).await;
    }
}

/// Keeps forks and visits apart from now on; called once.
pub(crate) fn guard_forks(py: Python<'_>) -> PyResult<()> {
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
    py.detach(|| wait_while(|| INSIDE.load(Ordering::SeqCst) > own));
}

#[pyfunction]
fn after_fork_in_parent() {
    FORKS.fetch_sub(1, Ordering::SeqCst);
}

#[pyfunction]
fn after_fork_in_child() {
    // Of the threads there were, only this one exists here.
    INSIDE.store(usize::from(DEPTH.get() > 0), Ordering::SeqCst);
    FORKS.store(0, Ordering::SeqCst);
}

fn wait_while(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + FORK_PATIENCE;
    while condition() && Instant::now() < deadline {
        thread::sleep(TICK);
    }
}
