//! The pump: ordered downloads ahead of the reader, bounded by bytes.
//!
//! Links are discovered by one task that runs ahead; chunks are admitted in row order, downloaded and decoded
//! concurrently, and handed over in row order. Ownership does the bookkeeping: dropping [`ChunkQueue`] aborts it all.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{self, Instant};
use tracing::debug;

use super::budget::{ByteBudget, Permit};
use super::connections::{Connections, Slots};
use super::download::{Arrived, Download, MAX_RANGES, MIN_RANGE_BYTES};
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
/// Attempts after which a storage host that has never answered counts as out of reach, where results can be had without it.
const FIRST_CONTACTS: u32 = 2;
/// How often a body that arrived whole but cannot be right is fetched again.
const MAX_DAMAGED_BODIES: u32 = 2;
/// What an attempt must have added for the next one to count as the first again. A store that sends a few bytes an attempt
/// would keep us for long.
const PROGRESS_BYTES: usize = 64 << 10;
/// Assumed expansion of LZ4 until the first chunk shows it.
const FIRST_EXPANSION: f64 = 4.0;
/// Room for a chunk that expands more than those before it: to run out of room costs a copy.
const MORE_THAN_AVERAGE: f64 = 1.1;
/// What a chunk of unknown size is taken for: results are cut near 20 MiB.
const UNKNOWN_CHUNK_BYTES: usize = 20 << 20;
/// Downloads that must have come to their end before one counts as slow; of that many, one may be requested twice.
const HEDGE_SAMPLES: u64 = 8;
/// A download is slow when it takes this many times the mean, and at least [`LEAST_LATENESS`].
const LATE: u32 = 4;
const LEAST_LATENESS: Duration = Duration::from_millis(500);
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
    /// Has no permits, and is closed when a chunk has failed for good: without it there is no whole result, so nothing is
    /// begun or repeated any more.
    pub(crate) failed: Semaphore,
}

/// Chunks in row order, downloaded ahead.
#[derive(Debug)]
pub(crate) struct ChunkQueue {
    pending: mpsc::UnboundedReceiver<Task<Result<Chunk>>>,
    head: Option<Task<Result<Chunk>>>,
    budget: Arc<ByteBudget>,
    /// Chunks handed over.
    taken: u64,
    /// Taken when it has ended.
    pump: Option<Task<Result<()>>>,
    links: Task<()>,
}

impl ChunkQueue {
    pub(crate) fn start(fetch: Fetch, links: LinkStream, renewals: Renewals) -> Self {
        let (sender, discovered) = mpsc::channel(1);
        let links = Task::spawn(links.run(sender, renewals));
        let (sender, pending) = mpsc::unbounded_channel();
        let budget = ByteBudget::new(fetch.client.config().results.memory_budget.max(1));
        let pump = Some(Task::spawn(pump(Arc::new(fetch), Arc::clone(&budget), discovered, sender)));
        Self { pending, head: None, budget, taken: 0, pump, links }
    }

    /// Returns the next chunk in row order, or `None` after the last. Cancel-safe: a dropped call loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Chunk>> {
        self.budget.ask_for(self.taken);
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
        self.taken += 1;
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
    budget: Arc<ByteBudget>,
    mut discovered: mpsc::Receiver<Result<ChunkLink>>,
    chunks: mpsc::UnboundedSender<Task<Result<Chunk>>>,
) -> Result<()> {
    let slots = Slots::new(fetch.client.config().results.max_concurrent_downloads);
    for place in 0.. {
        let Some(link) = discovered.recv().await else { break };
        // A failed discovery is reported after the chunks before it, as the reader would meet it.
        let link = link?;
        // The bytes first, which only the reader frees: who waits for them must not keep a slot from the chunk that the
        // reader waits for.
        let waiting = fetch.counters.memory_wait.start();
        let (body, content) = fetch.estimate(&link);
        let permit = budget.admit(place, body, content).await;
        drop(waiting);
        let Some(connections) = slots.connections(place, link.followers, fetch.useful_ranges(&link)).await else {
            break;
        };
        if fetch.failed.is_closed() {
            break;
        }
        let fetch = Arc::clone(&fetch);
        // Connections are not opened in advance. A download starts when its link is known, so only chunks without a link yet
        // could gain, and a request without a signature is one that stores refuse and log. Warm connections gained nothing:
        // medians of 338 ms cold and 340 ms warm (local warehouse, cloud setting, one link an answer, 50 files).
        let task = Task::spawn(async move {
            let chunk = fetch.chunk(link, permit, connections).await;
            if chunk.is_err() {
                fetch.failed.close();
            }
            chunk
        });
        if chunks.send(task).is_err() {
            break;
        }
    }
    Ok(())
}

