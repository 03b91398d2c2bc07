//! HTTP: one retry loop, one place that turns an answer into an error.

pub(crate) mod clients;
mod headers;
pub(crate) mod obstacle;
mod plain;
pub(crate) mod reach;
pub(crate) mod retry;
mod retry_budget;
mod tls;
mod transport;

use std::collections::{HashMap, HashSet};
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT,
};
use reqwest::{Body, Method, StatusCode, Url};
use tokio::time::Instant;
use tracing::{debug, warn};
use zeroize::Zeroizing;

use crate::auth::{Grant, Secret, Tokens, masked};
use crate::clock;
use crate::config::{RetryConfig, SessionConfig};
use crate::error::{Error, ErrorKind, Result, sql_state_in};
use crate::proxy::Proxy;
use crate::results::PresignedUrl;
use obstacle::{Hold, Obstacle};
pub(crate) use plain::{PlainAnswer, PlainClient, PlainRequest};
use reach::Way;
pub(crate) use retry::RequestClass;
use retry::{Failure, may_be_repeated, next_wait};
use retry_budget::{RetryBudget, RetryBudgets};
use transport::Transport;
pub(crate) use transport::{Response, TransportError};

/// Largest answer of the API that is read. An inline result is at most 25 MiB of data, a third more as base64.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// Shorter values of headers, such as `true`, are no secrets, and are found in any message.
const LEAST_MASKED: usize = 8;
/// How much of an error that is no JSON is looked at; a message has less.
const MAX_ERROR_TEXT: usize = 64 << 10;
/// Longest wait for the start of an error's body. It comes along with the head; a store that lets it drip must not hold a
/// chunk and its place.
const ERROR_BODY_DEADLINE: Duration = Duration::from_secs(2);
/// Storage hosts whose ways are remembered; a result has one or a few.
const MAX_REMEMBERED_HOSTS: usize = 64;

/// Sends requests, repeats them as their class allows, and turns failures into errors.
#[derive(Debug)]
pub(crate) struct HttpClient {
    transport: Transport,
    /// Whether a storage host does ranges, as far as it has shown.
    ranges: Mutex<HashMap<String, bool>>,
    /// Storage hosts that have answered.
    answered: Mutex<HashSet<String>>,
    way_to_storage: Way,
    retry_budgets: RetryBudgets,
    tokens: Tokens,
    config: SessionConfig,
}

/// A request to the API.
pub(crate) struct ApiRequest<'a> {
    pub(crate) class: RequestClass,
    pub(crate) method: Method,
    /// Path below `/api/2.0/sql/`.
    pub(crate) path: &'a str,
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) headers: &'a [(&'static str, &'static str)],
    pub(crate) body: Option<Bytes>,
    /// Tells whether the caller still wants it; asked before it is sent again.
    pub(crate) is_wanted: &'a (dyn Fn() -> bool + Sync),
}

/// One failed attempt: what the retry rule needs, and the error to report if it is the last.
pub(crate) struct Attempt {
    pub(crate) failure: Failure,
    pub(crate) error: Error,
}

