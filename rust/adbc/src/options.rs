//! Options by their names, which are those of the Databricks ADBC drivers in Go, C# and Rust.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::num::IntErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use adbc_core::error::{Error, Result, Status};
use adbc_core::options::OptionValue;
use seakernel::{CloudFetch, Credentials, Proxy, ProxyConfig, Secret, SessionConfig, SignIn, SignInMethod, SignIns};
use url::{Host, Url};

use crate::error::{error, from_kernel, not_implemented};

/// What an option is about, whichever of its names it is given by.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Key {
    Uri,
    Username,
    Password,
    Host,
    Port,
    HttpPath,
    WarehouseId,
    AccessToken,
    AuthType,
    GrantType,
    ClientId,
    ClientSecret,
    Scope,
    TokenUrl,
    Catalog,
    Schema,
    QueryTimeout,
    QueryTimeoutSeconds,
    MaxRows,
    RetryCount,
    Downloads,
    MemoryMegabytes,
    MemoryBytes,
    CloudFetch,
    Compression,
    SslMode,
    RootCertificate,
    TlsEnabled,
    AnyCertificate,
    SelfSigned,
    AnyHostname,
    ConnectTimeout,
    ReadTimeout,
    UseProxy,
    ProxyUrl,
    ProxyHost,
    ProxyPort,
    ProxyAuth,
    ProxyUsername,
    ProxyPassword,
    ProxyExceptions,
    UserAgentEntry,
    Transport,
    Protocol,
}

impl Key {
    /// Whether user and password can be in the value.
    fn is_address(self) -> bool {
        matches!(self, Self::Uri | Self::Host | Self::TokenUrl | Self::ProxyUrl | Self::ProxyHost)
    }

    fn is_secret(self) -> bool {
        matches!(self, Self::Password | Self::AccessToken | Self::ClientSecret | Self::ProxyPassword)
    }
}

