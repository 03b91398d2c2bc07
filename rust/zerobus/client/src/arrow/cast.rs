//! Columns in the types of the service.

use std::sync::Arc;

use arrow_array::builder::LargeStringBuilder;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, ByteArrayType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type,
    Decimal256Type, Float16Type, Float32Type, Int16Type, Int32Type, Int64Type, LargeBinaryType, LargeUtf8Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array as _, ArrayRef, GenericByteArray, GenericListViewArray, LargeBinaryArray, LargeStringArray, ListArray,
    MapArray, OffsetSizeTrait, PrimitiveArray, RunArray, StructArray, UInt64Array,
};
use arrow_buffer::{ArrowNativeType as _, NullBuffer, OffsetBuffer, ScalarBuffer, i256};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, TimeUnit};
use arrow_select::take::take;

use crate::convert::decimal;
use crate::error::ZerobusError;

/// Deeper structs than any table has.
const MAX_NESTING: usize = 10;
const DAY_MILLISECONDS: i64 = 86_400_000;

/// A row that cannot be converted.
pub(super) struct Bad {
    pub(super) row: usize,
    pub(super) path: String,
    pub(super) why: &'static str,
}

impl Bad {
    pub(super) fn new(row: usize, path: &str, why: &'static str) -> Self {
        Self { row, path: path.to_owned(), why }
    }
}

/// Enters the rows that are null.
pub(super) fn require(array: &ArrayRef, path: &str, bad: &mut Vec<Bad>) {
    if let Some(nulls) = array.nulls() {
        let null = |row: &usize| nulls.is_null(*row);
        bad.extend((0..array.len()).filter(null).map(|row| Bad::new(row, path, "null in a required field")));
    }
}

/// The type in which the service takes the values of a column. All within may be null, for a row with a null where none may
/// be fails by itself, and Arrow would refuse all of them together.
pub(super) fn service_type(field: &Field, path: &str, depth: usize) -> Result<DataType, ZerobusError> {
    use DataType as D;
    if depth > MAX_NESTING {
        let text = format!("column `{path}` is nested more than {MAX_NESTING} levels deep");
        return Err(ZerobusError::configuration(text));
    }
    let inner = |name: &str, field: &Field, path: &str| {
        Ok::<_, ZerobusError>(Field::new(name, service_type(field, path, depth + 1)?, true))
    };
    Ok(match field.data_type() {
        D::Dictionary(_, values) => {
            return service_type(&Field::new(field.name(), values.as_ref().clone(), true), path, depth + 1);
        }
        D::RunEndEncoded(_, values) => return service_type(values, path, depth + 1),
        D::Boolean => D::Boolean,
        D::Int8 => D::Int8,
        D::Int16 | D::UInt8 => D::Int16,
        D::Int32 | D::UInt16 => D::Int32,
        D::Int64 | D::UInt32 | D::UInt64 => D::Int64,
        D::Float16 | D::Float32 => D::Float32,
        D::Float64 => D::Float64,
        D::Utf8
        | D::LargeUtf8
        | D::Utf8View
        | D::Decimal32(..)
        | D::Decimal64(..)
        | D::Decimal128(..)
        | D::Decimal256(..) => D::LargeUtf8,
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => D::LargeBinary,
        D::Date32 | D::Date64 => D::Date32,
        D::Timestamp(_, zone) => D::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into())),
        D::List(element)
        | D::LargeList(element)
        | D::FixedSizeList(element, _)
        | D::ListView(element)
        | D::LargeListView(element) => D::List(Arc::new(inner("item", element, path)?)),
        D::Struct(children) => {
            let child = |child: &FieldRef| inner(child.name(), child, &format!("{path}.{}", child.name()));
            D::Struct(children.iter().map(child).collect::<Result<Vec<_>, _>>()?.into())
        }
        D::Map(entries, _) => match entries.data_type() {
            D::Struct(children) if let [key, value] = children.as_ref() => {
                let key = inner("keys", key, path)?.with_nullable(false);
                let entries = D::Struct(vec![key, inner("values", value, path)?].into());
                D::Map(Arc::new(Field::new("entries", entries, false)), false)
            }
            _ => return Err(unsupported(path, field.data_type())),
        },
        data_type => return Err(unsupported(path, data_type)),
    })
}

