//! The extension module `seakernel_zerobus._seakernel_zerobus`.

mod local;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
fn _seakernel_zerobus(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // Not with `add_class`, which would export it.
    module.setattr("_LocalZerobus", module.py().get_type::<local::PyLocalZerobus>())
}
