//! Values that hold no others: how long they are and how they are written.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{BinaryViewType, Float16Type, StringViewType};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, ScalarBuffer, i256};
use arrow_data::ArrayData;
use arrow_schema::DataType;

use super::column::{Measured, Place, Rows, SKIP};
use super::decimal;
use super::plan::{Int, Scalar, Unit};
use super::wire::{Tag, Writer, varint_len, zigzag};

/// The values of a column with what is written of them.
#[derive(Debug)]
pub(super) enum Leaf {
    Bool(BooleanBuffer),
    Int32(ScalarBuffer<i32>),
    Int64(ScalarBuffer<i64>),
    /// Integers that may not fit, or are written in another way.
    Int(Ints, Unit, Int),
    Float(ScalarBuffer<f32>),
    Double(ScalarBuffer<f64>),
    AsFloat(Numbers),
    AsDouble(Numbers),
    Bytes(ScalarBuffer<i32>, Buffer),
    LargeBytes(ScalarBuffer<i64>, Buffer),
    ViewBytes(ScalarBuffer<u128>, Vec<Buffer>),
    FixedBytes(usize, Buffer),
    Decimal(Ints, i8),
    Decimal128(ScalarBuffer<i128>, i8),
    Decimal256(ScalarBuffer<i256>, i8),
}

/// Integers of any width.
#[derive(Debug)]
pub(super) enum Ints {
    I8(ScalarBuffer<i8>),
    I16(ScalarBuffer<i16>),
    I32(ScalarBuffer<i32>),
    I64(ScalarBuffer<i64>),
    U8(ScalarBuffer<u8>),
    U16(ScalarBuffer<u16>),
    U32(ScalarBuffer<u32>),
    U64(ScalarBuffer<u64>),
}

/// Numbers that fit a double.
#[derive(Debug)]
pub(super) enum Numbers {
    Half(arrow_array::PrimitiveArray<Float16Type>),
    Float(ScalarBuffer<f32>),
    Int(Ints),
}

impl Ints {
    /// The integers that `array` consists of, whatever they stand for.
    pub(super) fn of(array: &dyn Array) -> Option<Self> {
        let data = array.to_data();
        Some(match array.data_type() {
            DataType::Int8 => Self::I8(values(&data)?),
            DataType::Int16 => Self::I16(values(&data)?),
            DataType::Int32 | DataType::Date32 | DataType::Time32(_) | DataType::Decimal32(..) => {
                Self::I32(values(&data)?)
            }
            DataType::Int64
            | DataType::Date64
            | DataType::Time64(_)
            | DataType::Timestamp(..)
            | DataType::Duration(_)
            | DataType::Decimal64(..) => Self::I64(values(&data)?),
            DataType::UInt8 => Self::U8(values(&data)?),
            DataType::UInt16 => Self::U16(values(&data)?),
            DataType::UInt32 => Self::U32(values(&data)?),
            DataType::UInt64 => Self::U64(values(&data)?),
            _ => return None,
        })
    }

    pub(super) fn get(&self, row: usize) -> Option<i128> {
        match self {
            Self::I8(values) => values.get(row).map(|value| i128::from(*value)),
            Self::I16(values) => values.get(row).map(|value| i128::from(*value)),
            Self::I32(values) => values.get(row).map(|value| i128::from(*value)),
            Self::I64(values) => values.get(row).map(|value| i128::from(*value)),
            Self::U8(values) => values.get(row).map(|value| i128::from(*value)),
            Self::U16(values) => values.get(row).map(|value| i128::from(*value)),
            Self::U32(values) => values.get(row).map(|value| i128::from(*value)),
            Self::U64(values) => values.get(row).map(|value| i128::from(*value)),
        }
    }
}

impl Numbers {
    fn get(&self, row: usize) -> f64 {
        match self {
            Self::Half(values) if row < values.len() => values.value(row).to_f64(),
            Self::Half(_) => 0.0,
            Self::Float(values) => values.get(row).copied().map_or(0.0, f64::from),
            Self::Int(values) => values.get(row).map_or(0.0, |value| value as f64),
        }
    }
}

/// The first buffer of `data` as numbers.
fn values<T: ArrowNativeType>(data: &ArrayData) -> Option<ScalarBuffer<T>> {
    Some(ScalarBuffer::new(data.buffers().first()?.clone(), data.offset(), data.len()))
}

/// What an integer is in the encoding.
#[derive(Clone, Copy)]
enum Encoded {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
}

impl Unit {
    fn of(self, value: i128) -> i128 {
        match self {
            Self::One => value,
            Self::Times(factor) => value * i128::from(factor),
            // No wider integer has a unit.
            Self::Per(divisor) => i128::from((value as i64).div_euclid(divisor)),
        }
    }
}

