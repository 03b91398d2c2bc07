//! Batches as the service wants them by Arrow Flight: its own types, plain columns, messages of Arrow IPC.

mod cast;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow_array::{BooleanArray, RecordBatch};
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;

use self::cast::Bad;
use crate::convert::{Next, RequestLimits, record_failure};
use crate::encoder::Message;
use crate::error::ZerobusError;
use crate::extent::expanded;
use crate::put;

/// Bytes of the largest message of more than one row: the usual limit of gRPC, with room for what precedes the body.
const MOST_BYTES: usize = (4 << 20) - (64 << 10);

/// Rows of which a message is tried with first.
const FIRST_ROWS: usize = 1024;

/// How batches of one schema become batches of the schema of a stream.
#[derive(Clone, Debug)]
pub(crate) struct ArrowConverter {
    /// Of each column that is sent, which it is in a batch.
    columns: Arc<[usize]>,
    schema: SchemaRef,
    opening: Bytes,
}

/// The requests of a batch: consecutive rows, none of them twice.
pub(crate) struct ArrowRequests {
    converter: ArrowConverter,
    batch: RecordBatch,
    limits: RequestLimits,
    /// Rows of the last message.
    most_rows: usize,
    /// The first row that was not converted yet.
    next: usize,
    ready: VecDeque<ArrowRows>,
    failed: Vec<(usize, ZerobusError)>,
}

/// Rows in the types of the service. Clones and slices share the memory.
#[derive(Clone, Debug)]
pub(crate) struct ArrowRows {
    batch: RecordBatch,
    /// Of each row that was converted together with these, the row of the batch that it is.
    indices: Arc<[usize]>,
    /// Which of them are meant.
    range: Range<usize>,
    /// Made once it is asked for: what is cut is often cut again before it is sent.
    message: OnceLock<Result<Message, ZerobusError>>,
}

impl ArrowConverter {
    /// Plans the way of the columns of `schema`.
    ///
    /// # Errors
    /// `ConversionError` for a column that the service has no type for, `ConfigurationError` for a name that is there twice.
    pub(crate) fn new(schema: &Schema) -> Result<Self, ZerobusError> {
        let (mut columns, mut fields) = (Vec::new(), Vec::<Field>::new());
        for (position, field) in schema.fields().iter().enumerate() {
            // It says nothing, not even of what type it is.
            if matches!(field.data_type(), DataType::Null) && field.is_nullable() {
                continue;
            }
            if fields.iter().any(|other| other.name() == field.name()) {
                return Err(ZerobusError::configuration(format!("column `{}` is there twice", field.name())));
            }
            columns.push(position);
            fields.push(Field::new(field.name(), cast::service_type(field, field.name(), 0)?, field.is_nullable()));
        }
        if fields.is_empty() {
            return Err(ZerobusError::conversion("the batch has no column that can be sent"));
        }
        let schema = Schema::new(fields);
        let header = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
            &schema,
            &mut DictionaryTracker::new(true),
            &IpcWriteOptions::default(),
        );
        Ok(Self { columns: columns.into(), schema: Arc::new(schema), opening: put::schema(&header.ipc_message) })
    }

    /// The first message of a stream, framed.
    pub(crate) fn opening(&self) -> &Bytes {
        &self.opening
    }

    /// Converts `batch` request by request, as they are asked for.
    pub(crate) fn requests(&self, batch: RecordBatch, limits: RequestLimits) -> ArrowRequests {
        let limits = RequestLimits { request_rows: limits.request_rows.max(1), ..limits };
        let (converter, ready, failed) = (self.clone(), VecDeque::new(), Vec::new());
        ArrowRequests { converter, batch, limits, most_rows: FIRST_ROWS, next: 0, ready, failed }
    }

    /// Converts the rows that can be; `first` is the row of the whole batch that the first is.
    fn convert(
        &self,
        batch: &RecordBatch,
        first: usize,
        failed: &mut Vec<(usize, ZerobusError)>,
    ) -> Result<ArrowRows, ArrowError> {
        let mut bad = Vec::new();
        let mut columns = Vec::with_capacity(self.columns.len());
        for (position, field) in self.columns.iter().zip(self.schema.fields()) {
            let array = batch.columns().get(*position).ok_or_else(|| missing(field))?;
            let column = cast::cast(array, field.data_type(), field.name(), &mut bad)?;
            if !field.is_nullable() {
                cast::require(&column, field.name(), &mut bad);
            }
            columns.push(column);
        }
        let rows = batch.num_rows();
        let mut is_good = vec![true; rows];
        bad.sort_by_key(|bad| bad.row);
        bad.dedup_by_key(|bad| bad.row);
        for Bad { row, path, why } in bad {
            if let Some(good) = is_good.get_mut(row) {
                *good = false;
            }
            let row = first + row;
            let text = format!("Field encoding failed: field='{path}', row={row}, error={why}");
            failed.push((row, ZerobusError::conversion(text)));
        }
        let indices = (first..).zip(&is_good).filter(|(_, good)| **good).map(|(row, _)| row).collect();
        let batch = if is_good.contains(&false) {
            // The rows that go may be null where none may be.
            let fields: Vec<Field> =
                self.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
            let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
            let kept = filter_record_batch(&batch, &BooleanArray::from(is_good))?;
            RecordBatch::try_new(Arc::clone(&self.schema), kept.columns().to_vec())?
        } else {
            RecordBatch::try_new(Arc::clone(&self.schema), columns)?
        };
        Ok(ArrowRows::new(batch, indices))
    }
}

