//! Bound rows: parameters, one set for each row.

use std::panic::{self, AssertUnwindSafe};

use adbc_core::error::{Result, Status};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::Schema;
use seakernel::{Given, JsonParameter, Parameter};

use crate::error::{error, from_kernel};
use crate::reader::{Batches, BoxedReader};
use crate::value::{self, SqlType};

/// Rows of the host, read as they are needed.
pub(crate) struct Bound {
    reader: BoxedReader,
    columns: Vec<Column>,
    arrays: Vec<ArrayRef>,
    rows: usize,
    /// The next row of the batch that was read last.
    row: usize,
}

pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) sql_type: SqlType,
}

impl Bound {
    pub(crate) fn of_batch(batch: RecordBatch) -> Result<Self> {
        Self::of_reader(Batches::boxed(batch.schema(), vec![batch]))
    }

    pub(crate) fn of_reader(reader: BoxedReader) -> Result<Self> {
        let columns = columns(&reader.schema())?;
        Ok(Self { reader, columns, arrays: Vec::new(), rows: 0, row: 0 })
    }

    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Tells whether another row is there, having read it.
    pub(crate) fn has_next(&mut self) -> Result<bool> {
        while self.row == self.rows {
            // The host's code may be behind it, and Arrow's panics where that fails without words.
            let Ok(next) = panic::catch_unwind(AssertUnwindSafe(|| self.reader.next())) else {
                return Err(error(Status::InvalidData, "the bound rows could not be read"));
            };
            let Some(batch) = next else { return Ok(false) };
            let batch = batch.map_err(|cause| {
                error(Status::InvalidData, format!("the bound rows could not be read: {cause}").replace('\0', " "))
            })?;
            if batch.num_columns() != self.columns.len() {
                return Err(error(Status::InvalidData, "a bound batch has other columns than its schema"));
            }
            let arrays = batch.columns().iter().zip(&self.columns);
            self.arrays =
                arrays.map(|(array, column)| value::readable(array, &column.sql_type)).collect::<Result<_>>()?;
            (self.rows, self.row) = (batch.num_rows(), 0);
        }
        Ok(true)
    }

    /// Returns the values of the row that is next, and leaves it so.
    pub(crate) fn peek(&self) -> Result<Vec<Option<String>>> {
        self.arrays.iter().map(|array| value::text(array, self.row)).collect()
    }

    /// Goes on to the row behind.
    pub(crate) fn advance(&mut self) {
        self.row += 1;
    }
}

fn columns(schema: &Schema) -> Result<Vec<Column>> {
    let column =
        |field: &arrow_schema::FieldRef| Ok(Column { name: field.name().clone(), sql_type: SqlType::of(field)? });
    schema.fields().iter().map(column).collect()
}

/// A statement's text with the server's markers, and what to call its parameters.
pub(crate) struct Markers {
    pub(crate) sql: String,
    names: Option<Vec<String>>,
}

impl Markers {
    /// Fits `sql` to bound columns, by name where it has named markers or `by_name` asks for that.
    pub(crate) fn new(sql: &str, columns: &[Column], by_name: bool) -> Result<Self> {
        let names: Option<Vec<String>> = (by_name || seakernel::has_named_markers(sql))
            .then(|| columns.iter().map(|column| column.name.clone()).collect());
        let given = names.as_deref().map_or(Given::Positional(columns.len()), Given::Named);
        let sql = seakernel::with_native_markers(sql, given).map_err(|cause| from_kernel(&cause))?;
        let nested = columns.iter().enumerate().filter(|(_, column)| column.sql_type.is_nested);
        let json: Vec<JsonParameter> = nested
            .map(|(place, column)| JsonParameter {
                place,
                name: names.is_some().then(|| column.name.clone()),
                sql_type: column.sql_type.text.clone(),
            })
            .collect();
        let sql = if json.is_empty() {
            sql.into_owned()
        } else {
            seakernel::with_json_markers(&sql, &json).map_err(|cause| from_kernel(&cause))?
        };
        Ok(Self { sql, names })
    }

    /// Returns the parameters of one row.
    pub(crate) fn parameters(&self, columns: &[Column], values: &[Option<String>]) -> Result<Vec<Parameter>> {
        let parameters = columns.iter().zip(values).enumerate().map(|(place, (column, value))| {
            let name = self.names.as_ref().and_then(|names| names.get(place));
            parameter(name.map(String::as_str), &column.sql_type, value.as_deref())
        });
        parameters.collect()
    }
}

/// Returns a parameter of the column's type, checked.
pub(crate) fn parameter(name: Option<&str>, sql_type: &SqlType, value: Option<&str>) -> Result<Parameter> {
    let sql_type = if sql_type.is_nested { "STRING" } else { &sql_type.text };
    let parameter = match name {
        Some(name) => Parameter::named(name, sql_type, value),
        None => Parameter::positional(sql_type, value),
    };
    parameter.checked().map_err(|cause| from_kernel(&cause))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::RecordBatchReader;
    use arrow_schema::{ArrowError, DataType, Field, SchemaRef};

    use super::*;

    struct Broken;

    impl Iterator for Broken {
        type Item = std::result::Result<RecordBatch, ArrowError>;

        fn next(&mut self) -> Option<Self::Item> {
            panic!("no last error")
        }
    }

    impl RecordBatchReader for Broken {
        fn schema(&self) -> SchemaRef {
            Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]))
        }
    }

    #[test]
    fn a_source_that_panics_is_an_error() {
        let failure = Bound::of_reader(Box::new(Broken)).unwrap().has_next().unwrap_err();
        assert_eq!(failure.status, Status::InvalidData);
    }
}
