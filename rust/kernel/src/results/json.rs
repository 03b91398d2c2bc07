//! Inline rows as JSON text: the last resort, where a server answers with it although Arrow was asked for.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{ArrayRef, BinaryArray, NullArray, RecordBatch, RecordBatchOptions, StringArray};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};
use base64::Engine;

use crate::error::{Error, ErrorKind, Result};
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
    let unfit = || Error::new(ErrorKind::DataLoss, format!("a value of column `{name}` is not of type {data_type}"));
    match data_type {
        DataType::Null if cells.iter().all(Option::is_none) => Ok(Arc::new(NullArray::new(cells.len()))),
        DataType::Utf8 => Ok(Arc::new(StringArray::from(cells))),
        DataType::Binary => {
            let decode = |cell: &Option<String>| {
                cell.as_ref().map(|text| base64::prelude::BASE64_STANDARD.decode(text)).transpose()
            };
            let values: Result<Vec<Option<Vec<u8>>>, _> = cells.iter().map(decode).collect();
            let values = values.map_err(|error| unfit().with_source(error))?;
            Ok(Arc::new(BinaryArray::from_iter(values)))
        }
        DataType::List(_) | DataType::Map(..) | DataType::Struct(_) | DataType::Interval(_) | DataType::Duration(_) => {
            let text =
                format!("the server sent column `{name}` ({data_type}) as JSON text, which has no documented form");
            Err(Error::new(ErrorKind::Protocol, text))
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) => {
            // The text carries its own offset; the zone's name only says how to show it.
            let utc = cast_text(cells, &DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())));
            let utc = utc.map_err(|error| unfit().with_source(error))?;
            let instants = utc.as_primitive::<TimestampMicrosecondType>().clone();
            Ok(Arc::new(instants.with_timezone(Arc::clone(zone))))
        }
        _ => cast_text(cells, data_type).map_err(|error| unfit().with_source(error)),
    }
}

fn cast_text(cells: Vec<Option<String>>, data_type: &DataType) -> std::result::Result<ArrayRef, ArrowError> {
    cast_with_options(&StringArray::from(cells), data_type, &CastOptions { safe: false, ..CastOptions::default() })
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
        };
        types.iter().map(column).collect()
    }

    fn one(type_text: &str, cell: Option<&str>) -> Result<String> {
        let columns = columns(&[type_text]);
        let schema = from_manifest(&columns)?;
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
        assert_eq!(one("ARRAY<INT>", Some("[1]")).unwrap_err().kind(), ErrorKind::Protocol);
        let two = columns(&["INT", "INT"]);
        let schema = from_manifest(&two).unwrap();
        let error = batch(vec![vec![None]], &two, &schema).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss);
    }
}
