//! Requests that carry no token of a session, to identity providers: the workspace's own, and others.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, StatusCode, Url};
use tokio::time::Instant;
use url::Origin;

use super::clients::Network;
use super::retry::{Failure, RequestClass};
use super::retry_budget::RetryBudgets;
use super::{
    Attempt, Attempts, check_proxy, clients, host_and_port, read_body, retry_after, transport, transport_failure,
};
use crate::config::{RetryConfig, SessionConfig};
use crate::error::{Error, ErrorKind, Result};

/// Largest answer that is read: tokens have a few thousand characters, sets of keys little more.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Longest time to connect to a service of this machine: elsewhere than on Azure nothing answers at all.
const LOCAL_CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Sends requests with the proxy and the trust of a session, and repeats them as their class allows.
#[derive(Debug)]
pub(crate) struct PlainClient {
    network: Network,
    client: Client,
    /// Shows our certificate, where we have one.
    to_workspace: Option<(Origin, Client)>,
    retry: RetryConfig,
    retry_budgets: RetryBudgets,
}

/// A request with all that goes along.
pub(crate) struct PlainRequest<'a> {
    pub(crate) class: RequestClass,
    pub(crate) method: Method,
    pub(crate) url: &'a Url,
    pub(crate) headers: HeaderMap,
    /// Makes the body of each attempt.
    pub(crate) body: Option<&'a (dyn Fn() -> Result<Bytes> + Sync)>,
}

/// An answer, whatever its status.
pub(crate) struct PlainAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl PlainClient {
    pub(crate) fn new(config: &SessionConfig) -> Result<Self> {
        let network = Network::new(config)?;
        let client = clients::build(network.client(config)?)?;
        let to_workspace = match config.tls.client_certificate_pem {
            // Apart, so that neither certificate nor connections reach anybody else.
            Some(_) => Some((config.host.origin(), clients::build(network.workspace(config)?)?)),
            None => None,
        };
        Ok(Self { to_workspace, ..Self::of(config, network, client) })
    }

    /// Returns a client that goes through no proxy, for what is on this machine.
    pub(crate) fn direct(config: &SessionConfig) -> Result<Self> {
        let network = Network::direct(config)?;
        let client = network.client(config)?.connect_timeout(config.connect_timeout.min(LOCAL_CONNECT_LIMIT));
        Ok(Self::of(config, network, clients::build(client)?))
    }

    fn of(config: &SessionConfig, network: Network, client: Client) -> Self {
        let retry = RetryConfig {
            max_attempts: config.retry.max_attempts.min(4),
            min_wait: config.retry.min_wait.min(Duration::from_millis(500)),
            ..config.retry.clone()
        };
        Self { network, client, to_workspace: None, retry, retry_budgets: RetryBudgets::default() }
    }

    /// Returns the answer, be it a refusal; failures that may pass are repeated, all within `deadline`.
    pub(crate) async fn send(&self, request: PlainRequest<'_>, deadline: Instant) -> Result<PlainAnswer> {
        let host = host_and_port(request.url);
        let mut attempts = Attempts::new(request.class, &self.retry, self.retry_budgets.of(&host), host.clone());
        let mut last = None;
        loop {
            let body = request.body.map(|make| make()).transpose()?;
            let Ok(answer) = tokio::time::timeout_at(deadline, self.send_once(&request, body)).await else {
                let text = format!("{}: no answer from {host} in time", request.class.name());
                let error = Error::new(ErrorKind::Timeout, text);
                return Err(attempts.out_of_time(match last {
                    Some(last) => error.with_source(last),
                    None => error,
                }));
            };
            let attempt = match answer {
                Ok(answer) if is_transient(answer.status) => {
                    let text = format!("{}: {host} answered HTTP {}", request.class.name(), answer.status.as_u16());
                    let kind = match answer.status {
                        StatusCode::TOO_MANY_REQUESTS => ErrorKind::ResourceExhausted,
                        _ => ErrorKind::Unavailable,
                    };
                    let (status, retry_after) = (answer.status.as_u16(), retry_after(&answer.headers));
                    let error = Error::new(kind, text).with_http_status(status).with_retry_after(retry_after);
                    Attempt { failure: Failure::Status { status, retry_after }, error }
                }
                Ok(answer) => {
                    attempts.succeeded();
                    return Ok(answer);
                }
                Err(attempt) => attempt,
            };
            let error = attempt.error.clone();
            let wait = attempts.failed(attempt)?;
            if Instant::now() + wait >= deadline {
                return Err(attempts.out_of_time(error));
            }
            last = Some(error);
            tokio::time::sleep(wait).await;
        }
    }

    async fn send_once(&self, request: &PlainRequest<'_>, body: Option<Bytes>) -> Result<PlainAnswer, Attempt> {
        let client = match &self.to_workspace {
            Some((workspace, client)) if request.url.origin() == *workspace => client,
            _ => &self.client,
        };
        let mut builder = client.request(request.method.clone(), request.url.clone()).headers(request.headers.clone());
        if let Some(body) = body {
            builder = builder.body(body);
        }
        let response = transport::answer(&self.network, request.url, builder)
            .await
            .map_err(|error| transport_failure(request.class, request.url, error))?;
        check_proxy(request.class, self.network.proxy_for(request.url), &response)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read_body(request.class, request.url, response, MAX_ANSWER_BYTES).await?;
        Ok(PlainAnswer { status, headers, body })
    }
}

fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}
