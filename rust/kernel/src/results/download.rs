//! The bytes of one result file: by one request, or in ranges over connections that would otherwise be idle.

use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT_RANGES, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE};
use tracing::debug;

use super::link::ChunkLink;
use crate::error::{Error, ErrorKind};
use crate::http::retry::Failure;
use crate::http::{Attempt, HttpClient, Response, TransportError};

/// Most ranges that one file is fetched in at a time.
pub(crate) const MAX_RANGES: usize = 8;
/// Ranges are no shorter than this: a request has its price. Simulations have small files.
pub(crate) const MIN_RANGE_BYTES: usize = if cfg!(test) { 1 << 11 } else { 1 << 20 };
/// Declared sizes are hints of a stranger: no more than this is reserved on their word.
const MAX_RESERVED_BYTES: usize = 64 << 20;

/// What has arrived of one file. It outlives a failed attempt, so that the next one goes on from there.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    /// In the order of the file. One of them without an end is the usual single request.
    ranges: Vec<Arriving>,
    version: Version,
}

/// One stretch of a file on its way.
#[derive(Debug)]
struct Arriving {
    start: usize,
    end: Option<usize>,
    content: BytesMut,
    complete: bool,
    /// What the store has told with this stretch.
    version: Version,
}

/// Which file it is, as far as the store tells: ranges of two files must not be joined.
#[derive(Clone, Debug, Default)]
struct Version {
    length: Option<usize>,
    entity_tag: Option<HeaderValue>,
}

impl Version {
    /// Takes over what another range has told; false where that contradicts.
    fn join(&mut self, other: Self) -> bool {
        let same_length = self.length.is_none() || other.length.is_none() || self.length == other.length;
        let same_entity = match (&self.entity_tag, &other.entity_tag) {
            (Some(known), Some(told)) => known == told,
            _ => true,
        };
        self.length = other.length.or(self.length);
        self.entity_tag = other.entity_tag.or(self.entity_tag.take());
        same_length && same_entity
    }
}

/// How a request for a range failed.
enum RangeFailure {
    /// The store answers ranges with something else.
    Unsupported,
    /// What came does not fit what came before: another file, or another part of it.
    Unfit,
    Failed(Attempt),
}

/// Downloads one file.
pub(crate) struct Download<'a> {
    pub(crate) http: &'a HttpClient,
    pub(crate) link: &'a ChunkLink,
    /// Requests that may be under way at once.
    pub(crate) connections: usize,
    /// Length of the file, if anything tells; it need not be right.
    pub(crate) expected: Option<usize>,
    /// A longer file is refused.
    pub(crate) limit: usize,
    /// Called for each request, with true for one of a range.
    pub(crate) requested: &'a (dyn Fn(bool) + Sync),
}

impl Arrived {
    fn whole() -> Self {
        Self { ranges: vec![Arriving::new(0, None, BytesMut::new())], version: Version::default() }
    }

    /// The byte behind the last range.
    fn end(&self) -> usize {
        self.ranges.last().and_then(|range| range.end).unwrap_or(usize::MAX)
    }

    fn received(&self) -> usize {
        self.ranges.iter().map(|range| range.content.len()).sum()
    }

    fn is_split(&self) -> bool {
        self.ranges.len() > 1
    }

    /// Bytes that the next attempt need not fetch again, if the store `does_ranges`.
    pub(crate) fn kept(&self, does_ranges: Option<bool>) -> usize {
        if self.is_split() || does_ranges == Some(true) { self.received() } else { 0 }
    }

    /// Joins the ranges; those that lie in one allocation without a copy.
    fn join(self) -> BytesMut {
        let mut ranges = self.ranges.into_iter().map(|range| range.content);
        let mut whole = ranges.next().unwrap_or_default();
        for content in ranges.filter(|content| !content.is_empty()) {
            whole.unsplit(content);
        }
        whole
    }
}

impl Arriving {
    fn new(start: usize, end: Option<usize>, content: BytesMut) -> Self {
        Self { start, end, content, complete: false, version: Version::default() }
    }

    fn reached(&self) -> usize {
        self.start + self.content.len()
    }
}

