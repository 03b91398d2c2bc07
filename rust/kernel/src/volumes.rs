//! Files of volumes: the transfers that `PUT`, `GET` and `REMOVE` statements ask for.
//!
//! Such a statement changes nothing by itself. It answers with one row that holds a presigned URL, and the client does the
//! rest with the storage host, without token or anything else of the session.
//!
//! Source: the Python and JDBC drivers of the platform; the row is in no public reference.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;
use futures_util::stream;
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HOST, HeaderMap, HeaderName, HeaderValue, IF_RANGE, RANGE,
    TRANSFER_ENCODING,
};
use reqwest::{Method, StatusCode};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use crate::error::{Error, ErrorKind, Result};
use crate::http::retry::{Failure, RequestClass};
use crate::http::{Attempt, HttpClient, Response};
use crate::results::{PresignedUrl, ResultStream};
use crate::session::Session;

/// What is read and sent at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Links asked for anew in one transfer: each lives for a quarter of an hour.
const MAX_RENEWALS: u32 = 16;
/// An attempt that brings this much nearer to the end counts as progress.
const PROGRESS_BYTES: u64 = 64 << 10;

/// What a statement about a file of a volume has the client do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VolumeAction {
    /// Upload a file.
    Put,
    /// Download a file.
    Get,
    /// Delete a file.
    Remove,
}

impl VolumeAction {
    /// Returns the word of the statement, for example `PUT`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "PUT",
            Self::Get => "GET",
            Self::Remove => "REMOVE",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Put, Self::Get, Self::Remove].into_iter().find(|action| action.name() == name)
    }
}

/// How far a transfer is; may be looked at from any thread while it runs.
#[derive(Debug, Default)]
pub struct VolumeProgress {
    done: AtomicU64,
    /// One more than the total; 0 where it is not known.
    total: AtomicU64,
}

impl VolumeProgress {
    /// Returns the bytes transferred. After a failed attempt they may become fewer.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Returns the bytes of the whole file, once they are known.
    pub fn total(&self) -> Option<u64> {
        self.total.load(Ordering::Relaxed).checked_sub(1)
    }

    fn set(&self, done: u64, total: Option<u64>) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total.map_or(0, |total| total.saturating_add(1)), Ordering::Relaxed);
    }
}

/// Where an upload comes from. Not a type parameter, for the code of a transfer would be there once per source.
pub trait UploadSource: Read + Seek + Send {}

impl<S: Read + Seek + Send> UploadSource for S {}

/// Where a download goes.
pub trait DownloadSink: Write + Send {
    /// Throws away what was written, for the file has changed meanwhile or cannot be fetched from the middle.
    ///
    /// # Errors
    /// What was written cannot be taken back; the download then fails.
    fn restart(&mut self) -> io::Result<()>;
}

impl DownloadSink for Vec<u8> {
    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

impl DownloadSink for std::fs::File {
    fn restart(&mut self) -> io::Result<()> {
        self.set_len(0)?;
        self.seek(SeekFrom::Start(0)).map(drop)
    }
}

/// A transfer that a statement has asked for.
///
/// The attempts and the time that [`crate::RetryConfig`] allows are for what fails: time in which a file travels does not count.
///
/// Dropping the future of a transfer ends it. A store keeps an upload only if it has arrived whole.
#[derive(Debug)]
pub struct VolumeOperation {
    session: Session,
    /// What to ask again when the link has expired.
    sql: Option<String>,
    request: Request,
    progress: Arc<VolumeProgress>,
}

/// The row of the statement.
#[derive(Debug)]
struct Request {
    statement_id: String,
    action: VolumeAction,
    url: PresignedUrl,
    headers: HeaderMap,
    local_file: Option<String>,
}

/// How an attempt failed.
enum TransferFailure {
    /// On the way to the store: may be tried again.
    Attempt(Attempt),
    /// At our end.
    Local(Error),
}

impl From<Attempt> for TransferFailure {
    fn from(attempt: Attempt) -> Self {
        Self::Attempt(attempt)
    }
}

impl VolumeOperation {
    /// Runs a `PUT`, `GET` or `REMOVE` statement; nothing is transferred yet.
    ///
    /// # Errors
    /// Those of the statement, and [`ErrorKind::InvalidArgument`] where it asks for no transfer.
    pub async fn ask(session: &Session, sql: &str) -> Result<Self> {
        let request = Request::ask(session, sql).await?;
        Ok(Self { session: session.clone(), sql: Some(sql.to_owned()), request, progress: Arc::default() })
    }

