//! Arrow rows as Protobuf messages.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use bytes::Bytes;
use prost_types::DescriptorProto;

use crate::config::NullListElement;
use crate::error::ZerobusError;

/// How rows of one schema become messages of one descriptor. Made once per schema, shared by all that send.
#[derive(Debug)]
pub struct Converter {
    descriptor: DescriptorProto,
    descriptor_bytes: Bytes,
}

/// How much goes into one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Bytes of one record.
    pub record_bytes: usize,
    /// Bytes of the records of a request, with what precedes each.
    pub request_bytes: usize,
    /// Rows of a request.
    pub request_rows: usize,
}

impl Converter {
    /// Plans the way of the columns of `schema` into `descriptor`, or into one made for them.
    ///
    /// # Errors
    /// `ConfigurationError` for a descriptor that is none or lacks a column, `ConversionError` for a column that has no
    /// Protobuf type; both name it.
    pub fn new(
        _schema: &Schema,
        _descriptor: Option<&DescriptorProto>,
        _null_list_element: NullListElement,
    ) -> Result<Self, ZerobusError> {
        Err(ZerobusError::conversion("not there yet"))
    }

    /// The descriptor of the messages.
    pub fn descriptor(&self) -> &DescriptorProto {
        &self.descriptor
    }

    /// The same, serialised.
    pub fn descriptor_bytes(&self) -> &Bytes {
        &self.descriptor_bytes
    }

    /// Encodes `batch` request by request, as they are asked for. Blocks for the CPU time that takes.
    pub fn requests(self: &Arc<Self>, batch: RecordBatch, limits: RequestLimits) -> Requests {
        Requests { converter: Arc::clone(self), batch, limits, failed: Vec::new() }
    }
}

/// The requests of a batch: consecutive rows, none of them twice.
#[derive(Debug)]
pub struct Requests {
    #[expect(dead_code)]
    converter: Arc<Converter>,
    #[expect(dead_code)]
    batch: RecordBatch,
    #[expect(dead_code)]
    limits: RequestLimits,
    failed: Vec<(usize, ZerobusError)>,
}

impl Requests {
    /// The rows so far that cannot be encoded, ascending.
    pub fn failed(&self) -> &[(usize, ZerobusError)] {
        &self.failed
    }
}

impl Iterator for Requests {
    type Item = EncodedRows;

    fn next(&mut self) -> Option<EncodedRows> {
        None
    }
}

/// Rows as a run of fields `records` of the message `ProtoEncodedRecordBatch`: tag, length and record, one after another.
#[derive(Clone, Debug, Default)]
pub struct EncodedRows {
    /// The fields.
    pub records: Bytes,
    /// Of each record, the row of the batch that it is.
    pub rows: Arc<[usize]>,
    /// Of each record, where its field ends in the bytes of the rows that were encoded together.
    pub ends: Arc<[usize]>,
    /// Which of these rows are meant.
    pub range: Range<usize>,
}
