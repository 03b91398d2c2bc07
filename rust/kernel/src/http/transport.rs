//! How requests leave the process: the real clients, and in tests a simulated network in their place.

use std::error::Error as StdError;
use std::sync::OnceLock;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Body, Method, StatusCode, Url};

use super::clients;
use crate::config::SessionConfig;
use crate::error::{Error, Result};
#[cfg(test)]
use crate::simulation::network;

/// Talks to the API with the token, and to storage hosts without it.
///
/// The two are separate clients, so that no default header of one can reach the other. Neither follows redirects: an
/// API that redirects is a routing mistake or a login page, and a signed URL is valid for one host only.
#[derive(Debug)]
pub(crate) enum Transport {
    Clients {
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
        Ok(Self::Clients {
            api: clients::api(config, api_headers)?,
            storage: clients::storage(config)?,
            storage_writes: OnceLock::new(),
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
            Self::Clients { api, .. } => {
                let mut builder = api.request(method, url).headers(headers);
                if let Some(body) = body {
                    builder = builder.body(body);
                }
                Ok(Response::Received(builder.send().await?))
            }
            #[cfg(test)]
            Self::Simulated(client) => client.api(method, url, headers, body).await.map(Response::Simulated),
        }
    }

    /// Sends one GET to a storage host, with `headers` and nothing of the session.
    pub(crate) async fn storage(&self, url: Url, headers: HeaderMap) -> Result<Response, TransportError> {
        match self {
            Self::Clients { storage, .. } => Ok(Response::Received(storage.get(url).headers(headers).send().await?)),
            #[cfg(test)]
            Self::Simulated(client) => client.storage(url, headers).await.map(Response::Simulated),
        }
    }
}

impl Transport {
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
            Self::Clients { storage_writes, .. } => {
                let client = if let Some(client) = storage_writes.get() {
                    client
                } else {
                    let made = clients::storage_writes(config);
                    let failed = |error: Error| TransportError { sent: false, timed_out: false, cause: error.into() };
                    storage_writes.get_or_init({
                        let made = made.map_err(failed)?;
                        || made
                    })
                };
                Ok(Response::Received(client.request(method, url).headers(headers).body(body).send().await?))
            }
            #[cfg(test)]
            Self::Simulated(_) => {
                let cause = "simulations have no uploads".into();
                Err(TransportError { sent: false, timed_out: false, cause })
            }
        }
    }
}

impl From<reqwest::Error> for TransportError {
    fn from(error: reqwest::Error) -> Self {
        Self {
            sent: !error.is_connect() && !error.is_builder(),
            timed_out: error.is_timeout(),
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
