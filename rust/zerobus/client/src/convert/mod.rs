//! Arrow rows as Protobuf messages.

mod column;
pub(crate) mod decimal;
mod descriptor;
mod leaf;
mod list;
mod mapped;
mod plan;
mod requests;
mod rows;
mod variant;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{FieldRef, Fields, Schema};
use bytes::Bytes;
use prost::Message as _;
use prost_types::DescriptorProto;

use self::column::Message;
use self::descriptor::Types;
use self::plan::{MessagePlan, Planner};
use crate::config::NullListElement;
use crate::error::ZerobusError;

pub(crate) use requests::Next;
pub use requests::Requests;
#[cfg(feature = "flight")]
pub(crate) use requests::record_failure;
pub use rows::EncodedRows;

/// How rows of one schema become messages of one descriptor. Made once per schema, shared by all that send.
#[derive(Debug)]
pub struct Converter {
    descriptor: DescriptorProto,
    descriptor_bytes: Bytes,
    columns: Fields,
    plan: MessagePlan,
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
        schema: &Schema,
        descriptor: Option<&DescriptorProto>,
        null_list_element: NullListElement,
    ) -> Result<Self, ZerobusError> {
        let generated;
        let descriptor = if let Some(descriptor) = descriptor {
            descriptor
        } else {
            generated = descriptor::generate(schema.fields())?;
            &generated
        };
        let planner = Planner { types: Types::check(descriptor)?, null_list_element };
        let plan = planner.message(planner.types.root_name(), descriptor, schema.fields(), "", 0)?;
        let descriptor_bytes = descriptor.encode_to_vec().into();
        Ok(Self { descriptor: descriptor.clone(), descriptor_bytes, columns: schema.fields().clone(), plan })
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
    #[expect(clippy::needless_pass_by_value, reason = "the requests keep its memory")]
    pub fn requests(&self, batch: RecordBatch, limits: RequestLimits) -> Result<Requests, ZerobusError> {
        let schema = batch.schema_ref();
        let same = |(ours, theirs): (&FieldRef, &FieldRef)| {
            Arc::ptr_eq(ours, theirs) || (ours.name() == theirs.name() && ours.data_type() == theirs.data_type())
        };
        if self.columns.len() != schema.fields().len() || !self.columns.iter().zip(schema.fields()).all(same) {
            return Err(ZerobusError::configuration("the batch has another schema than was planned for"));
        }
        Ok(Requests::new(Message::bind(&self.plan, batch.columns(), None)?, batch.num_rows(), limits))
    }
}
