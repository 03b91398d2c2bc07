//! HTTP: one retry loop, one place that turns an answer into an error.

mod clients;
mod headers;
pub(crate) mod retry;
mod tls;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use reqwest::{Method, StatusCode, Url};
use tracing::{debug, warn};

use crate::auth::{Credentials, Secret};
use crate::config::{RetryConfig, SessionConfig};
use crate::error::{Error, ErrorKind, Result, sql_state_in};
use crate::results::PresignedUrl;
use retry::{Failure, RequestClass, next_wait};

/// Largest answer of the API that is read. An inline result is at most 25 MiB of data, a third more as base64.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// Storage hosts whose ways are remembered; a result has one or a few.
const MAX_REMEMBERED_HOSTS: usize = 64;

/// Talks to the API with the token, and to storage hosts without it.
///
/// The two are separate clients, so that no default header of one can reach the other. Neither follows redirects: an
/// API that redirects is a routing mistake or a login page, and a signed URL is valid for one host only.
#[derive(Debug)]
pub(crate) struct HttpClient {
    api: reqwest::Client,
    storage: reqwest::Client,
    /// Whether a storage host does ranges, as far as it has shown.
    ranges: Mutex<HashMap<String, bool>>,
    config: SessionConfig,
}

/// A request to the API.
#[derive(Debug)]
pub(crate) struct ApiRequest<'a> {
    pub(crate) class: RequestClass,
    pub(crate) method: Method,
    /// Path below `/api/2.0/sql/`.
    pub(crate) path: &'a str,
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) body: Option<Bytes>,
}

/// One failed attempt: what the retry rule needs, and the error to report if it is the last.
pub(crate) struct Attempt {
    pub(crate) failure: Failure,
    pub(crate) error: Error,
}

impl HttpClient {
    pub(crate) fn new(config: SessionConfig) -> Result<Self> {
        let Credentials::AccessToken(token) = &config.credentials;
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer(token)?);
        headers.insert(USER_AGENT, user_agent(config.user_agent_entry.as_deref())?);
        if let Some(organization_id) = &config.organization_id {
            let value =
                HeaderValue::from_str(organization_id).map_err(|error| internal("org id").with_source(error))?;
            headers.insert(HeaderName::from_static("x-databricks-org-id"), value);
        }
        let api = clients::api(&config, headers)?;
        let storage = clients::storage(&config)?;
        Ok(Self { api, storage, ranges: Mutex::default(), config })
    }

    pub(crate) fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// Sends an API request, repeats it as its class allows, and returns the body of the answer.
    pub(crate) async fn api(&self, request: &ApiRequest<'_>) -> Result<Bytes> {
        let mut url = self.config.host.clone();
        url.set_path(&format!("/api/2.0/sql/{}", request.path));
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(request.query);
        }
        let mut attempts = self.attempts(request.class);
        loop {
            match self.api_once(request, &url).await {
                Ok(body) => return Ok(body),
                Err(attempt) => attempts.failed(attempt).await?,
            }
        }
    }

    async fn api_once(&self, request: &ApiRequest<'_>, url: &Url) -> Result<Bytes, Attempt> {
        let mut builder = self.api.request(request.method.clone(), url.clone());
        if let Some(body) = &request.body {
            builder = builder.header("content-type", "application/json").body(body.clone());
        }
        let response = builder.send().await.map_err(|error| transport_failure(request.class, url, error))?;
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(host_of);
        let body = read_body(request.class, url, response).await?;
        if status.is_success() {
            return Ok(body);
        }
        Err(Attempt {
            failure: Failure::Status { status: status.as_u16(), retry_after },
            error: status_error(request.class, status, location.as_deref(), &body),
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
    pub(crate) async fn storage_get(
        &self,
        url: &Url,
        headers: HeaderMap,
        ranged: bool,
    ) -> Result<reqwest::Response, Attempt> {
        let response = self
            .storage
            .get(url.clone())
            .headers(headers)
            .send()
            .await
            .map_err(|error| transport_failure(RequestClass::Download, url, error))?;
        if response.status().is_success() || (ranged && response.status() == StatusCode::RANGE_NOT_SATISFIABLE) {
            return Ok(response);
        }
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        // The start of the body names the cause; the rest of it is of no use.
        let body = match read_prefix(response, 2048).await {
            Some(body) => body,
            None => Bytes::new(),
        };
        Err(Attempt {
            failure: Failure::Status { status: status.as_u16(), retry_after },
            error: storage_error(url, status, &body),
        })
    }

    /// Starts counting the attempts of one request.
    pub(crate) fn attempts(&self, class: RequestClass) -> Attempts<'_> {
        Attempts { class, config: &self.config.retry, started: Instant::now(), failed: 0 }
    }
}

/// The attempts of one request: the only place that decides to send something again.
pub(crate) struct Attempts<'a> {
    class: RequestClass,
    config: &'a RetryConfig,
    started: Instant,
    failed: u32,
}

