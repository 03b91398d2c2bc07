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
use prost_reflect::{DescriptorPool, DynamicMessage, MapKey, MessageDescriptor, ReflectMessage, Value};
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
            (*row, error.failure().message.to_string())
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

/// The same, decoded.
type Decoded = (Vec<(usize, DynamicMessage)>, Vec<(usize, String)>);

fn messages(converter: &Converter, batch: &RecordBatch) -> Decoded {
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

/// A value is that of a row: read from the array by its type, which is none of dictionaries, runs and views.
fn assert_value(value: &Value, array: &dyn Array, row: usize) {
    let data_type = array.data_type();
    macro_rules! primitive {
        ($type:ty) => {
            array.as_primitive::<$type>().value(row)
        };
    }
    // Times a positive factor, or divided by a negative one and rounded down.
    let whole = |factor: i128, value: i64| {
        let value = i128::from(value);
        let exact = if factor > 0 { value * factor } else { (value - value.rem_euclid(-factor)) / -factor };
        i64::try_from(exact).unwrap()
    };
    match data_type {
        DataType::Boolean => assert_eq!(*value, Value::Bool(array.as_boolean().value(row))),
        DataType::Int8 => assert_eq!(*value, Value::I32(primitive!(types::Int8Type).into())),
        DataType::Int16 => assert_eq!(*value, Value::I32(primitive!(Int16Type).into())),
        DataType::Int32 => assert_eq!(*value, Value::I32(primitive!(Int32Type))),
        DataType::Int64 => assert_eq!(*value, Value::I64(primitive!(Int64Type))),
        DataType::UInt8 => assert_eq!(*value, Value::I32(primitive!(UInt8Type).into())),
        DataType::UInt16 => assert_eq!(*value, Value::I32(primitive!(UInt16Type).into())),
        DataType::UInt32 => assert_eq!(*value, Value::I64(primitive!(UInt32Type).into())),
        DataType::UInt64 => assert_eq!(*value, Value::I64(i64::try_from(primitive!(UInt64Type)).unwrap())),
        DataType::Float16 => {
            assert_eq!(value.as_f32().unwrap().to_bits(), primitive!(Float16Type).to_f32().to_bits());
        }
        DataType::Float32 => {
            assert_eq!(value.as_f32().unwrap().to_bits(), primitive!(types::Float32Type).to_bits());
        }
        DataType::Float64 => {
            assert_eq!(value.as_f64().unwrap().to_bits(), primitive!(types::Float64Type).to_bits());
        }
        DataType::Utf8 => assert_eq!(value.as_str().unwrap(), array.as_string::<i32>().value(row)),
        DataType::Binary => assert_eq!(value.as_bytes().unwrap(), array.as_binary::<i32>().value(row)),
        DataType::FixedSizeBinary(_) => {
            assert_eq!(value.as_bytes().unwrap(), array.as_fixed_size_binary().value(row));
        }
        DataType::Date32 => assert_eq!(*value, Value::I32(primitive!(types::Date32Type))),
        DataType::Date64 => {
            assert_eq!(*value, Value::I32(whole(-86_400_000, primitive!(types::Date64Type)) as i32));
        }
        DataType::Timestamp(TimeUnit::Second, _) => {
            assert_eq!(*value, Value::I64(whole(1_000_000, primitive!(types::TimestampSecondType))));
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            assert_eq!(*value, Value::I64(whole(1000, primitive!(types::TimestampMillisecondType))));
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            assert_eq!(*value, Value::I64(primitive!(types::TimestampMicrosecondType)));
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            assert_eq!(*value, Value::I64(whole(-1000, primitive!(types::TimestampNanosecondType))));
        }
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            let text = arrow_cast::display::array_value_to_string(array, row).unwrap();
            assert_eq!(value.as_str().unwrap(), text);
        }
        DataType::List(_) => assert_list(value, &array.as_list::<i32>().value(row)),
        DataType::FixedSizeList(..) => assert_list(value, &array.as_fixed_size_list().value(row)),
        DataType::Struct(_) => assert_message(value.as_message().unwrap(), array.as_struct(), row),
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let map = value.as_map().unwrap();
            let values = plain(entries.column(1));
            let keys: Vec<MapKey> = match entries.column(0).data_type() {
                DataType::Utf8 => entries
                    .column(0)
                    .as_string::<i32>()
                    .iter()
                    .map(|key| MapKey::String(key.unwrap().to_owned()))
                    .collect(),
                DataType::Int32 => {
                    entries.column(0).as_primitive::<Int32Type>().values().iter().map(|key| MapKey::I32(*key)).collect()
                }
                other => unreachable!("{other}"),
            };
            for (index, key) in keys.iter().enumerate() {
                // The last of equal keys counts.
                if keys.iter().rposition(|other| other == key) == Some(index) && values.is_valid(index) {
                    assert_value(&map[key], &values, index);
                }
            }
            assert!(map.keys().all(|key| keys.contains(key)));
        }
        other => unreachable!("{other}"),
    }
}

fn assert_list(value: &Value, elements: &ArrayRef) {
    let values = value.as_list().unwrap();
    let elements = plain(elements);
    assert_eq!(values.len(), elements.len());
    for (row, value) in values.iter().enumerate() {
        assert_value(value, &elements, row);
    }
}

fn assert_message(message: &DynamicMessage, columns: &StructArray, row: usize) {
    assert_eq!(message.unknown_fields().count(), 0);
    for (field, array) in columns.fields().iter().zip(columns.columns()) {
        let Some(descriptor) = message.descriptor().get_field_by_name(field.name()) else {
            assert_eq!(*field.data_type(), DataType::Null);
            continue;
        };
        let value = message.get_field(&descriptor);
        let array = plain(array);
        if array.is_null(row) {
            assert!(!message.has_field(&descriptor), "{field} of row {row} is null, not {value:?}");
        } else {
            // Fields of proto2 know absent values; lists and maps do not.
            assert!(message.has_field(&descriptor) || descriptor.is_list() || descriptor.is_map());
            assert_value(&value, &array, row);
        }
    }
}

/// The array without dictionaries, runs, views and wide offsets on its outermost level.
fn plain(array: &ArrayRef) -> ArrayRef {
    let to = match array.data_type() {
        DataType::Dictionary(_, values) => (**values).clone(),
        DataType::RunEndEncoded(_, values) => values.data_type().clone(),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item) => {
            DataType::List(Arc::clone(item))
        }
        _ => return Arc::clone(array),
    };
    plain(&arrow_cast::cast(array, &to).unwrap())
}

fn assert_rows(converter: &Converter, batch: &RecordBatch) {
    let (messages, failed) = messages(converter, batch);
    assert_eq!(failed, []);
    let columns = StructArray::from(batch.clone());
    for (row, message) in &messages {
        assert_message(message, &columns, *row);
    }
}

/// An array of random values; edges are as likely as all others together.
struct Random(StdRng);

impl Random {
    fn nulls(&mut self, len: usize, nullable: bool) -> Option<NullBuffer> {
        (nullable && self.0.random_bool(0.8)).then(|| (0..len).map(|_| self.0.random_bool(0.7)).collect())
    }

    fn int(&mut self, bits: u32) -> i64 {
        let value = match self.0.random_range(0..8) {
            0 => 0,
            1 => -1,
            2 => i64::MAX,
            3 => i64::MIN,
            _ => self.0.random::<i64>() >> self.0.random_range(0..63),
        };
        value >> (64 - bits)
    }

    fn text(&mut self) -> String {
        let len = match self.0.random_range(0..4) {
            0 => 0,
            1 => self.0.random_range(1..13),
            2 => self.0.random_range(13..200),
            _ => 16,
        };
        (0..len).map(|_| if self.0.random_bool(0.1) { 'é' } else { self.0.random_range('a'..='z') }).collect()
    }

    fn offsets(&mut self, len: usize) -> OffsetBuffer<i32> {
        OffsetBuffer::from_lengths((0..len).map(|_| self.0.random_range(0..4)).collect::<Vec<_>>())
    }

    fn primitive<T: ArrowPrimitiveType>(
        &mut self,
        len: usize,
        nullable: bool,
        mut value: impl FnMut(&mut Self) -> T::Native,
    ) -> PrimitiveArray<T> {
        let values: Vec<_> = (0..len).map(|_| value(self)).collect();
        PrimitiveArray::new(values.into(), self.nulls(len, nullable))
    }

