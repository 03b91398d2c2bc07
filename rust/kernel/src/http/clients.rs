//! The two HTTP clients: one talks to the API with the token, the other to storage hosts without it.
//!
//! They are separate, so that no default header of one can reach the other. Neither follows redirects: an API that redirects
//! is a routing mistake or a login page, and a signed URL is valid for one host only.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, ClientBuilder};

use super::{headers, tls};
use crate::config::{SessionConfig, is_loopback};
use crate::error::{Error, ErrorKind, Result};

/// Longest time to connect to a service of this machine: elsewhere than on Azure nothing answers at all.
const LOCAL_CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Returns the client for the API; `default_headers` and the caller's own go along with every request.
pub(super) fn api(config: &SessionConfig, mut default_headers: HeaderMap) -> Result<Client> {
    headers::add_own(&mut default_headers, &config.requests.headers)?;
    tls::warn_of_what_is_off(config);
    let builder = base(config)?.default_headers(default_headers).read_timeout(config.read_timeout);
    let builder = tls::identify(builder, config)?;
    build(match config.requests.timeout {
        Some(limit) => builder.timeout(limit),
        None => builder,
    })
}

/// Returns the client for storage hosts.
pub(super) fn storage(config: &SessionConfig) -> Result<Client> {
    build(base(config)?.read_timeout(config.results.download_idle_timeout))
}

/// Returns the client that writes to storage hosts. It has no limit of silence, for nothing is read while a file is sent.
pub(super) fn storage_writes(config: &SessionConfig) -> Result<Client> {
    build(base(config)?)
}

/// Returns the client for identity providers. Whoever sends with it sets the limits of time.
pub(super) fn plain(config: &SessionConfig) -> Result<Client> {
    build(base(config)?)
}

/// Returns the client for what Azure's machines are told by the machine itself, which no proxy can know.
pub(super) fn direct(config: &SessionConfig) -> Result<Client> {
    build(base(config)?.no_proxy().connect_timeout(config.connect_timeout.min(LOCAL_CONNECT_LIMIT)))
}

fn base(config: &SessionConfig) -> Result<ClientBuilder> {
    // Several crates may race to install it; any provider will do.
    drop(rustls::crypto::ring::default_provider().install_default());
    let builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(config.connect_timeout)
        .pool_max_idle_per_host(config.requests.max_idle_connections)
        .tcp_nodelay(true)
        .http1_only();
    // A proxy from the environment is for the network, not for this machine.
    let builder = if is_loopback(&config.host) { builder.no_proxy() } else { builder };
    tls::trust(builder, &config.tls)
}

fn build(builder: ClientBuilder) -> Result<Client> {
    builder.build().map_err(|error| {
        Error::new(ErrorKind::InvalidArgument, "the HTTP client could not be set up").with_source(error)
    })
}