impl HttpClient {
    pub(crate) fn new(config: SessionConfig, tokens: Tokens) -> Result<Self> {
        if let Tokens::Fixed(grant) = &tokens {
            authorize(&mut HeaderMap::new(), grant)?;
        }
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, user_agent(config.user_agent_entry.as_deref())?);
        if let Some(organization_id) = &config.organization_id {
            let value =
                HeaderValue::from_str(organization_id).map_err(|error| internal("org id").with_source(error))?;
            headers.insert(HeaderName::from_static("x-databricks-org-id"), value);
        }
        let transport = Transport::new(&config, headers)?;
        let way_to_storage = Way::new(&config, transport.proxies());
        Ok(Self {
            way_to_storage,
            transport,
            ranges: Mutex::default(),
            answered: Mutex::default(),
            retry_budgets: RetryBudgets::default(),
            tokens,
            config,
        })
    }

    pub(crate) fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// Waits for a token, if that takes anything: whoever gives up meanwhile has sent nothing.
    pub(crate) async fn sign_in(&self) -> Result<()> {
        self.tokens.ready().await
    }

    /// Sends an API request, repeats it as its class allows, and returns the body of the answer.
    pub(crate) async fn api(&self, request: &ApiRequest<'_>) -> Result<Bytes> {
        let mut url = self.config.host.clone();
        url.set_path(&format!("/api/2.0/sql/{}", request.path));
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(request.query);
        }
        let mut attempts = self.attempts(request.class, &url);
        let (mut rejected, mut renewed) = (None::<(Secret, Error)>, false);
        loop {
            let rejection = rejected.take();
            let token = rejection.as_ref().map(|(token, _)| token.clone());
            let grant = self.tokens.grant(token, !request.class.ends_something()).await;
            let grant = grant.map_err(|error| attempts.without_token(error))?;
            if let Some((token, error)) = rejection
                && grant.token == token
            {
                return Err(attempts.without_token(error));
            }
            if attempts.count() > 0 && !(request.is_wanted)() {
                let text = format!("{}: not sent again, for nobody waits for it any more", request.class.name());
                return Err(attempts.without_token(Error::new(ErrorKind::Cancelled, text)));
            }
            match self.api_once(request, &url, &grant).await? {
                Ok(body) => {
                    attempts.succeeded();
                    return Ok(body);
                }
                Err(mut attempt) => {
                    if is_about_the_token(&attempt.error) {
                        if renewed {
                            let text = format!("{}: the renewed token was refused too", request.class.name());
                            attempt.error = attempt.error.within(text);
                        } else if self.tokens.are_renewed() {
                            // Refused before any work was done, so even a statement may be sent again.
                            debug!(request = request.class.name(), "the token was refused and is renewed");
                            attempts.refused();
                            (rejected, renewed) = (Some((grant.token, attempt.error)), true);
                            continue;
                        }
                    }
                    tokio::time::sleep(attempts.failed(attempt)?).await;
                }
            }
        }
    }

    /// Sends the request once; an error without an attempt is about the token, which cannot be sent.
    async fn api_once(&self, request: &ApiRequest<'_>, url: &Url, grant: &Grant) -> Result<Result<Bytes, Attempt>> {
        let mut headers = HeaderMap::new();
        authorize(&mut headers, grant)?;
        Ok(self.api_once_authorized(request, url, headers, grant).await)
    }

    /// Makes the words of the API fit to be told: it may repeat what goes along with requests.
    pub(crate) fn masked(&self, text: &str) -> String {
        self.masked_for(self.tokens.last().as_ref(), text)
    }

    fn masked_for(&self, grant: Option<&Grant>, text: &str) -> String {
        let along = grant.into_iter().flat_map(|grant| &grant.headers).map(|(_, value)| value);
        let own = self.config.requests.headers.iter().map(|(_, value)| value);
        let secrets = grant.map(|grant| &grant.token).into_iter().chain(along).chain(own).map(Secret::expose);
        masked(text, secrets.filter(|secret| secret.len() >= LEAST_MASKED))
    }

    async fn api_once_authorized(
        &self,
        request: &ApiRequest<'_>,
        url: &Url,
        mut headers: HeaderMap,
        grant: &Grant,
    ) -> Result<Bytes, Attempt> {
        for (name, value) in request.headers {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        if request.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let response = self
            .transport
            .api(request.method.clone(), url.clone(), headers, request.body.clone())
            .await
            .map_err(|error| transport_failure(request.class, url, error))?;
        check_proxy(request.class, self.transport.proxy_for(url), &response)?;
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let harmless = |text: &str| self.masked_for(Some(grant), text);
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.map(|location| host_of(&harmless(location)));
        let body = read_body(request.class, url, response, MAX_ANSWER_BYTES).await?;
        if status.is_success() {
            return Ok(body);
        }
        Err(Attempt {
            failure: Failure::Status { status: status.as_u16(), retry_after },
            error: status_error(request.class, status, location.as_deref(), &body, &harmless),
        })
    }

    /// Tells whether the host of `url` does ranges; `None` until it has shown it.
    pub(crate) fn does_ranges(&self, url: &PresignedUrl) -> Option<bool> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner).get(&url.host()).copied()
    }

    pub(crate) fn remember_ranges(&self, url: &PresignedUrl, done: bool) {
        let mut hosts = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        let host = url.host();
        if hosts.len() >= MAX_REMEMBERED_HOSTS && !hosts.contains_key(&host) {
            hosts.clear();
        }
        let known = hosts.entry(host).or_insert(done);
        // What it has refused once is not asked for again.
        *known &= done;
    }

    /// Sends one GET to a storage host, without token, cookies or anything else of the session. Where it is `ranged`, an
    /// answer that the range cannot be had (416) is none of the failures.
    pub(crate) async fn storage_get(&self, url: &Url, headers: HeaderMap, ranged: bool) -> Result<Response, Attempt> {
        let response = self.transport.storage(url.clone(), headers).await;
        self.storage_answer(RequestClass::Download, url, response, ranged).await
    }

    /// Sends a body to a storage host with PUT or DELETE, in the same way.
    pub(crate) async fn storage_write(
        &self,
        class: RequestClass,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Response, Attempt> {
        let response = self.transport.write_to_storage(&self.config, method, url.clone(), headers, body).await;
        self.storage_answer(class, url, response, false).await
    }

    async fn storage_answer(
        &self,
        class: RequestClass,
        url: &Url,
        response: Result<Response, TransportError>,
        ranged: bool,
    ) -> Result<Response, Attempt> {
        let response = response.map_err(|error| transport_failure(class, url, error))?;
        check_proxy(class, self.transport.proxy_for(url), &response)?;
        self.remember_contact(url);
        if response.status().is_success() || (ranged && response.status() == StatusCode::RANGE_NOT_SATISFIABLE) {
            return Ok(response);
        }
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        // The start of the body names the cause; the rest of it is of no use.
        let body = read_prefix(response, 2048).await;
        Err(Attempt {
            failure: Failure::Status { status: status.as_u16(), retry_after },
            error: storage_error(url, status, &body),
        })
    }

    /// Tells whether the storage host of `url` has ever answered.
    pub(crate) fn has_answered(&self, url: &Url) -> bool {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).contains(&host_and_port(url))
    }

    /// Tells whether any storage host has ever answered.
    pub(crate) fn has_reached_storage(&self) -> bool {
        !self.answered.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Remembers, for sessions to come, that a storage host cannot be reached.
    pub(crate) fn remember_no_contact(&self, host: &str) {
        self.way_to_storage.is_blocked(host);
    }

    /// Returns the storage host that another session could not reach lately.
    pub(crate) fn known_out_of_reach(&self) -> Option<String> {
        self.way_to_storage.blocked_at()
    }

    fn remember_contact(&self, url: &Url) {
        self.way_to_storage.is_open();
        let mut hosts = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let host = host_and_port(url);
        if !hosts.contains(&host) {
            if hosts.len() >= MAX_REMEMBERED_HOSTS {
                hosts.clear();
            }
            hosts.insert(host);
        }
    }

    /// Starts counting the attempts of one request to the host of `url`.
    pub(crate) fn attempts(&self, class: RequestClass, url: &Url) -> Attempts<'_> {
        let host = host_and_port(url);
        Attempts::new(class, &self.config.retry, self.retry_budgets.of(&host), host)
    }
}