    fn array(&mut self, data_type: &DataType, len: usize, nullable: bool) -> ArrayRef {
        use types::*;
        macro_rules! temporal {
            ($type:ty, $bits:expr) => {
                Arc::new(
                    self.primitive::<$type>(len, nullable, |random| random.int($bits) as _)
                        .with_data_type(data_type.clone()),
                )
            };
        }
        match data_type {
            DataType::Null => Arc::new(NullArray::new(len)),
            DataType::Boolean => {
                let values: BooleanBuffer = (0..len).map(|_| self.0.random_bool(0.5)).collect();
                Arc::new(BooleanArray::new(values, self.nulls(len, nullable)))
            }
            DataType::Int8 => temporal!(Int8Type, 8),
            DataType::Int16 => temporal!(Int16Type, 16),
            DataType::Int32 => temporal!(Int32Type, 32),
            DataType::Int64 => temporal!(Int64Type, 64),
            DataType::UInt8 => temporal!(UInt8Type, 8),
            DataType::UInt16 => temporal!(UInt16Type, 16),
            DataType::UInt32 => temporal!(UInt32Type, 32),
            DataType::UInt64 => {
                Arc::new(self.primitive::<UInt64Type>(len, nullable, |random| random.int(64).unsigned_abs() >> 1))
            }
            DataType::Date32 => temporal!(Date32Type, 32),
            DataType::Date64 => temporal!(Date64Type, 56),
            DataType::Timestamp(TimeUnit::Second, _) => temporal!(TimestampSecondType, 43),
            DataType::Timestamp(TimeUnit::Millisecond, _) => temporal!(TimestampMillisecondType, 53),
            DataType::Timestamp(TimeUnit::Microsecond, _) => temporal!(TimestampMicrosecondType, 64),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => temporal!(TimestampNanosecondType, 50),
            DataType::Float16 => Arc::new(self.primitive::<Float16Type>(len, nullable, |random| {
                <Float16Type as ArrowPrimitiveType>::Native::from_f32(random.0.random::<f32>() * 100.0)
            })),
            DataType::Float32 => Arc::new(self.primitive::<Float32Type>(len, nullable, |random| {
                [f32::NAN, f32::NEG_INFINITY, -0.0, random.0.random()][random.0.random_range(0..4)]
            })),
            DataType::Float64 => Arc::new(self.primitive::<Float64Type>(len, nullable, |random| {
                [f64::NAN, f64::INFINITY, -0.0, random.0.random()][random.0.random_range(0..4)]
            })),
            DataType::Decimal32(..) => temporal!(Decimal32Type, 29),
            DataType::Decimal64(..) => temporal!(Decimal64Type, 59),
            DataType::Decimal128(..) => Arc::new(
                self.primitive::<Decimal128Type>(len, nullable, |random| {
                    i128::from(random.int(64)) * i128::from(random.0.random::<u32>())
                })
                .with_data_type(data_type.clone()),
            ),
            DataType::Decimal256(..) => Arc::new(
                self.primitive::<Decimal256Type>(len, nullable, |random| {
                    i256::from_i128(i128::from(random.int(64)) * i128::from(random.int(62)))
                        * i256::from_i128(random.0.random())
                })
                .with_data_type(data_type.clone()),
            ),
            DataType::Utf8 => {
                let nulls = self.nulls(len, nullable);
                let values = StringArray::from_iter_values((0..len).map(|_| self.text()));
                Arc::new(StringArray::new(values.offsets().clone(), values.values().clone(), nulls))
            }
            DataType::FixedSizeBinary(size) => {
                let bytes: Vec<u8> = (0..len * *size as usize).map(|_| self.0.random()).collect();
                let nulls = self.nulls(len, nullable);
                Arc::new(FixedSizeBinaryArray::new(*size, bytes.into(), nulls))
            }
            DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView => arrow_cast::cast(&self.array(&DataType::Utf8, len, nullable), data_type).unwrap(),
            DataType::List(item) => {
                let offsets = self.offsets(len);
                let elements = self.array(item.data_type(), *offsets.last().unwrap() as usize, false);
                Arc::new(ListArray::new(Arc::clone(item), offsets, elements, self.nulls(len, nullable)))
            }
            DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item) => {
                let list = self.array(&DataType::List(Arc::clone(item)), len, nullable);
                arrow_cast::cast(&list, data_type).unwrap()
            }
            DataType::FixedSizeList(item, size) => {
                let elements = self.array(item.data_type(), len * *size as usize, false);
                Arc::new(FixedSizeListArray::new(Arc::clone(item), *size, elements, self.nulls(len, nullable)))
            }
            DataType::Struct(fields) => {
                let columns =
                    fields.iter().map(|field| self.array(field.data_type(), len, field.is_nullable())).collect();
                let nulls = self.nulls(len, nullable);
                Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, len).unwrap())
            }
            DataType::Map(entries, ordered) => {
                let DataType::Struct(fields) = entries.data_type() else { unreachable!() };
                let offsets = self.offsets(len);
                let count = *offsets.last().unwrap() as usize;
                let entries_array = StructArray::new(
                    fields.clone(),
                    vec![
                        self.array(fields[0].data_type(), count, false),
                        self.array(fields[1].data_type(), count, fields[1].is_nullable()),
                    ],
                    None,
                );
                let nulls = self.nulls(len, nullable);
                Arc::new(MapArray::new(Arc::clone(entries), offsets, entries_array, nulls, *ordered))
            }
            DataType::Dictionary(_, values) => {
                let keys: Vec<u16> = (0..len).map(|_| self.0.random_range(0..7)).collect();
                let keys = UInt16Array::new(keys.into(), self.nulls(len, nullable));
                Arc::new(DictionaryArray::new(keys, self.array(values, 7, nullable)))
            }
            DataType::RunEndEncoded(_, values) => {
                let mut ends = Vec::new();
                while ends.last().is_none_or(|end| (*end as usize) < len) {
                    ends.push(ends.last().unwrap_or(&0) + self.0.random_range(1..5));
                }
                let last = ends.len() - 1;
                ends[last] = (len as i32).max(ends.len() as i32);
                let values = self.array(values.data_type(), ends.len(), nullable);
                let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(ends), &values).unwrap();
                Arc::new(runs.slice(0, len))
            }
            other => unreachable!("{other}"),
        }
    }
}

fn item(data_type: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", data_type, true))
}

fn dictionary(values: DataType) -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt16), Box::new(values))
}

fn runs(values: DataType) -> DataType {
    DataType::RunEndEncoded(
        Arc::new(Field::new("run_ends", DataType::Int32, false)),
        Arc::new(Field::new("values", values, true)),
    )
}

