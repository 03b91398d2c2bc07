//! The HTTP clients: one talks to the API with the token, the others to storage hosts without it.
//!
//! They are separate, so that no default header of one can reach the other. None follows redirects: an API that redirects
//! is a routing mistake or a login page, and a signed URL is valid for one host only. All have the same way to the network:
//! the proxies, whom they trust, and the oldest TLS they speak.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, ClientBuilder, NoProxy, Url};

use super::tls::Authorities;
use super::{headers, tls};
use crate::config::{CloudFetch, SessionConfig, is_loopback};
use crate::error::{Error, ErrorKind, Result};
use crate::proxy::{Proxies, Proxy, ProxyConfig};

/// Longest time to connect to a storage host where the results can be had without one.
const STORAGE_CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The way to the network: proxies and authorities, as options and environment said when the session was opened.
#[derive(Debug)]
pub(crate) struct Network {
    proxies: Proxies,
    authorities: Authorities,
}

impl Network {
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] names the option or the variable of the environment that is wrong.
    pub(crate) fn new(config: &SessionConfig) -> Result<Self> {
        let proxies = match (Proxies::of(&config.proxy), &config.proxy) {
            // It would not be used.
            (Err(_), ProxyConfig::Environment) if is_loopback(&config.host) => Proxies::default(),
            (proxies, _) => proxies?,
        };
        Ok(Self { proxies, authorities: tls::authorities(config)? })
    }

    /// Returns the way to what no proxy can reach for us.
    pub(crate) fn direct(config: &SessionConfig) -> Result<Self> {
        Ok(Self { proxies: Proxies::default(), authorities: tls::authorities(config)? })
    }

    /// Returns what a client of this session is built from, whatever it is for. It has no limit for answers and no
    /// certificate of our own, which is for the workspace alone.
    pub(crate) fn client(&self, config: &SessionConfig) -> Result<ClientBuilder> {
        // Several crates may race to install it; any provider will do.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(config.connect_timeout)
            .pool_max_idle_per_host(config.requests.max_idle_connections)
            .tcp_nodelay(true)
            .http1_only()
            .no_proxy();
        let not_for = NoProxy::from_string(&self.proxies.no_proxy);
        if let Some(proxy) = &self.proxies.http {
            let proxy = reqwest::Proxy::http(proxy.complete().expose()).map_err(|_| unusable(proxy))?;
            builder = builder.proxy(proxy.no_proxy(not_for.clone()));
        }
        if let Some(proxy) = &self.proxies.https {
            let proxy = reqwest::Proxy::https(proxy.complete().expose()).map_err(|_| unusable(proxy))?;
            builder = builder.proxy(proxy.no_proxy(not_for));
        }
        tls::trust(builder, &config.tls, &self.authorities)
    }

    /// Returns what a client for the workspace itself is built from: it shows our certificate, where we have one.
    pub(super) fn workspace(&self, config: &SessionConfig) -> Result<ClientBuilder> {
        tls::identify(self.client(config)?, config)
    }

    /// Returns the proxy that requests to `url` go through.
    pub(crate) fn proxy_for(&self, url: &Url) -> Option<&Proxy> {
        self.proxies.matching(url)
    }

    /// Returns through which proxies requests go; no password is in it.
    pub(super) fn proxies(&self) -> String {
        self.proxies.shown()
    }

    /// Returns the client for the API; `default_headers` and the caller's own go along with every request.
    pub(super) fn api(&self, config: &SessionConfig, mut default_headers: HeaderMap) -> Result<Client> {
        headers::add_own(&mut default_headers, &config.requests.headers)?;
        tls::warn_of_what_is_off(config);
        let builder = self.workspace(config)?.default_headers(default_headers).read_timeout(config.read_timeout);
        build(match config.requests.timeout {
            Some(limit) => builder.timeout(limit),
            None => builder,
        })
    }

    /// Returns the client for storage hosts.
    pub(super) fn storage(&self, config: &SessionConfig) -> Result<Client> {
        let builder = self.client(config)?.read_timeout(config.results.download_idle_timeout);
        build(match config.results.cloud_fetch {
            CloudFetch::Auto => builder.connect_timeout(config.connect_timeout.min(STORAGE_CONNECT_LIMIT)),
            CloudFetch::On | CloudFetch::Off => builder,
        })
    }

    /// Returns the client that writes to storage hosts. It has no limit of silence, for nothing is read while a file is sent.
    pub(super) fn storage_writes(&self, config: &SessionConfig) -> Result<Client> {
        build(self.client(config)?)
    }
}

pub(crate) fn build(builder: ClientBuilder) -> Result<Client> {
    builder.build().map_err(|error| {
        Error::new(ErrorKind::InvalidArgument, "the HTTP client could not be set up").with_source(error)
    })
}

fn unusable(proxy: &Proxy) -> Error {
    let text = format!("the proxy `{}` has an address that cannot be used", proxy.host_and_port());
    Error::new(ErrorKind::InvalidArgument, text)
}
