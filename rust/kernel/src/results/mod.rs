//! Results: one door, whatever way the rows came.

mod budget;
mod connections;
mod download;
mod fetch;
mod geospatial;
pub(crate) mod json;
pub(crate) mod link;
pub(crate) mod links;
mod memory;
mod presentation;
mod render;
pub(crate) mod task;
mod text;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_schema::SchemaRef;
use base64::Engine;
use bytes::Bytes;
use seakernel_decode as decode;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::info;

use crate::config::ResultConfig;
use crate::dml;
use crate::error::{Error, ErrorKind, Result};
use crate::execution::ServerStatement;
use crate::schema::{self, Column};
use crate::sea::SeaClient;
use crate::sea::wire::{ChunkInfo, Manifest, ResultData};
use fetch::{Chunk, ChunkQueue, Fetch};
pub(crate) use link::PresignedUrl;
use links::{LinkSource, LinkStream, Renewer, Run};
pub(crate) use presentation::Presentation;
pub use render::json_texts;

/// Largest inline result that is gathered. The platform's own limit is 25 MiB.
const MAX_INLINE_BYTES: usize = 1 << 30;

/// What fetching a result has cost so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Statistics {
    /// Chunks handed over.
    pub chunks: u64,
    /// Rows handed over.
    pub rows: u64,
    /// Bytes of result bodies that arrived whole (or attached), refused ones included.
    pub wire_bytes: u64,
    /// Bytes after decompression, of the bodies that were accepted.
    pub decoded_bytes: u64,
    /// Requests to the chunk endpoint: for links or for further inline pieces.
    pub link_requests: u64,
    /// Those of them that asked for links again because the old ones had expired.
    pub renewals: u64,
    /// Requests to storage hosts.
    pub download_requests: u64,
    /// Those of them for a range of a file.
    pub range_requests: u64,
    /// Downloads requested a second time because the first was slow, while the reader waited for them.
    pub hedged_requests: u64,
    /// Downloads repeated after a failure.
    pub retries: u64,
    /// Surplus rows cut from chunks that held more than their link declared.
    pub trimmed_rows: u64,
    /// Time in which the reader waited for chunks, the first one included: the network or the decoder was slower.
    pub reader_wait: Duration,
    /// Time in which the next chunk waited for room in the byte budget: the reader was slower, or the budget is small.
    pub memory_wait: Duration,
}

/// Reads the [`Statistics`] of a result while others read its rows, and after it has gone.
#[derive(Clone, Debug)]
pub struct StatisticsReader(Arc<Counters>);

impl StatisticsReader {
    /// Returns what fetching has cost so far.
    pub fn read(&self) -> Statistics {
        self.0.snapshot()
    }
}

/// Running counts behind [`Statistics`], added to by every task of a result.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    chunks: Counter,
    rows: Counter,
    wire_bytes: Counter,
    decoded_bytes: Counter,
    /// The part of `wire_bytes` that `decoded_bytes` came from: other bodies are still being decoded.
    decoded_wire_bytes: Counter,
    link_requests: Counter,
    renewals: Counter,
    download_requests: Counter,
    range_requests: Counter,
    hedged_requests: Counter,
    /// Files that arrived, and the time they took from their first request on.
    downloads: Counter,
    download_microseconds: Counter,
    retries: Counter,
    trimmed_rows: Counter,
    reader_wait: Stopwatch,
    memory_wait: Stopwatch,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Adds up the time of what is waited for by one at a time.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch(Counter);

/// Stops when dropped, so that a wait that is given up counts as well.
pub(crate) struct Running<'a> {
    stopwatch: &'a Stopwatch,
    started: Instant,
}

