//! A local Databricks SQL warehouse.
//!
//! [`LocalServer`] speaks the Statement Execution API and serves presigned result files, each on a port of its own on
//! loopback, well enough that official clients use it unmodified. The SQL is run by an [`Engine`]: [`CannedEngine`]
//! for tests, anything else for real queries. [`Switches`] change the shapes of the answers while the server runs,
//! [`FaultRule`]s disturb chosen requests, and [`LocalServer::requests`] tells what a client has sent.
//!
//! It is made for tests, benches and work without a workspace. It is not a server to expose to a network.

mod answer;
mod api;
mod arrow_body;
mod bearer;
mod canned;
mod certificate;
mod chunk_encoder;
mod chunking;
mod clock;
mod conform;
mod delivery;
mod engine;
mod exchange;
mod faults;
mod identity;
mod interval;
mod json_rows;
mod options;
mod request_log;
mod result;
mod result_cache;
mod route;
mod server;
mod session;
pub mod settings;
mod spark_type;
mod statement;
mod store;
mod submission;
mod switches;
mod tls;
mod type_reader;
mod type_text;
mod volumes;
mod warehouse;
mod wire;

pub use canned::{CannedEngine, OpenedSession};
pub use engine::{
    Engine, EngineColumn, EngineOutput, EngineStatement, SqlError, StatementParameter, VolumeAction, VolumeTransfer,
};
pub use faults::{Fault, FaultRule, NumberOrText, Operation, Times};
pub use identity::{
    AzureOptions, FOREIGN_ISSUER, ForeignIssuer, IdentityClient, IdentityOptions, ManagedIdentity, PublicKey,
    RegisteredKey,
};
pub use options::{OauthClient, ServerOptions};
pub use request_log::{Origin, RequestRecord};
pub use server::LocalServer;
pub use settings::SettingsError;
pub use switches::{
    Announced, ByteCount, Cloud, EmptyResult, ExpiresIn, LinkCount, Lz4Framing, ManifestChunks, NextChunkIndex,
    OauthCallback, OauthTokenFormat, SqlStatePlace, Switches, VolumeHeaders, WarehouseState,
};
pub use tls::{ServerCertificate, TlsOptions, TlsVersions};
pub use type_reader::TypeReader;
pub use warehouse::Counters;