fn map(key: DataType, value: DataType, nullable: bool) -> DataType {
    let entries = Fields::from(vec![Field::new("keys", key, false), Field::new("values", value, nullable)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

fn scalars() -> Vec<DataType> {
    vec![
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float16,
        DataType::Float32,
        DataType::Float64,
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Binary,
        DataType::LargeBinary,
        DataType::BinaryView,
        DataType::FixedSizeBinary(5),
        DataType::Date32,
        DataType::Date64,
        DataType::Timestamp(TimeUnit::Second, None),
        DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(TimeUnit::Nanosecond, Some("Europe/Berlin".into())),
        DataType::Decimal32(9, 2),
        DataType::Decimal64(18, 18),
        DataType::Decimal128(38, 0),
        DataType::Decimal128(38, 10),
        DataType::Decimal256(76, 20),
    ]
}

/// A struct of some scalars and, `depth` levels down, of further structs, lists, maps and dictionaries of them.
fn nested(random: &mut Random, depth: usize) -> DataType {
    let some = scalars();
    let mut fields: Vec<Field> = (0..random.0.random_range(1..4))
        .map(|index| {
            let data_type = some[random.0.random_range(0..some.len())].clone();
            Field::new(format!("scalar_{index}"), data_type, random.0.random_bool(0.7))
        })
        .collect();
    if depth > 0 {
        let below = nested(random, depth - 1);
        let below = match random.0.random_range(0..7) {
            0 => DataType::List(item(below)),
            1 => DataType::LargeList(item(below)),
            2 => map(DataType::Utf8, below, false),
            3 => dictionary(below),
            4 => DataType::FixedSizeList(item(below), 2),
            5 => DataType::ListView(item(below)),
            _ => below,
        };
        fields.insert(random.0.random_range(0..=fields.len()), Field::new("below", below, true));
    }
    DataType::Struct(fields.into())
}

#[test]
fn f09_all_types_come_out_as_they_went_in() {
    let mut random = Random(StdRng::seed_from_u64(9));
    let mut types = scalars();
    types.extend(scalars().into_iter().map(|data_type| DataType::List(item(data_type))));
    types.extend(scalars().into_iter().map(dictionary));
    types.extend(scalars().into_iter().map(runs));
    types.extend([DataType::Int32, DataType::Utf8, DataType::Decimal128(38, 3)].into_iter().flat_map(|data_type| {
        [
            DataType::LargeList(item(data_type.clone())),
            DataType::FixedSizeList(item(data_type.clone()), 3),
            DataType::ListView(item(data_type.clone())),
            DataType::LargeListView(item(data_type.clone())),
            DataType::List(item(dictionary(data_type.clone()))),
            map(DataType::Int32, data_type.clone(), true),
            map(DataType::Utf8, runs(data_type.clone()), false),
            dictionary(DataType::List(item(data_type))),
        ]
    }));
    types.push(DataType::Null);
    for round in 0..3 {
        let fields: Fields = types
            .iter()
            .enumerate()
            .map(|(index, data_type)| Field::new(format!("c{index}"), data_type.clone(), (index + round) % 5 > 0))
            .collect();
        let columns = fields.iter().map(|field| random.array(field.data_type(), 300, field.is_nullable())).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        assert_rows(&converter(&batch, None).unwrap(), &batch);
    }
}

#[test]
fn f09_nested_types_come_out_as_they_went_in() {
    let mut random = Random(StdRng::seed_from_u64(99));
    for round in 0..40 {
        let DataType::Struct(fields) = nested(&mut random, 5) else { unreachable!() };
        let columns = fields.iter().map(|field| random.array(field.data_type(), 60, field.is_nullable())).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let converter = converter(&batch, None).unwrap();
        assert_rows(&converter, &batch);
        assert_rows(&converter, &batch.slice(round, 20));
    }
}

#[test]
fn f10_slices_encode_the_slice_alone() {
    let mut random = Random(StdRng::seed_from_u64(10));
    let mut fields: Vec<Field> = scalars()
        .into_iter()
        .flat_map(|data_type| [data_type.clone(), DataType::List(item(data_type.clone())), runs(data_type)])
        .enumerate()
        .map(|(index, data_type)| Field::new(format!("c{index}"), data_type, true))
        .collect();
    fields.push(Field::new("below", nested(&mut random, 3), true));
    let columns = fields.iter().map(|field| random.array(field.data_type(), 200, true)).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let converter = converter(&batch, None).unwrap();
    let (whole, _) = encode(&converter, &batch);
    for (offset, length) in [(0, 200), (0, 1), (1, 199), (7, 64), (8, 8), (63, 70), (199, 1), (200, 0), (50, 0)] {
        let (slice, failed) = encode(&converter, &batch.slice(offset, length));
        assert_eq!(failed, []);
        let expected: Vec<_> =
            whole[offset..offset + length].iter().map(|(row, record)| (row - offset, record.clone())).collect();
        assert_eq!(slice, expected, "rows {offset}, {length} of them");
    }
}

#[test]
fn f10_requests_keep_to_their_limits() {
    let texts: Vec<String> = (0..5000).map(|row| "x".repeat(row % 300)).collect();
    let batch = batch(vec![("text", Arc::new(StringArray::from(texts)), false)]);
    let converter = converter(&batch, None).unwrap();
    let (whole, _) = encode(&converter, &batch);
    for (request_bytes, request_rows) in [(400, 10_000), (1000, 3), (100_000, 1), (1 << 20, 2000), (usize::MAX, 777)] {
        let limits = RequestLimits { record_bytes: usize::MAX, request_bytes, request_rows };
        let (rows, failed) = encode_within(&converter, &batch, limits);
        assert_eq!((rows, failed), (whole.clone(), vec![]));
        // A request is closed only because the next record does not fit.
        let requests: Vec<_> = converter.requests(batch.clone(), limits).unwrap().collect();
        for pair in requests.windows(2) {
            let next = pair[1].slice(0..1).byte_count();
            assert!(pair[0].len() == request_rows || pair[0].byte_count() + next > request_bytes);
        }
    }
}

#[test]
fn f10_encoded_rows_slice_without_a_copy() {
    let batch = batch(vec![("id", Arc::new(Int64Array::from_iter_values((0..100).map(|id| id << (id % 60)))), false)]);
    let converter = converter(&batch, None).unwrap();
    let rows = converter.requests(batch, LIMITS).unwrap().next().unwrap();
    let inner = rows.slice(10..90).slice(5..75);
    assert_eq!((inner.len(), inner.row(0), inner.rows().len()), (70, 15, 70));
    for index in 0..70 {
        assert_eq!(inner.record(index), rows.record(15 + index));
        assert_eq!(inner.record(index).as_ptr(), rows.record(15 + index).as_ptr());
    }
    let (left, right) = (inner.slice(0..35), inner.slice(35..70));
    assert_eq!([left.fields().as_ref(), right.fields()].concat(), inner.fields().as_ref());
    assert_eq!(left.byte_count() + right.byte_count(), inner.byte_count());
    let none = rows.slice(100..200);
    assert!(none.is_empty() && none.fields().is_empty() && none.record(0).is_empty());
    assert!(rows.slice(7..7).rows().is_empty());
}

/// Rows and texts of those that fail, which are all that do.
fn failures(batch: &RecordBatch, descriptor: Option<&DescriptorProto>) -> Vec<(usize, String)> {
    let converter = converter(batch, descriptor).unwrap();
    let (messages, failed) = messages(&converter, batch);
    assert_eq!(messages.len() + failed.len(), batch.num_rows());
    failed
}

fn failed(row: usize, field: &str, why: &str) -> (usize, String) {
    (row, format!("Field encoding failed: field='{field}', row={row}, error={why}"))
}

#[test]
fn f11_exactly_the_bad_rows_fail() {
    let seconds = batch(vec![(
        "time",
        Arc::new(TimestampSecondArray::from(vec![0, i64::MAX, 9_223_372_036_854, 9_223_372_036_855, i64::MIN])),
        true,
    )]);
    let rows: Vec<usize> = failures(&seconds, None).iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, [1, 3, 4]);
    let text = &failures(&seconds, None)[0];
    assert_eq!(*text, failed(1, "time", "9223372036854775807000000 does not fit int64"));

    let millis = Arc::new(TimestampMillisecondArray::from(vec![i64::MAX / 1000, i64::MAX / 1000 + 1, i64::MIN]));
    let rows: Vec<usize> = failures(&batch(vec![("t", millis, true)]), None).iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, [1, 2]);

    let unsigned = Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(i64::MAX as u64), Some(1 << 63)]));
    assert_eq!(
        failures(&batch(vec![("u", unsigned, true)]), None),
        [
            failed(0, "u", "18446744073709551615 does not fit int64"),
            failed(3, "u", "9223372036854775808 does not fit int64")
        ]
    );
    // More days than a date has, of milliseconds.
    let dates = Arc::new(Date64Array::from(vec![i64::MIN, 0, i64::MAX]));
    assert_eq!(failures(&batch(vec![("d", dates, true)]), None).len(), 2);
}

