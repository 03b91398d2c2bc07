//! Rows of a batch, request by request.

use bytes::Bytes;

use super::RequestLimits;
use super::column::{Measured, Message, Place, Rows, SKIP};
use super::rows::EncodedRows;
use super::wire::{Tag, Writer, varint_len};
use crate::error::ZerobusError;

/// Rows measured before the first is written. Few, for nothing is known of their lengths.
const FIRST_CHUNK: usize = 32;
const LARGEST_CHUNK: usize = 1024;
/// Bytes of the records measured together: they are still in the cache when they are written.
const CHUNK_BYTES: usize = 256 << 10;
/// Elements of lists, and bytes of variants, that are measured together of more than one row.
const CHUNK_ELEMENTS: usize = 1 << 20;
/// No message of gRPC is longer than 4 GiB.
const LARGEST_REQUEST: usize = 1 << 31;

/// What comes next of a batch.
#[derive(Debug)]
pub(crate) enum Next<T> {
    Rows(T),
    /// A row, which by itself is so many bytes.
    Needs(usize),
    End,
}

impl<T> Next<T> {
    pub(crate) fn map<U>(self, with: impl FnOnce(T) -> U) -> Next<U> {
        match self {
            Self::Rows(rows) => Next::Rows(with(rows)),
            Self::Needs(bytes) => Next::Needs(bytes),
            Self::End => Next::End,
        }
    }
}

/// The requests of a batch: consecutive rows, none of them twice.
#[derive(Debug)]
pub struct Requests {
    columns: Message,
    rows: usize,
    limits: RequestLimits,
    failed: Vec<(usize, ZerobusError)>,
    /// The first row that was measured last, their count, and how many of them are done.
    chunk: usize,
    chunk_rows: usize,
    done: usize,
    /// Rows that can be measured together, as far as the last ones tell.
    most_rows: usize,
    /// Bytes of the rows so far, for a guess at the next.
    bytes: usize,
    /// Of rows that are written together; kept for its memory.
    places: Vec<Place>,
}

/// A request that is being written.
#[derive(Debug, Default)]
struct Unfinished {
    writer: Writer,
    rows: Vec<usize>,
    /// Where the record of each ends.
    ends: Vec<usize>,
    /// Bytes that it may have.
    most: usize,
}

impl Requests {
    pub(super) fn new(columns: Message, rows: usize, limits: RequestLimits) -> Self {
        let request_bytes = limits.request_bytes.clamp(field_len(0), LARGEST_REQUEST);
        let mut record_bytes = limits.record_bytes.min(request_bytes);
        while field_len(record_bytes) > request_bytes {
            record_bytes -= 1;
        }
        let limits = RequestLimits { record_bytes, request_bytes, request_rows: limits.request_rows.max(1) };
        Self {
            columns,
            rows,
            limits,
            failed: Vec::new(),
            chunk: 0,
            chunk_rows: 0,
            done: 0,
            most_rows: usize::MAX,
            bytes: 0,
            places: Vec::new(),
        }
    }

    /// Rows that were not looked at yet.
    pub(crate) fn left(&self) -> usize {
        self.rows.saturating_sub(self.chunk + self.done)
    }

    /// Takes the rows that cannot be encoded, and were not taken before.
    pub(crate) fn take_failed(&mut self) -> Vec<(usize, ZerobusError)> {
        std::mem::take(&mut self.failed)
    }

    /// The rows so far that cannot be encoded, ascending.
    pub fn failed(&self) -> &[(usize, ZerobusError)] {
        &self.failed
    }

    /// Mean bytes of the rows so far or, where there are none, of those that were measured.
    fn mean(&self) -> usize {
        let (bytes, rows) = match self.chunk + self.done {
            0 => {
                let sizes = self.columns.sizes().iter().filter(|size| **size <= self.limits.record_bytes);
                sizes.fold((0, 0), |(bytes, rows), size| (bytes + field_len(*size), rows + 1))
            }
            rows => (self.bytes, rows),
        };
        bytes.checked_div(rows).unwrap_or_default().max(1)
    }

    /// What measuring the rows of the chunk comes to.
    fn measured(&mut self) -> Measured {
        let record_bytes = self.limits.record_bytes;
        let budget = if self.chunk_rows > 1 { CHUNK_ELEMENTS } else { record_bytes };
        let mut measured = Measured { failures: Vec::new(), record_bytes, budget, is_spent: false };
        let zeros = std::iter::repeat_n(0, self.chunk_rows);
        self.columns.measure(Rows::From(self.chunk), zeros, &mut measured);
        measured
    }