/// The attempts of one request: the only place that decides to send something again.
pub(crate) struct Attempts<'a> {
    class: RequestClass,
    config: &'a RetryConfig,
    host: String,
    budget: Arc<RetryBudget>,
    started: Instant,
    sent: u32,
    /// Failures since the last progress.
    in_a_row: u32,
    /// The attempt under way was paid for from the budget.
    paid: bool,
}

impl<'a> Attempts<'a> {
    fn new(class: RequestClass, config: &'a RetryConfig, budget: Arc<RetryBudget>, host: String) -> Self {
        Self { class, config, host, budget, started: Instant::now(), sent: 0, in_a_row: 0, paid: false }
    }

    /// Returns how many attempts have failed so far.
    pub(crate) fn count(&self) -> u32 {
        self.sent
    }

    /// Records that the attempt that was to follow is not made.
    pub(crate) fn given_up(&mut self) {
        self.refund();
    }

    /// Takes a wait for the reader, or the time in which a file travelled, out of the time that the request has.
    pub(crate) fn paused(&mut self, wait: Duration) {
        self.started += wait;
    }

    /// Records an attempt that failed for its token alone.
    fn refused(&mut self) {
        self.sent += 1;
    }

    /// Completes the error that the time is over before another attempt.
    fn out_of_time(&self, error: Error) -> Error {
        error.with_attempts(self.sent.max(1), self.started.elapsed())
    }