#[test]
fn f11_null_in_a_required_field() {
    let descriptor = message("M", vec![typed("id", 1, Label::Required, Type::Int64)]);
    let ids = Arc::new(Int64Array::from(vec![Some(1), None, Some(3), None]));
    let why = "null in a required field";
    assert_eq!(
        failures(&batch(vec![("id", ids, true)]), Some(&descriptor)),
        [failed(1, "id", why), failed(3, "id", why)]
    );

    // In structs below null structs nothing is required.
    let child = Field::new("b", DataType::Utf8, false);
    let parent = |column: ArrayRef, nulls: Option<NullBuffer>| {
        StructArray::try_new(vec![child.clone().with_nullable(true)].into(), vec![column], nulls).unwrap()
    };
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, None, Some("d")]));
    let structs = parent(texts, Some(vec![true, false, true, true].into()));
    let mut inner = message("M_a", vec![typed("b", 1, Label::Required, Type::String)]);
    let mut outer = message("M", vec![named("a", 1, Label::Optional, Type::Message, "M_a")]);
    outer.nested_type.push(std::mem::take(&mut inner));
    assert_eq!(failures(&batch(vec![("a", Arc::new(structs.clone()), true)]), Some(&outer)), [failed(2, "a.b", why)]);

    // Rows of lists are found by their elements.
    let lists = ListArray::new(
        item(structs.data_type().clone()),
        OffsetBuffer::new(vec![0, 0, 1, 1, 3, 4, 4].into()),
        Arc::new(structs),
        Some(vec![true, true, true, true, true, true].into()),
    );
    outer.field = vec![named("a", 1, Label::Repeated, Type::Message, "M_a")];
    let batch_of_lists = batch(vec![("a", Arc::new(lists), true)]);
    assert_eq!(failures(&batch_of_lists, Some(&outer)), [failed(3, "a", "a list has a null element")]);
    let kept = Converter::new(&batch_of_lists.schema(), Some(&outer), NullListElement::Drop).unwrap();
    assert_eq!(encode(&kept, &batch_of_lists).1, [failed(3, "a.b", why)]);
    assert_eq!(encode(&kept, &batch_of_lists.slice(2, 3)).1, [failed(1, "a.b", why)]);
}

#[test]
fn f11_a_required_field_without_column_fails_all_rows() {
    let fields = vec![typed("id", 1, Label::Optional, Type::Int64), typed("other", 2, Label::Required, Type::Int64)];
    let descriptor = message("M", fields);
    let ids = batch(vec![("id", Arc::new(Int64Array::from(vec![1, 2])), false)]);
    let why = "a required field has no column";
    assert_eq!(failures(&ids, Some(&descriptor)), [failed(0, "other", why), failed(1, "other", why)]);
    let nulls = batch(vec![("other", Arc::new(NullArray::new(1)), true)]);
    assert_eq!(failures(&nulls, Some(&descriptor)), [failed(0, "other", "null in a required field")]);
}

#[test]
fn f11_null_elements() {
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None, Some(3)]),
        None,
        Some(vec![]),
        Some(vec![Some(4)]),
        Some(vec![None]),
    ]);
    let lists = batch(vec![("list", Arc::new(lists), true)]);
    let why = "a list has a null element";
    assert_eq!(failures(&lists, None), [failed(0, "list", why), failed(4, "list", why)]);

    let dropping = Converter::new(&lists.schema(), None, NullListElement::Drop).unwrap();
    let (messages, failures) = messages(&dropping, &lists);
    assert_eq!(failures, []);
    let values: Vec<Vec<i32>> = messages
        .iter()
        .map(|(_, message)| {
            let list = message.get_field_by_name("list").unwrap();
            list.as_list().unwrap().iter().map(|value| value.as_i32().unwrap()).collect()
        })
        .collect();
    assert_eq!(values, [vec![1, 3], vec![], vec![], vec![4], vec![]]);
}

#[test]
fn f11_null_lists_keys_and_values() {
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1)]), None]));
    let schema = Schema::new(vec![Field::new("list", lists.data_type().clone(), false)]);
    let strict = Converter::new(&schema, None, NullListElement::Error).unwrap();
    let nullable = batch(vec![("list", lists, true)]);
    assert_eq!(encode(&strict, &nullable).1, [failed(1, "list", "null in a list that is not nullable")]);

    let DataType::Map(entries, _) = map(DataType::Int32, DataType::Int32, true) else { unreachable!() };
    let DataType::Struct(fields) = entries.data_type() else { unreachable!() };
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int32Array::from(vec![1, 2, 3])), Arc::new(Int32Array::from(vec![Some(10), None, Some(30)]))];
    let values = StructArray::new(fields.clone(), columns, None);
    let maps = MapArray::new(Arc::clone(&entries), OffsetBuffer::new(vec![0, 1, 3].into()), values, None, false);
    let maps = batch(vec![("map", Arc::new(maps), true)]);
    let (records, failures) = encode(&converter(&maps, None).unwrap(), &maps);
    // Entries 1: 10, then 2 without a value and 3: 30.
    assert_eq!(failures, []);
    assert_eq!(records[0].1, [0x0a, 4, 0x08, 1, 0x10, 10]);
    assert_eq!(records[1].1, [0x0a, 2, 0x08, 2, 0x0a, 4, 0x08, 3, 0x10, 30]);
    let mut descriptor = converter(&maps, None).unwrap().descriptor().clone();
    descriptor.nested_type[0].field[1].label = Some(Label::Required as i32);
    let (_, failures) = encode(&converter(&maps, Some(&descriptor)).unwrap(), &maps);
    assert_eq!(failures, [failed(1, "map", "null in a required field")]);
}

#[test]
fn f11_records_that_are_too_large() {
    let lengths = [10, 97, 98, 99, 300, 5];
    let texts: Vec<String> = lengths.iter().map(|length| "x".repeat(*length)).collect();
    let texts = batch(vec![("text", Arc::new(StringArray::from(texts)), false)]);
    let converter = converter(&texts, None).unwrap();
    let limits = RequestLimits { record_bytes: 100, request_bytes: 220, request_rows: 10 };
    let (records, failures) = encode_within(&converter, &texts, limits);
    assert_eq!(records.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0, 1, 2, 5]);
    assert_eq!(
        failures,
        [
            (3, "Record encoding failed: row=3, error=a record of 101 bytes, limit 100".to_owned()),
            (4, "Record encoding failed: row=4, error=a record of 303 bytes, limit 100".to_owned())
        ]
    );
    // One that fits no request fails as well.
    let limits = RequestLimits { record_bytes: 100, request_bytes: 100, request_rows: 10 };
    let (_, failures) = encode_within(&converter, &texts, limits);
    assert_eq!(failures.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(failures[0].1.ends_with("error=a record of 99 bytes, limit 98"));
    let limits = RequestLimits { record_bytes: 0, request_bytes: 0, request_rows: 0 };
    assert_eq!(converter.requests(texts, limits).unwrap().count(), 0);
}

#[test]
fn f12_decimals() {
    let max38 = 10_i128.pow(38) - 1;
    let cases: Vec<(i128, i8, String)> = vec![
        (0, 0, "0".into()),
        (0, 2, "0.00".into()),
        (-1, 0, "-1".into()),
        (5, 2, "0.05".into()),
        (-5, 2, "-0.05".into()),
        (123, 2, "1.23".into()),
        (-12300, 2, "-123.00".into()),
        (100, 3, "0.100".into()),
        (7, -3, "7000".into()),
        (-7, -1, "-70".into()),
        (0, -5, "0".into()),
        (1, 38, format!("0.{}1", "0".repeat(37))),
        (max38, 0, "9".repeat(38)),
        (-max38, 38, format!("-0.{}", "9".repeat(38))),
        (max38, 10, format!("{}.{}", "9".repeat(28), "9".repeat(10))),
        (10_i128.pow(18), 0, format!("1{}", "0".repeat(18))),
        (10_i128.pow(36), 1, format!("1{}.0", "0".repeat(35))),
        (10_i128.pow(18) - 1, 18, format!("0.{}", "9".repeat(18))),
    ];
    for (value, scale, text) in &cases {
        let narrow = Decimal128Array::from(vec![*value]).with_precision_and_scale(38, *scale).unwrap();
        let wide = Decimal256Array::from(vec![i256::from_i128(*value)]).with_precision_and_scale(76, *scale).unwrap();
        for array in [Arc::new(narrow) as ArrayRef, Arc::new(wide)] {
            assert_eq!(column(&batch(vec![("d", array, false)]), None, "d"), [Value::String(text.clone())]);
        }
    }
    let nines = i256::from_string(&"9".repeat(76)).unwrap();
    for (value, scale, text) in [
        (nines, 0, "9".repeat(76)),
        (nines, 76, format!("0.{}", "9".repeat(76))),
        (-nines, 30, format!("-{}.{}", "9".repeat(46), "9".repeat(30))),
        (i256::from_string(&format!("1{}", "0".repeat(54))).unwrap(), 0, format!("1{}", "0".repeat(54))),
    ] {
        let wide = Decimal256Array::from(vec![value]).with_precision_and_scale(76, scale).unwrap();
        assert_eq!(column(&batch(vec![("d", Arc::new(wide), false)]), None, "d"), [Value::String(text)]);
    }
    for (value, text) in [
        (i256::MIN, format!("-{}", "57896044618658097711785492504343953926634992332820282019728792003956564819968")),
        (i256::MAX, "57896044618658097711785492504343953926634992332820282019728792003956564819967".to_owned()),
    ] {
        assert_eq!(std::str::from_utf8(super::decimal::wide_text(value, 0).as_bytes()).unwrap(), text);
    }
    let least = super::decimal::text(i128::MIN, -128);
    assert_eq!(least.as_bytes().len(), super::decimal::text_len(i128::MIN, -128));
}

