//! One presigned link: where a chunk lies in the result, and where its bytes are.

use std::fmt;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, IF_RANGE, RANGE};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use crate::clock;
use crate::config::{SessionConfig, is_internal, is_loopback};
use crate::error::{Error, ErrorKind, Result};
use crate::http::host_and_port;
use crate::sea::wire::ExternalLink;

/// A link this close to its end is renewed before use, or at half its life if that is short. Other drivers take 30 to 60 s.
const EXPIRY_MARGIN: Duration = Duration::from_secs(30);

/// A URL that authorises by itself. Prints host and path; the query is the secret.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct PresignedUrl(Url);

impl PresignedUrl {
    pub(crate) fn parse(text: &str, may_be_internal: bool) -> Result<Self> {
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
        if !may_be_internal && is_internal(&url) {
            let why =
                format!("points to {}, a private address; `private_storage_addresses` allows it", host_and_port(&url));
            return Err(unusable(&why));
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
    /// Links behind this one, where the chain is known to its end.
    pub(crate) followers: Option<usize>,
    /// When it ends, as the server says.
    pub(crate) expires_at: Option<OffsetDateTime>,
    /// When to renew it; absent where the server names no end, or one that has passed: then the clocks differ.
    stale_at: Option<Instant>,
}

impl ChunkLink {
    pub(crate) fn from_wire(link: &ExternalLink, config: &SessionConfig) -> Result<Self> {
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
            // Which bytes are asked for is ours to say.
            if name != RANGE && name != IF_RANGE {
                headers.insert(name, value);
            }
        }
        if link.row_offset < 0 || link.row_count.is_some_and(|rows| rows < 0) || link.chunk_index < 0 {
            return Err(in_chunk(Error::new(
                ErrorKind::Protocol,
                "a presigned link has a negative index, offset or count",
            )));
        }
        if link.row_offset.checked_add(link.row_count.unwrap_or(0)).is_none() {
            return Err(in_chunk(Error::new(
                ErrorKind::Protocol,
                "a presigned link ends behind the last row there can be",
            )));
        }
        let expires_at = link.expiration.as_deref().and_then(|end| OffsetDateTime::parse(end, &Rfc3339).ok());
        Ok(Self {
            chunk_index: link.chunk_index,
            row_offset: link.row_offset,
            row_count: link.row_count,
            byte_count: link.byte_count,
            url: PresignedUrl::parse(link.url.expose(), config.allows_private_storage()).map_err(in_chunk)?,
            headers,
            followers: None,
            expires_at,
            stale_at: expires_at.and_then(stale_at),
        })
    }

    pub(crate) fn rows(&self) -> i64 {
        self.row_count.unwrap_or(0)
    }

    /// Returns the row behind the last.
    pub(crate) fn end(&self) -> i64 {
        self.row_offset.saturating_add(self.rows())
    }

    /// Tells whether the link is too old by the local clock; the store's answer has the last word.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale_at.is_some_and(|at| Instant::now() >= at)
    }

    /// Tells whether `other` stands for the same place in the result.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        self.chunk_index == other.chunk_index && self.row_offset == other.row_offset
    }

    /// `chunk 17 (rows 340000..360000)`, as errors name it.
    pub(crate) fn place(&self) -> String {
        format!("chunk {} (rows {}..{})", self.chunk_index, self.row_offset, self.end())
    }
}

/// Returns when to renew a link that ends at `end`. Measured against the time of receipt, on the monotonic clock.
fn stale_at(end: OffsetDateTime) -> Option<Instant> {
    let lifetime = Duration::try_from(end - OffsetDateTime::from(clock::time_of_day())).ok()?;
    Instant::now().checked_add(lifetime.saturating_sub(EXPIRY_MARGIN).max(lifetime / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_stale_before_its_end_and_one_from_the_past_never() {
        let after = |seconds: i64| {
            let end = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
            let at = stale_at(end)?;
            Some(at.saturating_duration_since(Instant::now()).as_secs_f64().round() as i64)
        };
        assert_eq!((after(900), after(10), after(-5)), (Some(870), Some(5), None));
    }

    /// Behaviour 10.
    #[test]
    fn links_must_be_safe_and_stay_secret() {
        for text in ["http://store.example/a", "ftp://127.0.0.1/a", "https://user:canary@store.example/a", "canary"] {
            let error = PresignedUrl::parse(text, true).unwrap_err();
            assert!(!format!("{error:?}").contains("canary"), "{text}");
        }
        let url = PresignedUrl::parse("https://store.example/a%3Ab?sig=canary%2B", false).unwrap();
        assert_eq!(format!("{url:?}"), "store.example:443/a%3Ab?...");
        assert_eq!(url.expose().as_str(), "https://store.example/a%3Ab?sig=canary%2B", "sent byte for byte");
    }

    /// Behaviour 10.
    #[test]
    fn a_link_whose_end_is_no_number_is_refused() {
        let credentials = crate::auth::Credentials::access_token("t");
        let config = SessionConfig::new("dbc.example", "/sql/1.0/warehouses/w", credentials).unwrap();
        let link = |row_offset: i64, row_count: Option<i64>| {
            let link = serde_json::json!({"external_link": "https://store.example/a", "row_offset": row_offset,
                "row_count": row_count, "chunk_index": 3});
            ChunkLink::from_wire(&serde_json::from_value(link).unwrap(), &config)
        };
        assert_eq!(link(i64::MAX - 5, Some(5)).unwrap().end(), i64::MAX);
        assert_eq!(link(i64::MAX, None).unwrap().end(), i64::MAX);
        for (row_offset, row_count) in [(i64::MAX - 5, Some(6)), (i64::MAX, Some(1)), (-1, Some(1)), (0, Some(-1))] {
            let error = link(row_offset, row_count).unwrap_err();
            assert_eq!(
                (error.kind(), error.chunk_index()),
                (ErrorKind::Protocol, Some(3)),
                "{row_offset} {row_count:?}"
            );
        }
    }

    #[test]
    fn links_to_inner_networks_need_leave() {
        for (host, internal) in [
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("192.168.1.1", true),
            ("127.0.0.1", true),
            ("169.254.169.254", true),
            ("100.100.100.200", true),
            ("0.0.0.0", true),
            ("0x7f.1", true),
            ("localhost", true),
            ("localhost.", true),
            ("store.localhost", true),
            ("[::1]", true),
            ("[::10.0.0.1]", true),
            ("[64:ff9b::7f00:1]", true),
            ("[64:ff9b::808:808]", false),
            ("notlocalhost", false),
            ("[fd00::1]", true),
            ("[fe80::1]", true),
            ("[::ffff:10.0.0.1]", true),
            ("8.8.8.8", false),
            ("100.128.0.1", false),
            ("[2001:4860:4860::8888]", false),
            ("bucket.s3.amazonaws.com", false),
        ] {
            let text = format!("https://{host}/a?sig=canary");
            assert!(PresignedUrl::parse(&text, true).is_ok(), "{host}");
            match PresignedUrl::parse(&text, false) {
                Ok(_) => assert!(!internal, "{host}"),
                Err(error) => {
                    assert!(internal && !format!("{error:?}").contains("canary"), "{error:?}");
                    assert!(error.message().contains("private_storage_addresses"), "says what to do: {error}");
                }
            }
        }
    }
}
