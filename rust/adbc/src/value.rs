//! Arrow values as parameters: a SQL type for each column, a text for each value.

use std::fmt::Write;
use std::sync::Arc;

use adbc_core::error::{Result, Status};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, ArrowPrimitiveType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type,
    Decimal256Type, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalDayTimeType,
    IntervalYearMonthType, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};

use crate::error::{error, from_kernel, not_implemented};
use crate::sql_name::quoted;

/// The SQL type in which every value of an Arrow column is sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SqlType {
    pub(crate) text: String,
    /// Whether it goes out as JSON text, for the server takes no ARRAY, MAP or STRUCT parameters.
    pub(crate) is_nested: bool,
}

impl SqlType {
    /// Returns the type that holds every value of the column exactly.
    ///
    /// # Errors
    /// `NOT_IMPLEMENTED` where there is none.
    pub(crate) fn of(field: &Field) -> Result<Self> {
        let data_type = field.data_type();
        let text = type_text(data_type, false).ok_or_else(|| {
            not_implemented(format!(
                "the column `{}` has the Arrow type {data_type}, and no SQL type of a parameter is the same; cast it",
                field.name()
            ))
        })?;
        let is_nested = data_type.is_nested() && !matches!(data_type, DataType::Dictionary(..));
        Ok(Self { text, is_nested })
    }

    /// Returns the type of a table's column that takes these values.
    pub(crate) fn of_column(&self) -> &str {
        // A column of nothing is refused by tables.
        if self.text == "VOID" { "STRING" } else { &self.text }
    }
}

fn type_text(data_type: &DataType, is_within: bool) -> Option<String> {
    let plain = |text: &str| Some(text.to_owned());
    match data_type {
        DataType::Null => plain("VOID"),
        DataType::Boolean => plain("BOOLEAN"),
        DataType::Int8 => plain("TINYINT"),
        DataType::Int16 => plain("SMALLINT"),
        DataType::Int32 => plain("INT"),
        DataType::Int64 => plain("BIGINT"),
        DataType::Float32 => plain("FLOAT"),
        DataType::Float64 => plain("DOUBLE"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => plain("STRING"),
        DataType::Binary | DataType::LargeBinary => plain("BINARY"),
        DataType::Date32 => plain("DATE"),
        DataType::Decimal128(precision, scale) => decimal_type(*precision, *scale),
        DataType::Timestamp(_, None) => plain("TIMESTAMP_NTZ"),
        DataType::List(item) | DataType::LargeList(item) => {
            Some(format!("ARRAY<{}>", type_text(item.data_type(), true)?))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => match fields.as_ref() {
                [key, value] => {
                    Some(format!("MAP<{}, {}>", type_text(key.data_type(), true)?, type_text(value.data_type(), true)?))
                }
                _ => None,
            },
            _ => None,
        },
        DataType::Struct(fields) if !fields.is_empty() => {
            let fields = fields
                .iter()
                .map(|field| Some(format!("{}: {}", quoted(field.name()), type_text(field.data_type(), true)?)));
            Some(format!("STRUCT<{}>", fields.collect::<Option<Vec<_>>>()?.join(", ")))
        }
        // What follows has no form in JSON that is read back for certain.
        _ if is_within => None,
        DataType::UInt8 => plain("SMALLINT"),
        DataType::UInt16 => plain("INT"),
        DataType::UInt32 => plain("BIGINT"),
        DataType::UInt64 => plain("DECIMAL(20,0)"),
        DataType::Float16 => plain("FLOAT"),
        DataType::BinaryView | DataType::FixedSizeBinary(_) => plain("BINARY"),
        DataType::Date64 => plain("DATE"),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal256(precision, scale) => decimal_type(*precision, *scale),
        DataType::Timestamp(_, Some(_)) => plain("TIMESTAMP"),
        DataType::Duration(_) | DataType::Interval(IntervalUnit::DayTime) => plain("INTERVAL DAY TO SECOND"),
        DataType::Interval(IntervalUnit::YearMonth) => plain("INTERVAL YEAR TO MONTH"),
        DataType::Dictionary(_, values) => type_text(values, false).filter(|_| !values.is_nested()),
        _ => None,
    }
}

/// Databricks has scales from 0 to the precision, and at most 38 digits.
fn decimal_type(precision: u8, scale: i8) -> Option<String> {
    let (precision, scale) = match u8::try_from(scale) {
        Ok(scale) => (precision.max(scale), scale),
        Err(_) => (precision.checked_add(scale.unsigned_abs())?, 0),
    };
    (precision <= 38).then(|| format!("DECIMAL({precision},{scale})"))
}

/// Brings an array into a form of which [`text`] reads every value.
pub(crate) fn readable(array: &ArrayRef, sql_type: &SqlType) -> Result<ArrayRef> {
    if sql_type.is_nested {
        if has_nanoseconds(array.data_type()) {
            (0..array.len()).try_for_each(|row| check_nanoseconds(array, row))?;
        }
        return seakernel::json_texts(array).map_err(|cause| from_kernel(&cause));
    }
    Ok(ArrayRef::clone(array))
}

fn has_nanoseconds(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => has_nanoseconds(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_nanoseconds(field.data_type())),
        _ => false,
    }
}

