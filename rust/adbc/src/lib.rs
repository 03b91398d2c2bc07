//! An ADBC 1.1 driver for Databricks SQL warehouses: the kernel's sessions, statements and results behind the C interface
//! of Arrow Database Connectivity.
//!
//! Hosts load the shared library and call one of its entry points, `SeaKernelDriverInit` or `AdbcDriverInit`. In Rust,
//! [`Driver`] is what `adbc_core` calls one. Calls block; what waits for the network does so in I/O threads of the driver's
//! own, and a cancel from another thread ends the wait.

mod bound;
mod cancellation;
mod connection;
mod database;
#[expect(unsafe_code, reason = "the C interface")]
mod entry;
mod error;
#[expect(unsafe_code, reason = "the C data interface")]
mod host_rows;
mod info;
mod ingest;
mod objects;
mod options;
mod reader;
#[expect(unsafe_code, reason = "a pointer that threads share without a lock, for forks")]
mod runtime;
mod sql_name;
mod statement;
// As in the extension modules, which this crate is none of.
#[path = "../../python/src/struct_slices.rs"]
mod struct_slices;
mod value;

pub use connection::Connection;
pub use database::{Database, Driver};
pub use entry::{AdbcDriverInit, SeaKernelDriverInit};
pub use statement::Statement;
