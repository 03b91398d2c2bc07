//! Options of a session; every default says why it is what it is.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::auth::{Credentials, Secret};
use crate::error::{Error, ErrorKind, Result};
use crate::proxy::ProxyConfig;
use crate::sign_in::SignIns;

/// Where and how a [`crate::Session`] is opened.
///
/// The fields may be set freely after [`SessionConfig::new`] has checked host and path.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    pub(crate) host: Url,
    pub(crate) warehouse_id: String,
    pub(crate) organization_id: Option<String>,
    pub(crate) credentials: Credentials,
    /// Where the tokens of this session are shared with others. Default: with none; give all sessions of a process a clone of
    /// one, made after a fork.
    pub sign_ins: SignIns,
    /// Initial catalog; the warehouse's default when absent.
    pub catalog: Option<String>,
    /// Initial schema; the warehouse's default when absent.
    pub schema: Option<String>,
    /// Session parameters such as `ANSI_MODE` or `TIMEZONE`, sent as given.
    pub session_configuration: BTreeMap<String, String>,
    /// Appended to the user agent in parentheses, so that the warehouse's query history names the application.
    pub user_agent_entry: Option<String>,
    /// How results are fetched.
    pub results: ResultConfig,
    /// How requests are repeated.
    pub retry: RetryConfig,
    /// What requests to the API carry, and how long they may take.
    pub requests: RequestConfig,
    /// Whom we trust, and how we identify ourselves.
    pub tls: TlsConfig,
    /// Which proxy requests go through. Default that of the environment.
    pub proxy: ProxyConfig,
    /// Time to establish a connection, TLS included. Default 30 s.
    pub connect_timeout: Duration,
    /// Longest silence while an answer is read. Default 900 s: a status call may be held by the server for seconds, and
    /// a statement call without `wait_timeout` returns when the statement is done.
    pub read_timeout: Duration,
}

/// How results are fetched.
#[derive(Clone, Debug)]
pub struct ResultConfig {
    /// Bytes of chunks (compressed, being decoded, decoded and not yet taken) held at once. Default 256 MiB. One chunk
    /// larger than this is still let through, alone.
    pub memory_budget: usize,
    /// Downloads under way at once. Default 32: where one connection brings 50 MB/s, twice the connections brought the rows
    /// in 0.7 of the time (`floor-8` and `floor-16` in `benches/results`); what the memory budget has no room for waits.
    pub max_concurrent_downloads: usize,
    /// Asks for LZ4. Default true: it about halves the fetch time over a network. The manifest says what was done.
    pub compression: bool,
    /// Longest silence of a storage host during a download before the attempt is given up. Default 30 s; there is no
    /// limit on the whole body, for slow links are not failures.
    pub download_idle_timeout: Duration,
    /// Largest decoded chunk accepted. Default 2 GiB: a hostile body must not fill the memory.
    pub max_chunk_bytes: usize,
    /// Whether links may name private, link-local or loopback addresses: a server of the open network that does so would
    /// make us talk to an inner one. Default `None`: where the session's host is such an address itself, for its user has
    /// named it. Names that resolve to private addresses are fine: that is how private links to storage work.
    pub private_storage_addresses: Option<bool>,
    /// How ARRAY, MAP and STRUCT columns are handed over: as Arrow's nested types, or as JSON text. Default native.
    pub complex_types: ValueForm,
    /// How interval columns are handed over: as months and durations, or as text such as `2-6` and
    /// `1 02:00:03.500000000`. Intervals within nested columns stay as they are. Default native.
    pub intervals: ValueForm,
    /// How GEOMETRY and GEOGRAPHY values are handed over, also those within nested columns: as
    /// `struct<srid: int32, wkb: binary>`, or as EWKT text. Default text, which is how warehouses send them.
    pub geospatial: ValueForm,
    /// How columns of untyped NULLs are handed over: as Arrow's null type, or as text. Default native.
    pub void: ValueForm,
    /// Whether results may come as files of a storage host. Default [`CloudFetch::Auto`].
    pub cloud_fetch: CloudFetch,
}

/// Whether results may come as files of a storage host.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CloudFetch {
    /// As long as a storage host can be reached. Where none was reached yet and the first one cannot be, in two attempts of at
    /// most five seconds each, its statement fails with [`ErrorKind::Network`] or [`ErrorKind::Timeout`], for it has run and
    /// may not be sent again; from then on the session does as with [`CloudFetch::Off`]. So do others of this process on the
    /// same warehouse and through the same proxy that are opened within ten minutes, unless storage has answered one of them
    /// meanwhile. Each warns once.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never: everything comes inside the answers, as JSON, and the server fails statements with more than 25 MiB of result.
    Off,
}

/// The form in which values of some SQL types are handed over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ValueForm {
    /// Typed.
    Native,
    /// As text.
    Text,
}

