//! What became of each row, for Python.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use seakernel_zerobus::{TransmissionResult, ZerobusError};

use crate::arrow::{self, Reader, Rows};
use crate::error;

#[pyclass(frozen, name = "TransmissionResult", module = "seakernel_zerobus")]
pub(crate) struct PyTransmissionResult {
    pub(crate) result: TransmissionResult,
}

#[pymethods]
impl PyTransmissionResult {
    #[new]
    #[pyo3(signature = (
        success, *, error=None, attempts=1, latency_ms=None, batch_size_bytes=0, failed_rows=None, successful_rows=None,
        total_rows=0, successful_count=0, failed_count=0, message=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "they are the fields")]
    fn new(
        success: bool,
        error: Option<&str>,
        attempts: u32,
        latency_ms: Option<u64>,
        batch_size_bytes: usize,
        failed_rows: Option<Vec<(usize, String)>>,
        successful_rows: Option<Vec<usize>>,
        total_rows: usize,
        successful_count: usize,
        failed_count: usize,
        message: Option<&str>,
    ) -> Self {
        let error = error.or(message.filter(|_| !success)).map(ZerobusError::from_text);
        let as_errors = |rows: Vec<(usize, String)>| -> Vec<(usize, ZerobusError)> {
            let mut rows: Vec<_> = rows.into_iter().map(|(row, text)| (row, ZerobusError::from_text(&text))).collect();
            rows.sort_by_key(|(row, _)| *row);
            rows
        };
        let failed_rows = failed_rows.map(as_errors);
        let successful_rows = successful_rows.map(|mut rows| {
            rows.sort_unstable();
            rows
        });
        // Where the rows are given, they are what counts.
        let successful_count = successful_rows.as_ref().map_or(successful_count, Vec::len);
        let failed_count = failed_rows.as_ref().map_or(failed_count, Vec::len);
        let total_rows = total_rows.max(successful_count.saturating_add(failed_count));
        Self {
            result: TransmissionResult {
                success,
                error,
                attempts,
                latency_ms,
                batch_size_bytes,
                failed_rows,
                successful_rows,
                total_rows,
                successful_count,
                failed_count,
                ..TransmissionResult::default()
            },
        }
    }

    #[getter]
    fn success(&self) -> bool {
        self.result.success
    }

    #[getter]
    fn error(&self) -> Option<String> {
        self.result.error.as_ref().map(ToString::to_string)
    }

    #[getter]
    fn error_type(&self) -> Option<&'static str> {
        self.result.error.as_ref().map(ZerobusError::error_type)
    }

    #[getter]
    fn attempts(&self) -> u32 {
        self.result.attempts
    }

    #[getter]
    fn latency_ms(&self) -> Option<u64> {
        self.result.latency_ms
    }

    #[getter]
    fn batch_size_bytes(&self) -> usize {
        self.result.batch_size_bytes
    }

    #[getter]
    fn wire_bytes(&self) -> usize {
        self.result.wire_bytes
    }

    #[getter]
    fn failed_rows<'py>(&self, py: Python<'py>) -> Option<Vec<(usize, Bound<'py, PyString>)>> {
        let rows = self.result.failed_rows.as_ref()?;
        Some(rows.iter().map(|(row, _)| *row).zip(texts(py, rows)).collect())
    }

    #[getter]
    fn successful_rows(&self) -> Option<Vec<usize>> {
        self.result.successful_rows.clone()
    }

    #[getter]
    fn total_rows(&self) -> usize {
        self.result.total_rows
    }

    #[getter]
    fn successful_count(&self) -> usize {
        self.result.successful_count
    }

    #[getter]
    fn failed_count(&self) -> usize {
        self.result.failed_count
    }

    fn is_partial_success(&self) -> bool {
        self.result.is_partial_success()
    }

    fn has_failed_rows(&self) -> bool {
        self.result.has_failed_rows()
    }

    fn has_successful_rows(&self) -> bool {
        self.result.has_successful_rows()
    }

    fn get_failed_row_indices(&self) -> Vec<usize> {
        self.result.get_failed_row_indices()
    }

    fn get_successful_row_indices(&self) -> Vec<usize> {
        self.result.get_successful_row_indices()
    }

    fn get_uncertain_row_indices(&self) -> Vec<usize> {
        self.result.get_uncertain_row_indices()
    }

    fn get_failed_row_indices_by_error_type(&self, error_type: &str) -> Vec<usize> {
        self.result.get_failed_row_indices_by_error_type(|error| error.error_type() == error_type)
    }

    fn group_errors_by_type(&self) -> BTreeMap<String, Vec<usize>> {
        self.result.group_errors_by_type()
    }

    fn get_error_messages<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyString>> {
        texts(py, self.result.failed_rows.as_deref().unwrap_or_default()).collect()
    }

    fn get_error_statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let statistics = self.result.get_error_statistics();
        let fields = PyDict::new(py);
        fields.set_item("total_rows", statistics.total_rows)?;
        fields.set_item("successful_count", statistics.successful_count)?;
        fields.set_item("failed_count", statistics.failed_count)?;
        fields.set_item("success_rate", statistics.success_rate)?;
        fields.set_item("failure_rate", statistics.failure_rate)?;
        fields.set_item("error_type_counts", statistics.error_type_counts)?;
        Ok(fields)
    }

    fn extract_failed_batch<'py>(&self, original: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        extract(&self.result.get_failed_row_indices(), self.result.total_rows, original)
    }

    fn extract_successful_batch<'py>(&self, original: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        extract(&self.result.get_successful_row_indices(), self.result.total_rows, original)
    }

    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let fields = PyDict::new(py);
        fields.set_item("success", self.success())?;
        fields.set_item("error", self.error())?;
        fields.set_item("error_type", self.error_type())?;
        fields.set_item("attempts", self.attempts())?;
        fields.set_item("latency_ms", self.latency_ms())?;
        fields.set_item("batch_size_bytes", self.batch_size_bytes())?;
        fields.set_item("wire_bytes", self.wire_bytes())?;
        fields.set_item("failed_rows", self.failed_rows(py))?;
        fields.set_item("successful_rows", self.successful_rows())?;
        fields.set_item("uncertain_rows", self.get_uncertain_row_indices())?;
        fields.set_item("total_rows", self.total_rows())?;
        fields.set_item("successful_count", self.successful_count())?;
        fields.set_item("failed_count", self.failed_count())?;
        Ok(fields)
    }

    fn __repr__(&self) -> String {
        let TransmissionResult { success, total_rows, successful_count, failed_count, attempts, .. } = &self.result;
        let success = if *success { "True" } else { "False" };
        let error = self.error().map_or_else(String::new, |error| format!(", error={error:?}"));
        format!(
            "TransmissionResult(success={success}, total_rows={total_rows}, successful_count={successful_count}, \
             failed_count={failed_count}, attempts={attempts}{error})"
        )
    }
}

