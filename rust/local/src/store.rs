//! The storage origin: presigned links and the files behind them.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::{RecordBatch, new_null_array};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use bytes::Bytes;
use hyper::header::{
    ACCEPT_RANGES, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE,
};
use hyper::{Method, StatusCode};
use time::OffsetDateTime;

use crate::answer::Answer;
use crate::arrow_body::{self, Lz4};
use crate::chunking::rows_between;
use crate::clock::{basic_stamp, escaped_stamp};
use crate::faults::Fault;
use crate::result::{Chunk, Format, StatementResult};
use crate::switches::{Cloud, Lz4Framing, Switches};

/// The query key of a link's signature; its value is a credential.
pub(crate) const SIGNATURE_KEY: &str = "X-Amz-Signature";
/// Every signature begins so: where this text appears in a log or an error, a signature has leaked.
const SIGNATURE_START: &str = "local-signature-";

const FOLDER: &str = "warehouse-results";
const FILE_SUFFIX: &str = "%2Bpart";

/// Signs links with a secret of its own; two keyed hashes are plenty against accidents on loopback.
#[derive(Debug, Default)]
pub(crate) struct LinkSigner {
    keys: [RandomState; 2],
    /// Links signed so far: no two are equal, not even within a millisecond.
    signed: AtomicU64,
}

/// The file a link names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkedFile<'path> {
    pub(crate) statement_id: &'path str,
    pub(crate) chunk_index: usize,
}

/// Why a link does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    BadSignature,
    Expired,
}

impl LinkSigner {
    /// The path and query of a fresh link.
    ///
    /// The path holds escapes a client must send back as they are, as real signed paths do.
    pub(crate) fn link(
        &self,
        statement_id: &str,
        chunk_index: usize,
        now: OffsetDateTime,
        lifetime_seconds: f64,
    ) -> String {
        let path = format!("/{FOLDER}/{}/{statement_id}/results_{chunk_index}{FILE_SUFFIX}", escaped_stamp(now));
        self.sign(&path, &Method::GET, now, lifetime_seconds)
    }

    /// The path with the query that makes it a link, good for one method.
    pub(crate) fn sign(&self, path: &str, method: &Method, now: OffsetDateTime, lifetime_seconds: f64) -> String {
        let lifetime_ms = (lifetime_seconds.clamp(0.0, 1e9) * 1000.0) as i128;
        let deadline = now.unix_timestamp_nanos() / 1_000_000 + lifetime_ms;
        let signed = format!(
            "{path}?X-Amz-Algorithm=LOCAL-SIPHASH&X-Amz-Date={}&X-Amz-Expires={}&X-Amz-SignedHeaders=host\
             &X-Local-Serial={}&X-Local-Method={method}&X-Local-Deadline={deadline}",
            basic_stamp(now),
            lifetime_ms / 1000,
            self.signed.fetch_add(1, Ordering::Relaxed),
        );
        let signature = self.signature(&signed);
        format!("{signed}&{SIGNATURE_KEY}={signature}")
    }

    /// Finds the file of a request, which must carry the link byte for byte.
    pub(crate) fn open<'path>(
        &self,
        path: &'path str,
        query: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<LinkedFile<'path>, Refusal> {
        self.check(path, query, &Method::GET, now)?;
        linked_file(path).ok_or(Refusal::BadSignature)
    }

    /// Checks the signature of a link, its method and its end.
    pub(crate) fn check(
        &self,
        path: &str,
        query: Option<&str>,
        method: &Method,
        now: OffsetDateTime,
    ) -> Result<(), Refusal> {
        let query = query.unwrap_or_default();
        let (signed_query, signature) = query.rsplit_once('&').ok_or(Refusal::BadSignature)?;
        let expected = self.signature(&format!("{path}?{signed_query}"));
        if signature.strip_prefix(SIGNATURE_KEY).and_then(|value| value.strip_prefix('=')) != Some(&expected) {
            return Err(Refusal::BadSignature);
        }
        let deadline = signed_query.rsplit_once("X-Local-Deadline=").and_then(|(_, value)| value.parse::<i128>().ok());
        if deadline.is_none_or(|deadline| now.unix_timestamp_nanos() / 1_000_000 >= deadline) {
            return Err(Refusal::Expired);
        }
        if !signed_query.contains(&format!("&X-Local-Method={method}&")) {
            return Err(Refusal::BadSignature);
        }
        Ok(())
    }

    fn signature(&self, signed: &str) -> String {
        let [first, second] = &self.keys;
        format!("{SIGNATURE_START}{:016x}{:016x}", first.hash_one(signed), second.hash_one(signed))
    }
}

