//! Turning the engine's arrays into the Arrow types of the wire.
//!
//! A value either fits its declared SQL type exactly or is refused: a local warehouse that silently rounded would hide
//! the very bugs it is there to show. Only those conversions are here that the engine's results need, one by one: a
//! general cast between any two Arrow types would be larger than the rest of the warehouse.

use std::fmt::Write;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal32Type, Decimal64Type, Decimal128Type, DecimalType, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, Decimal128Array, Float64Array, ListArray, MapArray, PrimitiveArray, StringArray,
    StructArray, TimestampMicrosecondArray, new_empty_array, new_null_array,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, TimeUnit};

use crate::interval;
use crate::spark_type::{SparkType, element_field, entries_field, entry_fields, struct_fields};

/// Why an array cannot be sent as its declared type.
pub(crate) type Mismatch = String;

/// The powers of ten up to this one are exact doubles.
const EXACT_POWERS: i8 = 22;

/// Converts `array` to the wire type of `spark_type`; an array that has it already is passed through.
pub(crate) fn conform(array: &ArrayRef, spark_type: &SparkType, zone: &Arc<str>) -> Result<ArrayRef, Mismatch> {
    let wire = spark_type.arrow_type(zone);
    if *array.data_type() == wire {
        if let DataType::Decimal128(38, _) = wire {
            check_38_digits(array.as_primitive::<Decimal128Type>())?;
        }
        return Ok(Arc::clone(array));
    }
    if array.is_empty() {
        return Ok(new_empty_array(&wire));
    }
    if array.logical_null_count() == array.len() {
        return Ok(new_null_array(&wire, array.len()));
    }
    match spark_type {
        SparkType::Byte | SparkType::Short | SparkType::Int | SparkType::Long => integers(array, &wire),
        SparkType::Float => floats(array),
        SparkType::Double => Ok(Arc::new(doubles(array)?)),
        SparkType::Decimal { precision, scale } => decimals(array, *precision, *scale),
        SparkType::Text { .. } => texts(array),
        SparkType::Binary => binaries(array),
        SparkType::Timestamp => timestamps(array, Some(zone)),
        SparkType::TimestampNtz => timestamps(array, None),
        SparkType::YearMonthInterval(_) => interval::year_months(array),
        SparkType::DayTimeInterval(_) => interval::day_times(array),
        SparkType::Array(element) => lists(array, element, zone),
        SparkType::Map(key, value) => maps(array, key, value, zone),
        SparkType::Struct(fields) => structs(array, fields, zone),
        SparkType::Boolean | SparkType::Date | SparkType::Void => Err(unfit(array)),
    }
}

/// The refusal of an Arrow type that does not stand for the SQL type.
pub(crate) fn unfit(array: &dyn Array) -> Mismatch {
    format!("the engine delivered Arrow {}", array.data_type())
}

fn integers(array: &ArrayRef, wire: &DataType) -> Result<ArrayRef, Mismatch> {
    let numbers = exact_numbers(array)?;
    match wire {
        DataType::Int8 => narrowed::<Int8Type>(&numbers, wire),
        DataType::Int16 => narrowed::<Int16Type>(&numbers, wire),
        DataType::Int32 => narrowed::<Int32Type>(&numbers, wire),
        DataType::Int64 => narrowed::<Int64Type>(&numbers, wire),
        _ => Err(unfit(array)),
    }
}

fn narrowed<T>(numbers: &Decimal128Array, wire: &DataType) -> Result<ArrayRef, Mismatch>
where
    T: ArrowPrimitiveType<Native: TryFrom<i128>>,
{
    let divisor = power_of_ten(numbers.scale())?;
    let integers: PrimitiveArray<T> = numbers.try_unary(|value| {
        if value % divisor != 0 {
            return Err("a value has a fraction".to_owned());
        }
        let value = value / divisor;
        T::Native::try_from(value).map_err(|_| format!("Can't cast value {value} to type {wire}: it does not fit"))
    })?;
    Ok(Arc::new(integers))
}

fn floats(array: &ArrayRef) -> Result<ArrayRef, Mismatch> {
    let floats = doubles(array)?.try_unary::<_, Float32Type, Mismatch>(|value| {
        let narrow = value as f32;
        if narrow.is_infinite() && value.is_finite() {
            Err(format!("the value {value} does not fit"))
        } else {
            Ok(narrow)
        }
    })?;
    Ok(Arc::new(floats))
}

