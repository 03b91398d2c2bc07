//! What is fixed when the server starts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use serde::Deserialize;

use crate::faults::FaultRule;
use crate::identity::IdentityOptions;
use crate::settings::{self, SettingsError};
use crate::spark_type::DEFAULT_ZONE;
use crate::switches::Switches;
use crate::tls::TlsOptions;

/// The options of a local warehouse, each with a default; as JSON, an object of the field names.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerOptions {
    /// The address both origins listen on. Default `127.0.0.1`: the server is meant for loopback.
    pub host: IpAddr,
    /// The port of the API; 0 (the default) lets the system choose. Storage always gets a port of its own.
    pub port: u16,
    /// The bearer token clients must send.
    pub access_token: String,
    /// The id of the one warehouse.
    pub warehouse_id: String,
    /// A client id and secret that `POST /oidc/v1/token` accepts.
    pub oauth_client: Option<OauthClient>,
    /// Whom the identity provider knows besides; without it and `oauth_client` it refuses everybody.
    pub oauth: Option<IdentityOptions>,
    /// TLS of both origins; by default they speak plain HTTP.
    pub tls: Option<TlsOptions>,
    /// Uncompressed bytes at which a chunk is cut. Default 20 MiB, as recorded.
    pub chunk_bytes: u64,
    /// Rows at which a chunk is cut, if sooner. Default: no limit.
    pub chunk_rows: Option<u64>,
    /// Most rows in one record batch of a chunk. Default 8192.
    pub batch_rows: usize,
    /// Largest body that the hybrid disposition puts into the answer. Default 5 MiB.
    pub inline_bytes: u64,
    /// Largest `INLINE` result; a larger one fails the statement. Default 25 MiB (documented).
    pub inline_limit_bytes: u64,
    /// The time zone label of `TIMESTAMP` columns in sessions that set none. Default `Etc/UTC`.
    pub time_zone: String,
    /// Statements that run at the same time; more wait as `PENDING`. Default 64.
    pub statement_threads: usize,
    /// Threads that compress the chunks of one large result. Default 2.
    pub encoder_threads: usize,
    /// Finished statements kept for clients that never close theirs. Default 1000.
    pub retained_statements: usize,
    /// Bytes of finished results kept; the oldest go first, the newest always stays. Default 4 GiB.
    pub retained_bytes: u64,
    /// The folder with the files of volumes, as `catalog/schema/volume/...`; without one there are none.
    pub volume_folder: Option<PathBuf>,
    /// Bytes of all files in it; an upload beyond them is refused. Default 16 GiB.
    pub volume_bytes: u64,
    /// Requests the log keeps; the oldest go first. Default 100000.
    pub logged_requests: usize,
    /// The switches to start with.
    pub switches: Switches,
    /// The faults to start with.
    pub faults: Vec<FaultRule>,
}

/// A service principal the token endpoint knows.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OauthClient {
    /// The client id.
    pub client_id: String,
    /// The client secret.
    pub client_secret: String,
}

impl ServerOptions {
    /// Reads options from a JSON object.
    ///
    /// # Errors
    /// An unknown key or a wrong value, named by its place.
    pub fn from_json(json: &str) -> Result<Self, SettingsError> {
        settings::parse_object(json)
    }

    /// `statement_threads` within what the server can do.
    pub(crate) fn running_limit(&self) -> u16 {
        u16::try_from(self.statement_threads.clamp(1, 1024)).unwrap_or(1024)
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            access_token: "local-access-token".to_owned(),
            warehouse_id: "5ea5ea5ea5ea5ea5".to_owned(),
            oauth_client: None,
            oauth: None,
            tls: None,
            chunk_bytes: 20 << 20,
            chunk_rows: None,
            batch_rows: 8192,
            inline_bytes: 5 << 20,
            inline_limit_bytes: 25 << 20,
            time_zone: DEFAULT_ZONE.to_owned(),
            statement_threads: 64,
            encoder_threads: 2,
            retained_statements: 1000,
            retained_bytes: 4 << 30,
            volume_folder: None,
            volume_bytes: 16 << 30,
            logged_requests: 100_000,
            switches: Switches::default(),
            faults: Vec::new(),
        }
    }
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServerOptions")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("warehouse_id", &self.warehouse_id)
            .field("switches", &self.switches)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OauthClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OauthClient").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}
