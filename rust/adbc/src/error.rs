//! The kernel's errors as ADBC's: status, SQLSTATE and details.

use std::any::Any;
use std::ffi::c_char;

use adbc_core::error::{Error, Status};
use seakernel::ErrorKind;

/// The detail that tells the kernel's kind.
const ERROR_KIND: &str = "databricks.error_kind";

/// Returns what tells the same in ADBC's terms.
///
/// The vendor code is the HTTP status, for hosts of ADBC 1.0; since 1.1 the details tell it, with the statement's id, the
/// server's symbolic code, the kernel's kind and whether the call may be repeated.
pub(crate) fn from_kernel(failure: &seakernel::Error) -> Error {
    let mut message = failure.to_string();
    let sql_state = failure.sql_state();
    if let Some(state) = sql_state.filter(|state| !message.contains(*state)) {
        message.extend([" (SQLSTATE ", state, ")"]);
    }
    if let Some(id) = failure.statement_id().filter(|id| !message.contains(*id)) {
        message.extend([" (statement ", id, ")"]);
    }
    let details = [
        (ERROR_KIND, Some(failure.kind().name().to_owned())),
        ("databricks.error_code", failure.error_code().map(str::to_owned)),
        ("databricks.statement_id", failure.statement_id().map(str::to_owned)),
        ("databricks.http_status", failure.http_status().map(|status| status.to_string())),
        ("databricks.retryable", Some(failure.is_retryable().to_string())),
    ];
    Error {
        // Last of all: the SQLSTATE and the id are the server's, too.
        message: message.replace('\0', "\u{FFFD}"),
        status: status(failure.kind(), sql_state),
        vendor_code: failure.http_status().map_or(0, i32::from),
        sqlstate: sql_state.map_or([0; 5], sql_state_bytes),
        details: Some(
            details.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into_bytes()))).collect(),
        ),
    }
}

/// Tells whether a statement failed because of what it reads: another one, which reads something else, may succeed.
pub(crate) fn is_of_what_was_read(failure: &Error) -> bool {
    let kinds = [ErrorKind::Sql, ErrorKind::NotFound, ErrorKind::PermissionDenied];
    let is_of_kind = |(key, value): &(String, Vec<u8>)| {
        key == ERROR_KIND && kinds.iter().any(|kind| kind.name().as_bytes() == value.as_slice())
    };
    failure.status != Status::Cancelled && failure.details.iter().flatten().any(is_of_kind)
}

/// An error of the driver itself.
pub(crate) fn error(status: Status, message: impl Into<String>) -> Error {
    Error::with_message_and_status(message, status)
}

/// What a call that cannot be is answered with.
pub(crate) fn not_implemented(message: impl Into<String>) -> Error {
    Error { sqlstate: sql_state_bytes("0A000"), ..error(Status::NotImplemented, message) }
}

/// Says what was cancelled.
pub(crate) fn cancelled() -> Error {
    Error { sqlstate: sql_state_bytes("57014"), ..error(Status::Cancelled, "the statement was cancelled") }
}

pub(crate) fn panicked(cause: &(dyn Any + Send)) -> Error {
    let text = cause.downcast_ref::<&str>().copied().or_else(|| cause.downcast_ref::<String>().map(String::as_str));
    error(Status::Internal, format!("a defect of the driver: {}", text.unwrap_or("panicked")))
}

fn sql_state_bytes(state: &str) -> [c_char; 5] {
    let mut bytes = [0; 5];
    for (place, byte) in bytes.iter_mut().zip(state.bytes()) {
        *place = byte as c_char;
    }
    bytes
}

fn status(kind: ErrorKind, sql_state: Option<&str>) -> Status {
    match kind {
        ErrorKind::InvalidArgument => Status::InvalidArguments,
        ErrorKind::Unauthenticated => Status::Unauthenticated,
        ErrorKind::PermissionDenied => Status::Unauthorized,
        ErrorKind::NotFound => Status::NotFound,
        ErrorKind::ResourceExhausted | ErrorKind::Unavailable | ErrorKind::Network | ErrorKind::LinkExpired => {
            Status::IO
        }
        ErrorKind::Timeout => Status::Timeout,
        ErrorKind::Cancelled => Status::Cancelled,
        ErrorKind::DataLoss => Status::InvalidData,
        ErrorKind::Closed => Status::InvalidState,
        ErrorKind::Sql => sql_state.map_or(Status::Unknown, of_sql_state),
        _ => Status::Internal,
    }
}

/// Returns the status of a statement that the server ran and that failed. Source: Databricks, "SQLSTATE error codes".
fn of_sql_state(state: &str) -> Status {
    match state {
        "42P01" | "42704" | "42883" | "42P08" | "42703" | "3D000" | "3F000" | "42S02" | "42S22" => Status::NotFound,
        "42P07" | "42710" | "42P06" | "42723" | "42711" | "42S01" => Status::AlreadyExists,
        "42501" | "42502" => Status::Unauthorized,
        "57014" => Status::Cancelled,
        "HYT00" | "HYT01" => Status::Timeout,
        _ => match state.get(..2).unwrap_or_default() {
            "0A" | "56" => Status::NotImplemented,
            "22" => Status::InvalidData,
            "23" | "44" => Status::Integrity,
            "28" => Status::Unauthenticated,
            "21" | "26" | "2B" | "42" | "07" => Status::InvalidArguments,
            "08" | "54" | "53" | "57" | "58" => Status::IO,
            "XX" => Status::Internal,
            _ => Status::Unknown,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_states_have_a_status() {
        for (state, expected) in [
            ("42P01", Status::NotFound),
            ("42P07", Status::AlreadyExists),
            ("42601", Status::InvalidArguments),
            ("22012", Status::InvalidData),
            ("23505", Status::Integrity),
            ("0A000", Status::NotImplemented),
            ("57014", Status::Cancelled),
            ("HYT00", Status::Timeout),
            ("KD000", Status::Unknown),
            ("4", Status::Unknown),
        ] {
            assert_eq!(of_sql_state(state), expected, "{state}");
        }
    }

    #[test]
    fn what_was_read_is_told_from_the_connection() {
        for kind in [ErrorKind::Sql, ErrorKind::NotFound, ErrorKind::PermissionDenied] {
            assert!(is_of_what_was_read(&from_kernel(&seakernel::Error::new(kind, "no"))), "{kind:?}");
        }
        for kind in [ErrorKind::Cancelled, ErrorKind::Network, ErrorKind::Timeout, ErrorKind::Unauthenticated] {
            assert!(!is_of_what_was_read(&from_kernel(&seakernel::Error::new(kind, "no"))), "{kind:?}");
        }
        assert!(!is_of_what_was_read(&cancelled()));
        assert!(!is_of_what_was_read(&error(Status::NotFound, "of the driver")));
    }

    #[test]
    fn what_the_kernel_tells_is_in_the_error() {
        let failure = seakernel::Error::new(ErrorKind::Network, "no\0route");
        let error = from_kernel(&failure);
        assert_eq!((error.status, error.message.as_str(), error.vendor_code), (Status::IO, "no\u{FFFD}route", 0));
        let details = error.details.unwrap();
        assert!(details.contains(&("databricks.error_kind".to_owned(), b"Network".to_vec())));
        assert!(details.contains(&("databricks.retryable".to_owned(), b"true".to_vec())));
    }
}
