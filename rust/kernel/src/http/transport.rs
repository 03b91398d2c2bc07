//! How requests leave the process: the real clients, and in tests a simulated network in their place.

use std::error::Error as StdError;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Body, Method, StatusCode, Url};

use super::clients::Network;
use super::obstacle::Obstacle;
use crate::config::SessionConfig;
use crate::error::{Error, Result};
use crate::proxy::Proxy;
#[cfg(test)]
use crate::simulation::network;

/// Talks to the API with the token, and to storage hosts without it.
///
/// The clients are separate, so that no default header of one can reach the other.
#[derive(Debug)]
pub(crate) enum Transport {
    Clients {
        network: Arc<Network>,
        api: reqwest::Client,
        storage: reqwest::Client,
        /// Made when the first file is sent.
        storage_writes: OnceLock<reqwest::Client>,
    },
    #[cfg(test)]
    Simulated(network::Client),
}

/// Why a request got no answer, or not the whole of it. Names no URL: those of storage hosts are secret.
#[derive(Debug)]
pub(crate) struct TransportError {
    /// Whether the request may have reached the server.
    pub(crate) sent: bool,
    pub(crate) timed_out: bool,
    /// What was in the way, where that is known.
    pub(crate) obstacle: Option<Obstacle>,
    pub(crate) cause: Box<dyn StdError + Send + Sync>,
}

/// An answer whose body is still being read.
pub(crate) enum Response {
    Received(reqwest::Response),
    #[cfg(test)]
    Simulated(network::Answer),
}

impl Transport {
    /// Prepares the clients; `api_headers` go along with every request to the API and with no other.
    pub(crate) fn new(config: &SessionConfig, api_headers: HeaderMap) -> Result<Self> {
        #[cfg(test)]
        if let Some(network) = network::current() {
            return Ok(Self::Simulated(network::Client::new(network, config, api_headers)));
        }
        let network = Arc::new(Network::new(config)?);
        Ok(Self::Clients {
            api: network.api(config, api_headers)?,
            storage: network.storage(config)?,
            storage_writes: OnceLock::new(),
            network,
        })
    }

    /// Sends a request to the API.
    pub(crate) async fn api(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Response, TransportError> {
        match self {
            Self::Clients { network, api, .. } => {
                let mut builder = api.request(method, url.clone()).headers(headers);
                if let Some(body) = body {
                    builder = builder.body(body);
                }
                answer(network, &url, builder).await
            }
            #[cfg(test)]
            Self::Simulated(client) => client.api(method, url, headers, body).await.map(Response::Simulated),
        }
    }

    /// Sends one GET to a storage host, with `headers` and nothing of the session.
    pub(crate) async fn storage(&self, url: Url, headers: HeaderMap) -> Result<Response, TransportError> {
        match self {
            Self::Clients { network, storage, .. } => {
                answer(network, &url, storage.get(url.clone()).headers(headers)).await
            }
            #[cfg(test)]
            Self::Simulated(client) => client.storage(url, headers).await.map(Response::Simulated),
        }
    }
}

impl Transport {
    /// Returns the proxy that requests to `url` go through.
    pub(crate) fn proxy_for(&self, url: &Url) -> Option<&Proxy> {
        match self {
            Self::Clients { network, .. } => network.proxy_for(url),
            #[cfg(test)]
            Self::Simulated(_) => None,
        }
    }

    /// Returns through which proxies requests go; no password is in it.
    pub(super) fn proxies(&self) -> String {
        match self {
            Self::Clients { network, .. } => network.proxies(),
            #[cfg(test)]
            Self::Simulated(_) => String::new(),
        }
    }

    /// Sends a body to a storage host, with `headers` and nothing of the session.
    pub(crate) async fn write_to_storage(
        &self,
        config: &SessionConfig,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Response, TransportError> {
        match self {
            Self::Clients { network, storage_writes, .. } => {
                let client = if let Some(client) = storage_writes.get() {
                    client
                } else {
                    let made = network.storage_writes(config);
                    let failed = |error: Error| TransportError::unsent(error.into());
                    storage_writes.get_or_init({
                        let made = made.map_err(failed)?;
                        || made
                    })
                };
                answer(network, &url, client.request(method, url.clone()).headers(headers).body(body)).await
            }
            #[cfg(test)]
            Self::Simulated(_) => Err(TransportError::unsent("simulations have no uploads".into())),
        }
    }
}

/// Sends a request to `url`.
pub(super) async fn answer(
    network: &Network,
    url: &Url,
    request: reqwest::RequestBuilder,
) -> Result<Response, TransportError> {
    match request.send().await {
        Ok(response) => Ok(Response::Received(response)),
        Err(error) => {
            let obstacle = Obstacle::of(network, url, &error).await;
            Err(TransportError { obstacle, ..TransportError::from(error) })
        }
    }
}

impl TransportError {
    fn unsent(cause: Box<dyn StdError + Send + Sync>) -> Self {
        Self { sent: false, timed_out: false, obstacle: None, cause }
    }
}

impl From<reqwest::Error> for TransportError {
    fn from(error: reqwest::Error) -> Self {
        Self {
            sent: !error.is_connect() && !error.is_builder(),
            timed_out: error.is_timeout(),
            obstacle: None,
            cause: error.without_url().into(),
        }
    }
}

impl Response {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Received(response) => response.status(),
            #[cfg(test)]
            Self::Simulated(answer) => answer.status,
        }
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        match self {
            Self::Received(response) => response.headers(),
            #[cfg(test)]
            Self::Simulated(answer) => &answer.headers,
        }
    }

    /// Length of the body, where it was announced.
    pub(crate) fn content_length(&self) -> Option<u64> {
        match self {
            Self::Received(response) => response.content_length(),
            #[cfg(test)]
            Self::Simulated(answer) => answer.content_length,
        }
    }

    /// Returns the next piece of the body, or `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, TransportError> {
        match self {
            Self::Received(response) => Ok(response.chunk().await?),
            #[cfg(test)]
            Self::Simulated(answer) => answer.chunk().await,
        }
    }
}
