//! What is in the extension module `seakernel._seakernel`, the kernel's face in Python. Conversions only; no protocol
//! knowledge.

mod arrow_parameters;
mod arrow_stream;
mod browser;
mod capsule;
mod config;
mod error;
mod future;
mod hand_off;
mod json_text;
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "an allocator")]
mod large_memory;
mod local;
mod log_bridge;
mod logging;
mod metadata;
mod observer;
mod params;
mod partitions;
mod results;
#[expect(unsafe_code, reason = "instances of a subclass of `tuple`")]
mod row_class;
mod rows;
mod runtime;
mod session;
mod sign_in;
mod signals;
mod stop_at_exit;
mod struct_slices;
mod token_callable;
mod visit;
mod volumes;

use pyo3::prelude::*;
// The entry points of the driver are symbols of this library; nothing here calls them.
#[cfg(feature = "adbc")]
use seakernel_adbc as _;

#[cfg(target_os = "linux")]
#[global_allocator]
static MEMORY: large_memory::LargeMemory = large_memory::LargeMemory::new();

/// Adds what the extension module consists of.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<arrow_parameters::PyArrowParameters>()?;
    module.add_class::<hand_off::PyIpcEncoder>()?;
    module.add_class::<local::PyLocalServer>()?;
    module.add_class::<metadata::PyMetadata>()?;
    module.add_class::<params::PyMultiRowInsert>()?;
    module.add_class::<params::PyParameter>()?;
    module.add_class::<partitions::PyPartition>()?;
    module.add_class::<partitions::PyPartitionLinks>()?;
    module.add_class::<partitions::PyPartitionStream>()?;
    module.add_class::<results::PyArrowTable>()?;
    module.add_class::<results::PyColumn>()?;
    module.add_class::<results::PyResultStream>()?;
    module.add_class::<results::PyStatistics>()?;
    module.add_class::<session::PyExecutedStatement>()?;
    module.add_class::<session::PySession>()?;
    module.add_class::<session::PyStatement>()?;
    module.add_class::<volumes::PyVolumeOperation>()?;
    // Not with `add_function`, which would export it.
    module.setattr("_alive_tasks", wrap_pyfunction!(runtime::_alive_tasks, module)?)?;
    module.setattr("_guard_exit", wrap_pyfunction!(runtime::_guard_exit, module)?)?;
    module.add_function(wrap_pyfunction!(config::environment_proxy, module)?)?;
    module.add_function(wrap_pyfunction!(hand_off::copy_batch, module)?)?;
    module.add_function(wrap_pyfunction!(hand_off::layout_head, module)?)?;
    module.add_function(wrap_pyfunction!(params::has_named_markers, module)?)?;
    module.add_function(wrap_pyfunction!(params::typed_parameters, module)?)?;
    module.add_function(wrap_pyfunction!(params::with_native_markers, module)?)?;
    module.add_function(wrap_pyfunction!(logging::forget_log_levels, module)?)?;
    visit::guard_forks(module.py())?;
    logging::install(module.py())
}