    /// Completes the error that no token for the next attempt could be had.
    fn without_token(&self, error: Error) -> Error {
        // Before the first attempt, those of signing in count.
        if self.sent == 0 { error } else { error.with_attempts(self.sent, self.started.elapsed()) }
    }

    /// Records that the request is done.
    pub(crate) fn succeeded(&mut self) {
        if !self.refund() {
            self.budget.reward();
        }
    }

    /// Records that the attempt under way brings the request nearer to its end although it fails: the attempts are counted
    /// afresh, and it was of use.
    pub(crate) fn progressed(&mut self) {
        self.in_a_row = 0;
        self.refund();
    }

    /// Gives back what the attempt was paid with; false where it was not.
    fn refund(&mut self) -> bool {
        let paid = std::mem::take(&mut self.paid);
        if paid {
            self.budget.give_back();
        }
        paid
    }

    /// Returns how long to wait before the next attempt, or the error with what it took.
    pub(crate) fn failed(&mut self, attempt: Attempt) -> Result<Duration> {
        self.sent += 1;
        self.in_a_row += 1;
        let Attempt { failure, error } = attempt;
        let elapsed = self.started.elapsed();
        let Some(wait) = next_wait(self.class, failure, self.in_a_row, elapsed, clock::jitter(), self.config) else {
            // A statement that may have been accepted may not be advertised as repeatable either.
            let accepted = self.class == RequestClass::Execute && !may_be_repeated(self.class, failure);
            let retryable = error.is_retryable() && !accepted;
            let error = if accepted && error.is_retryable() {
                error.within("the statement may have run, and is not sent again".to_owned())
            } else {
                error
            };
            return Err(error.with_attempts(self.sent, elapsed).with_retryable(retryable));
        };
        // What never reached the host costs it nothing: a network that is away for a while does not use up the budget.
        self.paid = failure != Failure::NotSent;
        if self.paid && !self.budget.take() {
            let text = format!(
                "{}: not repeated, for too many requests to {} have failed of late (its retry budget is empty)",
                self.class.name(),
                self.host
            );
            return Err(error.within(text).with_attempts(self.sent, elapsed).with_retryable(true));
        }
        warn!(
            request = self.class.name(),
            attempts = self.sent,
            wait_ms = wait.as_millis() as u64,
            cause = %error,
            "request failed and is repeated"
        );
        Ok(wait)
    }
}

impl Secret {
    /// Returns the value of a header `Authorization` with this text as the bearer token, which is marked as sensitive.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where the text is empty or cannot be in a header.
    pub fn bearer(&self) -> Result<HeaderValue> {
        if self.expose().is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "the access token is empty"));
        }
        secret_value(&Zeroizing::new(format!("Bearer {}", self.expose())), "access token")
    }
}

/// Adds what shows who we are.
fn authorize(headers: &mut HeaderMap, grant: &Grant) -> Result<()> {
    headers.insert(AUTHORIZATION, grant.token.bearer()?);
    for (name, text) in &grant.headers {
        let shown = name.escape_debug();
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            let text = format!("`{shown}`, given along with the access token, is not the name of an HTTP header");
            Error::new(ErrorKind::InvalidArgument, text)
        })?;
        if headers::is_reserved(&header) || header == USER_AGENT {
            let text =
                format!("the header `{shown}` comes along with the access token, and is the session's own to set");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let value = secret_value(text.expose(), &format!("header `{shown}` that comes along with the access token"))?;
        headers.insert(header, value);
    }
    Ok(())
}

fn secret_value(text: &str, what: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        let text = format!("the {what} contains characters that no token has, perhaps a line break");
        Error::new(ErrorKind::InvalidArgument, text)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Tells whether another token may help: 401, or 403 where the server says that it is about the token, as recorded servers do
/// of one that was revoked ("Invalid access token.").
fn is_about_the_token(error: &Error) -> bool {
    error.kind() == ErrorKind::Unauthenticated
        || (error.kind() == ErrorKind::PermissionDenied && error.message().contains("HTTP 403: Invalid access token"))
}

fn user_agent(entry: Option<&str>) -> Result<HeaderValue> {
    let text = match entry {
        Some(entry) => format!("seakernel/{} ({entry})", env!("CARGO_PKG_VERSION")),
        None => format!("seakernel/{}", env!("CARGO_PKG_VERSION")),
    };
    HeaderValue::from_str(&text).map_err(|error| {
        Error::new(ErrorKind::InvalidArgument, "user_agent_entry may hold visible ASCII characters only")
            .with_source(error)
    })
}

fn internal(what: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("{what} could not be written as a header"))
}

