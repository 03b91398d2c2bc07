//! Encoded rows, ready for requests.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

/// Rows as a run of fields `records` of the message `ProtoEncodedRecordBatch`: tag, length and record, one after another.
///
/// Clones and slices share the bytes.
#[derive(Clone, Debug, Default)]
pub struct EncodedRows {
    fields: Bytes,
    /// Of each row that was encoded together with these, the row of the batch that it is.
    rows: Arc<[usize]>,
    /// Of each of them, where its field ends; the first begins at 0.
    ends: Arc<[usize]>,
    /// Which of them are meant.
    range: Range<usize>,
}

impl EncodedRows {
    /// The rows `rows` of a batch, whose fields end at `ends`.
    pub(super) fn new(fields: Bytes, rows: Vec<usize>, ends: Vec<usize>) -> Self {
        let range = 0..rows.len().min(ends.len());
        Self { fields, rows: rows.into(), ends: ends.into(), range }
    }

    /// Count of the rows.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The fields, as they stand in a request.
    pub fn fields(&self) -> &Bytes {
        &self.fields
    }

    /// Bytes of the fields.
    pub fn byte_count(&self) -> usize {
        self.fields.len()
    }

    /// The rows of the batch, ascending.
    pub fn rows(&self) -> &[usize] {
        self.rows.get(self.range.clone()).unwrap_or_default()
    }

    /// The row of the batch that record `index` is.
    ///
    /// # Panics
    /// Where there is no such record.
    #[expect(clippy::indexing_slicing, reason = "as of a slice")]
    pub fn row(&self, index: usize) -> usize {
        self.rows()[index]
    }

    /// The message of record `index`, without what precedes it; empty where there is no such record.
    pub fn record(&self, index: usize) -> &[u8] {
        if index >= self.len() {
            return &[];
        }
        let base = self.begin(self.range.start);
        let at = self.range.start + index;
        let field = self.fields.get(self.begin(at) - base..self.begin(at + 1) - base).unwrap_or_default();
        // A tag of one byte and a length, the last byte of which is the first without the high bit.
        let length = field.iter().skip(1).take_while(|byte| **byte >= 0x80).count() + 1;
        field.get(1 + length..).unwrap_or_default()
    }

    /// The records of `range`, which is cut to those there are.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let end = range.end.min(self.len());
        let start = range.start.min(end);
        let range = self.range.start + start..self.range.start + end;
        let base = self.begin(self.range.start);
        Self {
            fields: self.fields.slice(self.begin(range.start) - base..self.begin(range.end) - base),
            rows: Arc::clone(&self.rows),
            ends: Arc::clone(&self.ends),
            range,
        }
    }

    /// Where the field of a record begins, counted in all that were encoded together.
    fn begin(&self, at: usize) -> usize {
        at.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or_default()
    }
}