impl Fetch {
    /// Bytes a body is likely to have, and what comes out of it beside.
    fn estimate(&self, link: &ChunkLink) -> (usize, usize) {
        let declared = link.byte_count.and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
        let expansion = self.counters.expansion();
        // A guess of a body may be too large, one of a content too small: it is made good when the body is there.
        let compressed = |content: usize| {
            expansion
                .map_or(content, |expansion| ((content as f64 / expansion * MORE_THAN_AVERAGE) as usize).min(content))
        };
        match (self.compression, declared, self.size_hint(link)) {
            (Compression::None, declared, hint) => (declared.or(hint).unwrap_or(UNKNOWN_CHUNK_BYTES), 0),
            // Where both are told they are body and content.
            (Compression::Lz4Frame, Some(body), Some(content)) if body != content => (body, body.max(content)),
            // If equal, the service still counts content in both.
            (Compression::Lz4Frame, _, Some(content)) => (compressed(content), content),
            (Compression::Lz4Frame, Some(body), None) => {
                (body, (body as f64 * expansion.unwrap_or(FIRST_EXPANSION)) as usize)
            }
            (Compression::Lz4Frame, None, None) => (compressed(UNKNOWN_CHUNK_BYTES), UNKNOWN_CHUNK_BYTES),
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
    async fn chunk(&self, mut link: ChunkLink, mut permit: Permit, mut connections: Connections) -> Result<Chunk> {
        let started = Instant::now();
        let in_chunk = |error: Error, link: &ChunkLink, attempts: u32| {
            error
                .within(format!("{} was not fetched", link.place()))
                .with_statement_id(&self.statement_id)
                .with_chunk_index(link.chunk_index)
                .with_attempts(attempts.max(1), started.elapsed())
        };
        let mut attempts = self.client.http().attempts(RequestClass::Download, link.url.expose());
        let (mut renewals, mut damaged, mut repeated) = (0, 0, false);
        let mut arrived = Arrived::default();
        loop {
            if link.is_stale() && renewals < MAX_RENEWALS {
                renewals += 1;
                // The new link may lead to other bytes.
                arrived = Arrived::default();
                link = self.renewer.renew(&link).await.map_err(|error| in_chunk(error, &link, attempts.count()))?;
            }
            self.counters.retries.add(u64::from(repeated));
            repeated = true;
            let kept = arrived.kept(self.client.http().does_ranges(&link.url));
            let attempt = match self.body(&link, &mut connections, &mut arrived, &mut permit).await {
                Ok(body) => {
                    // Decoding may have to wait for the reader; the connections are free for other chunks.
                    connections.release();
                    let arrival = Instant::now();
                    let decoded = self.decode(&link, body, &mut permit).await;
                    attempts.paused(arrival.elapsed());
                    match decoded {
                        Ok(decode::Decoded { schema, batches }) => {
                            attempts.succeeded();
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
                            permit.fetch_again();
                            damaged += 1;
                            if damaged > MAX_DAMAGED_BODIES {
                                return Err(in_chunk(error, &link, attempts.count() + 1));
                            }
                            Attempt { failure: Failure::Broken, error }
                        }
                    }
                }
                Err(attempt) if attempt.error.kind() == ErrorKind::LinkExpired => {
                    if renewals >= MAX_RENEWALS {
                        let text = format!(
                            "{} refuses fresh links too: this network, or the store's own rules, may block it",
                            link.url.host()
                        );
                        return Err(in_chunk(attempt.error.within(text), &link, attempts.count() + renewals + 1));
                    }
                    renewals += 1;
                    arrived = Arrived::default();
                    link = self.renewer.renew(&link).await.map_err(|error| in_chunk(error, &link, attempts.count()))?;
                    continue;
                }
                Err(attempt) => {
                    let now_kept = arrived.kept(self.client.http().does_ranges(&link.url));
                    if now_kept >= kept.saturating_add(PROGRESS_BYTES) {
                        attempts.progressed();
                    }
                    attempt
                }
            };
            let (failure, cause) = (attempt.failure, attempt.error.clone());
            let wait = attempts.failed(attempt).map_err(|error| in_chunk(error, &link, attempts.count() + renewals));
            let unreachable = matches!(failure, Failure::NotSent | Failure::Refused)
                && !self.client.http().has_answered(link.url.expose());
            let out_of_reach = |cause: Error| {
                cause.within(format!(
                    "storage host {} cannot be reached from here, so this session asks for later results inside the \
                     answers (25 MiB at most); this statement has run and is not sent again: execute it again where that \
                     is safe",
                    link.url.host()
                ))
            };
            if unreachable
                && (wait.is_err() || attempts.count() >= FIRST_CONTACTS)
                && self.client.do_without_storage(&link.url.host())
            {
                attempts.given_up();
                return Err(in_chunk(out_of_reach(cause), &link, attempts.count() + renewals));
            }
            let wait = wait?;
            if tokio::time::timeout(wait, self.failed.acquire()).await.is_ok() {
                attempts.given_up();
                let error = if unreachable && self.client.does_without_storage() {
                    out_of_reach(cause)
                } else {
                    cause.within("not repeated, for another chunk of the result has failed")
                };
                return Err(in_chunk(error, &link, attempts.count() + renewals));
            }
        }
    }

    /// Downloads the body of `link`, or goes on where the last attempt stopped.
    ///
    /// While the reader waits for just this chunk and its download takes far longer than others did, it is requested a
    /// second time and the faster one counts: stores have slow servers and slow connections, and a new one is likely not.
    async fn body(
        &self,
        link: &ChunkLink,
        connections: &mut Connections,
        arrived: &mut Arrived,
        permit: &mut Permit,
    ) -> Result<Bytes, Attempt> {
        let count = connections.count().await;
        let started = Instant::now();
        let first = self.request(link, count, arrived);
        tokio::pin!(first);
        let outcome = tokio::select! {
            biased;
            outcome = &mut first => outcome,
            _slot = self.late(permit, connections, started) => {
                let length = self.expected_body(link).unwrap_or(UNKNOWN_CHUNK_BYTES);
                if permit.try_grow(length) {
                    self.counters.hedged_requests.add(1);
                    debug!(statement_id = self.statement_id, chunk = link.chunk_index, "slow download is requested again");
                    let mut again = Arrived::default();
                    either(first, self.request(link, 1, &mut again)).await
                } else {
                    first.await
                }
            }
        };
        let body = outcome?;
        self.counters.downloads.add(1);
        self.counters.download_microseconds.add(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
        self.counters.wire_bytes.add(body.len() as u64);
        Ok(body)
    }

    /// Waits until the reader waits for this chunk and its download has taken far longer than those of the result took so
    /// far. Not where too little is known of them or too much was requested twice: a slow network must not carry all things
    /// twice.
    ///
    /// Returns the slot for the second request.
    async fn late(&self, permit: &Permit, connections: &Connections, started: Instant) -> Option<OwnedSemaphorePermit> {
        permit.asked_for().await;
        loop {
            let downloads = self.counters.downloads.get();
            let is_known = downloads >= HEDGE_SAMPLES
                && self.counters.hedged_requests.get().saturating_mul(HEDGE_SAMPLES) < downloads;
            let due = if is_known {
                let mean = Duration::from_micros(self.counters.download_microseconds.get() / downloads);
                started + (mean * LATE).max(LEAST_LATENESS)
            } else {
                // Other downloads go on meanwhile.
                Instant::now() + LEAST_LATENESS
            };
            time::sleep_until(due).await;
            if is_known {
                return connections.another().await;
            }
        }
    }

    async fn request(&self, link: &ChunkLink, connections: usize, arrived: &mut Arrived) -> Result<Bytes, Attempt> {
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
        download.run(arrived).await
    }

    /// Ranges that are worth fetching this file in, 1 at least.
    fn useful_ranges(&self, link: &ChunkLink) -> usize {
        if self.client.http().does_ranges(&link.url) == Some(false) {
            return 1;
        }
        self.expected_body(link).unwrap_or(0).div_ceil(MIN_RANGE_BYTES).clamp(1, MAX_RANGES)
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
        let compressed = compression.applies_to(&body);
        let content = if compressed { expected.unwrap_or((wire_bytes as f64 * FIRST_EXPANSION) as usize) } else { 0 };
        permit.decode(content).await;
        let home = Arc::clone(&self.memory);
        let work = move || -> Result<(decode::Decoded, usize), decode::DecodeError> {
            let content = if compressed {
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
        permit.settle(content_bytes);
        let rows: usize = decoded.batches.iter().map(RecordBatch::num_rows).sum();
        let declared = usize::try_from(link.rows()).unwrap_or(usize::MAX);
        if rows < declared || (link.row_count.is_none() && rows > 0) {
            let text = format!("{} holds {rows} rows and its link declares {declared}", link.place());
            return Err(Error::new(ErrorKind::DataLoss, text));
        }
        self.counters.decoded_wire_bytes.add(wire_bytes as u64);
        self.counters.decoded_bytes.add(content_bytes as u64);
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

/// Returns the first success of the two; where both fail it is the failure of `first` that counts.
async fn either<T, E>(
    mut first: Pin<&mut impl Future<Output = Result<T, E>>>,
    second: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::pin!(second);
    tokio::select! {
        biased;
        outcome = &mut first => match outcome {
            Ok(body) => Ok(body),
            Err(failure) => second.await.map_err(|_| failure),
        },
        outcome = &mut second => match outcome {
            Ok(body) => Ok(body),
            Err(_) => first.await,
        },
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
