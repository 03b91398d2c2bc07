//! The pump: ordered downloads ahead of the reader, bounded by bytes.
//!
//! Links are discovered by one task that runs ahead; chunks are admitted in row order, downloaded and decoded
//! concurrently, and handed over in row order. Ownership does the bookkeeping: dropping [`ChunkQueue`] aborts it all.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::debug;

use super::budget::{ByteBudget, Permit};
use super::download::{Arrived, Download, MAX_RANGES};
use super::link::ChunkLink;
use super::links::{LinkStream, Renewals, Renewer};
use super::memory::ChunkMemory;
use super::task::Task;
use super::{ChunkHint, Compression, Counters, decode};
use crate::error::{Error, ErrorKind, Result};
use crate::http::Attempt;
use crate::http::retry::{Failure, RequestClass};
use crate::sea::SeaClient;

/// How often one chunk's link is renewed. A fresh link that is refused again means that the network blocks the store.
const MAX_RENEWALS: u32 = 3;
/// How often a body that arrived whole but cannot be right is fetched again.
const MAX_DAMAGED_BODIES: u32 = 2;
/// Assumed expansion of LZ4 until the first chunk shows it.
const FIRST_EXPANSION: f64 = 4.0;
/// Room for a chunk that expands more than those before it: to run out of room costs a copy.
const MORE_THAN_AVERAGE: f64 = 1.1;
/// What a chunk of unknown size is taken for: results are cut near 20 MiB.
const UNKNOWN_CHUNK_BYTES: usize = 20 << 20;
/// A body below this is decoded where it is; a hand-over to another thread would take longer.
const SMALL_BODY_BYTES: usize = 64 << 10;

/// The rows of one link, decoded, with their share of the budget.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Absent where the rows came with the answer itself.
    pub(crate) index: Option<i64>,
    pub(crate) schema: SchemaRef,
    pub(crate) batches: VecDeque<RecordBatch>,
    /// Held until the last batch was taken.
    _permit: Option<Permit>,
}

impl Chunk {
    /// A chunk that came with the answer itself and is in memory already.
    pub(crate) fn inline(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { index: None, schema, batches: batches.into(), _permit: None }
    }
}

/// What the downloads of one result share.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) client: Arc<SeaClient>,
    pub(crate) statement_id: String,
    pub(crate) compression: Compression,
    pub(crate) counters: Arc<Counters>,
    pub(crate) renewer: Renewer,
    pub(crate) hints: Arc<[ChunkHint]>,
    pub(crate) memory: Arc<ChunkMemory>,
}

/// Chunks in row order, downloaded ahead.
#[derive(Debug)]
pub(crate) struct ChunkQueue {
    pending: mpsc::UnboundedReceiver<Task<Result<Chunk>>>,
    head: Option<Task<Result<Chunk>>>,
    /// Taken when it has ended.
    pump: Option<Task<Result<()>>>,
    links: Task<()>,
}

impl ChunkQueue {
    pub(crate) fn start(fetch: Fetch, links: LinkStream, renewals: Renewals) -> Self {
        let (sender, discovered) = mpsc::channel(1);
        let links = Task::spawn(links.run(sender, renewals));
        let (sender, pending) = mpsc::unbounded_channel();
        let pump = Some(Task::spawn(pump(Arc::new(fetch), discovered, sender)));
        Self { pending, head: None, pump, links }
    }

    /// Returns the next chunk in row order, or `None` after the last. Cancel-safe: a dropped call loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Chunk>> {
        if self.head.is_none() {
            self.head = self.pending.recv().await;
        }
        let Some(head) = &mut self.head else {
            // The channel closes when the pump ends: at the end of the chain or with the reason why there is none.
            let Some(pump) = &mut self.pump else { return Ok(None) };
            let outcome = pump.outcome().await;
            self.pump = None;
            return outcome.map(|()| None);
        };
        let chunk = head.outcome().await;
        self.head = None;
        chunk.map(Some)
    }

    /// Aborts everything and waits until it has stopped.
    pub(crate) async fn stop(mut self) {
        self.pending.close();
        if let Some(pump) = self.pump.take() {
            pump.stop().await;
        }
        if let Some(head) = self.head.take() {
            head.stop().await;
        }
        while let Ok(task) = self.pending.try_recv() {
            task.stop().await;
        }
        self.links.stop().await;
    }
}