/// Numbers as doubles: those with a fraction as the nearest one, integers only where they are exact.
fn doubles(array: &ArrayRef) -> Result<Float64Array, Mismatch> {
    match array.data_type() {
        DataType::Float64 => Ok(array.as_primitive::<Float64Type>().clone()),
        DataType::Float32 => Ok(array.as_primitive::<Float32Type>().unary(f64::from)),
        DataType::FixedSizeBinary(_) => Err(unfit(array)),
        from if from.is_integer() => exact_numbers(array)?.try_unary(|value| {
            let double = value as f64;
            if double as i128 == value { Ok(double) } else { Err(format!("the value {value} is not exact")) }
        }),
        _ => {
            let numbers = exact_numbers(array)?;
            let scale = numbers.scale();
            let divisor = power_of_ten(scale)?;
            numbers.try_unary(|value| {
                // Where both are exact the division rounds once. Else the text does.
                if scale <= EXACT_POWERS && value.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS {
                    return Ok(value as f64 / divisor as f64);
                }
                let text = Decimal128Type::format_decimal(value, 38, scale);
                text.parse::<f64>().map_err(|_| format!("the value {text} does not fit"))
            })
        }
    }
}

fn decimals(array: &ArrayRef, precision: u8, scale: u8) -> Result<ArrayRef, Mismatch> {
    let numbers = exact_numbers(array)?;
    let shift = i32::from(scale) - i32::from(numbers.scale());
    let factor = power_of_ten(i8::try_from(shift.abs()).map_err(|_| unfit(array))?)?;
    let limit = power_of_ten(precision.cast_signed())?;
    let rescaled = numbers.try_unary::<_, Decimal128Type, Mismatch>(|value| {
        let rescaled = if shift >= 0 {
            value.checked_mul(factor)
        } else if value % factor == 0 {
            Some(value / factor)
        } else {
            return Err(format!("a value has more than {scale} fraction digits"));
        };
        rescaled
            .filter(|rescaled| rescaled.unsigned_abs() < limit.unsigned_abs())
            .ok_or_else(|| format!("a value has more than {precision} digits"))
    })?;
    let rescaled =
        rescaled.with_precision_and_scale(precision, scale.cast_signed()).map_err(|error| error.to_string())?;
    Ok(Arc::new(rescaled))
}

/// Refuses what the engine's 128-bit integers can hold and decimals cannot.
fn check_38_digits(decimals: &Decimal128Array) -> Result<(), Mismatch> {
    let limit = power_of_ten(38)?.unsigned_abs();
    if decimals.iter().flatten().all(|value| value.unsigned_abs() < limit) {
        Ok(())
    } else {
        Err("a value has more than 38 digits".to_owned())
    }
}

/// Integers and decimals as 128-bit decimals of their own scale; `DuckDB`'s HUGEINT may come as 16 bytes, lowest first.
fn exact_numbers(array: &dyn Array) -> Result<Decimal128Array, Mismatch> {
    let (numbers, scale) = match array.data_type() {
        DataType::Int8 => (widened::<Int8Type>(array), 0),
        DataType::Int16 => (widened::<Int16Type>(array), 0),
        DataType::Int32 => (widened::<Int32Type>(array), 0),
        DataType::Int64 => (widened::<Int64Type>(array), 0),
        DataType::UInt8 => (widened::<UInt8Type>(array), 0),
        DataType::UInt16 => (widened::<UInt16Type>(array), 0),
        DataType::UInt32 => (widened::<UInt32Type>(array), 0),
        DataType::UInt64 => (widened::<UInt64Type>(array), 0),
        DataType::Decimal32(_, scale) => (widened::<Decimal32Type>(array), *scale),
        DataType::Decimal64(_, scale) => (widened::<Decimal64Type>(array), *scale),
        DataType::Decimal128(..) => return Ok(array.as_primitive::<Decimal128Type>().clone()),
        DataType::FixedSizeBinary(16) => {
            let values = array.as_fixed_size_binary().iter().map(|bytes| {
                bytes.and_then(|bytes| bytes.first_chunk::<16>()).map(|bytes| i128::from_le_bytes(*bytes))
            });
            (values.collect(), 0)
        }
        _ => return Err(unfit(array)),
    };
    numbers.with_precision_and_scale(38, scale).map_err(|error| error.to_string())
}

fn widened<T: ArrowPrimitiveType<Native: Into<i128>>>(array: &dyn Array) -> Decimal128Array {
    array.as_primitive::<T>().unary(Into::into)
}

fn power_of_ten(exponent: i8) -> Result<i128, Mismatch> {
    u32::try_from(exponent)
        .ok()
        .and_then(|exponent| 10_i128.checked_pow(exponent))
        .ok_or_else(|| "a decimal scale is out of range".to_owned())
}

