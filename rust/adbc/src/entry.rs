//! The entry points of the shared library, and what the exporter of `adbc_ffi` leaves out: errors of streams with their
//! status and SQLSTATE, and options that must not be read back before a database is open.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{self, AssertUnwindSafe};
use std::ptr;

use adbc_core::constants::{ADBC_STATUS_INTERNAL, ADBC_STATUS_OK};
use adbc_core::error::{AdbcStatusCode, Status};
use adbc_core::options::AdbcVersion;
use adbc_ffi::{FFI_AdbcConnection, FFI_AdbcDatabase, FFI_AdbcDriver, FFI_AdbcError, FFI_AdbcStatement, FFIDriver};
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;

use crate::database::Driver;
use crate::error::error;
use crate::host_rows::{checked_batch, checked_stream};
use crate::options::{is_address, is_secret, told_address};
use crate::reader::take_last_error;

/// Fills in the driver's functions; the symbol that hosts look for by the library's name or by an option.
///
/// # Safety
/// `driver` is null or points to an `AdbcDriver` of ADBC 1.1, and `error` is null or points to an `AdbcError`, as `adbc.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SeaKernelDriverInit(
    version: c_int,
    driver: *mut c_void,
    error: *mut FFI_AdbcError,
) -> AdbcStatusCode {
    // SAFETY: the caller's promise.
    unsafe { init(version, driver, error) }
}

/// The same under the name that hosts fall back to.
///
/// # Safety
/// As [`SeaKernelDriverInit`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn AdbcDriverInit(
    version: c_int,
    driver: *mut c_void,
    error: *mut FFI_AdbcError,
) -> AdbcStatusCode {
    // SAFETY: the caller's promise.
    unsafe { init(version, driver, error) }
}

/// # Safety
/// As [`SeaKernelDriverInit`].
unsafe fn init(version: c_int, driver: *mut c_void, out: *mut FFI_AdbcError) -> AdbcStatusCode {
    let refusal = match AdbcVersion::try_from(version) {
        Ok(AdbcVersion::V110) if !driver.is_null() => None,
        Ok(AdbcVersion::V110) => Some(error(Status::InvalidArguments, "the driver to fill in is null")),
        _ => Some(error(Status::NotImplemented, format!("ADBC version {version}: this driver is one of 1.1.0"))),
    };
    if let Some(refusal) = refusal {
        let status = refusal.status.into();
        // SAFETY: the caller's promise.
        unsafe { adbc_ffi::export_error(out, refusal) };
        return status;
    }
    let mut table = Driver::ffi_driver();
    table.ErrorFromArrayStream = Some(error_from_array_stream);
    table.StatementBind = Some(statement_bind);
    table.StatementBindStream = Some(statement_bind_stream);
    table.StatementExecuteQuery = Some(statement_execute_query);
    table.ConnectionReadPartition = Some(connection_read_partition);
    table.ConnectionGetOption = Some(connection_get_option);
    table.ConnectionGetOptionBytes = Some(connection_get_option_bytes);
    table.DatabaseGetOption = Some(database_get_option);
    table.DatabaseGetOptionBytes = Some(database_get_option_bytes);
    // SAFETY: the pointer is not null, and the caller says what it points to; there is nothing in it to drop.
    unsafe { ptr::write_unaligned(driver.cast::<FFI_AdbcDriver>(), table) };
    ADBC_STATUS_OK
}

/// Checks a batch before the exporter takes it.
unsafe extern "C" fn statement_bind(
    statement: *mut FFI_AdbcStatement,
    values: *mut FFI_ArrowArray,
    schema: *mut FFI_ArrowSchema,
    error: *mut FFI_AdbcError,
) -> AdbcStatusCode {
    let table = Driver::ffi_driver();
    let Some(bind) = table.StatementBind else { return ADBC_STATUS_INTERNAL };
    if statement.is_null() || values.is_null() || schema.is_null() {
        // SAFETY: nulls are what it refuses.
        return unsafe { bind(statement, values, schema, error) };
    }
    // SAFETY: the host's promise.
    match unsafe { checked_batch(values, schema) } {
        // SAFETY: as above; the exporter takes the batch.
        Ok(mut batch) => unsafe { bind(statement, &raw mut batch, schema, error) },
        // SAFETY: as above.
        Err(refusal) => unsafe { refused(refusal, error) },
    }
}

