//! The class of a result's rows, a subclass of `seakernel.Row`, and its instances.

use std::mem;

use pyo3::exceptions::PySystemError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use crate::visit;

/// Makes rows of one class.
pub(crate) struct RowClass {
    class: Py<PyType>,
    /// `tuple.__new__` without the wrapper that Python code calls, which takes twice as long.
    new_tuple: ffi::newfunc,
    /// Whether no value can refer to a row, so that the garbage collector need not look at rows.
    is_flat: bool,
}

impl RowClass {
    /// Returns the class for columns of these `names`. `is_flat` says that no value is a container.
    pub(crate) fn new(py: Python<'_>, names: Vec<&str>, is_flat: bool) -> PyResult<Self> {
        let names = PyTuple::new(py, names)?;
        let class = visit::import(py, "seakernel.row")?.getattr("row_class")?.call1((names,))?.cast_into::<PyType>()?;
        if !class.is_subclass_of::<PyTuple>()? {
            return Err(PySystemError::new_err("`seakernel.row.row_class` must return a subclass of `tuple`"));
        }
        let tuple = py.get_type::<PyTuple>();
        // SAFETY: `tuple` is a type object, and any slot of one may be asked for since Python 3.10.
        let slot = unsafe { ffi::PyType_GetSlot(tuple.as_type_ptr(), ffi::Py_tp_new) };
        if slot.is_null() {
            return Err(PySystemError::new_err("`tuple` cannot be made"));
        }
        // SAFETY: the slot `tp_new` holds a `newfunc`, and it is not null.
        let new_tuple = unsafe { mem::transmute::<*mut std::ffi::c_void, ffi::newfunc>(slot) };
        Ok(Self { class: class.unbind(), new_tuple, is_flat })
    }

    /// Makes the row of these values.
    pub(crate) fn row<'py>(&self, values: Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyTuple>> {
        let py = values.py();
        let arguments = PyTuple::new(py, [values])?;
        let class = self.class.bind(py).as_type_ptr();
        // SAFETY: this is `tuple.__new__(class, values)`: the class is a subclass of `tuple`, as was checked, and the arguments
        // are a tuple. It returns a new reference or null with an exception set.
        let row = unsafe {
            let row = (self.new_tuple)(class, arguments.as_ptr(), std::ptr::null_mut());
            Bound::from_owned_ptr_or_err(py, row)?.cast_into_unchecked::<PyTuple>()
        };
        if self.is_flat {
            // SAFETY: the row is alive and of a class with garbage collection. Python does the same with plain tuples whose
            // values are no containers; without it, the collector looks at all rows again and again while there are
            // more and more of them.
            unsafe { ffi::PyObject_GC_UnTrack(row.as_ptr().cast()) };
        }
        Ok(row)
    }
}
