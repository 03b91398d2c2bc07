//! A look-alike of the Zerobus service on loopback: gRPC, tokens, a store to look into, scripted faults.
//!
//! [`ZerobusServer`] takes streams of Protobuf records, and of batches by Arrow Flight, as the service does, well enough that
//! official clients use it unmodified, checks each record against the stream's descriptor and the table, and tells what came.
//! [`FaultRule`]s
//! disturb what is chosen, [`Settings`] change how it behaves while it runs, [`Tables`] are where rows can go. The same
//! can be had over HTTP, at [`ZerobusServer::unity_catalog_url`], as JSON: `POST /control/tables`, `PUT /control/faults`,
//! `PUT /control/settings`, `POST /control/reset`, `GET /control/log`, and of a `?table=` `GET /control/rows`,
//! `/control/count` and `/control/keys&column=`.
//!
//! It is made for tests, benches and work without a workspace. It is not a server to expose to a network.
//!
//! ```
//! use seakernel_zerobus_local::{Code, Column, Fault, FaultRule, Operation, ServerOptions, ZerobusServer};
//!
//! let server = ZerobusServer::start(ServerOptions::default())?;
//! server.create_table("main.default.events", &[Column::new("id", "BIGINT").not_null(), Column::new("text", "STRING")])?;
//! server.set_faults(FaultRule::list_from_json(r#"[{"on": "open", "do": {"status": {"code": "UNAVAILABLE"}}}]"#)?);
//! // A client connects to `server.endpoint()`, with tokens from `server.unity_catalog_url()` ...
//! assert_eq!(server.row_count("main.default.events"), 0);
//! assert!(server.log().violations.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod acks;
mod batch;
mod connection;
mod faults;
mod flight;
#[cfg(fuzzing)]
pub mod fuzzing;
mod grpc;
mod http;
mod json;
mod log;
mod options;
mod plan;
mod record;
mod server;
mod service;
mod store;
mod stream;
mod tokens;
mod uc_type;
mod wire;

pub use faults::{Break, Fault, FaultRule, Holding, Operation};
pub use grpc::{Code, ErrorInfo};
pub use log::{Log, StreamLog};
pub use options::{ServerOptions, Settings, TlsIdentity};
pub use seakernel_local::Times;
pub use seakernel_local::settings::SettingsError;
pub use server::ZerobusServer;
pub use store::{Column, StoredRow, Tables};