impl Int {
    /// `value` encoded, if it fits.
    #[inline]
    fn encode(&self, value: i128) -> Option<Encoded> {
        Some(match self {
            Self::Int32 => Encoded::Varint(i64::from(i32::try_from(value).ok()?).cast_unsigned()),
            Self::Int64 => Encoded::Varint(i64::try_from(value).ok()?.cast_unsigned()),
            Self::UInt32 => Encoded::Varint(u32::try_from(value).ok()?.into()),
            Self::UInt64 => Encoded::Varint(u64::try_from(value).ok()?),
            Self::SInt32 => Encoded::Varint(zigzag(i32::try_from(value).ok()?.into())),
            Self::SInt64 => Encoded::Varint(zigzag(i64::try_from(value).ok()?)),
            Self::Fixed32 => Encoded::Fixed32(u32::try_from(value).ok()?),
            Self::SFixed32 => Encoded::Fixed32(i32::try_from(value).ok()?.cast_unsigned()),
            Self::Fixed64 => Encoded::Fixed64(u64::try_from(value).ok()?),
            Self::SFixed64 => Encoded::Fixed64(i64::try_from(value).ok()?.cast_unsigned()),
            Self::Enum(numbers) => {
                let value = i32::try_from(value).ok()?;
                numbers.binary_search(&value).ok()?;
                Encoded::Varint(i64::from(value).cast_unsigned())
            }
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::UInt32 => "uint32",
            Self::UInt64 => "uint64",
            Self::SInt32 => "sint32",
            Self::SInt64 => "sint64",
            Self::Fixed32 => "fixed32",
            Self::Fixed64 => "fixed64",
            Self::SFixed32 => "sfixed32",
            Self::SFixed64 => "sfixed64",
            Self::Enum(_) => "its enum",
        }
    }
}

impl Leaf {
    /// `array` to be written as `scalar`; none where the two do not match.
    pub(super) fn bind(scalar: &Scalar, array: &ArrayRef) -> Option<Self> {
        let data_type = array.data_type();
        Some(match scalar {
            Scalar::Bool => Self::Bool(array.as_boolean_opt()?.values().clone()),
            Scalar::Int(unit, int) => match (Ints::of(array)?, unit, int) {
                (Ints::I32(values), Unit::One, Int::Int32) => Self::Int32(values),
                (Ints::I64(values), Unit::One, Int::Int64) => Self::Int64(values),
                (values, unit, int) => Self::Int(values, *unit, int.clone()),
            },
            Scalar::Float => match data_type {
                DataType::Float32 => Self::Float(values(&array.to_data())?),
                _ => Self::AsFloat(numbers(array)?),
            },
            Scalar::Double => match data_type {
                DataType::Float64 => Self::Double(values(&array.to_data())?),
                _ => Self::AsDouble(numbers(array)?),
            },
            Scalar::Text => match data_type {
                DataType::UInt64 => Self::Decimal(Ints::of(array)?, 0),
                DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => {
                    Self::Decimal(Ints::of(array)?, *scale)
                }
                DataType::Decimal128(_, scale) => Self::Decimal128(values(&array.to_data())?, *scale),
                DataType::Decimal256(_, scale) => Self::Decimal256(values(&array.to_data())?, *scale),
                _ => return None,
            },
            Scalar::Bytes => match data_type {
                DataType::Utf8 => {
                    let array = array.as_string_opt::<i32>()?;
                    Self::Bytes(array.offsets().inner().clone(), array.values().clone())
                }
                DataType::Binary => {
                    let array = array.as_binary_opt::<i32>()?;
                    Self::Bytes(array.offsets().inner().clone(), array.values().clone())
                }
                DataType::LargeUtf8 => {
                    let array = array.as_string_opt::<i64>()?;
                    Self::LargeBytes(array.offsets().inner().clone(), array.values().clone())
                }
                DataType::LargeBinary => {
                    let array = array.as_binary_opt::<i64>()?;
                    Self::LargeBytes(array.offsets().inner().clone(), array.values().clone())
                }
                DataType::Utf8View => {
                    let array = array.as_byte_view_opt::<StringViewType>()?;
                    Self::ViewBytes(array.views().clone(), array.data_buffers().to_vec())
                }
                DataType::BinaryView => {
                    let array = array.as_byte_view_opt::<BinaryViewType>()?;
                    Self::ViewBytes(array.views().clone(), array.data_buffers().to_vec())
                }
                DataType::FixedSizeBinary(size) => {
                    let array = array.as_fixed_size_binary_opt()?;
                    Self::FixedBytes(usize::try_from(*size).ok()?, array.values().clone())
                }
                _ => return None,
            },
        })
    }

