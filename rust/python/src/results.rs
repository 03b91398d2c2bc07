//! Results: rows, Arrow tables and the live stream, all at one position.

use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arrow_array::{RecordBatch, RecordBatchIterator};
use arrow_schema::{DataType, IntervalUnit, Schema, SchemaRef};
use pyo3::exceptions::PyException;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyCapsule, PyList, PyTuple};
use seakernel::{Column, PartitionConfig, ResultStream, Statistics, StatisticsReader};
use tokio::sync::{MutexGuard, watch};

use crate::capsule::{self, LiveReader};
use crate::observer::{Event, Fetched, Watch};
use crate::partitions::{PyPartitionStream, partition_config};
use crate::rows::RowConverter;
use crate::runtime::{Home, Owned};
use crate::{error, visit};

/// Rows made at a time for row-by-row reading.
const READ_AHEAD: usize = 1024;

/// One column of a result, as the server describes it.
#[pyclass(frozen, get_all, name = "Column", module = "seakernel._seakernel")]
pub(crate) struct PyColumn {
    name: String,
    type_text: String,
    type_name: String,
    precision: Option<i64>,
    scale: Option<i64>,
}

#[pymethods]
impl PyColumn {
    fn __repr__(&self) -> String {
        format!("Column(name='{}', type_text='{}')", self.name, self.type_text)
    }
}

impl From<&Column> for PyColumn {
    fn from(column: &Column) -> Self {
        Self {
            name: column.name.clone(),
            type_text: column.type_text.clone(),
            type_name: column.type_name.clone(),
            precision: column.type_precision,
            scale: column.type_scale,
        }
    }
}

/// What fetching a result has cost so far.
#[pyclass(frozen, get_all, name = "Statistics", module = "seakernel._seakernel")]
pub(crate) struct PyStatistics {
    chunks: u64,
    rows: u64,
    wire_bytes: u64,
    decoded_bytes: u64,
    link_requests: u64,
    renewals: u64,
    download_requests: u64,
    range_requests: u64,
    hedged_requests: u64,
    retries: u64,
    trimmed_rows: u64,
    reader_wait_s: f64,
    memory_wait_s: f64,
}

impl From<Statistics> for PyStatistics {
    fn from(statistics: Statistics) -> Self {
        Self {
            chunks: statistics.chunks,
            rows: statistics.rows,
            wire_bytes: statistics.wire_bytes,
            decoded_bytes: statistics.decoded_bytes,
            link_requests: statistics.link_requests,
            renewals: statistics.renewals,
            download_requests: statistics.download_requests,
            range_requests: statistics.range_requests,
            hedged_requests: statistics.hedged_requests,
            retries: statistics.retries,
            trimmed_rows: statistics.trimmed_rows,
            reader_wait_s: statistics.reader_wait.as_secs_f64(),
            memory_wait_s: statistics.memory_wait.as_secs_f64(),
        }
    }
}

#[pymethods]
impl PyStatistics {
    fn __repr__(&self) -> String {
        format!(
            "Statistics(chunks={}, rows={}, wire_bytes={}, decoded_bytes={}, link_requests={}, renewals={}, \
             download_requests={}, range_requests={}, hedged_requests={}, retries={}, trimmed_rows={}, reader_wait_s={:.3}, \
             memory_wait_s={:.3})",
            self.chunks,
            self.rows,
            self.wire_bytes,
            self.decoded_bytes,
            self.link_requests,
            self.renewals,
            self.download_requests,
            self.range_requests,
            self.hedged_requests,
            self.retries,
            self.trimmed_rows,
            self.reader_wait_s,
            self.memory_wait_s
        )
    }
}

/// Batches in memory, exportable any number of times.
#[pyclass(frozen, name = "ArrowTable", module = "seakernel._seakernel")]
pub(crate) struct PyArrowTable {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl PyArrowTable {
    pub(crate) fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches }
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(crate) fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }
}

#[pymethods]
impl PyArrowTable {
    #[getter]
    fn num_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    #[getter]
    fn num_columns(&self) -> usize {
        self.schema.fields().len()
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema);
        let batches = self.batches.clone().into_iter().map(Ok);
        capsule::stream_capsule(py, Box::new(RecordBatchIterator::new(batches, Arc::clone(&self.schema))))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        capsule::schema_capsule(py, &self.schema)
    }

    fn __len__(&self) -> usize {
        self.num_rows()
    }

    fn __repr__(&self) -> String {
        format!("ArrowTable(num_rows={}, num_columns={})", self.num_rows(), self.num_columns())
    }
}

