//! The way to the service: one connection per stream, opened with the table, the descriptor and a token.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, TE};
use http::{Method, Request, Response, Uri, Version};
use hyper::rt::Executor;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codec::Streaming;
use tonic::codegen::Service as _;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tracing::debug;

use crate::authorities::{self, Authorities};
use crate::config::{IngestMode, WrapperConfiguration};
use crate::error::ZerobusError;
use crate::proxy;
use crate::retry::{Phase, Refusal, Verdict};
use crate::stream::{Limits, Outgoing, Stream};
use crate::telemetry::{Opening, Span, Telemetry};
use crate::token::{Token, Tokens};
use crate::wire::{self, Answer, Answers, TABLE_HEADER};

/// Silence after which the connection is asked whether it lives, and how long it may take to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// Largest answer that is read; acknowledgements have a few bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// How the status begins that tonic makes of a longer one, with a code that would be about our rows.
const TOO_LONG: &str = "Error, decoded message length too large";

/// The table at its service.
pub(crate) struct Service {
    mode: IngestMode,
    endpoint: Endpoint,
    proxy: Option<Tunnel<HttpConnector>>,
    uri: Uri,
    table_name: String,
    table: HeaderValue,
    tokens: Arc<Tokens>,
    open_limit: Duration,
    limits: Limits,
    telemetry: Arc<Telemetry>,
}

/// A connection with all its tasks, which end with it.
pub(crate) struct Connection {
    tasks: Tasks,
}

/// The tasks of one connection.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Option<JoinSet<()>>>>);

impl Service {
    /// Prepares the way; nothing is sent.
    ///
    /// # Errors
    /// `ConfigurationError` for what can be no address, no header or no certificate.
    pub(crate) fn new(config: &WrapperConfiguration, telemetry: &Arc<Telemetry>) -> Result<Self, ZerobusError> {
        let invalid = |name: &str, why: &str| ZerobusError::configuration(format!("`{name}` {why}"));
        let uri: Uri = config.zerobus_endpoint.parse().map_err(|_| invalid("endpoint", "is not an address"))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| invalid("endpoint", "names no host"))?;
        let first_label = host.split('.').next().unwrap_or(host);
        let workspace_id = config.workspace_id.as_deref().unwrap_or(first_label);
        let mut agent = format!("seakernel-zerobus/{}", env!("CARGO_PKG_VERSION"));
        if let Some(application) = &config.application_name {
            agent = format!("{agent} {application}");
        }
        let mut endpoint = Endpoint::from(uri.clone())
            .user_agent(agent)
            .map_err(|_| invalid("application_name", "cannot be in a header"))?
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1);
        let further = config.tls_ca_file.as_deref().map(Authorities::read).transpose()?;
        if uri.scheme_str() == Some("https") {
            endpoint = endpoint
                .tls_config(authorities::trusting(further.as_ref())?)
                .map_err(|error| invalid("endpoint", &format!("cannot be reached by TLS: {}", chain(&error))))?;
        }
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static(path(config.ingest_mode)));
        Ok(Self {
            mode: config.ingest_mode,
            endpoint,
            proxy: proxy::tunnel(&uri)?,
            uri: Uri::from_parts(parts).map_err(|_| invalid("endpoint", "is not an address"))?,
            table: HeaderValue::from_str(&config.table_name).map_err(|_| invalid("table_name", "is not a name"))?,
            table_name: config.table_name.clone(),
            tokens: Tokens::new(config, workspace_id, further, Arc::clone(telemetry))?,
            open_limit: Duration::from_millis(config.connect_timeout_ms),
            limits: Limits { ack: Duration::from_millis(config.ack_timeout_ms) },
            telemetry: Arc::clone(telemetry),
        })
    }

    /// Opens a stream for messages of `descriptor`, or for batches with the framed schema that it is. Where the token is
    /// refused, another is tried, once.
    pub(crate) async fn open(&self, descriptor: &Bytes, reason: Opening, span: &Span) -> Result<Arc<Stream>, Refusal> {
        let mut refused = None;
        loop {
            let token = self.tokens.get(refused, span).await?;
            let Ok(opened) = tokio::time::timeout(self.open_limit, self.open_with(&token, descriptor, reason)).await
            else {
                let seconds = self.open_limit.as_secs_f64();
                return Err(Refusal::connection(format!("no stream was opened within {seconds} s")));
            };
            match opened {
                Err(refusal) if refusal.verdict == Verdict::NewToken && refused.is_none() => {
                    debug!("the token was refused and is renewed");
                    refused = Some(token.generation);
                }
                Err(refusal) if refusal.verdict == Verdict::NewToken => {
                    return Err(Refusal { verdict: Verdict::Final, ..refusal });
                }
                opened => return opened,
            }
        }
    }

    /// Sees to it that this token is not sent again.
    pub(crate) async fn token_refused(&self, generation: u64, span: &Span) -> Result<(), Refusal> {
        self.tokens.get(Some(generation), span).await.map(drop)
    }

    async fn open_with(&self, token: &Token, descriptor: &Bytes, reason: Opening) -> Result<Arc<Stream>, Refusal> {
        let tasks = Tasks(Arc::new(Mutex::new(Some(JoinSet::new()))));
        // Held from here on: whoever gives up ends the connection.
        let connection = Connection { tasks: tasks.clone() };
        let endpoint = self.endpoint.clone().executor(tasks);
        let connected = match &self.proxy {
            Some(tunnel) => endpoint.connect_with_connector(tunnel.clone()).await,
            None => endpoint.connect().await,
        };
        let mut channel = connected.map_err(|error| {
            let way = if self.proxy.is_some() { " by its proxy" } else { "" };
            Refusal::connection(format!("{} cannot be reached{way}: {}", self.host(), chain(&error)))
        })?;
        let (outgoing, sending) = Outgoing::new(match self.mode {
            IngestMode::Proto => wire::create_stream(&self.table_name, descriptor),
            IngestMode::Arrow => descriptor.clone(),
        });
        let request = self.request(token, Body::new(outgoing))?;
        let answer = call(&mut channel, request, token).await?;
        let mut answers = answers(answer, self.mode, token)?;
        match answers.message().await {
            Ok(Some(answer)) => {
                let stream_id = answer.opens().map_err(Refusal::connection)?;
                debug!(stream_id, "a stream was opened");
                self.telemetry.stream_opened(reason);
                Ok(Stream::begin(sending, answers, channel, connection, self.limits, token.clone()))
            }
            Ok(None) => Err(Refusal::connection("the service ended the stream before it was created")),
            Err(status) => Err(refusal_of(&status, Phase::Opening, token)),
        }
    }

    fn request(&self, token: &Token, body: Body) -> Result<Request<Body>, Refusal> {
        Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(self.uri.clone())
            .header(TE, HeaderValue::from_static("trailers"))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
            .header(AUTHORIZATION, token.header.clone())
            .header(HeaderName::from_static(TABLE_HEADER), self.table.clone())
            .body(body)
            .map_err(|error| Refusal::of(ZerobusError::configuration(format!("no request can be made: {error}"))))
    }

    fn host(&self) -> &str {
        self.uri.authority().map_or("the service", |authority| authority.as_str())
    }
}

