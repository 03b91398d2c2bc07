//! Kernel log records to Python's `logging`: target `seakernel::sea` arrives at the logger `seakernel.sea`.

use std::sync::OnceLock;

use pyo3::prelude::*;
use pyo3_log::{Caching, ResetHandle};

use crate::log_bridge;

static CACHE: OnceLock<ResetHandle> = OnceLock::new();

pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    let ours = ["seakernel", "seakernel_local"];
    if let Some(cache) = log_bridge::install(py, "seakernel", &ours, Caching::LoggersAndLevels)? {
        let _ = CACHE.set(cache);
    }
    Ok(())
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
