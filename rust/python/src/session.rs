//! Sessions and statements.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use seakernel::{Credentials, SessionConfig, Statement, StatementCanceller};

use crate::metadata::PyMetadata;
use crate::results::PyResultStream;
use crate::runtime::{self, Home, Owned};
use crate::{config, error, logging, params};

/// An open session on a SQL warehouse.
#[pyclass(frozen, name = "Session", module = "seakernel._seakernel")]
pub(crate) struct PySession {
    home: Home,
    session: Owned<Arc<seakernel::Session>>,
}

#[pymethods]
impl PySession {
    #[new]
    #[pyo3(signature = (
        server_hostname, http_path, access_token, *, catalog=None, schema=None, session_configuration=None,
        user_agent_entry=None, results=None, retry=None, connect_timeout_s=None, read_timeout_s=None,
    ))]
    // The keywords are the interface; a struct for them would exist for this call only.
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        server_hostname: &str,
        http_path: &str,
        access_token: &str,
        catalog: Option<String>,
        schema: Option<String>,
        session_configuration: Option<Bound<'_, PyDict>>,
        user_agent_entry: Option<String>,
        results: Option<Bound<'_, PyDict>>,
        retry: Option<Bound<'_, PyDict>>,
        connect_timeout_s: Option<Bound<'_, PyAny>>,
        read_timeout_s: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        logging::forget_levels();
        let credentials = Credentials::access_token(access_token);
        let mut session_config = SessionConfig::new(server_hostname, http_path, credentials)
            .map_err(|failure| error::from_kernel(py, failure))?;
        session_config.catalog = catalog;
        session_config.schema = schema;
        session_config.user_agent_entry = user_agent_entry;
        if let Some(parameters) = session_configuration {
            session_config.session_configuration = config::session_configuration(&parameters)?;
        }
        if let Some(options) = results {
            session_config.results = config::result_config(&options)?;
        }
        if let Some(options) = retry {
            session_config.retry = config::retry_config(&options)?;
        }
        if let Some(limit) = connect_timeout_s {
            session_config.connect_timeout = config::seconds("connect_timeout_s", &limit)?;
        }
        if let Some(limit) = read_timeout_s {
            session_config.read_timeout = config::seconds("read_timeout_s", &limit)?;
        }
        let home = Home::current(py)?;
        let session = home
            .block_on(py, seakernel::Session::open(session_config))?
            .map_err(|failure| error::from_kernel(py, failure))?;
        let session = Arc::new(session);
        runtime::close_at_exit(&session);
        Ok(Self { session: Owned::new(&home, session), home })
    }

    #[getter]
    fn session_id(&self) -> Option<String> {
        self.session.get().map(|session| session.session_id().to_owned())
    }

    #[pyo3(signature = (sql, parameters=None, row_limit=None))]
    fn statement(
        &self,
        py: Python<'_>,
        sql: &str,
        parameters: Option<Bound<'_, PyAny>>,
        row_limit: Option<i64>,
    ) -> PyResult<PyStatement> {
        self.home.check(py)?;
        let parameters = params::parameters(parameters.as_ref())?;
        let session = self.session.get().ok_or_else(|| closed(py, "session is closed"))?;
        let mut statement = parameters.into_iter().fold(session.statement(sql), Statement::bind);
        if let Some(row_limit) = row_limit {
            if row_limit < 1 {
                let message = format!("`row_limit` is {row_limit}; expected a positive integer or None");
                return Err(error::invalid_argument(py, &message));
            }
            statement = statement.row_limit(row_limit);
        }
        Ok(PyStatement {
            canceller: Owned::new(&self.home, statement.canceller()),
            statement: Mutex::new(Some(Owned::new(&self.home, statement))),
            home: self.home.clone(),
        })
    }

    #[pyo3(signature = (sql, parameters=None, row_limit=None))]
    fn execute(
        &self,
        py: Python<'_>,
        sql: &str,
        parameters: Option<Bound<'_, PyAny>>,
        row_limit: Option<i64>,
    ) -> PyResult<PyResultStream> {
        self.statement(py, sql, parameters, row_limit)?.execute(py)
    }

    fn metadata(&self, py: Python<'_>) -> PyResult<PyMetadata> {
        self.home.check(py)?;
        let session = self.session.get().ok_or_else(|| closed(py, "session is closed"))?;
        Ok(PyMetadata::new(&self.home, session))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let Some(session) = self.session.get() else { return Ok(()) };
        if self.home.is_gone() {
            return Ok(());
        }
        self.home.block_on(py, session.close())?.map_err(|failure| error::from_kernel(py, failure))
    }

    fn __repr__(&self) -> String {
        self.session_id().map_or_else(|| "Session(closed)".to_owned(), |id| format!("Session(session_id='{id}')"))
    }
}

/// A statement that was not sent yet, or is running.
#[pyclass(frozen, name = "Statement", module = "seakernel._seakernel")]
pub(crate) struct PyStatement {
    home: Home,
    /// Taken by `execute`.
    statement: Mutex<Option<Owned<Statement>>>,
    canceller: Owned<StatementCanceller>,
}

#[pymethods]
impl PyStatement {
    fn execute(&self, py: Python<'_>) -> PyResult<PyResultStream> {
        self.home.check(py)?;
        let statement = self
            .statement
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .and_then(Owned::into_inner)
            .ok_or_else(|| closed(py, "the statement was executed before; make a new one"))?;
        let stream = self
            .home
            .block_on(py, async move { statement.execute().await?.results().await })?
            .map_err(|failure| error::from_kernel(py, failure))?;
        PyResultStream::new(py, &self.home, stream)
    }

    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        self.home.check(py)?;
        let Some(canceller) = self.canceller.get() else { return Ok(()) };
        self.home.block_on(py, canceller.cancel())?.map_err(|failure| error::from_kernel(py, failure))
    }

    #[getter]
    fn statement_id(&self) -> Option<String> {
        self.canceller.get().and_then(StatementCanceller::statement_id)
    }
}

fn closed(py: Python<'_>, message: &str) -> PyErr {
    error::raise(py, "InterfaceError", "Closed", message)
}
