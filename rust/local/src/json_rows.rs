//! Rows as text: the `JSON_ARRAY` and `CSV` formats.

use std::fmt::Write;

use arrow_array::cast::AsArray;
use arrow_array::temporal_conversions::{date32_to_datetime, timestamp_us_to_datetime};
use arrow_array::types::{
    Date32Type, Decimal128Type, DecimalType, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, IntervalYearMonthType, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::interval::{day_time_text, year_month_text};
use crate::spark_type::SparkType;

/// The rows as one compact JSON array of arrays of strings and nulls.
pub(crate) fn json_rows(batches: &[RecordBatch], types: &[SparkType]) -> String {
    let mut out = String::from("[");
    let mut cell = String::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            out.push_str(if out.len() == 1 { "[" } else { ",[" });
            for (position, (column, spark_type)) in batch.columns().iter().zip(types).enumerate() {
                if position > 0 {
                    out.push(',');
                }
                if column.is_null(row) || *spark_type == SparkType::Void {
                    out.push_str("null");
                } else {
                    cell.clear();
                    write_text(&mut cell, column, spark_type, row);
                    write_json_string(&mut out, &cell);
                }
            }
            out.push(']');
        }
    }
    out.push(']');
    out
}

/// The rows as RFC 4180 CSV; `header` names the columns in a first line. Null is `null`, the text "null" is quoted.
pub(crate) fn csv_rows(batches: &[RecordBatch], types: &[SparkType], header: bool) -> String {
    let mut out = String::new();
    if let Some(schema) = batches.first().map(RecordBatch::schema).filter(|_| header) {
        let names: Vec<String> = schema.fields().iter().map(|field| csv_cell(field.name())).collect();
        out.push_str(&names.join(","));
        out.push_str("\r\n");
    }
    let mut cell = String::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            for (position, (column, spark_type)) in batch.columns().iter().zip(types).enumerate() {
                if position > 0 {
                    out.push(',');
                }
                if column.is_null(row) || *spark_type == SparkType::Void {
                    out.push_str("null");
                } else {
                    cell.clear();
                    write_text(&mut cell, column, spark_type, row);
                    out.push_str(&csv_cell(&cell));
                }
            }
            out.push_str("\r\n");
        }
    }
    out
}

fn csv_cell(text: &str) -> String {
    if text == "null" || text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// The text of one value that is not null.
fn write_text(out: &mut String, column: &ArrayRef, spark_type: &SparkType, row: usize) {
    // Writing to a string cannot fail.
    let _ = match spark_type {
        SparkType::Boolean => write!(out, "{}", column.as_boolean().value(row)),
        SparkType::Byte => write!(out, "{}", column.as_primitive::<Int8Type>().value(row)),
        SparkType::Short => write!(out, "{}", column.as_primitive::<Int16Type>().value(row)),
        SparkType::Int => write!(out, "{}", column.as_primitive::<Int32Type>().value(row)),
        SparkType::Long => write!(out, "{}", column.as_primitive::<Int64Type>().value(row)),
        SparkType::Float => {
            let value = column.as_primitive::<Float32Type>().value(row);
            out.write_str(&float_text(f64::from(value), &format!("{value:?}"), &format!("{value:E}")))
        }
        SparkType::Double => {
            let value = column.as_primitive::<Float64Type>().value(row);
            out.write_str(&float_text(value, &format!("{value:?}"), &format!("{value:E}")))
        }
        SparkType::Decimal { precision, scale } => {
            let value = column.as_primitive::<Decimal128Type>().value(row);
            out.write_str(&Decimal128Type::format_decimal(value, *precision, scale.cast_signed()))
        }
        SparkType::Text { .. } => out.write_str(column.as_string::<i32>().value(row)),
        SparkType::Binary => out.write_str(&BASE64_STANDARD.encode(column.as_binary::<i32>().value(row))),
        SparkType::Date => out.write_str(&date_text(column.as_primitive::<Date32Type>().value(row))),
        SparkType::Timestamp => {
            write!(out, "{}Z", timestamp_text(column.as_primitive::<TimestampMicrosecondType>().value(row)))
        }
        SparkType::TimestampNtz => {
            out.write_str(&timestamp_text(column.as_primitive::<TimestampMicrosecondType>().value(row)))
        }
        SparkType::YearMonthInterval(_) => {
            out.write_str(&year_month_text(column.as_primitive::<IntervalYearMonthType>().value(row)))
        }
        SparkType::DayTimeInterval(_) => {
            out.write_str(&day_time_text(column.as_primitive::<DurationMicrosecondType>().value(row)))
        }
        SparkType::Array(_) | SparkType::Map(..) | SparkType::Struct(_) | SparkType::Void => {
            write_json(out, column, spark_type, row);
            Ok(())
        }
    };
}

/// A value inside a nested one, as JSON.
fn write_json(out: &mut String, column: &ArrayRef, spark_type: &SparkType, row: usize) {
    if column.is_null(row) {
        out.push_str("null");
        return;
    }
    match spark_type {
        SparkType::Void => out.push_str("null"),
        SparkType::Array(element) => {
            let values = column.as_list::<i32>().value(row);
            out.push('[');
            for position in 0..values.len() {
                separate(out, position);
                write_json(out, &values, element, position);
            }
            out.push(']');
        }
        SparkType::Map(key, value) => {
            let entries = column.as_map().value(row);
            out.push('{');
            if let [keys, values] = entries.columns() {
                for position in 0..entries.len() {
                    separate(out, position);
                    let mut text = String::new();
                    write_text(&mut text, keys, key, position);
                    write_json_string(out, &text);
                    out.push(':');
                    write_json(out, values, value, position);
                }
            }
            out.push('}');
        }
        SparkType::Struct(fields) => {
            out.push('{');
            for (position, (child, (name, field))) in column.as_struct().columns().iter().zip(fields).enumerate() {
                separate(out, position);
                write_json_string(out, name);
                out.push(':');
                write_json(out, child, field, row);
            }
            out.push('}');
        }
        SparkType::Boolean
        | SparkType::Byte
        | SparkType::Short
        | SparkType::Int
        | SparkType::Long
        | SparkType::Decimal { .. }
        | SparkType::Text { type_name: "VARIANT", .. } => write_text(out, column, spark_type, row),
        SparkType::Float | SparkType::Double => {
            let mut text = String::new();
            write_text(&mut text, column, spark_type, row);
            if text.contains(['N', 'I']) { write_json_string(out, &text) } else { out.push_str(&text) }
        }
        _ => {
            let mut text = String::new();
            write_text(&mut text, column, spark_type, row);
            write_json_string(out, &text);
        }
    }
}

fn separate(out: &mut String, position: usize) {
    if position > 0 {
        out.push(',');
    }
}

fn write_json_string(out: &mut String, text: &str) {
    // A string always serialises.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// A floating-point number as the service writes it: plain between 0.001 and ten million, else with an exponent.
fn float_text(value: f64, plain: &str, scientific: &str) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        return plain.to_owned();
    }
    match scientific.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => scientific.to_owned(),
    }
}