/// Strings of any layout; a UUID may come as 16 bytes.
fn texts(array: &ArrayRef) -> Result<ArrayRef, Mismatch> {
    let texts: Vec<Option<&str>> = match array.data_type() {
        DataType::Utf8 => return Ok(Arc::clone(array)),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().collect(),
        DataType::Utf8View => array.as_string_view().iter().collect(),
        DataType::Dictionary(..) => return dictionary_texts(array),
        DataType::FixedSizeBinary(16) => {
            let texts: StringArray = array.as_fixed_size_binary().iter().map(|bytes| bytes.map(uuid_text)).collect();
            return Ok(Arc::new(texts));
        }
        _ => return Err(unfit(array)),
    };
    string_array(&texts)
}

fn dictionary_texts(array: &ArrayRef) -> Result<ArrayRef, Mismatch> {
    let dictionary = array.as_any_dictionary_opt().ok_or_else(|| unfit(array))?;
    if !matches!(dictionary.values().data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        return Err(unfit(array));
    }
    let values = texts(dictionary.values())?;
    let values: Vec<Option<&str>> = values.as_string::<i32>().iter().collect();
    let text = |key: Option<i128>| match key {
        None => Ok(None),
        Some(key) => usize::try_from(key)
            .ok()
            .and_then(|key| values.get(key).copied())
            .ok_or_else(|| "a dictionary has no value for a key".to_owned()),
    };
    let texts: Result<Vec<Option<&str>>, Mismatch> = exact_numbers(dictionary.keys())?.iter().map(text).collect();
    string_array(&texts?)
}

fn string_array(texts: &[Option<&str>]) -> Result<ArrayRef, Mismatch> {
    check_size(texts.iter().flatten().map(|text| text.len()))?;
    Ok(Arc::new(StringArray::from_iter(texts)))
}

/// Refuses what 32-bit offsets cannot address.
fn check_size(mut lengths: impl Iterator<Item = usize>) -> Result<(), Mismatch> {
    let total = lengths.try_fold(0_usize, usize::checked_add);
    total
        .and_then(|total| i32::try_from(total).ok())
        .map(drop)
        .ok_or_else(|| "a batch of values is too large".to_owned())
}

fn uuid_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (position, byte) in bytes.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn binaries(array: &ArrayRef) -> Result<ArrayRef, Mismatch> {
    let values: Vec<Option<&[u8]>> = match array.data_type() {
        DataType::LargeBinary => array.as_binary::<i64>().iter().collect(),
        DataType::BinaryView => array.as_binary_view().iter().collect(),
        DataType::FixedSizeBinary(_) => array.as_fixed_size_binary().iter().collect(),
        _ => return Err(unfit(array)),
    };
    check_size(values.iter().flatten().map(|value| value.len()))?;
    Ok(Arc::new(BinaryArray::from_iter(values)))
}

/// Instants (`zone` given) or wall-clock times, in microseconds.
///
/// An array without a zone counts as UTC; one with a zone is no wall-clock time, unless that zone is UTC.
fn timestamps(array: &ArrayRef, zone: Option<&Arc<str>>) -> Result<ArrayRef, Mismatch> {
    let DataType::Timestamp(unit, from) = array.data_type() else { return Err(unfit(array)) };
    if zone.is_none() && from.as_deref().is_some_and(|from| !is_utc(from)) {
        return Err(unfit(array));
    }
    let micros = match unit {
        TimeUnit::Second => scaled_up::<TimestampSecondType>(array, 1_000_000)?,
        TimeUnit::Millisecond => scaled_up::<TimestampMillisecondType>(array, 1_000)?,
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().clone(),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().try_unary(|value| {
            if value % 1_000 == 0 { Ok(value / 1_000) } else { Err("a value is finer than a microsecond".to_owned()) }
        })?,
    };
    Ok(Arc::new(micros.with_timezone_opt(zone.map(Arc::clone))))
}

fn scaled_up<T: ArrowPrimitiveType<Native = i64>>(
    array: &ArrayRef,
    factor: i64,
) -> Result<TimestampMicrosecondArray, Mismatch> {
    let array: &PrimitiveArray<T> = array.as_primitive::<T>();
    array.try_unary(|value| value.checked_mul(factor).ok_or_else(|| format!("the value {value} does not fit")))
}

/// Whether a time zone label means UTC.
pub(crate) fn is_utc(zone: &str) -> bool {
    ["utc", "etc/utc", "z", "+00:00", "gmt"].iter().any(|known| zone.eq_ignore_ascii_case(known))
}

