//! Partitions of a result: descriptors, the stream that cuts them, and links from a Python callable.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::error::Error as StdError;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::IntoPyObjectExt;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCFunction, PyCapsule, PyDict, PyTuple};
use seakernel::{Error, ErrorKind, LinkBroker, Partition, PartitionConfig, PartitionLinks, PartitionStream, Result};
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_blocking;
use tokio::time;

use crate::results::{Opened, PyColumn, PyResultStream};
use crate::runtime::{Home, Owned};
use crate::session::PySession;
use crate::token_callable::Raised;
use crate::visit::{self, Visit};
use crate::{capsule, config, error, session};

/// Longest time of one call of a broker.
const BROKER_LIMIT: Duration = Duration::from_mins(2);

/// Reads the keywords of a cut.
pub(crate) fn partition_config(
    py: Python<'_>,
    target_bytes: u64,
    ordered: bool,
    links: bool,
    sign_in: Option<String>,
    lease_s: Option<&Bound<'_, PyAny>>,
) -> PyResult<PartitionConfig> {
    let Some(target_bytes) = NonZeroU64::new(target_bytes) else {
        return Err(error::invalid_argument(py, "`target_bytes` is 0; expected a positive number"));
    };
    let mut cut = PartitionConfig { target_bytes, ordered, with_links: links, sign_in, ..PartitionConfig::default() };
    if let Some(lease) = lease_s {
        cut.lease = config::seconds("lease_s", lease)?;
    }
    Ok(cut)
}

/// A run of consecutive rows of a result, to be read anywhere.
#[pyclass(frozen, name = "Partition", module = "seakernel._seakernel")]
pub(crate) struct PyPartition(Partition);

#[pymethods]
impl PyPartition {
    #[new]
    fn new(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        Partition::from_bytes(data).map(Self).map_err(|failure| error::from_kernel(py, failure))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    #[getter]
    fn statement_id(&self) -> &str {
        self.0.statement_id()
    }

    #[getter]
    fn server_hostname(&self) -> &str {
        self.0.server_hostname()
    }

    #[getter]
    fn http_path(&self) -> String {
        self.0.http_path()
    }

    #[getter]
    fn sign_in(&self) -> Option<&str> {
        self.0.sign_in()
    }

    #[getter]
    fn sequence(&self) -> Option<u64> {
        self.0.sequence()
    }

    #[getter]
    fn chunk_index(&self) -> i64 {
        self.0.chunk_index()
    }

    #[getter]
    fn row_offset(&self) -> i64 {
        self.0.row_offset()
    }

    #[getter]
    fn row_count(&self) -> i64 {
        self.0.row_count()
    }

    #[getter]
    fn byte_count(&self) -> Option<i64> {
        self.0.byte_count()
    }

    #[getter]
    fn columns<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.columns().iter().map(PyColumn::from))
    }

    #[getter]
    fn has_links(&self) -> bool {
        self.0.has_links()
    }

    #[getter]
    fn needs_no_sign_in(&self) -> bool {
        self.0.needs_no_sign_in()
    }

    #[pyo3(signature = (connection=None, *, broker=None, **options))]
    fn read<'py>(
        slf: Bound<'py, Self>,
        connection: Option<Bound<'py, PyAny>>,
        broker: Option<Bound<'py, PyAny>>,
        options: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let module = visit::import(slf.py(), "seakernel.partitions")?;
        module.call_method(intern!(slf.py(), "read"), (slf, connection, broker), options.as_ref())
    }

    #[pyo3(signature = (session=None, broker=None, arguments=None))]
    fn results(
        &self,
        py: Python<'_>,
        session: Option<&Bound<'_, PySession>>,
        broker: Option<Bound<'_, PyAny>>,
        arguments: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyResultStream> {
        let (home, opening) = self.opening(py, session, broker, arguments, None)?;
        let stream = home.call(py, opening)?;
        PyResultStream::new(py, &home, stream, None)
    }

    #[pyo3(signature = (session=None, broker=None, arguments=None))]
    fn results_async<'py>(
        &self,
        py: Python<'py>,
        session: Option<&Bound<'py, PySession>>,
        broker: Option<Bound<'py, PyAny>>,
        arguments: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let event_loop = Some(crate::future::running_loop(py)?.unbind());
        let (home, opening) = self.opening(py, session, broker, arguments, event_loop)?;
        let opening = async move { Ok(Opened::with_first_rows(opening.await?).await) };
        home.clone().future(py, Duration::ZERO, opening, move |py, opened| {
            PyResultStream::new(py, &home, opened, None)?.into_py_any(py)
        })
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        capsule::schema_capsule(py, &self.0.schema())
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> (Bound<'py, pyo3::types::PyType>, (Bound<'py, PyBytes>,)) {
        (py.get_type::<Self>(), (self.to_bytes(py),))
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.0.statement_id(), self.0.row_offset()).hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        let sequence = self.0.sequence().map(|sequence| format!("sequence={sequence}, ")).unwrap_or_default();
        let secret = if self.0.has_links() { ", secret links" } else { "" };
        format!(
            "Partition({sequence}statement_id='{}', row_offset={}, row_count={}{secret})",
            self.0.statement_id(),
            self.0.row_offset(),
            self.0.row_count(),
        )
    }
}