impl Default for ResultConfig {
    fn default() -> Self {
        Self {
            memory_budget: 256 << 20,
            max_concurrent_downloads: 32,
            compression: true,
            download_idle_timeout: Duration::from_secs(30),
            max_chunk_bytes: 2 << 30,
            private_storage_addresses: None,
            complex_types: ValueForm::Native,
            intervals: ValueForm::Native,
            geospatial: ValueForm::Text,
            void: ValueForm::Native,
            cloud_fetch: CloudFetch::Auto,
        }
    }
}

/// How requests are repeated; what may be repeated at all is fixed per request class.
///
/// Beside these limits of one request, all requests of a session to one host share a retry budget: 40 retries, of which
/// five successes bring one back, as does a retry that succeeds. A host that fails everything thus costs few requests
/// more than it would without retries; an error says so where the budget was empty, and may be tried again later.
#[derive(Clone, Debug)]
pub struct RetryConfig {
    /// Total attempts of one request. Default 6. They are counted afresh after an attempt that has added 64 KiB or more to a
    /// download: a file that comes in pieces arrives, within [`RetryConfig::max_elapsed`].
    pub max_attempts: u32,
    /// First backoff. Default 1 s.
    pub min_wait: Duration,
    /// Longest backoff; a longer `Retry-After` is honoured up to [`RetryConfig::max_elapsed`]. Default 60 s.
    pub max_wait: Duration,
    /// Total time of one request with all its attempts and waits. Default 900 s, the platform's own drivers' value.
    pub max_elapsed: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_attempts: 6,
            min_wait: Duration::from_secs(1),
            max_wait: Duration::from_secs(60),
            max_elapsed: Duration::from_secs(900),
        }
    }
}

/// What requests to the API carry, and how long they may take. Nothing of it concerns storage hosts.
#[derive(Clone, Debug)]
pub struct RequestConfig {
    /// Further headers. A `User-Agent` replaces ours; headers that the protocol itself sets are left out with a warning.
    pub headers: Vec<(String, Secret)>,
    /// Longest time of one attempt, from the connection to the last byte of the answer. Default none:
    /// [`SessionConfig::read_timeout`] bounds silence, and a statement's answer may take long.
    pub timeout: Option<Duration>,
    /// Idle connections kept per host. Default 64.
    pub max_idle_connections: usize,
}

impl Default for RequestConfig {
    fn default() -> Self {
        Self { headers: Vec::new(), timeout: None, max_idle_connections: 64 }
    }
}

/// Whom we trust, and how we identify ourselves. The platform's own trust store is always used as well, and so are the
/// authorities that `SSL_CERT_FILE`, `SSL_CERT_DIR`, `REQUESTS_CA_BUNDLE` and `CURL_CA_BUNDLE` name.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsConfig {
    /// Further certificate authorities in PEM, for the API and for storage hosts: a proxy that re-signs does so for both.
    pub ca_certificates_pem: Option<Vec<u8>>,
    /// A file of such authorities, read when the session is opened.
    pub ca_certificates_file: Option<PathBuf>,
    /// Our certificate, with its chain, in PEM; shown to the workspace only, where a token is asked for, too.
    pub client_certificate_pem: Option<Vec<u8>>,
    /// The key of [`TlsConfig::client_certificate_pem`].
    pub client_key_pem: Option<Secret>,
    /// The passphrase of the key, where that is encrypted (PKCS#8).
    pub client_key_passphrase: Option<Secret>,
    /// Default true. False accepts any certificate: whoever is on the way can read the token.
    pub verify_certificates: bool,
    /// Default true. False accepts a trusted certificate of any other host.
    pub verify_hostnames: bool,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            ca_certificates_pem: None,
            ca_certificates_file: None,
            client_certificate_pem: None,
            client_key_pem: None,
            client_key_passphrase: None,
            verify_certificates: true,
            verify_hostnames: true,
        }
    }
}

impl SessionConfig {
    /// Checks `server_hostname` and `http_path` and returns the configuration with every default.
    ///
    /// `server_hostname` is a host with an optional port, or a URL of it; a bare host means `https`. Plain `http` is
    /// accepted for loopback addresses only, for it would show the token to the network. `http_path` is
    /// `/sql/1.0/warehouses/{id}` or `/sql/1.0/endpoints/{id}`, with an optional `?o={workspace id}`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] says which of the two is wrong and what is accepted.
    pub fn new(server_hostname: &str, http_path: &str, credentials: Credentials) -> Result<Self> {
        let host = parse_host(server_hostname)?;
        let (warehouse_id, organization_id) = parse_http_path(http_path)?;
        Ok(Self {
            host,
            warehouse_id,
            organization_id,
            credentials,
            sign_ins: SignIns::default(),
            catalog: None,
            schema: None,
            session_configuration: BTreeMap::new(),
            user_agent_entry: None,
            results: ResultConfig::default(),
            retry: RetryConfig::default(),
            requests: RequestConfig::default(),
            tls: TlsConfig::default(),
            proxy: ProxyConfig::default(),
            connect_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(900),
        })
    }