    /// Reads what the statement behind `results` asks for. With its `sql` an expired link can be renewed: the statement is
    /// then run anew, which is safe, for it only hands out links.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where it asks for no transfer, [`ErrorKind::Protocol`] for a row that is none.
    pub async fn of_results(session: &Session, results: ResultStream, sql: Option<String>) -> Result<Self> {
        let request = Request::read(session, results).await?;
        Ok(Self { session: session.clone(), sql, request, progress: Arc::default() })
    }

    /// Returns what is to be done.
    pub fn action(&self) -> VolumeAction {
        self.request.action
    }

    /// Returns the client's own file, as the statement names it.
    pub fn local_file(&self) -> Option<&str> {
        self.request.local_file.as_deref()
    }

    /// Returns the server's id of the statement.
    pub fn statement_id(&self) -> &str {
        &self.request.statement_id
    }

    /// Returns what tells how far the transfer is.
    pub fn progress(&self) -> Arc<VolumeProgress> {
        Arc::clone(&self.progress)
    }

    /// Uploads `length` bytes of `source` from where it stands, and returns their number.
    ///
    /// Holds a few pieces of 256 KiB in memory. The source is read on the polling thread. A broken upload is repeated from
    /// its first byte: the same bytes at the same place.
    ///
    /// # Errors
    /// [`ErrorKind::LinkExpired`] where the store refuses even a fresh link, [`ErrorKind::InvalidArgument`] where the source
    /// fails or has fewer bytes, and those of the connection.
    pub async fn put(&mut self, source: &mut dyn UploadSource, length: u64) -> Result<u64> {
        self.expect(VolumeAction::Put)?;
        let session = self.session.clone();
        let http = session.client()?.http();
        let start = source.stream_position().map_err(|error| self.local_failure("read", error))?;
        let mut attempts = http.attempts(RequestClass::Upload, self.request.url.expose());
        let mut renewals = Renewals::default();
        loop {
            self.progress.set(0, Some(length));
            let begun = Instant::now();
            match self.upload(http, source, length).await {
                Ok(status) => {
                    attempts.succeeded();
                    info!(statement_id = self.statement_id(), bytes = length, status, "file uploaded");
                    return Ok(length);
                }
                Err(TransferFailure::Local(error)) => return Err(error),
                Err(TransferFailure::Attempt(attempt)) if renewals.apply(&attempt, self.sql.as_deref()) => {
                    self.renew(attempt).await?;
                }
                Err(TransferFailure::Attempt(attempt)) => {
                    renewals.progressed();
                    // A large file may take longer than there is time for failures.
                    attempts.paused(begun.elapsed());
                    let wait = attempts.failed(attempt).map_err(|error| self.failure(error))?;
                    tokio::time::sleep(wait).await;
                }
            }
            source.seek(SeekFrom::Start(start)).map_err(|error| self.local_failure("read again", error))?;
        }
    }

