//! Sessions and statements.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use seakernel::{
    Credentials, ExecutedStatement, SessionConfig, Statement, StatementCanceller, StatementState, VolumeOperation,
};

use crate::future::GRACE;
use crate::metadata::PyMetadata;
use crate::observer::{Event, Watch};
use crate::partitions::{PyPartitionStream, partition_config};
use crate::results::{Opened, PyResultStream};
use crate::runtime::{self, Home, Owned};
use crate::volumes::PyVolumeOperation;
use crate::{config, error, future, logging, params, sign_in};

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
        server_hostname, http_path, access_token=None, *, auth=None, catalog=None, schema=None,
        session_configuration=None, user_agent_entry=None, results=None, retry=None, requests=None, tls=None, proxy=None,
        connect_timeout_s=None, read_timeout_s=None,
    ))]
    // The keywords are the interface; a struct for them would exist for this call only.
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        server_hostname: &str,
        http_path: &str,
        access_token: Option<&str>,
        auth: Option<Bound<'_, PyAny>>,
        catalog: Option<String>,
        schema: Option<String>,
        session_configuration: Option<Bound<'_, PyDict>>,
        user_agent_entry: Option<String>,
        results: Option<Bound<'_, PyDict>>,
        retry: Option<Bound<'_, PyDict>>,
        requests: Option<Bound<'_, PyDict>>,
        tls: Option<Bound<'_, PyDict>>,
        proxy: Option<Bound<'_, PyAny>>,
        connect_timeout_s: Option<Bound<'_, PyAny>>,
        read_timeout_s: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let home = Home::current(py)?;
        let config = session_config(
            &home,
            sign_in::credentials(py, access_token, auth.as_ref(), None)?,
            server_hostname,
            http_path,
            catalog,
            schema,
            session_configuration,
            user_agent_entry,
            results,
            retry,
            requests,
            tls,
            proxy,
            connect_timeout_s,
            read_timeout_s,
        )?;
        let session = home.call(py, seakernel::Session::open(config))?;
        Ok(Self::opened(&home, session))
    }

    #[staticmethod]
    #[pyo3(signature = (
        server_hostname, http_path, access_token=None, *, auth=None, catalog=None, schema=None,
        session_configuration=None, user_agent_entry=None, results=None, retry=None, requests=None, tls=None, proxy=None,
        connect_timeout_s=None, read_timeout_s=None,
    ))]
    // The keywords are the interface; a struct for them would exist for this call only.
    #[allow(clippy::too_many_arguments)]
    fn open_async<'py>(
        py: Python<'py>,
        server_hostname: &str,
        http_path: &str,
        access_token: Option<&str>,
        auth: Option<Bound<'_, PyAny>>,
        catalog: Option<String>,
        schema: Option<String>,
        session_configuration: Option<Bound<'_, PyDict>>,
        user_agent_entry: Option<String>,
        results: Option<Bound<'_, PyDict>>,
        retry: Option<Bound<'_, PyDict>>,
        requests: Option<Bound<'_, PyDict>>,
        tls: Option<Bound<'_, PyDict>>,
        proxy: Option<Bound<'_, PyAny>>,
        connect_timeout_s: Option<Bound<'_, PyAny>>,
        read_timeout_s: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let home = Home::current(py)?;
        let event_loop = future::running_loop(py)?.unbind();
        let config = session_config(
            &home,
            sign_in::credentials(py, access_token, auth.as_ref(), Some(event_loop))?,
            server_hostname,
            http_path,
            catalog,
            schema,
            session_configuration,
            user_agent_entry,
            results,
            retry,
            requests,
            tls,
            proxy,
            connect_timeout_s,
            read_timeout_s,
        )?;
        let opening = seakernel::Session::open(config);
        // A session that the server has opened must be known here to be closed.
        home.clone().future(py, GRACE, opening, move |py, session| Self::opened(&home, session).into_py_any(py))
    }

    #[getter]
    fn session_id(&self) -> Option<String> {
        self.session.get().map(|session| session.session_id())
    }

    #[pyo3(signature = (sql, parameters=None, row_limit=None, query_tags=None, timeout_s=None))]
    fn statement(
        &self,
        py: Python<'_>,
        sql: &str,
        parameters: Option<Bound<'_, PyAny>>,
        row_limit: Option<i64>,
        query_tags: Option<Vec<(String, Option<String>)>>,
        timeout_s: Option<Bound<'_, PyAny>>,
    ) -> PyResult<PyStatement> {
        let session = self.here(py)?;
        let (sql, parameters) = params::bound(sql, parameters.as_ref())?;
        let mut statement = parameters.into_iter().fold(session.statement(&sql), Statement::bind);
        if let Some(row_limit) = row_limit {
            if row_limit < 1 {
                let message = format!("`row_limit` is {row_limit}; expected a positive integer or None");
                return Err(error::invalid_argument(py, &message));
            }
            statement = statement.row_limit(row_limit);
        }
        for (key, value) in query_tags.unwrap_or_default() {
            statement = statement.query_tag(&key, value.as_deref());
        }
        if let Some(limit) = timeout_s {
            statement = statement.timeout(config::seconds("timeout_s", &limit)?);
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
        self.statement(py, sql, parameters, row_limit, None, None)?.execute(py, None)
    }

    fn attach(&self, py: Python<'_>, statement_id: &str) -> PyResult<PyExecutedStatement> {
        let executed = self.home.call(py, self.here(py)?.attach(statement_id))?;
        Ok(PyExecutedStatement::new(&self.home, executed))
    }

    fn attach_async<'py>(&self, py: Python<'py>, statement_id: String) -> PyResult<Bound<'py, PyAny>> {
        let (home, session) = (self.home.clone(), Arc::clone(self.here(py)?));
        let attaching = async move { session.attach(&statement_id).await };
        self.home.future(py, Duration::ZERO, attaching, move |py, executed| {
            PyExecutedStatement::new(&home, executed).into_py_any(py)
        })
    }

    #[pyo3(signature = (sql, result=None))]
    fn volume_operation(
        &self,
        py: Python<'_>,
        sql: Option<String>,
        result: Option<Bound<'_, PyResultStream>>,
    ) -> PyResult<PyVolumeOperation> {
        let session = self.here(py)?;
        let operation = match (result, sql) {
            (Some(result), sql) => {
                let results = result.get().take_live(py)?;
                self.home.call(py, VolumeOperation::of_results(session, results, sql))?
            }
            (None, Some(sql)) => self.home.call(py, VolumeOperation::ask(session, &sql))?,
            (None, None) => return Err(error::invalid_argument(py, "neither `sql` nor `result` is given")),
        };
        Ok(PyVolumeOperation::new(&self.home, operation))
    }

    fn metadata(&self, py: Python<'_>) -> PyResult<PyMetadata> {
        Ok(PyMetadata::new(&self.home, self.here(py)?))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let Some(session) = self.session.get() else { return Ok(()) };
        if self.home.is_gone() {
            return Ok(());
        }
        self.home.call(py, session.close())
    }

    fn close_async<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(session) = self.session.get() else { return Ok(None) };
        if self.home.is_gone() {
            return Ok(None);
        }
        let session = Arc::clone(session);
        nothing(&self.home, py, Duration::MAX, async move { session.close().await }).map(Some)
    }

    fn __repr__(&self) -> String {
        self.session_id().map_or_else(|| "Session(closed)".to_owned(), |id| format!("Session(session_id='{id}')"))
    }
}