impl PyPartition {
    /// Returns what opens the rows: in a session, with links of a broker, or with a sign-in of its own.
    fn opening(
        &self,
        py: Python<'_>,
        session: Option<&Bound<'_, PySession>>,
        broker: Option<Bound<'_, PyAny>>,
        arguments: Option<&Bound<'_, PyDict>>,
        event_loop: Option<Py<PyAny>>,
    ) -> PyResult<(Home, Opening)> {
        let partition = self.0.clone();
        if let Some(session) = session {
            let (home, session) = session.get().shared(py)?;
            return Ok((home, Box::pin(async move { partition.results_in(&session).await })));
        }
        let home = Home::current(py)?;
        let empty = PyDict::new(py);
        let config = session::config_of(&home, event_loop, arguments.unwrap_or(&empty))?;
        Ok(match broker {
            Some(broker) => {
                let broker: Arc<dyn LinkBroker> = Arc::new(PythonBroker { callable: Arc::new(broker.unbind()) });
                (home, Box::pin(async move { partition.results_through(broker, config).await }))
            }
            None => (home, Box::pin(async move { partition.results(config).await })),
        })
    }
}

/// Presigned links to the rows of a partition.
#[pyclass(frozen, name = "PartitionLinks", module = "seakernel._seakernel")]
pub(crate) struct PyPartitionLinks(PartitionLinks);