/// Admits chunks in row order and starts their downloads.
async fn pump(
    fetch: Arc<Fetch>,
    mut discovered: mpsc::Receiver<Result<ChunkLink>>,
    chunks: mpsc::UnboundedSender<Task<Result<Chunk>>>,
) -> Result<()> {
    let options = &fetch.client.config().results;
    let budget = ByteBudget::new(options.memory_budget.max(1));
    let slots = Arc::new(Semaphore::new(options.max_concurrent_downloads.clamp(1, 1024)));
    while let Some(link) = discovered.recv().await {
        // A failed discovery is reported after the chunks before it, as the reader would meet it.
        let link = link?;
        // The slot first, for it frees itself; then the bytes, which only the reader frees.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
        let permit = budget.acquire(fetch.estimate(&link)).await;
        // Slots that no chunk behind this one will need: with them it is fetched in ranges.
        let spare = link.followers.map_or(0, |followers| slots.available_permits() / (followers + 1));
        let spare = u32::try_from(spare.min(MAX_RANGES - 1)).unwrap_or(0);
        let spare = Arc::clone(&slots).try_acquire_many_owned(spare).ok();
        let fetch = Arc::clone(&fetch);
        let task = Task::spawn(async move {
            let connections = 1 + spare.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let chunk = fetch.chunk(link, permit, connections).await;
            drop((slot, spare));
            chunk
        });
        if chunks.send(task).is_err() {
            break;
        }
    }
    Ok(())
}

impl Fetch {
    /// Bytes a chunk will take: its body and what comes out of it, for both are in memory while it is decoded.
    fn estimate(&self, link: &ChunkLink) -> usize {
        let declared = link.byte_count.and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
        match (self.compression, declared, self.size_hint(link)) {
            (Compression::None, Some(bytes), _) | (Compression::None, None, Some(bytes)) => bytes,
            // Where both are told they are body and content; if equal, the service still counts content in both.
            (Compression::Lz4Frame, Some(body), Some(content)) => body.min(content).saturating_add(content.max(body)),
            (Compression::Lz4Frame, Some(body), None) => {
                let expansion = self.counters.expansion().unwrap_or(FIRST_EXPANSION);
                (body as f64 * (1.0 + expansion)) as usize
            }
            (Compression::Lz4Frame, None, Some(content)) => content.saturating_mul(2),
            (Compression::None, None, None) => UNKNOWN_CHUNK_BYTES,
            (Compression::Lz4Frame, None, None) => 2 * UNKNOWN_CHUNK_BYTES,
        }
    }

    /// Bytes that `wire_bytes` of compressed body are likely to decode to, if anything tells.
    fn expected_content(&self, link: &ChunkLink, wire_bytes: usize) -> Option<usize> {
        match (self.size_hint(link), self.counters.expansion()) {
            // More than LZ4 can make of the body is no hint but a mistake.
            (Some(content), _) if content > wire_bytes && content / decode::MAX_EXPANSION <= wire_bytes => {
                Some(content)
            }
            (_, expansion) => expansion.map(|expansion| (wire_bytes as f64 * expansion * MORE_THAN_AVERAGE) as usize),
        }
    }

    fn size_hint(&self, link: &ChunkLink) -> Option<usize> {
        let place = (link.row_offset, link.chunk_index);
        let position = self.hints.binary_search_by_key(&place, |hint| (hint.row_offset, hint.chunk_index)).ok()?;
        self.hints.get(position)?.byte_count
    }

    /// Downloads, decodes and checks one chunk, renewing its link and repeating what may be repeated.
    async fn chunk(&self, mut link: ChunkLink, mut permit: Permit, connections: usize) -> Result<Chunk> {
        let started = Instant::now();
        let in_chunk = |error: Error, link: &ChunkLink, attempts: u32| {
            let outer = Error::new(error.kind(), format!("{} was not fetched", link.place()))
                .with_retryable(error.is_retryable())
                .with_error_code(error.error_code().map(str::to_owned))
                .with_statement_id(&self.statement_id)
                .with_chunk_index(link.chunk_index)
                .with_attempts(attempts.max(1), started.elapsed());
            let outer = match error.http_status() {
                Some(status) => outer.with_http_status(status),
                None => outer,
            };
            // The attempts are told once, by the outer error.
            outer.with_source(error.with_attempts(0, Duration::ZERO))
        };
        let mut attempts = self.client.http().attempts(RequestClass::Download);
        let (mut renewals, mut damaged) = (0, 0);
        let mut arrived = Arrived::default();
        loop {
            if link.is_stale() && renewals < MAX_RENEWALS {
                renewals += 1;
                // The new link may lead to other bytes.
                arrived = Arrived::default();
                link = self.renewer.renew(&link).await.map_err(|error| in_chunk(error, &link, attempts.count()))?;
            }
            let attempt = match self.body(&link, connections, &mut arrived).await {
                Ok(body) => match self.decode(&link, body, &mut permit).await {
                    Ok(decode::Decoded { schema, batches }) => {
                        debug!(
                            statement_id = self.statement_id,
                            chunk = link.chunk_index,
                            elapsed_ms = started.elapsed().as_millis() as u64,
                            failed_attempts = attempts.count(),
                            renewals,
                            "chunk ready"
                        );
                        let index = Some(link.chunk_index);
                        return Ok(Chunk { index, schema, batches: batches.into(), _permit: Some(permit) });
                    }
                    Err(error) => {
                        damaged += 1;
                        if damaged > MAX_DAMAGED_BODIES {
                            return Err(in_chunk(error, &link, attempts.count() + 1));
                        }
                        Attempt { failure: Failure::Broken, error }
                    }
                },
                Err(attempt) if attempt.error.kind() == ErrorKind::LinkExpired => {
                    if renewals >= MAX_RENEWALS {
                        let text = format!(
                            "{} refuses fresh links too: this network, or the store's own rules, may block it",
                            link.url.host()
                        );
                        let error = Error::new(ErrorKind::LinkExpired, text).with_source(attempt.error.clone());
                        let error = match attempt.error.http_status() {
                            Some(status) => error.with_http_status(status),
                            None => error,
                        };
                        return Err(in_chunk(error, &link, attempts.count() + renewals + 1));
                    }
                    renewals += 1;
                    self.counters.retries.add(1);
                    arrived = Arrived::default();
                    link = self.renewer.renew(&link).await.map_err(|error| in_chunk(error, &link, attempts.count()))?;
                    continue;
                }
                Err(attempt) => attempt,
            };
            self.counters.retries.add(1);
            if let Err(error) = attempts.failed(attempt).await {
                return Err(in_chunk(error, &link, attempts.count() + renewals));
            }
        }
    }

