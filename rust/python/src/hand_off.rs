//! Results for other processes, runtimes and memories: as IPC bytes, or copied into memory of the caller.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::writer::StreamEncoder;
use arrow_schema::ffi::FFI_ArrowSchema;
use arrow_schema::{ArrowError, Schema};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyMemoryView};
use seakernel::hand_off::{self, BatchLayout, BufferPlace, ColumnLayout};

use crate::results::{PyArrowTable, PyResultStream};
use crate::{capsule, error, visit};

/// Writes one Arrow IPC stream, piece by piece.
#[pyclass(frozen, name = "IpcEncoder", module = "seakernel._seakernel")]
pub(crate) struct PyIpcEncoder(Mutex<Option<StreamEncoder>>);

#[pymethods]
impl PyIpcEncoder {
    #[new]
    fn new(py: Python<'_>, result: &PyResultStream) -> PyResult<Self> {
        Ok(Self(Mutex::new(Some(encoder(py, result.schema())?))))
    }

    fn encode<'py>(&self, py: Python<'py>, table: &PyArrowTable) -> PyResult<Bound<'py, PyBytes>> {
        let pieces = py.detach(|| {
            let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Behind a batch that is missing nothing may follow, least of all the end marker.
            let Some(mut encoder) = place.take() else {
                return Err(ArrowError::IpcError("the stream has ended, or broken off".to_owned()));
            };
            let pieces = encode(&mut encoder, table.batches())?;
            *place = Some(encoder);
            Ok(pieces)
        });
        joined(py, &pieces.map_err(|failure| internal(py, &failure))?)
    }

    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let encoder = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(encoder) = encoder else {
            return Err(error::raise(py, "InternalError", "Internal", "the stream has ended, or broken off"));
        };
        joined(py, &end(py, Some(encoder))?)
    }
}

/// Returns what is known of a result's layout before its first batch.
#[pyfunction]
pub(crate) fn layout_head<'py>(py: Python<'py>, result: &PyResultStream) -> PyResult<Bound<'py, PyDict>> {
    result.check_readable(py)?;
    let schema = result.schema();
    capsule::check_names(py, schema)?;
    let head = PyDict::new(py);
    head.set_item("version", 1)?;
    head.set_item("form", if hand_off::has_layout(schema) { "buffers" } else { "ipc" })?;
    head.set_item("schema", joined(py, &end(py, Some(encoder(py, schema)?))?)?)?;
    let exported = FFI_ArrowSchema::try_from(schema).map_err(|failure| internal(py, &failure))?;
    head.set_item("fields", fields(py, &exported)?)?;
    Ok(head)
}

/// Copies the one batch of `table` into memory of `allocate`; where its types have no layout, as an IPC stream of its own.
#[pyfunction]
pub(crate) fn copy_batch<'py>(
    py: Python<'py>,
    table: &PyArrowTable,
    allocate: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyDict>)> {
    let described = PyDict::new(py);
    let [batch] = table.batches() else {
        return Err(error::raise(py, "InternalError", "Internal", "not one batch"));
    };
    let (memory, byte_count) = if let Some(layout) = py.detach(|| BatchLayout::new(batch)) {
        described.set_item("columns", columns(py, &layout.columns)?)?;
        let (memory, mapped) = allocated(py, allocate, layout.byte_count)?;
        py.detach(|| layout.write(&mut |offset, bytes| mapped.put(offset, bytes)));
        (memory, layout.byte_count)
    } else {
        let mut encoder = encoder(py, table.schema())?;
        let pieces = py.detach(|| encode(&mut encoder, table.batches())).map_err(|failure| internal(py, &failure))?;
        let pieces: Vec<Buffer> = pieces.into_iter().chain(end(py, Some(encoder))?).collect();
        let byte_count = pieces.iter().map(Buffer::len).sum();
        let (memory, mapped) = allocated(py, allocate, byte_count)?;
        py.detach(|| {
            let mut offset = 0;
            for piece in &pieces {
                mapped.put(offset, piece);
                offset += piece.len();
            }
        });
        (memory, byte_count)
    };
    described.set_item("row_count", batch.num_rows())?;
    described.set_item("byte_count", byte_count)?;
    Ok((memory, described))
}

fn encoder(py: Python<'_>, schema: &Schema) -> PyResult<StreamEncoder> {
    StreamEncoder::try_new(schema).map_err(|failure| internal(py, &failure))
}

fn encode(encoder: &mut StreamEncoder, batches: &[RecordBatch]) -> Result<Vec<Buffer>, ArrowError> {
    let mut pieces = Vec::new();
    for batch in batches {
        pieces.extend(encoder.encode(batch)?);
    }
    Ok(pieces)
}

