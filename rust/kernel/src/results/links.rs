//! Presigned links: the chain of them, each checked to continue where the one before ended.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Counters;
use crate::config::is_loopback;
use crate::error::{Error, ErrorKind, Result};
use crate::http::host_and_port;
use crate::sea::SeaClient;
use crate::sea::wire::{ExternalLink, ResultData};

/// A link this close to its end is renewed before use. Other drivers take 30 to 60 s.
const EXPIRY_MARGIN: Duration = Duration::from_secs(30);
/// Longest run of chunks without rows: a server that names empty chunks for ever must not keep us for ever.
const MAX_EMPTY_CHUNKS: u32 = 10_000;

/// A URL that authorises by itself. Prints host and path; the query is the secret.
#[derive(Clone)]
pub(crate) struct PresignedUrl(Url);

impl PresignedUrl {
    fn parse(text: &str) -> Result<Self> {
        let unusable = |why: &str| Error::new(ErrorKind::Protocol, format!("a presigned link {why}"));
        // The parser's own message could repeat parts of the text.
        let url = Url::parse(text).map_err(|_| unusable("is not a URL"))?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            _ => return Err(unusable("is neither https nor on a loopback address")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(unusable("names a user"));
        }
        Ok(Self(url))
    }

    /// Returns the URL, for the one place that requests it.
    pub(crate) fn expose(&self) -> &Url {
        &self.0
    }

    pub(crate) fn host(&self) -> String {
        host_and_port(&self.0)
    }
}

impl fmt::Debug for PresignedUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}?...", self.host(), self.0.path())
    }
}

/// Where one chunk lies in the result and where its bytes are.
#[derive(Clone, Debug)]
pub(crate) struct ChunkLink {
    pub(crate) chunk_index: i64,
    /// Global index of the chunk's first row.
    pub(crate) row_offset: i64,
    /// Rows the chunk stands for; absent counts as none, and then the body must hold none.
    pub(crate) row_count: Option<i64>,
    /// A hint: compressed or uncompressed size, depending on the service's version.
    pub(crate) byte_count: Option<i64>,
    pub(crate) url: PresignedUrl,
    /// Sent along verbatim; sensitive, so it prints as such.
    pub(crate) headers: HeaderMap,
    expires_at: Option<OffsetDateTime>,
}

impl ChunkLink {
    fn from_wire(link: &ExternalLink) -> Result<Self> {
        let in_chunk = |error: Error| error.with_chunk_index(link.chunk_index);
        let mut headers = HeaderMap::new();
        for (name, value) in &link.http_headers {
            let pair = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value.expose()).ok());
            let Some((name, mut value)) = pair else {
                return Err(in_chunk(Error::new(
                    ErrorKind::Protocol,
                    "a presigned link comes with an unusable header",
                )));
            };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        if link.row_offset < 0 || link.row_count.is_some_and(|rows| rows < 0) || link.chunk_index < 0 {
            return Err(in_chunk(Error::new(
                ErrorKind::Protocol,
                "a presigned link has a negative index, offset or count",
            )));
        }
        Ok(Self {
            chunk_index: link.chunk_index,
            row_offset: link.row_offset,
            row_count: link.row_count,
            byte_count: link.byte_count,
            url: PresignedUrl::parse(link.url.expose()).map_err(in_chunk)?,
            headers,
            expires_at: link.expiration.as_deref().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok()),
        })
    }

    pub(crate) fn rows(&self) -> i64 {
        self.row_count.unwrap_or(0)
    }

    fn end(&self) -> i64 {
        self.row_offset.saturating_add(self.rows())
    }

    /// Tells by the local clock; the store's answer has the last word.
    pub(crate) fn is_expired(&self) -> bool {
        self.expires_at.is_some_and(|end| OffsetDateTime::now_utc() + EXPIRY_MARGIN >= end)
    }

    /// Asks for a new signature. Anything but the same rows is an error.
    pub(crate) async fn renew(&self, client: &SeaClient, statement_id: &str) -> Result<Self> {
        let answer = client.chunk(statement_id, self.chunk_index, self.row_offset).await?;
        let same = |link: &ExternalLink| link.chunk_index == self.chunk_index && link.row_offset == self.row_offset;
        let Some(link) = answer.external_links.into_iter().find(same) else {
            let text = format!("{} is no longer among the links the server gives", self.place());
            return Err(Error::new(ErrorKind::DataLoss, text).with_chunk_index(self.chunk_index));
        };
        if link.row_count != self.row_count {
            let text = format!("{} changed its row count when its link was renewed", self.place());
            return Err(Error::new(ErrorKind::DataLoss, text).with_chunk_index(self.chunk_index));
        }
        Self::from_wire(&link)
    }

    /// `chunk 17 (rows 340000..360000)`, as errors name it.
    pub(crate) fn place(&self) -> String {
        format!("chunk {} (rows {}..{})", self.chunk_index, self.row_offset, self.end())
    }
}

