//! What a server is started with, and what can be changed while it runs.

use std::fmt;

use seakernel_local::settings::{self, SettingsError};
use serde::de::{Error as _, IntoDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

use crate::faults::FaultRule;

/// What a server is started with; as JSON, an object of the field names, every one optional.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerOptions {
    /// Port of gRPC on 127.0.0.1. Default 0: a free one.
    pub port: u16,
    /// Port of tokens and control on 127.0.0.1. Default 0: a free one.
    pub http_port: u16,
    /// The client that gets tokens. Default made up.
    pub client_id: String,
    /// Its secret. Default made up.
    pub client_secret: String,
    /// The workspace that tokens must be asked for. Default any: clients take the first label of the host for it.
    pub workspace_id: Option<String>,
    /// Speaks TLS on both ports. Default not.
    pub tls: Option<TlsIdentity>,
    /// Bytes that a client may send ahead on a stream. Default 4 MiB.
    pub stream_window: u32,
    /// Bytes that a client may send ahead on a connection. Default 16 MiB.
    pub connection_window: u32,
    /// The longest message that is read at all. Default 16 MiB.
    pub decoded_bytes: usize,
    /// What can be changed later.
    pub settings: Settings,
    /// Faults to start with.
    pub faults: Vec<FaultRule>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        let [id, secret]: [u128; 2] = rand::random();
        Self {
            port: 0,
            http_port: 0,
            client_id: format!("local-client-{:08x}", id as u32),
            client_secret: format!("local-secret-{secret:032x}"),
            workspace_id: None,
            tls: None,
            stream_window: 4 << 20,
            connection_window: 16 << 20,
            decoded_bytes: 16 << 20,
            settings: Settings::default(),
            faults: Vec::new(),
        }
    }
}

impl ServerOptions {
    /// Reads options from a JSON object.
    ///
    /// # Errors
    /// An unknown key or a wrong value, named by its place.
    pub fn from_json(json: &str) -> Result<Self, SettingsError> {
        settings::parse_object(json)
    }
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ServerOptions").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// A certificate and its key, in PEM.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsIdentity {
    /// The chain, the server's own first.
    pub certificate_pem: String,
    /// The key.
    pub key_pem: String,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

/// What can be changed while the server runs; as JSON, an object of the field names, every one optional.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Milliseconds until a message is durable. Default 0.
    #[serde(deserialize_with = "span")]
    pub ack_delay_ms: u64,
    /// Milliseconds, at most, that chance adds to each delay. Default 0.
    #[serde(deserialize_with = "span")]
    pub ack_delay_spread_ms: u64,
    /// Milliseconds between two acknowledgements of a stream. Default 5.
    #[serde(deserialize_with = "span")]
    pub ack_interval_ms: u64,
    /// Whether messages stored are acknowledged before a bad record ends the stream. Default true.
    pub acks_before_refusal: bool,
    /// Seconds that a token lives. Default 3600.
    #[serde(deserialize_with = "span")]
    pub token_life_s: u64,
    /// Bytes of records that one message may have. Default 10 MiB.
    pub message_bytes: usize,
    /// Whether records are decoded and checked. Default true; without, and without tables elsewhere, a server in front of a
    /// stopwatch costs little.
    pub check_records: bool,
    /// Whether rows are kept to look at, or only counted. Default true; at 4 GiB messages are refused with
    /// `RESOURCE_EXHAUSTED`.
    pub keep_rows: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ack_delay_ms: 0,
            ack_delay_spread_ms: 0,
            ack_interval_ms: 5,
            acks_before_refusal: true,
            token_life_s: 3600,
            message_bytes: 10 << 20,
            check_records: true,
            keep_rows: true,
        }
    }
}

/// The most milliseconds, or seconds, of anything: points in time are reckoned with them.
pub(crate) const LONGEST: u64 = 0xffff_ffff;

/// Reads a number of milliseconds or seconds.
pub(crate) fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let span = u64::deserialize(deserializer)?;
    if span > LONGEST {
        return Err(D::Error::custom(format_args!("{span} is too long; at most {LONGEST} are accepted")));
    }
    Ok(span)
}

/// Reads one that may be null.
pub(crate) fn some_span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let span = Option::<u64>::deserialize(deserializer)?;
    span.map(|span| self::span(span.into_deserializer())).transpose()
}

impl Settings {
    /// Reads settings from a JSON object.
    ///
    /// # Errors
    /// An unknown key or a wrong value, named by its place.
    pub fn from_json(json: &str) -> Result<Self, SettingsError> {
        settings::parse_object(json)
    }
}