/// Every name, and what it is about; the first name of a key is the one in messages.
const NAMES: [(&str, Key); 86] = [
    ("uri", Key::Uri),
    ("username", Key::Username),
    ("password", Key::Password),
    ("databricks.server_hostname", Key::Host),
    ("adbc.spark.host", Key::Host),
    ("databricks.port", Key::Port),
    ("adbc.spark.port", Key::Port),
    ("databricks.http_path", Key::HttpPath),
    ("adbc.spark.path", Key::HttpPath),
    ("databricks.warehouse_id", Key::WarehouseId),
    ("adbc.databricks.warehouse_id", Key::WarehouseId),
    ("databricks.access_token", Key::AccessToken),
    ("adbc.spark.token", Key::AccessToken),
    ("adbc.spark.oauth.access_token", Key::AccessToken),
    ("accessToken", Key::AccessToken),
    ("adbc.spark.auth_type", Key::AuthType),
    ("authType", Key::AuthType),
    ("adbc.databricks.oauth.grant_type", Key::GrantType),
    ("databricks.oauth.client_id", Key::ClientId),
    ("adbc.databricks.oauth.client_id", Key::ClientId),
    ("clientID", Key::ClientId),
    ("databricks.oauth.client_secret", Key::ClientSecret),
    ("adbc.databricks.oauth.client_secret", Key::ClientSecret),
    ("clientSecret", Key::ClientSecret),
    ("adbc.databricks.oauth.scope", Key::Scope),
    ("databricks.oauth.token_url", Key::TokenUrl),
    ("adbc.connection.catalog", Key::Catalog),
    ("databricks.catalog", Key::Catalog),
    ("catalog", Key::Catalog),
    ("adbc.connection.db_schema", Key::Schema),
    ("databricks.schema", Key::Schema),
    ("schema", Key::Schema),
    ("databricks.query.timeout", Key::QueryTimeout),
    ("adbc.apache.statement.query_timeout_s", Key::QueryTimeoutSeconds),
    ("timeout", Key::QueryTimeoutSeconds),
    ("databricks.query.max_rows", Key::MaxRows),
    ("databricks.query.retry_count", Key::RetryCount),
    ("databricks.http.max_retries", Key::RetryCount),
    ("databricks.download_thread_count", Key::Downloads),
    ("adbc.databricks.cloudfetch.parallel_downloads", Key::Downloads),
    ("databricks.cloudfetch.num_download_workers", Key::Downloads),
    ("maxDownloadThreads", Key::Downloads),
    ("adbc.databricks.cloudfetch.memory_buffer_size_mb", Key::MemoryMegabytes),
    ("databricks.results.memory_budget_bytes", Key::MemoryBytes),
    ("adbc.databricks.cloudfetch.enabled", Key::CloudFetch),
    ("databricks.cloudfetch.enabled", Key::CloudFetch),
    ("useCloudFetch", Key::CloudFetch),
    ("adbc.databricks.cloudfetch.lz4.enabled", Key::Compression),
    ("databricks.ssl_mode", Key::SslMode),
    ("databricks.ssl_root_cert", Key::RootCertificate),
    ("databricks.http.tls.trusted_certificate_path", Key::RootCertificate),
    ("adbc.http_options.tls.trusted_certificate_path", Key::RootCertificate),
    ("databricks.http.tls.enabled", Key::TlsEnabled),
    ("adbc.http_options.tls.enabled", Key::TlsEnabled),
    ("databricks.http.tls.disable_server_certificate_validation", Key::AnyCertificate),
    ("adbc.http_options.tls.disable_server_certificate_validation", Key::AnyCertificate),
    ("databricks.http.tls.allow_self_signed", Key::SelfSigned),
    ("adbc.http_options.tls.allow_self_signed", Key::SelfSigned),
    ("databricks.http.tls.allow_hostname_mismatch", Key::AnyHostname),
    ("adbc.http_options.tls.allow_hostname_mismatch", Key::AnyHostname),
    ("databricks.http.connect_timeout_ms", Key::ConnectTimeout),
    ("adbc.spark.connect_timeout_ms", Key::ConnectTimeout),
    ("databricks.http.read_timeout_ms", Key::ReadTimeout),
    ("adbc.proxy_options.use_proxy", Key::UseProxy),
    ("databricks.http.proxy.url", Key::ProxyUrl),
    ("adbc.proxy_options.proxy_host", Key::ProxyHost),
    ("adbc.proxy_options.proxy_port", Key::ProxyPort),
    ("adbc.proxy_options.proxy_auth", Key::ProxyAuth),
    ("databricks.http.proxy.username", Key::ProxyUsername),
    ("adbc.proxy_options.proxy_uid", Key::ProxyUsername),
    ("databricks.http.proxy.password", Key::ProxyPassword),
    ("adbc.proxy_options.proxy_pwd", Key::ProxyPassword),
    ("databricks.http.proxy.bypass_hosts", Key::ProxyExceptions),
    ("adbc.proxy_options.proxy_ignore_list", Key::ProxyExceptions),
    ("databricks.user_agent_entry", Key::UserAgentEntry),
    ("adbc.spark.user_agent_entry", Key::UserAgentEntry),
    ("userAgentEntry", Key::UserAgentEntry),
    ("adbc.spark.type", Key::Transport),
    ("adbc.databricks.protocol", Key::Protocol),
    ("server_hostname", Key::Host),
    ("http_path", Key::HttpPath),
    ("access_token", Key::AccessToken),
    ("client_id", Key::ClientId),
    ("client_secret", Key::ClientSecret),
    ("maxRows", Key::MaxRows),
    ("protocol", Key::Transport),
];

/// Options of which any one given takes the place of what the URI says of the same.
const GROUPS: [(&[Key], &[Key]); 6] = [
    (
        &[Key::AccessToken, Key::Password],
        &[Key::AccessToken, Key::Username, Key::Password, Key::ClientId, Key::ClientSecret],
    ),
    // One half of a client may be in the URI.
    (&[Key::ClientId, Key::ClientSecret], &[Key::AccessToken, Key::Username, Key::Password]),
    (&[Key::HttpPath, Key::WarehouseId], &[Key::HttpPath, Key::WarehouseId]),
    (&[Key::QueryTimeout, Key::QueryTimeoutSeconds], &[Key::QueryTimeout, Key::QueryTimeoutSeconds]),
    (&[Key::MemoryMegabytes, Key::MemoryBytes], &[Key::MemoryMegabytes, Key::MemoryBytes]),
    (&[Key::ProxyUrl, Key::ProxyHost], &[Key::ProxyUrl, Key::ProxyHost, Key::ProxyPort]),
];

/// Names that begin so are parameters of the session.
const SESSION_PARAMETER: &str = "adbc.databricks.ssp_";

/// Returns what the option `name` is about.
fn key(name: &str) -> Option<Key> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, key)| *key)
}

/// Tells whether the value of the option `name` is not to be told.
pub(crate) fn is_secret(name: &str) -> bool {
    key(name).is_some_and(Key::is_secret)
}

/// Tells whether user and password can be in the value of the option `name`.
pub(crate) fn is_address(name: &str) -> bool {
    key(name).is_some_and(Key::is_address)
}

/// Returns an address as it may be told; telling it again changes nothing.
pub(crate) fn told_address(name: &str, value: &str) -> String {
    key(name).map_or_else(String::new, |key| told(key, value))
}