    /// Downloads the file into `sink` and returns its length in bytes.
    ///
    /// Holds a few pieces in memory. A download that breaks off goes on where it stopped, if the store can do that and the
    /// file is still the same, and starts again otherwise. Until this returns, `sink` has a part of the file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is no such file, [`ErrorKind::LinkExpired`] where the store refuses even a fresh
    /// link, [`ErrorKind::InvalidArgument`] where the sink fails, and those of the connection.
    pub async fn get(&mut self, sink: &mut dyn DownloadSink) -> Result<u64> {
        self.expect(VolumeAction::Get)?;
        let session = self.session.clone();
        let http = session.client()?.http();
        let mut attempts = http.attempts(RequestClass::Download, self.request.url.expose());
        let mut renewals = Renewals::default();
        let mut arrived = Arrived::default();
        loop {
            let (before, begun) = (arrived.bytes, Instant::now());
            let outcome = self.download(http, sink, &mut arrived).await;
            let gained = arrived.bytes.saturating_sub(before);
            match outcome {
                Ok(()) => {
                    sink.flush().map_err(|error| self.local_failure("write", error))?;
                    attempts.succeeded();
                    info!(statement_id = self.statement_id(), bytes = arrived.bytes, "file downloaded");
                    return Ok(arrived.bytes);
                }
                Err(TransferFailure::Local(error)) => return Err(error),
                // A signature that does not cover a range.
                Err(TransferFailure::Attempt(attempt))
                    if arrived.resumed && attempt.error.error_code() == Some("SignatureDoesNotMatch") =>
                {
                    http.remember_ranges(&self.request.url, false);
                }
                Err(TransferFailure::Attempt(attempt)) if renewals.apply(&attempt, self.sql.as_deref()) => {
                    self.renew(attempt).await?;
                }
                Err(TransferFailure::Attempt(attempt)) => {
                    if gained > 0 {
                        renewals.progressed();
                    }
                    if gained >= PROGRESS_BYTES {
                        attempts.progressed();
                        attempts.paused(begun.elapsed());
                    }
                    let wait = attempts.failed(attempt).map_err(|error| self.failure(error))?;
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Deletes the file. Some stores say nothing where there was none.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where the store says that there is no such file, [`ErrorKind::LinkExpired`] where it refuses
    /// even a fresh link, and those of the connection.
    pub async fn remove(&mut self) -> Result<()> {
        self.expect(VolumeAction::Remove)?;
        let session = self.session.clone();
        let http = session.client()?.http();
        let mut attempts = http.attempts(RequestClass::RemoveFile, self.request.url.expose());
        let mut renewals = Renewals::default();
        let mut unanswered = false;
        loop {
            let (url, headers) = (self.request.url.expose(), self.request.headers.clone());
            let limit = http.config().results.download_idle_timeout;
            let answer =
                http.storage_write(RequestClass::RemoveFile, Method::DELETE, url, headers, reqwest::Body::from(""));
            match timeout(limit, answer).await.unwrap_or_else(|_| Err(self.silent(limit))) {
                Ok(_) => break attempts.succeeded(),
                // The attempt before may have done it.
                Err(attempt) if unanswered && attempt.error.http_status() == Some(404) => break attempts.succeeded(),
                Err(attempt) if renewals.apply(&attempt, self.sql.as_deref()) => self.renew(attempt).await?,
                Err(attempt) => {
                    unanswered |= !matches!(attempt.failure, Failure::NotSent);
                    let wait = attempts.failed(attempt).map_err(|error| self.failure(error))?;
                    tokio::time::sleep(wait).await;
                }
            }
        }
        info!(statement_id = self.statement_id(), "file removed");
        Ok(())
    }

    fn expect(&self, action: VolumeAction) -> Result<()> {
        if self.request.action == action {
            return Ok(());
        }
        let text = format!("the statement asks for {}, not for {}", self.request.action.name(), action.name());
        Err(Error::new(ErrorKind::InvalidArgument, text).with_statement_id(self.statement_id()))
    }

    /// Runs the statement anew for a fresh link.
    async fn renew(&mut self, refused: Attempt) -> Result<()> {
        let Some(sql) = &self.sql else { return Err(self.failure(refused.error)) };
        debug!(statement_id = self.statement_id(), "the link of a file is renewed");
        let renewed = Request::ask(&self.session, sql).await.map_err(|error| {
            error.within(format!("{}: the link has expired and could not be renewed", self.request.what()))
        })?;
        if renewed.action != self.request.action || renewed.local_file != self.request.local_file {
            let text = format!("{}: the renewed link is for something else", self.request.what());
            return Err(Error::new(ErrorKind::Protocol, text).with_statement_id(&renewed.statement_id));
        }
        self.request = renewed;
        Ok(())
    }

    /// One attempt of an upload; returns the status of the store.
    async fn upload(
        &self,
        http: &HttpClient,
        source: &mut dyn UploadSource,
        length: u64,
    ) -> Result<u16, TransferFailure> {
        let (sender, receiver) = mpsc::channel::<Bytes>(1);
        let body = stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|piece| (Ok::<_, io::Error>(piece), receiver))
        });
        let mut headers = self.request.headers.clone();
        // Stores refuse bodies of unknown length.
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        let body = reqwest::Body::wrap_stream(body);
        let url = self.request.url.expose();
        let answer = http.storage_write(RequestClass::Upload, Method::PUT, url, headers, body);
        tokio::pin!(answer);
        let mut sent = 0;
        while sent < length {
            let room = tokio::select! {
                biased;
                // Before everything was sent it can only be a refusal.
                response = &mut answer => return self.answered(&response?, sent, length),
                room = timeout(http.config().results.download_idle_timeout, sender.reserve()) => room,
            };
            let Ok(room) = room else { return Err(self.silent(http.config().results.download_idle_timeout).into()) };
            // The body is wanted no more: the answer says why.
            let Ok(room) = room else { break };
            let piece = self.read_piece(source, length - sent)?;
            sent += piece.len() as u64;
            room.send(piece);
            self.progress.set(sent, Some(length));
        }
        drop(sender);
        let limit = http.config().read_timeout;
        match timeout(limit, answer).await {
            Ok(response) => self.answered(&response?, sent, length),
            Err(_) => Err(self.silent(limit).into()),
        }
    }

    fn answered(&self, response: &Response, sent: u64, length: u64) -> Result<u16, TransferFailure> {
        let status = response.status();
        let stored =
            matches!(status, StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED | StatusCode::NO_CONTENT);
        if stored && sent == length {
            if status == StatusCode::ACCEPTED {
                debug!(statement_id = self.statement_id(), "the store has accepted the file and may still refuse it");
            }
            return Ok(status.as_u16());
        }
        let text = format!(
            "storage host {} answered HTTP {} after {sent} of {length} bytes",
            self.request.url.host(),
            status.as_u16()
        );
        let failure = if sent == length {
            Failure::Status { status: status.as_u16(), retry_after: None }
        } else {
            Failure::Broken
        };
        let error = Error::new(ErrorKind::Protocol, text).with_http_status(status.as_u16());
        Err(Attempt { failure, error }.into())
    }

    fn silent(&self, limit: Duration) -> Attempt {
        let text = format!("storage host {} showed no sign for {} s", self.request.url.host(), limit.as_secs_f64());
        Attempt { failure: Failure::Broken, error: Error::new(ErrorKind::Timeout, text) }
    }

    fn read_piece(&self, source: &mut dyn UploadSource, left: u64) -> Result<Bytes, TransferFailure> {
        let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(left).unwrap_or(PIECE_BYTES))];
        let mut filled = 0;
        while let Some(room) = piece.get_mut(filled..).filter(|room| !room.is_empty()) {
            match source.read(room) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TransferFailure::Local(self.local_failure("read", error))),
            }
        }
        piece.truncate(filled);
        if piece.is_empty() {
            let text = format!("{}: the source has {left} bytes fewer than it had at first", self.request.what());
            let error = Error::new(ErrorKind::InvalidArgument, text).with_statement_id(self.statement_id());
            return Err(TransferFailure::Local(error));
        }
        Ok(piece.into())
    }

    /// One attempt of a download, from where the last one broke off.
    async fn download(
        &self,
        http: &HttpClient,
        sink: &mut dyn DownloadSink,
        arrived: &mut Arrived,
    ) -> Result<(), TransferFailure> {
        let mut headers = self.request.headers.clone();
        arrived.resumed = false;
        if arrived.bytes > 0
            && http.does_ranges(&self.request.url) != Some(false)
            && let Some(tag) = &arrived.entity_tag
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", arrived.bytes))
        {
            headers.insert(RANGE, range);
            headers.insert(IF_RANGE, tag.clone());
            arrived.resumed = true;
        }
        let mut response = http.storage_get(self.request.url.expose(), headers, arrived.resumed).await?;
        let total = match response.status() {
            StatusCode::PARTIAL_CONTENT if arrived.resumed => match rest_of(response.headers()) {
                Some((first, length))
                    if first == arrived.bytes && arrived.length.is_none_or(|known| known == length) =>
                {
                    Some(length)
                }
                _ => return Err(self.unusable_range(http)),
            },
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => return Err(self.unusable_range(http)),
            // The whole file: nothing was there yet, or it is another one, or the store cannot do ranges.
            _ => {
                if arrived.bytes > 0 {
                    sink.restart().map_err(|error| TransferFailure::Local(self.local_failure("start again", error)))?;
                }
                let told = response.headers().get(ETAG);
                arrived.entity_tag = told.filter(|tag| !tag.as_bytes().starts_with(b"W/")).cloned();
                arrived.bytes = 0;
                response.content_length()
            }
        };
        // Without either, a file ends where the connection does, and nobody could tell a part from the whole.
        if total.is_none() && !response.headers().contains_key(TRANSFER_ENCODING) {
            let text = format!("storage host {} does not say how long the file is", self.request.url.host());
            return Err(Attempt { failure: Failure::Broken, error: Error::new(ErrorKind::Protocol, text) }.into());
        }
        arrived.length = total;
        self.progress.set(arrived.bytes, total);
        loop {
            let cause = match response.chunk().await {
                Ok(Some(piece)) if total.is_none_or(|total| arrived.bytes + piece.len() as u64 <= total) => {
                    sink.write_all(&piece)
                        .map_err(|error| TransferFailure::Local(self.local_failure("write", error)))?;
                    arrived.bytes += piece.len() as u64;
                    self.progress.set(arrived.bytes, total);
                    continue;
                }
                Ok(None) if total.is_none_or(|total| arrived.bytes == total) => return Ok(()),
                Ok(_) => None,
                Err(error) => Some(error),
            };
            let timed_out = cause.as_ref().is_some_and(|error| error.timed_out);
            let kind = if timed_out { ErrorKind::Timeout } else { ErrorKind::Network };
            let of = total.map_or_else(|| "unknown".to_owned(), |total| total.to_string());
            let text = format!("{} sent {} of {of} bytes and stopped", self.request.url.host(), arrived.bytes);
            let error = Error::new(kind, text);
            let error = match cause {
                Some(cause) => error.with_source(cause.cause),
                None => error,
            };
            return Err(Attempt { failure: Failure::Broken, error }.into());
        }
    }

    /// The store has answered a range with something else; the next attempt asks for the whole file.
    fn unusable_range(&self, http: &HttpClient) -> TransferFailure {
        http.remember_ranges(&self.request.url, false);
        let text = format!("storage host {} sent another part of the file than was asked for", self.request.url.host());
        Attempt { failure: Failure::Broken, error: Error::new(ErrorKind::Protocol, text) }.into()
    }

    /// Says what failed, and what the status means for a file.
    fn failure(&self, error: Error) -> Error {
        let what = self.request.what();
        let text = match (error.http_status(), error.error_code()) {
            (Some(404), _) => format!("{what}: there is no such file"),
            (Some(401 | 403), _) if self.sql.is_none() => {
                format!("{what} was refused; the link may have expired: run the statement again")
            }
            _ => format!("{what} failed"),
        };
        let kind = match (error.http_status(), error.error_code()) {
            (Some(404), _) => ErrorKind::NotFound,
            (Some(400), code) if code != Some("ExpiredToken") => ErrorKind::InvalidArgument,
            _ => error.kind(),
        };
        error.within_kind(kind, text).with_statement_id(self.statement_id())
    }

    fn local_failure(&self, verb: &str, error: io::Error) -> Error {
        let text = format!("{}: could not {verb} the client's end", self.request.what());
        Error::new(ErrorKind::InvalidArgument, text).with_source(error).with_statement_id(self.statement_id())
    }
}

