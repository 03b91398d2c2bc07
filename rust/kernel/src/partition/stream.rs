//! Cutting a result into partitions while its chain of links is walked.

use std::collections::BTreeMap;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, SchemaRef};
use tokio::time;
use tracing::{info, warn};

use super::links::{LinkText, PartitionLinks};
use super::{Forms, Partition, PartitionConfig, Rows, Whole, presented};
use crate::error::{Error, ErrorKind, Result};
use crate::execution::ServerStatement;
use crate::results::link::ChunkLink;
use crate::results::links::LinkStream;
use crate::results::task::Task;
use crate::results::{ChunkHint, Compression, InlineRows, ResultStream, announces_rows, check_format, inline_rows};
use crate::schema::Column;
use crate::sea::wire::{Manifest, ResultData};

/// What a chunk of unknown size is taken for: results are cut near 20 MiB.
const UNKNOWN_CHUNK_BYTES: i64 = 20 << 20;
/// Chunks that a partition lists, for its reader to ask for several links at once and to plan its memory.
const MAX_LISTED_CHUNKS: usize = 64;
/// Largest result that travels in its partition. Those that come with the answer itself have 25 MiB at most.
const MAX_INLINE_BYTES: usize = 64 << 20;

/// The partitions of a result in the order of its rows, cut while the chain of links is walked: nothing is downloaded, and of
/// the links only the next few are held.
///
/// Holds the statement, so that the partitions can be read: until this and the other handles are dropped, until
/// [`PartitionStream::close`], or until [`PartitionConfig::lease`] is over. The statement is closed then, unless that is
/// another's or kept; where other streams of this process hold it, with the last of them.
#[derive(Debug)]
pub struct PartitionStream {
    /// Kept open for the readers.
    statement: Arc<ServerStatement>,
    lease: Arc<Lease>,
    /// Ends the lease in time.
    end_of_lease: Task<()>,
    config: PartitionConfig,
    whole: Arc<Whole>,
    hints: Arc<[ChunkHint]>,
    total_row_count: Option<i64>,
    truncated: bool,
    state: State,
    begun: Option<Begun>,
    /// Partitions and rows handed out.
    /// Complete, and not handed out yet.
    done: Option<Begun>,
    partitions: u64,
    rows: i64,
}

/// Life that links need to travel, be queued and be used; with less, others are asked for.
const LEAST_LIFE_HANDED_OUT: Duration = Duration::from_mins(5);

#[derive(Debug)]
enum State {
    Walking(Box<LinkStream>),
    /// The chain has come to its end.
    Walked,
    Inline(Box<Partition>),
    Failed(Error),
    Ended,
}

/// A partition that may grow.
#[derive(Debug)]
struct Begun {
    chunk_index: i64,
    last_chunk_index: i64,
    row_offset: i64,
    row_count: i64,
    bytes: i64,
    /// Each chunk has told its size.
    is_size_known: bool,
    chunks: Vec<ChunkHint>,
    links: Vec<LinkText>,
    /// Of the links, one was old already.
    is_stale: bool,
}

impl ResultStream {
    /// Cuts the whole result into partitions, to be read by others, instead of reading it here. What was downloaded ahead
    /// is dropped, unless it is a small result that came with the answer itself, whose rows travel in the partition.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] where rows were read, and those of [`crate::ExecutedStatement::partitions`].
    pub async fn partitions(self, config: PartitionConfig) -> Result<PartitionStream> {
        if self.is_volume_operation() {
            return Err(no_rows().with_statement_id(self.statement_id()));
        }
        let (statement, rows) = self.unread().await?;
        if let Some(rows) = rows {
            return PartitionStream::of_rows(statement, rows, config);
        }
        // What the first answer said was used for reading.
        let response = statement.client().status(statement.statement_id()).await?;
        let Some(manifest) = response.manifest else {
            let text = "the statement was closed before its result could be cut";
            return Err(Error::new(ErrorKind::Closed, text).with_statement_id(statement.statement_id()));
        };
        PartitionStream::open(statement, manifest, response.result.unwrap_or_default(), config).await
    }
}

fn no_rows() -> Error {
    let text = "the statement asks for the transfer of a file, which has no rows to cut";
    Error::new(ErrorKind::InvalidArgument, text)
}