/// The same for a stream, of which each batch is checked as it is read.
unsafe extern "C" fn statement_bind_stream(
    statement: *mut FFI_AdbcStatement,
    stream: *mut FFI_ArrowArrayStream,
    error: *mut FFI_AdbcError,
) -> AdbcStatusCode {
    let table = Driver::ffi_driver();
    let Some(bind) = table.StatementBindStream else { return ADBC_STATUS_INTERNAL };
    if statement.is_null() || stream.is_null() {
        // SAFETY: nulls are what it refuses.
        return unsafe { bind(statement, stream, error) };
    }
    // SAFETY: the host's promise.
    match unsafe { checked_stream(stream) } {
        // SAFETY: as above; the exporter takes the stream.
        Ok(mut stream) => unsafe { bind(statement, &raw mut stream, error) },
        // SAFETY: as above.
        Err(refusal) => unsafe { refused(refusal, error) },
    }
}

/// # Safety
/// `out` is null or points to an error.
unsafe fn refused(refusal: adbc_core::error::Error, out: *mut FFI_AdbcError) -> AdbcStatusCode {
    let status = refusal.status.into();
    // SAFETY: the caller's promise.
    unsafe { adbc_ffi::export_error(out, refusal) };
    status
}

/// A stream that remembers why it failed.
struct Remembering {
    inner: FFI_ArrowArrayStream,
    error: Option<(AdbcStatusCode, Box<FFI_AdbcError>)>,
}

/// Calls the exporter's function and wraps the stream that it makes.
unsafe extern "C" fn statement_execute_query(
    statement: *mut FFI_AdbcStatement,
    out: *mut FFI_ArrowArrayStream,
    rows_affected: *mut i64,
    error: *mut FFI_AdbcError,
) -> AdbcStatusCode {
    let table = Driver::ffi_driver();
    let Some(execute) = table.StatementExecuteQuery else { return ADBC_STATUS_INTERNAL };
    // SAFETY: the caller's promises are those of the function.
    let status = unsafe { execute(statement, out, rows_affected, error) };
    if status == ADBC_STATUS_OK && !out.is_null() {
        // SAFETY: after a success there is a stream.
        unsafe { remember(out) };
    }
    status
}

/// The same for the rows of a partition.
unsafe extern "C" fn connection_read_partition(
    connection: *mut FFI_AdbcConnection,
    partition: *const u8,
    length: usize,
    out: *mut FFI_ArrowArrayStream,
    error: *mut FFI_AdbcError,
) -> AdbcStatusCode {
    let table = Driver::ffi_driver();
    let Some(read) = table.ConnectionReadPartition else { return ADBC_STATUS_INTERNAL };
    // SAFETY: the caller's promises are those of the function.
    let status = unsafe { read(connection, partition, length, out, error) };
    if status == ADBC_STATUS_OK && !out.is_null() {
        // SAFETY: after a success there is a stream.
        unsafe { remember(out) };
    }
    status
}

/// # Safety
/// `out` points to a stream, which nobody has taken yet.
unsafe fn remember(out: *mut FFI_ArrowArrayStream) {
    // SAFETY: it is read once and written over below.
    let inner = unsafe { ptr::read_unaligned(out) };
    let wrapper = Box::new(Remembering { inner, error: None });
    let outer = FFI_ArrowArrayStream {
        get_schema: Some(get_schema),
        get_next: Some(get_next),
        get_last_error: Some(get_last_error),
        release: Some(release),
        private_data: Box::into_raw(wrapper).cast(),
    };
    // SAFETY: the caller's promise.
    unsafe { ptr::write_unaligned(out, outer) };
}

/// # Safety
/// `stream` is null, released, or one that [`remember`] made and that no other thread uses now.
unsafe fn remembering<'a>(stream: *mut FFI_ArrowArrayStream) -> Option<&'a mut Remembering> {
    // SAFETY: the caller's promise.
    unsafe { stream.as_mut()?.private_data.cast::<Remembering>().as_mut() }
}

const EINVAL: c_int = 22;

