//! Turning the engine's arrays into the Arrow types of the wire.
//!
//! A value either fits its declared SQL type exactly or is refused: a local warehouse that silently rounded would hide
//! the very bugs it is there to show.

use std::fmt::Write;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal128Type, Float32Type, Float64Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{
    Array, ArrayRef, Decimal128Array, Int64Array, ListArray, MapArray, PrimitiveArray, StringArray, StructArray,
    TimestampMicrosecondArray, new_empty_array, new_null_array,
};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, TimeUnit};

use crate::interval;
use crate::spark_type::{SparkType, element_field, entries_field, entry_fields, struct_fields};

/// Why an array cannot be sent as its declared type.
pub(crate) type Mismatch = String;

/// Converts `array` to the wire type of `spark_type`; an array that has it already is passed through.
pub(crate) fn conform(array: &ArrayRef, spark_type: &SparkType, zone: &Arc<str>) -> Result<ArrayRef, Mismatch> {
    let wire = spark_type.arrow_type(zone);
    if *array.data_type() == wire {
        return Ok(Arc::clone(array));
    }
    if array.is_empty() {
        return Ok(new_empty_array(&wire));
    }
    if array.logical_null_count() == array.len() {
        return Ok(new_null_array(&wire, array.len()));
    }
    if let DataType::Dictionary(_, value) = array.data_type() {
        return conform(&cast(array, value)?, spark_type, zone);
    }
    if let DataType::RunEndEncoded(_, value) = array.data_type() {
        return conform(&cast(array, value.data_type())?, spark_type, zone);
    }
    match spark_type {
        SparkType::Byte | SparkType::Short | SparkType::Int | SparkType::Long => integers(array, &wire),
        SparkType::Float => floats(array),
        SparkType::Double => doubles(array),
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

/// A cast that fails on overflow instead of making nulls.
pub(crate) fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, Mismatch> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, to, &options).map_err(|error| error.to_string())
}

/// The refusal of an Arrow type that does not stand for the SQL type.
pub(crate) fn unfit(array: &ArrayRef) -> Mismatch {
    format!("the engine delivered Arrow {}", array.data_type())
}

fn integers(array: &ArrayRef, wire: &DataType) -> Result<ArrayRef, Mismatch> {
    if array.data_type().is_integer() {
        return cast(array, wire);
    }
    let decimals = whole_decimals(array)?;
    let divisor = power_of_ten(decimals.scale())?;
    let integers: Int64Array = decimals.try_unary::<_, Int64Type, Mismatch>(|value| match value % divisor {
        0 => i64::try_from(value / divisor).map_err(|_| format!("the value {} does not fit", value / divisor)),
        _ => Err("a value has a fraction".to_owned()),
    })?;
    cast(&(Arc::new(integers) as ArrayRef), wire)
}

fn floats(array: &ArrayRef) -> Result<ArrayRef, Mismatch> {
    if *array.data_type() == DataType::Float16 {
        return cast(array, &DataType::Float32);
    }
    let doubles = doubles(array)?;
    let floats = doubles.as_primitive::<Float64Type>().try_unary::<_, Float32Type, Mismatch>(|value| {
        let narrow = value as f32;
        if narrow.is_infinite() && value.is_finite() {
            Err(format!("the value {value} does not fit"))
        } else {
            Ok(narrow)
        }
    })?;
    Ok(Arc::new(floats))
}

fn doubles(array: &ArrayRef) -> Result<ArrayRef, Mismatch> {
    match array.data_type() {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => cast(array, &DataType::Float64),
        from if from.is_decimal() => cast(array, &DataType::Float64),
        from if from.is_integer() => {
            let integers = cast(array, &DataType::Int64)?;
            let doubles = integers.as_primitive::<Int64Type>().try_unary::<_, Float64Type, Mismatch>(|value| {
                let double = value as f64;
                if double as i64 == value { Ok(double) } else { Err(format!("the value {value} is not exact")) }
            })?;
            Ok(Arc::new(doubles))
        }
        _ => Err(unfit(array)),
    }
}

