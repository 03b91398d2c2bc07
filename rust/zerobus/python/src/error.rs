//! The one place where failures become Python exceptions.

use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use seakernel_zerobus::ZerobusError;

use crate::visit;

/// Returns the exception for a failure of the client, with its fields as attributes.
pub(crate) fn from_client(py: Python<'_>, error: &ZerobusError) -> PyErr {
    exception(py, error).unwrap_or_else(|raised| raised)
}

fn exception(py: Python<'_>, error: &ZerobusError) -> PyResult<PyErr> {
    let failure = error.failure();
    let fields = PyDict::new(py);
    fields.set_item("grpc_code", failure.grpc_code)?;
    fields.set_item("server_code", failure.server_code.as_deref())?;
    fields.set_item("retryable", failure.retryable)?;
    let class = visit::import(py, "seakernel_zerobus.exceptions")?.getattr(error.error_type())?;
    Ok(PyErr::from_value(class.call((&*failure.message,), Some(&fields))?))
}

/// Returns a `ConfigurationError` with this text.
pub(crate) fn configuration(py: Python<'_>, message: impl Into<Arc<str>>) -> PyErr {
    from_client(py, &ZerobusError::configuration(message))
}

/// Returns the `TypeError` for an option whose value is of another type.
pub(crate) fn wrong_type(key: &str, value: &Bound<'_, PyAny>, accepted: &str) -> PyErr {
    let given = value.get_type().name().map_or_else(|_| "another type".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("`{key}` is of type `{given}`; accepted: {accepted}"))
}

/// Returns what an error about an unknown name says: all names, and the one closest to `given`.
pub(crate) fn unknown_name(py: Python<'_>, of: &str, given: &str, accepted: &[&str]) -> String {
    let closest = || -> PyResult<Option<String>> {
        let matches =
            visit::import(py, "difflib")?.call_method1("get_close_matches", (given, PyList::new(py, accepted)?, 1))?;
        Ok(matches.extract::<Vec<String>>()?.into_iter().next())
    };
    let hint = closest().ok().flatten().map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
    format!("{of} has no option `{given}` (accepted: {}){hint}", accepted.join(", "))
}