/// Takes `rows` of `original`, as the kind of object that it is: a batch of a batch, a table of anything else.
/// The texts of errors; neighbours of one reason share one, as a text can be long and the rows many.
fn texts<'py>(py: Python<'py>, rows: &[(usize, ZerobusError)]) -> impl Iterator<Item = Bound<'py, PyString>> {
    let mut last: Option<(&ZerobusError, Bound<'py, PyString>)> = None;
    rows.iter().map(move |(_, error)| match &last {
        Some((known, text))
            if Arc::ptr_eq(&known.failure().message, &error.failure().message)
                && known.error_type() == error.error_type() =>
        {
            text.clone()
        }
        _ => {
            let text = PyString::new(py, &error.to_string());
            last = Some((error, text.clone()));
            text
        }
    })
}

fn extract<'py>(
    rows: &[usize],
    total_rows: usize,
    original: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = original.py();
    let raised = |failure| error::from_client(py, &failure);
    match Rows::of(original)? {
        Rows::Batch(batch) => {
            let batch = arrow::consistent(batch).map_err(raised)?;
            let taken = py.detach(|| whole(rows, total_rows).extract_successful_batch(&batch)).map_err(raised)?;
            taken.map(|batch| arrow::export(py, batch)).transpose()
        }
        Rows::Stream(reader) => {
            let taken = py.detach(|| taken_from(reader, rows, total_rows)).map_err(raised)?;
            if taken.is_empty() { Ok(None) } else { arrow::export_table(py, taken).map(Some) }
        }
    }
}

/// A result in which `rows` were stored.
fn whole(rows: &[usize], total_rows: usize) -> TransmissionResult {
    TransmissionResult { successful_rows: Some(rows.to_vec()), total_rows, ..TransmissionResult::default() }
}

fn taken_from(reader: Reader, rows: &[usize], total_rows: usize) -> Result<Vec<RecordBatch>, ZerobusError> {
    let (mut taken, mut start, mut rest) = (Vec::new(), 0, rows);
    for batch in reader {
        let batch = arrow::consistent(batch?)?;
        let end = start + batch.num_rows();
        let (here, later) = rest.split_at(rest.partition_point(|row| *row < end));
        let of_batch: Vec<usize> = here.iter().map(|row| row - start).collect();
        taken.extend(whole(&of_batch, batch.num_rows()).extract_successful_batch(&batch)?);
        (start, rest) = (end, later);
    }
    if let Some(row) = rest.first().filter(|_| start == total_rows) {
        return Err(ZerobusError::configuration(format!("the result names row {row} of {total_rows}")));
    }
    if start != total_rows {
        let message =
            format!("the table has {start} rows, and that of this result had {total_rows}: it is another one");
        return Err(ZerobusError::configuration(message));
    }
    Ok(taken)
}