impl Stopwatch {
    fn start(&self) -> Running<'_> {
        Running { stopwatch: self, started: Instant::now() }
    }

    fn get(&self) -> Duration {
        Duration::from_nanos(self.0.get())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.stopwatch.0.add(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
}

impl Counters {
    /// Decoded bytes per byte on the wire, once something was decoded.
    fn expansion(&self) -> Option<f64> {
        let (wire, decoded) = (self.decoded_wire_bytes.get(), self.decoded_bytes.get());
        (wire > 0 && decoded > 0).then(|| decoded as f64 / wire as f64)
    }

    fn snapshot(&self) -> Statistics {
        Statistics {
            chunks: self.chunks.get(),
            rows: self.rows.get(),
            wire_bytes: self.wire_bytes.get(),
            decoded_bytes: self.decoded_bytes.get(),
            link_requests: self.link_requests.get(),
            renewals: self.renewals.get(),
            download_requests: self.download_requests.get(),
            range_requests: self.range_requests.get(),
            hedged_requests: self.hedged_requests.get(),
            retries: self.retries.get(),
            trimmed_rows: self.trimmed_rows.get(),
            reader_wait: self.reader_wait.get(),
            memory_wait: self.memory_wait.get(),
        }
    }
}

/// What the manifest says of one chunk: a help for memory and for speed, never for what the result is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ChunkHint {
    pub(crate) chunk_index: i64,
    pub(crate) row_offset: i64,
    pub(crate) row_count: Option<i64>,
    /// Uncompressed size.
    pub(crate) byte_count: Option<usize>,
}

impl ChunkHint {
    pub(crate) fn from_manifest(chunks: Vec<ChunkInfo>) -> Arc<[Self]> {
        let hints: Vec<Self> = chunks
            .into_iter()
            .map(|chunk| Self {
                chunk_index: chunk.chunk_index,
                row_offset: chunk.row_offset,
                row_count: chunk.row_count,
                byte_count: chunk.byte_count.and_then(|bytes| usize::try_from(bytes).ok()),
            })
            .collect();
        Self::sorted(hints)
    }

    fn sorted(mut hints: Vec<Self>) -> Arc<[Self]> {
        hints.sort_by_key(|hint| (hint.row_offset, hint.chunk_index));
        hints.into()
    }
}

/// How bodies are wrapped, as the manifest says: what was asked for is not always done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Compression {
    None,
    Lz4Frame,
}

impl Compression {
    pub(crate) fn from_manifest(name: Option<&str>) -> Result<Self> {
        match name {
            None | Some("" | "NONE") => Ok(Self::None),
            Some("LZ4_FRAME") => Ok(Self::Lz4Frame),
            Some(other) => Err(Error::new(ErrorKind::Protocol, format!("the result is compressed with `{other}`"))),
        }
    }

    fn decode(self, body: Bytes, limit: usize) -> Result<Buffer, decode::DecodeError> {
        if self.applies_to(&body) { decode::lz4_frames(&body, limit) } else { Ok(Buffer::from(body)) }
    }

    /// The magic number guards against a manifest that says nothing; Arrow streams cannot start with it.
    fn applies_to(self, body: &[u8]) -> bool {
        self == Self::Lz4Frame || decode::looks_like_lz4(body)
    }
}

/// The rows of one statement, in server order.
///
/// Chunks are downloaded ahead in the background, within the byte budget. [`ResultStream::next_batch`] is cancel-safe:
/// a dropped call loses no batch. Dropping the stream aborts every request. At its end, on an error, on close and on drop it
/// lets go of the statement, which is closed in the background once its [`crate::ExecutedStatement`] is gone as well.
///
/// A result is complete or an error: rows are counted against every link, links must join without a gap, and the sum is
/// held against the manifest before the end is reported.
#[derive(Debug)]
pub struct ResultStream {
    /// Held while there is something to fetch.
    statement: Option<Arc<ServerStatement>>,
    statement_id: String,
    presentation: Presentation,
    columns: Vec<Column>,
    total_row_count: Option<i64>,
    truncated: bool,
    modified_row_count: Option<i64>,
    native_metadata: bool,
    volume_operation: bool,
    counters: Arc<Counters>,
    /// Chunks in memory, the one being read first.
    ready: VecDeque<Chunk>,
    queue: Option<ChunkQueue>,
    state: State,
}

#[derive(Debug)]
enum State {
    Reading,
    Ended,
    Failed(Error),
}

impl ResultStream {
    /// Opens the result that `manifest` announces. `changes_rows` says that the SQL is of a kind that does.
    pub(crate) async fn open(
        statement: Arc<ServerStatement>,
        manifest: Manifest,
        first: ResultData,
        changes_rows: bool,
    ) -> Result<Self> {
        let statement_id = statement.statement_id().to_owned();
        let opened = Self::open_manifest(statement, manifest, first, changes_rows).await;
        opened.map_err(|error| error.with_statement_id(&statement_id))
    }

