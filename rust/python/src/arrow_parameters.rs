//! Arrow data as parameter sets, one for each row.

use std::sync::{Mutex, PoisonError};

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{DataType, IntervalUnit};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::rows::RowConverter;
use crate::{capsule, error};

/// Rows handed over at a time.
const STEP: usize = 1024;

/// The rows of an Arrow stream, with the SQL type of each column.
#[pyclass(frozen, name = "ArrowParameters", module = "seakernel._seakernel")]
pub(crate) struct PyArrowParameters {
    columns: Vec<(String, String)>,
    source: Mutex<Source>,
}

struct Source {
    reader: Box<dyn RecordBatchReader + Send>,
    converter: RowConverter,
    /// What is left of the batch read last.
    rest: Option<RecordBatch>,
}

#[pymethods]
impl PyArrowParameters {
    #[new]
    fn new(py: Python<'_>, stream: Bound<'_, PyAny>) -> PyResult<Self> {
        let reader = capsule::import_stream(&stream)?;
        let schema = reader.schema();
        let column = |field: &arrow_schema::FieldRef| {
            let sql_type = sql_type(field.data_type()).ok_or_else(|| {
                let message = format!(
                    "column `{}` of the parameters has Arrow type {}, and no SQL type of a parameter is the same; cast it",
                    field.name(),
                    field.data_type()
                );
                error::raise(py, "NotSupportedError", "InvalidArgument", &message)
            })?;
            Ok((field.name().clone(), sql_type))
        };
        let columns = schema.fields().iter().map(column).collect::<PyResult<_>>()?;
        let converter = RowConverter::new(py, &schema)?;
        Ok(Self { columns, source: Mutex::new(Source { reader, converter, rest: None }) })
    }

    #[getter]
    fn columns(&self) -> Vec<(String, String)> {
        self.columns.clone()
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    /// Returns the next rows, some at a time.
    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let Source { reader, converter, rest } = &mut *source;
        let batch =
            match rest.take().map(Ok).or_else(|| reader.find(|batch| !matches!(batch, Ok(b) if b.num_rows() == 0))) {
                None => return Ok(None),
                Some(Ok(batch)) => batch,
                Some(Err(failure)) => {
                    let message = format!("the Arrow stream of the parameters failed: {failure}");
                    return Err(error::raise(py, "DataError", "InvalidArgument", &message));
                }
            };
        let length = STEP.min(batch.num_rows());
        let mut rows = Vec::with_capacity(length);
        converter.convert(py, &batch.slice(0, length), &mut rows)?;
        if length < batch.num_rows() {
            *rest = Some(batch.slice(length, batch.num_rows() - length));
        }
        PyList::new(py, rows).map(Some)
    }
}

/// Returns the SQL type that holds every value of the Arrow type exactly.
fn sql_type(data_type: &DataType) -> Option<String> {
    Some(match data_type {
        DataType::Null => "VOID".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 | DataType::UInt8 => "SMALLINT".to_owned(),
        DataType::Int32 | DataType::UInt16 => "INT".to_owned(),
        DataType::Int64 | DataType::UInt32 => "BIGINT".to_owned(),
        DataType::UInt64 => "DECIMAL(20,0)".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) if (0..=*precision as i8).contains(scale) => {
            format!("DECIMAL({precision},{scale})")
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "STRING".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BINARY".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP_NTZ".to_owned(),
        DataType::Duration(_) | DataType::Interval(IntervalUnit::DayTime) => "INTERVAL DAY TO SECOND".to_owned(),
        DataType::Interval(IntervalUnit::YearMonth) => "INTERVAL YEAR TO MONTH".to_owned(),
        _ => return None,
    })
}