/// Refuses times within a nested value that have nanoseconds: the server cuts them off where it reads the JSON.
fn check_nanoseconds(array: &dyn Array, row: usize) -> Result<()> {
    let all = |items: ArrayRef| (0..items.len()).try_for_each(|item| check_nanoseconds(&items, item));
    if array.is_null(row) || !has_nanoseconds(array.data_type()) {
        return Ok(());
    }
    match array.data_type() {
        DataType::List(_) => all(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => all(array.as_list::<i64>().value(row)),
        DataType::Map(..) => all(Arc::new(array.as_map().value(row))),
        DataType::Struct(_) => array.as_struct().columns().iter().try_for_each(|column| check_nanoseconds(column, row)),
        _ => microseconds(native::<TimestampNanosecondType>(array, row), TimeUnit::Nanosecond).map(drop),
    }
}

fn native<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

/// Returns the value in a row as text, `None` for NULL.
///
/// # Errors
/// `INVALID_DATA` for a value that no SQL value is equal to; it is not repeated.
pub(crate) fn text(array: &dyn Array, row: usize) -> Result<Option<String>> {
    if array.is_null(row) {
        return Ok(None);
    }
    Ok(Some(match array.data_type() {
        DataType::Null => return Ok(None),
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int8 => native::<Int8Type>(array, row).to_string(),
        DataType::Int16 => native::<Int16Type>(array, row).to_string(),
        DataType::Int32 => native::<Int32Type>(array, row).to_string(),
        DataType::Int64 => native::<Int64Type>(array, row).to_string(),
        DataType::UInt8 => native::<UInt8Type>(array, row).to_string(),
        DataType::UInt16 => native::<UInt16Type>(array, row).to_string(),
        DataType::UInt32 => native::<UInt32Type>(array, row).to_string(),
        DataType::UInt64 => native::<UInt64Type>(array, row).to_string(),
        DataType::Float16 => format!("{:?}", native::<Float16Type>(array, row).to_f32()),
        DataType::Float32 => format!("{:?}", native::<Float32Type>(array, row)),
        DataType::Float64 => format!("{:?}", native::<Float64Type>(array, row)),
        DataType::Decimal32(_, scale) => decimal(&native::<Decimal32Type>(array, row).to_string(), *scale),
        DataType::Decimal64(_, scale) => decimal(&native::<Decimal64Type>(array, row).to_string(), *scale),
        DataType::Decimal128(_, scale) => decimal(&native::<Decimal128Type>(array, row).to_string(), *scale),
        DataType::Decimal256(_, scale) => decimal(&native::<Decimal256Type>(array, row).to_string(), *scale),
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).to_owned(),
        DataType::Utf8View => array.as_string_view().value(row).to_owned(),
        DataType::Binary => hexadecimal(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => hexadecimal(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => hexadecimal(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => hexadecimal(array.as_fixed_size_binary().value(row)),
        DataType::Date32 => date(i64::from(native::<Date32Type>(array, row))),
        DataType::Date64 => {
            let milliseconds = native::<Date64Type>(array, row);
            if milliseconds % 86_400_000 != 0 {
                return Err(error(Status::InvalidData, "a date is not a whole number of days"));
            }
            date(milliseconds / 86_400_000)
        }
        DataType::Timestamp(unit, zone) => {
            let count = match unit {
                TimeUnit::Second => native::<TimestampSecondType>(array, row),
                TimeUnit::Millisecond => native::<TimestampMillisecondType>(array, row),
                TimeUnit::Microsecond => native::<TimestampMicrosecondType>(array, row),
                TimeUnit::Nanosecond => native::<TimestampNanosecondType>(array, row),
            };
            let mut text = timestamp(microseconds(count, *unit)?);
            if zone.is_some() {
                text.push('Z');
            }
            text
        }
        DataType::Duration(unit) => {
            let count = match unit {
                TimeUnit::Second => native::<DurationSecondType>(array, row),
                TimeUnit::Millisecond => native::<DurationMillisecondType>(array, row),
                TimeUnit::Microsecond => native::<DurationMicrosecondType>(array, row),
                TimeUnit::Nanosecond => native::<DurationNanosecondType>(array, row),
            };
            interval(microseconds(count, *unit)?)
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let value = native::<IntervalDayTimeType>(array, row);
            interval(i128::from(value.days) * 86_400_000_000 + i128::from(value.milliseconds) * 1000)
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            let months = native::<IntervalYearMonthType>(array, row);
            let sign = if months < 0 { "-" } else { "" };
            format!("{sign}{}-{}", months.unsigned_abs() / 12, months.unsigned_abs() % 12)
        }
        DataType::Dictionary(keys, _) => return dictionary(array, row, keys),
        other => return Err(not_implemented(format!("values of the Arrow type {other} as parameters"))),
    }))
}

fn dictionary(array: &dyn Array, row: usize, keys: &DataType) -> Result<Option<String>> {
    fn value<K: ArrowDictionaryKeyType>(array: &dyn Array, row: usize) -> Result<Option<String>> {
        let array = array.as_dictionary::<K>();
        match array.key(row) {
            Some(key) if key < array.values().len() => text(array.values(), key),
            Some(_) => Err(error(Status::InvalidData, "a dictionary lacks the value of a key")),
            None => Ok(None),
        }
    }
    match keys {
        DataType::Int8 => value::<Int8Type>(array, row),
        DataType::Int16 => value::<Int16Type>(array, row),
        DataType::Int32 => value::<Int32Type>(array, row),
        DataType::Int64 => value::<Int64Type>(array, row),
        DataType::UInt8 => value::<UInt8Type>(array, row),
        DataType::UInt16 => value::<UInt16Type>(array, row),
        DataType::UInt32 => value::<UInt32Type>(array, row),
        _ => value::<UInt64Type>(array, row),
    }
}

/// Writes an unscaled number, given as its digits.
fn decimal(unscaled: &str, scale: i8) -> String {
    let (sign, digits) = unscaled.strip_prefix('-').map_or(("", unscaled), |digits| ("-", digits));
    match usize::try_from(scale) {
        Ok(0) => unscaled.to_owned(),
        Ok(scale) => {
            let padded = format!("{digits:0>width$}", width = scale + 1);
            let (whole, fraction) = padded.split_at(padded.len() - scale);
            format!("{sign}{whole}.{fraction}")
        }
        Err(_) if digits == "0" => digits.to_owned(),
        Err(_) => format!("{unscaled}{}", "0".repeat(usize::from(scale.unsigned_abs()))),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a `String` cannot fail.
        let _ = write!(text, "{byte:02X}");
    }
    text
}

/// The server's times have microseconds; what is finer would be lost.
fn microseconds(count: i64, unit: TimeUnit) -> Result<i128> {
    let count = i128::from(count);
    match unit {
        TimeUnit::Second => Ok(count * 1_000_000),
        TimeUnit::Millisecond => Ok(count * 1000),
        TimeUnit::Microsecond => Ok(count),
        TimeUnit::Nanosecond if count % 1000 == 0 => Ok(count / 1000),
        TimeUnit::Nanosecond => {
            Err(error(Status::InvalidData, "a time has nanoseconds, which the server's types have not; round it first"))
        }
    }
}

/// Writes the day so many days after 1970-01-01.
fn date(days: i64) -> String {
    // Eras of 400 years, counted from 0000-03-01: a leap day is then the last one of its year.
    let shifted = i128::from(days) + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day_of_month:02}", year + era * 400 + carry)
}

fn timestamp(microseconds: i128) -> String {
    let (days, rest) = (microseconds.div_euclid(86_400_000_000), microseconds.rem_euclid(86_400_000_000));
    format!("{} {}", date(days as i64), time_of_day(rest))
}

fn time_of_day(microseconds: i128) -> String {
    let (seconds, fraction) = (microseconds / 1_000_000, microseconds % 1_000_000);
    format!("{:02}:{:02}:{:02}.{fraction:06}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn interval(microseconds: i128) -> String {
    let sign = if microseconds < 0 { "-" } else { "" };
    let (days, rest) = (microseconds.abs() / 86_400_000_000, microseconds.abs() % 86_400_000_000);
    format!("{sign}{days} {}", time_of_day(rest))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Decimal128Array, DurationMicrosecondArray, TimestampNanosecondArray};

    use super::*;

    #[test]
    fn dates_and_times() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (19_782, "2024-02-29"),
            (11_016, "2000-02-29"),
            (-25_567, "1900-01-01"),
            (2_932_896, "9999-12-31"),
            (-719_162, "0001-01-01"),
        ] {
            assert_eq!(date(days), expected);
        }
        assert_eq!(timestamp(-1), "1969-12-31 23:59:59.999999");
        assert_eq!(interval(-93_784_000_001), "-1 02:03:04.000001");
        let durations = DurationMicrosecondArray::from(vec![86_400_000_000]);
        assert_eq!(text(&durations, 0).unwrap().as_deref(), Some("1 00:00:00.000000"));
        let zoned = TimestampNanosecondArray::from(vec![1_000, 1]).with_timezone("Asia/Tokyo");
        assert_eq!(text(&zoned, 0).unwrap().as_deref(), Some("1970-01-01 00:00:00.000001Z"));
        assert_eq!(text(&zoned, 1).unwrap_err().status, Status::InvalidData);
    }

    #[test]
    fn decimals() {
        for (unscaled, scale, expected) in [
            ("123", 2, "1.23"),
            ("-5", 2, "-0.05"),
            ("0", 3, "0.000"),
            ("7", 0, "7"),
            ("-7", -2, "-700"),
            ("0", -2, "0"),
        ] {
            assert_eq!(decimal(unscaled, scale), expected);
        }
        let array = Decimal128Array::from(vec![i128::MAX / 10]).with_precision_and_scale(38, 10).unwrap();
        assert_eq!(text(&array, 0).unwrap().as_deref(), Some("1701411834604692317316873037.1588410572"));
        assert_eq!(decimal_type(5, -2).as_deref(), Some("DECIMAL(7,0)"));
        assert_eq!(decimal_type(2, 4).as_deref(), Some("DECIMAL(4,4)"));
        assert_eq!(decimal_type(39, 0), None);
    }

    #[test]
    fn nested_types_have_a_text_as_far_as_they_can_be_sent() {
        let item = |data_type| Arc::new(Field::new("item", data_type, true));
        let fields =
            vec![Field::new("a b", DataType::Int32, true), Field::new("c", DataType::List(item(DataType::Utf8)), true)];
        let field = Field::new("x", DataType::Struct(fields.into()), true);
        let sql_type = SqlType::of(&field).unwrap();
        assert_eq!((sql_type.text.as_str(), sql_type.is_nested), ("STRUCT<`a b`: INT, `c`: ARRAY<STRING>>", true));
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let error = SqlType::of(&Field::new("x", DataType::List(item(zoned)), true)).unwrap_err();
        assert_eq!(error.status, Status::NotImplemented);
        assert!(SqlType::of(&Field::new("x", DataType::Time64(TimeUnit::Microsecond), true)).is_err());
    }
}
