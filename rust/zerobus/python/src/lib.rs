//! The extension module `seakernel_zerobus._seakernel_zerobus`. Conversions only; what is sent, and how, the client knows.

mod arrow;
#[path = "../../../python/src/arrow_stream.rs"]
mod arrow_stream;
mod config;
mod error;
mod local;
mod logging;
mod result;
mod runtime;
// One tale of exits, forks and threads inside the interpreter for both extension modules.
#[path = "../../../python/src/visit.rs"]
mod visit;
mod wrapper;

use pyo3::prelude::*;

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
    logging::install(module.py())
}
