//! The extension module `seakernel._seakernel`: the kernel's face in Python. Conversions only; no protocol knowledge.

mod capsule;
mod config;
mod error;
mod local;
mod logging;
mod params;
mod results;
mod rows;
mod runtime;
mod session;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
fn _seakernel(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<local::PyLocalServer>()?;
    module.add_class::<params::PyParameter>()?;
    module.add_class::<results::PyArrowTable>()?;
    module.add_class::<results::PyColumn>()?;
    module.add_class::<results::PyResultStream>()?;
    module.add_class::<results::PyStatistics>()?;
    module.add_class::<session::PyExecutedStatement>()?;
    module.add_class::<session::PySession>()?;
    module.add_class::<session::PyStatement>()?;
    module.add_function(wrap_pyfunction!(logging::forget_log_levels, module)?)?;
    logging::install(module.py())
}
