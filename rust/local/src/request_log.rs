//! The record of every request, for assertions about what a client sent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, USER_AGENT};
use serde::Serialize;
use serde_json::Value;

use crate::faults::Operation;
use crate::store::SIGNATURE_KEY;

/// Longer texts are cut in the log, or a suite of large statements would fill the memory.
const MAX_TEXT: usize = 4096;

/// One request to either origin.
#[derive(Clone, Debug, Serialize)]
pub struct RequestRecord {
    /// Counts all requests in order of arrival, from 0.
    pub sequence: u64,
    /// Milliseconds from the start of the server to the arrival.
    pub offset_ms: f64,
    /// Milliseconds from the arrival to the head of the answer.
    pub duration_ms: Option<f64>,
    /// Which of the two origins was asked.
    pub origin: Origin,
    /// Numbers the connections of both origins; equal numbers share one.
    pub connection: u64,
    /// The HTTP method.
    pub method: String,
    /// The path as sent, still escaped.
    pub path: String,
    /// The query's pairs, unescaped; the signature of a link is left out.
    pub query: BTreeMap<String, String>,
    /// The names of the headers, sorted.
    pub headers: Vec<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// Whether an `Authorization` header came.
    pub authorization: bool,
    /// The `Range` header.
    pub range: Option<String>,
    /// What the request does, if it is known to the server.
    pub operation: Option<Operation>,
    /// The statement concerned; for a submission the one it created.
    pub statement_id: Option<String>,
    /// The chunk concerned.
    pub chunk_index: Option<u64>,
    /// The `row_offset` of a chunk call.
    pub row_offset: Option<i64>,
    /// The HTTP status answered; absent while the answer is due, and when the connection was dropped.
    pub status: Option<u16>,
    /// The bytes of the body answered, as announced.
    pub bytes: Option<u64>,
    /// The name of the fault that disturbed it.
    pub fault: Option<&'static str>,
    /// What a request for tokens asks by.
    pub grant_type: Option<String>,
    /// The pairs of a body for the identity provider; secrets are left out.
    pub form: Option<BTreeMap<String, String>>,
    /// The JSON body sent, without the values of parameters and with long texts cut.
    pub body: Option<Value>,
}

/// The two listening sides of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The Statement Execution API.
    Api,
    /// The presigned result files.
    Storage,
}

/// What is known of a request at its arrival.
#[derive(Debug)]
pub(crate) struct Arrival<'request> {
    pub(crate) origin: Origin,
    pub(crate) connection: u64,
    pub(crate) method: &'request str,
    pub(crate) path: &'request str,
    pub(crate) query: Option<&'request str>,
    pub(crate) headers: &'request HeaderMap,
}

#[derive(Debug)]
pub(crate) struct RequestLog {
    started: Instant,
    capacity: usize,
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    next: u64,
    bytes_sent: u64,
    kept: VecDeque<RequestRecord>,
}

impl RequestLog {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { started: Instant::now(), capacity: capacity.max(1), records: Mutex::default() }
    }

    pub(crate) fn records(&self) -> Vec<RequestRecord> {
        self.lock().kept.iter().cloned().collect()
    }

    /// How many requests came and how many bytes of bodies were answered, forgotten records included.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let records = self.lock();
        (records.next, records.bytes_sent)
    }

    /// Notes an arrival; the entry tells the rest of the story.
    pub(crate) fn begin(self: &Arc<Self>, arrival: &Arrival<'_>) -> LogEntry {
        let mut headers: Vec<String> = arrival.headers.keys().map(ToString::to_string).collect();
        headers.sort_unstable();
        let text = |name| arrival.headers.get(name).and_then(|value| value.to_str().ok()).map(cut);
        let arrived = Instant::now();
        let mut records = self.lock();
        let sequence = records.next;
        records.next += 1;
        if records.kept.len() >= self.capacity {
            records.kept.pop_front();
        }
        records.kept.push_back(RequestRecord {
            sequence,
            offset_ms: milliseconds(self.started, arrived),
            duration_ms: None,
            origin: arrival.origin,
            connection: arrival.connection,
            method: arrival.method.to_owned(),
            path: cut(arrival.path),
            query: query_pairs(arrival.query.unwrap_or_default()),
            headers,
            user_agent: text(USER_AGENT.as_str()),
            authorization: arrival.headers.contains_key(AUTHORIZATION),
            range: text("range"),
            operation: None,
            statement_id: None,
            chunk_index: None,
            row_offset: None,
            status: None,
            bytes: None,
            fault: None,
            grant_type: None,
            form: None,
            body: None,
        });
        LogEntry { log: Arc::clone(self), sequence, arrived }
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle to one record.
#[derive(Debug)]
pub(crate) struct LogEntry {
    log: Arc<RequestLog>,
    sequence: u64,
    arrived: Instant,
}

impl LogEntry {
    /// Changes the record, unless it has been pushed out meanwhile.
    pub(crate) fn update(&self, change: impl FnOnce(&mut RequestRecord)) {
        let mut records = self.log.lock();
        let Some(first) = records.kept.front().map(|record| record.sequence) else { return };
        let place = self.sequence.checked_sub(first).and_then(|place| usize::try_from(place).ok());
        if let Some(record) = place.and_then(|place| records.kept.get_mut(place)) {
            change(record);
        }
    }

    pub(crate) fn finish(&self, status: u16, bytes: u64) {
        let duration = milliseconds(self.arrived, Instant::now());
        self.log.lock().bytes_sent += bytes;
        self.update(|record| {
            record.status = Some(status);
            record.bytes = Some(bytes);
            record.duration_ms = Some(duration);
        });
    }
}

fn milliseconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1000.0
}

