//! Catalogs of a warehouse: names are looked up when a query uses them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{RecordBatch, StringArray};
use async_trait::async_trait;
use datafusion_catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion_common::DataFusionError;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::capsule;
use crate::column::quoted;
use crate::remote::{Remote, Source, in_thread};
use crate::table::WarehouseTable;

/// SQLSTATEs of a table, and of a schema or catalog, that does not exist.
const MISSING: [&str; 2] = ["42P01", "42704"];

/// One catalog; or all of them, as schemas named `catalog.schema`, for DataFusion's names have three parts.
#[derive(Debug)]
pub(crate) struct WarehouseCatalog {
    pub(crate) remote: Arc<Remote>,
    pub(crate) catalog: Option<String>,
}

impl WarehouseCatalog {
    fn list_schemas(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let arguments = PyDict::new(py);
        arguments.set_item("catalog", self.catalog.as_deref())?;
        let listed = listing(py, &self.remote, "schemas", &arguments, ["TABLE_CATALOG", "TABLE_SCHEM"])?;
        let named = listed.into_iter().map(|[catalog, schema]| match &self.catalog {
            Some(_) => schema,
            None => format!("{catalog}.{schema}"),
        });
        Ok(named.collect())
    }
}

impl CatalogProvider for WarehouseCatalog {
    fn schema_names(&self) -> Vec<String> {
        reported(|py| self.list_schemas(py))
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let (catalog, schema) = match &self.catalog {
            Some(catalog) => (catalog.as_str(), name),
            None => name.split_once('.')?,
        };
        let (catalog, schema) = (catalog.to_owned(), schema.to_owned());
        Some(Arc::new(WarehouseSchema { remote: Arc::clone(&self.remote), catalog, schema }))
    }
}

/// A schema that may or may not exist: its tables will tell.
#[derive(Debug)]
struct WarehouseSchema {
    remote: Arc<Remote>,
    catalog: String,
    schema: String,
}

impl WarehouseSchema {
    fn source(&self, table: &str) -> Source {
        let from = [&self.catalog, &self.schema, table].map(quoted).join(".");
        Source { remote: Arc::clone(&self.remote), from, parameters: None }
    }

    fn list_tables(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let arguments = PyDict::new(py);
        arguments.set_item("catalog_pattern", &self.catalog)?;
        arguments.set_item("schema_pattern", &self.schema)?;
        let listed = listing(py, &self.remote, "tables", &arguments, ["TABLE_CAT", "TABLE_SCHEM", "TABLE_NAME"])?;
        // A pattern may name others as well: `_` stands for any character.
        let is_here = |catalog: &str, schema: &str| {
            catalog.eq_ignore_ascii_case(&self.catalog) && schema.eq_ignore_ascii_case(&self.schema)
        };
        Ok(listed
            .into_iter()
            .filter(|[catalog, schema, _]| is_here(catalog, schema))
            .map(|[.., table]| table)
            .collect())
    }
}

#[async_trait]
impl SchemaProvider for WarehouseSchema {
    fn table_names(&self) -> Vec<String> {
        reported(|py| self.list_tables(py))
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let source = self.source(name);
        let described = in_thread(move |py| found(py, WarehouseTable::describe(py, source))).await?;
        Ok(described.map(|table| Arc::new(table) as Arc<dyn TableProvider>))
    }

    fn table_exist(&self, name: &str) -> bool {
        reported(|py| found(py, WarehouseTable::describe(py, self.source(name)))).is_some()
    }
}

/// Turns the error of a table that does not exist into `None`.
fn found(py: Python<'_>, described: PyResult<WarehouseTable>) -> PyResult<Option<WarehouseTable>> {
    match described {
        Ok(table) => Ok(Some(table)),
        Err(raised) => {
            let state = raised.value(py).getattr("sql_state").and_then(|state| state.extract::<Option<String>>());
            let is_missing = state.ok().flatten().is_some_and(|state| MISSING.contains(&state.as_str()));
            if is_missing { Ok(None) } else { Err(raised) }
        }
    }
}

/// Calls Python where DataFusion takes no error for an answer: it is reported as one that nobody can catch.
fn reported<T: Default>(call: impl FnOnce(Python<'_>) -> PyResult<T>) -> T {
    let answer = Python::try_attach(|py| {
        call(py).unwrap_or_else(|raised| {
            raised.write_unraisable(py, None);
            T::default()
        })
    });
    answer.unwrap_or_default()
}

/// Returns text columns of a listing of `seakernel.Metadata`.
fn listing<const N: usize>(
    py: Python<'_>,
    remote: &Remote,
    method: &str,
    arguments: &Bound<'_, PyDict>,
    names: [&str; N],
) -> PyResult<Vec<[String; N]>> {
    let listed = remote.session(py)?.call_method0("metadata")?.call_method(method, (), Some(arguments))?;
    let mut rows = Vec::new();
    for batch in capsule::import_stream(&listed)? {
        let batch = batch.map_err(|failure| PyValueError::new_err(failure.to_string()))?;
        let read = read_listing(&batch, names, &mut rows);
        read.ok_or_else(|| PyValueError::new_err(format!("the listing of {method} lacks {}", names.join(" or "))))?;
    }
    Ok(rows)
}

fn read_listing<const N: usize>(batch: &RecordBatch, names: [&str; N], rows: &mut Vec<[String; N]>) -> Option<()> {
    let columns = names.map(|name| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>()));
    if columns.contains(&None) {
        return None;
    }
    let text =
        |column: Option<&StringArray>, row| column.map(|column| column.value(row).to_owned()).unwrap_or_default();
    rows.extend((0..batch.num_rows()).map(|row| columns.map(|column| text(column, row))));
    Some(())
}