/// Host and port of `url`: what may be shown of a presigned URL beside its path.
pub(crate) fn host_and_port(url: &Url) -> String {
    match (url.host_str(), url.port_or_known_default()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        _ => "unknown host".to_owned(),
    }
}

fn host_of(location: &str) -> String {
    Url::parse(location).map_or_else(|_| "the same host".to_owned(), |url| host_and_port(&url))
}

/// Builds the failure of a request that an obstacle has kept from the server.
/// Refuses the answer of a proxy that wants a password: nothing else answers 407.
fn check_proxy(class: RequestClass, proxy: Option<&Proxy>, response: &Response) -> Result<(), Attempt> {
    match proxy {
        Some(proxy) if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Err(obstructed(class, &Obstacle::wants_credentials(proxy), ErrorKind::Network, None))
        }
        _ => Ok(()),
    }
}

fn obstructed(
    class: RequestClass,
    obstacle: &Obstacle,
    kind: ErrorKind,
    cause: Option<Box<dyn StdError + Send + Sync>>,
) -> Attempt {
    let failure = match obstacle.hold {
        Hold::Passing => Failure::NotSent,
        Hold::Refused => Failure::Refused,
        Hold::Untrusted => Failure::Untrusted,
    };
    let mut error = Error::new(kind, format!("{}: {}", class.name(), obstacle.text));
    error = error.with_retryable(failure == Failure::NotSent);
    if let Some(status) = obstacle.http_status {
        error = error.with_http_status(status);
    }
    if let Some(cause) = cause {
        error = error.with_source(cause);
    }
    Attempt { failure, error }
}

fn transport_failure(class: RequestClass, url: &Url, error: TransportError) -> Attempt {
    let failure = if error.sent { Failure::Broken } else { Failure::NotSent };
    let kind = if error.timed_out { ErrorKind::Timeout } else { ErrorKind::Network };
    if let Some(obstacle) = &error.obstacle {
        return obstructed(class, obstacle, kind, Some(error.cause));
    }
    let what = match (failure, class) {
        (Failure::NotSent, _) => format!("{}: no connection to {}", class.name(), host_and_port(url)),
        (_, RequestClass::Execute) => format!(
            "{}: the connection to {} broke before the answer was complete; the statement may have run and is not sent again",
            class.name(),
            host_and_port(url)
        ),
        _ => format!("{}: the connection to {} broke", class.name(), host_and_port(url)),
    };
    Attempt { failure, error: Error::new(kind, what).with_source(error.cause) }
}

async fn read_body(class: RequestClass, url: &Url, mut response: Response, limit: usize) -> Result<Bytes, Attempt> {
    let mut body = Vec::with_capacity(response.content_length().map_or(0, |length| length.min(1 << 20) as usize));
    loop {
        match response.chunk().await {
            Ok(Some(piece)) if body.len() + piece.len() > limit => {
                let text = format!("{}: the answer is larger than {limit} bytes", class.name());
                return Err(Attempt {
                    failure: Failure::Status { status: response.status().as_u16(), retry_after: None },
                    error: Error::new(ErrorKind::Protocol, text).with_retryable(false),
                });
            }
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => return Ok(body.into()),
            Err(error) => return Err(transport_failure(class, url, error)),
        }
    }
}

/// Reads the first `limit` bytes of a body, or what comes of them in time.
async fn read_prefix(mut response: Response, limit: usize) -> Vec<u8> {
    let mut prefix = Vec::new();
    let read = async {
        while prefix.len() < limit
            && let Ok(Some(piece)) = response.chunk().await
        {
            prefix.extend_from_slice(&piece);
        }
    };
    // Late or not, what has come is enough to look for the cause.
    drop(tokio::time::timeout(ERROR_BODY_DEADLINE, read).await);
    prefix.truncate(limit);
    prefix
}