    async fn open_manifest(
        statement: Arc<ServerStatement>,
        manifest: Manifest,
        first: ResultData,
        changes_rows: bool,
    ) -> Result<Self> {
        let compression = Compression::from_manifest(manifest.result_compression.as_deref())?;
        let rows_announced = announces_rows(&manifest, &first);
        let columns: Vec<Column> = manifest.schema.columns.into_iter().map(Column::from).collect();
        let counters = Arc::new(Counters::default());
        let (mut ready, mut queue) = (VecDeque::new(), None);
        if first.attachment.is_some() {
            ready.push_back(inline_arrow(&statement, first, compression, &counters).await?);
        } else if first.data_array.is_some() {
            ready = inline_json(&statement, first, &columns, &counters).await?;
        } else if rows_announced {
            check_format(manifest.format.as_deref())?;
            let hints = ChunkHint::from_manifest(manifest.chunks);
            let client = statement.client();
            let links = LinkStream::new(
                Arc::clone(client),
                statement.statement_id(),
                first,
                Arc::clone(&hints),
                Arc::clone(&counters),
            )?;
            let mut chunks = download(client, statement.statement_id(), compression, hints, links, &counters);
            // The session's time zone, and so the schema, is known only from the first body.
            let waiting = counters.reader_wait.start();
            ready.extend(chunks.next().await?);
            drop(waiting);
            queue = Some(chunks);
        }
        let client = statement.client();
        let wire = match ready.front() {
            Some(chunk) => Arc::clone(&chunk.schema),
            None => schema::from_manifest(&columns, &client.zone().get())?,
        };
        client.zone().learn(&wire);
        let presentation = Presentation::new(&columns, &wire, &client.config().results)?;
        let first_batch = ready.front().and_then(|chunk| chunk.batches.front());
        let modified_row_count =
            if changes_rows { dml::affected_rows(&columns, manifest.total_row_count, first_batch) } else { None };
        Ok(Self {
            statement_id: statement.statement_id().to_owned(),
            statement: Some(statement),
            presentation,
            columns,
            modified_row_count,
            total_row_count: manifest.total_row_count,
            truncated: manifest.truncated,
            native_metadata: manifest.is_native_metadata_result,
            volume_operation: manifest.is_volume_operation,
            counters,
            ready,
            queue,
            state: State::Reading,
        })
    }

    /// Opens a part of a result, without the statement it is of.
    pub(crate) async fn open_part(client: Arc<SeaClient>, part: Part) -> Result<Self> {
        let statement_id = part.statement_id.clone();
        Self::open_rows(client, part).await.map_err(|error| error.with_statement_id(&statement_id))
    }

    async fn open_rows(client: Arc<SeaClient>, part: Part) -> Result<Self> {
        let counters = Arc::new(Counters::default());
        let (mut ready, mut queue) = (VecDeque::new(), None);
        match part.rows {
            PartRows::Inline(content) => {
                let decoded = decode::ipc_stream(&content).map_err(|error| {
                    Error::new(ErrorKind::DataLoss, "the rows that came with the part are damaged").with_source(error)
                })?;
                counters.decoded_bytes.add(content.len() as u64);
                ready.push_back(Chunk::inline(decoded.schema, decoded.batches));
            }
            PartRows::Chunks { run, source, hints } => {
                let (hints, id) = (ChunkHint::sorted(hints), part.statement_id.as_str());
                let links = LinkStream::of_run(
                    Arc::clone(&client),
                    id,
                    run,
                    source,
                    Arc::clone(&hints),
                    Arc::clone(&counters),
                )?;
                let mut chunks = download(&client, id, part.compression, hints, links, &counters);
                let waiting = counters.reader_wait.start();
                ready.extend(chunks.next().await?);
                drop(waiting);
                queue = Some(chunks);
            }
        }
        let Some(wire) = ready.front().map(|chunk| Arc::clone(&chunk.schema)) else {
            return Err(Error::new(ErrorKind::DataLoss, "a part of the result has no rows where it should have some"));
        };
        let presentation = Presentation::new(&part.columns, &wire, &part.config)?;
        Ok(Self {
            statement: None,
            statement_id: part.statement_id,
            presentation,
            columns: part.columns,
            total_row_count: Some(part.row_count),
            truncated: false,
            modified_row_count: None,
            native_metadata: false,
            volume_operation: false,
            counters,
            ready,
            queue,
            state: State::Reading,
        })
    }