impl PySession {
    fn opened(home: &Home, session: seakernel::Session) -> Self {
        let session = Arc::new(session);
        runtime::close_at_exit(&session);
        Self { session: Owned::new(home, session), home: home.clone() }
    }

    /// Returns the session with its home, for what is done in it elsewhere.
    pub(crate) fn shared(&self, py: Python<'_>) -> PyResult<(Home, Arc<seakernel::Session>)> {
        Ok((self.home.clone(), Arc::clone(self.here(py)?)))
    }

    fn here(&self, py: Python<'_>) -> PyResult<&Arc<seakernel::Session>> {
        self.home.check(py)?;
        self.session.get().ok_or_else(|| closed(py, "session is closed"))
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
    #[pyo3(signature = (observer=None))]
    fn execute(&self, py: Python<'_>, observer: Option<Py<PyAny>>) -> PyResult<PyResultStream> {
        let statement = self.take(py)?;
        let mut watch = Watch::new();
        let look = |py: Python<'_>| match &observer {
            Some(observer) => watch.look(py, &self.home, observer, || None),
            None => Ok(()),
        };
        let executed = async move { statement.execute().await?.results().await };
        let executed = self.home.block_on_watched(py, executed, look);
        match executed.and_then(|stream| stream.map_err(|failure| error::from_kernel(py, failure))) {
            Ok(stream) => {
                let result = PyResultStream::new(py, &self.home, stream, observer)?;
                result.opened(py, &watch);
                Ok(result)
            }
            Err(raised) => {
                if let Some(observer) = &observer {
                    watch.end(py, &self.home, observer, None, Event::Failed);
                }
                Err(raised)
            }
        }
    }