/// What has come of a download.
#[derive(Debug, Default)]
struct Arrived {
    bytes: u64,
    length: Option<u64>,
    /// A strong one: two parts of one file have the same.
    entity_tag: Option<HeaderValue>,
    /// The attempt under way asks for the rest only.
    resumed: bool,
}

/// First byte and length of the file, of an answer that goes on to its end.
fn rest_of(headers: &HeaderMap) -> Option<(u64, u64)> {
    let (range, length) = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, length) = (first.parse().ok()?, last.parse::<u64>().ok()?, length.parse().ok()?);
    (first <= last && last.checked_add(1) == Some(length)).then_some((first, length))
}

/// When to ask for a new link.
#[derive(Debug, Default)]
struct Renewals {
    count: u32,
    /// The link has not shown yet that it opens.
    fresh: bool,
}

impl Renewals {
    /// Tells whether `attempt` failed for its link and a new one is worth the statement.
    fn apply(&mut self, attempt: &Attempt, sql: Option<&str>) -> bool {
        let refused = match attempt.error.http_status() {
            Some(401 | 403) => true,
            Some(400) => attempt.error.error_code() == Some("ExpiredToken"),
            _ => false,
        };
        let renew = refused && sql.is_some() && !self.fresh && self.count < MAX_RENEWALS;
        if renew {
            self.count += 1;
            self.fresh = true;
        }
        renew
    }