fn told(key: Key, value: &str) -> String {
    match key {
        // What cannot be read was refused, or is of no use before it is.
        Key::Uri => without_secrets(value).unwrap_or_default(),
        key if key.is_address() => without_userinfo(value),
        _ => value.to_owned(),
    }
}

/// Options as they were given. Nothing prints them.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    values: BTreeMap<Key, String>,
    /// Parameters of the session.
    session: BTreeMap<String, String>,
}

impl Settings {
    /// Takes an option.
    ///
    /// # Errors
    /// `NOT_IMPLEMENTED` for a name that is not known, `INVALID_ARGUMENT` for a value that cannot be one.
    pub(crate) fn set(&mut self, name: &str, value: OptionValue) -> Result<()> {
        let text = text(name, value)?;
        if let Some(parameter) = name.strip_prefix(SESSION_PARAMETER) {
            self.session.insert(parameter.to_owned(), text);
            return Ok(());
        }
        let key = key(name).ok_or_else(|| unknown(name))?;
        if key == Key::Uri {
            // A mistake in it is told now.
            Self::of_uri(&text)?;
        }
        self.values.insert(key, text);
        Ok(())
    }

    /// Returns the value of an option, unless it is a secret.
    pub(crate) fn get(&self, name: &str) -> Result<String> {
        if let Some(parameter) = name.strip_prefix(SESSION_PARAMETER) {
            return self.session.get(parameter).cloned().ok_or_else(|| unset(name));
        }
        let key = key(name).ok_or_else(|| error(Status::NotFound, format!("there is no option `{name}`")))?;
        if key.is_secret() {
            return Err(error(Status::Unauthorized, format!("`{name}` is a secret, which is not told")));
        }
        let value = self.values.get(&key).ok_or_else(|| unset(name))?;
        Ok(told(key, value))
    }

    /// What the statements of a connection inherit.
    pub(crate) fn limits(&self) -> Result<Limits> {
        let all = self.complete()?;
        let mut limits = Limits::default();
        for (name, key) in [
            ("databricks.query.timeout", Key::QueryTimeout),
            ("adbc.apache.statement.query_timeout_s", Key::QueryTimeoutSeconds),
            ("databricks.query.max_rows", Key::MaxRows),
        ] {
            if let Some(value) = all.values.get(&key) {
                limits.set(name, value)?;
            }
        }
        Ok(limits)
    }

    /// Returns the options, with those of the URI beneath.
    fn complete(&self) -> Result<Self> {
        let Some(uri) = self.values.get(&Key::Uri) else { return Ok(self.clone()) };
        let mut all = Self::of_uri(uri)?;
        let is_given = |key: &Key| self.values.get(key).is_some_and(|value| !value.is_empty());
        for (given, beneath) in GROUPS {
            if given.iter().any(is_given) {
                all.values.retain(|key, _| !beneath.contains(key));
            }
        }
        all.values.extend(self.values.iter().map(|(key, value)| (*key, value.clone())));
        all.session.extend(self.session.iter().map(|(key, value)| (key.clone(), value.clone())));
        Ok(all)
    }

    /// Reads `databricks://token:...@host:port/path?name=value`; `https://` is accepted, too. Names that are none of ours are
    /// parameters of the session, as in the Go driver.
    fn of_uri(uri: &str) -> Result<Self> {
        // Nothing of it is repeated: it may hold the token, and be cut in the wrong place.
        let wrong = |what: &str| {
            let form =
                "databricks://token:<token>@<host>:<port>/sql/1.0/warehouses/<id>?catalog=<catalog>&schema=<schema>";
            error(Status::InvalidArguments, format!("`uri` {what}; expected `{form}`"))
        };
        let (scheme, rest) = uri.trim().split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        let is_plain = match scheme {
            "databricks" | "https" => false,
            "http" => true,
            _ => return Err(wrong("has another scheme than `databricks`")),
        };
        let url = Url::parse(&format!("https://{rest}")).map_err(|_| wrong("cannot be read"))?;
        let mut settings = Self::default();
        for (name, value) in url.query_pairs() {
            match key(&name) {
                Some(Key::Uri) => return Err(wrong("holds another one")),
                Some(key) => settings.values.insert(key, value.into_owned()),
                None => {
                    let name = name.strip_prefix(SESSION_PARAMETER).unwrap_or(&name);
                    settings.session.insert(name.to_owned(), value.into_owned())
                }
            };
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("names no host"))?;
        settings.values.insert(Key::Host, host.to_owned());
        if let Some(port) = url.port() {
            settings.values.insert(Key::Port, port.to_string());
        }
        if url.path().len() > 1 {
            settings.values.insert(Key::HttpPath, url.path().to_owned());
        }
        let decoded = |text: &str| percent_decoded(text).ok_or_else(|| wrong("holds what is no percent-encoded text"));
        match (url.username(), url.password()) {
            ("", None) => {}
            (user, Some(password)) => {
                settings.values.insert(Key::Username, decoded(user)?);
                settings.values.insert(Key::Password, decoded(password)?);
            }
            (token, None) => {
                settings.values.insert(Key::AccessToken, decoded(token)?);
            }
        }
        // What listens on this machine at a port of its own is a local warehouse or a proxy.
        let is_local = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if is_plain || (scheme == "databricks" && is_local && url.port().is_some()) {
            settings.values.entry(Key::TlsEnabled).or_insert_with(|| "false".to_owned());
        }
        Ok(settings)
    }