unsafe extern "C" fn get_schema(stream: *mut FFI_ArrowArrayStream, out: *mut FFI_ArrowSchema) -> c_int {
    // SAFETY: the host calls it with a stream of ours.
    let Some(wrapper) = (unsafe { remembering(stream) }) else { return EINVAL };
    let inner = &raw mut wrapper.inner;
    // SAFETY: the stream inside is alive as long as its wrapper.
    wrapper.inner.get_schema.map_or(EINVAL, |get_schema| unsafe { get_schema(inner, out) })
}

unsafe extern "C" fn get_next(stream: *mut FFI_ArrowArrayStream, out: *mut FFI_ArrowArray) -> c_int {
    // SAFETY: the host calls it with a stream of ours.
    let Some(wrapper) = (unsafe { remembering(stream) }) else { return EINVAL };
    // What another stream in this thread has left.
    drop(take_last_error());
    let inner = &raw mut wrapper.inner;
    // SAFETY: the stream inside is alive as long as its wrapper.
    let code = wrapper.inner.get_next.map_or(EINVAL, |get_next| unsafe { get_next(inner, out) });
    if code != 0
        && let Some(failure) = take_last_error()
    {
        let status = failure.status.into();
        let mut exported = Box::new(FFI_AdbcError::default());
        // SAFETY: it is a new error, of which details may be asked.
        unsafe { adbc_ffi::export_error(&raw mut *exported, failure) };
        wrapper.error = Some((status, exported));
    }
    code
}

unsafe extern "C" fn get_last_error(stream: *mut FFI_ArrowArrayStream) -> *const c_char {
    // SAFETY: the host calls it with a stream of ours.
    let Some(wrapper) = (unsafe { remembering(stream) }) else { return ptr::null() };
    let inner = &raw mut wrapper.inner;
    // SAFETY: the stream inside is alive as long as its wrapper.
    wrapper.inner.get_last_error.map_or(ptr::null(), |last_error| unsafe { last_error(inner) })
}

unsafe extern "C" fn release(stream: *mut FFI_ArrowArrayStream) {
    // SAFETY: the host calls it with a stream of ours.
    let Some(stream) = (unsafe { stream.as_mut() }) else { return };
    stream.release = None;
    let wrapper = std::mem::replace(&mut stream.private_data, ptr::null_mut()).cast::<Remembering>();
    if !wrapper.is_null() {
        // SAFETY: it was made by `Box::into_raw`, and nobody else takes it. Dropping it releases the stream inside.
        let wrapper = unsafe { Box::from_raw(wrapper) };
        // Nothing may unwind into the host; what a panic leaves is the host's memory to lose.
        let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(wrapper)));
    }
}

unsafe extern "C" fn error_from_array_stream(
    stream: *mut FFI_ArrowArrayStream,
    status: *mut AdbcStatusCode,
) -> *const FFI_AdbcError {
    // SAFETY: the host calls it with a stream; only ours has our functions.
    let is_ours = unsafe { stream.as_ref() }.is_some_and(|stream| {
        stream.release.is_some_and(|function| ptr::fn_addr_eq(function, release as unsafe extern "C" fn(_)))
    });
    // SAFETY: it is ours.
    let wrapper = if is_ours { unsafe { remembering(stream) } } else { None };
    match wrapper.and_then(|wrapper| wrapper.error.as_ref()) {
        Some((code, error)) => {
            if !status.is_null() {
                // SAFETY: the host says that it points to a status.
                unsafe { ptr::write_unaligned(status, *code) };
            }
            &raw const **error
        }
        None => ptr::null(),
    }
}

/// Tells whether the option may be read; where not, `error` says so. Before a database is open, the exporter would give back
/// whatever was set.
///
/// # Safety
/// `key` is null or a C string; `error` is null or points to an error.
unsafe fn may_read(key: *const c_char, out: *mut FFI_AdbcError) -> Result<(), AdbcStatusCode> {
    if key.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(key) }.to_string_lossy();
    if !is_secret(&name) {
        return Ok(());
    }
    let refusal = error(Status::Unauthorized, format!("`{name}` is a secret, which is not told"));
    let status = refusal.status.into();
    // SAFETY: the caller's promise.
    unsafe { adbc_ffi::export_error(out, refusal) };
    Err(status)
}