fn unsupported(path: &str, data_type: &DataType) -> ZerobusError {
    ZerobusError::conversion(format!("column `{path}` of type {data_type} has no type of the service"))
}

/// Converts a column; what cannot be is 0, and its row is entered.
pub(super) fn cast(array: &ArrayRef, to: &DataType, path: &str, bad: &mut Vec<Bad>) -> Result<ArrayRef, ArrowError> {
    use DataType as D;
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        return cast(&take(dictionary.values(), dictionary.keys(), None)?, to, path, bad);
    }
    Ok(match (array.data_type(), to) {
        (D::RunEndEncoded(ends, _), _) => return cast(&expanded(array, ends.data_type())?, to, path, bad),
        (D::UInt8, _) => Arc::new(array.as_primitive::<UInt8Type>().unary::<_, Int16Type>(Into::into)),
        (D::UInt16, _) => Arc::new(array.as_primitive::<UInt16Type>().unary::<_, Int32Type>(Into::into)),
        (D::UInt32, _) => Arc::new(array.as_primitive::<UInt32Type>().unary::<_, Int64Type>(Into::into)),
        (D::UInt64, _) => {
            let signed = |value| i64::try_from(value).ok();
            Arc::new(checked::<UInt64Type, Int64Type>(array, signed, (path, "a number beyond 64 bits with sign"), bad))
        }
        (D::Float16, _) => Arc::new(array.as_primitive::<Float16Type>().unary::<_, Float32Type>(f32::from)),
        (D::Utf8, _) => Arc::new(large::<_, LargeUtf8Type>(array.as_string::<i32>())?),
        (D::Utf8View, _) => Arc::new(array.as_string_view().iter().collect::<LargeStringArray>()),
        (D::Decimal32(_, scale), _) => text(array.as_primitive::<Decimal32Type>(), |value| decimal(value, *scale)),
        (D::Decimal64(_, scale), _) => text(array.as_primitive::<Decimal64Type>(), |value| decimal(value, *scale)),
        (D::Decimal128(_, scale), _) => text(array.as_primitive::<Decimal128Type>(), |value| decimal(value, *scale)),
        (D::Decimal256(_, scale), _) => {
            text(array.as_primitive::<Decimal256Type>(), |value: i256| decimal::wide_text(value, *scale))
        }
        (D::Binary, _) => Arc::new(large::<_, LargeBinaryType>(array.as_binary::<i32>())?),
        (D::BinaryView, _) => Arc::new(array.as_binary_view().iter().collect::<LargeBinaryArray>()),
        (D::FixedSizeBinary(_), _) => Arc::new(array.as_fixed_size_binary().iter().collect::<LargeBinaryArray>()),
        (D::Date64, _) => {
            let days = |value: i64| i32::try_from(value.div_euclid(DAY_MILLISECONDS)).ok();
            Arc::new(checked::<Date64Type, Date32Type>(array, days, (path, "a date out of range"), bad))
        }
        (D::Timestamp(unit, zone), _) => {
            let why = (path, "a timestamp out of range");
            let times = |factor: i64| move |value: i64| value.checked_mul(factor);
            let microseconds = match unit {
                TimeUnit::Second => checked::<TimestampSecondType, _>(array, times(1_000_000), why, bad),
                TimeUnit::Millisecond => checked::<TimestampMillisecondType, _>(array, times(1000), why, bad),
                TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().clone(),
                TimeUnit::Nanosecond => {
                    array.as_primitive::<TimestampNanosecondType>().unary(|value: i64| value.div_euclid(1000))
                }
            };
            let zone: Option<Arc<str>> = zone.as_ref().map(|_| "UTC".into());
            Arc::new(microseconds.with_timezone_opt(zone))
        }
        (D::List(element), D::List(to)) => {
            let array = array.as_list::<i32>();
            list(array.offsets(), array.values(), array.nulls(), (to, element.is_nullable()), path, bad)?
        }
        (D::LargeList(element), D::List(to)) => {
            let array = array.as_list::<i64>();
            let (first, last) = ends(array.offsets());
            let narrow = |offset: &i64| i32::try_from(*offset - first as i64).map_err(|_| too_long());
            let offsets: Vec<i32> = array.offsets().iter().map(narrow).collect::<Result<_, _>>()?;
            let offsets = OffsetBuffer::new(offsets.into());
            list(
                &offsets,
                &array.values().slice(first, last - first),
                array.nulls(),
                (to, element.is_nullable()),
                path,
                bad,
            )?
        }
        (D::FixedSizeList(element, size), D::List(to)) => {
            let array = array.as_fixed_size_list();
            let size = usize::try_from(*size).unwrap_or_default();
            let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(size, array.len()));
            list(&offsets, array.values(), array.nulls(), (to, element.is_nullable()), path, bad)?
        }
        (D::ListView(element), D::List(to)) => {
            let (offsets, values) = gathered(array.as_list_view::<i32>())?;
            list(&offsets, &values, array.nulls(), (to, element.is_nullable()), path, bad)?
        }
        (D::LargeListView(element), D::List(to)) => {
            let (offsets, values) = gathered(array.as_list_view::<i64>())?;
            list(&offsets, &values, array.nulls(), (to, element.is_nullable()), path, bad)?
        }
        (D::Map(..), D::Map(entries, _)) => map(array.as_map(), entries, path, bad)?,
        (D::Struct(_), D::Struct(fields)) => {
            let array = array.as_struct();
            let start = bad.len();
            let mut columns = Vec::with_capacity(fields.len());
            for ((column, given), field) in array.columns().iter().zip(array.fields()).zip(fields) {
                let path = format!("{path}.{}", field.name());
                let column = cast(column, field.data_type(), &path, bad)?;
                if !given.is_nullable() {
                    require(&column, &path, bad);
                }
                columns.push(column);
            }
            // What lies under a null is nobody's.
            forget(bad, start, |row| array.is_valid(row).then_some(row));
            let nulls = array.nulls().cloned();
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, array.len())?)
        }
        (from, to) if from == to => Arc::clone(array),
        (from, to) => return Err(ArrowError::CastError(format!("column `{path}` of {from} cannot become {to}"))),
    })
}