fn cut(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let kept: String = text.chars().take(MAX_TEXT).collect();
    format!("{kept}... ({} bytes)", text.len())
}

/// The pairs of a query, unescaped; credentials do not get in: the signature of a link, the state of a
/// sign-in.
fn query_pairs(query: &str) -> BTreeMap<String, String> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .take(100)
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| {
            let value =
                if key == SIGNATURE_KEY || key == "state" { "REDACTED".to_owned() } else { cut(&unescaped(value)) };
            (cut(&unescaped(key)), value)
        })
        .collect()
}

/// Undoes percent-escapes; what is not valid stays as it is.
pub(crate) fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escape = (*first == b'%').then(|| tail.first_chunk::<2>()).flatten();
        let byte = escape
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(match (byte, *first) {
            (Some(byte), _) => byte,
            (None, b'+') => b' ',
            (None, other) => other,
        });
        rest = if byte.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A JSON body fit for the log: no values of parameters, no credentials, no endless texts.
pub(crate) fn loggable(body: &[u8]) -> Option<Value> {
    let mut body: Value = serde_json::from_slice(body).ok()?;
    if let Some(Value::Array(parameters)) = body.get_mut("parameters") {
        for parameter in parameters.iter_mut().filter_map(Value::as_object_mut) {
            parameter.remove("value");
        }
    }
    shorten(&mut body);
    Some(body)
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > MAX_TEXT => *text = cut(text),
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_values_and_signatures_stay_out() {
        let body = loggable(br#"{"statement":"SELECT ?","parameters":[{"ordinal":1,"type":"INT","value":"42"}]}"#);
        assert_eq!(body.unwrap().to_string(), r#"{"parameters":[{"ordinal":1,"type":"INT"}],"statement":"SELECT ?"}"#);
        assert_eq!(loggable(b"\x18\x00 not json"), None);
        let pairs = query_pairs(&format!("a=b%20c&d&{SIGNATURE_KEY}=secret"));
        assert_eq!(pairs[SIGNATURE_KEY], "REDACTED");
        assert_eq!((pairs["a"].as_str(), pairs["d"].as_str()), ("b c", ""));
    }

    #[test]
    fn broken_escapes_survive() {
        for (text, expected) in [("%3a%2F", ":/"), ("%zz%", "%zz%"), ("%2", "%2"), ("%ff", "\u{fffd}"), ("ä%20", "ä ")]
        {
            assert_eq!(unescaped(text), expected, "{text}");
        }
    }

    #[test]
    fn the_oldest_records_leave_first_and_late_news_of_them_is_dropped() {
        let log = Arc::new(RequestLog::new(2));
        let headers = HeaderMap::new();
        let arrival =
            Arrival { origin: Origin::Api, connection: 0, method: "GET", path: "/", query: None, headers: &headers };
        let entries: Vec<LogEntry> = (0..3).map(|_| log.begin(&arrival)).collect();
        for entry in &entries {
            entry.finish(200, 1);
        }
        let records = log.records();
        assert_eq!(records.iter().map(|record| record.sequence).collect::<Vec<_>>(), [1, 2]);
        assert!(records.iter().all(|record| record.status == Some(200)));
    }
}
