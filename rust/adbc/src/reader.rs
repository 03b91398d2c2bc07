//! Rows on their way to the host.

use std::cell::RefCell;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::vec;

use adbc_core::error::{Error, Result, Status};
use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};
use seakernel::ResultStream;

use crate::cancellation::Execution;
use crate::connection::OpenSession;
use crate::error::{self, error};
use crate::runtime::Owned;
use crate::statement::Repeated;

pub(crate) type BoxedReader = Box<dyn RecordBatchReader + Send>;

thread_local! {
    /// The error behind the one that the stream in this thread has just returned: Arrow's have no status and no SQLSTATE.
    static LAST_ERROR: RefCell<Option<Error>> = const { RefCell::new(None) };
}

/// Takes the error that a reader in this thread failed with last.
pub(crate) fn take_last_error() -> Option<Error> {
    LAST_ERROR.take()
}

/// Rows in memory.
pub(crate) struct Batches {
    schema: SchemaRef,
    batches: vec::IntoIter<RecordBatch>,
}

impl Batches {
    pub(crate) fn boxed(schema: SchemaRef, batches: Vec<RecordBatch>) -> BoxedReader {
        Box::new(Self { schema, batches: batches.into_iter() })
    }
}

impl Iterator for Batches {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.next().map(Ok)
    }
}

impl RecordBatchReader for Batches {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// The rows of a statement, fetched while they are read, or of several that differ in their parameters.
///
/// It needs neither the statement nor the connection: both may be released before it, which leaves the session open.
pub(crate) struct Reader {
    _session: Arc<OpenSession>,
    schema: SchemaRef,
    execution: Arc<Execution>,
    /// `None` at the end and after an error.
    stream: Option<Owned<ResultStream>>,
    /// What runs with the next parameters.
    repeated: Option<Repeated>,
    /// Why it ended before its end: whoever reads on must not take the rows so far for all of them.
    failed: Option<Error>,
}

impl Reader {
    pub(crate) fn new(
        session: Arc<OpenSession>,
        execution: Arc<Execution>,
        stream: Owned<ResultStream>,
        repeated: Option<Repeated>,
    ) -> Result<Self> {
        let schema = stream.get().map(ResultStream::schema);
        let schema = schema.ok_or_else(|| error(Status::Internal, "the result is gone"))?;
        Ok(Self { _session: session, schema, execution, stream: Some(stream), repeated, failed: None })
    }

    fn read(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some(stream) = self.stream.as_mut().and_then(Owned::get_mut) else { return Ok(None) };
            let next = self
                .execution
                .wait(async { stream.next_batch().await.map_err(|failure| error::from_kernel(&failure)) });
            if let Some(batch) = next? {
                return Ok(Some(batch));
            }
            let Some(repeated) = self.repeated.as_mut() else { return Ok(None) };
            let Some(stream) = repeated.next(&self.execution)? else { return Ok(None) };
            if stream.get().is_none_or(|stream| stream.schema() != self.schema) {
                let text =
                    "the rows for one set of parameters have other columns than those before; execute them one by one";
                return Err(error(Status::InvalidData, text));
            }
            self.stream = Some(stream);
        }
    }

    fn advance(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        let next = self.read();
        if !matches!(next, Ok(Some(_))) {
            (self.stream, self.repeated) = (None, None);
            self.execution.end();
        }
        next
    }
}

impl Iterator for Reader {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        // The border to C in Arrow lets nothing unwind: a panic would end the process.
        let next = panic::catch_unwind(AssertUnwindSafe(|| self.advance()))
            .unwrap_or_else(|cause| Err(error::panicked(&*cause)));
        next.map_err(|failure| {
            (self.stream, self.repeated) = (None, None);
            self.failed = Some(failure.clone());
            // Its code at the border is that of an I/O error; the text has it all. Arrow makes a C string of it.
            let text = failure.message.replace('\0', "\u{FFFD}");
            let arrow = ArrowError::IoError(text.clone(), io::Error::other(text));
            LAST_ERROR.set(Some(failure));
            arrow
        })
        .transpose()
    }
}

impl RecordBatchReader for Reader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.execution.end();
    }
}