    /// Tells whether links may name addresses of inner networks.
    pub(crate) fn allows_private_storage(&self) -> bool {
        self.results.private_storage_addresses.unwrap_or_else(|| is_internal(&self.host))
    }
}

/// Tells whether `url` names, by address or as `localhost`, a place that only an inner network reaches.
pub(crate) fn is_internal(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => is_internal_v4(address),
        Some(url::Host::Ipv6(address)) => {
            // Addresses of the older kind inside: mapped, compatible, and as translators write them.
            let inner = match address.segments() {
                [0, 0, 0, 0, 0, 0 | 0xFFFF, high, low] | [0x64, 0xFF9B, 0, 0, 0, 0, high, low] => {
                    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
                }
                _ => None,
            };
            address.is_loopback()
                || address.is_unspecified()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || inner.is_some_and(is_internal_v4)
        }
        // Every name below `localhost` is this machine (RFC 6761), with or without the dot of the root.
        Some(url::Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        None => false,
    }
}

fn is_internal_v4(address: Ipv4Addr) -> bool {
    // 100.64.0.0/10 is shared by carriers, and clouds use it for their own services.
    let is_shared = address.octets()[0] == 100 && address.octets()[1] & 0xC0 == 64;
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_unspecified()
        || address.is_broadcast()
        || is_shared
}

/// Tells whether `url` names this machine by a loopback address or `localhost`.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn parse_host(server_hostname: &str) -> Result<Url> {
    let invalid = |why: &str| {
        Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "server_hostname `{server_hostname}` {why}; expected a host such as `dbc-a1b2.cloud.databricks.com`"
            ),
        )
    };
    let trimmed = server_hostname.trim();
    let text = if trimmed.contains("://") { trimmed.to_owned() } else { format!("https://{trimmed}") };
    // The text may hold a password in its user part: say so without repeating it.
    let mut url = match Url::parse(&text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "server_hostname must not contain a user name or password; pass access_token instead",
            ));
        }
        Ok(url) => url,
        Err(error) => return Err(invalid("is not a host").with_source(error)),
    };
    if url.host().is_none() {
        return Err(invalid("names no host"));
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => return Err(invalid("would send the token unencrypted (http is for loopback addresses)")),
        _ => return Err(invalid("is not an https address")),
    }
    url.set_path("/");
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

fn parse_http_path(http_path: &str) -> Result<(String, Option<String>)> {
    let invalid = || {
        Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "http_path `{http_path}` is not the path of a SQL warehouse; expected `/sql/1.0/warehouses/{{id}}` \
                 (the \"HTTP path\" under the warehouse's connection details)"
            ),
        )
    };
    let (path, query) =
        http_path.trim().split_once('?').map_or((http_path.trim(), None), |(path, query)| (path, Some(query)));
    let path = path.trim_start_matches('/').trim_end_matches('/');
    let id = path
        .strip_prefix("sql/1.0/warehouses/")
        .or_else(|| path.strip_prefix("sql/1.0/endpoints/"))
        .filter(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'))
        .ok_or_else(invalid)?;
    let organization_id = query
        .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("o=")))
        .map(|id| if id.bytes().all(|b| b.is_ascii_digit()) { Ok(id.to_owned()) } else { Err(invalid()) })
        .transpose()?;
    Ok((id.to_owned(), organization_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (text, expected) in [
            ("dbc-1.cloud.databricks.com", "https://dbc-1.cloud.databricks.com/"),
            (" https://dbc-1.cloud.databricks.com/sql?o=1 ", "https://dbc-1.cloud.databricks.com/"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("http://[::1]:8080", "http://[::1]:8080/"),
            ("http://localhost:1", "http://localhost:1/"),
        ] {
            assert_eq!(parse_host(text).unwrap().as_str(), expected, "{text}");
        }
        for text in ["", "http://dbc-1.cloud.databricks.com", "ftp://host", "https://", "a b"] {
            assert_eq!(parse_host(text).unwrap_err().kind(), ErrorKind::InvalidArgument, "{text}");
        }
        let error = parse_host("https://token:dapi-secret@host").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("dapi-secret"));
    }

    #[test]
    fn http_paths() {
        let parsed = |path| parse_http_path(path).unwrap();
        assert_eq!(parsed("/sql/1.0/warehouses/a1b2"), ("a1b2".to_owned(), None));
        assert_eq!(parsed("sql/1.0/endpoints/a1b2/"), ("a1b2".to_owned(), None));
        assert_eq!(parsed("/sql/1.0/warehouses/a1b2?x=1&o=42"), ("a1b2".to_owned(), Some("42".to_owned())));
        for path in [
            "",
            "/sql/1.0/warehouses/",
            "/sql/protocolv1/o/1/0123-x",
            "/sql/1.0/warehouses/a/b",
            "/sql/1.0/warehouses/a?o=x",
        ] {
            assert_eq!(parse_http_path(path).unwrap_err().kind(), ErrorKind::InvalidArgument, "{path}");
        }
    }
}