#[test]
fn f12_lengths_are_those_of_the_texts() {
    let mut random = StdRng::seed_from_u64(12);
    for _ in 0..20_000 {
        let value = random.random::<i128>() >> random.random_range(0..128);
        let scale = random.random();
        let text = super::decimal::text(value, scale);
        assert_eq!(super::decimal::text_len(value, scale), text.as_bytes().len(), "{value} with scale {scale}");
        if let Ok(narrow) = i64::try_from(value)
            && scale == 0
        {
            assert_eq!(text.as_bytes(), narrow.to_string().as_bytes());
        }
    }
}

fn typed(name: &str, number: i32, label: Label, kind: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(label as i32),
        r#type: Some(kind as i32),
        ..FieldDescriptorProto::default()
    }
}

fn named(name: &str, number: i32, label: Label, kind: Type, type_name: &str) -> FieldDescriptorProto {
    FieldDescriptorProto { type_name: Some(type_name.to_owned()), ..typed(name, number, label, kind) }
}

fn message(name: &str, field: Vec<FieldDescriptorProto>) -> DescriptorProto {
    DescriptorProto { name: Some(name.to_owned()), field, ..DescriptorProto::default() }
}

fn generated(fields: Vec<Field>) -> Result<DescriptorProto, ZerobusError> {
    Converter::new(&Schema::new(fields), None, NullListElement::Error).map(|made| made.descriptor().clone())
}

fn structure(fields: Vec<Field>) -> DataType {
    DataType::Struct(fields.into())
}

