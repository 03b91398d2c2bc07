//! One run of a statement, whose batches the partitions of a scan share.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{RecordBatch, RecordBatchOptions, RecordBatchReader};
use arrow_schema::SchemaRef;
use async_channel::{Receiver, Sender};
use datafusion_common::DataFusionError;
use datafusion_execution::RecordBatchStream;
use futures_util::Stream;
use pyo3::prelude::*;

use crate::capsule;
use crate::remote::{Source, exiting, external, failure};

/// Most batches that wait for their readers; each keeps the memory of the file it came in.
const MOST_AHEAD: usize = 8;
/// Rows of a batch without columns.
const EMPTY_ROWS: usize = 65_536;

/// What is run, and what becomes of it.
pub(crate) struct Request {
    pub(crate) source: Arc<Source>,
    pub(crate) sql: String,
    pub(crate) schema: SchemaRef,
    /// The one row counts what is asked for: rows without columns.
    pub(crate) counted: bool,
    /// Where to leave the number of rows, if they are all there are.
    pub(crate) row_count: Option<Arc<RowCount>>,
}

/// The rows of a source as last seen whole; none before.
#[derive(Debug, Default)]
pub(crate) struct RowCount(AtomicU64);

impl RowCount {
    pub(crate) fn get(&self) -> Option<usize> {
        usize::try_from(self.0.load(Ordering::Relaxed)).ok()?.checked_sub(1)
    }

    fn set(&self, rows: u64) {
        self.0.store(rows.saturating_add(1), Ordering::Relaxed);
    }
}

/// A statement that a thread of ours runs and reads. Dropping it before the end cancels the statement on the server.
pub(crate) struct Reading {
    control: Arc<Control>,
    batches: Receiver<RecordBatch>,
}

impl Reading {
    /// Starts the thread that reads for so many readers.
    pub(crate) fn start(request: Request, readers: usize) -> Result<Arc<Self>, DataFusionError> {
        let (sender, batches) = async_channel::bounded(readers.clamp(1, MOST_AHEAD));
        let control = Arc::new(Control::default());
        let theirs = Arc::clone(&control);
        // The interpreter knows nothing of this thread, so it does not wait for it when it exits.
        let spawned = thread::Builder::new().name("seakernel-scan".into()).spawn(move || {
            let outcome = read(&request, &sender, &theirs);
            theirs.outcome.get_or_init(|| outcome);
            // Only now does the channel end: its readers look for the outcome then.
            drop(sender);
        });
        spawned.map_err(|cause| external(format!("no thread could be started: {cause}")))?;
        Ok(Arc::new(Self { control, batches }))
    }

    /// Tells whether all was read, or failed.
    fn is_over(&self) -> bool {
        self.control.outcome.get().is_some()
    }

    fn end(&self) -> Result<(), DataFusionError> {
        match self.control.outcome.get() {
            Some(Ok(())) => Ok(()),
            Some(Err(message)) => Err(external(message.clone())),
            None => Err(external("the thread that read the result has died".into())),
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if !self.is_over() {
            self.control.cancel();
        }
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("over", &self.is_over()).finish_non_exhaustive()
    }
}

/// What the thread that reads and whoever gives up share.
#[derive(Default)]
struct Control {
    cancelled: AtomicBool,
    /// What `cancel` is called on: the statement, then its result.
    target: Mutex<Option<Py<PyAny>>>,
    outcome: OnceLock<Result<(), String>>,
}

impl Control {
    fn target(&self) -> MutexGuard<'_, Option<Py<PyAny>>> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names what a cancel goes to from now on; false where it has come already.
    fn aim(&self, py: Python<'_>, target: &Bound<'_, PyAny>) -> bool {
        // Dropped outside of the lock: to release an object can run anything.
        let previous = self.target().replace(target.clone().unbind());
        if let Some(previous) = previous {
            previous.drop_ref(py);
        }
        !self.cancelled.load(Ordering::SeqCst)
    }