/// Has `get` tell the value of an option and hands it to the host: of an address without what is secret in it.
///
/// # Safety
/// `key` is null or a C string; `value` points to `length` bytes, and `length` and `error` to what they say, or are null.
unsafe fn get_told(
    key: *const c_char,
    value: *mut u8,
    length: *mut usize,
    error: *mut FFI_AdbcError,
    terminator: usize,
    get: impl Fn(*mut u8, *mut usize) -> AdbcStatusCode,
) -> AdbcStatusCode {
    // SAFETY: the caller's promise.
    if let Err(status) = unsafe { may_read(key, error) } {
        return status;
    }
    if key.is_null() || value.is_null() || length.is_null() {
        return get(value, length);
    }
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(key) }.to_string_lossy();
    if !is_address(&name) {
        return get(value, length);
    }
    let (mut raw, mut needed) = (vec![0; 1024], 1024);
    loop {
        let status = get(raw.as_mut_ptr(), &raw mut needed);
        if status != ADBC_STATUS_OK {
            return status;
        }
        if needed <= raw.len() {
            break;
        }
        raw.resize(needed, 0);
    }
    raw.truncate(needed.saturating_sub(terminator));
    let mut told = told_address(&name, &String::from_utf8_lossy(&raw)).into_bytes();
    told.resize(told.len() + terminator, 0);
    // SAFETY: the caller's promise: there is room for as much as the host says.
    unsafe {
        if told.len() <= ptr::read_unaligned(length) {
            ptr::copy_nonoverlapping(told.as_ptr(), value, told.len());
        }
        ptr::write_unaligned(length, told.len());
    }
    ADBC_STATUS_OK
}

unsafe extern "C" fn database_get_option(
    database: *mut FFI_AdbcDatabase,
    key: *const c_char,
    value: *mut c_char,
    length: *mut usize,
    error: *mut FFI_AdbcError,
) -> AdbcStatusCode {
    let Some(get) = Driver::ffi_driver().DatabaseGetOption else { return ADBC_STATUS_INTERNAL };
    // SAFETY: the caller's promises are those of the function.
    let get = |value: *mut u8, length| unsafe { get(database, key, value.cast(), length, error) };
    // SAFETY: as above.
    unsafe { get_told(key, value.cast(), length, error, 1, get) }
}

unsafe extern "C" fn database_get_option_bytes(
    database: *mut FFI_AdbcDatabase,
    key: *const c_char,
    value: *mut u8,
    length: *mut usize,
    error: *mut FFI_AdbcError,
) -> AdbcStatusCode {
    let Some(get) = Driver::ffi_driver().DatabaseGetOptionBytes else { return ADBC_STATUS_INTERNAL };
    // SAFETY: the caller's promises are those of the function.
    let get = |value, length| unsafe { get(database, key, value, length, error) };
    // SAFETY: as above.
    unsafe { get_told(key, value, length, error, 0, get) }
}

unsafe extern "C" fn connection_get_option(
    connection: *mut FFI_AdbcConnection,
    key: *const c_char,
    value: *mut c_char,
    length: *mut usize,
    error: *mut FFI_AdbcError,
) -> AdbcStatusCode {
    let Some(get) = Driver::ffi_driver().ConnectionGetOption else { return ADBC_STATUS_INTERNAL };
    // SAFETY: the caller's promises are those of the function.
    let get = |value: *mut u8, length| unsafe { get(connection, key, value.cast(), length, error) };
    // SAFETY: as above.
    unsafe { get_told(key, value.cast(), length, error, 1, get) }
}

unsafe extern "C" fn connection_get_option_bytes(
    connection: *mut FFI_AdbcConnection,
    key: *const c_char,
    value: *mut u8,
    length: *mut usize,
    error: *mut FFI_AdbcError,
) -> AdbcStatusCode {
    let Some(get) = Driver::ffi_driver().ConnectionGetOptionBytes else { return ADBC_STATUS_INTERNAL };
    // SAFETY: the caller's promises are those of the function.
    let get = |value, length| unsafe { get(connection, key, value, length, error) };
    // SAFETY: as above.
    unsafe { get_told(key, value, length, error, 0, get) }
}
