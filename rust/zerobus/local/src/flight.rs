//! `DoPut` of Arrow Flight: its messages, a schema laid beside a table, and rows out of batches.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::reader::read_record_batch;
use arrow_ipc::{MessageHeader, root_as_message};
use arrow_schema::{DataType, Fields, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::grpc::Status;
use crate::plan::Misfit;
use crate::record::{BadRecord, Row, Value, check};
use crate::uc_type::{UcField, UcType};

/// The path of the call.
pub(crate) const DO_PUT: &str = "/arrow.flight.protocol.FlightService/DoPut";

#[derive(Clone, PartialEq, Message)]
pub(crate) struct FlightData {
    /// Nothing is done with it.
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub(crate) flight_descriptor: Option<Bytes>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) data_header: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) app_metadata: Bytes,
    #[prost(bytes = "bytes", tag = "1000")]
    pub(crate) data_body: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PutResult {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) app_metadata: Bytes,
}

/// What a client writes beside a batch.
#[derive(Deserialize)]
pub(crate) struct BatchMetadata {
    pub(crate) offset_id: i64,
}

/// What the service says.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct PutAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ack_up_to_offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ack_up_to_records: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) close_stream_duration_ms: Option<u64>,
}

impl PutAnswer {
    pub(crate) fn message(&self) -> PutResult {
        PutResult { app_metadata: serde_json::to_vec(self).unwrap_or_default().into() }
    }
}

/// How the batches of a stream become rows of its table.
#[derive(Debug)]
pub(crate) struct BatchPlan {
    schema: SchemaRef,
    /// The columns of the table.
    pub(crate) columns: Vec<UcField>,
    /// Of each of them, its place in a batch.
    places: Vec<Option<usize>>,
}

impl BatchPlan {
    /// Lays the schema of a stream beside the columns of its table.
    pub(crate) fn new(header: &[u8], columns: &[UcField]) -> Result<Self, Status> {
        let schema: Schema = guarded(|| {
            let message = root_as_message(header).map_err(|error| error.to_string())?;
            Ok(fb_to_schema(message.header_as_schema().ok_or("it is none")?))
        })
        .map_err(|reason| Status::invalid(format!("the schema cannot be read: {reason}")))?;
        let mut misfit = Misfit::default();
        fields_fit(schema.fields(), columns, "", &mut misfit);
        let mut last = None;
        for field in schema.fields() {
            let place = columns.iter().position(|column| column.name == *field.name());
            if schema.fields().iter().filter(|other| other.name() == field.name()).count() > 1 {
                misfit.add("FIELD_COUNT_MISMATCH", format!("column `{}` is there twice", field.name()));
            } else if place.is_some() && place < last {
                misfit.add("FIELD_OUT_OF_ORDER", format!("column `{}` is out of order", field.name()));
            }
            last = place.or(last);
        }
        misfit.into_result()?;
        let places = columns.iter().map(|column| schema.index_of(&column.name).ok()).collect();
        Ok(Self { schema: Arc::new(schema), columns: columns.to_vec(), places })
    }

    /// Reads a batch.
    pub(crate) fn batch(&self, data: &FlightData) -> Result<RecordBatch, String> {
        let message = root_as_message(&data.data_header).map_err(|error| error.to_string())?;
        if message.header_type() != MessageHeader::RecordBatch {
            return Err(format!("it is {:?}", message.header_type()));
        }
        let batch = message.header_as_record_batch().ok_or("it has no header")?;
        if batch.compression().is_some() {
            return Err("it is compressed, which only the service itself can read".to_owned());
        }
        // Buffers of Arrow are aligned, those of a message are as they come.
        let body = Buffer::from(data.data_body.as_ref());
        let none = HashMap::new();
        let version = message.version();
        let read = || read_record_batch(&body, batch, Arc::clone(&self.schema), &none, None, &version);
        guarded(|| read().map_err(|error| error.to_string()))
    }

    /// Takes a row out of a batch, and checks what the table demands of it.
    pub(crate) fn row<'b>(&self, batch: &'b RecordBatch, index: usize) -> Result<Row<'b>, BadRecord> {
        let arrays = self.places.iter().map(|place| batch.columns().get((*place)?));
        row(&self.columns, arrays, index)
    }
}

/// Does what Arrow may panic at where bytes are malformed.
fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("it is malformed".to_owned()))
}