/// Why a result can be read no more.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Open,
    Closed,
    Cancelled,
}

/// Where the batches come from.
enum Source {
    Live(Box<Owned<ResultStream>>),
    /// The last batch was received.
    Drained,
    /// Handed over as an Arrow stream.
    HandedOver,
    Closed,
}

/// Everything that reading moves.
struct State {
    source: Source,
    /// Batches received and not handed over entirely. A call takes rows out only once it cannot fail any more.
    queue: VecDeque<RecordBatch>,
    /// Rows of the queue's first batch that were handed over.
    position: usize,
    /// Rows handed over in all.
    fetched: Arc<AtomicU64>,
    /// Rows from `position` on that were made already, for row-by-row reading.
    ahead: VecDeque<Py<PyTuple>>,
    converter: Option<RowConverter>,
    /// The download has failed for good.
    failed: bool,
    watch: Watch,
    /// Rows that `prepare_async` has made since it last had its caller pause.
    made_since_pause: usize,
}

/// The right to read, for the length of one call.
struct Reading<'a> {
    result: &'a PyResultStream,
    state: MutexGuard<'a, State>,
    was_open: bool,
}

impl Deref for Reading<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Reading<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Reading<'_> {
    /// Tells the observer that the call has ended.
    fn drop(&mut self) {
        let Some(observer) = &self.result.observer else { return };
        let event = match self.state.source {
            Source::Drained if self.was_open => Event::Done,
            Source::Live(_) if self.was_open && self.state.failed => Event::Failed,
            _ => Event::Back,
        };
        let fetched = Some(self.result.fetched());
        Python::try_attach(|py| self.state.watch.end(py, &self.result.home, observer, fetched, event));
    }
}

/// A place in the queue, ahead of what was handed over.
struct Walk {
    index: usize,
    skip: usize,
    remaining: usize,
}

/// The rows of one statement, read once from the first to the last.
#[pyclass(frozen, name = "ResultStream", module = "seakernel._seakernel")]
pub(crate) struct PyResultStream {
    home: Home,
    schema: SchemaRef,
    columns: Py<PyTuple>,
    statement_id: String,
    total_row_count: Option<i64>,
    truncated: bool,
    volume_operation: bool,
    modified_row_count: Option<i64>,
    statistics: StatisticsReader,
    fetched: Arc<AtomicU64>,
    observer: Option<Py<PyAny>>,
    /// Set before the lock is asked for, so that a fetch waiting in another thread ends.
    ending: watch::Sender<Ending>,
    state: Arc<tokio::sync::Mutex<State>>,
}

/// A result as it comes from the kernel, with the batches that came along.
pub(crate) struct Opened {
    stream: ResultStream,
    queue: VecDeque<RecordBatch>,
    is_drained: bool,
}

impl Opened {
    /// Takes over what is in memory, the end included: reading a small result then waits for nothing.
    pub(crate) async fn with_first_rows(mut stream: ResultStream) -> Self {
        let mut queue = VecDeque::new();
        // A failure is final and comes again when these rows were read.
        let is_drained = receive_more(&mut stream, &mut queue, 0, READ_AHEAD).await.is_ok_and(|more| !more);
        Self { stream, queue, is_drained }
    }
}

impl From<ResultStream> for Opened {
    fn from(stream: ResultStream) -> Self {
        Self { stream, queue: VecDeque::new(), is_drained: false }
    }
}

/// Receives batches until `queue` has grown by `least` rows, and what is in memory already up to `most`; false at the end.
async fn receive_more(
    stream: &mut ResultStream,
    queue: &mut VecDeque<RecordBatch>,
    least: usize,
    most: usize,
) -> seakernel::Result<bool> {
    let mut grown = 0;
    while grown < most {
        let batch = tokio::select! {
            biased;
            batch = stream.next_batch() => batch,
            () = std::future::ready(()), if grown >= least => return Ok(true),
        };
        match batch? {
            Some(batch) => {
                grown += batch.num_rows();
                queue.push_back(batch);
            }
            None => return Ok(false),
        }
    }
    Ok(true)
}