    /// Downloads the body of `link`, or goes on where the last attempt stopped.
    async fn body(&self, link: &ChunkLink, connections: usize, arrived: &mut Arrived) -> Result<Bytes, Attempt> {
        let requested = |ranged: bool| {
            self.counters.download_requests.add(1);
            self.counters.range_requests.add(u64::from(ranged));
        };
        let download = Download {
            http: self.client.http(),
            link,
            connections,
            expected: self.expected_body(link),
            limit: self.client.config().results.max_chunk_bytes,
            requested: &requested,
        };
        let body = download.run(arrived).await?;
        self.counters.wire_bytes.add(body.len() as u64);
        Ok(body)
    }

    /// Length of the body, if anything tells. A guess that is too short costs a second round of requests, one that is too
    /// long costs some of the first.
    fn expected_body(&self, link: &ChunkLink) -> Option<usize> {
        let declared = link.byte_count.and_then(|bytes| usize::try_from(bytes).ok())?;
        match (self.compression, self.size_hint(link)) {
            (Compression::Lz4Frame, Some(content)) if content != declared => Some(declared),
            // The service counts content here.
            (Compression::Lz4Frame, _) => {
                Some((declared as f64 / self.counters.expansion().unwrap_or(FIRST_EXPANSION)) as usize)
            }
            (Compression::None, _) => Some(declared),
        }
    }

    /// Decodes `body` away from the I/O threads and holds it against what the link declares.
    async fn decode(&self, link: &ChunkLink, body: Bytes, permit: &mut Permit) -> Result<decode::Decoded> {
        let (compression, limit) = (self.compression, self.client.config().results.max_chunk_bytes);
        let wire_bytes = body.len();
        permit.grow(wire_bytes);
        let expected = self.expected_content(link, wire_bytes);
        let home = Arc::clone(&self.memory);
        let work = move || -> Result<(decode::Decoded, usize), decode::DecodeError> {
            let content = if compression.applies_to(&body) {
                let memory = expected.map_or_else(Vec::new, |bytes| home.take(bytes));
                let (memory, content) = decode::lz4_frames_into(memory, expected, &body, limit)?;
                drop(body);
                home.share(memory, content)
            } else {
                Buffer::from(body)
            };
            Ok((decode::ipc_stream(&content)?, content.len()))
        };
        let decoded = if wire_bytes <= SMALL_BODY_BYTES {
            work()
        } else {
            tokio::task::spawn_blocking(work).await.map_err(|error| {
                Error::new(ErrorKind::Internal, "the decoder ended without a result").with_source(error)
            })?
        };
        let (mut decoded, content_bytes) = decoded.map_err(|error| {
            Error::new(ErrorKind::DataLoss, format!("{} is damaged", link.place())).with_source(error)
        })?;
        permit.resize(content_bytes);
        self.counters.decoded_wire_bytes.add(wire_bytes as u64);
        self.counters.decoded_bytes.add(content_bytes as u64);
        let rows: usize = decoded.batches.iter().map(RecordBatch::num_rows).sum();
        let declared = usize::try_from(link.rows()).unwrap_or(usize::MAX);
        if rows < declared || (link.row_count.is_none() && rows > 0) {
            let text = format!("{} holds {rows} rows and its link declares {declared}", link.place());
            return Err(Error::new(ErrorKind::DataLoss, text));
        }
        if rows > declared {
            // A result file may hold more rows than were asked for, typically the last one of a LIMIT; the first count.
            self.counters.trimmed_rows.add((rows - declared) as u64);
            trim(&mut decoded.batches, declared);
        }
        debug!(
            statement_id = self.statement_id,
            chunk = link.chunk_index,
            rows = declared,
            wire_bytes,
            content_bytes,
            "chunk fetched"
        );
        Ok(decoded)
    }
}

/// Keeps the first `rows` rows.
fn trim(batches: &mut Vec<RecordBatch>, rows: usize) {
    let mut left = rows;
    batches.retain_mut(|batch| {
        let keep = batch.num_rows().min(left);
        left -= keep;
        if keep < batch.num_rows() {
            *batch = batch.slice(0, keep);
        }
        keep > 0
    });
}