fn date_text(days: i32) -> String {
    date32_to_datetime(days).map_or_else(|| days.to_string(), |date| date.format("%Y-%m-%d").to_string())
}

/// Milliseconds as recorded; microseconds only where milliseconds would lose something.
fn timestamp_text(micros: i64) -> String {
    let format = if micros % 1_000 == 0 { "%Y-%m-%dT%H:%M:%S%.3f" } else { "%Y-%m-%dT%H:%M:%S%.6f" };
    timestamp_us_to_datetime(micros).map_or_else(|| micros.to_string(), |time| time.format(format).to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BinaryArray, BooleanArray, Date32Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
        let names = ["a", "b, c", "d", "e"];
        RecordBatch::try_from_iter_with_nullable(
            names.into_iter().zip(columns).map(|(name, column)| (name, column, true)),
        )
        .unwrap()
    }

    fn text() -> SparkType {
        SparkType::parse("STRING").unwrap()
    }

    #[test]
    fn every_value_is_a_string_or_null() {
        let rows = batch(vec![
            Arc::new(BooleanArray::from(vec![Some(true), None])),
            Arc::new(BinaryArray::from_opt_vec(vec![Some(b"\x00\xff"), None])),
            Arc::new(Date32Array::from(vec![Some(-1), None])),
            Arc::new(StringArray::from(vec![Some("\"\n\u{1}ä"), None])),
        ]);
        let types = [SparkType::Boolean, SparkType::Binary, SparkType::Date, text()];
        let expected = r#"[["true","AP8=","1969-12-31","\"\n\u0001ä"],[null,null,null,null]]"#;
        assert_eq!(json_rows(std::slice::from_ref(&rows), &types), expected);
        assert_eq!(
            json_rows(&[rows.slice(1, 1), rows.slice(1, 1)], &types),
            "[[null,null,null,null],[null,null,null,null]]"
        );
        assert_eq!(json_rows(&[], &types), "[]");
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let values = ["plain", "a,b", "say \"hi\"", "two\nlines", "null", ""];
        let rows = batch(vec![
            Arc::new(StringArray::from(values.to_vec())),
            Arc::new(StringArray::from(vec![None::<&str>; values.len()])),
        ]);
        let types = [text(), text()];
        let expected = "plain,null\r\n\"a,b\",null\r\n\"say \"\"hi\"\"\",null\r\n\"two\nlines\",null\r\n\"null\",null\r\n,null\r\n";
        assert_eq!(csv_rows(std::slice::from_ref(&rows), &types, false), expected);
        assert_eq!(csv_rows(&[rows], &types, true), format!("a,\"b, c\"\r\n{expected}"));
    }

    #[test]
    fn numbers_and_times_are_spelled_as_the_service_does() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.001, "0.001"),
            (9_999_999.5, "9999999.5"),
            (1e7, "1.0E7"),
            (1.25e-4, "1.25E-4"),
            (1e300, "1.0E300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
        ] {
            assert_eq!(float_text(value, &format!("{value:?}"), &format!("{value:E}")), expected);
        }
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00.000"),
            (-1, "1969-12-31T23:59:59.999999"),
            (1_623_761_696_789_000, "2021-06-15T12:54:56.789"),
        ] {
            assert_eq!(timestamp_text(micros), expected);
        }
        let times =
            batch(vec![Arc::new(TimestampMicrosecondArray::from(vec![1_000]).with_timezone("America/Los_Angeles"))]);
        assert_eq!(json_rows(&[times], &[SparkType::Timestamp]), r#"[["1970-01-01T00:00:00.001Z"]]"#);
    }
}