/// The file a path names, whether or not the link is good.
pub(crate) fn linked_file(path: &str) -> Option<LinkedFile<'_>> {
    let mut segments = path.strip_prefix('/')?.split('/');
    let (folder, _, statement_id, file) = (segments.next()?, segments.next()?, segments.next()?, segments.next()?);
    let chunk_index = file.strip_prefix("results_")?.strip_suffix(FILE_SUFFIX)?.parse().ok()?;
    (folder == FOLDER && segments.next().is_none()).then_some(LinkedFile { statement_id, chunk_index })
}

/// One request to the store, with what the warehouse knows about it.
#[derive(Debug)]
pub(crate) struct StoreRequest<'request> {
    pub(crate) method: &'request Method,
    pub(crate) headers: &'request HeaderMap,
    pub(crate) file: Result<LinkedFile<'request>, Refusal>,
    pub(crate) result: Option<Arc<StatementResult>>,
    pub(crate) switches: &'request Switches,
    pub(crate) fault: Option<&'request Fault>,
}

/// Answers a request to the store.
pub(crate) fn serve(request: &StoreRequest<'_>) -> Answer {
    let cloud = request.switches.cloud;
    if request.method == Method::HEAD {
        return Answer::xml(StatusCode::FORBIDDEN, "AccessDenied", "The link is signed for GET.");
    }
    if request.method != Method::GET {
        return Answer::xml(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "Only GET is allowed here.");
    }
    if request.headers.contains_key(AUTHORIZATION) {
        return authorization_refused(cloud);
    }
    let file = match request.file {
        Ok(file) => file,
        Err(refusal) => return refused(refusal, cloud),
    };
    if let Some(answer) = missing_header(request.headers, &request.switches.link_headers) {
        return answer;
    }
    let missing = || Answer::xml(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.");
    let Some(result) = request.result.as_deref().filter(|result| !result.inline) else { return missing() };
    let Some(body) = body_of(result, file.chunk_index, request.fault) else { return missing() };
    let etag = format!("\"{}-{}\"", file.statement_id, file.chunk_index);
    let range = if request.switches.ignore_range { None } else { wanted_range(request.headers, &etag) };
    let mut answer = ranged(body, range);
    let headers = &mut answer.headers;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("binary/octet-stream"));
    if !request.switches.ignore_range {
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(ETAG, etag);
    }
    answer
}

/// The answer to a link that does not open.
pub(crate) fn refused(refusal: Refusal, cloud: Cloud) -> Answer {
    match refusal {
        Refusal::Expired => expired(cloud),
        Refusal::BadSignature => Answer::xml(
            StatusCode::FORBIDDEN,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        ),
    }
}

/// The answer to a request without one of the headers that its link came with.
pub(crate) fn missing_header(headers: &HeaderMap, wanted: &BTreeMap<String, String>) -> Option<Answer> {
    let (name, _) = wanted
        .iter()
        .find(|(name, value)| headers.get(*name).is_none_or(|sent| sent.as_bytes() != value.as_bytes()))?;
    let text = format!("The header `{name}` of the link is missing.");
    Some(Answer::xml(StatusCode::FORBIDDEN, "AccessDenied", &text))
}

/// The answer to an expired link, in the words of each cloud.
pub(crate) fn expired(cloud: Cloud) -> Answer {
    match cloud {
        Cloud::Aws => Answer::xml(StatusCode::FORBIDDEN, "AccessDenied", "Request has expired"),
        Cloud::Azure => Answer::xml(
            StatusCode::FORBIDDEN,
            "AuthenticationFailed",
            "Server failed to authenticate the request. Signature not valid in the specified time frame.",
        ),
        Cloud::Gcp => {
            Answer::xml(StatusCode::BAD_REQUEST, "ExpiredToken", "Invalid argument. The provided token has expired.")
        }
    }
}

pub(crate) fn authorization_refused(cloud: Cloud) -> Answer {
    match cloud {
        Cloud::Azure => Answer::xml(
            StatusCode::FORBIDDEN,
            "AuthenticationFailed",
            "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly.",
        ),
        Cloud::Aws | Cloud::Gcp => {
            Answer::xml(StatusCode::BAD_REQUEST, "InvalidArgument", "Only one auth mechanism allowed.")
        }
    }
}