    fn submit(&self, py: Python<'_>) -> PyResult<PyExecutedStatement> {
        let statement = self.take(py)?;
        let executed = self.home.call(py, statement.submit())?;
        Ok(PyExecutedStatement::new(&self.home, executed))
    }

    #[pyo3(signature = (target_bytes=134_217_728, ordered=false, links=false, sign_in=None, lease_s=None))]
    fn partitions(
        &self,
        py: Python<'_>,
        target_bytes: u64,
        ordered: bool,
        links: bool,
        sign_in: Option<String>,
        lease_s: Option<Bound<'_, PyAny>>,
    ) -> PyResult<PyPartitionStream> {
        let cut = partition_config(py, target_bytes, ordered, links, sign_in, lease_s.as_ref())?;
        let statement = self.take(py)?;
        let stream = self.home.call(py, async move { statement.execute().await?.partitions(cut).await })?;
        PyPartitionStream::new(py, &self.home, stream)
    }

    #[pyo3(signature = (target_bytes=134_217_728, ordered=false, links=false, sign_in=None, lease_s=None))]
    fn partitions_async<'py>(
        &self,
        py: Python<'py>,
        target_bytes: u64,
        ordered: bool,
        links: bool,
        sign_in: Option<String>,
        lease_s: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let cut = partition_config(py, target_bytes, ordered, links, sign_in, lease_s.as_ref())?;
        let (home, statement) = (self.home.clone(), self.take(py)?);
        let cutting = async move { statement.execute().await?.partitions(cut).await };
        self.home.future(py, Duration::ZERO, cutting, move |py, stream| {
            PyPartitionStream::new(py, &home, stream)?.into_py_any(py)
        })
    }

    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        self.home.check(py)?;
        let Some(canceller) = self.canceller.get() else { return Ok(()) };
        if self.home.is_entered() {
            // A progress callback of the very call that is to end.
            let canceller = canceller.clone();
            tokio::spawn(async move { canceller.cancel().await });
            return Ok(());
        }
        self.home.call(py, canceller.cancel())
    }

    fn execute_async<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (home, statement) = (self.home.clone(), self.take(py)?);
        let executing = async move { Ok(Opened::with_first_rows(statement.execute().await?.results().await?).await) };
        self.home.future(py, Duration::ZERO, executing, move |py, opened| {
            PyResultStream::new(py, &home, opened, None)?.into_py_any(py)
        })
    }

    fn submit_async<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (home, statement) = (self.home.clone(), self.take(py)?);
        self.home.future(py, Duration::ZERO, statement.submit(), move |py, executed| {
            PyExecutedStatement::new(&home, executed).into_py_any(py)
        })
    }

    fn cancel_async<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.home.check(py)?;
        let canceller = self.canceller.get().cloned();
        let cancelling = async move {
            match canceller {
                Some(canceller) => canceller.cancel().await,
                None => Ok(()),
            }
        };
        nothing(&self.home, py, Duration::MAX, cancelling)
    }

    #[getter]
    fn statement_id(&self) -> Option<String> {
        self.canceller.get().and_then(StatementCanceller::statement_id)
    }

    #[getter]
    fn state(&self) -> Option<&'static str> {
        self.canceller.get().and_then(StatementCanceller::state).map(StatementState::name)
    }
}

impl PyStatement {
    /// Takes the statement, which can be sent once.
    fn take(&self, py: Python<'_>) -> PyResult<Statement> {
        self.home.check(py)?;
        let statement = self.statement.lock().unwrap_or_else(PoisonError::into_inner).take();
        statement
            .and_then(Owned::into_inner)
            .ok_or_else(|| closed(py, "the statement was executed before; make a new one"))
    }
}