#[test]
fn f13_descriptors_of_schemas() {
    let leaf = structure(vec![Field::new("z", DataType::Utf8, false), Field::new("n", DataType::Null, true)]);
    let deep = structure(vec![Field::new("y", structure(vec![Field::new("x", leaf.clone(), true)]), false)]);
    let descriptor = generated(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("nothing", DataType::Null, true),
        Field::new("deep", deep, true),
        Field::new("list", DataType::List(item(leaf.clone())), false),
        Field::new("my_map", map(DataType::Utf8, leaf, true), true),
        Field::new("ZerobusMessage_list", DataType::Float64, true),
    ])
    .unwrap();
    let mut shape: Vec<_> = Vec::new();
    for field in &descriptor.field {
        assert_eq!(field.json_name(), field.name());
        shape.push((field.name(), field.number(), field.label(), field.r#type(), field.type_name()));
    }
    assert_eq!(
        shape,
        [
            ("id", 1, Label::Required, Type::Int64, ""),
            ("deep", 3, Label::Optional, Type::Message, "ZerobusMessage_deep"),
            // The plain name is a column's.
            ("list", 4, Label::Repeated, Type::Message, "ZerobusMessage_list2"),
            ("my_map", 5, Label::Repeated, Type::Message, "MyMapEntry"),
            ("ZerobusMessage_list", 6, Label::Optional, Type::Double, ""),
        ]
    );
    let names: Vec<_> = descriptor.nested_type.iter().map(DescriptorProto::name).collect();
    assert_eq!(names, ["ZerobusMessage_deep", "ZerobusMessage_list2", "ZerobusMessage_my_map", "MyMapEntry"]);

    let resolved = resolve(&descriptor);
    assert_eq!(resolved.full_name(), "ZerobusMessage");
    let mut message = resolved.clone();
    for name in ["deep", "y", "x"] {
        message = message.get_field_by_name(name).unwrap().kind().as_message().unwrap().clone();
    }
    assert_eq!(message.full_name(), "ZerobusMessage.ZerobusMessage_deep.ZerobusMessage_deep_y.ZerobusMessage_deep_y_x");
    assert_eq!(message.get_field_by_name("z").unwrap().cardinality(), prost_reflect::Cardinality::Required);
    assert!(message.get_field_by_name("n").is_none());
    let map = resolved.get_field_by_name("my_map").unwrap();
    assert!(map.is_map());

    // What travels is the same: `map_entry`, `json_name` and all.
    let schema = Schema::new(vec![Field::new("my_map", DataType::Boolean, true)]);
    let given = Converter::new(&schema, Some(&message_with_everything()), NullListElement::Error).unwrap();
    let read: DescriptorProto = prost::Message::decode(given.descriptor_bytes().clone()).unwrap();
    assert_eq!(read, message_with_everything());
}

/// With what the official generator sets.
fn message_with_everything() -> DescriptorProto {
    let mut field = typed("my_map", 7, Label::Optional, Type::Bool);
    field.proto3_optional = Some(true);
    field.json_name = Some("my_map".to_owned());
    let mut made = message("M", vec![field]);
    made.nested_type.push(message("Entry", vec![]));
    made.nested_type[0].options =
        Some(prost_types::MessageOptions { map_entry: Some(true), ..prost_types::MessageOptions::default() });
    made
}

#[test]
fn f13_descriptors_have_up_to_2000_columns() {
    let columns = |count| (0..count).map(|index| Field::new(format!("c{index}"), DataType::Int32, true)).collect();
    let descriptor = generated(columns(2000)).unwrap();
    assert_eq!(resolve(&descriptor).fields().len(), 2000);
    let error = generated(columns(2001)).unwrap_err();
    assert_eq!(error.error_type(), "ConfigurationError");
    assert!(error.to_string().contains("2001 fields"), "{error}");
}

#[test]
fn f13_descriptors_are_up_to_10_levels_deep() {
    let deep = |levels| (0..levels).fold(DataType::Int32, |below, _| structure(vec![Field::new("a", below, true)]));
    resolve(&generated(vec![Field::new("a", deep(10), true)]).unwrap());
    for levels in [11, 12, 2000] {
        let error = generated(vec![Field::new("a", deep(levels), true)]).unwrap_err();
        assert_eq!(error.error_type(), "ConfigurationError");
        assert!(error.to_string().contains("10 levels"), "{error}");
    }
    let mut nest = message("M", vec![]);
    for _ in 0..11 {
        nest = DescriptorProto { nested_type: vec![nest], ..message("M", vec![]) };
    }
    let error = Converter::new(&Schema::empty(), Some(&nest), NullListElement::Error).unwrap_err();
    assert!(error.to_string().contains("10 levels"), "{error}");

    // A message that contains itself is as deep as the schema.
    let recursive = message("M", vec![named("a", 1, Label::Optional, Type::Message, "M")]);
    let given = |levels| {
        let schema = Schema::new(vec![Field::new("a", deep(levels), true)]);
        Converter::new(&schema, Some(&recursive), NullListElement::Error).map(|_| ()).map_err(|error| error.to_string())
    };
    assert!(given(3).unwrap_err().contains("column `a.a.a.a` of type Int32 does not fit its field of type message"));
    assert!(given(12).unwrap_err().contains("10 levels"));
}

#[test]
fn f13_bad_descriptors_are_refused() {
    let int = |name: &str, number| typed(name, number, Label::Optional, Type::Int32);
    let other = |type_name: &str| named("a", 1, Label::Optional, Type::Message, type_name);
    let cases = vec![
        (message("M", vec![int("1a", 1)]), "names are"),
        (message("M", vec![int("a b", 1)]), "names are"),
        (message("M", vec![int("é", 1)]), "names are"),
        (message("M", vec![int("", 1)]), "names are"),
        (message("M", vec![int(&"a".repeat(2000), 1)]), "names are"),
        (message("", vec![]), "names are"),
        (message("M.N", vec![]), "names are"),
        (message("M", vec![int("a", 0)]), "number 0"),
        (message("M", vec![int("a", -1)]), "number -1"),
        (message("M", vec![int("a", 536_870_912)]), "number 536870912"),
        (message("M", vec![int("a", 19_000)]), "number 19000"),
        (message("M", vec![int("a", 19_999)]), "number 19999"),
        (message("M", vec![int("a", 1), int("a", 2)]), "two fields `a`"),
        (message("M", vec![int("a", 1), int("b", 1)]), "two fields of number 1"),
        (message("M", vec![other("N")]), "no type `N`"),
        (message("M", vec![other("")]), "no type ``"),
        (message("M", vec![other(".N")]), "no type `.N`"),
        (message("M", vec![other("M.N")]), "no type `M.N`"),
        (message("M", vec![typed("a", 1, Label::Optional, Type::Group)]), "group"),
        (message("M", vec![FieldDescriptorProto { r#type: Some(99), ..int("a", 1) }]), "unknown type 99"),
        (message("M", vec![FieldDescriptorProto { label: Some(9), ..int("a", 1) }]), "unknown label"),
        (
            DescriptorProto { nested_type: vec![message("N", vec![]), message("N", vec![])], ..message("M", vec![]) },
            "two messages `N`",
        ),
    ];
    for (descriptor, why) in cases {
        let error = Converter::new(&Schema::empty(), Some(&descriptor), NullListElement::Error).unwrap_err();
        assert_eq!(error.error_type(), "ConfigurationError");
        assert!(error.to_string().contains(why), "{error}");
    }
    for name in ["1a", "a b", "é", ""] {
        let error = generated(vec![Field::new(name, DataType::Int32, true)]).unwrap_err();
        assert_eq!(error.error_type(), "ConfigurationError");
    }
    for number in [1, 18_999, 20_000, 536_870_911] {
        let descriptor = message("M", vec![int("a", number)]);
        Converter::new(&Schema::empty(), Some(&descriptor), NullListElement::Error).unwrap();
    }
}

#[test]
fn f13_type_names_are_bare_or_dotted() {
    let ints = batch(vec![(
        "a",
        Arc::new(StructArray::from(vec![(
            Arc::new(Field::new("b", DataType::Int32, true)),
            Arc::new(Int32Array::from(vec![5])) as ArrayRef,
        )])),
        true,
    )]);
    for type_name in ["N", "M.N", ".M.N", ".some.package.M.N", ".M.M.N"] {
        let descriptor = DescriptorProto {
            nested_type: vec![message("N", vec![typed("b", 300, Label::Optional, Type::Int32)])],
            ..message("M", vec![named("a", 1, Label::Optional, Type::Message, type_name)])
        };
        let (records, _) = encode(&converter(&ints, Some(&descriptor)).unwrap(), &ints);
        assert_eq!(records[0].1, [0x0a, 3, 0xe0, 0x12, 5], "{type_name}");
    }
}

#[test]
fn f14_every_integer_type_by_its_own_rule() {
    let mut random = Random(StdRng::seed_from_u64(14));
    let range = |kind: Type| -> (i128, i128) {
        match kind {
            Type::Int32 | Type::Sint32 | Type::Sfixed32 => (i32::MIN.into(), i32::MAX.into()),
            Type::Int64 | Type::Sint64 | Type::Sfixed64 => (i64::MIN.into(), i64::MAX.into()),
            Type::Uint32 | Type::Fixed32 => (0, u32::MAX.into()),
            _ => (0, u64::MAX.into()),
        }
    };
    for kind in [
        Type::Int32,
        Type::Int64,
        Type::Uint32,
        Type::Uint64,
        Type::Sint32,
        Type::Sint64,
        Type::Fixed32,
        Type::Fixed64,
        Type::Sfixed32,
        Type::Sfixed64,
    ] {
        for data_type in scalars().into_iter().filter(DataType::is_integer) {
            for packed in [None, Some(false), Some(true)] {
                let array = random.array(&data_type, 200, true);
                let list = ListArray::new(
                    item(data_type.clone()),
                    OffsetBuffer::from_lengths([1; 200]),
                    random.array(&data_type, 200, false),
                    None,
                );
                let mut descriptor =
                    message("M", vec![typed("v", 20, Label::Optional, kind), typed("l", 21, Label::Repeated, kind)]);
                descriptor.field[1].options = Some(FieldOptions { packed, ..FieldOptions::default() });
                let wide = |array: &dyn Array| -> Vec<Option<i128>> {
                    let wide = arrow_cast::cast(array, &DataType::Decimal128(38, 0)).unwrap();
                    wide.as_primitive::<types::Decimal128Type>().iter().collect()
                };
                let (values, elements) = (wide(&array), wide(list.values()));
                let fits = |value: &Option<i128>| value.is_none_or(|v| (range(kind).0..=range(kind).1).contains(&v));
                let batch = batch(vec![("v", array, true), ("l", Arc::new(list), true)]);
                let (messages, failed) = messages(&converter(&batch, Some(&descriptor)).unwrap(), &batch);
                let bad: Vec<usize> = (0..200).filter(|row| !fits(&values[*row]) || !fits(&elements[*row])).collect();
                assert_eq!(failed.iter().map(|(row, _)| *row).collect::<Vec<_>>(), bad);
                for (row, message) in messages {
                    let number = |value: &Value| match value {
                        Value::I32(value) => i128::from(*value),
                        Value::I64(value) => i128::from(*value),
                        Value::U32(value) => i128::from(*value),
                        Value::U64(value) => i128::from(*value),
                        other => unreachable!("{other:?}"),
                    };
                    assert_eq!(message.has_field_by_name("v"), values[row].is_some());
                    assert_eq!(number(&message.get_field_by_name("v").unwrap()), values[row].unwrap_or(0));
                    let list = message.get_field_by_name("l").unwrap();
                    assert_eq!(
                        list.as_list().unwrap().iter().map(number).collect::<Vec<_>>(),
                        [elements[row].unwrap()]
                    );
                    assert_eq!(message.unknown_fields().count(), 0);
                }
            }
        }
    }
}

#[test]
fn f14_packed_only_where_the_descriptor_says_so() {
    let lists =
        ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some([1, 300].map(Some)), Some([2, 3].map(Some))]);
    let lists = batch(vec![("l", Arc::new(lists), true)]);
    let mut descriptor = message("M", vec![typed("l", 1, Label::Repeated, Type::Int32)]);
    let (records, _) = encode(&converter(&lists, Some(&descriptor)).unwrap(), &lists);
    assert_eq!(records[0].1, [0x08, 1, 0x08, 0xac, 2]);
    descriptor.field[0].options = Some(FieldOptions { packed: Some(true), ..FieldOptions::default() });
    let (records, _) = encode(&converter(&lists, Some(&descriptor)).unwrap(), &lists);
    assert_eq!(records, [(0, vec![0x0a, 3, 1, 0xac, 2]), (1, vec![0x0a, 2, 2, 3])]);
}

#[test]
fn f14_enums() {
    let value = |name: &str, number| EnumValueDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        ..EnumValueDescriptorProto::default()
    };
    let declared = EnumDescriptorProto {
        name: Some("E".to_owned()),
        value: vec![value("ZERO", 0), value("NEGATIVE", -5), value("LARGE", 70_000)],
        ..EnumDescriptorProto::default()
    };
    let descriptor = DescriptorProto {
        enum_type: vec![declared],
        ..message("M", vec![named("e", 1, Label::Optional, Type::Enum, ".p.M.E")])
    };
    let numbers = batch(vec![("e", Arc::new(Int64Array::from(vec![0, -5, 70_000, 1, 1 << 40])), true)]);
    let bare = DescriptorProto { field: vec![named("e", 1, Label::Optional, Type::Enum, "E")], ..descriptor.clone() };
    let kept = numbers.slice(0, 3);
    assert_eq!(column(&kept, Some(&bare), "e"), [0, -5, 70_000].map(Value::EnumNumber));
    let (_, failures) = encode(&converter(&numbers, Some(&descriptor)).unwrap(), &numbers);
    let why = |number| format!("{number} does not fit its enum");
    assert_eq!(failures, [failed(3, "e", &why(1)), failed(4, "e", &why(1_i64 << 40))]);
}

#[test]
fn f14_lossless_pairs_fit_and_no_others() {
    let interval = DataType::Interval(IntervalUnit::DayTime);
    let time = DataType::Time32(TimeUnit::Second);
    let nanos = DataType::Time64(TimeUnit::Nanosecond);
    let duration = DataType::Duration(TimeUnit::Millisecond);
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
    let decimal = DataType::Decimal128(10, 2);
    let fit = |data_type: &DataType, kind: Type| {
        let schema = Schema::new(vec![Field::new("a", data_type.clone(), true)]);
        let descriptor = message("M", vec![typed("a", 1, Label::Optional, kind)]);
        Converter::new(&schema, Some(&descriptor), NullListElement::Error)
    };
    for (data_type, kind) in [
        (&DataType::Int8, Type::Int64),
        (&DataType::Int32, Type::Double),
        (&DataType::Int16, Type::Float),
        (&DataType::Float16, Type::Double),
        (&DataType::Float32, Type::Double),
        (&DataType::Utf8, Type::Bytes),
        (&DataType::UInt64, Type::String),
        (&time, Type::Int64),
        (&nanos, Type::Int64),
        (&duration, Type::Int64),
    ] {
        fit(data_type, kind).unwrap();
    }
    for (data_type, kind) in [
        (&DataType::Utf8, Type::Sint32),
        (&DataType::Utf8, Type::Int64),
        (&DataType::Int64, Type::Double),
        (&DataType::Int32, Type::Float),
        (&DataType::Int32, Type::String),
        (&DataType::Int32, Type::Bool),
        (&DataType::Boolean, Type::Int32),
        (&DataType::Float64, Type::Float),
        (&DataType::Float64, Type::Int64),
        (&DataType::Binary, Type::String),
        (&DataType::Date32, Type::Int64),
        (&DataType::Date32, Type::String),
        (&timestamp, Type::Int32),
        (&timestamp, Type::Sint64),
        (&timestamp, Type::String),
        (&decimal, Type::Int64),
        (&decimal, Type::Double),
        (&time, Type::Int32),
        (&interval, Type::Int64),
    ] {
        let error = fit(data_type, kind).unwrap_err();
        assert_eq!(error.error_type(), "ConversionError");
        assert!(error.to_string().contains("column `a`"), "{error}");
    }
    assert!(
        fit(&DataType::Utf8, Type::Sint32).unwrap_err().to_string().contains("does not fit its field of type sint32")
    );

    let list = DataType::List(item(DataType::Int32));
    assert!(fit(&list, Type::Int32).unwrap_err().to_string().contains("does not fit its field of type int32"));
    let repeated = message("M", vec![typed("a", 1, Label::Repeated, Type::Int32)]);
    let schema = Schema::new(vec![Field::new("a", DataType::Int32, true)]);
    let error = Converter::new(&schema, Some(&repeated), NullListElement::Error).unwrap_err();
    assert!(error.to_string().contains("repeated int32"), "{error}");
}

#[test]
fn f14_wider_values_are_the_same() {
    let kinds = |kind| message("M", vec![typed("a", 1, Label::Optional, kind)]);
    let values = |array: ArrayRef, kind| column(&batch(vec![("a", array, true)]), Some(&kinds(kind)), "a");
    assert_eq!(
        values(Arc::new(Int32Array::from(vec![i32::MIN, 7])), Type::Double),
        [-2_147_483_648.0, 7.0].map(Value::F64)
    );
    assert_eq!(values(Arc::new(Float32Array::from(vec![0.1])), Type::Double), [Value::F64(f64::from(0.1_f32))]);
    assert_eq!(values(Arc::new(UInt16Array::from(vec![65_535])), Type::Float), [Value::F32(65_535.0)]);
    assert_eq!(
        values(Arc::new(UInt64Array::from(vec![u64::MAX])), Type::String),
        [Value::String(u64::MAX.to_string())]
    );
    assert_eq!(values(Arc::new(Time32SecondArray::from(vec![3])), Type::Int64), [Value::I64(3_000_000)]);
    assert_eq!(values(Arc::new(Time64NanosecondArray::from(vec![1999])), Type::Int64), [Value::I64(1)]);
    assert_eq!(values(Arc::new(DurationNanosecondArray::from(vec![-1])), Type::Int64), [Value::I64(-1)]);
    let nanoseconds = TimestampNanosecondArray::from(vec![-1, -1000, -1001, 1999]);
    assert_eq!(values(Arc::new(nanoseconds), Type::Int64), [-1, -1, -2, 1].map(Value::I64));
    let days = Date64Array::from(vec![-1, 86_400_000, 86_399_999, -86_400_001]);
    assert_eq!(values(Arc::new(days), Type::Int32), [-1, 1, 0, -2].map(Value::I32));
}

#[test]
fn f14_columns_without_field() {
    let descriptor = message("M", vec![typed("id", 1, Label::Optional, Type::Int64)]);
    let with =
        |other: ArrayRef| batch(vec![("id", Arc::new(Int64Array::from(vec![1, 2])), true), ("other", other, true)]);
    let values = with(Arc::new(StringArray::from(vec![None, Some("a")])));
    let converter = converter(&values, Some(&descriptor)).unwrap();
    let error = converter.requests(values.clone(), LIMITS).unwrap_err();
    assert_eq!(error.error_type(), "ConfigurationError");
    assert!(error.to_string().contains("column `other` is not in the descriptor"), "{error}");
    // Nulls alone pass, and the part of a batch that has no others.
    assert_eq!(encode(&converter, &values.slice(0, 1)).0.len(), 1);
    assert_eq!(failures(&with(Arc::new(NullArray::new(2))), Some(&descriptor)), []);

    // Nor is any hidden in structs, but where the struct is null.
    let nested = |nulls: Option<NullBuffer>| {
        let child: ArrayRef = Arc::new(Int32Array::from(vec![None, Some(3)]));
        let fields = Fields::from(vec![Field::new("b", DataType::Int32, true)]);
        with(Arc::new(StructArray::new(fields, vec![child], nulls)))
    };
    let mut descriptor = message(
        "M",
        vec![typed("id", 1, Label::Optional, Type::Int64), named("other", 2, Label::Optional, Type::Message, "N")],
    );
    descriptor.nested_type.push(message("N", vec![]));
    let shown = nested(None);
    let converter = Converter::new(&shown.schema(), Some(&descriptor), NullListElement::Error).unwrap();
    let error = converter.requests(shown, LIMITS).unwrap_err();
    assert!(error.to_string().contains("column `other.b` is not in the descriptor"), "{error}");
    encode(&converter, &nested(Some(vec![true, false].into())));

    let other_schema = batch(vec![("id", Arc::new(Int32Array::from(vec![1])), true)]);
    assert!(converter.requests(other_schema, LIMITS).unwrap_err().to_string().contains("another schema"));
}

#[test]
fn f14_one_column_for_a_field_and_for_a_oneof() {
    let twice = Schema::new(vec![Field::new("a", DataType::Int32, true), Field::new("a", DataType::Int32, true)]);
    let descriptor = message("M", vec![typed("a", 1, Label::Optional, Type::Int32)]);
    for descriptor in [None, Some(&descriptor)] {
        let error = Converter::new(&twice, descriptor, NullListElement::Error).unwrap_err();
        assert_eq!(error.error_type(), "ConfigurationError");
    }
    let member = |name, number| FieldDescriptorProto {
        oneof_index: Some(0),
        ..typed(name, number, Label::Optional, Type::Int32)
    };
    let descriptor = DescriptorProto {
        oneof_decl: vec![prost_types::OneofDescriptorProto { name: Some("o".to_owned()), options: None }],
        ..message("M", vec![member("a", 1), member("b", 2)])
    };
    let schema = Schema::new(vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Int32, true)]);
    let error = Converter::new(&schema, Some(&descriptor), NullListElement::Error).unwrap_err();
    assert!(error.to_string().contains("one oneof"), "{error}");
}