fn lists(array: &ArrayRef, element: &SparkType, zone: &Arc<str>) -> Result<ArrayRef, Mismatch> {
    let (offsets, values) = match array.data_type() {
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            (lists.offsets().clone(), lists.values())
        }
        DataType::LargeList(_) => {
            let lists = array.as_list::<i64>();
            (narrow_offsets(lists.offsets().iter().map(|offset| i32::try_from(*offset).ok()))?, lists.values())
        }
        DataType::FixedSizeList(_, size) => {
            let lists = array.as_fixed_size_list();
            let offset = |row: usize| i32::try_from(row).ok()?.checked_mul(*size);
            (narrow_offsets((0..=lists.len()).map(offset))?, lists.values())
        }
        _ => return Err(unfit(array)),
    };
    let values = conform(values, element, zone)?;
    ListArray::try_new(Arc::new(element_field(element, zone)), offsets, values, array.nulls().cloned())
        .map(|list| Arc::new(list) as ArrayRef)
        .map_err(|error| error.to_string())
}

fn narrow_offsets(offsets: impl Iterator<Item = Option<i32>>) -> Result<OffsetBuffer<i32>, Mismatch> {
    let offsets: Option<Vec<i32>> = offsets.collect();
    match offsets {
        // What `new` would panic on.
        Some(offsets) if offsets.is_sorted() && offsets.first().is_some_and(|first| *first >= 0) => {
            Ok(OffsetBuffer::new(offsets.into()))
        }
        _ => Err("a batch of lists is too large".to_owned()),
    }
}

fn maps(array: &ArrayRef, key: &SparkType, value: &SparkType, zone: &Arc<str>) -> Result<ArrayRef, Mismatch> {
    let map = array.as_map_opt().ok_or_else(|| unfit(array))?;
    let columns = vec![conform(map.keys(), key, zone)?, conform(map.values(), value, zone)?];
    let entries =
        StructArray::try_new(entry_fields(key, value, zone), columns, None).map_err(|error| error.to_string())?;
    let field = Arc::new(entries_field(key, value, zone));
    MapArray::try_new(field, map.offsets().clone(), entries, map.nulls().cloned(), false)
        .map(|map| Arc::new(map) as ArrayRef)
        .map_err(|error| error.to_string())
}