/// A statement that the server has taken.
#[pyclass(frozen, weakref, name = "ExecutedStatement", module = "seakernel._seakernel")]
pub(crate) struct PyExecutedStatement {
    home: Home,
    executed: Owned<Arc<ExecutedStatement>>,
}

impl PyExecutedStatement {
    fn new(home: &Home, executed: ExecutedStatement) -> Self {
        Self { home: home.clone(), executed: Owned::new(home, Arc::new(executed)) }
    }

    fn here(&self, py: Python<'_>) -> PyResult<&Arc<ExecutedStatement>> {
        self.home.check(py)?;
        self.executed.get().ok_or_else(|| closed(py, "the statement is closed"))
    }
}

#[pymethods]
impl PyExecutedStatement {
    #[getter]
    fn statement_id(&self) -> Option<&str> {
        self.executed.get().map(|executed| executed.statement_id())
    }

    fn state(&self, py: Python<'_>) -> PyResult<&'static str> {
        self.home.call(py, self.here(py)?.state()).map(StatementState::name)
    }

    fn wait(&self, py: Python<'_>) -> PyResult<()> {
        self.home.call(py, self.here(py)?.wait())
    }

    fn results(&self, py: Python<'_>) -> PyResult<PyResultStream> {
        let stream = self.home.call(py, self.here(py)?.results())?;
        PyResultStream::new(py, &self.home, stream, None)
    }

    #[pyo3(signature = (target_bytes=134_217_728, ordered=false, links=false, sign_in=None, lease_s=None))]
    fn partitions(
        &self,
        py: Python<'_>,
        target_bytes: u64,
        ordered: bool,
        links: bool,
        sign_in: Option<String>,
        lease_s: Option<Bound<'_, PyAny>>,
    ) -> PyResult<PyPartitionStream> {
        let cut = partition_config(py, target_bytes, ordered, links, sign_in, lease_s.as_ref())?;
        let stream = self.home.call(py, self.here(py)?.partitions(cut))?;
        PyPartitionStream::new(py, &self.home, stream)
    }

    #[pyo3(signature = (target_bytes=134_217_728, ordered=false, links=false, sign_in=None, lease_s=None))]
    fn partitions_async<'py>(
        &self,
        py: Python<'py>,
        target_bytes: u64,
        ordered: bool,
        links: bool,
        sign_in: Option<String>,
        lease_s: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let cut = partition_config(py, target_bytes, ordered, links, sign_in, lease_s.as_ref())?;
        let (home, executed) = (self.home.clone(), Arc::clone(self.here(py)?));
        self.home.future(py, Duration::ZERO, async move { executed.partitions(cut).await }, move |py, stream| {
            PyPartitionStream::new(py, &home, stream)?.into_py_any(py)
        })
    }

    fn reader(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(Self::new(&self.home, self.here(py)?.reader()))
    }

    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        self.home.call(py, self.here(py)?.cancel())
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.home.is_gone() {
            return Ok(());
        }
        self.home.call(py, self.here(py)?.close())
    }

    fn keep(&self, py: Python<'_>) -> PyResult<()> {
        self.here(py)?.keep();
        Ok(())
    }

    fn state_async<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let executed = Arc::clone(self.here(py)?);
        let asking = async move { executed.state().await };
        self.home
            .future(py, Duration::ZERO, asking, |py, state| Ok(PyString::new(py, state.name()).into_any().unbind()))
    }

    fn wait_async<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let executed = Arc::clone(self.here(py)?);
        nothing(&self.home, py, Duration::ZERO, async move { executed.wait().await })
    }

    fn results_async<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (home, executed) = (self.home.clone(), Arc::clone(self.here(py)?));
        let opening = async move { Ok(Opened::with_first_rows(executed.results().await?).await) };
        self.home.future(py, Duration::ZERO, opening, move |py, opened| {
            PyResultStream::new(py, &home, opened, None)?.into_py_any(py)
        })
    }

    fn cancel_async<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let executed = Arc::clone(self.here(py)?);
        nothing(&self.home, py, Duration::MAX, async move { executed.cancel().await })
    }

    fn close_async<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.home.is_gone() {
            return Ok(None);
        }
        let executed = Arc::clone(self.here(py)?);
        nothing(&self.home, py, Duration::MAX, async move { executed.close().await }).map(Some)
    }

    fn __repr__(&self) -> String {
        format!("ExecutedStatement(statement_id='{}')", self.statement_id().unwrap_or_default())
    }
}

