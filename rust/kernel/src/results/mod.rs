//! Results: one door, whatever way the rows came.

pub mod decode;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use crate::error::Result;
use crate::schema::Column;

/// What fetching a result has cost so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Statistics {
    /// Chunks handed over.
    pub chunks: u64,
    /// Rows handed over.
    pub rows: u64,
    /// Bytes of result bodies as downloaded (or attached).
    pub wire_bytes: u64,
    /// The same after decompression.
    pub decoded_bytes: u64,
    /// Requests for links after the first answer.
    pub link_requests: u64,
    /// Requests to storage hosts.
    pub download_requests: u64,
    /// Requests repeated after a failure.
    pub retries: u64,
    /// Surplus rows cut from chunks that held more than their link declared.
    pub trimmed_rows: u64,
}

/// The rows of one statement, in server order.
///
/// Chunks are downloaded ahead in the background, within the byte budget. [`ResultStream::next_batch`] is cancel-safe:
/// a dropped call loses no batch. Dropping the stream aborts every request and closes the statement in the background.
#[derive(Debug)]
pub struct ResultStream {}

impl ResultStream {
    /// Returns the Arrow schema; every batch has exactly this one. All fields are nullable.
    pub fn schema(&self) -> SchemaRef {
        todo!()
    }

    /// Returns the columns as the manifest describes them.
    pub fn columns(&self) -> &[Column] {
        todo!()
    }

    /// Returns the server's id of the statement.
    pub fn statement_id(&self) -> &str {
        todo!()
    }

    /// Returns the number of rows the server announced.
    pub fn total_row_count(&self) -> Option<i64> {
        todo!()
    }

    /// Tells whether a row or byte limit cut the result.
    pub fn truncated(&self) -> bool {
        todo!()
    }

    /// Returns what fetching has cost so far.
    pub fn statistics(&self) -> Statistics {
        todo!()
    }

    /// Returns the next batch, never an empty one, or `None` after the last row was handed over and the total checked.
    ///
    /// An error is final: every later call returns the same kind again, never a silent end.
    pub async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        todo!()
    }

    /// Aborts what is under way and releases the result on the server. Safe to call twice.
    pub async fn close(&mut self) {
        todo!()
    }
}
