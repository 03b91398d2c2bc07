//! The look-alike of the service in Python, over tables that Python has; `python/seakernel/local` is its face.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{RecordBatch, RecordBatchIterator};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use seakernel_zerobus_local::{Column, FaultRule, ServerOptions, Settings, Tables, ZerobusServer};

use crate::stop_at_exit;

/// A running look-alike of the service.
#[pyclass(frozen, name = "_LocalZerobus", module = "seakernel_zerobus._seakernel_zerobus")]
pub(crate) struct PyLocalZerobus {
    served: Arc<Served>,
}

/// A server and its tables, which must be let go of first.
pub(crate) struct Served {
    server: ZerobusServer,
    tables: Arc<PythonTables>,
}

impl Served {
    /// Stops the server, detached since its threads may need the interpreter to come to their end, and releases the
    /// tables: Python's garbage collection cannot see that the server holds them.
    pub(crate) fn stop(&self, py: Python<'_>) {
        py.detach(|| self.server.stop());
        let callables = self.tables.slot().take();
        drop(callables);
    }
}

#[pymethods]
impl PyLocalZerobus {
    #[new]
    fn new(py: Python<'_>, describe: Py<PyAny>, append: Py<PyAny>, options_json: &str) -> PyResult<Self> {
        let options = ServerOptions::from_json(options_json).map_err(value_error)?;
        let tables = Arc::new(PythonTables { callables: Mutex::new(Some((describe, append))) });
        let shared = Arc::clone(&tables) as Arc<dyn Tables>;
        let server = py.detach(|| ZerobusServer::start_with(options, shared))?;
        let running = Arc::new(Served { server, tables });
        stop_at_exit::register(py, &running)?;
        Ok(Self { served: running })
    }

    #[getter]
    fn endpoint(&self) -> &str {
        self.served.server.endpoint()
    }

    #[getter]
    fn unity_catalog_url(&self) -> &str {
        self.served.server.unity_catalog_url()
    }

    #[getter]
    fn client_id(&self) -> &str {
        self.served.server.client_id()
    }

    #[getter]
    fn client_secret(&self) -> &str {
        self.served.server.client_secret()
    }

    fn set_faults_json(&self, json: &str) -> PyResult<()> {
        self.served.server.set_faults(FaultRule::list_from_json(json).map_err(value_error)?);
        Ok(())
    }

    fn set_settings_json(&self, json: &str) -> PyResult<()> {
        self.served.server.set_settings(Settings::from_json(json).map_err(value_error)?);
        Ok(())
    }

    fn log_json(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| serde_json::to_string(&self.served.server.log())).map_err(runtime_error)
    }

    fn rows_json(&self, py: Python<'_>, table: &str) -> PyResult<String> {
        py.detach(|| serde_json::to_string(&self.served.server.rows(table))).map_err(runtime_error)
    }

    fn keys_json(&self, py: Python<'_>, table: &str, column: &str) -> PyResult<String> {
        py.detach(|| serde_json::to_string(&self.served.server.keys(table, column))).map_err(runtime_error)
    }

    fn reset(&self, py: Python<'_>) {
        py.detach(|| self.served.server.reset());
    }

    fn stop(&self, py: Python<'_>) {
        self.served.stop(py);
    }
}

impl Drop for PyLocalZerobus {
    fn drop(&mut self) {
        stop_at_exit::stop_dropped(&self.served);
    }
}

fn value_error(error: impl Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn runtime_error(error: impl Display) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

/// Two callables: `describe(name)` gives names, types and nullability of the columns or None, `append(name, rows)` adds rows
/// that have `__arrow_c_stream__`.
struct PythonTables {
    /// Empty once the server has stopped. The lock is held for no longer than a copy of the references takes.
    callables: Mutex<Option<(Py<PyAny>, Py<PyAny>)>>,
}

impl PythonTables {
    fn slot(&self) -> MutexGuard<'_, Option<(Py<PyAny>, Py<PyAny>)>> {
        self.callables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call<R>(&self, call: impl FnOnce(Python<'_>, &(Py<PyAny>, Py<PyAny>)) -> PyResult<R>) -> Result<R, String> {
        let stopped = || "the server has stopped".to_owned();
        let called = Python::try_attach(|py| {
            let copied = self.slot().as_ref().map(|(describe, append)| (describe.clone_ref(py), append.clone_ref(py)));
            call(py, &copied.ok_or_else(stopped)?).map_err(|raised| raised.value(py).to_string())
        });
        called.unwrap_or_else(|| Err(stopped()))
    }
}

impl Tables for PythonTables {
    fn describe(&self, name: &str) -> Result<Option<Vec<Column>>, String> {
        let columns = self.call(|py, (describe, _)| {
            describe.bind(py).call1((name,))?.extract::<Option<Vec<(String, String, bool)>>>()
        })?;
        let column = |(name, type_text, nullable)| Column { name, type_text, nullable };
        Ok(columns.map(|columns| columns.into_iter().map(column).collect()))
    }

    fn append(&self, name: &str, rows: &RecordBatch) -> Result<(), String> {
        let rows = PyRows { batch: rows.clone() };
        self.call(|py, (_, append)| append.bind(py).call1((name, rows)).map(drop))
    }
}

/// A batch on its way into a table.
#[pyclass(frozen, name = "_Rows", module = "seakernel_zerobus._seakernel_zerobus")]
struct PyRows {
    batch: RecordBatch,
}

#[pymethods]
impl PyRows {
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // Casts are left to the consumer, which the interface allows.
        let _ = requested_schema;
        let reader = RecordBatchIterator::new([Ok(self.batch.clone())], self.batch.schema());
        PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(reader)), c"arrow_array_stream")
    }
}