impl PartitionStream {
    pub(crate) async fn open(
        statement: Arc<ServerStatement>,
        manifest: Manifest,
        first: ResultData,
        config: PartitionConfig,
    ) -> Result<Self> {
        let statement_id = statement.statement_id().to_owned();
        let opened = Self::open_manifest(statement, manifest, first, config).await;
        opened.map_err(|error| error.with_statement_id(&statement_id))
    }

    async fn open_manifest(
        statement: Arc<ServerStatement>,
        manifest: Manifest,
        first: ResultData,
        config: PartitionConfig,
    ) -> Result<Self> {
        if manifest.is_volume_operation {
            return Err(no_rows());
        }
        let has_rows = announces_rows(&manifest, &first);
        let is_inline = first.attachment.is_some() || first.data_array.is_some() || !has_rows;
        if !is_inline {
            check_format(manifest.format.as_deref())?;
        }
        let columns: Vec<Column> = manifest.schema.columns.into_iter().map(Column::from).collect();
        let client = Arc::clone(statement.client());
        let compression = Compression::from_manifest(manifest.result_compression.as_deref())?;
        let mut whole = whole(&statement, columns, compression, config.sign_in.clone())?;
        let mut hints: Arc<[ChunkHint]> = Arc::default();
        let (whole, state) = if is_inline {
            let (wire, batches) = if has_rows {
                inline_rows(&statement, first, whole.compression, &whole.columns).await?
            } else {
                (crate::schema::from_manifest(&whole.columns, &whole.time_zone)?, Vec::new())
            };
            whole.compression = Compression::None;
            let whole = Arc::new(whole);
            let partition = inline_partition(&whole, config.ordered, &wire, &batches)?;
            (whole, State::Inline(Box::new(partition)))
        } else {
            hints = ChunkHint::from_manifest(manifest.chunks);
            let (id, hints, counters) = (statement.statement_id(), Arc::clone(&hints), Arc::default());
            let links = LinkStream::new(Arc::clone(&client), id, first, hints, counters)?;
            (Arc::new(whole), State::Walking(Box::new(links)))
        };
        let lease = Lease::new(&statement);
        Ok(Self {
            statement,
            end_of_lease: Task::spawn(end_of_lease(Arc::clone(&lease), config.lease)),
            lease,
            config,
            whole,
            hints,
            total_row_count: manifest.total_row_count,
            truncated: manifest.truncated,
            state,
            begun: None,
            done: None,
            partitions: 0,
            rows: 0,
        })
    }

    /// Cuts a result that is here already, whole.
    fn of_rows(statement: Arc<ServerStatement>, rows: InlineRows, config: PartitionConfig) -> Result<Self> {
        let whole = Arc::new(whole(&statement, rows.columns, Compression::None, config.sign_in.clone())?);
        let partition = inline_partition(&whole, config.ordered, &rows.wire, &rows.batches)?;
        let lease = Lease::new(&statement);
        Ok(Self {
            statement,
            end_of_lease: Task::spawn(end_of_lease(Arc::clone(&lease), config.lease)),
            lease,
            config,
            whole,
            hints: Arc::default(),
            total_row_count: Some(partition.row_count),
            truncated: rows.truncated,
            state: State::Inline(Box::new(partition)),
            begun: None,
            done: None,
            partitions: 0,
            rows: 0,
        })
    }

    /// Returns the server's id of the statement.
    pub fn statement_id(&self) -> &str {
        &self.whole.statement_id
    }