    /// Returns the Arrow schema; every batch has exactly this one. All fields are nullable.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(self.presentation.schema())
    }

    /// Returns the columns as the manifest describes them.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Tells whether the rows are metadata in the columns of the older Thrift interface.
    pub(crate) fn native_metadata(&self) -> bool {
        self.native_metadata
    }

    /// Tells whether the statement asks for the transfer of a file: its one row is for [`crate::VolumeOperation`].
    pub fn is_volume_operation(&self) -> bool {
        self.volume_operation
    }

    /// Returns the server's id of the statement.
    pub fn statement_id(&self) -> &str {
        &self.statement_id
    }

    /// Returns the number of rows the server announced.
    pub fn total_row_count(&self) -> Option<i64> {
        self.total_row_count
    }

    /// Returns how many rows the statement has changed, where the server told so. The row that tells it stays in the result.
    pub fn modified_row_count(&self) -> Option<i64> {
        self.modified_row_count
    }

    /// Tells whether a row or byte limit cut the result.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Returns what fetching has cost so far.
    pub fn statistics(&self) -> Statistics {
        self.counters.snapshot()
    }

    /// Returns a handle that reads the statistics, now and later.
    pub fn statistics_reader(&self) -> StatisticsReader {
        StatisticsReader(Arc::clone(&self.counters))
    }

    /// Returns the next batch, never an empty one, or `None` after the last row was handed over and the total checked.
    ///
    /// An error is final: every later call returns it again, never a silent end.
    ///
    /// # Errors
    /// [`ErrorKind::DataLoss`] where rows are missing, surplus or unreadable, [`ErrorKind::LinkExpired`] where the store
    /// refuses even fresh links, and those of the connection.
    pub async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        match &self.state {
            State::Reading => {}
            State::Ended => return Ok(None),
            State::Failed(error) => return Err(error.clone()),
        }
        let next = self.take_batch().await.map_err(|error| error.with_statement_id(&self.statement_id));
        match &next {
            Ok(Some(_)) => {}
            Ok(None) => {
                self.state = State::Ended;
                self.queue = None;
                self.statement = None;
                let statistics = self.statistics();
                info!(
                    statement_id = self.statement_id,
                    rows = statistics.rows,
                    chunks = statistics.chunks,
                    wire_bytes = statistics.wire_bytes,
                    decoded_bytes = statistics.decoded_bytes,
                    link_requests = statistics.link_requests,
                    renewals = statistics.renewals,
                    download_requests = statistics.download_requests,
                    range_requests = statistics.range_requests,
                    hedged_requests = statistics.hedged_requests,
                    retries = statistics.retries,
                    trimmed_rows = statistics.trimmed_rows,
                    reader_wait_ms = statistics.reader_wait.as_millis() as u64,
                    memory_wait_ms = statistics.memory_wait.as_millis() as u64,
                    truncated = self.truncated,
                    "result read"
                );
            }
            Err(error) => {
                self.state = State::Failed(error.clone());
                self.ready.clear();
                self.queue = None;
                self.statement = None;
            }
        }
        next
    }

    /// Gives the statement back, of which nothing was read, and the rows of a small result that came with the answer itself.
    /// What was downloaded ahead is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] where rows were read.
    pub(crate) async fn unread(mut self) -> Result<(Arc<ServerStatement>, Option<InlineRows>)> {
        let unread = self.counters.rows.get() == 0 && self.counters.chunks.get() == 0;
        let statement = self.statement.take().filter(|_| unread && matches!(self.state, State::Reading));
        let Some(statement) = statement else {
            let text = "rows of the result were read here already";
            return Err(Error::new(ErrorKind::Closed, text).with_statement_id(&self.statement_id));
        };
        if let Some(queue) = self.queue.take() {
            queue.stop().await;
            return Ok((statement, None));
        }
        let wire = match self.ready.front() {
            Some(chunk) => Arc::clone(&chunk.schema),
            None => schema::from_manifest(&self.columns, &statement.client().zone().get())?,
        };
        let batches = self.ready.drain(..).flat_map(|chunk| chunk.batches).collect();
        Ok((statement, Some(InlineRows { columns: self.columns, truncated: self.truncated, wire, batches })))
    }

    /// Aborts what is under way, waits until it has stopped, and lets go of the statement.
    /// Safe to call twice; later reads end at once.
    pub async fn close(&mut self) {
        self.state = State::Ended;
        self.ready.clear();
        if let Some(queue) = self.queue.take() {
            queue.stop().await;
        }
        self.statement = None;
    }

    async fn take_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            while let Some(chunk) = self.ready.front_mut() {
                if let Some(batch) = chunk.batches.pop_front() {
                    if chunk.batches.is_empty() {
                        // Its share of the budget goes back with the last batch.
                        self.ready.pop_front();
                        self.counters.chunks.add(1);
                    }
                    self.counters.rows.add(batch.num_rows() as u64);
                    return self.presentation.present(batch).map(Some);
                }
                self.ready.pop_front();
                self.counters.chunks.add(1);
            }
            let next = match &mut self.queue {
                Some(queue) => {
                    let _waiting = self.counters.reader_wait.start();
                    queue.next().await?
                }
                None => None,
            };
            match next {
                Some(chunk) => {
                    self.presentation.check(&chunk.schema).map_err(|error| match chunk.index {
                        Some(chunk_index) => error.with_chunk_index(chunk_index),
                        None => error,
                    })?;
                    self.ready.push_back(chunk);
                }
                None => return self.check_total().map(|()| None),
            }
        }
    }

    fn check_total(&self) -> Result<()> {
        let rows = self.counters.rows.get();
        match self.total_row_count {
            // Where a limit cut the result, the announced total may be that of the uncut one.
            Some(total) if !self.truncated && u64::try_from(total) != Ok(rows) => Err(Error::new(
                ErrorKind::DataLoss,
                format!("the result ended after {rows} rows and the manifest announces {total}"),
            )),
            _ => Ok(()),
        }
    }
}

