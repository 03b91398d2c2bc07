//! Rows that an Arrow producer hands over, with the mask that arrow's own reader of C streams drops: behind a null row are
//! values that nobody gave.

use std::ffi::{CStr, c_int};
use std::mem::ManuallyDrop;
use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, from_ffi_and_data_type};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{Array, StructArray};
use arrow_schema::ffi::FFI_ArrowSchema;
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef};

use crate::struct_slices::settled;
use crate::visit::Visit;

pub(crate) const NULL_ROW: &str = "the rows are a struct array with nulls; a row of a record batch cannot be null";

/// A C stream. Its producer may be Python code, so reading and dropping it are visits to the interpreter.
pub(crate) struct ArrowStream {
    stream: ManuallyDrop<FFI_ArrowArrayStream>,
    schema: SchemaRef,
}

impl ArrowStream {
    #[expect(unsafe_code, reason = "the C stream interface is functions")]
    pub(crate) fn new(stream: FFI_ArrowArrayStream) -> Result<Self, ArrowError> {
        let mut taken = Self { stream: ManuallyDrop::new(stream), schema: Arc::new(Schema::empty()) };
        let Some(get_schema) = taken.stream.get_schema else {
            return Err(ArrowError::CDataInterface("the stream was read already".to_owned()));
        };
        let mut schema = FFI_ArrowSchema::empty();
        // SAFETY: the stream's own function, with the stream, and a place to write a schema to.
        let code = unsafe { get_schema(&raw mut *taken.stream, &raw mut schema) };
        taken.check(code)?;
        taken.schema = Arc::new(Schema::try_from(&schema)?);
        Ok(taken)
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    #[expect(unsafe_code, reason = "the C stream interface is functions")]
    fn read(&mut self) -> Result<Option<StructArray>, ArrowError> {
        let Some(_visit) = Visit::begin() else {
            return Err(ArrowError::ExternalError("the interpreter is exiting".into()));
        };
        let Some(get_next) = self.stream.get_next else { return Ok(None) };
        let mut array = FFI_ArrowArray::empty();
        // SAFETY: the stream's own function, with the stream, and a place to write an array to.
        let code = unsafe { get_next(&raw mut *self.stream, &raw mut array) };
        self.check(code)?;
        if array.is_released() {
            return Ok(None);
        }
        let kind = DataType::Struct(self.schema.fields().clone());
        // SAFETY: the interface has the producer vouch that its arrays are of its schema.
        let rows = StructArray::from(settled(unsafe { from_ffi_and_data_type(array, kind) }?)?);
        if rows.null_count() > 0 {
            return Err(ArrowError::InvalidArgumentError(NULL_ROW.to_owned()));
        }
        Ok(Some(rows))
    }

    #[expect(unsafe_code, reason = "the C stream interface is functions")]
    fn check(&mut self, code: c_int) -> Result<(), ArrowError> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: the stream's own function, with the stream.
        let text = self.stream.get_last_error.map(|get| unsafe { get(&raw mut *self.stream) });
        let text = text.filter(|text| !text.is_null()).map_or_else(
            || format!("error {code}"),
            // SAFETY: a text that ends with NUL, and is there until the next call.
            |text| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned(),
        );
        Err(ArrowError::CDataInterface(text))
    }
}

impl Iterator for ArrowStream {
    type Item = Result<StructArray, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

impl Drop for ArrowStream {
    #[expect(unsafe_code, reason = "an interpreter that exits must not be entered")]
    fn drop(&mut self) {
        if let Some(_visit) = Visit::begin() {
            // SAFETY: the only place that drops it, and nothing uses it afterwards.
            unsafe { ManuallyDrop::drop(&mut self.stream) };
        }
    }
}