impl Download<'_> {
    /// Returns the whole file. What a failed attempt has received stays in `arrived`; a new link starts with a new one.
    pub(crate) async fn run(&self, arrived: &mut Arrived) -> Result<Bytes, Attempt> {
        if arrived.ranges.is_empty() {
            *arrived = self.plan();
        }
        let mut suspected = false;
        loop {
            match self.fetch(arrived).await {
                Ok(()) => {}
                // Only what asked for a range ends so, hence not the request that follows.
                Err(failure @ (RangeFailure::Unsupported | RangeFailure::Unfit)) => {
                    debug!(host = self.link.url.host(), "ranges of a file cannot be used; it is fetched whole");
                    if matches!(failure, RangeFailure::Unsupported) {
                        self.http.remember_ranges(&self.link.url, false);
                    }
                    *arrived = Arrived::whole();
                    continue;
                }
                // A signature that does not cover a range, or a link that has expired: the whole file tells.
                Err(RangeFailure::Failed(attempt)) => {
                    let ranged = arrived.is_split() || arrived.ranges.iter().any(|range| !range.content.is_empty());
                    if attempt.error.kind() == ErrorKind::LinkExpired && ranged && !suspected {
                        suspected = true;
                        *arrived = Arrived::whole();
                        continue;
                    }
                    return Err(attempt);
                }
            }
            if suspected {
                self.http.remember_ranges(&self.link.url, false);
            }
            match arrived.version.length {
                // Longer than expected.
                Some(length) if arrived.is_split() && length > arrived.end() => {
                    let (from, step) = (arrived.end(), self.step(length - arrived.end()));
                    arrived.ranges.extend((from..length).step_by(step).map(|start| {
                        let end = start.saturating_add(step).min(length);
                        Arriving::new(start, Some(end), BytesMut::with_capacity((end - start).min(MAX_RESERVED_BYTES)))
                    }));
                }
                // Ranges end with the file, or it was another one.
                length if arrived.is_split() && length != Some(arrived.received()) => *arrived = Arrived::whole(),
                _ => return Ok(std::mem::take(arrived).join().freeze()),
            }
        }
    }

    /// Divides the file, where there are connections for it and the store is not known to refuse it.
    fn plan(&self) -> Arrived {
        let expected = self.expected.unwrap_or(0).min(self.limit.min(MAX_RESERVED_BYTES));
        let step = self.step(expected);
        if self.connections < 2 || expected <= step || self.http.does_ranges(&self.link.url) == Some(false) {
            return Arrived::whole();
        }
        let mut rest = BytesMut::with_capacity(expected);
        let ranges = (0..expected).step_by(step).map(|start| {
            let end = start.saturating_add(step).min(expected);
            let behind = rest.split_off(end - start);
            Arriving::new(start, Some(end), std::mem::replace(&mut rest, behind))
        });
        Arrived { ranges: ranges.collect(), version: Version::default() }
    }

    fn step(&self, bytes: usize) -> usize {
        bytes.div_ceil(self.connections.clamp(1, MAX_RANGES)).max(MIN_RANGE_BYTES)
    }

    async fn fetch(&self, arrived: &mut Arrived) -> Result<(), RangeFailure> {
        if !arrived.is_split() {
            let Some(whole) = arrived.ranges.first_mut() else { return Ok(()) };
            return self.whole(whole, &mut arrived.version).await;
        }
        try_join_all(arrived.ranges.iter_mut().map(|range| self.range(range))).await?;
        for range in &arrived.ranges {
            if !arrived.version.join(range.version.clone()) {
                return Err(RangeFailure::Unfit);
            }
        }
        self.http.remember_ranges(&self.link.url, true);
        Ok(())
    }

    /// Fetches the file by one request, from where the last attempt broke off if the store can do that.
    async fn whole(&self, file: &mut Arriving, version: &mut Version) -> Result<(), RangeFailure> {
        if self.http.does_ranges(&self.link.url) != Some(true) {
            file.content.clear();
        }
        let mut headers = self.link.headers.clone();
        let resumed = !file.content.is_empty();
        if resumed {
            headers.extend(range_headers(file.reached(), None, version));
        }
        (self.requested)(resumed);
        let response =
            self.http.storage_get(self.link.url.expose(), headers, resumed).await.map_err(RangeFailure::Failed)?;
        let told = response.headers();
        if told.get(ACCEPT_RANGES).is_some_and(|value| value == "bytes") {
            self.http.remember_ranges(&self.link.url, true);
        }
        let length = match response.status() {
            StatusCode::PARTIAL_CONTENT if resumed => match content_range(told) {
                Some((first, end, length))
                    if first == file.reached()
                        && end == length
                        && version.join(Version { length: Some(length), entity_tag: entity_tag(told) }) =>
                {
                    Some(length)
                }
                _ => return Err(RangeFailure::Unfit),
            },
            StatusCode::PARTIAL_CONTENT => {
                let text = format!("{} sent a part of a file that was asked for whole", self.link.url.host());
                let error = Error::new(ErrorKind::Protocol, text);
                return Err(RangeFailure::Failed(Attempt { failure: Failure::Broken, error }));
            }
            StatusCode::RANGE_NOT_SATISFIABLE => return Err(RangeFailure::Unfit),
            _ => {
                file.content.clear();
                let length = response.content_length().and_then(|length| usize::try_from(length).ok());
                *version = Version { length, entity_tag: entity_tag(told) };
                length
            }
        };
        // A new allocation, unless the last attempt left one of this size.
        file.content
            .reserve(length.unwrap_or(0).min(self.limit.min(MAX_RESERVED_BYTES)).saturating_sub(file.content.len()));
        self.read(response, file, length).await
    }

    /// Fetches one range, from where the last attempt broke off.
    async fn range(&self, range: &mut Arriving) -> Result<(), RangeFailure> {
        let end = range.version.length.map(|length| range.end.unwrap_or(length).min(length));
        range.complete |= end.is_some_and(|end| range.reached() >= end);
        if range.complete {
            return Ok(());
        }
        let mut headers = self.link.headers.clone();
        headers.extend(range_headers(range.reached(), range.end, &range.version));
        (self.requested)(true);
        let response =
            self.http.storage_get(self.link.url.expose(), headers, true).await.map_err(RangeFailure::Failed)?;
        let told = response.headers();
        let version = |length| Version { length, entity_tag: entity_tag(told) };
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let Some((first, end, length)) = content_range(told) else { return Err(RangeFailure::Unsupported) };
                if length > self.limit {
                    return Err(RangeFailure::Failed(self.too_long()));
                }
                let wanted = range.end.unwrap_or(length).min(length);
                if first != range.reached() || end != wanted || !range.version.join(version(Some(length))) {
                    return Err(RangeFailure::Unfit);
                }
                self.read(response, range, Some(end - range.start)).await?;
                range.complete = true;
                Ok(())
            }
            // The file ends before this range; not every store says where.
            StatusCode::RANGE_NOT_SATISFIABLE if range.content.is_empty() => {
                let told = told.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()?.strip_prefix("bytes */"));
                let length = told.and_then(|length| length.parse().ok());
                if length.is_some_and(|length| length > range.start) {
                    return Err(RangeFailure::Unfit);
                }
                range.version = version(length);
                range.complete = true;
                Ok(())
            }
            // With If-Range, the whole file says that it is another one.
            StatusCode::OK if range.version.entity_tag.is_some() => Err(RangeFailure::Unfit),
            _ => Err(RangeFailure::Unsupported),
        }
    }

    /// Reads the body of `response` behind what `into` holds, up to `length` bytes in all.
    async fn read(
        &self,
        mut response: Response,
        into: &mut Arriving,
        length: Option<usize>,
    ) -> Result<(), RangeFailure> {
        loop {
            let cause = match response.chunk().await {
                Ok(Some(piece)) => {
                    let held = into.content.len() + piece.len();
                    if held > self.limit {
                        return Err(RangeFailure::Failed(self.too_long()));
                    }
                    if length.is_some_and(|length| held > length) {
                        return Err(RangeFailure::Failed(self.stopped(into, length, None)));
                    }
                    into.content.extend_from_slice(&piece);
                    continue;
                }
                Ok(None) if length.is_none_or(|length| into.content.len() == length) => return Ok(()),
                Ok(None) => None,
                Err(error) => Some(error),
            };
            return Err(RangeFailure::Failed(self.stopped(into, length, cause)));
        }
    }

    fn stopped(&self, into: &Arriving, length: Option<usize>, cause: Option<TransportError>) -> Attempt {
        let kind = match &cause {
            Some(error) if error.timed_out => ErrorKind::Timeout,
            _ => ErrorKind::Network,
        };
        let text = format!(
            "{} sent {} of {} bytes and stopped",
            self.link.url.host(),
            into.content.len(),
            length.map_or_else(|| "unknown".to_owned(), |bytes| bytes.to_string())
        );
        let error = Error::new(kind, text);
        let error = match cause {
            Some(cause) => error.with_source(cause.cause),
            None => error,
        };
        Attempt { failure: Failure::Broken, error }
    }

    fn too_long(&self) -> Attempt {
        let text = format!("{}: the body is larger than {} bytes", self.link.url.host(), self.limit);
        Attempt {
            failure: Failure::Status { status: 400, retry_after: None },
            error: Error::new(ErrorKind::DataLoss, text),
        }
    }
}

