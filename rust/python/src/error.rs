//! The one place where failures become Python exceptions.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use seakernel::{Error, ErrorKind};

use crate::{token_callable, visit};

/// Returns the exception for a failure of the kernel, with its fields as attributes.
pub(crate) fn from_kernel(py: Python<'_>, error: Error) -> PyErr {
    let fields = || -> PyResult<Bound<'_, PyDict>> {
        let fields = PyDict::new(py);
        fields.set_item("kind", error.kind().name())?;
        fields.set_item("sql_state", error.sql_state())?;
        fields.set_item("error_code", error.error_code())?;
        fields.set_item("statement_id", error.statement_id())?;
        fields.set_item("http_status", error.http_status())?;
        fields.set_item("chunk_index", error.chunk_index())?;
        fields.set_item("attempts", error.attempts())?;
        fields.set_item("elapsed_s", error.elapsed().map(|elapsed| elapsed.as_secs_f64()))?;
        fields.set_item("retryable", error.is_retryable())?;
        Ok(fields)
    };
    match fields() {
        Ok(fields) => {
            let raised = exception(py, class_of(&error), &error.to_string(), &fields);
            token_callable::set_cause(py, &raised, &error);
            raised
        }
        Err(failure) => failure,
    }
}

/// Returns an exception of `seakernel.exceptions` for a failure found on this side of the border.
pub(crate) fn raise(py: Python<'_>, class: &str, kind: &str, message: &str) -> PyErr {
    let fields = PyDict::new(py);
    match fields.set_item("kind", kind) {
        Ok(()) => exception(py, class, message, &fields),
        Err(failure) => failure,
    }
}

/// Returns the `ProgrammingError` for an argument that no server would accept.
pub(crate) fn invalid_argument(py: Python<'_>, message: &str) -> PyErr {
    raise(py, "ProgrammingError", "InvalidArgument", message)
}

fn exception(py: Python<'_>, class: &str, message: &str, fields: &Bound<'_, PyDict>) -> PyErr {
    py.import("seakernel.exceptions")
        .and_then(|exceptions| exceptions.getattr(class))
        .and_then(|class| class.call((message,), Some(fields)))
        .map_or_else(|failure| failure, PyErr::from_value)
}

/// Returns the PEP 249 class: by kind, and by SQLSTATE class for statements that failed on the server.
fn class_of(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::InvalidArgument | ErrorKind::NotFound => "ProgrammingError",
        ErrorKind::Unauthenticated
        | ErrorKind::PermissionDenied
        | ErrorKind::ResourceExhausted
        | ErrorKind::Unavailable
        | ErrorKind::Timeout
        | ErrorKind::Cancelled
        | ErrorKind::Network
        | ErrorKind::Protocol
        | ErrorKind::LinkExpired => "OperationalError",
        ErrorKind::DataLoss => "DataLossError",
        ErrorKind::Closed => "InterfaceError",
        ErrorKind::Internal => "InternalError",
        ErrorKind::Sql => match error.sql_state().and_then(|state| state.get(..2)) {
            Some("42" | "26" | "07") => "ProgrammingError",
            Some("22") => "DataError",
            Some("23") => "IntegrityError",
            Some("0A") => "NotSupportedError",
            Some("08" | "53" | "57" | "HY") => "OperationalError",
            _ => "ServerOperationError",
        },
        _ => "DatabaseError",
    }
}

/// Returns the names in `accepted` and the one closest to `given`, for messages about unknown keys.
pub(crate) fn unknown_key(py: Python<'_>, group: &str, given: &str, accepted: &[&str]) -> PyErr {
    let closest = || -> PyResult<Option<String>> {
        let matches =
            visit::import(py, "difflib")?.call_method1("get_close_matches", (given, PyList::new(py, accepted)?, 1))?;
        Ok(matches.extract::<Vec<String>>()?.into_iter().next())
    };
    let hint = closest().ok().flatten().map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
    let accepted = accepted.join(", ");
    invalid_argument(py, &format!("`{group}` has no key `{given}` (accepted: {accepted}){hint}"))
}