impl PyResultStream {
    pub(crate) fn new(
        py: Python<'_>,
        home: &Home,
        opened: impl Into<Opened>,
        observer: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let Opened { stream, queue, is_drained } = opened.into();
        let columns = PyTuple::new(py, stream.columns().iter().map(PyColumn::from))?.unbind();
        let fetched = Arc::new(AtomicU64::new(0));
        Ok(Self {
            home: home.clone(),
            schema: stream.schema(),
            columns,
            statement_id: stream.statement_id().to_owned(),
            total_row_count: stream.total_row_count(),
            truncated: stream.truncated(),
            volume_operation: stream.is_volume_operation(),
            modified_row_count: stream.modified_row_count(),
            statistics: stream.statistics_reader(),
            fetched: Arc::clone(&fetched),
            observer,
            ending: watch::Sender::new(Ending::Open),
            state: Arc::new(tokio::sync::Mutex::new(State::new(
                if is_drained { Source::Drained } else { Source::Live(Box::new(Owned::new(home, stream))) },
                queue,
                fetched,
            ))),
        })
    }

    /// Tells `observer` of this result that the statement's call has come back with it.
    pub(crate) fn opened(&self, py: Python<'_>, watch: &Watch) {
        let Some(observer) = &self.observer else { return };
        let event = if self.schema.fields().is_empty() { Event::Done } else { Event::Back };
        watch.end(py, &self.home, observer, Some(self.fetched()), event);
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Fails where nothing can be read any more, save that another thread reads.
    pub(crate) fn check_readable(&self, py: Python<'_>) -> PyResult<()> {
        self.home.check(py)?;
        self.ended(py, *self.ending.borrow())?;
        self.state.try_lock().map_or(Ok(()), |state| self.check_source(py, &state))
    }

    fn fetched(&self) -> Fetched {
        // Where a limit cut the result, the total may be that of the uncut one.
        (self.statistics(), self.total_row_count.filter(|_| !self.truncated))
    }

    /// Cuts the result into partitions instead of reading it.
    fn cut(&self, py: Python<'_>, cut: PartitionConfig) -> PyResult<PyPartitionStream> {
        self.check_source(py, &*self.lock(py)?)?;
        if self.statistics.read().rows > 0 {
            let message = "rows of the result were read here already; cut it into partitions before that";
            return Err(error::raise(py, "InterfaceError", "Closed", message));
        }
        let stream = self.take_live(py)?;
        let stream = self.home.call(py, stream.partitions(cut))?;
        PyPartitionStream::new(py, &self.home, stream)
    }

    /// Gives the kernel's own stream away, of which nothing was read.
    pub(crate) fn take_live(&self, py: Python<'_>) -> PyResult<ResultStream> {
        let mut state = self.lock(py)?;
        match mem::replace(&mut state.source, Source::HandedOver) {
            Source::Live(stream) => stream.into_inner(),
            _ => None,
        }
        .ok_or_else(|| error::raise(py, "InterfaceError", "Closed", "the result was read before"))
    }

    /// Waits for other threads' calls without the GIL, then gives the result to the caller alone.
    fn lock(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, State>> {
        self.home.check(py)?;
        let state = match self.state.try_lock() {
            Ok(state) => state,
            Err(_) => self.home.block_on(py, self.state.lock())?,
        };
        self.ended(py, *self.ending.borrow())?;
        Ok(state)
    }

    /// Like `lock`, for calls that read.
    fn lock_for_reading(&self, py: Python<'_>) -> PyResult<Reading<'_>> {
        let mut state = self.lock(py)?;
        self.check_source(py, &state)?;
        if self.observer.is_some() {
            state.watch = Watch::new();
        }
        let was_open = matches!(state.source, Source::Live(_)) && !state.failed;
        Ok(Reading { result: self, state, was_open })
    }

    fn check_source(&self, py: Python<'_>, state: &State) -> PyResult<()> {
        if self.volume_operation {
            // The row holds a link that whoever has it may use.
            let message =
                "the statement asks for the transfer of a file: hand the result to `Session.volume_operation`";
            return Err(error::raise(py, "NotSupportedError", "InvalidArgument", message));
        }
        if matches!(state.source, Source::HandedOver) {
            let message = "the result was handed over as an Arrow stream, which can be done once; read that stream";
            return Err(error::raise(py, "InterfaceError", "Closed", message));
        }
        Ok(())
    }

    fn ended(&self, py: Python<'_>, ending: Ending) -> PyResult<()> {
        match ending {
            Ending::Open => Ok(()),
            Ending::Closed => Err(error::raise(py, "InterfaceError", "Closed", "the result is closed")),
            Ending::Cancelled => {
                let message = format!("fetching the result of statement {} was cancelled", self.statement_id);
                Err(error::raise(py, "OperationalError", "Cancelled", &message))
            }
        }
    }

    /// Receives the next batch into the queue; false at the end. Loses nothing when interrupted.
    fn receive(&self, py: Python<'_>, state: &mut State) -> PyResult<bool> {
        let Source::Live(stream) = &mut state.source else { return Ok(false) };
        let Some(stream) = stream.get_mut() else { return Ok(false) };
        py.check_signals()?;
        let mut ending = self.ending.subscribe();
        let next = async {
            tokio::select! {
                biased;
                ending = ending.wait_for(|ending| *ending != Ending::Open) => {
                    Err(ending.map_or(Ending::Closed, |ending| *ending))
                }
                batch = stream.next_batch() => Ok(batch),
            }
        };
        let watch = &mut state.watch;
        let mut look = |py: Python<'_>| match &self.observer {
            Some(observer) => watch.look(py, &self.home, observer, || Some(self.fetched())),
            None => Ok(()),
        };
        let received = self.home.block_on_watched(py, next, &mut look)?;
        let looked = look(py);
        match received {
            Err(ending) => self.ended(py, ending).map(|()| false),
            Ok(Err(failure)) => {
                state.failed = true;
                Err(error::from_kernel(py, failure))
            }
            Ok(Ok(Some(batch))) => {
                state.queue.push_back(batch);
                looked?;
                // The batch may have come between two looks at the signals. Here it is safe in the queue; a handler that
                // raised behind our return would lose it.
                py.check_signals()?;
                Ok(true)
            }
            Ok(Ok(None)) => {
                state.source = Source::Drained;
                Ok(false)
            }
        }
    }

    /// Puts into the queue what has arrived already, up to `max_rows` rows, without waiting. A failure stays in the stream,
    /// which tells it again.
    fn receive_arrived(&self, state: &mut State, max_rows: usize) {
        let _runtime = self.home.enter();
        while state.queued_rows() < max_rows
            && let Source::Live(stream) = &mut state.source
            && let Some(stream) = stream.get_mut()
        {
            let next = pin!(stream.next_batch());
            match next.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(Some(batch))) => state.queue.push_back(batch),
                Poll::Ready(Ok(None) | Err(_)) | Poll::Pending => return,
            }
        }
    }