    /// Returns the session that the options describe.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for what is missing or wrong, `NOT_IMPLEMENTED` for what this driver does not do.
    pub(crate) fn session_config(&self, sign_ins: &SignIns) -> Result<SessionConfig> {
        let all = self.complete()?;
        let get = |key: Key| all.values.get(&key).map(String::as_str).filter(|text| !text.is_empty());
        all.check_transport()?;
        let host = get(Key::Host).ok_or_else(|| missing("the host: `uri` or `databricks.server_hostname`"))?;
        let path = match (get(Key::HttpPath), get(Key::WarehouseId)) {
            (Some(path), _) => path.to_owned(),
            (None, Some(id)) => format!("/sql/1.0/warehouses/{id}"),
            (None, None) => return Err(missing("the warehouse: a path in `uri`, or `databricks.http_path`")),
        };
        let port = get(Key::Port).map(|port| number::<u16>("databricks.port", port)).transpose()?;
        let host = match (host.contains("://"), port) {
            (true, _) => host.to_owned(),
            (false, port) => {
                let tls = get(Key::TlsEnabled).map(|value| truth("databricks.http.tls.enabled", value)).transpose()?;
                let scheme = if tls.unwrap_or(true) { "https" } else { "http" };
                format!("{scheme}://{host}{}", port.map_or_else(String::new, |port| format!(":{port}")))
            }
        };
        let mut config = SessionConfig::new(&host, &path, all.credentials()?).map_err(|cause| from_kernel(&cause))?;
        config.sign_ins = sign_ins.clone();
        config.catalog = get(Key::Catalog).map(str::to_owned);
        config.schema = get(Key::Schema).map(str::to_owned);
        config.session_configuration.clone_from(&all.session);
        config.user_agent_entry = Some(match get(Key::UserAgentEntry) {
            Some(entry) => format!("ADBC; {entry}"),
            None => "ADBC".to_owned(),
        });
        if let Some(count) = get(Key::RetryCount) {
            let retries: u32 = number("databricks.query.retry_count", count)?;
            config.retry.max_attempts = retries.saturating_add(1);
        }
        if let Some(count) = get(Key::Downloads) {
            config.results.max_concurrent_downloads = positive("databricks.download_thread_count", count)?;
        }
        if let Some(size) = get(Key::MemoryMegabytes) {
            let megabytes = positive("adbc.databricks.cloudfetch.memory_buffer_size_mb", size)?;
            config.results.memory_budget = megabytes.saturating_mul(1 << 20);
        }
        if let Some(size) = get(Key::MemoryBytes) {
            config.results.memory_budget = positive("databricks.results.memory_budget_bytes", size)?;
        }
        if let Some(value) = get(Key::CloudFetch) {
            let is_on = truth("adbc.databricks.cloudfetch.enabled", value)?;
            config.results.cloud_fetch = if is_on { CloudFetch::On } else { CloudFetch::Off };
        }
        if let Some(value) = get(Key::Compression) {
            config.results.compression = truth("adbc.databricks.cloudfetch.lz4.enabled", value)?;
        }
        if let Some(value) = get(Key::ConnectTimeout) {
            config.connect_timeout = milliseconds("databricks.http.connect_timeout_ms", value)?;
        }
        if let Some(value) = get(Key::ReadTimeout) {
            config.read_timeout = milliseconds("databricks.http.read_timeout_ms", value)?;
        }
        all.tls(&mut config)?;
        config.proxy = all.proxy()?;
        Ok(config)
    }

    fn check_transport(&self) -> Result<()> {
        match self.values.get(&Key::Transport).map(String::as_str) {
            None | Some("" | "http" | "https" | "databricks") => {}
            Some(_) => return Err(not_implemented("`adbc.spark.type` is none of `http` and `databricks`")),
        }
        match self.values.get(&Key::Protocol).map(String::as_str) {
            None | Some("" | "rest") => Ok(()),
            Some(_) => Err(not_implemented("`adbc.databricks.protocol` is not `rest`, and there is no other here")),
        }
    }