fn range_headers(start: usize, end: Option<usize>, version: &Version) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let text = match end {
        Some(end) => format!("bytes={start}-{}", end.saturating_sub(1)),
        None => format!("bytes={start}-"),
    };
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(RANGE, value);
    }
    if let Some(entity_tag) = &version.entity_tag {
        headers.insert(IF_RANGE, entity_tag.clone());
    }
    headers
}

/// First byte, byte behind the last, and length of the file.
fn content_range(headers: &HeaderMap) -> Option<(usize, usize, usize)> {
    let (range, length) = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, length) = (first.parse().ok()?, last.parse::<usize>().ok()?, length.parse().ok()?);
    (first <= last && last < length).then(|| (first, last + 1, length))
}

/// A strong entity tag: a weak one says nothing of single bytes.
fn entity_tag(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(ETAG).filter(|value| !value.as_bytes().starts_with(b"W/")).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_or_refused() {
        for (text, expected) in [
            ("bytes 0-9/100", Some((0, 10, 100))),
            ("bytes 99-99/100", Some((99, 100, 100))),
            ("bytes 0-100/100", None),
            ("bytes 5-4/100", None),
            ("bytes 0-9/*", None),
            ("bytes */100", None),
            ("bytes 0-18446744073709551615/100", None),
            ("lines 0-9/100", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_RANGE, HeaderValue::from_str(text).unwrap())]);
            assert_eq!(content_range(&headers), expected, "{text}");
        }
        assert_eq!(content_range(&HeaderMap::new()), None);
    }

    #[test]
    fn what_two_ranges_tell_must_agree() {
        let version = |length: Option<usize>, tag: Option<&'static str>| Version {
            length,
            entity_tag: tag.map(HeaderValue::from_static),
        };
        for (known, told, agree) in [
            (version(None, None), version(Some(5), Some("a")), true),
            (version(Some(5), None), version(Some(5), Some("a")), true),
            (version(Some(5), Some("a")), version(Some(5), None), true),
            (version(Some(5), Some("a")), version(Some(6), Some("a")), false),
            (version(Some(5), Some("a")), version(Some(5), Some("b")), false),
        ] {
            assert_eq!(known.clone().join(told.clone()), agree, "{known:?} {told:?}");
        }
        let mut known = version(Some(5), Some("a"));
        assert!(known.join(version(Some(5), None)));
        assert_eq!(known.entity_tag, Some(HeaderValue::from_static("a")), "kept");
    }

    #[test]
    fn ranges_that_share_an_allocation_are_joined_without_a_copy() {
        let mut rest = BytesMut::with_capacity(30);
        let address = rest.as_ptr();
        let mut ranges = Vec::new();
        for start in [0, 10, 20] {
            let behind = rest.split_off(10);
            let mut content = std::mem::replace(&mut rest, behind);
            content.extend_from_slice(&[start as u8; 10]);
            ranges.push(Arriving::new(start, Some(start + 10), content));
        }
        let whole = Arrived { ranges, version: Version::default() }.join();
        assert_eq!((whole.len(), whole.as_ptr()), (30, address));
        assert_eq!((whole[9], whole[10], whole[29]), (0, 10, 20));
    }
}
