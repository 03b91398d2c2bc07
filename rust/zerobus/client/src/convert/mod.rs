//! Arrow rows as Protobuf messages.

mod rows;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use bytes::Bytes;
use prost_types::DescriptorProto;

use crate::config::NullListElement;
use crate::error::ZerobusError;

pub use rows::EncodedRows;

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
    ///
    /// # Errors
    /// `ConfigurationError` for a batch of another schema, and for a column that has values but no field.
    pub fn requests(self: &Arc<Self>, batch: RecordBatch, limits: RequestLimits) -> Result<Requests, ZerobusError> {
        Ok(Requests { converter: Arc::clone(self), batch, limits, failed: Vec::new() })
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