    /// Returns the next slice on the walk, receiving batches as needed; `None` at the end or when all were seen.
    fn next_slice(&self, py: Python<'_>, state: &mut State, walk: &mut Walk) -> PyResult<Option<RecordBatch>> {
        while walk.remaining > 0 {
            let Some(batch) = state.queue.get(walk.index) else {
                if self.receive(py, state)? {
                    continue;
                }
                break;
            };
            walk.index += 1;
            if walk.skip >= batch.num_rows() {
                walk.skip -= batch.num_rows();
                continue;
            }
            let length = (batch.num_rows() - walk.skip).min(walk.remaining);
            let slice = batch.slice(mem::take(&mut walk.skip), length);
            walk.remaining -= length;
            return Ok(Some(slice));
        }
        Ok(None)
    }

    /// Hands over what is left: rows in memory, and where more come from.
    fn give_away(&self, py: Python<'_>) -> PyResult<(VecDeque<RecordBatch>, Source)> {
        let mut state = self.lock_for_reading(py)?;
        let position = mem::take(&mut state.position);
        state.ahead.clear();
        let mut queue = mem::take(&mut state.queue);
        if let Some(first) = queue.front_mut() {
            *first = first.slice(position, first.num_rows() - position);
        }
        Ok((queue, mem::replace(&mut state.source, Source::HandedOver)))
    }

    /// Returns the next rows as they came, without moving on.
    fn first_slice(&self, py: Python<'_>, state: &mut State) -> PyResult<Option<RecordBatch>> {
        let mut walk = Walk { index: 0, skip: state.position, remaining: usize::MAX };
        self.next_slice(py, state, &mut walk)
    }

    /// Returns up to `max_rows` rows without moving on.
    fn gather(&self, py: Python<'_>, state: &mut State, max_rows: Option<usize>) -> PyResult<PyArrowTable> {
        let mut walk = Walk { index: 0, skip: state.position, remaining: max_rows.unwrap_or(usize::MAX) };
        let mut batches = Vec::new();
        while let Some(slice) = self.next_slice(py, state, &mut walk)? {
            batches.push(slice);
        }
        Ok(self.table(batches))
    }

