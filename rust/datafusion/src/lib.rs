//! The extension module `seakernel_datafusion._seakernel_datafusion`.
//!
//! It speaks to DataFusion through its C interface, and to warehouses through the Python objects of `seakernel`. It has
//! no runtime: its streams wait for a channel that threads of ours fill.

use std::sync::Arc;

use arrow_schema::ffi::FFI_ArrowSchema;
use datafusion_catalog::TableProvider;
use datafusion_ffi::catalog_provider::FFI_CatalogProvider;
use datafusion_ffi::table_provider::FFI_TableProvider;
use pyo3::exceptions::{PyImportError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::catalog::WarehouseCatalog;
use crate::remote::{Parameters, Remote, Source};
use crate::table::WarehouseTable;

mod capsule;
mod catalog;
mod column;
mod filter;
mod reading;
mod remote;
mod scan;
mod table;

/// The DataFusion whose C interface this is built for.
const DATAFUSION: u64 = 55;

#[pyclass(frozen, module = "seakernel_datafusion")]
struct Table {
    table: Arc<WarehouseTable>,
}

#[pymethods]
impl Table {
    #[new]
    #[pyo3(signature = (session, from_sql, parameters=None))]
    fn new(py: Python<'_>, session: Py<PyAny>, from_sql: String, parameters: Option<Py<PyAny>>) -> PyResult<Self> {
        let parameters = parameters.map(Parameters::new);
        let source = Source { remote: Remote::new(session), from: from_sql, parameters };
        Ok(Self { table: Arc::new(WarehouseTable::describe(py, source)?) })
    }

    fn __datafusion_table_provider__<'py>(&self, session: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyCapsule>> {
        check_version(session.py())?;
        let codec = capsule::session_codec(session)?;
        let table = Arc::clone(&self.table) as Arc<dyn TableProvider>;
        let provider = FFI_TableProvider::new_with_ffi_codec(table, true, None, codec);
        PyCapsule::new_with_value(session.py(), provider, c"datafusion_table_provider")
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.table.schema().as_ref());
        let schema = schema.map_err(|failure| PyValueError::new_err(failure.to_string()))?;
        PyCapsule::new_with_value(py, schema, c"arrow_schema")
    }

    fn __repr__(&self) -> String {
        format!("<Table {}>", self.table.source().from)
    }
}

#[pyclass(frozen, module = "seakernel_datafusion")]
struct Catalog {
    catalog: Arc<WarehouseCatalog>,
}

#[pymethods]
impl Catalog {
    #[new]
    #[pyo3(signature = (session, name=None))]
    fn new(session: Py<PyAny>, name: Option<String>) -> Self {
        Self { catalog: Arc::new(WarehouseCatalog { remote: Remote::new(session), catalog: name }) }
    }

    fn __datafusion_catalog_provider__<'py>(&self, session: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyCapsule>> {
        check_version(session.py())?;
        let codec = capsule::session_codec(session)?;
        let catalog = Arc::clone(&self.catalog) as Arc<dyn datafusion_catalog::CatalogProvider>;
        let provider = FFI_CatalogProvider::new_with_ffi_codec(catalog, None, codec);
        PyCapsule::new_with_value(session.py(), provider, c"datafusion_catalog_provider")
    }

    fn __repr__(&self) -> String {
        format!("<Catalog {}>", self.catalog.catalog.as_deref().unwrap_or("of all catalogs"))
    }
}

/// Fails where another DataFusion is installed, in which memory is laid out otherwise.
fn check_version(py: Python<'_>) -> PyResult<()> {
    let version: String = py.import("importlib.metadata")?.call_method1("version", ("datafusion",))?.extract()?;
    let major = version.split('.').next().and_then(|major| major.parse().ok());
    if major == Some(DATAFUSION) {
        return Ok(());
    }
    Err(PyImportError::new_err(format!(
        "datafusion {version} is installed, and seakernel-datafusion is built for {DATAFUSION}: \
         `pip install 'datafusion=={DATAFUSION}.*'`"
    )))
}

#[pymodule]
mod _seakernel_datafusion {
    #[pymodule_export]
    use super::{Catalog, Table};
}