/// The body of a chunk, or what a fault puts in its place.
fn body_of(result: &StatementResult, chunk_index: usize, fault: Option<&Fault>) -> Option<Bytes> {
    let chunk = result.chunks.get(chunk_index)?;
    match fault {
        Some(Fault::WrongChunk { index }) => {
            let other = usize::try_from(*index).ok().and_then(|index| result.chunks.get(index));
            Some(other.unwrap_or(chunk).body.clone())
        }
        Some(Fault::MissingRows { rows }) => Some(with_rows(result, chunk, |count| count.saturating_sub(*rows))),
        Some(Fault::SurplusRows { rows }) => Some(with_rows(result, chunk, |count| count.saturating_add(*rows))),
        Some(Fault::OtherType) => Some(with_other_type(result, chunk).unwrap_or_else(|| chunk.body.clone())),
        _ => Some(chunk.body.clone()),
    }
}

/// The body with a first column of another type, without values.
fn with_other_type(result: &StatementResult, chunk: &Chunk) -> Option<Bytes> {
    if result.format != Format::ArrowStream {
        return None;
    }
    let (schema, batches) = arrow_body::decode(&chunk.body, result.compressed).ok()?;
    let given = schema.fields().first()?;
    let other = if *given.data_type() == DataType::Boolean { DataType::Int64 } else { DataType::Boolean };
    let field = Arc::new(Field::new(given.name(), other.clone(), true));
    let fields: Fields = std::iter::once(field).chain(schema.fields().iter().skip(1).cloned()).collect();
    let schema = Arc::new(Schema::new(fields));
    let changed = |batch: &RecordBatch| {
        let mut columns = batch.columns().to_vec();
        *columns.first_mut()? = new_null_array(&other, batch.num_rows());
        RecordBatch::try_new(Arc::clone(&schema), columns).ok()
    };
    let batches = batches.iter().map(changed).collect::<Option<Vec<_>>>()?;
    encoded(&schema, batches, result.compressed)
}

fn encoded(schema: &SchemaRef, batches: Vec<RecordBatch>, compressed: bool) -> Option<Bytes> {
    let lz4 = compressed.then_some(Lz4 { framing: Lz4Framing::PerMessage, checksums: false });
    let bodies = arrow_body::encode(schema, &[batches], lz4).ok()?;
    bodies.into_iter().next().map(|body| body.body)
}

/// The body with another number of rows: cut off at the end, or repeated from the start.
fn with_rows(result: &StatementResult, chunk: &Chunk, wanted: impl Fn(u64) -> u64) -> Bytes {
    let rewritten = match result.format {
        Format::ArrowStream => arrow_with_rows(&chunk.body, result.compressed, &wanted),
        Format::JsonArray => json_with_rows(&chunk.body, &wanted),
        Format::Csv => None,
    };
    rewritten.unwrap_or_else(|| chunk.body.clone())
}

fn arrow_with_rows(body: &[u8], compressed: bool, wanted: impl Fn(u64) -> u64) -> Option<Bytes> {
    let (schema, mut batches) = arrow_body::decode(body, compressed).ok()?;
    let have: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let mut missing = usize::try_from(wanted(have as u64)).ok()?.saturating_sub(have).min(have.saturating_mul(100));
    let mut rows = rows_between(&batches, 0, usize::try_from(wanted(have as u64)).ok()?);
    while missing > 0 && have > 0 {
        batches = rows_between(&batches, 0, missing);
        rows.extend(batches.iter().cloned());
        missing -= batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    }
    encoded(&schema, rows, compressed)
}

fn json_with_rows(body: &[u8], wanted: impl Fn(u64) -> u64) -> Option<Bytes> {
    let mut rows: Vec<serde_json::Value> = serde_json::from_slice(body).ok()?;
    let wanted = usize::try_from(wanted(rows.len() as u64)).ok()?.min(rows.len().saturating_mul(100));
    let again: Vec<serde_json::Value> = rows.iter().cycle().take(wanted).cloned().collect();
    rows = again;
    serde_json::to_vec(&rows).ok().map(Bytes::from)
}

/// First and last byte asked for; both ends open. Several ranges count as none.
pub(crate) type WantedRange = (Option<u64>, Option<u64>);

pub(crate) fn wanted_range(headers: &HeaderMap, etag: &str) -> Option<WantedRange> {
    if headers.get(IF_RANGE).is_some_and(|value| value.as_bytes() != etag.as_bytes()) {
        return None;
    }
    let (first, last) = headers.get(RANGE)?.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    let end = |text: &str| if text.is_empty() { Some(None) } else { text.trim().parse().ok().map(Some) };
    let range = (end(first)?, end(last)?);
    (range != (None, None)).then_some(range)
}