    /// Makes sure that `ahead` holds the next row, unless there is none.
    fn read_ahead(&self, py: Python<'_>, state: &mut State) -> PyResult<()> {
        if !state.ahead.is_empty() {
            return Ok(());
        }
        let mut walk = Walk { index: 0, skip: state.position, remaining: READ_AHEAD };
        let mut rows = Vec::new();
        if let Some(slice) = self.next_slice(py, state, &mut walk)? {
            state.converter(py, &self.schema)?.convert(py, &slice, &mut rows)?;
        }
        state.ahead.extend(rows.into_iter().map(Bound::unbind));
        Ok(())
    }

    /// Returns the future of at least `least` rows more in the queue, or of the end: what is in memory by then comes along,
    /// up to `most`. Nothing leaves the queue, so a cancelled future loses nothing.
    fn receive_async<'py>(&self, py: Python<'py>, least: usize, most: usize) -> PyResult<Bound<'py, PyAny>> {
        let state = Arc::clone(&self.state);
        let mut ending = self.ending.subscribe();
        let receiving = async move {
            let mut state = state.lock_owned().await;
            let State { source, queue, failed, .. } = &mut *state;
            let Source::Live(live) = source else { return Ok(()) };
            let Some(stream) = live.get_mut() else { return Ok(()) };
            let received = tokio::select! {
                biased;
                // The caller looks for it.
                _ = ending.wait_for(|ending| *ending != Ending::Open) => return Ok(()),
                received = receive_more(stream, queue, least, most) => received,
            };
            *failed = received.is_err();
            if !received? {
                *source = Source::Drained;
            }
            Ok(())
        };
        self.home.future(py, Duration::ZERO, receiving, |py, ()| Ok(py.None()))
    }

    /// Makes up to `READ_AHEAD` rows of those in the queue, for `wanted` in all; false where the queue has none.
    fn make_rows(&self, py: Python<'_>, state: &mut State, wanted: usize) -> PyResult<bool> {
        let made = state.ahead.len();
        // A single row asked for is one of many to come.
        let remaining = if wanted == 1 { READ_AHEAD } else { READ_AHEAD.min(wanted - made) };
        let Some(slice) = state.queued(Walk { index: 0, skip: state.position + made, remaining }) else {
            return Ok(false);
        };
        let mut rows = Vec::new();
        state.converter(py, &self.schema)?.convert(py, &slice, &mut rows)?;
        state.made_since_pause += rows.len();
        state.ahead.extend(rows.into_iter().map(Bound::unbind));
        Ok(true)
    }

    fn table(&self, batches: Vec<RecordBatch>) -> PyArrowTable {
        PyArrowTable { schema: Arc::clone(&self.schema), batches }
    }

    fn announce(&self, ending: Ending) {
        self.ending.send_if_modified(|current| {
            let first = *current == Ending::Open;
            if first {
                *current = ending;
            }
            first
        });
    }

    /// Returns the future of the result's end, which nothing stops; `None` where nothing is under way.
    fn end_async<'py>(&self, py: Python<'py>, ending: Ending) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.home.is_gone() {
            return Ok(None);
        }
        self.announce(ending);
        if let Ok(mut state) = self.state.try_lock()
            && !matches!(state.source, Source::Live(_))
        {
            drop(state.end());
            return Ok(None);
        }
        let state = Arc::clone(&self.state);
        let ending = async move {
            let mut state = state.lock_owned().await;
            if let Some(mut stream) = state.end() {
                stream.close().await;
            }
            Ok(())
        };
        self.home.future(py, Duration::MAX, ending, |py, ()| Ok(py.None())).map(Some)
    }

    fn end(&self, py: Python<'_>, ending: Ending) -> PyResult<()> {
        if self.home.is_gone() {
            return Ok(());
        }
        self.announce(ending);
        if self.home.is_entered() {
            // Asked for by the observer of the very call that ends now; what is left goes with this object.
            return Ok(());
        }
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(_) => self.home.block_on(py, self.state.lock())?,
        };
        if let Some(mut stream) = state.end() {
            self.home.block_on(py, async move { stream.close().await })?;
        }
        Ok(())
    }
}

/// Returns the columns that hold month intervals, nested ones included.
fn month_intervals(schema: &Schema) -> Vec<&str> {
    fn holds(data_type: &DataType) -> bool {
        match data_type {
            DataType::Interval(unit) => *unit == IntervalUnit::YearMonth,
            DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => holds(item.data_type()),
            DataType::Struct(fields) => fields.iter().any(|field| holds(field.data_type())),
            _ => false,
        }
    }
    schema.fields().iter().filter(|field| holds(field.data_type())).map(|field| field.name().as_str()).collect()
}

