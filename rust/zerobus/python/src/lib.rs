//! The extension module `seakernel_zerobus._seakernel_zerobus`. Conversions only; what is sent, and how, the client knows.

mod arrow;
mod config;
mod error;
mod local;
mod result;
mod runtime;
mod wrapper;

// What both extension modules must do alike: streams of batches, signals, logs, exits, forks, threads in the interpreter.
#[path = "../../../python/src/arrow_stream.rs"]
mod arrow_stream;
#[path = "../../../python/src/log_bridge.rs"]
mod log_bridge;
#[path = "../../../python/src/signals.rs"]
mod signals;
#[path = "../../../python/src/stop_at_exit.rs"]
mod stop_at_exit;
#[path = "../../../python/src/struct_slices.rs"]
mod struct_slices;
#[path = "../../../python/src/visit.rs"]
mod visit;

use pyo3::prelude::*;
use pyo3_log::Caching;

#[pymodule(gil_used = false)]
fn _seakernel_zerobus(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<config::PyWrapperConfiguration>()?;
    module.add_class::<result::PyTransmissionResult>()?;
    module.add_class::<wrapper::PyZerobusWrapper>()?;
    // Not with `add_class` and `add_function`, which would export it.
    module.setattr("_LocalZerobus", module.py().get_type::<local::PyLocalZerobus>())?;
    module.setattr("_first_buffer", wrap_pyfunction!(arrow::_first_buffer, module)?)?;
    module.setattr("_alive_tasks", wrap_pyfunction!(runtime::_alive_tasks, module)?)?;
    visit::guard_forks(module.py())?;
    let ours = ["seakernel", "seakernel_zerobus", "seakernel_zerobus_local"];
    // Target `seakernel_zerobus::call` arrives at the logger `seakernel_zerobus.call`. Levels are asked each time, so that a
    // program may configure logging whenever it likes: records are few.
    log_bridge::install(module.py(), "seakernel_zerobus", &ours, Caching::Loggers)?;
    Ok(())
}
