//! Ctrl-C, and what else handlers of signals raise, while this thread is inside our code.

use pyo3::exceptions::{PyException, PyKeyboardInterrupt};
use pyo3::prelude::*;

/// Raises what a signal handler has raised since, and what a log handler was interrupted by.
pub(crate) fn raise_pending(py: Python<'_>) -> PyResult<()> {
    raise_logged(py)?;
    py.check_signals()
}

/// Raises a Ctrl-C that came while a log handler ran in this thread; the log bridge leaves it behind as the current
/// exception. Failures of the handler are reported as such and nobody else's.
pub(crate) fn raise_logged(py: Python<'_>) -> PyResult<()> {
    match PyErr::take(py) {
        Some(raised) if raised.is_instance_of::<PyException>(py) => {
            raised.write_unraisable(py, None);
            Ok(())
        }
        Some(raised) => Err(raised),
        None => Ok(()),
    }
}

/// Has the next Python code raise `KeyboardInterrupt` where this call cannot, for an answer would be lost.
pub(crate) fn interrupt_again(py: Python<'_>, raised: &PyErr) {
    if raised.is_instance_of::<PyKeyboardInterrupt>(py) {
        // Where even this fails, the program goes on as if the key had been pressed a moment too late.
        let _ = py.import("_thread").and_then(|thread| thread.call_method0("interrupt_main"));
    }
}
