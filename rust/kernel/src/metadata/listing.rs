//! Listings in memory.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};

use crate::error::{Error, ErrorKind, Result};

/// The rows of a metadata call, complete and in memory.
#[derive(Clone, Debug)]
pub struct Listing {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Listing {
    pub(super) fn empty(schema: SchemaRef) -> Self {
        Self { schema, batches: Vec::new() }
    }

    pub(super) fn of_batch(batch: Result<RecordBatch, ArrowError>) -> Result<Self> {
        let batch = batch.map_err(|error| {
            Error::new(ErrorKind::Internal, "the rows of a listing do not fit its columns").with_source(error)
        })?;
        Ok(Self { schema: batch.schema(), batches: vec![batch] })
    }

    pub(super) fn push(&mut self, batch: RecordBatch) {
        if batch.num_rows() > 0 {
            self.batches.push(batch);
        }
    }

    /// Returns the Arrow schema, which depends on the call alone. It has no metadata.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Returns the rows; no batch is empty.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// Returns the number of rows.
    pub fn num_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}