    fn credentials(&self) -> Result<Credentials> {
        let get = |key: Key| self.values.get(&key).map(String::as_str).filter(|text| !text.is_empty());
        let kind = get(Key::AuthType).unwrap_or_default();
        let grant = get(Key::GrantType).unwrap_or_default();
        let token = match (get(Key::AccessToken), get(Key::Username), get(Key::Password)) {
            (Some(token), ..) | (None, Some("token") | None, Some(token)) => Some(token),
            (None, Some(_), Some(_)) => {
                return Err(not_implemented("a user name with a password: the user name of a token is `token`"));
            }
            _ => None,
        };
        let secret = get(Key::ClientId).zip(get(Key::ClientSecret));
        let wants_client = match (kind.to_ascii_lowercase().as_str(), grant) {
            ("oauthm2m", _) | (_, "client_credentials") => true,
            ("" | "token" | "pat" | "oauth", "" | "access_token") => token.is_none() && secret.is_some(),
            _ => {
                return Err(not_implemented(
                    "the sign-in that `adbc.spark.auth_type` and `adbc.databricks.oauth.grant_type` name: a token and a \
                     client's secret are what this driver takes",
                ));
            }
        };
        match (wants_client, token, secret) {
            (true, _, Some((client_id, client_secret))) => {
                let scopes = get(Key::Scope).map(|scope| scope.split([' ', ',']).map(str::to_owned).collect());
                Ok(Credentials::SignIn(SignIn::new(SignInMethod::ClientSecret {
                    client_id: client_id.to_owned(),
                    client_secret: Secret::new(client_secret),
                    scopes,
                    token_url: get(Key::TokenUrl).map(str::to_owned),
                })))
            }
            (true, ..) => Err(missing("`databricks.oauth.client_id` and `databricks.oauth.client_secret`")),
            (false, Some(_), Some(_)) => {
                Err(error(Status::InvalidArguments, "both a token and a client's secret are given; one is to be used"))
            }
            (false, Some(token), None) => Ok(Credentials::access_token(token)),
            (false, None, _) => Err(missing(
                "a sign-in: `databricks.access_token`, or `databricks.oauth.client_id` and `databricks.oauth.client_secret`",
            )),
        }
    }

    fn tls(&self, config: &mut SessionConfig) -> Result<()> {
        let get = |key: Key| self.values.get(&key).map(String::as_str).filter(|text| !text.is_empty());
        let is_true = |name: &str, key: Key| get(key).map_or(Ok(false), |value| truth(name, value));
        match get(Key::SslMode).map(str::to_ascii_lowercase).as_deref() {
            None | Some("require") => {}
            Some("insecure") => config.tls.verify_certificates = false,
            Some(_) => {
                return Err(error(
                    Status::InvalidArguments,
                    "`databricks.ssl_mode` is none of `require` and `insecure`",
                ));
            }
        }
        if is_true("databricks.http.tls.disable_server_certificate_validation", Key::AnyCertificate)?
            || is_true("databricks.http.tls.allow_self_signed", Key::SelfSigned)?
        {
            config.tls.verify_certificates = false;
        }
        if is_true("databricks.http.tls.allow_hostname_mismatch", Key::AnyHostname)? {
            config.tls.verify_hostnames = false;
        }
        config.tls.ca_certificates_file = get(Key::RootCertificate).map(PathBuf::from);
        Ok(())
    }

    fn proxy(&self) -> Result<ProxyConfig> {
        let get = |key: Key| self.values.get(&key).map(String::as_str).filter(|text| !text.is_empty());
        let is_used = get(Key::UseProxy).map(|value| truth("adbc.proxy_options.use_proxy", value)).transpose()?;
        let address = match (get(Key::ProxyUrl), get(Key::ProxyHost)) {
            (Some(url), _) => url.to_owned(),
            (None, Some(host)) => match get(Key::ProxyPort) {
                Some(port) => format!("{host}:{}", number::<u16>("adbc.proxy_options.proxy_port", port)?),
                None => host.to_owned(),
            },
            (None, None) if is_used == Some(false) => return Ok(ProxyConfig::Off),
            (None, None) => return Ok(ProxyConfig::Environment),
        };
        if is_used == Some(false) {
            return Ok(ProxyConfig::Off);
        }
        match get(Key::ProxyAuth) {
            None | Some("basic" | "none") => {}
            Some(_) => return Err(not_implemented("`adbc.proxy_options.proxy_auth` is none of `basic` and `none`")),
        }
        let mut proxy = Proxy::new(&address).map_err(|cause| from_kernel(&cause))?;
        if let Some(hosts) = get(Key::ProxyExceptions) {
            let hosts: Vec<String> = hosts.split(',').map(|host| host.trim().to_owned()).collect();
            proxy = proxy.except(&hosts);
        }
        if let Some(username) = get(Key::ProxyUsername) {
            let password = Secret::new(get(Key::ProxyPassword).unwrap_or_default());
            proxy = proxy.with_credentials(username, &password).map_err(|cause| from_kernel(&cause))?;
        }
        Ok(ProxyConfig::Through(proxy))
    }
}