    /// Adds to `out` what each of `rows` takes with its tag, where it is not null.
    pub(super) fn measure(
        &self,
        rows: Rows<'_>,
        nulls: Option<&NullBuffer>,
        tag: Tag,
        path: &Arc<str>,
        out: &mut [usize],
        measured: &mut Measured,
    ) {
        let tag = tag.len();
        match self {
            Self::Bool(_) => add(rows, nulls, out, |_| tag + 1),
            Self::Int32(values) => add(rows, nulls, out, |row| {
                tag + values.get(row).map_or(1, |value| varint_len(i64::from(*value).cast_unsigned()))
            }),
            Self::Int64(values) => {
                add(rows, nulls, out, |row| tag + values.get(row).map_or(1, |value| varint_len(value.cast_unsigned())));
            }
            Self::Float(_) | Self::AsFloat(_) => add(rows, nulls, out, |_| tag + 4),
            Self::Double(_) | Self::AsDouble(_) => add(rows, nulls, out, |_| tag + 8),
            Self::Int(values, unit, int) => try_add(rows, nulls, out, path, measured, |row| {
                let value = values.get(row).map(|value| unit.of(value)).unwrap_or_default();
                match int.encode(value) {
                    Some(Encoded::Varint(value)) => Ok(tag + varint_len(value)),
                    Some(Encoded::Fixed32(_)) => Ok(tag + 4),
                    Some(Encoded::Fixed64(_)) => Ok(tag + 8),
                    None => Err(format!("{value} does not fit {}", int.name())),
                }
            }),
            // What the offsets of a malformed array say is found out when it is written.
            Self::Bytes(offsets, _) => add(rows, nulls, out, |row| {
                let length = match (offsets.get(row), offsets.get(row + 1)) {
                    (Some(start), Some(end)) => usize::try_from(end.wrapping_sub(*start)).unwrap_or(SKIP),
                    _ => 0,
                };
                length.saturating_add(tag + varint_len(length as u64))
            }),
            Self::LargeBytes(..) | Self::ViewBytes(..) | Self::FixedBytes(..) => add(rows, nulls, out, |row| {
                let length = self.bytes(row).unwrap_or_default().len();
                tag + varint_len(length as u64) + length
            }),
            Self::Decimal(..) | Self::Decimal128(..) => add(rows, nulls, out, |row| {
                let (value, scale) = self.decimal(row);
                let length = decimal::text_len(value, scale);
                tag + varint_len(length as u64) + length
            }),
            Self::Decimal256(values, scale) => add(rows, nulls, out, |row| {
                let value = values.get(row).copied().unwrap_or_default();
                let length = decimal::wide_text(value, *scale).as_bytes().len();
                tag + varint_len(length as u64) + length
            }),
        }
    }

    /// Writes the value of `row`, which is not null and was measured.
    #[inline]
    pub(super) fn write(&self, row: usize, writer: &mut Writer) {
        match self {
            Self::Bool(values) => writer.varint(u64::from(row < values.len() && values.value(row))),
            Self::Int32(values) => {
                writer.varint(i64::from(values.get(row).copied().unwrap_or_default()).cast_unsigned());
            }
            Self::Int64(values) => writer.varint(values.get(row).copied().unwrap_or_default().cast_unsigned()),
            Self::Int(values, unit, int) => {
                match int.encode(values.get(row).map(|value| unit.of(value)).unwrap_or_default()) {
                    Some(Encoded::Varint(value)) => writer.varint(value),
                    Some(Encoded::Fixed32(value)) => writer.fixed32(value),
                    Some(Encoded::Fixed64(value)) => writer.fixed64(value),
                    None => {}
                }
            }
            Self::Float(values) => writer.fixed32(values.get(row).copied().unwrap_or_default().to_bits()),
            Self::Double(values) => writer.fixed64(values.get(row).copied().unwrap_or_default().to_bits()),
            Self::AsFloat(values) => writer.fixed32((values.get(row) as f32).to_bits()),
            Self::AsDouble(values) => writer.fixed64(values.get(row).to_bits()),
            Self::Bytes(..) | Self::LargeBytes(..) | Self::ViewBytes(..) | Self::FixedBytes(..) => {
                writer.bytes(self.bytes(row).unwrap_or_default());
            }
            Self::Decimal(..) | Self::Decimal128(..) => {
                let (value, scale) = self.decimal(row);
                writer.bytes(decimal::text(value, scale).as_bytes());
            }
            Self::Decimal256(values, scale) => {
                let value = values.get(row).copied().unwrap_or_default();
                writer.bytes(decimal::wide_text(value, *scale).as_bytes());
            }
        }
    }