/// The first byte of a range and the one behind its last, unless there is no such range.
pub(crate) fn bounds(length: u64, range: Option<WantedRange>) -> Option<(u64, u64)> {
    let (first, end) = match range {
        None => return Some((0, length)),
        Some((Some(first), last)) => (first, last.map_or(length, |last| last.saturating_add(1).min(length))),
        Some((None, last)) => (length.saturating_sub(last.unwrap_or_default()), length),
    };
    (first < end).then_some((first, end))
}

/// The answer that there is no such range.
pub(crate) fn unsatisfiable(length: u64) -> Answer {
    let mut answer = Answer::xml(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", "The range is not satisfiable.");
    answer.insert(CONTENT_RANGE, &format!("bytes */{length}"));
    answer
}

fn ranged(body: Bytes, range: Option<WantedRange>) -> Answer {
    let length = body.len() as u64;
    let Some((first, end)) = bounds(length, range) else { return unsatisfiable(length) };
    if range.is_none() {
        return Answer::bytes(StatusCode::OK, body);
    }
    let part = body.slice(usize::try_from(first).unwrap_or_default()..usize::try_from(end).unwrap_or_default());
    let mut answer = Answer::bytes(StatusCode::PARTIAL_CONTENT, part);
    answer.insert(CONTENT_RANGE, &format!("bytes {first}-{}/{length}", end - 1));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_opens_only_unchanged_and_in_time() {
        let signer = LinkSigner::default();
        let now = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        let link = signer.link("01f0-a", 7, now, 2.0);
        let (path, query) = link.split_once('?').unwrap();
        let file = LinkedFile { statement_id: "01f0-a", chunk_index: 7 };
        assert_eq!(signer.open(path, Some(query), now), Ok(file));
        assert_eq!(signer.open(path, Some(query), now + time::Duration::seconds(2)), Err(Refusal::Expired));
        for (path, query) in [
            (path.replace("%3A", ":"), query.to_owned()),
            (path.replace("%3A", "%3a"), query.to_owned()),
            (path.replace("results_7", "results_8"), query.to_owned()),
            (path.to_owned(), query.replace("X-Local-Deadline=1", "X-Local-Deadline=2")),
            (path.to_owned(), format!("{query}0")),
            (path.to_owned(), String::new()),
        ] {
            assert_eq!(signer.open(&path, Some(&query), now), Err(Refusal::BadSignature), "{path}?{query}");
        }
        assert_eq!(LinkSigner::default().open(path, Some(query), now), Err(Refusal::BadSignature));
    }

    #[test]
    fn ranges_are_cut_as_asked() {
        let body = Bytes::from_static(b"0123456789");
        for (range, status, content, content_range) in [
            ((Some(2), Some(4)), 206, "234", "bytes 2-4/10"),
            ((Some(8), None), 206, "89", "bytes 8-9/10"),
            ((Some(8), Some(100)), 206, "89", "bytes 8-9/10"),
            ((None, Some(3)), 206, "789", "bytes 7-9/10"),
            ((Some(0), Some(0)), 206, "0", "bytes 0-0/10"),
        ] {
            let answer = ranged(body.clone(), Some(range));
            assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (status, content.as_bytes()), "{range:?}");
            assert_eq!(answer.headers[CONTENT_RANGE], content_range);
        }
        for range in [(Some(10), None), (Some(5), Some(4)), (None, Some(0))] {
            let answer = ranged(body.clone(), Some(range));
            assert_eq!(
                (answer.status.as_u16(), &answer.headers[CONTENT_RANGE]),
                (416, &HeaderValue::from_static("bytes */10"))
            );
        }
        assert_eq!(ranged(body, None).status, 200);
    }

    #[test]
    fn range_headers_are_read_and_if_range_guards_them() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            pairs
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
                .collect::<HeaderMap>()
        };
        for (pairs, expected) in [
            (vec![("range", "bytes=0-9")], Some((Some(0), Some(9)))),
            (vec![("range", "bytes=-5")], Some((None, Some(5)))),
            (vec![("range", "bytes=5-"), ("if-range", "\"e\"")], Some((Some(5), None))),
            (vec![("range", "bytes=5-"), ("if-range", "\"other\"")], None),
            (vec![("range", "bytes=0-1,3-4")], None),
            (vec![("range", "lines=0-1")], None),
            (vec![("range", "bytes=-")], None),
            (vec![], None),
        ] {
            assert_eq!(wanted_range(&headers(&pairs), "\"e\""), expected, "{pairs:?}");
        }
    }
}