    /// Measures the next rows; false where there are none.
    fn measure(&mut self) -> bool {
        self.chunk += self.chunk_rows;
        self.done = 0;
        let rows = if self.chunk == 0 { FIRST_CHUNK } else { (CHUNK_BYTES / self.mean()).clamp(1, LARGEST_CHUNK) };
        self.chunk_rows = rows.min(self.most_rows).min(self.rows - self.chunk);
        if self.chunk_rows == 0 {
            return false;
        }
        let mut measured = self.measured();
        while measured.is_spent && self.chunk_rows > 1 {
            self.chunk_rows /= 2;
            self.most_rows = self.chunk_rows;
            measured = self.measured();
        }
        self.most_rows = self.most_rows.saturating_mul(2);
        if measured.is_spent {
            let why = format!("a record of more than {} bytes, its limit", self.limits.record_bytes);
            self.failed.push((self.chunk, record_failure(self.chunk, &why)));
            return true;
        }
        let mut failures = measured.failures;
        if failures.is_empty() && self.columns.sizes().iter().all(|size| *size <= self.limits.record_bytes) {
            return true;
        }
        failures.sort_by_key(|failure| failure.index);
        failures.dedup_by_key(|failure| failure.index);
        let mut failures = failures.into_iter().peekable();
        for (index, size) in self.columns.sizes().iter().enumerate() {
            let row = self.chunk + index;
            if let Some(failure) = failures.next_if(|failure| failure.index == index) {
                let text = format!("Field encoding failed: field='{}', row={row}, error={}", failure.path, failure.why);
                self.failed.push((row, ZerobusError::conversion(text)));
            } else if *size > self.limits.record_bytes {
                let why = match *size {
                    // No memory holds as much.
                    SKIP => "the arrays are malformed".to_owned(),
                    size => format!("a record of {size} bytes, limit {}", self.limits.record_bytes),
                };
                self.failed.push((row, record_failure(row, &why)));
            }
        }
        true
    }

    /// The next request, of no more than so many bytes.
    pub(crate) fn within(&mut self, bytes: usize) -> Next<EncodedRows> {
        let mut request = Unfinished { most: bytes.min(self.limits.request_bytes), ..Unfinished::default() };
        loop {
            if self.done == self.chunk_rows && !self.measure() {
                break;
            }
            let Some(size) = self.columns.sizes().get(self.done).copied() else { break };
            if size > self.limits.record_bytes {
                self.done += 1;
                continue;
            }
            let length = field_len(size);
            if request.rows.is_empty() && length > request.most {
                return Next::Needs(length);
            }
            if request.writer.len() + length > request.most || request.rows.len() == self.limits.request_rows {
                break;
            }
            if request.rows.is_empty() {
                let mean = self.mean();
                let left = (self.rows - self.chunk - self.done).min(self.limits.request_rows);
                request.writer = Writer::new(mean.saturating_mul(left).min(request.most));
                request.rows.reserve(left.min(request.most / mean + 1));
                request.ends.reserve(left.min(request.most / mean + 1));
            }
            self.write_rows(&mut request);
        }
        if request.rows.is_empty() {
            return Next::End;
        }
        Next::Rows(EncodedRows::new(Bytes::from(request.writer.finish()), request.rows, request.ends))
    }

    /// Writes the next rows of the chunk as far as they fit, and up to one that fails; the first does neither.
    fn write_rows(&mut self, request: &mut Unfinished) {
        let (tag, begin, first) = (Tag::new(1, 2), request.writer.len(), self.done);
        self.places.clear();
        let mut end = begin;
        for size in self.columns.sizes().iter().skip(first).take(self.limits.request_rows - request.rows.len()) {
            if *size > self.limits.record_bytes || end + field_len(*size) > request.most {
                break;
            }
            end += field_len(*size);
            self.places.push(Place { at: end - size, end });
        }
        let writer = &mut request.writer;
        writer.reserve(end - begin);
        for place in &self.places {
            writer.tag(tag);
            writer.varint((place.end - place.at) as u64);
            // What is behind it is not written yet.
            writer.seek(place.end, usize::MAX);
        }
        self.columns.write_rows(first, self.chunk + first, &mut self.places, writer);
        if self.places.iter().all(|place| place.at == place.end) {
            writer.seek(end, usize::MAX);
            request.rows.extend((self.chunk + first..).take(self.places.len()));
            request.ends.extend(self.places.iter().map(|place| place.end));
            self.done += self.places.len();
            self.bytes += end - begin;
        } else {
            // Offsets that point nowhere: one by one it shows of which.
            writer.seek(begin, usize::MAX);
            for _ in 0..self.places.len() {
                self.write_row(request);
            }
        }
    }