async fn call(channel: &mut Channel, request: Request<Body>, token: &Token) -> Result<Response<Body>, Refusal> {
    let broken = |error| Refusal::connection(format!("the connection broke: {}", token.masked(&chain(&error))));
    std::future::poll_fn(|context| channel.poll_ready(context)).await.map_err(broken)?;
    channel.call(request).await.map_err(broken)
}

/// The path of the call.
fn path(mode: IngestMode) -> &'static str {
    match mode {
        #[cfg(feature = "flight")]
        IngestMode::Arrow => crate::put::PATH,
        _ => wire::PATH,
    }
}

fn answers(response: Response<Body>, mode: IngestMode, token: &Token) -> Result<Streaming<Answer>, Refusal> {
    if let Some(status) = Status::from_header_map(response.headers()) {
        return match status.code() {
            Code::Ok => Err(Refusal::connection("the service ended the stream before it was created")),
            _ => Err(Refusal::of_status(&status, Phase::Opening, token)),
        };
    }
    let status = response.status();
    Ok(Streaming::new_response(Answers(mode), response.into_body(), status, None, Some(MAX_ANSWER_BYTES)))
}

/// Reads how a call ended; a status that the service did not give is that of the connection.
pub(crate) fn refusal_of(status: &Status, phase: Phase, token: &Token) -> Refusal {
    match std::error::Error::source(status) {
        Some(cause) => Refusal::connection(format!("the connection broke: {}", token.masked(&chain(cause)))),
        None if status.message().starts_with(TOO_LONG) => Refusal::connection("an answer of the service is too long"),
        None => Refusal::of_status(status, phase, token),
    }
}

/// Writes an error with its causes, without those that say the same.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

impl Executor<Pin<Box<dyn Future<Output = ()> + Send>>> for Tasks {
    fn execute(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        // None are begun after the end.
        if let Some(tasks) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            tasks.spawn(task);
        }
    }
}

impl Connection {
    /// Waits until the tasks have come to their ends by themselves, but not long.
    pub(crate) async fn ended(self, limit: Duration) {
        let tasks = self.tasks.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut tasks) = tasks {
            let all = async { while tasks.join_next().await.is_some() {} };
            drop(tokio::time::timeout(limit, all).await);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        drop(self.tasks.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Service").field("uri", &self.uri).finish_non_exhaustive()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Connection(...)")
    }
}
