//! Rows of the host, checked at the border: Arrow's import panics at a batch with null rows and at a stream that fails
//! without words, and takes the values beneath a null row of a stream for values.

use std::ffi::CStr;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use adbc_core::error::{Result, Status};
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi, from_ffi_and_data_type};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{Array, RecordBatch, RecordBatchOptions, RecordBatchReader, StructArray};
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef};

use crate::error::error;
use crate::struct_slices::settled;

const NULL_ROWS: &str = "a bound row is null as a whole; only its values can be";

/// Takes a batch from the host and returns it for the exporter.
///
/// # Safety
/// Both point to what the C data interface says, and `values` is the driver's.
pub(crate) unsafe fn checked_batch(
    values: *mut FFI_ArrowArray,
    schema: *const FFI_ArrowSchema,
) -> Result<FFI_ArrowArray> {
    let refused = |text: &str| error(Status::InvalidArguments, text);
    let imported = panic::catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller's promise.
        let (values, schema) = unsafe { (FFI_ArrowArray::from_raw(values), schema.as_ref()) };
        let schema = schema.filter(|_| !values.is_released())?;
        // SAFETY: the caller's promise.
        Some(unsafe { from_ffi(values, schema) }.and_then(settled))
    }));
    let data = match imported {
        Ok(Some(data)) => data.map_err(|cause| refused(&format!("the bound rows cannot be read: {cause}")))?,
        Ok(None) => return Err(refused("the bound rows are released")),
        Err(_) => return Err(refused("the bound rows cannot be read")),
    };
    if data.null_count() > 0 {
        return Err(refused(NULL_ROWS));
    }
    Ok(FFI_ArrowArray::new(&data))
}

/// Takes a stream from the host and returns it for the exporter.
///
/// # Safety
/// `stream` points to what the C stream interface says, and is the driver's.
pub(crate) unsafe fn checked_stream(stream: *mut FFI_ArrowArrayStream) -> Result<FFI_ArrowArrayStream> {
    // SAFETY: the caller's promise.
    let stream = unsafe { FFI_ArrowArrayStream::from_raw(stream) };
    Ok(FFI_ArrowArrayStream::new(Box::new(HostRows::new(stream)?)))
}

struct HostRows {
    stream: FFI_ArrowArrayStream,
    schema: SchemaRef,
}

impl HostRows {
    fn new(mut stream: FFI_ArrowArrayStream) -> Result<Self> {
        let refused = |text: &str| error(Status::InvalidArguments, text);
        let (Some(get_schema), Some(_)) = (stream.get_schema, stream.release) else {
            return Err(refused("the stream of bound rows is released"));
        };
        let mut schema = FFI_ArrowSchema::empty();
        // SAFETY: the stream is alive, and the schema is to be filled in.
        if unsafe { get_schema(&raw mut stream, &raw mut schema) } != 0 {
            let text = last_error(&mut stream);
            return Err(refused(&format!("the stream of bound rows has no schema: {text}")));
        }
        let schema = panic::catch_unwind(AssertUnwindSafe(|| Schema::try_from(&schema)));
        let schema = schema.map_err(|_| refused("the schema of the bound rows cannot be read"))?;
        let schema =
            schema.map_err(|cause| refused(&format!("the schema of the bound rows cannot be read: {cause}")))?;
        Ok(Self { stream, schema: Arc::new(schema) })
    }

    fn read(&mut self) -> std::result::Result<Option<RecordBatch>, ArrowError> {
        let broken = |text: &str| ArrowError::CDataInterface(text.replace('\0', "\u{FFFD}"));
        let get_next = self.stream.get_next.ok_or_else(|| broken("the stream is released"))?;
        let mut array = FFI_ArrowArray::empty();
        // SAFETY: the stream is alive, and the array is to be filled in.
        if unsafe { get_next(&raw mut self.stream, &raw mut array) } != 0 {
            return Err(broken(&last_error(&mut self.stream)));
        }
        if array.is_released() {
            return Ok(None);
        }
        // SAFETY: the host filled it in as its schema says.
        let data = unsafe { from_ffi_and_data_type(array, DataType::Struct(self.schema.fields().clone())) }?;
        if data.null_count() > 0 {
            return Err(broken(NULL_ROWS));
        }
        let rows = StructArray::from(settled(data)?);
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), rows.into_parts().1, &options).map(Some)
    }
}

impl Iterator for HostRows {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        // It is called through C, where nothing may unwind.
        panic::catch_unwind(AssertUnwindSafe(|| self.read()))
            .unwrap_or_else(|_| Err(ArrowError::CDataInterface("a batch cannot be read".to_owned())))
            .map_err(|cause| ArrowError::CDataInterface(cause.to_string().replace('\0', "\u{FFFD}")))
            .transpose()
    }
}