fn missing(field: &Field) -> ArrowError {
    ArrowError::SchemaError(format!("column `{}` is not there", field.name()))
}

impl ArrowRequests {
    /// Rows that were not converted yet, or are ready.
    pub(crate) fn left(&self) -> usize {
        self.batch.num_rows() - self.next + self.ready.iter().map(|rows| rows.indices().len()).sum::<usize>()
    }

    /// Takes the rows that cannot be sent, and were not taken before.
    pub(crate) fn take_failed(&mut self) -> Vec<(usize, ZerobusError)> {
        std::mem::take(&mut self.failed)
    }

    /// The next request, of about so many bytes.
    pub(crate) fn within(&mut self, bytes: usize) -> Next<ArrowRows> {
        while self.ready.is_empty() && self.next < self.batch.num_rows() {
            let first = self.next;
            let most = self.limits.request_rows.min(self.batch.num_rows() - first);
            let mut count = self.most_rows.min(most);
            if self.expanded(count, bytes).is_some() {
                while count < most && self.expanded((count * 2).min(most), bytes).is_some() {
                    count = (count * 2).min(most);
                }
            } else {
                while count > 1 && self.expanded(count, bytes).is_none() {
                    count /= 2;
                }
            }
            self.most_rows = count;
            if count == 1 && self.expanded(1, bytes).is_none() {
                let limit = self.most_bytes(1);
                // It is an estimate; how many they are is known once they are made.
                if let Some(needed) = self.expanded(1, limit.saturating_mul(2)) {
                    return Next::Needs(needed);
                }
                let why = format!("a record of more than {limit} bytes, its limit");
                self.failed.push((first, record_failure(first, &why)));
                self.next += 1;
                continue;
            }
            self.next += count;
            let slice = self.batch.slice(first, count);
            match self.converter.convert(&slice, first, &mut self.failed) {
                Ok(rows) => self.fit(rows),
                Err(error) => {
                    let error = ZerobusError::conversion(format!("the batch cannot be converted: {error}"));
                    // Some may have failed for a reason of their own just before.
                    self.failed.retain(|(row, _)| *row < first);
                    self.failed.extend((first..first + count).map(|row| (row, error.clone())));
                }
            }
        }
        self.ready.pop_front().map_or(Next::End, Next::Rows)
    }

    /// About the bytes of the next rows once each has values of its own; none where there are more than `most`.
    fn expanded(&self, count: usize, most: usize) -> Option<usize> {
        let mut left = most;
        for column in self.converter.columns.iter().filter_map(|column| self.batch.columns().get(*column)) {
            expanded(column, self.next..self.next + count, &mut left)?;
        }
        Some(most - left)
    }

    /// Bytes of the largest message of so many rows.
    fn most_bytes(&self, rows: usize) -> usize {
        // What is no larger than one row may be holds none that is.
        let limit = self.limits.request_bytes.min(self.limits.record_bytes);
        if rows == 1 { limit } else { limit.min(MOST_BYTES) }
    }

    /// Makes `rows` ready, in pieces where they are too many bytes for one message.
    fn fit(&mut self, rows: ArrowRows) {
        let (count, bytes) = (rows.indices().len(), rows.byte_count());
        let most = self.most_bytes(count);
        match (rows.message(), rows.indices()) {
            (_, []) => {}
            (Err(error), indices) => self.failed.extend(indices.iter().map(|row| (*row, error.clone()))),
            (Ok(_), _) if bytes <= most => self.ready.push_back(rows),
            (Ok(_), [row]) => {
                self.failed.push((*row, record_failure(*row, &format!("a record of {bytes} bytes, limit {most}"))));
            }
            (Ok(_), _) => {
                self.fit(rows.slice(0..count / 2));
                self.fit(rows.slice(count / 2..count));
            }
        }
    }
}

impl ArrowRows {
    fn new(batch: RecordBatch, indices: Arc<[usize]>) -> Self {
        let range = 0..indices.len();
        Self { batch, indices, range, message: OnceLock::new() }
    }

    /// Their indices in the batch, ascending.
    pub(crate) fn indices(&self) -> &[usize] {
        self.indices.get(self.range.clone()).unwrap_or_default()
    }

    /// Bytes of header and body.
    pub(crate) fn byte_count(&self) -> usize {
        match self.message() {
            Ok(Message::Batch { header, body }) => header.len() + body.len(),
            _ => 0,
        }
    }

    /// The rows of `range`, which is cut to those there are.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        let end = range.end.min(self.range.len());
        let start = range.start.min(end);
        if start == 0 && end == self.range.len() {
            return self.clone();
        }
        let batch = self.batch.slice(start, end - start);
        let range = self.range.start + start..self.range.start + end;
        Self { batch, indices: Arc::clone(&self.indices), range, message: OnceLock::new() }
    }

    /// The record batch as a message.
    ///
    /// # Errors
    /// `ConversionError` where Arrow cannot write it.
    pub(crate) fn message(&self) -> Result<Message, ZerobusError> {
        let encode = || {
            let (mut tracker, mut context) = (DictionaryTracker::new(true), IpcWriteContext::default());
            let options = IpcWriteOptions::default();
            let encoded = IpcDataGenerator::default().encode(&self.batch, &mut tracker, &options, &mut context);
            // There are no dictionaries: they were expanded.
            let (_, encoded) =
                encoded.map_err(|error| ZerobusError::conversion(format!("the batch cannot be written: {error}")))?;
            Ok(Message::Batch { header: encoded.ipc_message.into(), body: encoded.arrow_data.into() })
        };
        self.message.get_or_init(encode).clone()
    }
}