/// Matches fields by name where all names are there, else by position.
fn structs(array: &ArrayRef, fields: &[(String, SparkType)], zone: &Arc<str>) -> Result<ArrayRef, Mismatch> {
    let from = array.as_struct_opt().filter(|from| from.num_columns() == fields.len()).ok_or_else(|| unfit(array))?;
    let named: Option<Vec<&ArrayRef>> = fields.iter().map(|(name, _)| from.column_by_name(name)).collect();
    let columns = named.unwrap_or_else(|| from.columns().iter().collect());
    let columns: Result<Vec<ArrayRef>, Mismatch> = columns
        .into_iter()
        .zip(fields)
        .map(|(column, (name, field))| {
            conform(column, field, zone).map_err(|reason| format!("field `{name}` ({field}): {reason}"))
        })
        .collect();
    StructArray::try_new_with_length(struct_fields(fields, zone), columns?, from.nulls().cloned(), from.len())
        .map(|structs| Arc::new(structs) as ArrayRef)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use arrow_array::builder::{ListBuilder, MapBuilder, StringBuilder};
    use arrow_array::{
        BinaryViewArray, Date64Array, Decimal64Array, DictionaryArray, DurationMillisecondArray, FixedSizeBinaryArray,
        FixedSizeListArray, Float32Array, Int8Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
        LargeBinaryArray, LargeListArray, LargeStringArray, NullArray, StringViewArray, TimestampMillisecondArray,
        TimestampNanosecondArray, TimestampSecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
        record_batch,
    };
    use arrow_buffer::IntervalMonthDayNano;

    use super::*;
    use crate::json_rows::json_rows;

    fn zone() -> Arc<str> {
        Arc::from("Etc/UTC")
    }

    /// The values as text, or the reason why they do not fit.
    fn texts_of(array: impl Array + 'static, type_text: &str) -> Result<String, Mismatch> {
        let spark_type = SparkType::parse(type_text).unwrap();
        let conformed = conform(&(Arc::new(array) as ArrayRef), &spark_type, &zone())?;
        assert_eq!(*conformed.data_type(), spark_type.arrow_type(&zone()), "{type_text}");
        let batch = arrow_array::RecordBatch::try_from_iter_with_nullable([("c", conformed, true)]).unwrap();
        let rows: Vec<Vec<Option<String>>> = serde_json::from_str(&json_rows(&[batch], &[spark_type])).unwrap();
        Ok(rows.into_iter().flatten().map(|cell| cell.unwrap_or("NULL".to_owned())).collect::<Vec<_>>().join("; "))
    }

    fn intervals(values: &[(i32, i32, i64)]) -> IntervalMonthDayNanoArray {
        values.iter().map(|(months, days, nanos)| Some(IntervalMonthDayNano::new(*months, *days, *nanos))).collect()
    }

    fn decimals(values: &[i128], scale: i8) -> Decimal128Array {
        Decimal128Array::from_iter_values(values.iter().copied()).with_precision_and_scale(38, scale).unwrap()
    }

    #[test]
    fn values_that_fit_become_the_declared_type() {
        let dictionary: DictionaryArray<Int8Type> = ["b", "a", "b"].into_iter().collect();
        let hugeint = FixedSizeBinaryArray::try_from_iter([(-5_i128).to_le_bytes()].into_iter()).unwrap();
        let uuid = FixedSizeBinaryArray::try_from_iter([0x0102_i128.to_be_bytes()].into_iter()).unwrap();
        for (found, expected) in [
            (texts_of(Int32Array::from(vec![Some(-128), None]), "TINYINT"), "-128; NULL"),
            (texts_of(UInt64Array::from(vec![7]), "BIGINT"), "7"),
            (texts_of(decimals(&[42], 0), "INT"), "42"),
            (texts_of(decimals(&[4200], 2), "INT"), "42"),
            (texts_of(hugeint, "DECIMAL(38,0)"), "-5"),
            (texts_of(decimals(&[150], 2), "DECIMAL(10,1)"), "1.5"),
            (texts_of(decimals(&[15], 1), "DECIMAL(10,3)"), "1.500"),
            (texts_of(UInt64Array::from(vec![u64::MAX]), "DECIMAL(20,0)"), "18446744073709551615"),
            (texts_of(Int32Array::from(vec![3]), "DOUBLE"), "3.0"),
            (texts_of(Float64Array::from(vec![0.1, f64::NAN, f64::NEG_INFINITY]), "FLOAT"), "0.1; NaN; -Infinity"),
            (texts_of(LargeStringArray::from(vec!["a"]), "VARIANT"), "a"),
            (
                texts_of(StringViewArray::from(vec!["longer than twelve bytes"]), "VARCHAR(50)"),
                "longer than twelve bytes",
            ),
            (texts_of(dictionary, "STRING"), "b; a; b"),
            (texts_of(uuid, "STRING"), "00000000-0000-0000-0000-000000000102"),
            (texts_of(TimestampSecondArray::from(vec![86_400]), "TIMESTAMP"), "1970-01-02T00:00:00.000Z"),
            (texts_of(TimestampNanosecondArray::from(vec![1_000]), "TIMESTAMP_NTZ"), "1970-01-01T00:00:00.000001"),
            (
                texts_of(TimestampSecondArray::from(vec![0]).with_timezone("UTC"), "TIMESTAMP_NTZ"),
                "1970-01-01T00:00:00.000",
            ),
            (texts_of(intervals(&[(30, 0, 0), (-1, 0, 0)]), "INTERVAL YEAR TO MONTH"), "2-6; -0-1"),
            (texts_of(intervals(&[(0, -1, 3_600_000_000_000)]), "INTERVAL DAY TO SECOND"), "-0 23:00:00.000000000"),
            (texts_of(DurationMillisecondArray::from(vec![1_500]), "INTERVAL SECOND"), "0 00:00:01.500000000"),
            (texts_of(NullArray::new(2), "DATE"), "NULL; NULL"),
            (texts_of(Int32Array::new_null(1), "VOID"), "NULL"),
        ] {
            assert_eq!(found.as_deref(), Ok(expected));
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused_and_never_changed() {
        let local = TimestampSecondArray::from(vec![0]).with_timezone("Europe/Zurich");
        for (found, reason) in [
            (texts_of(Int32Array::from(vec![128]), "TINYINT"), "Can't cast value 128"),
            (texts_of(UInt64Array::from(vec![u64::MAX]), "BIGINT"), "Can't cast value"),
            (texts_of(Float64Array::from(vec![1.0]), "BIGINT"), "the engine delivered Arrow Float64"),
            (texts_of(decimals(&[15], 1), "INT"), "fraction"),
            (texts_of(decimals(&[i128::from(i64::MAX) + 1], 0), "BIGINT"), "does not fit"),
            (texts_of(decimals(&[155], 2), "DECIMAL(10,1)"), "more than 1 fraction digits"),
            (texts_of(decimals(&[1000], 0), "DECIMAL(3,0)"), "more than 3 digits"),
            (texts_of(decimals(&[10_i128.pow(37)], 0), "DECIMAL(38,4)"), "more than 38 digits"),
            (texts_of(arrow_array::Int64Array::from(vec![(1 << 53) + 1]), "DOUBLE"), "not exact"),
            (texts_of(Float64Array::from(vec![1e300]), "FLOAT"), "does not fit"),
            (texts_of(Float64Array::from(vec![1.5]), "DECIMAL(2,1)"), "the engine delivered"),
            (texts_of(Int32Array::from(vec![1]), "STRING"), "the engine delivered Arrow Int32"),
            (texts_of(TimestampNanosecondArray::from(vec![1]), "TIMESTAMP"), "finer than a microsecond"),
            (texts_of(TimestampSecondArray::from(vec![i64::MAX]), "TIMESTAMP"), "does not fit"),
            (texts_of(local, "TIMESTAMP_NTZ"), "the engine delivered"),
            (texts_of(intervals(&[(1, 1, 0)]), "INTERVAL YEAR TO MONTH"), "days or seconds"),
            (texts_of(intervals(&[(1, 1, 0)]), "INTERVAL DAY TO SECOND"), "months"),
            (texts_of(intervals(&[(0, 0, 1)]), "INTERVAL DAY TO SECOND"), "finer than a microsecond"),
            (texts_of(Int32Array::from(vec![1]), "VOID"), "the engine delivered"),
            (texts_of(Int32Array::from(vec![1]), "ARRAY<INT>"), "the engine delivered"),
        ] {
            assert!(found.as_ref().is_err_and(|found| found.contains(reason)), "{found:?} instead of {reason}");
        }
    }

    #[test]
    fn every_width_of_integer_reaches_every_other_up_to_its_limits() {
        let both = "9223372036854775807; -9223372036854775808";
        for (found, expected) in [
            (texts_of(Int8Array::from(vec![i8::MAX, i8::MIN]), "BIGINT"), "127; -128"),
            (texts_of(Int8Array::from(vec![i8::MAX, i8::MIN]), "DECIMAL(3,0)"), "127; -128"),
            (texts_of(Int16Array::from(vec![127, -128]), "TINYINT"), "127; -128"),
            (texts_of(Int64Array::from(vec![32_767, -32_768]), "SMALLINT"), "32767; -32768"),
            (texts_of(Int64Array::from(vec![2_147_483_647, -2_147_483_648]), "INT"), "2147483647; -2147483648"),
            (texts_of(UInt8Array::from(vec![255]), "SMALLINT"), "255"),
            (texts_of(UInt16Array::from(vec![u16::MAX]), "INT"), "65535"),
            (texts_of(UInt32Array::from(vec![u32::MAX]), "BIGINT"), "4294967295"),
            (texts_of(UInt64Array::from(vec![i64::MAX as u64]), "BIGINT"), "9223372036854775807"),
            (texts_of(decimals(&[i128::from(i64::MAX), i128::from(i64::MIN)], 0), "BIGINT"), both),
            (texts_of(Decimal64Array::from(vec![-4_200]).with_precision_and_scale(10, 2).unwrap(), "INT"), "-42"),
            (texts_of(Int64Array::from(vec![1 << 53, -(1 << 53)]), "FLOAT"), "9.007199E15; -9.007199E15"),
        ] {
            assert_eq!(found.as_deref(), Ok(expected));
        }
        for (found, value) in [
            (texts_of(Int16Array::from(vec![-129]), "TINYINT"), "-129"),
            (texts_of(UInt8Array::from(vec![128]), "TINYINT"), "128"),
            (texts_of(Int64Array::from(vec![32_768]), "SMALLINT"), "32768"),
            (texts_of(Int64Array::from(vec![-32_769]), "SMALLINT"), "-32769"),
            (texts_of(Int64Array::from(vec![2_147_483_648]), "INT"), "2147483648"),
            (texts_of(UInt32Array::from(vec![2_147_483_648]), "INT"), "2147483648"),
            (texts_of(Int64Array::from(vec![-2_147_483_649]), "INT"), "-2147483649"),
            (texts_of(UInt64Array::from(vec![1 << 63]), "BIGINT"), "9223372036854775808"),
            (texts_of(decimals(&[i128::from(i64::MIN) - 1], 0), "BIGINT"), "-9223372036854775809"),
            (texts_of(decimals(&[i128::MIN], 0), "BIGINT"), "-170141183460469231731687303715884105728"),
        ] {
            assert!(found.as_ref().is_err_and(|found| found.contains(value)), "{found:?} instead of {value}");
        }
    }

    #[test]
    fn values_under_nulls_are_not_looked_at() {
        let nulls = arrow_buffer::NullBuffer::from(vec![true, false]);
        let integers = Int32Array::new(vec![1, 300].into(), Some(nulls.clone()));
        assert_eq!(texts_of(integers, "TINYINT").unwrap(), "1; NULL");
        let numbers = Decimal128Array::new(vec![10, i128::MAX].into(), Some(nulls.clone()));
        assert_eq!(texts_of(numbers.with_precision_and_scale(38, 1).unwrap(), "INT").unwrap(), "1; NULL");
        let doubles = Float64Array::new(vec![1.0, 1e300].into(), Some(nulls.clone()));
        assert_eq!(texts_of(doubles, "FLOAT").unwrap(), "1.0; NULL");
        let times = TimestampNanosecondArray::new(vec![0, 1].into(), Some(nulls));
        assert_eq!(texts_of(times, "TIMESTAMP_NTZ").unwrap(), "1970-01-01T00:00:00.000; NULL");
    }

    #[test]
    fn fractions_become_the_nearest_double() {
        let far = "0.1234567890123456789012345678901234567";
        for (found, expected) in [
            (texts_of(decimals(&[1], 1), "DOUBLE"), "0.1".to_owned()),
            (texts_of(decimals(&[1], 22), "DOUBLE"), "1.0E-22".to_owned()),
            (texts_of(decimals(&[1], 38), "DOUBLE"), "1.0E-38".to_owned()),
            (texts_of(decimals(&[-(1 << 53), (1 << 53) + 1], 0), "DOUBLE"), {
                "-9.007199254740992E15; 9.007199254740992E15".to_owned()
            }),
            (
                texts_of(decimals(&[1_234_567_890_123_456_789_012_345_678_901_234_567], 37), "DOUBLE"),
                far.parse::<f64>().unwrap().to_string(),
            ),
            (
                texts_of(Float32Array::from(vec![0.1, f32::NAN, -0.0]), "DOUBLE"),
                "0.10000000149011612; NaN; -0.0".to_owned(),
            ),
            (texts_of(Float32Array::from(vec![0.1]), "FLOAT"), "0.1".to_owned()),
        ] {
            assert_eq!(found, Ok(expected));
        }
        assert!(texts_of(decimals(&[1], 0), "BOOLEAN").unwrap_err().contains("delivered"));
        assert!(texts_of(Date64Array::from(vec![0]), "DATE").unwrap_err().contains("delivered"));
    }

    #[test]
    fn decimals_are_rescaled_up_to_38_digits() {
        let most = 10_i128.pow(38) - 1;
        let nines = "9".repeat(38);
        let (whole, fraction) = nines.split_at(20);
        for (found, expected) in [
            (texts_of(decimals(&[most, -most], 0), "DECIMAL(38,0)"), format!("{nines}; -{nines}")),
            (texts_of(decimals(&[most], 18), "DECIMAL(38,18)"), format!("{whole}.{fraction}")),
            (texts_of(decimals(&[1], 0), "DECIMAL(38,37)"), format!("1.{}", "0".repeat(37))),
            (texts_of(decimals(&[-10_i128.pow(37)], 37), "DECIMAL(1,0)"), "-1".to_owned()),
        ] {
            assert_eq!(found, Ok(expected));
        }
        for (found, reason) in [
            (texts_of(decimals(&[1], 0), "DECIMAL(38,38)"), "more than 38 digits"),
            (texts_of(decimals(&[most], 0), "DECIMAL(37,0)"), "more than 37 digits"),
            (texts_of(decimals(&[i128::MAX], 0), "DECIMAL(38,0)"), "more than 38 digits"),
            (texts_of(decimals(&[i128::MIN], 0), "DECIMAL(38,0)"), "more than 38 digits"),
            (texts_of(decimals(&[i128::MIN], 0), "DECIMAL(38,1)"), "more than 38 digits"),
            (texts_of(decimals(&[11], 1), "DECIMAL(38,0)"), "more than 0 fraction digits"),
            (texts_of(UInt64Array::from(vec![u64::MAX]), "DECIMAL(19,0)"), "more than 19 digits"),
        ] {
            assert!(found.as_ref().is_err_and(|found| found.contains(reason)), "{found:?} instead of {reason}");
        }
    }

    #[test]
    fn bytes_and_strings_of_every_layout() {
        let keys = Int8Array::from(vec![Some(1), None, Some(0), Some(2)]);
        let values = StringViewArray::from(vec![Some("a"), Some("longer than twelve bytes"), None]);
        let dictionary = DictionaryArray::try_new(keys, Arc::new(values)).unwrap();
        let numbers: DictionaryArray<Int8Type> =
            DictionaryArray::try_new(Int8Array::from(vec![0]), Arc::new(Int32Array::from(vec![1]))).unwrap();
        let long = LargeStringArray::from(vec![Some("cut"), None, Some("ü"), Some("")]).slice(1, 3);
        let millis = TimestampMillisecondArray::from(vec![-1]);
        for (found, expected) in [
            (texts_of(dictionary.clone(), "STRING"), "longer than twelve bytes; NULL; a; NULL"),
            (texts_of(dictionary.slice(1, 2), "STRING"), "NULL; a"),
            (texts_of(long, "STRING"), "NULL; ü; "),
            (texts_of(LargeBinaryArray::from(vec![Some(&b"\x01\x02"[..]), None]), "BINARY"), "AQI=; NULL"),
            (texts_of(BinaryViewArray::from(vec![Some(&b"\xff"[..]), None]), "BINARY"), "/w==; NULL"),
            (texts_of(FixedSizeBinaryArray::try_from_iter([[0_u8; 3]].into_iter()).unwrap(), "BINARY"), "AAAA"),
            (texts_of(millis, "TIMESTAMP_NTZ"), "1969-12-31T23:59:59.999"),
        ] {
            assert_eq!(found.as_deref(), Ok(expected));
        }
        assert!(texts_of(numbers.clone(), "STRING").unwrap_err().contains("delivered"));
        assert!(texts_of(numbers, "INT").unwrap_err().contains("delivered"));
        assert!(texts_of(dictionary, "BINARY").unwrap_err().contains("delivered"));
        assert!(check_size([i32::MAX as usize].into_iter()).is_ok());
        assert!(check_size([i32::MAX as usize, 1].into_iter()).is_err());
        assert!(check_size([usize::MAX, usize::MAX].into_iter()).is_err());
    }

    #[test]
    fn lists_of_every_layout() {
        let rows = [Some(vec![Some(1), None]), None, Some(vec![Some(3), Some(4)])];
        let large = LargeListArray::from_iter_primitive::<Int32Type, _, _>(rows.clone());
        let fixed = FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(rows, 2);
        assert_eq!(texts_of(large.clone(), "ARRAY<BIGINT>").unwrap(), "[1,null]; NULL; [3,4]");
        assert_eq!(texts_of(large.slice(1, 2), "ARRAY<BIGINT>").unwrap(), "NULL; [3,4]");
        assert_eq!(texts_of(fixed.clone(), "ARRAY<INT>").unwrap(), "[1,null]; NULL; [3,4]");
        assert_eq!(texts_of(fixed.slice(1, 2), "ARRAY<SMALLINT>").unwrap(), "NULL; [3,4]");
        for offsets in [vec![], vec![None], vec![Some(1), Some(0)], vec![Some(-1), Some(0)]] {
            assert!(narrow_offsets(offsets.into_iter()).is_err());
        }
    }

    #[test]
    fn nested_values_are_converted_inside() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("a"), None]);
        lists.append_null();
        lists.append_value(Vec::<Option<&str>>::new());
        assert_eq!(texts_of(lists.finish(), "ARRAY<STRING>").unwrap(), r#"["a",null]; NULL; []"#);

        let numbers = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), Some(300)])]);
        assert_eq!(texts_of(numbers.clone(), "ARRAY<BIGINT>").unwrap(), "[1,300]");
        assert!(texts_of(numbers, "ARRAY<TINYINT>").unwrap_err().contains("300"));

        let mut maps = MapBuilder::new(None, StringBuilder::new(), arrow_array::builder::Int32Builder::new());
        maps.keys().append_value("k\"");
        maps.values().append_null();
        maps.append(true).unwrap();
        assert_eq!(texts_of(maps.finish(), "MAP<STRING, SMALLINT>").unwrap(), r#"{"k\"":null}"#);
    }

    #[test]
    fn struct_fields_are_matched_by_name_and_else_by_place() {
        let fields = record_batch!(("b", Int32, [1]), ("a", Utf8, ["x"])).unwrap();
        let array = StructArray::from(fields);
        assert_eq!(texts_of(array.clone(), "STRUCT<a: STRING, b: INT>").unwrap(), r#"{"a":"x","b":1}"#);
        assert_eq!(texts_of(array.clone(), "STRUCT<c: BIGINT, d: STRING>").unwrap(), r#"{"c":1,"d":"x"}"#);
        assert!(texts_of(array.clone(), "STRUCT<a: STRING>").unwrap_err().contains("delivered"));
        let reason = texts_of(array, "STRUCT<a: STRING, b: DATE>").unwrap_err();
        assert_eq!(reason, "field `b` (DATE): the engine delivered Arrow Int32");
    }

    #[test]
    fn an_array_of_the_wire_type_is_passed_through() {
        let array: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let same = conform(&array, &SparkType::Long, &zone()).unwrap();
        assert!(Arc::ptr_eq(&array, &same));
    }
}
