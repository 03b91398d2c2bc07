//! The extension module `seakernel._seakernel`, and nothing but it.
//!
//! What is linked as one is optimised as one, at the level of the crate that is linked. So this one is built for speed, for
//! the decoder's sake, and the binding for size.

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
fn _seakernel(module: &Bound<'_, PyModule>) -> PyResult<()> {
    seakernel_binding::register(module)
}
