//! Rows of a batch, request by request.

use bytes::Bytes;

use super::RequestLimits;
use super::column::{Measured, Message, Rows, SKIP};
use super::rows::EncodedRows;
use super::wire::{Tag, Writer, varint_len};
use crate::error::ZerobusError;

/// Rows measured before the first is written. Few, for nothing is known of their lengths.
const FIRST_CHUNK: usize = 32;
const LARGEST_CHUNK: usize = 1024;
/// Bytes of the records measured together: they are still in the cache when they are written.
const CHUNK_BYTES: usize = 256 << 10;
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
    /// Bytes of the rows so far, for a guess at the next.
    bytes: usize,
}

impl Requests {
    pub(super) fn new(columns: Message, rows: usize, limits: RequestLimits) -> Self {
        let request_bytes = limits.request_bytes.clamp(field_len(0), LARGEST_REQUEST);
        let mut record_bytes = limits.record_bytes.min(request_bytes);
        while field_len(record_bytes) > request_bytes {
            record_bytes -= 1;
        }
        let limits = RequestLimits { record_bytes, request_bytes, request_rows: limits.request_rows.max(1) };
        Self { columns, rows, limits, failed: Vec::new(), chunk: 0, chunk_rows: 0, done: 0, bytes: 0 }
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

    /// Measures the next rows; false where there are none.
    fn measure(&mut self) -> bool {
        self.chunk += self.chunk_rows;
        self.done = 0;
        let rows = if self.chunk == 0 { FIRST_CHUNK } else { (CHUNK_BYTES / self.mean()).clamp(1, LARGEST_CHUNK) };
        self.chunk_rows = rows.min(self.rows - self.chunk);
        if self.chunk_rows == 0 {
            return false;
        }
        let mut measured = Measured { failures: Vec::new(), record_bytes: self.limits.record_bytes };
        let zeros = std::iter::repeat_n(0, self.chunk_rows);
        self.columns.measure(Rows::From(self.chunk), zeros, &mut measured);
        let mut failures = measured.failures;
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
        let most = bytes.min(self.limits.request_bytes);
        let tag = Tag::new(1, 2);
        let mut writer = Writer::default();
        let mut rows = Vec::new();
        let mut ends = Vec::new();
        loop {
            if self.done == self.chunk_rows && !self.measure() {
                break;
            }
            let Some(size) = self.columns.sizes().get(self.done).copied() else { break };
            let row = self.chunk + self.done;
            let length = field_len(size);
            if size > self.limits.record_bytes {
                self.done += 1;
                continue;
            }
            if rows.is_empty() && length > most {
                return Next::Needs(length);
            }
            if writer.len() + length > most || rows.len() == self.limits.request_rows {
                break;
            }
            if rows.is_empty() {
                let mean = self.mean();
                let left = (self.rows - row).min(self.limits.request_rows);
                writer = Writer::new(mean.saturating_mul(left).min(most));
                rows.reserve(left.min(most / mean + 1));
                ends.reserve(left.min(most / mean + 1));
            }
            let start = writer.len();
            writer.reserve(length);
            writer.tag(tag);
            writer.varint(size as u64);
            self.columns.write(self.done, row, &mut writer);
            self.done += 1;
            self.bytes += length;
            if writer.len() == start + length {
                rows.push(row);
                ends.push(writer.len());
            } else {
                // Offsets that point nowhere: nothing of it may stay.
                writer.truncate(start);
                let at = self.failed.partition_point(|(failed, _)| *failed < row);
                self.failed.insert(at, (row, record_failure(row, "the arrays are malformed")));
            }
        }
        if rows.is_empty() {
            return Next::End;
        }
        Next::Rows(EncodedRows::new(Bytes::from(writer.finish()), rows, ends))
    }
}

/// Length of a record with tag and length before it.
fn field_len(size: usize) -> usize {
    size.saturating_add(1 + varint_len(size as u64))
}

fn record_failure(row: usize, why: &str) -> ZerobusError {
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
