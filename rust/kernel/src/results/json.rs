//! Inline rows as JSON text: the last resort, where a server answers with it although Arrow was asked for.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, NullArray, PrimitiveArray, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, SchemaRef, TimeUnit};
use base64::Engine;

use crate::error::{Error, ErrorKind, Result};
use crate::results::text;
use crate::schema::Column;

/// Builds a batch from rows of text-or-null cells.
///
/// # Errors
/// [`ErrorKind::DataLoss`] where a row has another number of cells than there are columns or a cell is not of its
/// column's type; [`ErrorKind::Protocol`] for nested and interval columns, whose text form is not documented.
pub(crate) fn batch(rows: Vec<Vec<Option<String>>>, columns: &[Column], schema: &SchemaRef) -> Result<RecordBatch> {
    if let Some(row) = rows.iter().find(|row| row.len() != columns.len()) {
        let text = format!("a row has {} values and the manifest {} columns", row.len(), columns.len());
        return Err(Error::new(ErrorKind::DataLoss, text));
    }
    let row_count = rows.len();
    let mut cells: Vec<Vec<Option<String>>> = columns.iter().map(|_| Vec::with_capacity(row_count)).collect();
    for row in rows {
        for (column, cell) in cells.iter_mut().zip(row) {
            column.push(cell);
        }
    }
    let arrays: Result<Vec<ArrayRef>> = cells
        .into_iter()
        .zip(schema.fields())
        .map(|(cells, field)| array(cells, field.name(), field.data_type()))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(row_count));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays?, &options)
        .map_err(|error| Error::new(ErrorKind::Internal, "JSON rows do not fit their schema").with_source(error))
}

fn array(cells: Vec<Option<String>>, name: &str, data_type: &DataType) -> Result<ArrayRef> {
    let array: Result<ArrayRef, String> = match data_type {
        DataType::Utf8 => Ok(Arc::new(StringArray::from(cells))),
        DataType::Null => parsed(&cells, |_| None::<()>).map(|cells| Arc::new(NullArray::new(cells.len())) as ArrayRef),
        DataType::Boolean => {
            parsed(&cells, text::boolean).map(|values| Arc::new(BooleanArray::from(values)) as ArrayRef)
        }
        DataType::Binary => parsed(&cells, |text| base64::prelude::BASE64_STANDARD.decode(text).ok())
            .map(|values| Arc::new(BinaryArray::from_iter(values)) as ArrayRef),
        DataType::Int8 => primitive::<Int8Type>(&cells, data_type, |text| text.parse().ok()),
        DataType::Int16 => primitive::<Int16Type>(&cells, data_type, |text| text.parse().ok()),
        DataType::Int32 => primitive::<Int32Type>(&cells, data_type, |text| text.parse().ok()),
        DataType::Int64 => primitive::<Int64Type>(&cells, data_type, |text| text.parse().ok()),
        DataType::Float32 => primitive::<Float32Type>(&cells, data_type, text::float),
        DataType::Float64 => primitive::<Float64Type>(&cells, data_type, text::float),
        DataType::Decimal128(precision, scale) => {
            let scale = scale.unsigned_abs();
            primitive::<Decimal128Type>(&cells, data_type, |text| text::decimal(text, *precision, scale))
        }
        DataType::Date32 => primitive::<Date32Type>(&cells, data_type, text::date),
        // The text carries its own offset; the zone's name only says how to show it.
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            primitive::<TimestampMicrosecondType>(&cells, data_type, text::instant)
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            primitive::<TimestampMicrosecondType>(&cells, data_type, text::wall_clock)
        }
        _ => {
            let text =
                format!("the server sent column `{name}` ({data_type}) as JSON text, which has no documented form");
            return Err(Error::new(ErrorKind::Protocol, text));
        }
    };
    array.map_err(|reason| {
        let text = format!("a value of column `{name}` is not of type {data_type}");
        Error::new(ErrorKind::DataLoss, text).with_source(reason)
    })
}

/// Reads every cell that is not null, or tells which could not be read.
fn parsed<T>(cells: &[Option<String>], parse: impl Fn(&str) -> Option<T>) -> Result<Vec<Option<T>>, String> {
    let value = |(row, cell): (usize, &Option<String>)| {
        cell.as_deref().map(|text| parse(text).ok_or_else(|| unreadable(row, text))).transpose()
    };
    cells.iter().enumerate().map(value).collect()
}

fn unreadable(row: usize, text: &str) -> String {
    const SHOWN: usize = 64;
    let dots = if text.chars().nth(SHOWN).is_some() { "..." } else { "" };
    format!("row {row} has `{}{dots}`", text.chars().take(SHOWN).collect::<String>())
}

