//! What comes in through capsules: Arrow's C interfaces, and DataFusion's codec.

use arrow_array::RecordBatchReader;
use arrow_array::ffi_stream::{ArrowArrayStreamReader, FFI_ArrowArrayStream};
use arrow_schema::Schema;
use arrow_schema::ffi::FFI_ArrowSchema;
use datafusion_ffi::proto::logical_extension_codec::FFI_LogicalExtensionCodec;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

/// Takes over the Arrow stream of an object with `__arrow_c_stream__`; it is read later, without the interpreter.
#[expect(unsafe_code, reason = "the C stream interface hands over a pointer")]
pub(crate) fn import_stream(stream: &Bound<'_, PyAny>) -> PyResult<Box<dyn RecordBatchReader + Send>> {
    let capsule = called(stream, "__arrow_c_stream__")?;
    let pointer = capsule.pointer_checked(Some(c"arrow_array_stream"))?.cast::<FFI_ArrowArrayStream>();
    // SAFETY: a capsule of this name holds a valid, aligned ArrowArrayStream by the PyCapsule interface of Arrow, and it
    // lives here until after the move. Moving leaves an empty stream behind, so the capsule's destructor frees nothing.
    let reader = unsafe { ArrowArrayStreamReader::from_raw(pointer.as_ptr()) };
    Ok(Box::new(reader.map_err(|failure| PyValueError::new_err(failure.to_string()))?))
}

/// Reads the Arrow schema of an object with `__arrow_c_schema__`.
#[expect(unsafe_code, reason = "the C schema interface hands over a pointer")]
pub(crate) fn import_schema(object: &Bound<'_, PyAny>) -> PyResult<Schema> {
    let capsule = called(object, "__arrow_c_schema__")?;
    let pointer = capsule.pointer_checked(Some(c"arrow_schema"))?.cast::<FFI_ArrowSchema>();
    // SAFETY: a capsule of this name holds a valid, aligned ArrowSchema, which lives here as long as the borrow.
    let schema = unsafe { pointer.as_ref() };
    Schema::try_from(schema).map_err(|failure| PyValueError::new_err(failure.to_string()))
}

/// Returns the codec by which filters travel: that of a `datafusion.SessionContext`, or given itself, as for catalogs.
#[expect(unsafe_code, reason = "DataFusion's capsules hand over a pointer")]
pub(crate) fn session_codec(session: &Bound<'_, PyAny>) -> PyResult<FFI_LogicalExtensionCodec> {
    let capsule = match session.cast::<PyCapsule>() {
        Ok(codec) => codec.clone(),
        Err(_) => called(session, "__datafusion_logical_extension_codec__")?,
    };
    let pointer = capsule.pointer_checked(Some(c"datafusion_logical_extension_codec"))?;
    // SAFETY: datafusion-python puts an FFI_LogicalExtensionCodec under this name; that it is of the major version whose
    // layout is known here was checked before. The capsule lives until after the clone.
    let codec = unsafe { pointer.cast::<FFI_LogicalExtensionCodec>().as_ref() };
    Ok(codec.clone())
}

fn called<'py>(object: &Bound<'py, PyAny>, method: &str) -> PyResult<Bound<'py, PyCapsule>> {
    let returned = object.call_method0(method)?;
    let capsule = returned.cast_into::<PyCapsule>();
    capsule.map_err(|_| PyTypeError::new_err(format!("`{method}` returned no capsule")))
}