    /// Returns the Arrow schema of the rows; see [`Partition::schema`].
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.whole.schema)
    }

    /// Returns the columns as the manifest describes them.
    pub fn columns(&self) -> &[Column] {
        &self.whole.columns
    }

    /// Returns the number of rows the server announced.
    pub fn total_row_count(&self) -> Option<i64> {
        self.total_row_count
    }

    /// Tells whether a row or byte limit cut the result.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Returns the rows of the partitions handed out so far.
    pub fn rows(&self) -> i64 {
        self.rows
    }

    /// Returns the next partition, or `None` after the last, when the sum of their rows was held against the manifest. There
    /// is at least one: an empty result has one without rows. Cancel-safe; an error is final.
    ///
    /// # Errors
    /// [`ErrorKind::DataLoss`] where rows are missing or surplus, and those of the connection.
    pub async fn next(&mut self) -> Result<Option<Partition>> {
        let next = match &self.state {
            State::Failed(error) => return Err(error.clone()),
            State::Ended => return Ok(None),
            State::Inline(_) => self.cut().await,
            State::Walking(_) | State::Walked => {
                let cut = self.cut().await;
                if self.end_of_lease.is_finished() { Err(self.lease_is_over(cut.err())) } else { cut }
            }
        };
        match next {
            Ok(Some(partition)) => {
                self.partitions += 1;
                self.rows = self.rows.saturating_add(partition.row_count);
                Ok(Some(partition))
            }
            Ok(None) => {
                self.state = State::Ended;
                Ok(None)
            }
            Err(error) => {
                let error = error.with_statement_id(&self.whole.statement_id);
                self.state = State::Failed(error.clone());
                Err(error)
            }
        }
    }

    fn lease_is_over(&self, cause: Option<Error>) -> Error {
        let text = format!("the lease of {:?} is over", self.config.lease);
        match cause {
            Some(cause) => cause.within_kind(ErrorKind::Closed, text),
            None => Error::new(ErrorKind::Closed, text),
        }
    }

    /// Asks the workspace for fresh links to the rows of `partition`: what a [`super::LinkBroker`] hands out.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a partition of another statement, and those of the connection.
    pub fn links(&self, partition: &Partition) -> impl Future<Output = Result<PartitionLinks>> + Send + 'static {
        let (own, partition) = (Arc::clone(&self.whole), partition.clone());
        let client = Arc::clone(self.statement.client());
        async move {
            let is_own = own.statement_id == partition.statement_id() && own.host == partition.whole.host;
            if !is_own {
                let text = format!("{} is of another statement than `{}`", partition.place(), own.statement_id);
                return Err(Error::new(ErrorKind::InvalidArgument, text).with_statement_id(partition.statement_id()));
            }
            PartitionLinks::ask(&client, &partition).await
        }
    }

    /// Has the statement outlive this stream, its session and this process, as [`crate::ExecutedStatement::keep`] does: nobody
    /// closes it then, and the server gives up its result by itself.
    pub fn keep(&mut self) {
        self.end_of_lease = Task::spawn(std::future::pending());
        self.statement.keep();
    }

    /// Ends the lease: closes the statement on the server, so that no partition can be opened any more, unless it is another's
    /// or kept, or other streams of this process hold it. Safe to call twice.
    pub fn close(&self) -> impl Future<Output = Result<()>> + Send + 'static {
        let lease = Arc::clone(&self.lease);
        async move { lease.close().await }
    }

    async fn cut(&mut self) -> Result<Option<Partition>> {
        loop {
            // Kept until it is made, for who drops the future meanwhile.
            if let Some(done) = &self.done {
                let partition = self.partition(done).await?;
                self.done = None;
                return Ok(Some(partition));
            }
            match &mut self.state {
                State::Walking(links) => match links.next().await? {
                    Some(link) => {
                        let full = self.begun.as_ref().is_some_and(|begun| self.ends_before(begun, &link));
                        if full {
                            self.done = self.begun.take();
                        }
                        self.add(&link);
                    }
                    None => self.state = State::Walked,
                },
                State::Walked => match self.begun.take() {
                    Some(last) => self.done = Some(last),
                    None => break,
                },
                State::Inline(partition) => {
                    let partition = (**partition).clone();
                    self.state = State::Walked;
                    return Ok(Some(partition));
                }
                State::Failed(_) | State::Ended => return Ok(None),
            }
        }
        self.check_total()?;
        if self.partitions > 0 {
            return Ok(None);
        }
        let wire = crate::schema::from_manifest(&self.whole.columns, &self.whole.time_zone)?;
        inline_partition(&self.whole, self.config.ordered, &wire, &[]).map(Some)
    }

    /// Tells whether `link` is for the next partition. Files that share an index stay together: a server may take no other
    /// row of a chunk than its first.
    fn ends_before(&self, begun: &Begun, link: &ChunkLink) -> bool {
        let with_link = begun.bytes.saturating_add(self.size(link).unwrap_or(UNKNOWN_CHUNK_BYTES));
        link.rows() > 0
            && link.chunk_index != begun.last_chunk_index
            && u64::try_from(with_link).is_ok_and(|bytes| bytes > self.config.target_bytes.get())
    }

    /// Uncompressed size, else the link's own.
    fn size(&self, link: &ChunkLink) -> Option<i64> {
        let hinted = self.hint(link).and_then(|hint| i64::try_from(hint.byte_count?).ok());
        hinted.or(link.byte_count).filter(|bytes| *bytes >= 0)
    }

    fn hint(&self, link: &ChunkLink) -> Option<&ChunkHint> {
        let place = (link.row_offset, link.chunk_index);
        let position = self.hints.binary_search_by_key(&place, |hint| (hint.row_offset, hint.chunk_index)).ok()?;
        self.hints.get(position)
    }

    fn add(&mut self, link: &ChunkLink) {
        if link.rows() == 0 && self.begun.is_none() {
            return;
        }
        let (size, byte_count) = (self.size(link), self.hint(link).and_then(|hint| hint.byte_count));
        let begun = self.begun.get_or_insert_with(|| Begun {
            chunk_index: link.chunk_index,
            last_chunk_index: link.chunk_index,
            row_offset: link.row_offset,
            row_count: 0,
            bytes: 0,
            is_size_known: true,
            chunks: Vec::new(),
            links: Vec::new(),
            is_stale: false,
        });
        begun.last_chunk_index = link.chunk_index;
        begun.row_count = begun.row_count.saturating_add(link.rows());
        begun.bytes = begun.bytes.saturating_add(size.unwrap_or(UNKNOWN_CHUNK_BYTES));
        begun.is_size_known &= size.is_some();
        if begun.chunks.len() < MAX_LISTED_CHUNKS {
            let (chunk_index, row_offset) = (link.chunk_index, link.row_offset);
            begun.chunks.push(ChunkHint { chunk_index, row_offset, row_count: link.row_count, byte_count });
        }
        if self.config.with_links {
            begun.is_stale |= link.is_stale();
            begun.links.push(LinkText::from(link));
        }
    }

    async fn partition(&self, begun: &Begun) -> Result<Partition> {
        let mut partition = Partition {
            whole: Arc::clone(&self.whole),
            sequence: self.config.ordered.then_some(self.partitions),
            chunk_index: begun.chunk_index,
            row_offset: begun.row_offset,
            row_count: begun.row_count,
            byte_count: begun.is_size_known.then_some(begun.bytes),
            rows: Rows::Chunks(begun.chunks.as_slice().into()),
            links: None,
        };
        if self.config.with_links {
            // Whoever takes the partitions may take his time.
            let links = PartitionLinks::new(&partition, begun.links.clone());
            let is_short = links.seconds_left().is_some_and(|left| left < LEAST_LIFE_HANDED_OUT.as_secs_f64());
            partition.links = Some(if begun.is_stale || is_short {
                PartitionLinks::ask(self.statement.client(), &partition).await?
            } else {
                links
            });
        }
        Ok(partition)
    }

    fn check_total(&self) -> Result<()> {
        match self.total_row_count {
            Some(total) if !self.truncated && total != self.rows => Err(Error::new(
                ErrorKind::DataLoss,
                format!("the partitions have {} rows and the manifest announces {total}", self.rows),
            )),
            _ => Ok(()),
        }
    }
}