/// Returns the future of a call that brings nothing.
fn nothing<'py>(
    home: &Home,
    py: Python<'py>,
    grace: Duration,
    call: impl Future<Output = seakernel::Result<()>> + Send + 'static,
) -> PyResult<Bound<'py, PyAny>> {
    home.future(py, grace, call, |py, ()| Ok(py.None()))
}

/// Reads the arguments of a session.
#[allow(clippy::too_many_arguments)]
fn session_config(
    home: &Home,
    credentials: Credentials,
    server_hostname: &str,
    http_path: &str,
    catalog: Option<String>,
    schema: Option<String>,
    session_configuration: Option<Bound<'_, PyDict>>,
    user_agent_entry: Option<String>,
    results: Option<Bound<'_, PyDict>>,
    retry: Option<Bound<'_, PyDict>>,
    requests: Option<Bound<'_, PyDict>>,
    tls: Option<Bound<'_, PyDict>>,
    proxy: Option<Bound<'_, PyAny>>,
    connect_timeout_s: Option<Bound<'_, PyAny>>,
    read_timeout_s: Option<Bound<'_, PyAny>>,
) -> PyResult<SessionConfig> {
    logging::forget_levels();
    let mut session_config = SessionConfig::new(server_hostname, http_path, credentials)
        .map_err(|failure| Python::attach(|py| error::from_kernel(py, failure)))?;
    session_config.sign_ins = home.sign_ins().clone();
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
    if let Some(options) = requests {
        session_config.requests = config::request_config(&options)?;
    }
    if let Some(options) = tls {
        session_config.tls = config::tls_config(&options)?;
    }
    if let Some(proxy) = proxy {
        session_config.proxy = config::proxy_config(&proxy)?;
    }
    if let Some(limit) = connect_timeout_s {
        session_config.connect_timeout = config::seconds("connect_timeout_s", &limit)?;
    }
    if let Some(limit) = read_timeout_s {
        session_config.read_timeout = config::seconds("read_timeout_s", &limit)?;
    }
    Ok(session_config)
}

/// Reads the arguments of a session from a dict that has no others. Without a token and another sign-in it is nobody's.
pub(crate) fn config_of(
    home: &Home,
    event_loop: Option<Py<PyAny>>,
    arguments: &Bound<'_, PyDict>,
) -> PyResult<SessionConfig> {
    fn given<'py, T>(arguments: &Bound<'py, PyDict>, name: &str) -> PyResult<Option<T>>
    where
        T: for<'a> FromPyObject<'a, 'py>,
    {
        match arguments.get_item(name)?.filter(|value| !value.is_none()) {
            Some(value) => value.extract().map(Some).map_err(Into::into),
            None => Ok(None),
        }
    }
    let credentials = match (given::<String>(arguments, "access_token")?, given::<Bound<'_, PyAny>>(arguments, "auth")?)
    {
        (None, None) => Credentials::None,
        (token, auth) => sign_in::credentials(arguments.py(), token.as_deref(), auth.as_ref(), event_loop)?,
    };
    session_config(
        home,
        credentials,
        &given::<String>(arguments, "server_hostname")?.unwrap_or_default(),
        &given::<String>(arguments, "http_path")?.unwrap_or_default(),
        given(arguments, "catalog")?,
        given(arguments, "schema")?,
        given(arguments, "session_configuration")?,
        given(arguments, "user_agent_entry")?,
        given(arguments, "results")?,
        given(arguments, "retry")?,
        given(arguments, "requests")?,
        given(arguments, "tls")?,
        given(arguments, "proxy")?,
        given(arguments, "connect_timeout_s")?,
        given(arguments, "read_timeout_s")?,
    )
}

fn closed(py: Python<'_>, message: &str) -> PyErr {
    error::raise(py, "InterfaceError", "Closed", message)
}
