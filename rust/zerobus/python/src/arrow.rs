//! Arrow across the border, by the C Data Interface: nothing is copied on the way in.

use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, from_ffi};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{Array, RecordBatch, StructArray};
use arrow_schema::ffi::FFI_ArrowSchema;
use arrow_schema::{ArrowError, DataType, Fields, Schema, SchemaRef};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};
use seakernel_zerobus::ZerobusError;

use crate::arrow_stream::{ArrowStream, NULL_ROW};
use crate::struct_slices::settled;
use crate::{error, visit};

/// What was given as rows.
pub(crate) enum Rows {
    /// One batch.
    Batch(RecordBatch),
    /// Batches of one schema, read as they are needed.
    Stream(Reader),
}

/// The batches of a stream.
pub(crate) struct Reader(ArrowStream);

impl Iterator for Reader {
    type Item = Result<RecordBatch, ZerobusError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.0.next()?.map_err(|failure| match failure {
            ArrowError::InvalidArgumentError(message) => ZerobusError::configuration(message),
            failure => ZerobusError::conversion(failure.to_string()),
        });
        Some(rows.map(|rows| as_batch(rows, self.0.schema())))
    }
}

impl Rows {
    /// Takes over the rows of an object with `__arrow_c_array__` or `__arrow_c_stream__`.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        if object.hasattr("__arrow_c_array__")? {
            return import_batch(object).map(Self::Batch);
        }
        if object.hasattr("__arrow_c_stream__")? {
            return import_stream(object).map(Self::Stream);
        }
        Err(error::wrong_type(
            "batch",
            object,
            "a `pyarrow.RecordBatch`, a `pyarrow.Table`, or any object with `__arrow_c_array__` or `__arrow_c_stream__`",
        ))
    }
}

#[expect(unsafe_code, reason = "the C data interface hands over pointers")]
fn import_batch(object: &Bound<'_, PyAny>) -> PyResult<RecordBatch> {
    let returned = object.call_method0("__arrow_c_array__")?;
    let (schema, array) =
        returned.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>().map_err(|_| no_capsule("array"))?;
    let schema = schema.cast_into::<PyCapsule>().map_err(|_| no_capsule("array"))?;
    let array = array.cast_into::<PyCapsule>().map_err(|_| no_capsule("array"))?;
    let schema = schema.pointer_checked(Some(c"arrow_schema"))?.cast::<FFI_ArrowSchema>();
    let array = array.pointer_checked(Some(c"arrow_array"))?.cast::<FFI_ArrowArray>();
    // SAFETY: a capsule of this name holds a valid, aligned ArrowSchema by the PyCapsule interface of Arrow; it lives in
    // `returned` for as long as the borrow.
    let schema = unsafe { schema.as_ref() };
    let names = Schema::try_from(schema).map_err(|failure| not_rows(&failure))?;
    // SAFETY: as above, an ArrowArray. Moving leaves an empty one behind, so the capsule's destructor frees nothing.
    let array = unsafe { FFI_ArrowArray::from_raw(array.as_ptr()) };
    // SAFETY: the interface has the producer vouch that array and schema belong together.
    let data = unsafe { from_ffi(array, schema) }.map_err(|failure| not_rows(&failure))?;
    if !matches!(data.data_type(), DataType::Struct(_)) {
        return Err(PyTypeError::new_err("`batch` is an array of no struct; a record batch is accepted"));
    }
    let rows = StructArray::from(settled(data).map_err(|failure| not_rows(&failure))?);
    if rows.null_count() > 0 {
        return Err(error::configuration(object.py(), NULL_ROW));
    }
    Ok(as_batch(rows, &names.into()))
}

/// A batch with all of its nulls: one in a column that has none fails its row and no more.
#[expect(unsafe_code, reason = "arrow knows no such batch")]
fn as_batch(rows: StructArray, schema: &SchemaRef) -> RecordBatch {
    let (len, columns) = (rows.len(), rows.into_parts().1);
    // SAFETY: the columns were read by this schema, and are of the length of their struct.
    unsafe { RecordBatch::new_unchecked(SchemaRef::clone(schema), columns, len) }
}