/// Reads `Retry-After`: seconds, as the platform sends it, or an HTTP date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(86_400)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(clock::time_of_day()).unwrap_or_default())
}

/// The one place where an HTTP status of the API becomes an error.
fn status_error(
    class: RequestClass,
    status: StatusCode,
    location: Option<&str>,
    body: &[u8],
    harmless: &dyn Fn(&str) -> String,
) -> Error {
    let (error_code, message) = error_body(body, harmless);
    let kind = match status.as_u16() {
        300..=399 => {
            let target = location.unwrap_or("an unnamed place");
            let text = format!(
                "{}: HTTP {status} redirects to {target}; check server_hostname and the `?o=` part of http_path",
                class.name()
            );
            return Error::new(ErrorKind::Protocol, text).with_http_status(status.as_u16());
        }
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::PermissionDenied,
        404 => ErrorKind::NotFound,
        408 | 504 => ErrorKind::Timeout,
        429 => ErrorKind::ResourceExhausted,
        400..=499 => ErrorKind::InvalidArgument,
        _ => ErrorKind::Unavailable,
    };
    let reason = message.unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason given").to_owned());
    Error::new(kind, format!("{}: HTTP {}: {reason}", class.name(), status.as_u16()))
        .with_http_status(status.as_u16())
        .with_sql_state(sql_state_in(&reason).map(str::to_owned))
        .with_error_code(error_code)
}

fn storage_error(url: &Url, status: StatusCode, body: &[u8]) -> Error {
    let kind = match status.as_u16() {
        400 | 401 | 403 | 404 => ErrorKind::LinkExpired,
        408 | 504 => ErrorKind::Timeout,
        429 | 500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::Protocol,
    };
    // Cloud stores answer in XML; the code alone says why, and the rest may repeat parts of the signed request.
    let text = String::from_utf8_lossy(body);
    let code = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"))
        .map(|(code, _)| code)
        .filter(|code| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        // Signatures may look like that, too.
        .filter(|code| !url.query().is_some_and(|query| query.contains(code)));
    debug!(host = host_and_port(url), status = status.as_u16(), code, "storage refused a request");
    let message = match code {
        Some(code) => format!("storage host {} answered HTTP {} {code}", host_and_port(url), status.as_u16()),
        None => format!("storage host {} answered HTTP {}", host_and_port(url), status.as_u16()),
    };
    Error::new(kind, message).with_http_status(status.as_u16()).with_error_code(code.map(str::to_owned))
}

/// Reads code and message of an error answer: JSON in its old and new form (the code may be a number), or text.
fn error_body(body: &[u8], harmless: &dyn Fn(&str) -> String) -> (Option<String>, Option<String>) {
    let clean = |text: &str| clean(&harmless(text));
    if let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(body) {
        let code = fields.get("error_code").map(|code| match code {
            serde_json::Value::String(text) => clean(text),
            other => clean(&other.to_string()),
        });
        let message = ["message", "error", "detail"].iter().find_map(|key| fields.get(*key)?.as_str().map(clean));
        return (code, message);
    }
    // What is cut off must not leave a part of a secret that is not known again.
    let text = harmless(&String::from_utf8_lossy(body.get(..body.len().min(MAX_ERROR_TEXT)).unwrap_or_default()));
    let text: String = text.chars().take(4096).collect();
    let text = match text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")) {
        Some((title, _)) => clean(title),
        None if text.trim_start().starts_with('<') => {
            return (None, Some("a web page instead of an API answer".to_owned()));
        }
        None => clean(&text),
    };
    (None, (!text.is_empty()).then_some(text))
}