#[test]
fn f15_unsupported_types_name_their_column() {
    let union = DataType::Union(
        arrow_schema::UnionFields::try_new([0], [Field::new("i", DataType::Int32, true)]).unwrap(),
        arrow_schema::UnionMode::Sparse,
    );
    let list = DataType::List(item(DataType::Int32));
    let types = [
        DataType::Time32(TimeUnit::Second),
        DataType::Time64(TimeUnit::Microsecond),
        DataType::Duration(TimeUnit::Second),
        DataType::Interval(IntervalUnit::MonthDayNano),
        union.clone(),
        DataType::List(item(list.clone())),
        DataType::List(item(DataType::Null)),
        DataType::List(item(map(DataType::Utf8, DataType::Int32, true))),
        map(DataType::Utf8, list.clone(), true),
        map(DataType::Utf8, map(DataType::Utf8, DataType::Int32, true), true),
        map(DataType::Float64, DataType::Int32, true),
        map(DataType::Binary, DataType::Int32, true),
        map(structure(vec![]), DataType::Int32, true),
        dictionary(DataType::Time32(TimeUnit::Second)),
        runs(union),
    ];
    for data_type in types {
        for (field, path) in [
            (Field::new("bad", data_type.clone(), true), "`bad`"),
            (Field::new("s", structure(vec![Field::new("bad", data_type.clone(), true)]), true), "`s.bad`"),
        ] {
            let error = generated(vec![Field::new("good", DataType::Int32, true), field]).unwrap_err();
            assert_eq!(error.error_type(), "ConversionError", "{error}");
            assert!(error.to_string().contains(&format!("column {path}")), "{error}");
        }
    }
}