/// The batch with a schema that its nulls go with, for arrow makes no other of its rows.
pub(crate) fn consistent(batch: RecordBatch) -> Result<RecordBatch, ZerobusError> {
    let schema = batch.schema();
    let fields = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let is_broken = !field.is_nullable() && column.null_count() > 0;
        if is_broken { Arc::new(field.as_ref().clone().with_nullable(true)) } else { Arc::clone(field) }
    });
    let schema = Schema::new_with_metadata(fields.collect::<Fields>(), schema.metadata().clone());
    batch.with_schema(schema.into()).map_err(|failure| ZerobusError::conversion(failure.to_string()))
}

#[expect(unsafe_code, reason = "the C stream interface hands over a pointer")]
fn import_stream(object: &Bound<'_, PyAny>) -> PyResult<Reader> {
    let capsule = object.call_method0("__arrow_c_stream__")?;
    let capsule = capsule.cast::<PyCapsule>().map_err(|_| no_capsule("stream"))?;
    let pointer = capsule.pointer_checked(Some(c"arrow_array_stream"))?.cast::<FFI_ArrowArrayStream>();
    // SAFETY: a capsule of this name holds a valid, aligned ArrowArrayStream by the PyCapsule interface of Arrow, and it
    // lives here until after the move. Moving leaves an empty stream behind, so the capsule's destructor frees nothing.
    let stream = unsafe { FFI_ArrowArrayStream::from_raw(pointer.as_ptr()) };
    ArrowStream::new(stream).map(Reader).map_err(|failure| not_rows(&failure))
}

fn no_capsule(interface: &str) -> PyErr {
    PyTypeError::new_err(format!("`__arrow_c_{interface}__` returned no capsules of Arrow's"))
}

fn not_rows(failure: &ArrowError) -> PyErr {
    PyTypeError::new_err(format!("`batch` holds no rows: {failure}"))
}

/// A batch on its way out, for whoever takes `__arrow_c_array__`.
#[pyclass(frozen, name = "_Batch", module = "seakernel_zerobus._seakernel_zerobus")]
struct PyBatch {
    batch: RecordBatch,
}

#[pymethods]
impl PyBatch {
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        // Casts are left to the consumer, which the interface allows.
        let _ = requested_schema;
        let schema =
            FFI_ArrowSchema::try_from(self.batch.schema().as_ref()).map_err(|failure| not_exported(&failure))?;
        let array = FFI_ArrowArray::new(&StructArray::from(self.batch.clone()).into_data());
        let schema = PyCapsule::new_with_value(py, schema, c"arrow_schema")?;
        (schema, PyCapsule::new_with_value(py, array, c"arrow_array")?).into_pyobject(py)
    }
}

/// Returns `batch` as a `pyarrow.RecordBatch`.
pub(crate) fn export(py: Python<'_>, batch: RecordBatch) -> PyResult<Bound<'_, PyAny>> {
    visit::import(py, "pyarrow")?.call_method1("record_batch", (PyBatch { batch },))
}

/// Returns `batches`, of which there is one at least, as a `pyarrow.Table`.
pub(crate) fn export_table(py: Python<'_>, batches: Vec<RecordBatch>) -> PyResult<Bound<'_, PyAny>> {
    // Those with a null where their schema has none differ from the others in that.
    let merged = Schema::try_merge(batches.iter().map(|batch| batch.schema().as_ref().clone()));
    let schema = Arc::new(merged.map_err(|failure| not_exported(&failure))?);
    let batches = batches.into_iter().map(|batch| {
        let batch = batch.with_schema(Arc::clone(&schema)).map_err(|failure| not_exported(&failure))?;
        export(py, batch)
    });
    let batches = batches.collect::<PyResult<Vec<_>>>()?;
    visit::import(py, "pyarrow")?.getattr("Table")?.call_method1("from_batches", (batches,))
}

fn not_exported(failure: &ArrowError) -> PyErr {
    PyValueError::new_err(format!("the rows cannot be exported: {failure}"))
}

/// Returns where the first buffer of the first column is; tests look for copies.
#[pyfunction]
pub(crate) fn _first_buffer(batch: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    let Rows::Batch(batch) = Rows::of(batch)? else { return Ok(None) };
    let data = batch.columns().first().map(Array::to_data);
    Ok(data.and_then(|data| data.buffers().first().map(|buffer| buffer.as_ptr() as usize)))
}