    /// Writes the values of consecutive rows with their tag, where they are not null, each in its place.
    pub(super) fn write_rows(
        &self,
        tag: Tag,
        nulls: Option<&NullBuffer>,
        first: usize,
        places: &mut [Place],
        writer: &mut Writer,
    ) {
        // The frequent ones have a loop of their own.
        match self {
            Self::Int32(values) => each(nulls, first, places, writer, |row, writer| {
                writer.tag(tag);
                writer.varint(i64::from(values.get(row).copied().unwrap_or_default()).cast_unsigned());
            }),
            Self::Int64(values) => each(nulls, first, places, writer, |row, writer| {
                writer.tag(tag);
                writer.varint(values.get(row).copied().unwrap_or_default().cast_unsigned());
            }),
            Self::Double(values) => each(nulls, first, places, writer, |row, writer| {
                writer.tag(tag);
                writer.fixed64(values.get(row).copied().unwrap_or_default().to_bits());
            }),
            Self::Bytes(offsets, data) => each(nulls, first, places, writer, |row, writer| {
                writer.tag(tag);
                writer.part(data, span(offsets, row).unwrap_or_default());
            }),
            _ => each(nulls, first, places, writer, |row, writer| {
                writer.tag(tag);
                self.write(row, writer);
            }),
        }
    }

    /// The bytes in `row`, if these are bytes.
    #[inline]
    pub(super) fn bytes(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Bytes(offsets, data) => data.get(span(offsets, row)?),
            Self::LargeBytes(offsets, data) => data.get(span(offsets, row)?),
            Self::ViewBytes(views, buffers) => view(views, row, buffers),
            Self::FixedBytes(size, data) => {
                let start = row.checked_mul(*size)?;
                data.get(start..start.checked_add(*size)?)
            }
            _ => None,
        }
    }

    fn decimal(&self, row: usize) -> (i128, i8) {
        match self {
            Self::Decimal(values, scale) => (values.get(row).unwrap_or_default(), *scale),
            Self::Decimal128(values, scale) => (values.get(row).copied().unwrap_or_default(), *scale),
            _ => (0, 0),
        }
    }
}

/// Where the bytes of a row are.
#[inline]
fn span<O: Copy + TryInto<usize>>(offsets: &[O], row: usize) -> Option<Range<usize>> {
    let (start, end) = (*offsets.get(row)?, *offsets.get(row + 1)?);
    Some(start.try_into().ok()?..end.try_into().ok()?)
}

/// Writes each row that is not null in its place.
#[inline]
fn each(
    nulls: Option<&NullBuffer>,
    first: usize,
    places: &mut [Place],
    writer: &mut Writer,
    write: impl Fn(usize, &mut Writer),
) {
    for (row, place) in (first..).zip(places) {
        if nulls.is_some_and(|nulls| row >= nulls.len() || nulls.is_null(row)) {
            continue;
        }
        writer.seek(place.at, place.end);
        write(row, writer);
        place.at = writer.len();
    }
}

/// Bytes of a view: up to 12 in itself, else in a buffer.
fn view<'a>(views: &'a ScalarBuffer<u128>, row: usize, buffers: &'a [Buffer]) -> Option<&'a [u8]> {
    let view = views.get(row)?;
    let length = *view as u32 as usize;
    if length <= 12 {
        return views.inner().get(row * 16 + 4..row * 16 + 4 + length);
    }
    let buffer = buffers.get((view >> 64) as u32 as usize)?;
    let start = (view >> 96) as u32 as usize;
    buffer.get(start..start.checked_add(length)?)
}

fn numbers(array: &ArrayRef) -> Option<Numbers> {
    Some(match array.data_type() {
        DataType::Float16 => Numbers::Half(array.as_primitive_opt::<Float16Type>()?.clone()),
        DataType::Float32 => Numbers::Float(values(&array.to_data())?),
        _ => Numbers::Int(Ints::of(array)?),
    })
}

/// Adds `size` of each row that is not null.
#[inline]
fn add(rows: Rows<'_>, nulls: Option<&NullBuffer>, out: &mut [usize], size: impl Fn(usize) -> usize) {
    match (rows, nulls) {
        (Rows::From(start), None) => {
            for (row, out) in (start..).zip(out) {
                *out = out.saturating_add(size(row));
            }
        }
        _ => {
            for (index, out) in out.iter_mut().enumerate() {
                let row = rows.get(index);
                if !Rows::is_null(row, nulls) {
                    *out = out.saturating_add(size(row));
                }
            }
        }
    }
}

/// The same where a row can fail.
#[inline]
fn try_add(
    rows: Rows<'_>,
    nulls: Option<&NullBuffer>,
    out: &mut [usize],
    path: &Arc<str>,
    measured: &mut Measured,
    size: impl Fn(usize) -> Result<usize, String>,
) {
    for (index, out) in out.iter_mut().enumerate() {
        let row = rows.get(index);
        if *out == SKIP || Rows::is_null(row, nulls) {
            continue;
        }
        match size(row) {
            Ok(size) => *out = out.saturating_add(size),
            Err(why) => {
                *out = SKIP;
                measured.fail(index, path, why);
            }
        }
    }
}