/// Converts the values that are there; `why` is of those that cannot be.
fn checked<A: ArrowPrimitiveType, B: ArrowPrimitiveType>(
    array: &ArrayRef,
    convert: impl Fn(A::Native) -> Option<B::Native>,
    (path, why): (&str, &'static str),
    bad: &mut Vec<Bad>,
) -> PrimitiveArray<B> {
    let array = array.as_primitive::<A>();
    let value = |(row, value): (usize, &A::Native)| {
        convert(*value).unwrap_or_else(|| {
            if array.is_valid(row) {
                bad.push(Bad::new(row, path, why));
            }
            B::Native::default()
        })
    };
    let values: ScalarBuffer<B::Native> = array.values().iter().enumerate().map(value).collect();
    PrimitiveArray::new(values, array.nulls().cloned())
}

/// The same values with wide offsets, and without those around a slice.
fn large<A, B>(array: &GenericByteArray<A>) -> Result<GenericByteArray<B>, ArrowError>
where
    A: ByteArrayType<Offset = i32>,
    B: ByteArrayType<Offset = i64>,
{
    let (first, last) = ends(array.offsets());
    let offsets: ScalarBuffer<i64> = array.offsets().iter().map(|offset| i64::from(*offset) - first as i64).collect();
    let values = array.values().slice_with_length(first, last - first);
    GenericByteArray::try_new(OffsetBuffer::new(offsets), values, array.nulls().cloned())
}

fn ends<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> (usize, usize) {
    let of = |offset: Option<&O>| offset.map_or(0, |offset| offset.as_usize());
    (of(offsets.first()), of(offsets.last()))
}

fn decimal(value: impl Into<i128>, scale: i8) -> decimal::Text {
    decimal::text(value.into(), scale)
}

fn text<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, write: impl Fn(T::Native) -> decimal::Text) -> ArrayRef {
    let mut builder = LargeStringBuilder::with_capacity(array.len(), array.len() * 8);
    for value in array {
        let text = value.map(&write);
        builder.append_option(text.as_ref().and_then(|text| std::str::from_utf8(text.as_bytes()).ok()));
    }
    Arc::new(builder.finish())
}