impl Attempts<'_> {
    /// Returns how many attempts have failed so far.
    pub(crate) fn count(&self) -> u32 {
        self.failed
    }

    /// Waits until the next attempt may be made, or returns the error with what it took.
    pub(crate) async fn failed(&mut self, attempt: Attempt) -> Result<()> {
        self.failed += 1;
        let Attempt { failure, error } = attempt;
        let elapsed = self.started.elapsed();
        let Some(wait) = next_wait(self.class, failure, self.failed, elapsed, rand::random(), self.config) else {
            // What may not be repeated by us may not be advertised as repeatable either.
            let sent = self.class == RequestClass::Execute && failure == Failure::Broken;
            let retryable = error.is_retryable() && !sent;
            return Err(error.with_attempts(self.failed, elapsed).with_retryable(retryable));
        };
        warn!(
            request = self.class.name(),
            attempts = self.failed,
            wait_ms = wait.as_millis() as u64,
            cause = %error,
            "request failed and is repeated"
        );
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

fn bearer(token: &Secret) -> Result<HeaderValue> {
    if token.expose().is_empty() {
        return Err(Error::new(ErrorKind::InvalidArgument, "access_token is empty"));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| {
        Error::new(
            ErrorKind::InvalidArgument,
            "access_token contains characters that no token has, perhaps a line break",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
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

fn transport_failure(class: RequestClass, url: &Url, error: reqwest::Error) -> Attempt {
    let failure = if error.is_connect() || error.is_builder() { Failure::NotSent } else { Failure::Broken };
    let kind = if error.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Network };
    let what = match (failure, class) {
        (Failure::NotSent, _) => format!("{}: no connection to {}", class.name(), host_and_port(url)),
        (_, RequestClass::Execute) => format!(
            "{}: the connection to {} broke before the answer was complete; the statement may have run and is not sent again",
            class.name(),
            host_and_port(url)
        ),
        _ => format!("{}: the connection to {} broke", class.name(), host_and_port(url)),
    };
    Attempt { failure, error: Error::new(kind, what).with_source(error.without_url()) }
}

async fn read_body(class: RequestClass, url: &Url, mut response: reqwest::Response) -> Result<Bytes, Attempt> {
    let mut body = Vec::with_capacity(response.content_length().map_or(0, |length| length.min(1 << 20) as usize));
    loop {
        match response.chunk().await {
            Ok(Some(piece)) if body.len() + piece.len() > MAX_ANSWER_BYTES => {
                let text = format!("{}: the answer is larger than {MAX_ANSWER_BYTES} bytes", class.name());
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

async fn read_prefix(mut response: reqwest::Response, limit: usize) -> Option<Bytes> {
    let mut prefix = Vec::new();
    while prefix.len() < limit {
        match response.chunk().await {
            Ok(Some(piece)) => prefix.extend_from_slice(&piece),
            Ok(None) => break,
            Err(_) => return None,
        }
    }
    prefix.truncate(limit);
    Some(prefix.into())
}

/// Reads `Retry-After`: seconds, as the platform sends it, or an HTTP date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(86_400)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// The one place where an HTTP status of the API becomes an error.
fn status_error(class: RequestClass, status: StatusCode, location: Option<&str>, body: &[u8]) -> Error {
    let (error_code, message) = error_body(body);
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
        .filter(|code| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    debug!(host = host_and_port(url), status = status.as_u16(), code, "storage refused a download");
    let message = match code {
        Some(code) => format!("storage host {} answered HTTP {} {code}", host_and_port(url), status.as_u16()),
        None => format!("storage host {} answered HTTP {}", host_and_port(url), status.as_u16()),
    };
    Error::new(kind, message).with_http_status(status.as_u16()).with_error_code(code.map(str::to_owned))
}

/// Reads code and message of an error answer: JSON in its old and new form (the code may be a number), or text.
fn error_body(body: &[u8]) -> (Option<String>, Option<String>) {
    if let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(body) {
        let code = fields.get("error_code").map(|code| match code {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let message = ["message", "error", "detail"].iter().find_map(|key| fields.get(*key)?.as_str().map(clean));
        return (code, message);
    }
    let text = String::from_utf8_lossy(body.get(..body.len().min(4096)).unwrap_or_default());
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
    use super::*;

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
            assert_eq!(error_body(body.as_bytes()), (code.map(str::to_owned), message.map(str::to_owned)), "{body}");
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
            let error = status_error(RequestClass::Poll, StatusCode::from_u16(status).unwrap(), None, b"{}");
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
    }
}
