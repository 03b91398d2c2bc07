//! Presigned links to the rows of a partition, for readers who have no sign-in.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Partition;
use super::descriptor::at_most;
use crate::auth::Secret;
use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::results::link::ChunkLink;
use crate::results::links::{LinkSource, LinkStream};
use crate::sea::SeaClient;
use crate::sea::wire::{ExternalLink, ResultData};

/// Least life of links that come with a partition: they cannot be renewed.
const LEAST_LIFE: time::Duration = time::Duration::seconds(60);
/// The version written; all up to it are read.
const VERSION: u64 = 1;
/// Largest text of links accepted. 100,000 of them take about half.
const MAX_BYTES: usize = 128 << 20;
/// Most links accepted: files of a result of 3 TB.
const MAX_LINKS: usize = 200_000;
/// Most headers of a link; storage hosts want three for their keys.
const MAX_HEADERS: usize = 32;

/// Hands fresh links to readers who have no sign-in, on behalf of who has one.
pub trait LinkBroker: Send + Sync {
    /// Returns links to all rows of `partition`, as [`Partition::links`] does where the sign-in is. Called when the rows are
    /// opened, and again when links have expired.
    ///
    /// An error that is a [`crate::Error`] is handed on, any other becomes [`ErrorKind::Unavailable`]; its text must hold no
    /// secret.
    fn links(
        &self,
        partition: &Partition,
    ) -> BoxFuture<'static, Result<PartitionLinks, Box<dyn StdError + Send + Sync>>>;
}

/// Links to all rows of one partition: whoever has them can read these rows, until they expire.
#[derive(Clone, Eq, PartialEq)]
pub struct PartitionLinks {
    statement_id: String,
    row_offset: i64,
    /// As the chunk endpoint has them.
    links: Arc<[LinkText]>,
}

/// One link as it is written down.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct LinkText {
    external_link: String,
    expiration: Option<String>,
    chunk_index: i64,
    row_offset: i64,
    row_count: Option<i64>,
    byte_count: Option<i64>,
    #[serde(default, with = "headers")]
    http_headers: Vec<(String, String)>,
}

/// All of them as they are written down.
#[derive(Serialize, Deserialize)]
pub(super) struct LinksText {
    seakernel_links: u64,
    statement_id: String,
    row_offset: i64,
    #[serde(deserialize_with = "at_most::<MAX_LINKS, _, _>")]
    external_links: Vec<LinkText>,
}

#[derive(Deserialize)]
struct Versioned {
    seakernel_links: u64,
}

mod headers {
    use std::fmt;

    use serde::de::{Error, MapAccess, Visitor};
    use serde::{Deserializer, Serializer};

    use super::MAX_HEADERS;

    struct Headers;

    impl<'de> Visitor<'de> for Headers {
        type Value = Vec<(String, String)>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("headers")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut headers = Vec::new();
            while let Some(header) = map.next_entry()? {
                if headers.len() == MAX_HEADERS {
                    return Err(A::Error::custom("too many headers"));
                }
                headers.push(header);
            }
            headers.shrink_to_fit();
            Ok(headers)
        }
    }

    pub(super) fn serialize<S: Serializer>(headers: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(headers.iter().map(|(name, value)| (name, value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, String)>, D::Error> {
        deserializer.deserialize_map(Headers)
    }
}

impl fmt::Debug for LinkText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LinkText(...)")
    }
}

impl From<&ChunkLink> for LinkText {
    fn from(link: &ChunkLink) -> Self {
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        Self {
            external_link: link.url.expose().as_str().to_owned(),
            expiration: link.expires_at.and_then(|end| end.format(&Rfc3339).ok()),
            chunk_index: link.chunk_index,
            row_offset: link.row_offset,
            row_count: link.row_count,
            byte_count: link.byte_count,
            http_headers: link
                .headers
                .iter()
                .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
                .collect(),
        }
    }
}

impl LinkText {
    fn expires_at(&self) -> Option<OffsetDateTime> {
        self.expiration.as_deref().and_then(|end| OffsetDateTime::parse(end, &Rfc3339).ok())
    }

    /// Returns it as the chunk endpoint has it.
    fn answer(&self) -> ExternalLink {
        ExternalLink {
            url: Secret::new(&self.external_link),
            expiration: self.expiration.clone(),
            chunk_index: self.chunk_index,
            row_offset: self.row_offset,
            row_count: self.row_count,
            byte_count: self.byte_count,
            next_chunk_index: None,
            http_headers: self.http_headers.iter().map(|(name, value)| (name.clone(), Secret::new(value))).collect(),
        }
    }
}

impl PartitionLinks {
    pub(super) fn new(partition: &Partition, links: Vec<LinkText>) -> Self {
        let statement_id = partition.statement_id().to_owned();
        Self { statement_id, row_offset: partition.row_offset, links: links.into() }
    }