    /// Notes that the link was good for something.
    fn progressed(&mut self) {
        self.fresh = false;
    }
}

impl Request {
    async fn ask(session: &Session, sql: &str) -> Result<Self> {
        let results = session.statement(sql).execute().await?.results().await?;
        Self::read(session, results).await
    }

    async fn read(session: &Session, mut results: ResultStream) -> Result<Self> {
        let statement_id = results.statement_id().to_owned();
        let read = async {
            if !results.is_volume_operation() {
                let text = "the statement is none that transfers a file of a volume";
                return Err(Error::new(ErrorKind::InvalidArgument, text));
            }
            let row = results.next_batch().await?;
            let row = row.filter(|row| row.num_rows() == 1).ok_or_else(|| unusable("has not exactly one row"))?;
            if results.next_batch().await?.is_some() {
                return Err(unusable("has not exactly one row"));
            }
            Self::of_row(session, &row, &statement_id)
        };
        read.await.map_err(|error| error.with_statement_id(&statement_id))
    }

    fn of_row(session: &Session, row: &RecordBatch, statement_id: &str) -> Result<Self> {
        let column = |name: &str, place: usize| {
            let schema = row.schema();
            let named = schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name));
            row.columns().get(named.unwrap_or(place))
        };
        let action = column("operation", 0).and_then(text).and_then(|name| VolumeAction::named(&name));
        let action = action.ok_or_else(|| unusable("names no operation of PUT, GET and REMOVE"))?;
        let url = column("presignedUrl", 1).and_then(text).ok_or_else(|| unusable("holds no link"))?;
        let config = session.client()?.config();
        Ok(Self {
            statement_id: statement_id.to_owned(),
            action,
            url: PresignedUrl::parse(&url, config.allows_private_storage())?,
            headers: column("headers", 2).map_or_else(|| Ok(HeaderMap::new()), headers)?,
            local_file: column("localFile", 3).and_then(text).filter(|file| !file.is_empty()),
        })
    }

    /// `upload to store.example:443/a/b`, as errors name it.
    fn what(&self) -> impl fmt::Display + use<'_> {
        let verb = match self.action {
            VolumeAction::Put => "upload to",
            VolumeAction::Get => "download of",
            VolumeAction::Remove => "deletion of",
        };
        format!("{verb} {}{}", self.url.host(), self.url.expose().path())
    }
}

