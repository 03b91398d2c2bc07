//! What is encoded, read back by `prost-reflect` through a descriptor pool and compared with the arrays.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::*;
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer, i256};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Field, Fields, IntervalUnit, Schema, TimeUnit};
use prost_reflect::{DescriptorPool, DynamicMessage, MapKey, MessageDescriptor, Value};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FieldOptions,
    FileDescriptorProto, FileDescriptorSet,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Converter, EncodedRows, RequestLimits};
use crate::config::NullListElement;
use crate::error::ZerobusError;

const LIMITS: RequestLimits =
    RequestLimits { record_bytes: 4_194_285, request_bytes: 10_420_224, request_rows: 10_000 };

/// What a descriptor pool makes of a descriptor.
fn resolve(descriptor: &DescriptorProto) -> MessageDescriptor {
    let file = FileDescriptorProto {
        name: Some("rows.proto".to_owned()),
        message_type: vec![descriptor.clone()],
        ..FileDescriptorProto::default()
    };
    let pool = DescriptorPool::from_file_descriptor_set(FileDescriptorSet { file: vec![file] }).unwrap();
    pool.get_message_by_name(descriptor.name()).unwrap()
}

/// The records by row, and the rows that failed with their errors.
type Encoded = (Vec<(usize, Vec<u8>)>, Vec<(usize, String)>);

fn encode_within(converter: &Converter, batch: &RecordBatch, limits: RequestLimits) -> Encoded {
    let mut requests = converter.requests(batch.clone(), limits).unwrap();
    let mut records = Vec::new();
    for request in requests.by_ref() {
        assert!(!request.is_empty() && request.len() <= limits.request_rows);
        assert!(request.byte_count() <= limits.request_bytes);
        assert_is_run(&request);
        records.extend((0..request.len()).map(|index| (request.row(index), request.record(index).to_vec())));
    }
    let failed: Vec<_> = requests
        .failed()
        .iter()
        .map(|(row, error)| {
            assert_eq!(error.error_type(), "ConversionError");
            (*row, error.failure().message.clone())
        })
        .collect();
    let mut rows: Vec<usize> = records.iter().map(|(row, _)| *row).collect();
    assert!(rows.is_sorted() && failed.is_sorted());
    rows.extend(failed.iter().map(|(row, _)| *row));
    rows.sort_unstable();
    assert_eq!(rows, (0..batch.num_rows()).collect::<Vec<_>>(), "each row once");
    (records, failed)
}

/// The fields are the records with tag and length, and nothing else.
fn assert_is_run(request: &EncodedRows) {
    #[derive(prost::Message)]
    struct ProtoEncodedRecordBatch {
        #[prost(bytes = "vec", repeated, tag = "1")]
        records: Vec<Vec<u8>>,
    }
    let batch: ProtoEncodedRecordBatch = prost::Message::decode(request.fields().clone()).unwrap();
    let records: Vec<_> = (0..request.len()).map(|index| request.record(index).to_vec()).collect();
    assert_eq!(batch.records, records);
}

fn encode(converter: &Converter, batch: &RecordBatch) -> Encoded {
    encode_within(converter, batch, LIMITS)
}

fn converter(batch: &RecordBatch, descriptor: Option<&DescriptorProto>) -> Result<Converter, ZerobusError> {
    Converter::new(&batch.schema(), descriptor, NullListElement::Error)
}

fn messages(converter: &Converter, batch: &RecordBatch) -> (Vec<(usize, DynamicMessage)>, Vec<(usize, String)>) {
    let message = resolve(converter.descriptor());
    let (records, failed) = encode(converter, batch);
    let decode = |record: &[u8]| DynamicMessage::decode(message.clone(), record).unwrap();
    (records.iter().map(|(row, record)| (*row, decode(record))).collect(), failed)
}

fn batch(columns: Vec<(&str, ArrayRef, bool)>) -> RecordBatch {
    let fields: Vec<_> =
        columns.iter().map(|(name, array, nullable)| Field::new(*name, array.data_type().clone(), *nullable)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|column| column.1).collect()).unwrap()
}

/// All values of a field that all rows have.
fn column(batch: &RecordBatch, descriptor: Option<&DescriptorProto>, name: &str) -> Vec<Value> {
    let converter = converter(batch, descriptor).unwrap();
    let (messages, failed) = messages(&converter, batch);
    assert_eq!(failed, []);
    messages.iter().map(|(_, message)| message.get_field_by_name(name).unwrap().into_owned()).collect()
}

#[test]
fn f09_narrow() {
    let batch = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1, -1, i64::MAX, i64::MIN])), false),
        ("text", Arc::new(StringArray::from(vec![Some("a"), None, Some(""), Some("é")])), true),
    ]);
    assert_eq!(column(&batch, None, "id"), [1, -1, i64::MAX, i64::MIN].map(Value::I64));
    assert_eq!(column(&batch, None, "text"), ["a", "", "", "é"].map(|text| Value::String(text.to_owned())));
}
