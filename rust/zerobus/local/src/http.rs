//! The HTTP port: tokens, and control over the server as JSON.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use url::form_urlencoded;

use crate::faults::{Fault, FaultRule, Operation, Target};
use crate::options::{LONGEST, Settings};
use crate::service::Service;
use crate::store::Column;
use crate::tokens::TokenRequest;

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// More than any request has.
const MAX_BODY: usize = 4 << 20;

/// A table to create.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTable {
    name: String,
    columns: Vec<Column>,
}

type Answer = Response<Full<Bytes>>;

/// Serves a connection to its end, or until the server stops.
pub(crate) async fn serve(
    stream: TcpStream,
    service: Arc<Service>,
    tls: Option<TlsAcceptor>,
    stop: watch::Receiver<bool>,
) {
    drop(stream.set_nodelay(true));
    let Some(acceptor) = tls else { return serve_http1(stream, service, stop).await };
    if let Ok(Ok(stream)) = timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        serve_http1(stream, service, stop).await;
    }
}

async fn serve_http1<S>(stream: S, service: Arc<Service>, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(answer(&service, request).await) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        _ = connection => {}
    }
}

async fn answer(service: &Service, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return refusal(400, "the body is too large, or did not come");
    };
    let body = body.to_bytes();
    let header = |name| head.headers.get(name).and_then(|value: &hyper::header::HeaderValue| value.to_str().ok());
    let path = head.uri.path();
    if path == "/oidc/v1/token" {
        if head.method != Method::POST {
            return refusal(405, "tokens are asked for by POST");
        }
        return token(service, header("authorization"), header("content-type"), &body).await;
    }
    let text = std::str::from_utf8(&body).unwrap_or_default();
    let query = |name: &str| {
        let query = head.uri.query().unwrap_or_default();
        let found = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let table = query("table");
    let done = |outcome: Result<(), String>| match outcome {
        Ok(()) => as_json(200, &json!({})),
        Err(reason) => refusal(400, &reason),
    };
    match (head.method.as_str(), path) {
        ("POST", "/control/tables") => done(
            seakernel_local::settings::parse_object::<NewTable>(text)
                .map_err(|error| error.to_string())
                .and_then(|table| service.store.create(&table.name, &table.columns)),
        ),
        ("PUT", "/control/faults") => done(
            FaultRule::list_from_json(text)
                .map(|rules| service.faults.replace(rules))
                .map_err(|error| error.to_string()),
        ),
        ("PUT", "/control/settings") => done(
            Settings::from_json(text).map(|settings| service.set_settings(settings)).map_err(|error| error.to_string()),
        ),
        ("POST", "/control/reset") => {
            service.reset();
            done(Ok(()))
        }
        ("GET", "/control/rows") => as_json(200, &service.store.rows(&table)),
        ("GET", "/control/count") => as_json(200, &service.store.row_count(&table)),
        ("GET", "/control/keys") => as_json(200, &service.store.keys(&table, &query("column"))),
        ("GET", "/control/log") => as_json(200, &service.log.read()),
        _ => refusal(404, &format!("there is no {} {path}", head.method)),
    }
}

fn as_json(status: u16, value: &impl Serialize) -> Answer {
    respond(status, "application/json", serde_json::to_vec(value).unwrap_or_default())
}

fn refusal(status: u16, message: &str) -> Answer {
    as_json(status, &json!({"error": message}))
}

fn respond(status: u16, kind: &'static str, body: Vec<u8>) -> Answer {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(kind));
    response
}

async fn token(service: &Service, authorization: Option<&str>, content_type: Option<&str>, body: &[u8]) -> Answer {
    let options = &service.options;
    let credentials = (&*options.client_id, &*options.client_secret);
    let read = TokenRequest::read(authorization, content_type, body, credentials, options.workspace_id.as_deref());
    let asked = match read {
        Ok(asked) => asked,
        Err(refusal) => {
            service.log.write(|log| *log.token_fetches.entry("refused".to_owned()).or_default() += 1);
            service.log.violation(format!("token request: {}", refusal.description));
            let body = json!({"error": refusal.error, "error_description": refusal.description});
            return as_json(refusal.status, &body);
        }
    };
    let key = format!("{} {}", asked.client_id, asked.table);
    service.log.write(|log| *log.token_fetches.entry(key).or_default() += 1);
    let mut life = service.settings().token_life_s;
    let mut expires_in = Some(Value::from(life));
    match service.faults.first(&Target::new(Operation::Token, Some(&asked.table))) {
        // The client goes first, and the connection with it.
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Delay { ms }) => sleep(Duration::from_millis(ms)).await,
        Some(Fault::Http { code, retry_after }) => {
            let mut answer = as_json(code, &json!({"error": "scripted", "error_description": "a scripted fault"}));
            if let Some(seconds) = retry_after {
                answer.headers_mut().insert("retry-after", seconds.into());
            }
            return answer;
        }
        Some(Fault::BadJson) => return respond(200, "application/json", b"{\"access_token\": \"".to_vec()),
        Some(Fault::ExpiresIn { value }) => {
            life = value
                .as_ref()
                .and_then(Value::as_u64)
                .filter(|seconds| (1..=LONGEST).contains(seconds))
                .unwrap_or(life);
            expires_in = value;
        }
        _ => {}
    }
    let text = service.tokens.issue(&asked.table, Duration::from_secs(life));
    let mut body = json!({"access_token": text, "token_type": "Bearer", "scope": "all-apis"});
    if let (Some(expires_in), Some(entries)) = (expires_in, body.as_object_mut()) {
        entries.insert("expires_in".to_owned(), expires_in);
    }
    as_json(200, &body)
}