/// What the partitions of a result of `statement` have in common.
fn whole(
    statement: &ServerStatement,
    columns: Vec<Column>,
    compression: Compression,
    sign_in: Option<String>,
) -> Result<Whole> {
    let client = statement.client();
    let session = client.config();
    let (time_zone, forms) = (client.zone().get(), Forms::of(&session.results));
    Ok(Whole {
        statement_id: statement.statement_id().to_owned(),
        host: session.host.clone(),
        warehouse_id: session.warehouse_id.clone(),
        organization_id: session.organization_id.clone(),
        sign_in,
        schema: presented(&columns, &time_zone, forms)?,
        columns,
        time_zone,
        compression,
        forms,
    })
}

impl Drop for PartitionStream {
    fn drop(&mut self) {
        // A statement that nothing else holds is closed in the background when it is dropped.
        drop(self.lease.end());
    }
}

/// The right of one stream to have its statement open.
#[derive(Debug)]
struct Lease {
    statement: Arc<ServerStatement>,
    ended: AtomicBool,
}

/// How many leases a statement has, and the owner's handle on it, once that has ended his own.
type Held = (usize, Option<Arc<ServerStatement>>);

/// The leases of one process by host and statement, for a statement may be leased through several sessions.
#[derive(Debug)]
struct Leases {
    process: u32,
    held: Mutex<BTreeMap<(String, String), Held>>,
    /// Those of a child: the lock that it inherits may be held by a thread that does not exist there, and what is counted
    /// under it are leases of its parent.
    of_child: OnceLock<Box<Self>>,
}