fn end(py: Python<'_>, encoder: Option<StreamEncoder>) -> PyResult<Vec<Buffer>> {
    encoder.map_or(Ok(Vec::new()), StreamEncoder::finish).map_err(|failure| internal(py, &failure))
}

fn joined<'py>(py: Python<'py>, pieces: &[Buffer]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, pieces.iter().map(Buffer::len).sum(), |bytes| {
        py.detach(|| {
            let mut rest = bytes;
            for piece in pieces {
                if let Some((place, behind)) = rest.split_at_mut_checked(piece.len()) {
                    place.copy_from_slice(piece);
                    rest = behind;
                } else {
                    break;
                }
            }
        });
        Ok(())
    })
}

/// The caller's memory while it is written. Its export is held, so that it can neither move nor shrink.
struct Mapped {
    _export: Py<PyAny>,
    address: usize,
    length: usize,
}

/// Has the caller allocate `length` bytes, and returns what was returned.
///
/// ctypes finds the address: the stable ABI has the buffer protocol from Python 3.11 on.
fn allocated<'py>(
    py: Python<'py>,
    allocate: &Bound<'py, PyAny>,
    length: usize,
) -> PyResult<(Bound<'py, PyAny>, Mapped)> {
    let refuse = |what: &str| {
        error::invalid_argument(py, &format!("`allocate({length})` returned {what}; expected {length} writable bytes"))
    };
    let memory = allocate.call1((length,))?;
    let Ok(view) = PyMemoryView::from(&memory) else {
        let name = memory.get_type().name()?;
        return Err(refuse(&format!("`{name}`, which has no buffer")));
    };
    if view.getattr("readonly")?.is_truthy()? {
        return Err(refuse("memory that is read-only"));
    }
    if !view.getattr("c_contiguous")?.is_truthy()? {
        return Err(refuse("memory that is not contiguous"));
    }
    let found: usize = view.getattr("nbytes")?.extract()?;
    if found < length {
        return Err(refuse(&format!("{found} bytes")));
    }
    let ctypes = visit::import(py, "ctypes")?;
    let export = ctypes.getattr("c_char")?.call_method1("from_buffer", (view,))?;
    let address = ctypes.call_method1("addressof", (&export,))?.extract()?;
    Ok((memory, Mapped { _export: export.unbind(), address, length }))
}

impl Mapped {
    #[expect(unsafe_code, reason = "memory that others allocated")]
    fn put(&self, offset: usize, bytes: &[u8]) {
        if self.length.checked_sub(offset).is_none_or(|room| room < bytes.len()) {
            return;
        }
        let place = ptr::with_exposed_provenance_mut::<u8>(self.address + offset);
        // SAFETY: the exporter of the buffer keeps `length` writable bytes at `address` for as long as `_export` lives, and
        // the bytes end within them. They are no memory of an Arrow array: nobody but the allocator's owner can get at them.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
    }
}

fn columns<'py>(py: Python<'py>, layouts: &[ColumnLayout]) -> PyResult<Bound<'py, PyList>> {
    let columns = PyList::empty(py);
    for layout in layouts {
        let buffers = PyList::empty(py);
        for place in &layout.buffers {
            buffers.append(place.map(|place| buffer(py, place)).transpose()?)?;
        }
        let column = PyDict::new(py);
        column.set_item("length", layout.length)?;
        column.set_item("null_count", layout.null_count)?;
        column.set_item("offset", 0)?;
        column.set_item("buffers", buffers)?;
        column.set_item("children", self::columns(py, &layout.children)?)?;
        columns.append(column)?;
    }
    Ok(columns)
}

fn buffer(py: Python<'_>, place: BufferPlace) -> PyResult<Bound<'_, PyDict>> {
    let buffer = PyDict::new(py);
    buffer.set_item("offset", place.offset)?;
    buffer.set_item("length", place.length)?;
    Ok(buffer)
}

/// The types in the letters of the Arrow C data interface.
fn fields<'py>(py: Python<'py>, parent: &FFI_ArrowSchema) -> PyResult<Bound<'py, PyList>> {
    let fields = PyList::empty(py);
    for child in parent.children() {
        let field = PyDict::new(py);
        field.set_item("name", child.name())?;
        field.set_item("format", child.format())?;
        field.set_item("nullable", child.nullable())?;
        let metadata = child.metadata().map_err(|failure| internal(py, &failure))?;
        field.set_item("metadata", metadata.into_iter().collect::<BTreeMap<_, _>>())?;
        field.set_item("children", self::fields(py, child)?)?;
        fields.append(field)?;
    }
    Ok(fields)
}

fn internal(py: Python<'_>, failure: &ArrowError) -> PyErr {
    error::raise(py, "InternalError", "Internal", &format!("the result cannot be handed off: {failure}"))
}