/// Returns a `pyarrow.RecordBatchReader` over the table's own buffers.
///
/// `pyarrow.table(table)` would do, but it imports pandas to ask whether this is one of its frames: 160 ms.
fn pyarrow_reader(py: Python<'_>, table: PyArrowTable) -> PyResult<Bound<'_, PyAny>> {
    visit::import(py, "pyarrow")?.getattr("RecordBatchReader")?.call_method1("from_stream", (Bound::new(py, table)?,))
}

impl State {
    fn new(source: Source, queue: VecDeque<RecordBatch>, fetched: Arc<AtomicU64>) -> Self {
        Self {
            source,
            queue,
            position: 0,
            fetched,
            ahead: VecDeque::new(),
            converter: None,
            failed: false,
            watch: Watch::new(),
            made_since_pause: 0,
        }
    }

    fn converter(&mut self, py: Python<'_>, schema: &SchemaRef) -> PyResult<&mut RowConverter> {
        match &mut self.converter {
            Some(converter) => Ok(converter),
            empty => Ok(empty.insert(RowConverter::new(py, schema)?)),
        }
    }

    /// Returns the next `rows` values of one column, all of them in the queue; `None` where Python cannot hold them.
    fn preview_column<'py>(
        &self,
        py: Python<'py>,
        schema: &Schema,
        index: usize,
        rows: usize,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        let Ok(schema) = schema.project(&[index]) else { return Ok(None) };
        let mut values = Vec::with_capacity(rows);
        let mut skip = self.position;
        for batch in &self.queue {
            let length = batch.num_rows().saturating_sub(skip).min(rows - values.len());
            let slice = batch.slice(skip.min(batch.num_rows()), length);
            skip = skip.saturating_sub(batch.num_rows());
            let Ok(slice) = slice.project(&[index]) else { return Ok(None) };
            match RowConverter::new(py, &schema).and_then(|mut converter| converter.convert(py, &slice, &mut values)) {
                Ok(()) => {}
                Err(raised) if raised.is_instance_of::<PyException>(py) => return Ok(None),
                Err(raised) => return Err(raised),
            }
            if values.len() == rows {
                break;
            }
        }
        let values = values.iter().map(|row| row.get_item(0)).collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, values).map(Some)
    }

    /// Returns the first slice on the walk, of batches in the queue.
    fn queued(&self, mut walk: Walk) -> Option<RecordBatch> {
        for batch in self.queue.iter().skip(walk.index) {
            if walk.skip < batch.num_rows() {
                let length = (batch.num_rows() - walk.skip).min(walk.remaining);
                return Some(batch.slice(walk.skip, length));
            }
            walk.skip -= batch.num_rows();
        }
        None
    }

    /// Returns how many rows are in the queue and not handed over.
    fn queued_rows(&self) -> usize {
        self.queue.iter().map(RecordBatch::num_rows).sum::<usize>() - self.position
    }

    /// Lets go of everything; the stream is the caller's to close.
    fn end(&mut self) -> Option<ResultStream> {
        self.queue.clear();
        self.ahead.clear();
        match mem::replace(&mut self.source, Source::Closed) {
            Source::Live(stream) => stream.into_inner(),
            _ => None,
        }
    }

    /// Marks `rows` more rows as handed over.
    fn advance(&mut self, rows: usize) {
        self.ahead.drain(..rows.min(self.ahead.len()));
        self.position += rows;
        self.fetched.fetch_add(rows as u64, Ordering::Relaxed);
        while let Some(first) = self.queue.front()
            && self.position >= first.num_rows()
        {
            self.position -= first.num_rows();
            self.queue.pop_front();
        }
    }
}

