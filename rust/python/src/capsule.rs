//! Arrow across the border: the `PyCapsule` interface.
//!
//! `requested_schema` is ignored throughout, which the interface allows: a producer that cannot give the requested types
//! exports its own and the consumer casts.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{Array, RecordBatch, RecordBatchOptions, RecordBatchReader};
use arrow_schema::ffi::FFI_ArrowSchema;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use pyo3::exceptions::{PyKeyboardInterrupt, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use seakernel::ResultStream;

use crate::arrow_stream::ArrowStream;
use crate::error;
use crate::runtime::{Home, Owned};
use crate::signals;

/// Returns the `arrow_schema` capsule of `schema`.
pub(crate) fn schema_capsule<'py>(py: Python<'py>, schema: &SchemaRef) -> PyResult<Bound<'py, PyCapsule>> {
    check_names(py, schema)?;
    let exported = FFI_ArrowSchema::try_from(schema.as_ref()).map_err(|failure| internal(py, &failure))?;
    PyCapsule::new_with_value(py, exported, c"arrow_schema")
}

/// Takes over the Arrow stream of an object with `__arrow_c_stream__`; it is read later, without the interpreter.
#[expect(unsafe_code, reason = "the C stream interface hands over a pointer")]
pub(crate) fn import_stream(stream: &Bound<'_, PyAny>) -> PyResult<Box<dyn RecordBatchReader + Send>> {
    let capsule = stream.call_method0("__arrow_c_stream__")?;
    let capsule =
        capsule.cast::<PyCapsule>().map_err(|_| PyTypeError::new_err("`__arrow_c_stream__` returned no capsule"))?;
    let pointer = capsule.pointer_checked(Some(c"arrow_array_stream"))?.cast::<FFI_ArrowArrayStream>();
    // SAFETY: a capsule of this name holds a valid, aligned ArrowArrayStream by the PyCapsule interface of Arrow, and it
    // lives here until after the move. Moving leaves an empty stream behind, so the capsule's destructor frees nothing.
    let taken = unsafe { FFI_ArrowArrayStream::from_raw(pointer.as_ptr()) };
    Ok(Box::new(Batches(ArrowStream::new(taken).map_err(|failure| internal(stream.py(), &failure))?)))
}

/// The rows of a stream as batches.
struct Batches(ArrowStream);

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.0.next()?.and_then(|rows| {
            let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
            RecordBatch::try_new_with_options(self.schema(), rows.into_parts().1, &options)
        });
        Some(batch)
    }
}

impl RecordBatchReader for Batches {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.0.schema())
    }
}

/// Returns the `arrow_array_stream` capsule of `reader`.
pub(crate) fn stream_capsule(
    py: Python<'_>,
    reader: Box<dyn RecordBatchReader + Send>,
) -> PyResult<Bound<'_, PyCapsule>> {
    check_names(py, &reader.schema())?;
    PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(reader), c"arrow_array_stream")
}

/// Refuses names that no `ArrowSchema` can hold: in it they end at the first NUL character.
pub(crate) fn check_names(py: Python<'_>, schema: &Schema) -> PyResult<()> {
    let Some(name) = schema.fields().iter().find_map(|field| name_with_nul(field)) else { return Ok(()) };
    let message = format!(
        "the column `{}` has a NUL character in its name, which ends a name in the Arrow C interface: give it an alias in \
         SQL, or fetch rows",
        name.escape_debug()
    );
    Err(error::raise(py, "NotSupportedError", "InvalidArgument", &message))
}

/// Returns the name of the field, or the path to one within it.
fn name_with_nul(field: &Field) -> Option<String> {
    if field.name().contains('\0') {
        return Some(field.name().clone());
    }
    let within = match field.data_type() {
        DataType::Struct(fields) => fields.iter().find_map(|inner| name_with_nul(inner)),
        DataType::List(inner) | DataType::LargeList(inner) | DataType::Map(inner, _) => name_with_nul(inner),
        _ => None,
    };
    within.map(|inner| format!("{}.{inner}", field.name()))
}

fn internal(py: Python<'_>, failure: &ArrowError) -> PyErr {
    error::raise(py, "InternalError", "Internal", &format!("the result cannot be exported: {failure}"))
}

/// What is left of a result, in the hands of an Arrow consumer.
///
/// The consumer may pull from any thread, with or without the GIL. A Ctrl-C ends the pull with an Arrow error and is
/// raised again as soon as Python code runs, because an Arrow stream has no way to carry a Python exception.
pub(crate) struct LiveReader {
    pub(crate) home: Home,
    pub(crate) schema: SchemaRef,
    pub(crate) queue: VecDeque<RecordBatch>,
    /// Absent once the last batch was pulled.
    pub(crate) stream: Option<Box<Owned<ResultStream>>>,
}

impl LiveReader {
    fn pull(&mut self, py: Python<'_>) -> PyResult<Option<RecordBatch>> {
        let Some(stream) = self.stream.as_mut().and_then(|stream| stream.get_mut()) else { return Ok(None) };
        self.home.call(py, stream.next_batch())
    }
}

impl Iterator for LiveReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(batch) = self.queue.pop_front() {
            return Some(Ok(batch));
        }
        self.stream.as_ref()?;
        let pulled = Python::try_attach(|py| self.pull(py).map_err(|raised| arrow_error(py, &raised)));
        let batch = pulled.unwrap_or_else(|| Err(ArrowError::ExternalError("the interpreter is exiting".into())));
        if let Ok(None) = batch {
            self.stream = None;
        }
        batch.transpose()
    }
}

fn arrow_error(py: Python<'_>, raised: &PyErr) -> ArrowError {
    if !raised.is_instance_of::<PyKeyboardInterrupt>(py) {
        return ArrowError::ExternalError(raised.value(py).to_string().into());
    }
    // The last Python call before the consumer's, for the next one raises.
    signals::interrupt_again(py, raised);
    ArrowError::ExternalError("interrupted by the keyboard".into())
}

impl RecordBatchReader for LiveReader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