/// Makes a text of the server fit for a one-line message.
fn clean(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).take(8192).collect();
    line.truncate(line.trim_end().len());
    line.trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::auth::Credentials;

    #[test]
    fn error_bodies_of_every_form() {
        let table: [(&str, Option<&str>, Option<&str>); 7] = [
            (r#"{"error_code":"NOT_FOUND","message":"no such"}"#, Some("NOT_FOUND"), Some("no such")),
            (r#"{"error_code":403,"message":"Invalid access token."}"#, Some("403"), Some("Invalid access token.")),
            (r#"{"error":"old"}"#, None, Some("old")),
            ("PERMISSION: denied\n", None, Some("PERMISSION: denied")),
            ("<html><title>Log in</title></html>", None, Some("Log in")),
            ("<html><body/></html>", None, Some("a web page instead of an API answer")),
            ("", None, None),
        ];
        for (body, code, message) in table {
            assert_eq!(
                error_body(body.as_bytes(), &str::to_owned),
                (code.map(str::to_owned), message.map(str::to_owned)),
                "{body}"
            );
        }
    }

    #[test]
    fn retry_after_in_seconds_or_as_a_date() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            retry_after(&headers)
        };
        assert_eq!(read("3"), Some(Duration::from_secs(3)));
        assert_eq!(read("soon"), None);
        assert_eq!(read("Fri, 01 Jan 1999 00:00:00 GMT"), Some(Duration::ZERO));
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!((95..=100).contains(&read(&later).unwrap().as_secs()));
    }

    #[test]
    fn statuses_become_kinds() {
        for (status, kind, retryable) in [
            (307, ErrorKind::Protocol, false),
            (400, ErrorKind::InvalidArgument, false),
            (401, ErrorKind::Unauthenticated, false),
            (403, ErrorKind::PermissionDenied, false),
            (404, ErrorKind::NotFound, false),
            (429, ErrorKind::ResourceExhausted, true),
            (500, ErrorKind::Unavailable, true),
            (504, ErrorKind::Timeout, true),
        ] {
            let status_code = StatusCode::from_u16(status).unwrap();
            let error = status_error(RequestClass::Poll, status_code, None, b"{}", &str::to_owned);
            assert_eq!((error.kind(), error.is_retryable(), error.http_status()), (kind, retryable, Some(status)));
        }
    }

    #[test]
    fn a_store_error_shows_host_and_code_only() {
        let url = Url::parse("https://store.example/a%3Ab?X-Amz-Signature=canary").unwrap();
        let body = b"<Error><Code>AccessDenied</Code><Message>Request has expired canary</Message></Error>";
        let error = storage_error(&url, StatusCode::FORBIDDEN, body);
        assert_eq!(error.to_string(), "storage host store.example:443 answered HTTP 403 AccessDenied");
        assert!(!format!("{error:?}").contains("canary"));
        // A store that repeats the signature in the place of the code.
        let body = b"<Error><Code>canary</Code></Error>";
        let error = storage_error(&url, StatusCode::FORBIDDEN, body);
        assert_eq!((error.error_code(), error.http_status()), (None, Some(403)));
        assert!(!format!("{error} {error:?}").contains("canary"));
    }

    #[test]
    fn a_secret_at_the_cut_of_a_long_text_is_not_told_in_part() {
        let secret = "dapi-canary-0123456789";
        let body = format!("{}{secret}", "x".repeat(4090));
        let (_, message) = error_body(body.as_bytes(), &|text| masked(text, [secret]));
        assert!(!message.unwrap().contains("dapi"));
    }

    /// Behaviour 8.
    #[tokio::test]
    async fn an_error_body_that_drips_does_not_hold_a_chunk() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let store = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            assert!(connection.read(&mut [0; 4096]).await.unwrap() > 0);
            let head = "HTTP/1.1 403 Forbidden\r\ncontent-length: 2000\r\n\r\n<Error><Code>AccessDenied</Code>";
            connection.write_all(head.as_bytes()).await.unwrap();
            while connection.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let config = SessionConfig::new(&address, "/sql/1.0/warehouses/w", Credentials::access_token("token")).unwrap();
        let tokens = config.sign_ins.tokens(&config).unwrap();
        let client = HttpClient::new(config, tokens).unwrap();
        let url = Url::parse(&format!("{address}/file?sig=canary")).unwrap();
        let started = Instant::now();
        let attempt = client.storage_get(&url, HeaderMap::new(), false).await.err().unwrap();
        assert!(started.elapsed() < 2 * ERROR_BODY_DEADLINE, "{:?}", started.elapsed());
        assert_eq!((attempt.error.http_status(), attempt.error.error_code()), (Some(403), Some("AccessDenied")));
        // The connection is given up with the rest of the body.
        tokio::time::timeout(Duration::from_secs(5), store).await.unwrap().unwrap();
    }
}
