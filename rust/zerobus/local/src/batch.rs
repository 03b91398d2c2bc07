//! Rows as Arrow.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, ListArray, MapArray, PrimitiveArray, RecordBatch, RecordBatchOptions,
    StructArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, Field, Schema};

use crate::record::{Row, Value, decimal};
use crate::uc_type::{UcField, UcType, arrow_fields, element_field, entry_fields};

type Entries<'r> = Vec<(Value<'r>, Option<Value<'r>>)>;
type Values<'v, 'r> = Vec<Option<&'v Value<'r>>>;

/// The rows with all columns of their table.
pub(crate) fn record_batch(columns: &[UcField], rows: &[Row<'_>]) -> Result<RecordBatch, ArrowError> {
    let rows: Vec<Option<&Row<'_>>> = rows.iter().map(Some).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(arrow_fields(columns))), children(columns, &rows)?, &options)
}

fn children(columns: &[UcField], rows: &[Option<&Row<'_>>]) -> Result<Vec<ArrayRef>, ArrowError> {
    let child = |(place, column): (usize, &UcField)| {
        let values = rows.iter().map(|row| row.and_then(|row| row.get(place)?.as_ref())).collect();
        array(&column.kind, values)
    };
    columns.iter().enumerate().map(child).collect()
}

fn array(kind: &UcType, values: Values<'_, '_>) -> Result<ArrayRef, ArrowError> {
    Ok(match kind {
        UcType::Boolean => Arc::new(values.into_iter().map(boolean).collect::<BooleanArray>()),
        UcType::Byte => primitive::<Int8Type>(values, |number| i8::try_from(number).ok()),
        UcType::Short => primitive::<Int16Type>(values, |number| i16::try_from(number).ok()),
        UcType::Int => primitive::<Int32Type>(values, |number| i32::try_from(number).ok()),
        UcType::Date => primitive::<Date32Type>(values, |number| i32::try_from(number).ok()),
        UcType::Long => primitive::<Int64Type>(values, Some),
        UcType::Float => Arc::new(values.into_iter().map(float).collect::<PrimitiveArray<Float32Type>>()),
        UcType::Double => Arc::new(values.into_iter().map(double).collect::<PrimitiveArray<Float64Type>>()),
        UcType::TimestampNtz => primitive::<TimestampMicrosecondType>(values, Some),
        UcType::Timestamp => {
            let numbers: PrimitiveArray<TimestampMicrosecondType> = values.into_iter().map(integer).collect();
            Arc::new(numbers.with_timezone("UTC"))
        }
        UcType::Decimal { precision, scale } => {
            let number = |value: Option<&Value<'_>>| decimal(text(value)?, *precision, *scale);
            let numbers: PrimitiveArray<Decimal128Type> = values.into_iter().map(number).collect();
            Arc::new(numbers.with_precision_and_scale(*precision, scale.cast_signed())?)
        }
        UcType::String | UcType::Variant => {
            let mut builder = StringBuilder::new();
            for value in values {
                builder.append_option(text(value));
            }
            Arc::new(builder.finish())
        }
        UcType::Binary => {
            let mut builder = BinaryBuilder::new();
            for value in values {
                builder.append_option(bytes(value));
            }
            Arc::new(builder.finish())
        }
        UcType::Array(element) => {
            let lists: Vec<Option<&Vec<Option<Value<'_>>>>> = values
                .into_iter()
                .map(|value| if let Some(Value::List(list)) = value { Some(list) } else { None })
                .collect();
            let offsets = OffsetBuffer::from_lengths(lists.iter().map(|list| list.map_or(0, Vec::len)));
            let elements = lists.iter().flatten().flat_map(|list| list.iter()).map(Option::as_ref).collect();
            let nulls = lists.iter().map(Option::is_some).collect::<NullBuffer>();
            let field = Arc::new(element_field(element));
            Arc::new(ListArray::try_new(field, offsets, array(element, elements)?, Some(nulls))?)
        }
        UcType::Map(key, value) => {
            let maps: Vec<Option<&Entries<'_>>> = values
                .into_iter()
                .map(|value| if let Some(Value::Map(entries)) = value { Some(entries) } else { None })
                .collect();
            let offsets = OffsetBuffer::from_lengths(maps.iter().map(|map| map.map_or(0, Vec::len)));
            let entries = || maps.iter().flatten().flat_map(|entries| entries.iter());
            let keys = array(key, entries().map(|(key, _)| Some(key)).collect())?;
            let items = array(value, entries().map(|(_, value)| value.as_ref()).collect())?;
            let fields = entry_fields(key, value);
            let entries = StructArray::try_new(fields.clone(), vec![keys, items], None)?;
            let field = Arc::new(Field::new_struct("entries", fields, false));
            let nulls = maps.iter().map(Option::is_some).collect::<NullBuffer>();
            Arc::new(MapArray::try_new(field, offsets, entries, Some(nulls), false)?)
        }
        UcType::Struct(fields) => {
            let rows: Vec<Option<&Row<'_>>> = values
                .into_iter()
                .map(|value| if let Some(Value::Struct(row)) = value { Some(row) } else { None })
                .collect();
            let nulls = rows.iter().map(Option::is_some).collect::<NullBuffer>();
            let arrays = children(fields, &rows)?;
            Arc::new(StructArray::try_new_with_length(arrow_fields(fields), arrays, Some(nulls), rows.len())?)
        }
    })
}

fn primitive<T: ArrowPrimitiveType>(values: Values<'_, '_>, narrow: impl Fn(i64) -> Option<T::Native>) -> ArrayRef {
    let numbers: PrimitiveArray<T> = values.into_iter().map(|value| integer(value).and_then(&narrow)).collect();
    Arc::new(numbers)
}

fn boolean(value: Option<&Value<'_>>) -> Option<bool> {
    if let Some(Value::Boolean(value)) = value { Some(*value) } else { None }
}

fn integer(value: Option<&Value<'_>>) -> Option<i64> {
    if let Some(Value::Integer(value)) = value { Some(*value) } else { None }
}

fn float(value: Option<&Value<'_>>) -> Option<f32> {
    if let Some(Value::Float(value)) = value { Some(*value) } else { None }
}

fn double(value: Option<&Value<'_>>) -> Option<f64> {
    if let Some(Value::Double(value)) = value { Some(*value) } else { None }
}

fn text<'v>(value: Option<&'v Value<'_>>) -> Option<&'v str> {
    if let Some(Value::Text(value)) = value { Some(value) } else { None }
}

fn bytes<'v>(value: Option<&'v Value<'_>>) -> Option<&'v [u8]> {
    if let Some(Value::Bytes(value)) = value { Some(value) } else { None }
}
