//! Listings of catalogs, schemas, tables and the like.

use std::future::Future;
use std::sync::Arc;

use pyo3::prelude::*;
use seakernel::{Listing, Metadata, ParentTable};

use crate::error;
use crate::results::PyArrowTable;
use crate::runtime::{Home, Owned};

/// Asks a session's warehouse what there is.
#[pyclass(frozen, name = "Metadata", module = "seakernel._seakernel")]
pub(crate) struct PyMetadata {
    home: Home,
    metadata: Owned<Metadata>,
}

impl PyMetadata {
    pub(crate) fn new(home: &Home, session: &Arc<seakernel::Session>) -> Self {
        Self { metadata: Owned::new(home, session.metadata()), home: home.clone() }
    }

    fn metadata(&self, py: Python<'_>) -> PyResult<Metadata> {
        self.home.check(py)?;
        let gone = || error::raise(py, "InterfaceError", "Closed", "the session is closed");
        self.metadata.get().cloned().ok_or_else(gone)
    }

    fn listed(
        &self,
        py: Python<'_>,
        listing: impl Future<Output = seakernel::Result<Listing>> + Send,
    ) -> PyResult<PyArrowTable> {
        table(py, self.home.block_on(py, listing)?)
    }
}

#[pymethods]
impl PyMetadata {
    fn catalogs(&self, py: Python<'_>) -> PyResult<PyArrowTable> {
        let metadata = self.metadata(py)?;
        self.listed(py, metadata.catalogs())
    }

    #[pyo3(signature = (*, catalog=None, schema_pattern=None))]
    fn schemas(&self, py: Python<'_>, catalog: Option<&str>, schema_pattern: Option<&str>) -> PyResult<PyArrowTable> {
        let metadata = self.metadata(py)?;
        self.listed(py, metadata.schemas(catalog, schema_pattern))
    }

    #[pyo3(signature = (*, catalog_pattern=None, schema_pattern=None, table_pattern=None, table_types=None))]
    fn tables(
        &self,
        py: Python<'_>,
        catalog_pattern: Option<&str>,
        schema_pattern: Option<&str>,
        table_pattern: Option<&str>,
        table_types: Option<Vec<String>>,
    ) -> PyResult<PyArrowTable> {
        let metadata = self.metadata(py)?;
        self.listed(py, metadata.tables(catalog_pattern, schema_pattern, table_pattern, table_types.as_deref()))
    }

    #[pyo3(signature = (*, catalog=None, schema_pattern=None, table_pattern=None, column_pattern=None))]
    fn columns(
        &self,
        py: Python<'_>,
        catalog: Option<&str>,
        schema_pattern: Option<&str>,
        table_pattern: Option<&str>,
        column_pattern: Option<&str>,
    ) -> PyResult<PyArrowTable> {
        let metadata = self.metadata(py)?;
        self.listed(py, metadata.columns(catalog, schema_pattern, table_pattern, column_pattern))
    }

    #[pyo3(signature = (*, catalog, schema, table))]
    fn primary_keys(&self, py: Python<'_>, catalog: &str, schema: &str, table: &str) -> PyResult<PyArrowTable> {
        let metadata = self.metadata(py)?;
        self.listed(py, metadata.primary_keys(catalog, schema, table))
    }

    #[pyo3(signature = (
        *, foreign_catalog, foreign_schema, foreign_table, parent_catalog=None, parent_schema=None, parent_table=None
    ))]
    // The keywords are the interface.
    #[allow(clippy::too_many_arguments)]
    fn foreign_keys(
        &self,
        py: Python<'_>,
        foreign_catalog: &str,
        foreign_schema: &str,
        foreign_table: &str,
        parent_catalog: Option<&str>,
        parent_schema: Option<&str>,
        parent_table: Option<&str>,
    ) -> PyResult<PyArrowTable> {
        let metadata = self.metadata(py)?;
        let parent = ParentTable { catalog: parent_catalog, schema: parent_schema, table: parent_table };
        self.listed(py, metadata.foreign_keys(parent, foreign_catalog, foreign_schema, foreign_table))
    }

    #[pyo3(signature = (*, catalog=None, schema_pattern=None, name_pattern=None))]
    fn functions(
        &self,
        py: Python<'_>,
        catalog: Option<&str>,
        schema_pattern: Option<&str>,
        name_pattern: Option<&str>,
    ) -> PyResult<PyArrowTable> {
        let metadata = self.metadata(py)?;
        self.listed(py, metadata.functions(catalog, schema_pattern, name_pattern))
    }

    #[pyo3(signature = (*, catalog=None, schema_pattern=None, name_pattern=None))]
    fn procedures(
        &self,
        py: Python<'_>,
        catalog: Option<&str>,
        schema_pattern: Option<&str>,
        name_pattern: Option<&str>,
    ) -> PyResult<PyArrowTable> {
        let metadata = self.metadata(py)?;
        self.listed(py, metadata.procedures(catalog, schema_pattern, name_pattern))
    }

    fn table_types(&self, py: Python<'_>) -> PyResult<PyArrowTable> {
        table(py, self.metadata(py)?.table_types())
    }

    fn type_info(&self, py: Python<'_>) -> PyResult<PyArrowTable> {
        table(py, self.metadata(py)?.type_info())
    }
}

fn table(py: Python<'_>, listing: seakernel::Result<Listing>) -> PyResult<PyArrowTable> {
    let listing = listing.map_err(|failure| error::from_kernel(py, failure))?;
    Ok(PyArrowTable::new(listing.schema(), listing.batches().to_vec()))
}