    /// Asks for the end in a thread of its own: this one may hold locks for which a thread with the GIL waits.
    fn cancel(self: &Arc<Self>) {
        self.cancelled.store(true, Ordering::SeqCst);
        let control = Arc::clone(self);
        let spawned = thread::Builder::new().name("seakernel-cancel".into()).spawn(move || {
            Python::try_attach(|py| {
                let target = control.target().as_ref().map(|target| target.clone_ref(py));
                if let Some(target) = target {
                    // Of a statement that has ended meanwhile, or a connection that was closed, there is nothing to end.
                    let _ = target.bind(py).call_method0("cancel");
                }
            });
        });
        // Without a thread the reader still notices, at the next batch.
        let _ = spawned;
    }
}

fn read(request: &Request, batches: &Sender<RecordBatch>, control: &Arc<Control>) -> Result<(), String> {
    let started = Python::try_attach(|py| start(py, request, control).map_err(|raised| failure(py, &raised)));
    let outcome = match started {
        Some(Ok(Some(reader))) => pass_on(request, reader, batches),
        Some(Ok(None)) => Ok(()),
        Some(Err(message)) => Err(message),
        None => return Err(exiting()),
    };
    Python::try_attach(|py| {
        let target = control.target().take();
        if let Some(target) = target {
            // What is left of a result is released now and not when PyO3 next has the GIL.
            let _ = target.bind(py).call_method0("close");
            target.drop_ref(py);
        }
    });
    outcome
}

/// Executes the statement and takes over its rows; `None` where nobody wants them any more.
fn start(py: Python<'_>, request: &Request, control: &Control) -> PyResult<Option<Box<dyn RecordBatchReader + Send>>> {
    let statement = request.source.statement(py, &request.sql)?;
    if !control.aim(py, &statement) {
        return Ok(None);
    }
    let result = statement.call_method0("execute")?;
    if !control.aim(py, &result) {
        return Ok(None);
    }
    capsule::import_stream(&result).map(Some)
}

/// Passes the rows on until the end, or until nobody wants them any more.
fn pass_on(
    request: &Request,
    reader: Box<dyn RecordBatchReader + Send>,
    batches: &Sender<RecordBatch>,
) -> Result<(), String> {
    let mut row_count = 0_u64;
    for batch in reader {
        let batch = batch.map_err(|failure| failure.to_string())?;
        if request.counted {
            let counted = count(&batch).ok_or("the warehouse did not answer with a count")?;
            row_count += counted as u64;
            if !send_empty(request, counted, batches)? {
                return Ok(());
            }
            continue;
        }
        row_count += batch.num_rows() as u64;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&request.schema), batch.columns().to_vec(), &options)
            .map_err(|failure| format!("the columns are no more what they were when the table was made: {failure}"))?;
        if batches.send_blocking(batch).is_err() {
            return Ok(());
        }
    }
    if let Some(rows) = &request.row_count {
        rows.set(row_count);
    }
    Ok(())
}

fn count(batch: &RecordBatch) -> Option<usize> {
    let counts = batch.columns().first()?.as_primitive_opt::<Int64Type>()?;
    let counted: Option<i64> = counts.iter().flatten().next();
    counted.map_or(Some(0), |rows| usize::try_from(rows).ok())
}

/// Sends rows without columns; false where nobody wants them.
fn send_empty(request: &Request, mut rows: usize, batches: &Sender<RecordBatch>) -> Result<bool, String> {
    while rows > 0 {
        let some = rows.min(EMPTY_ROWS);
        rows -= some;
        let options = RecordBatchOptions::new().with_row_count(Some(some));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&request.schema), Vec::new(), &options);
        if batches.send_blocking(batch.map_err(|failure| failure.to_string())?).is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The share of one partition: whatever batches nobody else has taken.
pub(crate) struct Share {
    schema: SchemaRef,
    batches: Pin<Box<Receiver<RecordBatch>>>,
    reading: Arc<Reading>,
    ended: bool,
}

impl Share {
    pub(crate) fn of(reading: &Arc<Reading>, schema: SchemaRef) -> Self {
        let batches = Box::pin(reading.batches.clone());
        Self { schema, batches, reading: Arc::clone(reading), ended: false }
    }
}

impl Stream for Share {
    type Item = Result<RecordBatch, DataFusionError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(batch) = ready!(self.batches.as_mut().poll_next(context)) {
            return Poll::Ready(Some(Ok(batch)));
        }
        // No share ends well when the result did not: rows are missing from one of them.
        self.ended = true;
        Poll::Ready(self.reading.end().err().map(Err))
    }
}

impl RecordBatchStream for Share {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