/// Fails where the files of a result are none of Arrow's.
pub(crate) fn check_format(format: Option<&str>) -> Result<()> {
    match format {
        None | Some("ARROW_STREAM") => Ok(()),
        Some(other) => Err(Error::new(ErrorKind::Protocol, format!("the result files are in format `{other}`"))),
    }
}

/// A small result that came with the answer itself, as on the wire.
#[derive(Debug)]
pub(crate) struct InlineRows {
    pub(crate) columns: Vec<Column>,
    pub(crate) truncated: bool,
    pub(crate) wire: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
}

/// A part of a result, as it is read without the statement's own handle.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) statement_id: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) compression: Compression,
    pub(crate) row_count: i64,
    /// The forms in which values are handed over.
    pub(crate) config: ResultConfig,
    pub(crate) rows: PartRows,
}

/// Where the rows of a [`Part`] are.
#[derive(Debug)]
pub(crate) enum PartRows {
    /// Here, as an Arrow stream.
    Inline(Buffer),
    /// At the storage host.
    Chunks { run: Run, source: LinkSource, hints: Vec<ChunkHint> },
}

/// Starts the downloads of `links`.
fn download(
    client: &Arc<SeaClient>,
    statement_id: &str,
    compression: Compression,
    hints: Arc<[ChunkHint]>,
    links: LinkStream,
    counters: &Arc<Counters>,
) -> ChunkQueue {
    let (renewer, renewals) = Renewer::new();
    let fetch = Fetch {
        client: Arc::clone(client),
        statement_id: statement_id.to_owned(),
        compression,
        counters: Arc::clone(counters),
        renewer,
        hints,
        memory: Arc::default(),
        failed: Semaphore::new(0),
    };
    ChunkQueue::start(fetch, links, renewals)
}

/// Tells whether anything says that there are rows to fetch. Zeros are often left out, so an absent total says nothing.
pub(crate) fn announces_rows(manifest: &Manifest, first: &ResultData) -> bool {
    let some = |rows: Option<i64>| rows.is_some_and(|rows| rows > 0);
    !first.external_links.is_empty()
        || first.next_chunk_index.is_some()
        || some(first.row_count)
        || some(manifest.total_row_count)
        || manifest.chunks.iter().any(|chunk| some(chunk.row_count))
}

/// Gathers an inline result, of which `first` has rows, and returns its schema as on the wire.
pub(crate) async fn inline_rows(
    statement: &ServerStatement,
    first: ResultData,
    compression: Compression,
    columns: &[Column],
) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let counters = Counters::default();
    let chunks = if first.attachment.is_some() {
        VecDeque::from([inline_arrow(statement, first, compression, &counters).await?])
    } else {
        inline_json(statement, first, columns, &counters).await?
    };
    let schema = match chunks.front() {
        Some(chunk) => Arc::clone(&chunk.schema),
        None => schema::from_manifest(columns, &statement.client().zone().get())?,
    };
    Ok((schema, chunks.into_iter().flat_map(|chunk| chunk.batches).collect()))
}