#[pymethods]
impl PyPartitionLinks {
    #[new]
    fn new(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        PartitionLinks::from_bytes(data).map(Self).map_err(|failure| error::from_kernel(py, failure))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    #[getter]
    fn seconds_left(&self) -> Option<f64> {
        self.0.seconds_left()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> (Bound<'py, pyo3::types::PyType>, (Bound<'py, PyBytes>,)) {
        (py.get_type::<Self>(), (self.to_bytes(py),))
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// The partitions of a result, cut while the chain of its links is walked.
#[pyclass(frozen, name = "PartitionStream", module = "seakernel._seakernel")]
pub(crate) struct PyPartitionStream {
    home: Home,
    statement_id: String,
    total_row_count: Option<i64>,
    truncated: bool,
    columns: Py<PyTuple>,
    schema: arrow_schema::SchemaRef,
    stream: Arc<tokio::sync::Mutex<Owned<PartitionStream>>>,
    underway: Arc<Underway>,
}

/// Partitions that have left the stream and that Python has not taken yet.
#[derive(Default)]
struct Underway {
    state: Mutex<(usize, VecDeque<Partition>)>,
    settled: Notify,
}

impl Underway {
    /// How many are on their way, and those that nobody took.
    fn state(&self) -> MutexGuard<'_, (usize, VecDeque<Partition>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A partition on its way to Python. Dropped before it is taken, as with a cancelled future, it is the next one again.
struct Handed {
    partition: Option<Partition>,
    underway: Arc<Underway>,
}

impl Handed {
    fn new(partition: Partition, underway: &Arc<Underway>) -> Self {
        underway.state().0 += 1;
        Self { partition: Some(partition), underway: Arc::clone(underway) }
    }

    fn take(mut self) -> Option<PyPartition> {
        self.partition.take().map(PyPartition)
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        {
            let mut state = self.underway.state();
            state.0 = state.0.saturating_sub(1);
            state.1.extend(self.partition.take());
        }
        self.underway.settled.notify_waiters();
    }
}

impl PyPartitionStream {
    pub(crate) fn new(py: Python<'_>, home: &Home, stream: PartitionStream) -> PyResult<Self> {
        Ok(Self {
            home: home.clone(),
            statement_id: stream.statement_id().to_owned(),
            total_row_count: stream.total_row_count(),
            truncated: stream.truncated(),
            columns: PyTuple::new(py, stream.columns().iter().map(PyColumn::from))?.unbind(),
            schema: stream.schema(),
            stream: Arc::new(tokio::sync::Mutex::new(Owned::new(home, stream))),
            underway: Arc::default(),
        })
    }

    fn next(&self) -> impl Future<Output = Result<Option<Handed>>> + Send + 'static {
        let (stream, underway) = (Arc::clone(&self.stream), Arc::clone(&self.underway));
        async move {
            loop {
                let settled = underway.settled.notified();
                tokio::pin!(settled);
                settled.as_mut().enable();
                let returned = underway.state().1.pop_front();
                if let Some(partition) = returned {
                    return Ok(Some(Handed::new(partition, &underway)));
                }
                {
                    let mut stream = stream.lock().await;
                    let next = match stream.get_mut() {
                        Some(stream) => stream.next().await?,
                        None => None,
                    };
                    if let Some(partition) = next {
                        return Ok(Some(Handed::new(partition, &underway)));
                    }
                }
                let is_over = {
                    let state = underway.state();
                    state.0 == 0 && state.1.is_empty()
                };
                if is_over {
                    return Ok(None);
                }
                // One on its way may come back.
                if underway.state().1.is_empty() {
                    settled.await;
                }
            }
        }
    }

    fn ask(&self, partition: &PyPartition) -> impl Future<Output = Result<PartitionLinks>> + Send + 'static {
        let (stream, partition) = (Arc::clone(&self.stream), partition.0.clone());
        async move {
            let asked = stream.lock().await.get().map(|stream| stream.links(&partition));
            match asked {
                Some(asked) => asked.await,
                None => Err(Error::new(ErrorKind::Closed, "the partitions are closed")),
            }
        }
    }

    fn end(&self) -> impl Future<Output = Result<()>> + Send + 'static {
        let stream = Arc::clone(&self.stream);
        async move {
            let closing = stream.lock().await.get().map(PartitionStream::close);
            match closing {
                Some(closing) => closing.await,
                None => Ok(()),
            }
        }
    }
}

#[pymethods]
impl PyPartitionStream {
    #[getter]
    fn statement_id(&self) -> &str {
        &self.statement_id
    }

    #[getter]
    fn total_row_count(&self) -> Option<i64> {
        self.total_row_count
    }

    #[getter]
    fn truncated(&self) -> bool {
        self.truncated
    }

    #[getter]
    fn columns(&self, py: Python<'_>) -> Py<PyTuple> {
        self.columns.clone_ref(py)
    }

    fn next_partition(&self, py: Python<'_>) -> PyResult<Option<PyPartition>> {
        Ok(self.home.call(py, self.next())?.and_then(Handed::take))
    }

    fn next_partition_async<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.home.future(py, Duration::ZERO, self.next(), |py, handed| match handed.and_then(Handed::take) {
            Some(partition) => partition.into_py_any(py),
            None => Ok(py.None()),
        })
    }

    fn links(&self, py: Python<'_>, partition: &PyPartition) -> PyResult<PyPartitionLinks> {
        self.home.call(py, self.ask(partition)).map(PyPartitionLinks)
    }

