//! The local warehouse in Python: its server, around a SQL engine written in Python.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use seakernel_local::{
    Engine, EngineColumn, EngineOutput, EngineStatement, FaultRule, ServerOptions, SqlError, StatementParameter,
    Switches, VolumeAction, VolumeTransfer,
};

use crate::{capsule, stop_at_exit};

/// A running local warehouse; `python/seakernel/local` is its face.
#[pyclass(frozen, name = "LocalServer", module = "seakernel._seakernel")]
pub(crate) struct PyLocalServer {
    served: Arc<Served>,
}

/// A server and its engine, which must be let go of first.
pub(crate) struct Served {
    server: seakernel_local::LocalServer,
    engine: Arc<PythonEngine>,
}

impl Served {
    /// Stops the server, detached since engine threads may need the interpreter to come to their end, and releases the
    /// engine: Python's garbage collection cannot see that the server holds it, so a cycle would never be freed.
    pub(crate) fn stop(&self, py: Python<'_>) {
        py.detach(|| self.server.stop());
        let engine = self.engine.slot().take();
        drop(engine);
    }
}

#[pymethods]
impl PyLocalServer {
    #[new]
    #[pyo3(signature = (engine, *, host="127.0.0.1", port=0, access_token=None, warehouse_id=None, options_json="{}"))]
    fn new(
        py: Python<'_>,
        engine: Py<PyAny>,
        host: &str,
        port: u16,
        access_token: Option<String>,
        warehouse_id: Option<String>,
        options_json: &str,
    ) -> PyResult<Self> {
        let mut options = ServerOptions::from_json(options_json).map_err(value_error)?;
        options.host = host
            .parse::<IpAddr>()
            .map_err(|_| PyValueError::new_err(format!("`host` is `{host}`; expected an IP address")))?;
        options.port = port;
        options.access_token = access_token.unwrap_or(options.access_token);
        options.warehouse_id = warehouse_id.unwrap_or(options.warehouse_id);
        let engine = Arc::new(PythonEngine { engine: Mutex::new(Some(engine)) });
        let shared = Arc::clone(&engine);
        let server = py.detach(|| seakernel_local::LocalServer::start(options, shared))?;
        let running = Arc::new(Served { server, engine });
        stop_at_exit::register(py, &running)?;
        Ok(Self { served: running })
    }

    #[getter]
    fn address(&self) -> &str {
        self.served.server.address()
    }

    #[getter]
    fn storage_address(&self) -> &str {
        self.served.server.storage_address()
    }

    #[getter]
    fn http_path(&self) -> String {
        self.served.server.http_path()
    }

    #[getter]
    fn access_token(&self) -> &str {
        self.served.server.access_token()
    }

    fn requests_json(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| serde_json::to_string(&self.served.server.requests())).map_err(runtime_error)
    }

    fn set_faults_json(&self, json: &str) -> PyResult<()> {
        self.served.server.set_faults(FaultRule::list_from_json(json).map_err(value_error)?);
        Ok(())
    }

    fn set_switches_json(&self, json: &str) -> PyResult<()> {
        self.served.server.set_switches(Switches::from_json(json).map_err(value_error)?);
        Ok(())
    }

    fn counters_json(&self) -> PyResult<String> {
        serde_json::to_string(&self.served.server.counters()).map_err(runtime_error)
    }

    #[getter]
    fn ca_certificate_pem<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.served.server.authority_certificate().as_bytes())
    }

    #[getter]
    fn client_certificate_pem<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.served.server.client_certificate().0.as_bytes())
    }

    #[getter]
    fn client_key_pem<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.served.server.client_certificate().1.as_bytes())
    }

    fn foreign_token(&self, claims_json: &str) -> PyResult<String> {
        let claims = serde_json::from_str(claims_json).map_err(value_error)?;
        Ok(self.served.server.foreign_token(claims)?)
    }

    fn revoke_tokens(&self) {
        self.served.server.revoke_tokens();
    }

    fn revoke_refresh_tokens(&self) {
        self.served.server.revoke_refresh_tokens();
    }

    fn stop(&self, py: Python<'_>) {
        self.served.stop(py);
    }

    fn __repr__(&self) -> String {
        format!("LocalServer(address='{}')", self.served.server.address())
    }
}