static LEASES: OnceLock<Box<Leases>> = OnceLock::new();

impl Leases {
    fn of_process(process: u32) -> MutexGuard<'static, BTreeMap<(String, String), Held>> {
        let mut place = &LEASES;
        loop {
            let leases =
                place.get_or_init(|| Box::new(Self { process, held: Mutex::default(), of_child: OnceLock::new() }));
            if leases.process == process {
                return leases.held.lock().unwrap_or_else(PoisonError::into_inner);
            }
            place = &leases.of_child;
        }
    }
}

impl Lease {
    fn new(statement: &Arc<ServerStatement>) -> Arc<Self> {
        let lease = Self { statement: Arc::clone(statement), ended: AtomicBool::new(false) };
        let mut leases = Leases::of_process(process::id());
        leases.entry(lease.key()).or_default().0 += 1;
        Arc::new(lease)
    }

    fn key(&self) -> (String, String) {
        (self.statement.client().config().host.to_string(), self.statement.statement_id().to_owned())
    }

    /// Ends it, and returns the statement if that is to be closed now: where it is owned and this was the last lease.
    fn end(&self) -> Option<Arc<ServerStatement>> {
        if self.ended.swap(true, Ordering::AcqRel) {
            return None;
        }
        let own = self.statement.is_owned().then(|| Arc::clone(&self.statement));
        let mut leases = Leases::of_process(process::id());
        let key = self.key();
        let (count, owner) = leases.get_mut(&key)?;
        *count -= 1;
        *owner = own.or_else(|| owner.take());
        if *count > 0 {
            return None;
        }
        // It may have been kept since its owner ended his lease.
        leases.remove(&key)?.1.filter(|owner| owner.is_owned())
    }

    async fn close(&self) -> Result<()> {
        match self.end() {
            Some(statement) => statement.close().await,
            None => Ok(()),
        }
    }
}

async fn end_of_lease(lease: Arc<Lease>, lasts: Duration) {
    time::sleep(lasts).await;
    let statement_id = lease.statement.statement_id();
    info!(statement_id, "the lease of the partitions is over");
    if let Err(error) = lease.close().await {
        warn!(statement_id, cause = %error, "statement not closed");
    }
}

/// Makes the one partition of a result that is here already.
fn inline_partition(whole: &Arc<Whole>, ordered: bool, wire: &SchemaRef, batches: &[RecordBatch]) -> Result<Partition> {
    let content = ipc(wire, batches).map_err(|error| {
        Error::new(ErrorKind::Internal, "the rows of a small result could not be written down").with_source(error)
    })?;
    if content.len() > MAX_INLINE_BYTES {
        let text = format!(
            "the result came with the answer itself and has {} bytes; at most {MAX_INLINE_BYTES} travel in a partition",
            content.len()
        );
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    Ok(Partition {
        whole: Arc::clone(whole),
        sequence: ordered.then_some(0),
        chunk_index: 0,
        row_offset: 0,
        row_count: batches.iter().map(|batch| i64::try_from(batch.num_rows()).unwrap_or(i64::MAX)).sum(),
        byte_count: i64::try_from(content.len()).ok(),
        rows: Rows::Inline(Buffer::from_vec(content)),
        links: None,
    })
}

fn ipc(wire: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), wire)?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_does_not_wait_for_the_leases_of_its_parent() {
        let parent = Leases::of_process(0);
        let mut child = Leases::of_process(u32::MAX);
        child.insert(Default::default(), (1, None));
        assert!(parent.is_empty());
        drop(child);
        assert_eq!(Leases::of_process(u32::MAX).len(), 1);
    }
}