/// What a statement may cost; each one begins with those of its database.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) timeout: Option<Duration>,
    pub(crate) max_rows: Option<i64>,
}

impl Limits {
    /// Takes an option; false where it is not one of these.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<bool> {
        match key(name) {
            Some(Key::QueryTimeout) => self.timeout = duration(name, value)?,
            Some(Key::QueryTimeoutSeconds) => {
                let seconds: u64 = number(name, value)?;
                self.timeout = (seconds > 0).then(|| Duration::from_secs(seconds));
            }
            Some(Key::MaxRows) => {
                let rows: i64 = number(name, value)?;
                self.max_rows = (rows > 0).then_some(rows);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Tells whether the option is one of these.
    pub(crate) fn has(name: &str) -> bool {
        matches!(key(name), Some(Key::QueryTimeout | Key::QueryTimeoutSeconds | Key::MaxRows))
    }

    /// Returns the value of an option of these, if it is set.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        match key(name)? {
            Key::QueryTimeout => self.timeout.map(|limit| format!("{}ms", limit.as_millis())),
            Key::QueryTimeoutSeconds => self.timeout.map(|limit| limit.as_secs().to_string()),
            Key::MaxRows => self.max_rows.map(|rows| rows.to_string()),
            _ => None,
        }
    }
}

/// Returns an option's value as text, which numbers are as well.
pub(crate) fn text(name: &str, value: OptionValue) -> Result<String> {
    match value {
        OptionValue::String(text) => Ok(text),
        OptionValue::Int(number) => Ok(number.to_string()),
        OptionValue::Double(number) => Ok(number.to_string()),
        _ => Err(error(Status::InvalidArguments, format!("the value of `{name}` is neither text nor a number"))),
    }
}

/// Reads `true` or `false`.
pub(crate) fn truth(name: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(invalid(name, "`true` or `false`")),
    }
}

pub(crate) fn unknown(name: &str) -> Error {
    not_implemented(format!("there is no option `{}`", name.chars().take(100).collect::<String>()))
}

pub(crate) fn unset(name: &str) -> Error {
    error(Status::NotFound, format!("the option `{name}` is not set"))
}

/// Says what was expected and does not repeat the value: the wrong one may be a token.
fn invalid(name: &str, expected: impl Display) -> Error {
    error(Status::InvalidArguments, format!("`{name}` is not {expected}"))
}

fn missing(what: &str) -> Error {
    error(Status::InvalidArguments, format!("the options lack {what}"))
}

fn number<T: std::str::FromStr<Err = std::num::ParseIntError>>(name: &str, value: &str) -> Result<T> {
    value.trim().parse().map_err(|cause: std::num::ParseIntError| match cause.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => invalid(name, "a number that is small enough"),
        _ => invalid(name, "a whole number"),
    })
}

fn positive(name: &str, value: &str) -> Result<usize> {
    let count: usize = number(name, value)?;
    if count > 0 { Ok(count) } else { Err(invalid(name, "a positive number")) }
}

fn milliseconds(name: &str, value: &str) -> Result<Duration> {
    positive(name, value).map(|count| Duration::from_millis(count as u64))
}

/// Reads a duration as Go writes it, such as `1m30s` or `500ms`; `None` for zero, which means no limit.
fn duration(name: &str, value: &str) -> Result<Option<Duration>> {
    let wrong = || invalid(name, "a duration such as `90s`, `1m30s` or `500ms`");
    let mut rest = value.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return Ok(None);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (count, behind) = rest.split_at_checked(digits).ok_or_else(wrong)?;
        let letters = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at_checked(letters).ok_or_else(wrong)?;
        let count: f64 = count.parse().map_err(|_| wrong())?;
        seconds += count
            * match unit {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "" if count == 0.0 => 0.0,
                _ => return Err(wrong()),
            };
        rest = behind;
    }
    let limit = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    Ok(Some(limit).filter(|limit| !limit.is_zero()))
}

