//! One answer, until it is on its way: plain, paced or broken off.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use http_body_util::{Either, Full};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use crate::wire::ErrorBody;

/// The body of an answer on the way out.
pub(crate) type AnswerBody = Either<Full<Bytes>, Channel<Bytes, BrokenOff>>;

/// A status, headers and a whole body, with the way it is to be sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) bytes_per_second: Option<NonZeroU32>,
    /// Bytes after which the connection is closed, although all were announced.
    pub(crate) break_after: Option<u64>,
    /// Before it is closed, nothing comes for [`SILENCE`].
    pub(crate) falls_silent: bool,
}

impl Answer {
    pub(crate) fn bytes(status: StatusCode, body: Bytes) -> Self {
        Self { status, headers: HeaderMap::new(), body, bytes_per_second: None, break_after: None, falls_silent: false }
    }

    pub(crate) fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::typed(StatusCode::OK, "application/json", body),
            Err(error) => Self::error(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", &error.to_string()),
        }
    }

    /// An error of the API; the code is a text or, as some real ones, a number.
    pub(crate) fn error(status: StatusCode, error_code: impl Into<Value>, message: &str) -> Self {
        let body = serde_json::to_vec(&ErrorBody { error_code: error_code.into(), message }).unwrap_or_default();
        let mut answer = Self::typed(status, "application/json", body);
        answer.insert(HeaderName::from_static("x-databricks-reason-phrase"), message);
        answer
    }

    /// An error of the store.
    pub(crate) fn xml(status: StatusCode, code: &str, message: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        );
        Self::typed(status, "application/xml", body.into_bytes())
    }

    pub(crate) fn typed(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Self {
        let mut answer = Self::bytes(status, Bytes::from(body));
        answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        answer
    }

    /// Adds a header, unless the value cannot be one.
    pub(crate) fn insert(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }

    /// Sets the answer in motion; a paced or broken one is fed by a task of its own.
    pub(crate) fn into_response(self) -> Response<AnswerBody> {
        let length = self.body.len() as u64;
        let body = if self.bytes_per_second.is_none() && self.break_after.is_none_or(|bytes| bytes >= length) {
            Either::Left(Full::new(self.body))
        } else {
            let (sender, channel) = Channel::new(1);
            let pause = if self.falls_silent { SILENCE } else { LAST_BYTES_PAUSE };
            tokio::spawn(feed(sender, self.body, self.bytes_per_second, self.break_after, pause));
            Either::Right(channel)
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        if self.status != StatusCode::NO_CONTENT {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        response
    }
}

/// Twenty pieces a second are smooth enough.
const PIECES_PER_SECOND: u32 = 20;
/// Without a pause the connection would be torn down before the last bytes had left it.
const LAST_BYTES_PAUSE: Duration = Duration::from_millis(30);
/// Longer than any test waits for a byte.
const SILENCE: Duration = Duration::from_secs(60);

async fn feed(
    mut sender: Sender<Bytes, BrokenOff>,
    mut body: Bytes,
    bytes_per_second: Option<NonZeroU32>,
    break_after: Option<u64>,
    pause: Duration,
) {
    let length = body.len() as u64;
    let sent = break_after.map_or(length, |bytes| bytes.min(length));
    let mut rest = body.split_to(usize::try_from(sent).unwrap_or_default());
    let started = Instant::now();
    let mut done = 0_u64;
    while !rest.is_empty() {
        let size = bytes_per_second.map_or(rest.len(), |pace| (pace.get() / PIECES_PER_SECOND).max(1) as usize);
        let piece = rest.split_to(size.min(rest.len()));
        done += piece.len() as u64;
        if let Some(pace) = bytes_per_second {
            let due = Duration::from_secs_f64(done as f64 / f64::from(pace.get()));
            sleep_until(started + due).await;
        }
        if sender.send_data(piece).await.is_err() {
            return;
        }
    }
    if sent < length {
        sleep(pause).await;
        sender.abort(BrokenOff);
    }
}

/// A body that was broken off on purpose.
#[derive(Debug)]
pub(crate) struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the body was broken off on purpose")
    }
}

impl std::error::Error for BrokenOff {}
