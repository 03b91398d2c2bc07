//! The extension module `seakernel_zerobus._seakernel_zerobus`.

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
fn _seakernel_zerobus(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