    /// Writes the next row, unless it is malformed.
    fn write_row(&mut self, Unfinished { writer, rows, ends, .. }: &mut Unfinished) {
        let (row, start) = (self.chunk + self.done, writer.len());
        let size = self.columns.sizes().get(self.done).copied().unwrap_or_default();
        writer.reserve(field_len(size));
        writer.tag(Tag::new(1, 2));
        writer.varint(size as u64);
        self.columns.write(self.done, row, writer);
        self.done += 1;
        if writer.len() == start + field_len(size) {
            self.bytes += field_len(size);
            rows.push(row);
            ends.push(writer.len());
        } else {
            // Nothing of it may stay.
            writer.seek(start, usize::MAX);
            let at = self.failed.partition_point(|(failed, _)| *failed < row);
            self.failed.insert(at, (row, record_failure(row, "the arrays are malformed")));
        }
    }
}

/// Length of a record with tag and length before it.
fn field_len(size: usize) -> usize {
    size.saturating_add(1 + varint_len(size as u64))
}

pub(crate) fn record_failure(row: usize, why: &str) -> ZerobusError {
    ZerobusError::conversion(format!("Record encoding failed: row={row}, error={why}"))
}

impl Iterator for Requests {
    type Item = EncodedRows;

    fn next(&mut self) -> Option<EncodedRows> {
        // No record is longer than a request may be.
        match self.within(usize::MAX) {
            Next::Rows(rows) => Some(rows),
            Next::Needs(_) | Next::End => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        Array, ArrayRef, BinaryArray, BooleanArray, Int64Array, ListViewArray, RecordBatch, StructArray,
    };
    use arrow_schema::{Field, Schema};

    use super::*;
    use crate::config::NullListElement;
    use crate::convert::Converter;

    const LIMITS: RequestLimits =
        RequestLimits { record_bytes: 4_194_285, request_bytes: 10_420_224, request_rows: 10_000 };

    /// Lists of the first elements, so many in each row.
    fn shared(lengths: &[i32], elements: ArrayRef, item: Field) -> ArrayRef {
        let offsets = vec![0; lengths.len()];
        Arc::new(ListViewArray::new(Arc::new(item), offsets.into(), lengths.to_vec().into(), elements, None))
    }

    fn item(array: &dyn Array) -> Field {
        Field::new("item", array.data_type().clone(), true)
    }

    /// The rows that come out, and those that fail.
    fn encoded(column: ArrayRef) -> (Vec<usize>, Vec<(usize, String)>) {
        let schema = Schema::new(vec![Field::new("c", column.data_type().clone(), true)]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![column]).unwrap();
        let converter = Converter::new(&batch.schema(), None, NullListElement::Error).unwrap();
        let mut requests = converter.requests(batch, LIMITS).unwrap();
        let rows = requests.by_ref().flat_map(|request| request.rows().to_vec()).collect();
        let failed = requests.take_failed().into_iter();
        (rows, failed.map(|(row, error)| (row, error.failure().message.to_string())).collect())
    }

    fn too_long(row: usize) -> (usize, String) {
        let why = "error=a record of more than 4194285 bytes, its limit";
        (row, format!("Record encoding failed: row={row}, {why}"))
    }

    #[test]
    fn f11_rows_of_more_elements_than_any_memory_holds_fail_by_themselves() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![0; 200_000]));
        let inner = shared(&vec![200_000; 100_000], Arc::clone(&numbers), item(&numbers));
        let fields = vec![Field::new("l", inner.data_type().clone(), true)];
        let structs: ArrayRef = Arc::new(StructArray::new(fields.into(), vec![inner], None));
        let outer = shared(&[100_000, 1, 0, 100_000, 2], Arc::clone(&structs), item(&structs));
        assert_eq!(encoded(outer), (vec![1, 2, 4], vec![too_long(0), too_long(3)]));
    }

    #[test]
    fn f11_rows_that_share_many_elements_are_measured_by_few() {
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true; 50_000]));
        let lists = shared(&[50_000; 40], Arc::clone(&flags), item(&flags));
        assert_eq!(encoded(lists), ((0..40).collect(), vec![]));
    }

    #[test]
    fn f11_texts_of_variants_are_bounded_over_all_of_a_row() {
        let long = [&[16 << 2, 0x60, 0xea, 0, 0][..], "x".repeat(60_000).as_bytes()].concat();
        let value: ArrayRef = Arc::new(BinaryArray::from_iter_values(vec![long; 100]));
        let metadata: ArrayRef = Arc::new(BinaryArray::from_iter_values([[1, 0, 0]; 100]));
        let fields = vec![
            Field::new("metadata", metadata.data_type().clone(), false),
            Field::new("value", value.data_type().clone(), false),
        ];
        let structs: ArrayRef = Arc::new(StructArray::new(fields.into(), vec![metadata, value], None));
        let extension = [("ARROW:extension:name".to_owned(), "arrow.parquet.variant".to_owned())];
        let item = item(&structs).with_metadata(extension.into_iter().collect());
        let lists = shared(&[2, 100, 69, 70], structs, item);
        assert_eq!(encoded(lists), (vec![0, 2], vec![too_long(1), too_long(3)]));
    }
}