/// The values of runs, one by one.
fn expanded(array: &ArrayRef, ends: &DataType) -> Result<ArrayRef, ArrowError> {
    macro_rules! expand {
        ($ends:ty) => {{
            let any = array.as_any().downcast_ref::<RunArray<$ends>>();
            let runs = any.ok_or_else(|| ArrowError::CastError("runs of another type".to_owned()))?;
            let indices: UInt64Array = (0..runs.len()).map(|row| runs.get_physical_index(row) as u64).collect();
            take(runs.values(), &indices, None)
        }};
    }
    match ends {
        DataType::Int16 => expand!(Int16Type),
        DataType::Int32 => expand!(Int32Type),
        _ => expand!(Int64Type),
    }
}

fn too_long() -> ArrowError {
    ArrowError::CastError("lists of more than 2^31 elements together".to_owned())
}

/// The elements of views, one list after another.
fn gathered<O: OffsetSizeTrait>(array: &GenericListViewArray<O>) -> Result<(OffsetBuffer<i32>, ArrayRef), ArrowError> {
    let mut offsets = vec![0_i32];
    let mut indices: Vec<u64> = Vec::new();
    for (row, (start, size)) in array.offsets().iter().zip(array.sizes()).enumerate() {
        if array.is_valid(row) {
            let start = start.as_usize() as u64;
            indices.extend(start..start + size.as_usize() as u64);
        }
        offsets.push(i32::try_from(indices.len()).map_err(|_| too_long())?);
    }
    Ok((OffsetBuffer::new(offsets.into()), take(array.values(), &UInt64Array::from(indices), None)?))
}

/// Makes the places of elements those of their lists.
fn forget(bad: &mut Vec<Bad>, start: usize, row_of: impl Fn(usize) -> Option<usize>) {
    let inner = bad.split_off(start);
    bad.extend(inner.into_iter().filter_map(|bad| Some(Bad { row: row_of(bad.row)?, ..bad })));
}

/// The list that an element is in, unless it is in none.
fn list_of(offsets: &OffsetBuffer<i32>, nulls: Option<&NullBuffer>, element: usize) -> Option<usize> {
    let row = offsets.partition_point(|offset| offset.as_usize() <= element).checked_sub(1)?;
    (row + 1 < offsets.len() && nulls.is_none_or(|nulls| nulls.is_valid(row))).then_some(row)
}

fn list(
    offsets: &OffsetBuffer<i32>,
    values: &ArrayRef,
    nulls: Option<&NullBuffer>,
    (to, nullable): (&FieldRef, bool),
    path: &str,
    bad: &mut Vec<Bad>,
) -> Result<ArrayRef, ArrowError> {
    let (offsets, first, last) = rebased(offsets);
    let start = bad.len();
    let values = cast(&values.slice(first, last - first), to.data_type(), path, bad)?;
    if !nullable {
        require(&values, path, bad);
    }
    forget(bad, start, |element| list_of(&offsets, nulls, element));
    Ok(Arc::new(ListArray::try_new(Arc::clone(to), offsets, values, nulls.cloned())?))
}

/// Offsets that begin at 0, and the range they had.
fn rebased(offsets: &OffsetBuffer<i32>) -> (OffsetBuffer<i32>, usize, usize) {
    let (first, last) = ends(offsets);
    let moved: ScalarBuffer<i32> = offsets.iter().map(|offset| offset - first as i32).collect();
    (OffsetBuffer::new(moved), first, last)
}

fn map(array: &MapArray, entries: &FieldRef, path: &str, bad: &mut Vec<Bad>) -> Result<ArrayRef, ArrowError> {
    let DataType::Struct(fields) = entries.data_type() else { return Err(too_long()) };
    let (offsets, first, last) = rebased(array.offsets());
    let start = bad.len();
    let columns = [array.keys(), array.values()];
    let column = |(column, field): (&ArrayRef, &FieldRef)| {
        cast(&column.slice(first, last - first), field.data_type(), path, bad)
    };
    let columns = columns.into_iter().zip(fields).map(column).collect::<Result<Vec<_>, _>>()?;
    if let Some(keys) = columns.first() {
        require(keys, path, bad);
    }
    forget(bad, start, |element| list_of(&offsets, array.nulls(), element));
    let values = StructArray::try_new_with_length(fields.clone(), columns, None, last - first)?;
    Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, values, array.nulls().cloned(), false)?))
}