/// Gathers an inline Arrow result. Its chunks are pieces of one IPC stream, so it is decoded as a whole.
async fn inline_arrow(
    statement: &ServerStatement,
    first: ResultData,
    compression: Compression,
    counters: &Counters,
) -> Result<Chunk> {
    let mut content: Vec<Buffer> = Vec::new();
    let mut declared = Some(0_i64);
    let mut piece = first;
    loop {
        let Some(attachment) = piece.attachment.take() else {
            return Err(Error::new(ErrorKind::DataLoss, "a piece of an inline result has no rows"));
        };
        let body = base64::prelude::BASE64_STANDARD
            .decode(attachment.0.as_bytes())
            .map_err(|error| Error::new(ErrorKind::DataLoss, "an inline result is not base64").with_source(error))?;
        counters.wire_bytes.add(body.len() as u64);
        let decoded = compression
            .decode(body.into(), MAX_INLINE_BYTES)
            .map_err(|error| Error::new(ErrorKind::DataLoss, "an inline result is damaged").with_source(error))?;
        counters.decoded_bytes.add(decoded.len() as u64);
        content.push(decoded);
        if content.iter().map(Buffer::len).sum::<usize>() > MAX_INLINE_BYTES {
            return Err(Error::new(ErrorKind::Protocol, "an inline result is larger than any warehouse sends"));
        }
        declared = declared.zip(piece.row_count).map(|(sum, rows)| sum.saturating_add(rows));
        match next_inline(statement, &piece, declared, counters).await? {
            Some(next) => piece = next,
            None => break,
        }
    }
    let whole = match <[Buffer; 1]>::try_from(content) {
        Ok([single]) => single,
        Err(pieces) => Buffer::from_vec(pieces.iter().map(Buffer::as_slice).collect::<Vec<_>>().concat()),
    };
    let decoded = decode::ipc_streams(&whole)
        .map_err(|error| Error::new(ErrorKind::DataLoss, "an inline result is damaged").with_source(error))?;
    let rows: usize = decoded.batches.iter().map(RecordBatch::num_rows).sum();
    if let Some(declared) = declared.filter(|declared| i64::try_from(rows) != Ok(*declared)) {
        let text = format!("an inline result holds {rows} rows and declares {declared}");
        return Err(Error::new(ErrorKind::DataLoss, text));
    }
    Ok(Chunk::inline(decoded.schema, decoded.batches))
}

/// Reads an inline JSON result, every piece of it: one driver lost all rows behind the first for years.
async fn inline_json(
    statement: &ServerStatement,
    first: ResultData,
    columns: &[Column],
    counters: &Counters,
) -> Result<VecDeque<Chunk>> {
    let schema = schema::from_manifest(columns, &statement.client().zone().get())?;
    let mut chunks = VecDeque::new();
    let mut row_offset = 0_i64;
    let mut piece = first;
    loop {
        let rows = piece.data_array.take().unwrap_or_default();
        if piece.row_count.is_some_and(|declared| i64::try_from(rows.len()) != Ok(declared)) {
            return Err(Error::new(
                ErrorKind::DataLoss,
                "an inline result holds another number of rows than it declares",
            ));
        }
        row_offset = row_offset.saturating_add(rows.len() as i64);
        let batch = json::batch(rows, columns, &schema)?;
        let batches = if batch.num_rows() > 0 { vec![batch] } else { Vec::new() };
        chunks.push_back(Chunk::inline(Arc::clone(&schema), batches));
        match next_inline(statement, &piece, Some(row_offset), counters).await? {
            Some(next) => piece = next,
            None => return Ok(chunks),
        }
    }
}

/// Fetches the piece after `piece`, which ends at `row_offset`.
async fn next_inline(
    statement: &ServerStatement,
    piece: &ResultData,
    row_offset: Option<i64>,
    counters: &Counters,
) -> Result<Option<ResultData>> {
    let Some(next) = piece.next_chunk_index else { return Ok(None) };
    if next <= piece.chunk_index.unwrap_or(0) {
        return Err(Error::new(ErrorKind::DataLoss, format!("an inline result names chunk {next} as the next again")));
    }
    let Some(row_offset) = row_offset else {
        return Err(Error::new(ErrorKind::DataLoss, "an inline result continues and does not say at which row"));
    };
    counters.link_requests.add(1);
    let mut answer = statement.client().chunk(statement.statement_id(), next, row_offset).await?;
    answer.chunk_index.get_or_insert(next);
    Ok(Some(answer))
}
