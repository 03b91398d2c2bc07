//! Local servers that still run when the interpreter exits are stopped while the Python behind them can be reached.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use pyo3::prelude::*;

use crate::local::Served;

/// The servers to stop.
static SERVERS: Mutex<Vec<Weak<Served>>> = Mutex::new(Vec::new());
/// Whether they were.
static EXITED: AtomicBool = AtomicBool::new(false);

/// Has `served` stopped at the exit, should it still run then.
pub(crate) fn register(py: Python<'_>, served: &Arc<Served>) -> PyResult<()> {
    let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    let first = servers.is_empty();
    servers.retain(|served| served.strong_count() > 0);
    servers.push(Arc::downgrade(served));
    drop(servers);
    if first {
        py.import("atexit")?.call_method1("register", (wrap_pyfunction!(stop_all, py)?,))?;
    }
    Ok(())
}

/// Stops a server that is let go of, here, where the interpreter can be left; its own drop finds nothing left to wait for.
pub(crate) fn stop_dropped(served: &Served) {
    // Once the interpreter tears itself down, a thread that leaves it is ended when it comes back.
    if !EXITED.load(Ordering::Relaxed) {
        let _ = Python::try_attach(|py| served.stop(py));
    }
}

#[pyfunction]
fn stop_all(py: Python<'_>) {
    let servers = std::mem::take(&mut *SERVERS.lock().unwrap_or_else(PoisonError::into_inner));
    EXITED.store(true, Ordering::Relaxed);
    servers.iter().filter_map(Weak::upgrade).for_each(|served| served.stop(py));
}