#[pymethods]
impl PyResultStream {
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
        self.cut(py, partition_config(py, target_bytes, ordered, links, sign_in, lease_s.as_ref())?)
    }

    #[getter]
    fn columns(&self, py: Python<'_>) -> Py<PyTuple> {
        self.columns.clone_ref(py)
    }

    #[getter]
    fn statement_id(&self) -> &str {
        &self.statement_id
    }

    #[getter]
    fn total_row_count(&self) -> Option<i64> {
        self.total_row_count
    }

    #[getter]
    fn fetched_row_count(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    #[getter]
    fn modified_row_count(&self) -> Option<i64> {
        self.modified_row_count
    }

    #[getter]
    fn is_volume_operation(&self) -> bool {
        self.volume_operation
    }

    #[getter]
    fn truncated(&self) -> bool {
        self.truncated
    }

    #[getter]
    fn statistics(&self) -> PyStatistics {
        self.statistics.read().into()
    }

    #[getter]
    fn state(&self) -> &'static str {
        match *self.ending.borrow() {
            Ending::Open => {}
            Ending::Closed => return "Closed",
            Ending::Cancelled => return "Cancelled",
        }
        let Ok(state) = self.state.try_lock() else { return "Reading" };
        match state.source {
            Source::Live(_) if state.failed => "Failed",
            Source::Drained if state.queue.is_empty() => "Read",
            Source::Live(_) | Source::Drained => "Open",
            Source::HandedOver => "HandedOver",
            Source::Closed => "Closed",
        }
    }

    #[getter]
    fn month_intervals(&self) -> Vec<&str> {
        month_intervals(&self.schema)
    }

    #[pyo3(signature = (max_rows=None))]
    fn rows<'py>(&self, py: Python<'py>, max_rows: Option<usize>) -> PyResult<Bound<'py, PyList>> {
        let mut state = self.lock_for_reading(py)?;
        let wanted = max_rows.unwrap_or(usize::MAX);
        let mut rows: Vec<_> = state.ahead.iter().take(wanted).map(|row| row.bind(py).clone()).collect();
        let mut walk = Walk { index: 0, skip: state.position + rows.len(), remaining: wanted - rows.len() };
        while let Some(slice) = self.next_slice(py, &mut state, &mut walk)? {
            state.converter(py, &self.schema)?.convert(py, &slice, &mut rows)?;
        }
        let list = PyList::new(py, &rows)?;
        state.advance(rows.len());
        Ok(list)
    }

    #[pyo3(signature = (max_rows=None))]
    fn take(&self, py: Python<'_>, max_rows: Option<usize>) -> PyResult<PyArrowTable> {
        let mut state = self.lock_for_reading(py)?;
        let table = self.gather(py, &mut state, max_rows)?;
        state.advance(table.num_rows());
        Ok(table)
    }

    #[pyo3(signature = (max_rows=None))]
    fn take_pyarrow<'py>(&self, py: Python<'py>, max_rows: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        let mut state = self.lock_for_reading(py)?;
        let table = self.gather(py, &mut state, max_rows)?;
        let rows = table.num_rows();
        let taken = pyarrow_reader(py, table)?.call_method0("read_all")?;
        // A signal that came during the conversion raises now, while the rows are still ours.
        py.check_signals()?;
        state.advance(rows);
        Ok(taken)
    }

    fn next_batch(&self, py: Python<'_>) -> PyResult<Option<PyArrowTable>> {
        let mut state = self.lock_for_reading(py)?;
        let Some(batch) = self.first_slice(py, &mut state)? else { return Ok(None) };
        state.advance(batch.num_rows());
        Ok(Some(self.table(vec![batch])))
    }

    fn next_pyarrow_batch<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut state = self.lock_for_reading(py)?;
        let Some(batch) = self.first_slice(py, &mut state)? else { return Ok(None) };
        let rows = batch.num_rows();
        let next = pyarrow_reader(py, self.table(vec![batch]))?.call_method0("read_next_batch")?;
        py.check_signals()?;
        state.advance(rows);
        Ok(Some(next))
    }

    #[pyo3(signature = (convert, max_rows=None))]
    fn take_as<'py>(
        &self,
        py: Python<'py>,
        convert: &Bound<'py, PyAny>,
        max_rows: Option<usize>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut state = self.lock_for_reading(py)?;
        let table = self.gather(py, &mut state, max_rows)?;
        let rows = table.num_rows();
        let converted = {
            // A conversion that reads this very result would wait for itself.
            let _inside = self.home.enter();
            convert.call1((table,))?
        };
        py.check_signals()?;
        state.advance(rows);
        Ok(converted)
    }

    fn preview<'py>(
        &self,
        py: Python<'py>,
        max_rows: usize,
        max_columns: usize,
    ) -> PyResult<(usize, Vec<Option<Bound<'py, PyList>>>)> {
        let nothing = (0, Vec::new());
        if self.home.is_gone() || *self.ending.borrow() != Ending::Open {
            return Ok(nothing);
        }
        let Ok(mut state) = self.state.try_lock() else { return Ok(nothing) };
        if max_rows == 0 || self.volume_operation || matches!(state.source, Source::HandedOver | Source::Closed) {
            return Ok(nothing);
        }
        self.receive_arrived(&mut state, max_rows);
        let rows = state.queued_rows().min(max_rows);
        let mut columns = Vec::new();
        for index in 0..self.schema.fields().len().min(max_columns) {
            columns.push(state.preview_column(py, &self.schema, index, rows)?);
        }
        Ok((rows, columns))
    }

    fn peek(&self, py: Python<'_>) -> PyResult<Option<Py<PyTuple>>> {
        let mut state = self.lock_for_reading(py)?;
        self.read_ahead(py, &mut state)?;
        Ok(state.ahead.front().map(|row| row.clone_ref(py)))
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyTuple>>> {
        let mut state = self.lock_for_reading(py)?;
        self.read_ahead(py, &mut state)?;
        let row = state.ahead.front().map(|row| row.clone_ref(py));
        state.advance(usize::from(row.is_some()));
        Ok(row)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema);
        // Nothing is given away that cannot be.
        capsule::check_names(py, &self.schema)?;
        let (queue, source) = self.give_away(py)?;
        let stream = match source {
            Source::Live(stream) => Some(stream),
            _ => None,
        };
        let reader = LiveReader { home: self.home.clone(), schema: Arc::clone(&self.schema), queue, stream };
        capsule::stream_capsule(py, Box::new(reader))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        capsule::schema_capsule(py, &self.schema)
    }

    #[pyo3(signature = (*, tied=false))]
    fn hand_over(&self, py: Python<'_>, tied: bool) -> PyResult<Self> {
        let (queue, source) = self.give_away(py)?;
        // What is tied counts as read here, and ends with this result.
        let fetched = if tied { Arc::clone(&self.fetched) } else { Arc::default() };
        let ending = if tied { self.ending.clone() } else { watch::Sender::new(Ending::Open) };
        Ok(Self {
            home: self.home.clone(),
            schema: Arc::clone(&self.schema),
            columns: self.columns.clone_ref(py),
            statement_id: self.statement_id.clone(),
            total_row_count: self.total_row_count,
            truncated: self.truncated,
            volume_operation: self.volume_operation,
            modified_row_count: self.modified_row_count,
            statistics: self.statistics.clone(),
            fetched: Arc::clone(&fetched),
            // Whoever observes the call that made the result has nothing to do with its reader.
            observer: None,
            ending,
            state: Arc::new(tokio::sync::Mutex::new(State::new(source, queue, fetched))),
        })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.observer)
    }

    #[pyo3(signature = (max_rows=None, *, as_rows))]
    fn prepare_async<'py>(
        &self,
        py: Python<'py>,
        max_rows: Option<usize>,
        as_rows: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.home.check(py)?;
        let wanted = max_rows.unwrap_or(usize::MAX);
        self.ended(py, *self.ending.borrow())?;
        let Ok(mut state) = self.state.try_lock() else {
            // Another call is receiving; what it has received is looked at in the next round.
            return self.receive_async(py, 0, 0);
        };
        self.check_source(py, &state)?;
        let answer = |ready: bool| Ok(PyBool::new(py, ready).to_owned().into_any());
        let missing = if as_rows {
            while state.ahead.len() < wanted && self.make_rows(py, &mut state, wanted)? {
                if state.made_since_pause >= READ_AHEAD {
                    state.made_since_pause = 0;
                    return answer(false);
                }
            }
            wanted.saturating_sub(state.ahead.len())
        } else {
            wanted.saturating_sub(state.queued_rows())
        };
        if missing == 0 || !matches!(state.source, Source::Live(_)) {
            return answer(true);
        }
        drop(state);
        // Rows are made while the next ones travel; Arrow is taken all at once.
        self.receive_async(py, if as_rows { 1 } else { missing }, missing)
    }

    fn next_made(&self, py: Python<'_>) -> PyResult<Option<Py<PyTuple>>> {
        self.home.check(py)?;
        // Where another call reads, or the result has ended, `prepare_async` tells.
        let Ok(mut state) = self.state.try_lock() else { return Ok(None) };
        let row = state.ahead.front().map(|row| row.clone_ref(py));
        state.advance(usize::from(row.is_some()));
        Ok(row)
    }

    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        self.home.check(py)?;
        self.end(py, Ending::Cancelled)
    }

    fn close_async<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.end_async(py, Ending::Closed)
    }

    fn cancel_async<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.home.check(py)?;
        self.end_async(py, Ending::Cancelled)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.end(py, Ending::Closed)
    }

    fn __repr__(&self) -> String {
        format!("ResultStream(statement_id='{}')", self.statement_id)
    }
}