fn fields_fit(fields: &Fields, columns: &[UcField], path: &str, misfit: &mut Misfit) {
    for field in fields {
        let place = format!("{path}{}", field.name());
        match columns.iter().find(|column| column.name == *field.name()) {
            Some(column) => fits(field.data_type(), &column.kind, &place, misfit),
            None => misfit.add("FIELD_NOT_IN_TABLE", format!("field `{place}` is no column")),
        }
    }
    for column in columns.iter().filter(|column| !column.nullable) {
        if !fields.iter().any(|field| *field.name() == column.name) {
            misfit.add("MISSING_REQUIRED_COLUMN", format!("column `{path}{}` has no field", column.name));
        }
    }
}

/// Whether a column takes what an array holds: the types must be those of the service to the letter.
fn fits(given: &DataType, kind: &UcType, place: &str, misfit: &mut Misfit) {
    let is_it = match (kind, given) {
        (UcType::Boolean, DataType::Boolean)
        | (UcType::Byte, DataType::Int8)
        | (UcType::Short, DataType::Int16)
        | (UcType::Int, DataType::Int32)
        | (UcType::Long, DataType::Int64)
        | (UcType::Float, DataType::Float32)
        | (UcType::Double, DataType::Float64)
        | (UcType::String | UcType::Decimal { .. }, DataType::LargeUtf8)
        | (UcType::Binary, DataType::LargeBinary)
        | (UcType::Date, DataType::Date32)
        | (UcType::TimestampNtz, DataType::Timestamp(TimeUnit::Microsecond, None)) => true,
        (UcType::Timestamp, DataType::Timestamp(TimeUnit::Microsecond, Some(zone))) => zone.as_ref() == "UTC",
        (UcType::Array(element), DataType::List(item)) if item.name() == "item" => {
            return fits(item.data_type(), element, &format!("{place}.item"), misfit);
        }
        (UcType::Map(key, value), DataType::Map(entries, _)) if entries.name() == "entries" => {
            match entries.data_type() {
                DataType::Struct(fields) if let [keys, values] = fields.as_ref() => {
                    fits(keys.data_type(), key, &format!("{place}.keys"), misfit);
                    fits(values.data_type(), value, &format!("{place}.values"), misfit);
                    keys.name() == "keys" && values.name() == "values"
                }
                _ => false,
            }
        }
        (UcType::Struct(columns), DataType::Struct(fields)) => {
            return fields_fit(fields, columns, &format!("{place}."), misfit);
        }
        // One of VARIANT would be a struct of binary parts, which nothing here reads.
        _ => false,
    };
    if !is_it {
        misfit.add("TYPE_INCOMPATIBLE", format!("`{place}` is {given}, its column {kind}"));
    }
}

fn row<'b>(
    columns: &[UcField],
    arrays: impl Iterator<Item = Option<&'b ArrayRef>>,
    index: usize,
) -> Result<Row<'b>, BadRecord> {
    let cell = |(column, array): (&UcField, Option<&'b ArrayRef>)| {
        let cell = array.map_or(Ok(None), |array| value(&column.kind, array, index));
        match cell.map_err(|bad: BadRecord| bad.within(&column.name))? {
            None if !column.nullable => {
                let reason = format!("column `{}` is required and missing", column.name);
                Err(BadRecord { reason, malformed: false })
            }
            cell => Ok(cell),
        }
    };
    columns.iter().zip(arrays).map(cell).collect()
}

/// The value of one cell; the types were seen to fit.
fn value<'b>(kind: &UcType, array: &'b ArrayRef, index: usize) -> Result<Option<Value<'b>>, BadRecord> {
    if array.is_null(index) {
        return Ok(None);
    }
    let value = match kind {
        UcType::Boolean => Value::Boolean(array.as_boolean().value(index)),
        UcType::Byte => Value::Integer(array.as_primitive::<Int8Type>().value(index).into()),
        UcType::Short => Value::Integer(array.as_primitive::<Int16Type>().value(index).into()),
        UcType::Int => Value::Integer(array.as_primitive::<Int32Type>().value(index).into()),
        UcType::Long => Value::Integer(array.as_primitive::<Int64Type>().value(index)),
        UcType::Date => Value::Integer(array.as_primitive::<Date32Type>().value(index).into()),
        UcType::Timestamp | UcType::TimestampNtz => {
            Value::Integer(array.as_primitive::<TimestampMicrosecondType>().value(index))
        }
        UcType::Float => Value::Float(array.as_primitive::<Float32Type>().value(index)),
        UcType::Double => Value::Double(array.as_primitive::<Float64Type>().value(index)),
        UcType::String | UcType::Decimal { .. } | UcType::Variant => Value::Text(array.as_string::<i64>().value(index)),
        UcType::Binary => Value::Bytes(array.as_binary::<i64>().value(index)),
        UcType::Array(element) => {
            let list = array.as_list::<i32>();
            Value::List(
                range(list.value_offsets(), index)
                    .map(|at| value(element, list.values(), at))
                    .collect::<Result<_, _>>()?,
            )
        }
        UcType::Map(key, inner) => {
            let map = array.as_map();
            let entry =
                |at| Ok((value(key, map.keys(), at)?.unwrap_or(Value::Integer(0)), value(inner, map.values(), at)?));
            Value::Map(range(map.value_offsets(), index).map(entry).collect::<Result<_, BadRecord>>()?)
        }
        UcType::Struct(columns) => {
            let inner = array.as_struct();
            Value::Struct(row(columns, columns.iter().map(|column| inner.column_by_name(&column.name)), index)?)
        }
    };
    check(kind, &value)?;
    Ok(Some(value))
}