fn primitive<T: ArrowPrimitiveType>(
    cells: &[Option<String>],
    data_type: &DataType,
    parse: impl Fn(&str) -> Option<T::Native>,
) -> Result<ArrayRef, String> {
    let values: Vec<T::Native> = parsed(cells, parse)?.into_iter().map(Option::unwrap_or_default).collect();
    let nulls: NullBuffer = cells.iter().map(Option::is_some).collect();
    PrimitiveArray::<T>::try_new(values.into(), Some(nulls).filter(|nulls| nulls.null_count() > 0))
        .map(|array| Arc::new(array.with_data_type(data_type.clone())) as ArrayRef)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use arrow_cast::display::{ArrayFormatter, FormatOptions};

    use super::*;
    use crate::schema::from_manifest;

    fn columns(types: &[&str]) -> Vec<Column> {
        let column = |type_text: &&str| Column {
            name: "c".to_owned(),
            type_text: (*type_text).to_owned(),
            type_name: String::new(),
            type_precision: None,
            type_scale: None,
            type_interval_type: None,
        };
        types.iter().map(column).collect()
    }

    fn one(type_text: &str, cell: Option<&str>) -> Result<String> {
        let columns = columns(&[type_text]);
        let schema = from_manifest(&columns, &Arc::from("Etc/UTC"))?;
        let batch = batch(vec![vec![cell.map(str::to_owned)]], &columns, &schema)?;
        let column = match schema.field(0).data_type() {
            // The formatter knows no zones by name either.
            DataType::Timestamp(unit, Some(_)) => {
                arrow_cast::cast(batch.column(0), &DataType::Timestamp(*unit, Some("+00:00".into()))).unwrap()
            }
            _ => Arc::clone(batch.column(0)),
        };
        let options = FormatOptions::default();
        Ok(ArrayFormatter::try_new(&column, &options).unwrap().value(0).to_string())
    }

    #[test]
    fn cells_become_typed_values() {
        for (type_text, cell, expected) in [
            ("BIGINT", "9223372036854775807", "9223372036854775807"),
            ("TINYINT", "-7", "-7"),
            ("BOOLEAN", "true", "true"),
            ("DOUBLE", "1.5", "1.5"),
            ("DOUBLE", "NaN", "NaN"),
            ("DOUBLE", "Infinity", "inf"),
            ("FLOAT", "-Infinity", "-inf"),
            ("DECIMAL(10,2)", "123.45", "123.45"),
            ("DATE", "2021-01-01", "2021-01-01"),
            ("TIMESTAMP", "2021-06-15T12:34:56.789-07:00", "2021-06-15T19:34:56.789Z"),
            ("TIMESTAMP", "2021-06-15T12:34:56.789Z", "2021-06-15T12:34:56.789Z"),
            ("TIMESTAMP_NTZ", "2021-06-15T12:34:56.789", "2021-06-15T12:34:56.789"),
            ("BINARY", "AQI=", "0102"),
            ("STRING", "ü", "ü"),
            ("TINYINT", "127", "127"),
            ("TINYINT", "-128", "-128"),
            ("SMALLINT", "32767", "32767"),
            ("SMALLINT", "-32768", "-32768"),
            ("INT", "2147483647", "2147483647"),
            ("INT", "-2147483648", "-2147483648"),
            ("BIGINT", "-9223372036854775808", "-9223372036854775808"),
            ("BIGINT", "+7", "7"),
            ("DOUBLE", "-0.0", "-0.0"),
            ("FLOAT", "3.4028235E38", "3.4028235e38"),
            ("DECIMAL(38,2)", "-999999999999999999999999999999999999.99", "-999999999999999999999999999999999999.99"),
            ("DECIMAL(5,3)", "1.5", "1.500"),
            ("DATE", "2024-02-29", "2024-02-29"),
            ("DATE", "+10000-01-01", "+10000-01-01"),
            ("TIMESTAMP", "1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
            ("TIMESTAMP_NTZ", "2024-02-29T23:59:59", "2024-02-29T23:59:59"),
            ("BINARY", "", ""),
            ("STRING", "", ""),
        ] {
            assert_eq!(one(type_text, Some(cell)).unwrap(), expected, "{type_text}");
            assert_eq!(one(type_text, None).unwrap(), "", "{type_text}");
        }
    }

    #[test]
    fn cells_that_do_not_fit_are_data_loss() {
        for (type_text, cell) in
            [("INT", "x"), ("TINYINT", "300"), ("DATE", "yesterday"), ("BINARY", "%"), ("DECIMAL(3,1)", "12345")]
        {
            assert_eq!(one(type_text, Some(cell)).unwrap_err().kind(), ErrorKind::DataLoss, "{type_text}");
        }
        for (type_text, cell) in [
            ("TINYINT", "128"),
            ("TINYINT", "-129"),
            ("SMALLINT", "32768"),
            ("INT", "2147483648"),
            ("INT", "-2147483649"),
            ("BIGINT", "9223372036854775808"),
            ("BIGINT", "-9223372036854775809"),
            ("BIGINT", "1.0"),
            ("BIGINT", "1e3"),
            ("BIGINT", ""),
            ("BIGINT", " 1"),
            ("BIGINT", "１"),
            ("BOOLEAN", ""),
            ("BOOLEAN", "2"),
            ("DOUBLE", ""),
            ("DOUBLE", "1e999"),
            ("FLOAT", "1e39"),
            ("DECIMAL(3,1)", "1.25"),
            ("DECIMAL(38,0)", "100000000000000000000000000000000000000"),
            ("DATE", "2023-02-29"),
            ("DATE", ""),
            ("TIMESTAMP", "2021-06-15T12:34:56"),
            ("TIMESTAMP_NTZ", "2021-06-15T12:34:56-07:00"),
            ("TIMESTAMP_NTZ", "2021-06-15T12:34:56.0000001"),
            ("BINARY", "AQI"),
            ("BINARY", "AQJ="),
            ("BINARY", "AQ I="),
            ("VOID", "1"),
        ] {
            let error = one(type_text, Some(cell)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DataLoss, "{type_text} {cell}");
            assert!(error.to_string().ends_with(&format!("row 0 has `{cell}`")), "{error}");
        }
        assert_eq!(unreadable(1, &"ü".repeat(65)), format!("row 1 has `{}...`", "ü".repeat(64)));
        assert_eq!(one("ARRAY<INT>", Some("[1]")).unwrap_err().kind(), ErrorKind::Protocol);
        let two = columns(&["INT", "INT"]);
        let schema = from_manifest(&two, &Arc::from("Etc/UTC")).unwrap();
        let error = batch(vec![vec![None]], &two, &schema).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss);
    }
}