fn decimals(array: &ArrayRef, precision: u8, scale: u8) -> Result<ArrayRef, Mismatch> {
    let decimals = if array.data_type().is_integer() { integer_decimals(array)? } else { whole_decimals(array)? };
    let shift = i32::from(scale) - i32::from(decimals.scale());
    let factor = power_of_ten(i8::try_from(shift.abs()).map_err(|_| unfit(array))?)?;
    let limit = power_of_ten(precision.cast_signed())?;
    let rescaled = decimals.try_unary::<_, Decimal128Type, Mismatch>(|value| {
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

/// Any decimal array as 128-bit decimals of its own scale; `DuckDB`'s HUGEINT may come as 16 bytes, lowest first.
fn whole_decimals(array: &ArrayRef) -> Result<Decimal128Array, Mismatch> {
    match array.data_type() {
        DataType::Decimal128(..) => Ok(array.as_primitive::<Decimal128Type>().clone()),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            Ok(cast(array, &DataType::Decimal128(*precision, *scale))?.as_primitive::<Decimal128Type>().clone())
        }
        DataType::Decimal256(_, scale) => {
            Ok(cast(array, &DataType::Decimal128(38, *scale))?.as_primitive::<Decimal128Type>().clone())
        }
        DataType::FixedSizeBinary(16) => {
            let values = array.as_fixed_size_binary().iter().map(|bytes| {
                bytes.and_then(|bytes| bytes.first_chunk::<16>()).map(|bytes| i128::from_le_bytes(*bytes))
            });
            let decimals: Decimal128Array = values.collect();
            decimals.with_precision_and_scale(38, 0).map_err(|error| error.to_string())
        }
        _ => Err(unfit(array)),
    }
}

fn integer_decimals(array: &ArrayRef) -> Result<Decimal128Array, Mismatch> {
    let decimals = cast(array, &DataType::Decimal128(20, 0))?;
    Ok(decimals.as_primitive::<Decimal128Type>().clone())
}

fn power_of_ten(exponent: i8) -> Result<i128, Mismatch> {
    u32::try_from(exponent)
        .ok()
        .and_then(|exponent| 10_i128.checked_pow(exponent))
        .ok_or_else(|| "a decimal scale is out of range".to_owned())
}

/// Strings of any layout; a UUID may come as 16 bytes.
fn texts(array: &ArrayRef) -> Result<ArrayRef, Mismatch> {
    match array.data_type() {
        DataType::LargeUtf8 | DataType::Utf8View => cast(array, &DataType::Utf8),
        DataType::FixedSizeBinary(16) => {
            let texts: StringArray = array.as_fixed_size_binary().iter().map(|bytes| bytes.map(uuid_text)).collect();
            Ok(Arc::new(texts))
        }
        _ => Err(unfit(array)),
    }
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
    match array.data_type() {
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => cast(array, &DataType::Binary),
        _ => Err(unfit(array)),
    }
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
    let (DataType::List(child)
    | DataType::LargeList(child)
    | DataType::ListView(child)
    | DataType::LargeListView(child)
    | DataType::FixedSizeList(child, _)) = array.data_type()
    else {
        return Err(unfit(array));
    };
    let list = cast(array, &DataType::List(Arc::clone(child)))?;
    let (_, offsets, values, nulls) = list.as_list::<i32>().clone().into_parts();
    let values = conform(&values, element, zone)?;
    ListArray::try_new(Arc::new(element_field(element, zone)), offsets, values, nulls)
        .map(|list| Arc::new(list) as ArrayRef)
        .map_err(|error| error.to_string())
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
    use arrow_array::types::{Int8Type, Int32Type};
    use arrow_array::{
        DictionaryArray, DurationMillisecondArray, FixedSizeBinaryArray, Float64Array, Int32Array,
        IntervalMonthDayNanoArray, LargeStringArray, NullArray, StringViewArray, TimestampNanosecondArray,
        TimestampSecondArray, UInt64Array, record_batch,
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