/// The elements of a list.
fn range(offsets: &[i32], index: usize) -> std::ops::Range<usize> {
    let at = |index: usize| offsets.get(index).map_or(0, |offset| usize::try_from(*offset).unwrap_or_default());
    at(index)..at(index + 1)
}

#[cfg(test)]
mod tests {
    use arrow_array::types::Int32Type as Int;
    use arrow_array::{Int64Array, LargeStringArray, ListArray};
    use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};

    use super::*;

    fn columns() -> Vec<UcField> {
        let column = |(name, kind): (&str, &str)| UcField {
            name: name.to_owned(),
            kind: UcType::parse(kind).unwrap(),
            nullable: true,
        };
        [("id", "BIGINT"), ("text", "STRING"), ("list", "ARRAY<INT>")].into_iter().map(column).collect()
    }

    /// Headers of a schema and of a batch, and its body.
    fn written() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let list = ListArray::from_iter_primitive::<Int, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
        let columns: [(&str, ArrayRef); 3] = [
            ("id", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]))),
            ("text", Arc::new(LargeStringArray::from(vec![Some("one"), None, Some("")]))),
            ("list", Arc::new(list)),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let (generator, options) = (IpcDataGenerator::default(), IpcWriteOptions::default());
        let mut tracker = DictionaryTracker::new(true);
        let schema = generator.schema_to_bytes_with_dictionary_tracker(&batch.schema(), &mut tracker, &options);
        let mut context = IpcWriteContext::default();
        let (_, encoded) = generator.encode(&batch, &mut tracker, &options, &mut context).unwrap();
        (schema.ipc_message, encoded.ipc_message, encoded.arrow_data)
    }

    fn data(header: &[u8], body: &[u8]) -> FlightData {
        let (data_header, data_body) = (Bytes::copy_from_slice(header), Bytes::copy_from_slice(body));
        FlightData { data_header, data_body, ..FlightData::default() }
    }

    #[test]
    fn rows_come_out_of_batches() {
        let (schema, header, body) = written();
        let plan = BatchPlan::new(&schema, &columns()).unwrap();
        let batch = plan.batch(&data(&header, &body)).unwrap();
        let list = Value::List(vec![Some(Value::Integer(1)), None]);
        let rows: Vec<Row<'_>> = (0..3).map(|index| plan.row(&batch, index).unwrap()).collect();
        assert_eq!(rows[0], [Some(Value::Integer(1)), Some(Value::Text("one")), Some(list)]);
        assert_eq!(rows[1], [None, None, None]);
        assert_eq!(rows[2], [Some(Value::Integer(3)), Some(Value::Text("")), Some(Value::List(vec![]))]);
        let required =
            BatchPlan { columns: columns().into_iter().map(|c| UcField { nullable: false, ..c }).collect(), ..plan };
        assert!(required.row(&batch, 1).unwrap_err().reason.contains("column `id` is required"));
    }

    #[test]
    fn bytes_that_were_changed_do_no_harm() {
        let spoil = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            for _ in 0..rand::random_range(1..4) {
                let place = rand::random_range(0..bytes.len());
                bytes[place] = rand::random();
            }
            bytes
        };
        let (schema, header, body) = written();
        let plan = BatchPlan::new(&schema, &columns()).unwrap();
        let (mut refused, mut taken) = (0, 0);
        for _ in 0..3000 {
            refused += usize::from(BatchPlan::new(&spoil(&schema), &columns()).is_err());
            for data in [data(&spoil(&header), &body), data(&header, &spoil(&body))] {
                let Ok(batch) = plan.batch(&data) else { continue };
                taken += (0..batch.num_rows().min(100)).filter(|index| plan.row(&batch, *index).is_ok()).count();
            }
        }
        assert!(refused > 100 && taken > 100, "{refused} schemas were refused, {taken} rows taken");
    }
}