impl Drop for PyLocalServer {
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

/// A Python object with `open_session`, `close_session`, `execute` and `cancel`, see `seakernel.local.engine`.
struct PythonEngine {
    /// Empty once the server has stopped. The lock is held for no longer than a copy of the reference takes.
    engine: Mutex<Option<Py<PyAny>>>,
}

impl PythonEngine {
    fn slot(&self) -> MutexGuard<'_, Option<Py<PyAny>>> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call<R>(&self, call: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<R>) -> Result<R, SqlError> {
        let stopped = || SqlError::new("CANCELLED", "the local warehouse has stopped");
        let called = Python::try_attach(|py| {
            let engine = self.slot().as_ref().map(|engine| engine.clone_ref(py)).ok_or_else(stopped)?;
            call(engine.bind(py)).map_err(|raised| sql_error(py, &raised))
        });
        called.unwrap_or_else(|| Err(stopped()))
    }
}

impl Engine for PythonEngine {
    fn open_session(
        &self,
        session_id: &str,
        catalog: Option<&str>,
        schema: Option<&str>,
        configuration: &BTreeMap<String, String>,
    ) -> Result<(), SqlError> {
        self.call(|engine| {
            engine.call_method1("open_session", (session_id, catalog, schema, configuration.clone())).map(drop)
        })
    }

    fn close_session(&self, session_id: &str) {
        self.call(|engine| engine.call_method1("close_session", (session_id,)).map(drop))
            .unwrap_or_else(|error| log::warn!("the engine could not close session {session_id}: {error}"));
    }

    fn execute(&self, statement: EngineStatement) -> Result<EngineOutput, SqlError> {
        self.call(|engine| {
            let parameters = parameter_list(engine.py(), &statement.parameters)?;
            let result = engine.call_method1(
                "execute",
                (
                    statement.statement_id,
                    statement.session_id,
                    statement.sql,
                    parameters,
                    statement.catalog,
                    statement.schema,
                ),
            )?;
            output(&result)
        })
    }

    fn cancel(&self, statement_id: &str) {
        self.call(|engine| engine.call_method1("cancel", (statement_id,)).map(drop))
            .unwrap_or_else(|error| log::warn!("the engine could not cancel statement {statement_id}: {error}"));
    }
}

/// One dict per parameter, each with the keys `name`, `ordinal`, `type` and `value`.
fn parameter_list<'py>(py: Python<'py>, parameters: &[StatementParameter]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for parameter in parameters {
        let fields = PyDict::new(py);
        fields.set_item("name", &parameter.name)?;
        fields.set_item("ordinal", parameter.ordinal)?;
        fields.set_item("type", &parameter.type_text)?;
        fields.set_item("value", &parameter.value)?;
        list.append(fields)?;
    }
    Ok(list)
}

/// Reads `columns`, `stream` and `transfer` of the engine's result.
fn output(result: &Bound<'_, PyAny>) -> PyResult<EngineOutput> {
    let columns: Vec<(String, String)> = result.getattr("columns")?.extract()?;
    let stream = result.getattr("stream")?;
    if let Some((action, path, local_file)) = result.getattr("transfer")?.extract::<Option<(String, _, _)>>()? {
        let action = match action.as_str() {
            "PUT" => VolumeAction::Put,
            "GET" => VolumeAction::Get,
            "REMOVE" => VolumeAction::Remove,
            other => return Err(PyValueError::new_err(format!("the engine asks for the transfer `{other}`"))),
        };
        return Ok(EngineOutput::transfer(VolumeTransfer { action, path, local_file }));
    }
    if stream.is_none() {
        return Ok(EngineOutput::without_result());
    }
    let columns = columns.into_iter().map(EngineColumn::from).collect();
    Ok(EngineOutput { columns, batches: capsule::import_stream(&stream)?, volume: None })
}

/// The engine's own exceptions say what the client is to see; any other names its type and text.
fn sql_error(py: Python<'_>, raised: &PyErr) -> SqlError {
    let value = raised.value(py);
    let own = || -> PyResult<SqlError> {
        Ok(SqlError {
            message: value.getattr("message")?.extract()?,
            sql_state: value.getattr("sql_state")?.extract()?,
            error_code: value.getattr("error_code")?.extract()?,
        })
    };
    own().unwrap_or_else(|_| {
        let name = raised.get_type(py).name().map_or_else(|_| "exception".to_owned(), |name| name.to_string());
        SqlError::new("INTERNAL_ERROR", format!("{name}: {value}"))
    })
}