#[test]
fn malformed_arrays_fail_their_rows() {
    let unchecked = |data_type: DataType, len: usize, buffers: Vec<Buffer>, children: Vec<ArrayData>| {
        let builder = ArrayData::builder(data_type).len(len).buffers(buffers).child_data(children);
        // SAFETY: nothing but the converter reads it, which trusts neither keys nor offsets.
        #[expect(unsafe_code)]
        unsafe {
            builder.build_unchecked()
        }
    };
    let text = StringArray::from(vec!["a", "b"]);
    let keys = ScalarBuffer::from(vec![0_i32, 9, -1, 1]).into_inner();
    let data = unchecked(
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        4,
        vec![keys],
        vec![text.to_data()],
    );
    let keyed = batch(vec![("d", Arc::new(DictionaryArray::<Int32Type>::from(data)), true)]);
    let why = "the array is malformed";
    assert_eq!(failures(&keyed, None), [failed(1, "d", why), failed(2, "d", why)]);

    let offsets = ScalarBuffer::from(vec![0_i32, 2, 1, 900, 2, 3]).into_inner();
    let data = unchecked(DataType::Utf8, 5, vec![offsets, Buffer::from(b"abcdef")], vec![]);
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values([7, 8, 9, 10, 11]));
    let texts = batch(vec![("t", Arc::new(StringArray::from(data)), true), ("n", numbers, true)]);
    // What is written beside them is whole.
    let (good, _) = messages(&converter(&texts, None).unwrap(), &texts);
    let value = |message: &DynamicMessage, name| message.get_field_by_name(name).unwrap().into_owned();
    let good: Vec<_> = good.iter().map(|(row, good)| (*row, value(good, "t"), value(good, "n"))).collect();
    let expected = |row, text: &str, number| (row, Value::String(text.to_owned()), Value::I64(number));
    assert_eq!(good, [expected(0, "ab", 7), expected(4, "c", 11)]);
    let why = |row| (row, format!("Record encoding failed: row={row}, error=the arrays are malformed"));
    assert_eq!(failures(&texts, None), [why(1), why(2), why(3)]);
}

#[test]
fn f09_variants_in_columns_and_lists() {
    let metadata: ArrayRef = Arc::new(BinaryArray::from_iter_values([[1, 0, 0]; 5]));
    let long = [&[16 << 2, 200, 0, 0, 0][..], &[b'x'; 200]].concat();
    let value: ArrayRef =
        Arc::new(BinaryViewArray::from_iter_values([&[1 << 2][..], &[3 << 2, 7], &[1 | 1 << 2, b'a'], &[0xff], &long]));
    let structs = StructArray::new(
        vec![Field::new("metadata", DataType::Binary, false), Field::new("value", DataType::BinaryView, false)].into(),
        vec![metadata, value],
        Some(vec![true, true, false, true, true].into()),
    );
    let variant = |name, array: &dyn Array| {
        let extension = [("ARROW:extension:name".to_owned(), "arrow.parquet.variant".to_owned())];
        Field::new(name, array.data_type().clone(), true).with_metadata(extension.into_iter().collect())
    };
    let item = Arc::new(variant("item", &structs));
    let offsets = OffsetBuffer::new(vec![0, 1, 2, 2, 2, 2].into());
    let lists = ListArray::new(Arc::clone(&item), offsets, Arc::new(structs.clone()), None);
    let schema = Schema::new(vec![
        variant("v", &structs),
        Field::new("l", lists.data_type().clone(), true),
        // Already text.
        Field::new("j", DataType::Utf8, true)
            .with_metadata([("ARROW:extension:name".to_owned(), "arrow.json".to_owned())].into_iter().collect()),
    ]);
    let texts = Arc::new(StringArray::from(vec!["{}"; 5]));
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(structs), Arc::new(lists), texts]).unwrap();
    let converter = converter(&batch, None).unwrap();
    let (messages, failures) = messages(&converter, &batch);
    assert_eq!(failures, [failed(3, "v", "a variant is malformed")]);
    let text = |text: &str| Value::String(text.to_owned());
    let read: Vec<_> = messages
        .iter()
        .map(|(_, message)| ["v", "l", "j"].map(|name| message.get_field_by_name(name).unwrap().into_owned()))
        .collect();
    let long = format!("\"{}\"", "x".repeat(200));
    assert_eq!(read[0], [text("true"), Value::List(vec![text("true")]), text("{}")]);
    assert_eq!(read[1], [text("7"), Value::List(vec![text("7")]), text("{}")]);
    assert!(!messages[2].1.has_field_by_name("v"));
    assert_eq!(read[3], [text(&long), Value::List(vec![]), text("{}")]);
    assert_eq!(encode(&converter, &batch.slice(1, 1)).0[0].1, encode(&converter, &batch).0[1].1);

    // With a part of the values in a child of their own.
    let fields = vec![
        Field::new("metadata", DataType::Binary, false),
        Field::new("value", DataType::Binary, true),
        Field::new("typed_value", DataType::Int64, true),
    ];
    let shredded = variant("v", &new_null_array(&structure(fields), 0));
    let error = generated(vec![shredded]).unwrap_err();
    assert!(error.to_string().contains("column `v`"), "{error}");
}

#[test]
fn f13_hostile_descriptors_do_no_harm() {
    let leaf = structure(vec![Field::new("z", DataType::Utf8, false), Field::new("y", DataType::Int32, true)]);
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("list", DataType::List(item(leaf.clone())), true),
        Field::new("map", map(DataType::Utf8, leaf.clone(), true), true),
        Field::new("one", leaf, true),
        Field::new("ints", DataType::List(item(DataType::UInt64)), true),
    ];
    let mut random = Random(StdRng::seed_from_u64(13));
    let columns = fields.iter().map(|field| random.array(field.data_type(), 20, field.is_nullable())).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let bytes = converter(&batch, None).unwrap().descriptor_bytes().to_vec();
    let (mut decoded, mut accepted) = (0, 0);
    for _ in 0..20_000 {
        let mut bytes = bytes.clone();
        for _ in 0..random.0.random_range(1..4) {
            let at = random.0.random_range(0..bytes.len());
            match random.0.random_range(0..4) {
                0 => bytes[at] = random.0.random(),
                1 => bytes[at] ^= 1 << random.0.random_range(0..8),
                2 => bytes.copy_within(at.., at / 2),
                _ => drop(bytes.splice(at..at, [random.0.random()])),
            }
        }
        let Ok(descriptor) = <DescriptorProto as prost::Message>::decode(bytes.as_slice()) else { continue };
        decoded += 1;
        let Ok(converter) = converter(&batch, Some(&descriptor)) else { continue };
        let Ok(requests) = converter.requests(batch.clone(), LIMITS) else { continue };
        accepted += 1;
        for request in requests {
            assert_is_run(&request);
        }
    }
    assert!(decoded > 1000 && accepted > 100, "{decoded} decoded, {accepted} accepted");
}