    fn links_async<'py>(&self, py: Python<'py>, partition: &PyPartition) -> PyResult<Bound<'py, PyAny>> {
        self.home.future(py, Duration::ZERO, self.ask(partition), |py, links| PyPartitionLinks(links).into_py_any(py))
    }

    fn keep(&self, py: Python<'_>) -> PyResult<()> {
        let stream = Arc::clone(&self.stream);
        self.home.call(py, async move {
            if let Some(stream) = stream.lock().await.get_mut() {
                stream.keep();
            }
            Ok(())
        })
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.home.is_gone() {
            return Ok(());
        }
        self.home.call(py, self.end())
    }

    fn close_async<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.home.is_gone() {
            return Ok(None);
        }
        self.home.future(py, Duration::MAX, self.end(), |py, ()| Ok(py.None())).map(Some)
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        capsule::schema_capsule(py, &self.schema)
    }

    fn __repr__(&self) -> String {
        format!("PartitionStream(statement_id='{}')", self.statement_id)
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<seakernel::ResultStream>> + Send>>;
type Failure = Box<dyn StdError + Send + Sync>;
type Answer = Result<PartitionLinks, Failure>;

/// A Python callable that gives links; `seakernel.partitions` calls it, in a thread of Python's own.
struct PythonBroker {
    callable: Arc<Py<PyAny>>,
}

impl LinkBroker for PythonBroker {
    fn links(&self, partition: &Partition) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        let (callable, partition) = (Arc::clone(&self.callable), PyPartition(partition.clone()));
        Box::pin(async move {
            let (sender, receiver) = oneshot::channel();
            spawn_blocking(move || start(&callable, partition, sender)).await??;
            match time::timeout(BROKER_LIMIT, receiver).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err("the interpreter is exiting".into()),
                Err(_) => {
                    let text = format!("the broker gave no links within {} s", BROKER_LIMIT.as_secs());
                    Err(Error::new(ErrorKind::Timeout, text).into())
                }
            }
        })
    }
}

/// Has a Python thread call, which sends what comes of it. Where nobody will, `answer` is dropped.
fn start(callable: &Py<PyAny>, partition: PyPartition, answer: oneshot::Sender<Answer>) -> Result<(), Failure> {
    let Some(_visit) = Visit::begin() else { return Ok(()) };
    let started = Python::try_attach(|py| -> PyResult<()> {
        let answer = Mutex::new(Some(answer));
        let deliver = PyCFunction::new_closure(py, None, None, move |arguments: &Bound<'_, PyTuple>, _| {
            let Some(_visit) = Visit::begin() else { return };
            let outcome = outcome(arguments);
            if let Some(answer) = answer.lock().unwrap_or_else(PoisonError::into_inner).take() {
                // Nobody waits any more after the time limit.
                let _ = answer.send(outcome);
            }
        })?;
        py.import("seakernel.partitions")?.call_method1(intern!(py, "ask_broker"), (callable, partition, deliver))?;
        Ok(())
    });
    match started {
        Some(Err(raised)) => Python::attach(|py| Err(Raised::new(py, "broker", raised.into_value(py)).into())),
        _ => Ok(()),
    }
}

/// Reads what the callable returned, or raised.
fn outcome(arguments: &Bound<'_, PyTuple>) -> Answer {
    let py = arguments.py();
    let raised = |raised: PyErr| Failure::from(Raised::new(py, "broker", raised.into_value(py)));
    let (answer, exception): (Bound<'_, PyAny>, Bound<'_, PyAny>) = arguments.extract().map_err(raised)?;
    if !exception.is_none() {
        return Err(Raised::of("broker", &exception).into());
    }
    if let Ok(links) = answer.cast::<PyPartitionLinks>() {
        return Ok(links.get().0.clone());
    }
    if let Ok(bytes) = answer.extract::<&[u8]>() {
        return PartitionLinks::from_bytes(bytes).map_err(Failure::from);
    }
    let class = answer.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    let text = format!("the broker returned a `{class}`; expected `PartitionLinks` or their bytes");
    Err(Error::new(ErrorKind::InvalidArgument, text).into())
}