/// The links of one result in row order, asked for as they are needed.
///
/// The chain is all that counts: each batch of links must start at the row where the last one ended, and the next
/// request is for `next_chunk_index` of the last link, with the `row_offset` that follows from it. Counts of chunks are
/// not used. Source: "bounded" mode of the platform's JDBC driver (pull request 1468).
#[derive(Debug)]
pub(crate) struct LinkStream {
    client: Arc<SeaClient>,
    statement_id: String,
    counters: Arc<Counters>,
    ready: VecDeque<ChunkLink>,
    next_chunk_index: Option<i64>,
    next_row_offset: i64,
    highest_chunk_index: i64,
    empty_chunks: u32,
}

impl LinkStream {
    /// Starts with the links of the first answer; without any, the chain is started by asking for chunk 0.
    pub(crate) fn new(
        client: Arc<SeaClient>,
        statement_id: &str,
        first: ResultData,
        counters: Arc<Counters>,
    ) -> Result<Self> {
        let mut links = Self {
            client,
            statement_id: statement_id.to_owned(),
            counters,
            ready: VecDeque::new(),
            next_chunk_index: Some(0),
            next_row_offset: 0,
            highest_chunk_index: -1,
            empty_chunks: 0,
        };
        if !first.external_links.is_empty() {
            links.accept(first)?;
        }
        Ok(links)
    }

    /// Returns the next link, or `None` at the end of the chain. Not cancel-safe: owned by one task.
    pub(crate) async fn next(&mut self) -> Result<Option<ChunkLink>> {
        while self.ready.is_empty() {
            let Some(chunk_index) = self.next_chunk_index else { return Ok(None) };
            self.counters.link_requests.add(1);
            let answer = self.client.chunk(&self.statement_id, chunk_index, self.next_row_offset).await?;
            if answer.external_links.is_empty() {
                let text = format!("the server named chunk {chunk_index} and then gave no link to it");
                return Err(self.error(ErrorKind::DataLoss, text, chunk_index));
            }
            self.accept(answer)?;
        }
        Ok(self.ready.pop_front())
    }

    /// Takes the links of one answer into the chain.
    fn accept(&mut self, answer: ResultData) -> Result<()> {
        let on_answer = answer.next_chunk_index;
        let mut last: Option<(i64, Option<i64>)> = None;
        let mut links = Vec::with_capacity(answer.external_links.len());
        for link in answer.external_links {
            // The next chunk is named by the highest link; some servers name it on the answer as well, or only there.
            if last.is_none_or(|(index, _)| link.chunk_index >= index) {
                last = Some((link.chunk_index, link.next_chunk_index));
            }
            links.push(ChunkLink::from_wire(&link).map_err(|error| error.with_statement_id(&self.statement_id))?);
        }
        links.sort_by_key(|link| (link.row_offset, link.chunk_index));
        for link in links {
            if link.row_offset < self.next_row_offset && link.end() <= self.next_row_offset {
                continue; // An answer may start before the chunk that was asked for.
            }
            if link.row_offset != self.next_row_offset {
                let text = format!("{} does not continue at row {}", link.place(), self.next_row_offset);
                return Err(self.error(ErrorKind::DataLoss, text, link.chunk_index));
            }
            self.empty_chunks = if link.rows() == 0 { self.empty_chunks + 1 } else { 0 };
            self.next_row_offset = link.end();
            self.highest_chunk_index = self.highest_chunk_index.max(link.chunk_index);
            self.ready.push_back(link);
        }
        self.next_chunk_index = last.and_then(|(_, on_link)| on_link).or(on_answer);
        if let Some(next) = self.next_chunk_index
            && (next <= self.highest_chunk_index || self.empty_chunks > MAX_EMPTY_CHUNKS)
        {
            let text = format!("the server names chunk {next} as the next after chunk {}", self.highest_chunk_index);
            return Err(self.error(ErrorKind::DataLoss, text, next));
        }
        Ok(())
    }