fn unusable(why: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("the answer to a statement about a file of a volume {why}"))
}

/// The text in the one row of a column.
fn text(column: &ArrayRef) -> Option<String> {
    if column.len() != 1 || column.is_null(0) {
        return None;
    }
    match column.data_type() {
        DataType::Utf8 => Some(column.as_string_opt::<i32>()?.value(0).to_owned()),
        DataType::LargeUtf8 => Some(column.as_string_opt::<i64>()?.value(0).to_owned()),
        _ => None,
    }
}

/// The headers in the one row of a column: a JSON object as text, or a map.
fn headers(column: &ArrayRef) -> Result<HeaderMap> {
    let mut pairs = Vec::new();
    if let Some(map) = column.as_map_opt() {
        if map.is_valid(0) {
            let entries = map.value(0);
            let (keys, values) = (entries.columns().first(), entries.columns().get(1));
            let (Some(keys), Some(values)) = (keys, values) else { return Err(unusable("has unreadable headers")) };
            for place in 0..entries.len() {
                let cell = |array: &ArrayRef| text(&array.slice(place, 1));
                pairs.extend(cell(keys).map(|name| (name, cell(values).unwrap_or_default())));
            }
        }
    } else if let Some(json) = text(column).filter(|json| !json.trim().is_empty()) {
        // The parser's own message could repeat parts of the text, which are secrets.
        let fields: Option<serde_json::Map<String, serde_json::Value>> =
            serde_json::from_str(&json).map_err(|_| unusable("has unreadable headers"))?;
        for (name, value) in fields.unwrap_or_default() {
            let value = match value {
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            };
            pairs.push((name, value));
        }
    }
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let pair = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(&value).ok());
        let (name, mut value) = pair.ok_or_else(|| unusable("has an unusable header"))?;
        if name == AUTHORIZATION {
            return Err(unusable("asks for an `Authorization` header, which no storage host gets"));
        }
        value.set_sensitive(true);
        // Which bytes travel, how and whereto is ours to say.
        if ![RANGE, IF_RANGE, CONTENT_LENGTH, TRANSFER_ENCODING, HOST].contains(&name) {
            headers.insert(name, value);
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::StringArray;

    use super::*;

    fn json(text: Option<&str>) -> Result<HeaderMap> {
        let column: ArrayRef = Arc::new(StringArray::from(vec![text]));
        headers(&column)
    }

    #[test]
    fn headers_are_read_and_stay_secret() {
        for none in [None, Some(""), Some("null"), Some("{}")] {
            assert!(json(none).unwrap().is_empty(), "{none:?}");
        }
        let read =
            json(Some(r#"{"x-ms-blob-type":"BlockBlob","Content-Length":"3","Range":"bytes=1-","n":1}"#)).unwrap();
        assert_eq!(
            (read.len(), read["x-ms-blob-type"].to_str().unwrap(), read["n"].to_str().unwrap()),
            (2, "BlockBlob", "1")
        );
        assert!(!format!("{read:?}").contains("BlockBlob"));
        for bad in
            ["[1]", "{canary", r#"{"a b":"canary"}"#, r#"{"a":"canary\r\nb: c"}"#, r#"{"authorization":"canary"}"#]
        {
            let error = json(Some(bad)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{bad}");
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
    }

    #[test]
    fn only_an_answer_to_the_end_of_the_file_is_a_rest() {
        for (text, expected) in [
            ("bytes 5-9/10", Some((5, 10))),
            ("bytes 5-8/10", None),
            ("bytes 9-5/10", None),
            ("bytes 5-9/*", None),
            ("bytes 0-18446744073709551615/1", None),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_RANGE, HeaderValue::from_str(text).unwrap())]);
            assert_eq!(rest_of(&headers), expected, "{text}");
        }
    }

    #[test]
    fn a_link_is_renewed_once_until_it_was_of_use() {
        let refused = |status| Attempt {
            failure: Failure::Status { status, retry_after: None },
            error: Error::new(ErrorKind::LinkExpired, "refused").with_http_status(status),
        };
        let mut renewals = Renewals::default();
        assert!(!renewals.apply(&refused(403), None) && !renewals.apply(&refused(404), Some("")));
        assert!(renewals.apply(&refused(403), Some("")) && !renewals.apply(&refused(403), Some("")));
        renewals.progressed();
        assert!(renewals.apply(&refused(401), Some("")));
    }
}
