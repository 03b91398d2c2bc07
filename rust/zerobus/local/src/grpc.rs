//! gRPC on top of HTTP/2: status codes, their details, and messages cut out of DATA frames.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::RecvStream;
use http::{HeaderMap, HeaderValue};
use prost::Message;
use prost_types::Any;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};

use crate::faults::Break;
use crate::wire::{RpcErrorInfo, RpcRetryInfo, RpcStatus};

/// The flag and the length before every message.
pub(crate) const PREFIX: usize = 5;
/// No more is reserved for a message than has come, or this.
const RESERVED: usize = 1 << 20;

/// A status code of gRPC; in JSON by its name, such as `"INVALID_ARGUMENT"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names of gRPC")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorInfo {
    /// Such as `SCHEMA_VALIDATION_FAILED`.
    pub reason: String,
    /// Such as `zerobus.databricks.com`.
    pub domain: String,
    /// Such as `causes` and `error_code`.
    pub metadata: BTreeMap<String, String>,
}

/// How a call ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) error_info: Option<ErrorInfo>,
    pub(crate) retry_after: Option<Duration>,
}

impl Status {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), error_info: None, retry_after: None }
    }

    pub(crate) fn ok() -> Self {
        Self::new(Code::Ok, "")
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    pub(crate) fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(self.code as u16));
        if !self.message.is_empty()
            && let Ok(message) = HeaderValue::try_from(percent_encoded(&self.message))
        {
            trailers.insert("grpc-message", message);
        }
        let mut details = Vec::new();
        if let Some(ErrorInfo { reason, domain, metadata }) = self.error_info.clone() {
            details.push(any("google.rpc.ErrorInfo", &RpcErrorInfo { reason, domain, metadata }));
        }
        if let Some(retry_delay) = self.retry_after {
            let retry_delay = prost_types::Duration::try_from(retry_delay).ok();
            details.push(any("google.rpc.RetryInfo", &RpcRetryInfo { retry_delay }));
        }
        if !details.is_empty() {
            let status = RpcStatus { code: self.code as i32, message: self.message.clone(), details };
            let text = STANDARD_NO_PAD.encode(status.encode_to_vec());
            if let Ok(value) = HeaderValue::try_from(text) {
                trailers.insert("grpc-status-details-bin", value);
            }
        }
        trailers
    }
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

/// What `grpc-message` may not hold as it is.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(byte.into()),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// A message with its prefix.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX + message.encoded_len());
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    // The buffer grows as needed, so this cannot fail.
    let _ = message.encode(&mut frame);
    frame.freeze()
}

/// Why no message came.
#[derive(Debug)]
pub(crate) enum ReadEnd {
    /// The client is done and says so.
    HalfClosed,
    /// The client reset the call, or the connection is gone.
    Broken(String),
    /// What came is no message; the status says why.
    Malformed(Status),
    /// As many bytes have come as were waited for, and now the stream breaks.
    Enough(Break),
}

/// The messages of a client, one after another.
#[derive(Debug)]
pub(crate) struct MessageReader {
    body: RecvStream,
    buffer: BytesMut,
    /// Bytes that have come, prefixes and all.
    pub(crate) bytes: u64,
    /// The longest message taken.
    pub(crate) limit: usize,
    /// From when on to read again.
    pub(crate) resume_at: Option<Instant>,
    /// The pace of reading.
    pub(crate) bytes_per_second: Option<u32>,
    /// How many bytes break the stream, and how.
    pub(crate) enough: Option<(u64, Break)>,
}

impl MessageReader {
    pub(crate) fn new(body: RecvStream, limit: usize) -> Self {
        Self { body, buffer: BytesMut::new(), bytes: 0, limit, resume_at: None, bytes_per_second: None, enough: None }
    }

    /// Waits for a message. Cancel safe: what has come so far is kept.
    pub(crate) async fn next(&mut self) -> Result<Bytes, ReadEnd> {
        loop {
            if let Some((_, by)) = self.enough.filter(|(enough, _)| self.bytes >= *enough) {
                return Err(ReadEnd::Enough(by));
            }
            if let Some(instant) = self.resume_at {
                sleep_until(instant).await;
                self.resume_at = None;
            }
            if let Some(message) = self.cut()? {
                return Ok(message);
            }
            let data = match poll_fn(|context| self.body.poll_data(context)).await {
                Some(Ok(data)) => data,
                Some(Err(error)) => return Err(ReadEnd::Broken(error.to_string())),
                None if self.buffer.is_empty() => return Err(ReadEnd::HalfClosed),
                None => return Err(ReadEnd::Malformed(Status::invalid("the call ends within a message"))),
            };
            // Fails only when the call is gone, which the next read tells.
            drop(self.body.flow_control().release_capacity(data.len()));
            self.bytes += data.len() as u64;
            if let Some(pace) = self.bytes_per_second {
                let pause = Duration::from_secs_f64(data.len() as f64 / f64::from(pace.max(1)));
                self.resume_at = Some(Instant::now() + pause);
            }
            self.buffer.extend_from_slice(&data);
        }
    }

    /// Cuts off a message that is there whole.
    fn cut(&mut self) -> Result<Option<Bytes>, ReadEnd> {
        let mut head: &[u8] = &self.buffer;
        if head.len() < PREFIX {
            return Ok(None);
        }
        let (flag, length) = (head.get_u8(), head.get_u32() as usize);
        if flag != 0 {
            return Err(ReadEnd::Malformed(Status::new(Code::Unimplemented, "compressed messages are not taken")));
        }
        if length > self.limit {
            let text = format!("a message of {length} bytes is larger than the limit of {} bytes", self.limit);
            return Err(ReadEnd::Malformed(Status::new(Code::OutOfRange, text)));
        }
        if head.len() < length {
            let missing = length - head.len();
            self.buffer.reserve(missing.min(RESERVED));
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_written_into_trailers() {
        let mut status = Status::new(Code::ResourceExhausted, "100 % für alle");
        status.error_info = Some(ErrorInfo { reason: "R".to_owned(), ..ErrorInfo::default() });
        status.retry_after = Some(Duration::from_millis(1500));
        let trailers = status.trailers();
        assert_eq!(trailers["grpc-status"], "8");
        assert_eq!(trailers["grpc-message"], "100 %25 f%C3%BCr alle");
        let details = STANDARD_NO_PAD.decode(&trailers["grpc-status-details-bin"]).unwrap();
        let details = RpcStatus::decode(&*details).unwrap();
        assert_eq!(details.code, 8);
        assert_eq!(details.details[0].type_url, "type.googleapis.com/google.rpc.ErrorInfo");
        assert_eq!(RpcErrorInfo::decode(&*details.details[0].value).unwrap().reason, "R");
        let retry = RpcRetryInfo::decode(&*details.details[1].value).unwrap().retry_delay.unwrap();
        assert_eq!((retry.seconds, retry.nanos), (1, 500_000_000));
    }
}