impl RecordBatchReader for HostRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

fn last_error(stream: &mut FFI_ArrowArrayStream) -> String {
    let text = match stream.get_last_error {
        // SAFETY: the stream is alive; what it returns is null or a C string that lives until its next call.
        Some(last_error) => unsafe { last_error(stream).as_ref().map(|text| CStr::from_ptr(text).to_string_lossy()) },
        None => None,
    };
    text.map_or_else(|| "the source does not say why".to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use std::ffi::{c_char, c_int};
    use std::ptr;

    use arrow_array::cast::AsArray as _;
    use arrow_array::types::Int64Type;
    use arrow_array::{ArrayRef, Int64Array};
    use arrow_buffer::NullBuffer;
    use arrow_schema::Field;

    use super::*;

    fn rows(nulls: Option<NullBuffer>) -> StructArray {
        let field = Arc::new(Field::new("a", DataType::Int64, true));
        let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        StructArray::new(vec![field].into(), vec![values], nulls)
    }

    #[test]
    fn null_rows_are_refused() {
        let nulls = || Some(NullBuffer::from(vec![true, false]));
        let batch = |nulls| {
            let rows = rows(nulls).into_data();
            let schema = FFI_ArrowSchema::try_from(rows.data_type()).unwrap();
            let mut values = FFI_ArrowArray::new(&rows);
            // SAFETY: both were made here.
            unsafe { checked_batch(&raw mut values, &raw const schema) }
        };
        assert!(batch(None).is_ok());
        let refusal = batch(nulls()).unwrap_err();
        assert_eq!((refusal.status, refusal.message.as_str()), (Status::InvalidArguments, NULL_ROWS));
    }

    #[test]
    fn slices_of_structs_in_structs_are_read() {
        let inner = rows(None);
        let field = Arc::new(Field::new("s", inner.data_type().clone(), true));
        let whole = StructArray::new(vec![field].into(), vec![Arc::new(inner)], None).into_data();
        let slice = whole.into_builder().offset(1).len(1).build().unwrap();
        let schema = FFI_ArrowSchema::try_from(slice.data_type()).unwrap();
        let mut values = FFI_ArrowArray::new(&slice);
        // SAFETY: both were made here.
        let checked = unsafe { checked_batch(&raw mut values, &raw const schema) }.unwrap();
        // SAFETY: they belong together.
        let read = StructArray::from(unsafe { from_ffi(checked, &schema) }.unwrap());
        assert_eq!(read.column(0).as_struct().column(0).as_primitive::<Int64Type>().values(), &[2]);
    }

    unsafe extern "C" fn schema(_: *mut FFI_ArrowArrayStream, out: *mut FFI_ArrowSchema) -> c_int {
        let schema = FFI_ArrowSchema::try_from(rows(None).data_type()).unwrap();
        // SAFETY: the caller's place for it.
        unsafe { ptr::write(out, schema) };
        0
    }

    unsafe extern "C" fn null_row(_: *mut FFI_ArrowArrayStream, out: *mut FFI_ArrowArray) -> c_int {
        let array = FFI_ArrowArray::new(&rows(Some(NullBuffer::from(vec![true, false]))).into_data());
        // SAFETY: the caller's place for it.
        unsafe { ptr::write(out, array) };
        0
    }

    unsafe extern "C" fn failing(_: *mut FFI_ArrowArrayStream, _: *mut FFI_ArrowArray) -> c_int {
        5
    }

    unsafe extern "C" fn wordless(_: *mut FFI_ArrowArrayStream) -> *const c_char {
        ptr::null()
    }

    unsafe extern "C" fn release(stream: *mut FFI_ArrowArrayStream) {
        // SAFETY: the stream that is released.
        unsafe { (*stream).release = None };
    }

    #[test]
    fn streams_fail_with_words() {
        let stream = |get_next| FFI_ArrowArrayStream {
            get_schema: Some(schema),
            get_next: Some(get_next),
            get_last_error: Some(wordless),
            release: Some(release),
            private_data: ptr::null_mut(),
        };
        let mut rows = HostRows::new(stream(null_row)).unwrap();
        assert!(rows.next().unwrap().unwrap_err().to_string().contains(NULL_ROWS));
        let mut rows = HostRows::new(stream(failing)).unwrap();
        assert!(rows.next().unwrap().unwrap_err().to_string().contains("does not say why"));
        assert!(HostRows::new(FFI_ArrowArrayStream::empty()).is_err());
    }
}