/// Returns an address without user, password and query.
fn without_userinfo(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").map_or((None, address), |(scheme, rest)| (Some(scheme), rest));
    // The last one: a password may hold any sign where it is not encoded.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    scheme.map_or_else(|| rest.to_owned(), |scheme| format!("{scheme}://{rest}"))
}

/// Returns the URI without user and password, and of its parameters with those that hold no secret for certain.
fn without_secrets(uri: &str) -> Result<String> {
    let unreadable = || error(Status::InvalidArguments, "`uri` cannot be read");
    let (scheme, rest) = uri.trim().split_once("://").ok_or_else(unreadable)?;
    let mut url = Url::parse(&format!("https://{rest}")).map_err(|_| unreadable())?;
    url.set_fragment(None);
    // A sign in the path that ends a user's name: it was cut in the wrong place.
    if url.path().contains('@') || url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err(unreadable());
    }
    let is_open = |name: &str| key(name).is_some_and(|key| !key.is_secret() && !key.is_address());
    let open: Vec<(String, String)> =
        url.query_pairs().filter(|(name, _)| is_open(name)).map(|(n, v)| (n.into_owned(), v.into_owned())).collect();
    if open.is_empty() {
        url.set_query(None);
    } else {
        url.query_pairs_mut().clear().extend_pairs(open);
    }
    Ok(url.as_str().replacen("https", scheme, 1))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        if *first == b'%' {
            let (digits, after) = behind.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(options: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (name, value) in options {
            settings.set(name, (*value).into()).unwrap();
        }
        settings
    }

    fn refused(options: &[(&str, &str)]) -> Error {
        settings(options).session_config(&SignIns::default()).unwrap_err()
    }

    #[test]
    fn a_uri_says_it_all() {
        let uri = "databricks://token:dapi%2Fcanary@dbc-1.cloud.databricks.com:443/sql/1.0/warehouses/a1?catalog=main\
                   &schema=my%20schema&ansi_mode=false&userAgentEntry=app&maxRows=7&timeout=9";
        let settings = settings(&[("uri", uri)]);
        let config = settings.session_config(&SignIns::default()).unwrap();
        assert_eq!(config.catalog.as_deref(), Some("main"));
        assert_eq!(config.schema.as_deref(), Some("my schema"));
        assert_eq!(config.session_configuration.get("ansi_mode").map(String::as_str), Some("false"));
        assert_eq!(config.user_agent_entry.as_deref(), Some("ADBC; app"));
        let limits = settings.limits().unwrap();
        assert_eq!((limits.max_rows, limits.timeout), (Some(7), Some(Duration::from_secs(9))));
        let all = settings.complete().unwrap();
        assert_eq!(all.values.get(&Key::Password).map(String::as_str), Some("dapi/canary"));
        let shown = settings.get("uri").unwrap();
        assert!(
            shown.starts_with("databricks://dbc-1.cloud.databricks.com/sql/1.0/warehouses/a1?catalog=main"),
            "{shown}"
        );
    }

    #[test]
    fn no_secret_comes_back() {
        let uri = "databricks://canary@h:443/sql/1.0/warehouses/a?clientSecret=canary&schema=s&accessToken=canary";
        let settings = settings(&[
            ("uri", uri),
            ("password", "canary"),
            ("databricks.access_token", "canary"),
            ("adbc.databricks.oauth.client_secret", "canary"),
            ("databricks.http.proxy.password", "canary"),
        ]);
        for (name, key) in NAMES {
            match settings.get(name) {
                Ok(value) => assert!(!value.contains("canary"), "{name}"),
                Err(error) => {
                    assert_eq!(error.status == Status::Unauthorized, key.is_secret(), "{name}");
                    assert!(!error.message.contains("canary"), "{name}");
                }
            }
        }
        for uri in
            ["canary", "canary://x", "databricks://", "databricks://token:canary@:99999/x", "https://%zz:canary@h/"]
        {
            let error = Settings::default().set("uri", uri.into()).err();
            assert!(error.is_none_or(|error| !error.message.contains("canary")), "{uri}");
        }
    }

    #[test]
    fn addresses_are_told_without_what_is_secret() {
        for (name, value, expected) in [
            ("databricks.http.proxy.url", "http://me:canary@proxy:3128", "http://proxy:3128"),
            ("databricks.http.proxy.url", "me:can/ary@proxy:3128", "proxy:3128"),
            ("adbc.proxy_options.proxy_host", "canary@proxy", "proxy"),
            ("databricks.server_hostname", "https://canary@h/?token=canary", "https://h/"),
            ("databricks.server_hostname", "h", "h"),
            (
                "uri",
                "databricks://h/p?passwd=canary&catalog=c&databricks.http.proxy.url=u:canary@p",
                "databricks://h/p?catalog=c",
            ),
            ("uri", "databricks://to/canary@h/p", ""),
        ] {
            assert_eq!(settings(&[(name, value)]).get(name).unwrap(), expected, "{name}");
            assert_eq!(told_address(name, expected), expected);
        }
    }

    #[test]
    fn this_machine_speaks_plain_http_unless_told_otherwise() {
        for (uri, expected) in [
            ("databricks://token:t@127.0.0.1:8080/p", Some("false")),
            ("databricks://token:t@[::1]:8080/p", Some("false")),
            ("databricks://token:t@localhost:8080/p?databricks.http.tls.enabled=true", Some("true")),
            ("databricks://token:t@localhost/p", None),
            ("https://token:t@localhost:8080/p", None),
            ("databricks://token:t@dbc-1.cloud.databricks.com:8443/p", None),
            ("http://token:t@dbc-1.cloud.databricks.com/p", Some("false")),
        ] {
            let settings = Settings::of_uri(uri).unwrap();
            assert_eq!(settings.values.get(&Key::TlsEnabled).map(String::as_str), expected, "{uri}");
        }
        let settings = settings(&[("uri", "http://token:t@dbc-1.cloud.databricks.com/sql/1.0/warehouses/a")]);
        let error = settings.session_config(&SignIns::default()).unwrap_err();
        assert!(error.message.contains("unencrypted"), "{}", error.message);
    }

    #[test]
    fn an_option_wins_over_the_uri() {
        let settings =
            settings(&[("uri", "databricks://t@h/sql/1.0/warehouses/a?catalog=c"), ("databricks.catalog", "d")]);
        assert_eq!(settings.session_config(&SignIns::default()).unwrap().catalog.as_deref(), Some("d"));
    }

    #[test]
    fn an_option_wins_over_another_one_of_its_group_in_the_uri() {
        let uri = "databricks://from-uri@h/sql/1.0/warehouses/a?timeout=9&clientID=c&clientSecret=s";
        let with = |name, value| {
            let settings = settings(&[("uri", uri), (name, value)]);
            (settings.complete().unwrap(), settings)
        };
        let (all, _) = with("password", "given");
        assert_eq!(all.values.get(&Key::AccessToken), None);
        assert_eq!(all.values.get(&Key::ClientSecret), None);
        assert!(matches!(all.credentials().unwrap(), Credentials::AccessToken(_)));
        let (all, _) = with("databricks.oauth.client_secret", "given");
        assert_eq!(all.values.get(&Key::ClientId).map(String::as_str), Some("c"));
        assert!(matches!(all.credentials().unwrap(), Credentials::SignIn(_)));
        let (all, _) = with("databricks.warehouse_id", "b");
        assert_eq!(all.values.get(&Key::HttpPath), None);
        let (_, settings) = with("databricks.query.timeout", "5s");
        assert_eq!(settings.limits().unwrap().timeout, Some(Duration::from_secs(5)));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let base = [("databricks.server_hostname", "h"), ("databricks.warehouse_id", "a")];
        for (more, expected) in [
            (vec![], "databricks.access_token"),
            (vec![("databricks.access_token", "t"), ("clientID", "c"), ("clientSecret", "s")], "both a token"),
            (vec![("adbc.databricks.oauth.grant_type", "client_credentials")], "client_secret"),
            (vec![("authType", "OauthU2M")], "sign-in"),
            (vec![("username", "me"), ("password", "x")], "user name"),
            (vec![("password", "t"), ("databricks.port", "70000")], "databricks.port"),
            (vec![("password", "t"), ("databricks.ssl_mode", "maybe")], "ssl_mode"),
            (vec![("password", "t"), ("adbc.databricks.protocol", "thrift")], "protocol"),
            (vec![("password", "t"), ("adbc.databricks.cloudfetch.enabled", "maybe")], "cloudfetch.enabled"),
        ] {
            let options: Vec<_> = base.iter().copied().chain(more).collect();
            let error = refused(&options);
            assert!(error.message.contains(expected), "{} {expected}", error.message);
        }
        assert_eq!(Settings::default().set("nonsense", "x".into()).unwrap_err().status, Status::NotImplemented);
    }

    #[test]
    fn durations_are_gos() {
        for (text, expected) in [
            ("90s", Some(90_000)),
            ("1m30s", Some(90_000)),
            ("500ms", Some(500)),
            ("1.5h", Some(5_400_000)),
            ("0", None),
            ("", None),
        ] {
            assert_eq!(duration("x", text).unwrap(), expected.map(Duration::from_millis), "{text}");
        }
        for text in ["5", "s", "1x", "-1s", "1e9h"] {
            assert!(duration("x", text).is_err(), "{text}");
        }
    }
}