    fn error(&self, kind: ErrorKind, text: String, chunk_index: i64) -> Error {
        Error::new(kind, text).with_statement_id(&self.statement_id).with_chunk_index(chunk_index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Credentials;
    use crate::config::SessionConfig;

    fn link(chunk_index: i64, row_offset: i64, rows: i64, next: Option<i64>) -> serde_json::Value {
        serde_json::json!({"external_link": format!("https://store.example/c%3A{chunk_index}?sig=canary"),
            "chunk_index": chunk_index, "row_offset": row_offset, "row_count": rows, "next_chunk_index": next})
    }

    fn stream(links: serde_json::Value) -> Result<LinkStream> {
        let config =
            SessionConfig::new("http://127.0.0.1:1", "/sql/1.0/warehouses/w", Credentials::access_token("t")).unwrap();
        let client = Arc::new(SeaClient::new(config).unwrap());
        let first = serde_json::from_value(links).unwrap();
        LinkStream::new(client, "01ef", first, Arc::default())
    }

    #[test]
    fn the_highest_link_names_the_next_chunk() {
        // Out of order, and only the last one in the chain counts.
        let answer = serde_json::json!({"external_links": [link(2, 20, 5, Some(7)), link(0, 0, 10, Some(1)), link(1, 10, 10, Some(2))]});
        let links = stream(answer).unwrap();
        assert_eq!((links.next_chunk_index, links.next_row_offset, links.ready.len()), (Some(7), 25, 3));
        let order: Vec<i64> = links.ready.iter().map(|link| link.chunk_index).collect();
        assert_eq!(order, [0, 1, 2]);
        let answer = serde_json::json!({"external_links": [link(0, 0, 10, None)], "next_chunk_index": 1});
        assert_eq!(stream(answer).unwrap().next_chunk_index, Some(1), "named on the answer only");
        let answer = serde_json::json!({"external_links": [link(0, 0, 10, None)]});
        assert_eq!(stream(answer).unwrap().next_chunk_index, None);
    }

    #[test]
    fn several_files_may_share_an_index() {
        let answer = serde_json::json!({"external_links": [link(0, 0, 10, None), link(0, 10, 4, Some(3))]});
        let links = stream(answer).unwrap();
        assert_eq!((links.ready.len(), links.next_chunk_index, links.next_row_offset), (2, Some(3), 14));
    }

    #[test]
    fn gaps_overlaps_and_cycles_are_data_loss() {
        for (what, links) in [
            ("gap", serde_json::json!([link(0, 0, 10, Some(1)), link(1, 11, 10, None)])),
            ("overlap", serde_json::json!([link(0, 0, 10, Some(1)), link(1, 9, 10, None)])),
            ("late start", serde_json::json!([link(0, 1, 10, None)])),
            ("cycle", serde_json::json!([link(0, 0, 10, Some(0))])),
        ] {
            let error = stream(serde_json::json!({"external_links": links})).unwrap_err();
            assert_eq!((error.kind(), error.statement_id()), (ErrorKind::DataLoss, Some("01ef")), "{what}");
        }
    }

    #[test]
    fn links_must_be_safe_and_stay_secret() {
        for text in ["http://store.example/a", "ftp://127.0.0.1/a", "https://user:canary@store.example/a", "canary"] {
            let error = PresignedUrl::parse(text).unwrap_err();
            assert!(!format!("{error:?}").contains("canary"), "{text}");
        }
        let url = PresignedUrl::parse("https://store.example/a%3Ab?sig=canary%2B").unwrap();
        assert_eq!(format!("{url:?}"), "store.example:443/a%3Ab?...");
        assert_eq!(url.expose().as_str(), "https://store.example/a%3Ab?sig=canary%2B", "sent byte for byte");
    }
}