    /// Walks the part of the chain that `partition` stands for.
    pub(super) async fn ask(client: &Arc<SeaClient>, partition: &Partition) -> Result<Self> {
        let mut links = Vec::new();
        if let super::Rows::Chunks(hints) = &partition.rows {
            let (run, hints) = (partition.run(), Arc::clone(hints));
            let (id, source) = (partition.statement_id(), LinkSource::Server);
            let mut chain = LinkStream::of_run(Arc::clone(client), id, run, source, hints, Arc::default())?;
            let mut end = run.row_offset;
            while let Some(link) = chain.next().await? {
                end = link.end();
                links.push(LinkText::from(&link));
            }
            if end != run.end {
                let text = format!("the server gave links to rows {}..{end} of {}", run.row_offset, partition.place());
                return Err(Error::new(ErrorKind::DataLoss, text).with_statement_id(id));
            }
        }
        Ok(Self::new(partition, links))
    }

    /// Writes the links down, secrets included.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Plain structs, texts and numbers, and texts as keys: there is nothing that could fail.
        serde_json::to_vec(&self.text()).unwrap_or_default()
    }

    pub(super) fn text(&self) -> LinksText {
        LinksText {
            seakernel_links: VERSION,
            statement_id: self.statement_id.clone(),
            row_offset: self.row_offset,
            external_links: self.links.to_vec(),
        }
    }

    /// Reads what [`PartitionLinks::to_bytes`] has written. Takes up to ten times the memory of `bytes`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for anything else; the message repeats nothing of it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_BYTES {
            return Err(not_links("they are too long"));
        }
        let Versioned { seakernel_links } =
            serde_json::from_slice(bytes).map_err(|_| not_links("they are no JSON with a version"))?;
        check_version(seakernel_links)?;
        let text = serde_json::from_slice(bytes).map_err(|_| not_links("a field is wrong or missing"))?;
        Self::of_text(text)
    }

    pub(super) fn of_text(text: LinksText) -> Result<Self> {
        check_version(text.seakernel_links)?;
        Ok(Self { statement_id: text.statement_id, row_offset: text.row_offset, links: text.external_links.into() })
    }

    /// Returns the seconds until the first of them expires, by the local clock; `None` where the server names no end.
    pub fn seconds_left(&self) -> Option<f64> {
        let end = self.links.iter().filter_map(LinkText::expires_at).min()?;
        Some((end - OffsetDateTime::from(clock::time_of_day())).as_seconds_f64())
    }

    /// Refuses links that are about to expire.
    pub(super) fn still_good(&self, partition: &Partition) -> Result<Self> {
        match self.seconds_left() {
            Some(left) if left < LEAST_LIFE.as_seconds_f64() => {
                let text = format!(
                    "the links that came with {} end in {left:.0} s, and at least {} s are needed; have new ones made, or \
                     read it with a sign-in",
                    partition.place(),
                    LEAST_LIFE.whole_seconds()
                );
                Err(Error::new(ErrorKind::LinkExpired, text).with_statement_id(partition.statement_id()))
            }
            _ => Ok(self.clone()),
        }
    }

    /// Returns them as an answer of the chunk endpoint would bring them.
    fn answer(&self) -> ResultData {
        ResultData { external_links: self.links.iter().map(LinkText::answer).collect(), ..ResultData::default() }
    }

    pub(super) fn check_is_of(&self, partition: &Partition) -> Result<()> {
        if self.statement_id == partition.statement_id() && self.row_offset == partition.row_offset {
            return Ok(());
        }
        let text = format!("the links are to other rows than those of {}", partition.place());
        Err(Error::new(ErrorKind::InvalidArgument, text).with_statement_id(partition.statement_id()))
    }
}

impl fmt::Debug for PartitionLinks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PartitionLinks({} secret links)", self.links.len())
    }
}

fn check_version(version: u64) -> Result<()> {
    if (1..=VERSION).contains(&version) {
        return Ok(());
    }
    Err(not_links(&format!("they are of version {version}, and this release of seakernel reads up to {VERSION}")))
}

fn not_links(why: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("these bytes are not the links of a partition: {why}"))
}

/// Links that came along, and those that `server` gives when these have expired.
pub(super) fn given(links: PartitionLinks, server: Option<(Arc<SeaClient>, Partition)>) -> LinkSource {
    let used = AtomicBool::new(false);
    LinkSource::Other(Arc::new(move || {
        if !used.swap(true, Ordering::AcqRel) {
            let answer = links.answer();
            return async move { Ok(answer) }.boxed();
        }
        let server = server.clone();
        async move {
            let Some((client, partition)) = server else {
                let text = "the links that came with the partition have expired; have new ones made, or read it with a sign-in";
                return Err(Error::new(ErrorKind::LinkExpired, text));
            };
            client.sign_in().await?;
            Ok(PartitionLinks::ask(&client, &partition).await?.answer())
        }
        .boxed()
    }))
}

/// Links that `broker` gives, as often as they are needed.
pub(super) fn from_broker(broker: Arc<dyn LinkBroker>, partition: Partition) -> LinkSource {
    LinkSource::Other(Arc::new(move || {
        let (asked, partition) = (broker.links(&partition), partition.clone());
        async move {
            let links = asked.await.map_err(|error| match error.downcast::<Error>() {
                Ok(error) => *error,
                Err(error) => Error::new(ErrorKind::Unavailable, "the broker of links has failed").with_source(error),
            })?;
            links.check_is_of(&partition)?;
            Ok(links.answer())
        }
        .boxed()
    }))
}
