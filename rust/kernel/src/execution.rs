//! Statements on the server.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tracing::{debug, warn};

use crate::error::{Error, ErrorKind, Result, sql_state_in};
use crate::partition::{PartitionConfig, PartitionStream};
use crate::results::ResultStream;
use crate::sea::SeaClient;
use crate::sea::wire::{Manifest, ResultData, StatementResponse, StatementStatus};
use crate::session::Session;

/// First pause between status calls, growing by half each time. Sleeps dominate the time to the first row, not calls.
const FIRST_POLL_INTERVAL: Duration = Duration::from_millis(50);
const LONGEST_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The server's state of a statement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum StatementState {
    /// Waiting for the warehouse.
    Pending,
    /// Running.
    Running,
    /// The result is available.
    Succeeded,
    /// The statement failed.
    Failed,
    /// Cancelled.
    Canceled,
    /// Finished, and its result was released; a success where the result came with the same answer.
    Closed,
    /// A state this version does not know; treated as running.
    Unknown,
}

impl StatementState {
    fn from_wire(state: &str) -> Self {
        match state {
            "PENDING" => Self::Pending,
            "RUNNING" => Self::Running,
            "SUCCEEDED" => Self::Succeeded,
            "FAILED" => Self::Failed,
            "CANCELED" => Self::Canceled,
            "CLOSED" => Self::Closed,
            _ => Self::Unknown,
        }
    }

    /// Returns the name of the state, for example `Running`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Canceled => "Canceled",
            Self::Closed => "Closed",
            Self::Unknown => "Unknown",
        }
    }

    /// Tells whether the statement has come to its end, so that the state changes no more.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled | Self::Closed)
    }
}

/// Cancels a statement from another thread, also one whose id is not known yet.
#[derive(Clone, Debug)]
pub struct StatementCanceller {
    session: Session,
    slot: Arc<Mutex<Slot>>,
}

/// What is known of one execution. Under one lock, so that of the id and the wish to cancel the second finds the first.
#[derive(Debug, Default)]
struct Slot {
    statement_id: Option<String>,
    /// The newest answer, while the statement is waited for.
    latest: Weak<Mutex<Latest>>,
    cancel_requested: bool,
    abandoned: bool,
}

impl StatementCanceller {
    pub(crate) fn new(session: Session) -> Self {
        Self { session, slot: Arc::default() }
    }

    /// Asks the server to cancel. A cancel asked for before the id is known is sent as soon as it is.
    ///
    /// Acceptance is not termination: the waiting call ends with [`ErrorKind::Cancelled`] when the server says so, or
    /// with its result where that was faster.
    pub async fn cancel(&self) -> Result<()> {
        let known = {
            let mut slot = self.slot();
            slot.cancel_requested = true;
            slot.statement_id.clone()
        };
        match known {
            Some(statement_id) => self.session.client()?.cancel(&statement_id).await,
            None => Ok(()),
        }
    }

    /// Returns the id of the statement once the server has named it, also after a failure.
    pub fn statement_id(&self) -> Option<String> {
        self.slot().statement_id.clone()
    }

    /// Returns the newest state that the server has told while `execute` waits; `None` before and after.
    pub fn state(&self) -> Option<StatementState> {
        let latest = self.slot().latest.upgrade()?;
        let state = latest.lock().unwrap_or_else(PoisonError::into_inner).state();
        Some(state)
    }

    /// Has [`StatementCanceller::state`] follow `executed` as long as that exists.
    pub(crate) fn follow(&self, executed: &ExecutedStatement) {
        self.slot().latest = Arc::downgrade(&executed.latest);
    }

    /// Notes the id and sends what was asked for before it was known.
    pub(crate) async fn statement_known(&self, statement_id: &str) {
        let wanted = {
            let mut slot = self.slot();
            slot.statement_id.get_or_insert_with(|| statement_id.to_owned());
            slot.cancel_requested || slot.abandoned
        };
        if wanted {
            self.end_on_server().await;
        }
    }

    /// Tells whether somebody waits for the statement and has not asked to cancel it.
    pub(crate) fn is_wanted(&self) -> bool {
        let slot = self.slot();
        !(slot.cancel_requested || slot.abandoned)
    }

    async fn end_on_server(&self) {
        // The end of a session on the server ends its statements.
        let (true, Some(statement_id)) = (self.session.is_open_on_server(), self.statement_id()) else { return };
        let client = self.session.client_of_statement();
        if let Err(error) = client.cancel(&statement_id).await {
            warn!(statement_id, cause = %error, "statement not cancelled");
        }
        // A caller that only asked to cancel still looks at the state; one that has gone needs the statement no more.
        let abandoned = self.slot().abandoned;
        if abandoned && let Err(error) = client.close_statement(&statement_id).await {
            warn!(statement_id, cause = %error, "statement not closed");
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a guard whose drop means that nobody waits any more.
    pub(crate) fn cancel_when_dropped(&self) -> AbandonGuard {
        AbandonGuard { canceller: Some(self.clone()) }
    }
}

/// Cancels a statement in the background when dropped before [`AbandonGuard::disarm`].
#[derive(Debug)]
pub(crate) struct AbandonGuard {
    canceller: Option<StatementCanceller>,
}

impl AbandonGuard {
    pub(crate) fn disarm(&mut self) {
        self.canceller = None;
    }
}

impl Drop for AbandonGuard {
    fn drop(&mut self) {
        let Some(canceller) = self.canceller.take() else { return };
        let known = {
            let mut slot = canceller.slot();
            slot.abandoned = true;
            slot.statement_id.is_some()
        };
        if known {
            let runtime = canceller.session.runtime().clone();
            runtime.spawn(async move { canceller.end_on_server().await });
        }
    }
}

/// What a handle may do to its statement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Hold {
    /// Ours: closed when nobody needs it any more.
    Owned,
    /// Ours once, and to outlive us: ended by an explicit call only.
    Kept,
    /// Of another: ended by an explicit call only.
    Attached,
    /// Of another, and left alone.
    ReadOnly,
}

/// A statement on the server, shared by its handle and by the results read through it.
///
/// Where it is owned it is closed once: on [`ServerStatement::close`] or, in the background, when the last of them is done.
#[derive(Debug)]
pub(crate) struct ServerStatement {
    /// Kept open as long as the statement: closing a session ends its statements.
    session: Session,
    statement_id: String,
    hold: Mutex<Hold>,
    closed: AtomicBool,
}

impl ServerStatement {
    fn new(session: &Session, statement_id: &str, hold: Hold) -> Arc<Self> {
        let (session, statement_id) = (session.clone(), statement_id.to_owned());
        Arc::new(Self { session, statement_id, hold: Mutex::new(hold), closed: AtomicBool::new(false) })
    }

    fn hold(&self) -> Hold {
        *self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the statement outlive this handle, and its session where that is ours.
    pub(crate) fn keep(&self) {
        let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        *hold = match *hold {
            Hold::Owned if !self.closed.load(Ordering::Acquire) => {
                self.session.keep_statement();
                Hold::Kept
            }
            Hold::ReadOnly => Hold::Attached,
            same => same,
        };
    }

    /// Tells whether it is ours to close when nobody needs it any more.
    pub(crate) fn is_owned(&self) -> bool {
        self.hold() == Hold::Owned
    }

    pub(crate) fn client(&self) -> &Arc<SeaClient> {
        self.session.client_of_statement()
    }

    pub(crate) fn statement_id(&self) -> &str {
        &self.statement_id
    }

    /// The server has closed it by itself: no call is owed.
    pub(crate) fn closed_by_server(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) async fn close(&self) -> Result<()> {
        let hold = {
            let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
            // The session is released once, also when the server has closed the statement by itself.
            if *hold == Hold::Kept { mem::replace(&mut *hold, Hold::Attached) } else { *hold }
        };
        let answer = if self.closed.swap(true, Ordering::AcqRel) || hold == Hold::ReadOnly {
            Ok(())
        } else {
            match self.client().close_statement(&self.statement_id).await {
                // As on a server that is out of reach: it ends with its session, or by itself.
                Err(error) if hold == Hold::Owned && error.is_want_of_token() => {
                    warn!(statement_id = self.statement_id, cause = %error, "statement not closed");
                    Ok(())
                }
                answer => answer,
            }
        };
        if hold == Hold::Kept {
            self.session.release_statement().await?;
        }
        answer
    }
}

impl Drop for ServerStatement {
    /// Starts the close without waiting for it: the end of a result must not cost a round trip.
    fn drop(&mut self) {
        if *self.closed.get_mut() || self.hold() != Hold::Owned {
            return;
        }
        let (session, statement_id) = (self.session.clone(), self.statement_id.clone());
        self.session.runtime().spawn(async move {
            if let Err(error) = session.client_of_statement().close_statement(&statement_id).await {
                warn!(statement_id, cause = %error, "statement not closed");
            }
        });
    }
}

/// A statement that the server has taken.
///
/// Its result may be opened any number of times, also at once. When the handle and every [`ResultStream`] opened through it
/// are done (dropped, closed or, a stream, read to its end), the statement is closed on the server in the background,
/// which also ends it if it still runs. Handles of [`Session::attach`] and [`ExecutedStatement::reader`] leave it alone.
#[derive(Debug)]
pub struct ExecutedStatement {
    statement: Arc<ServerStatement>,
    /// Whether the SQL is of a kind that changes rows; false where it is not known.
    changes_rows: bool,
    latest: Arc<Mutex<Latest>>,
}

/// What is known of a statement.
#[derive(Debug, Default)]
struct Latest {
    /// The newest answer, if there was one. The one that says `SUCCEEDED` brings the manifest and the first rows or links.
    response: Option<StatementResponse>,
    /// Manifest and rows went to the first result.
    taken: bool,
}

impl Latest {
    fn of(response: StatementResponse) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { response: Some(response), taken: false }))
    }

    fn state(&self) -> StatementState {
        let state = self.response.as_ref().map(|response| StatementState::from_wire(&response.status.state));
        state.unwrap_or(StatementState::Unknown)
    }

    fn take(&mut self) -> Option<(Manifest, Option<ResultData>)> {
        let response = self.response.as_mut()?;
        let manifest = response.manifest.take()?;
        self.taken = true;
        Some((manifest, response.result.take()))
    }
}

impl ExecutedStatement {
    pub(crate) fn new(session: &Session, response: StatementResponse, changes_rows: bool) -> Self {
        let statement = ServerStatement::new(session, &response.statement_id, Hold::Owned);
        Self { statement, changes_rows, latest: Latest::of(response) }
    }

    pub(crate) fn attached(session: &Session, response: StatementResponse) -> Self {
        let statement = ServerStatement::new(session, &response.statement_id, Hold::ReadOnly);
        Self { statement, changes_rows: false, latest: Latest::of(response) }
    }

    /// Returns another handle on this statement, read-only and independent: it knows nothing yet, and nothing done to it
    /// touches the statement or this handle.
    #[must_use]
    pub fn reader(&self) -> Self {
        let statement = ServerStatement::new(&self.statement.session, self.statement_id(), Hold::ReadOnly);
        Self { statement, changes_rows: self.changes_rows, latest: Arc::default() }
    }

    /// Has the statement and its result outlive this handle, every result read through it, and the session: from now on only
    /// [`ExecutedStatement::cancel`] and [`ExecutedStatement::close`] end it, which this allows on the handles of
    /// [`Session::attach`] and [`ExecutedStatement::reader`], too.
    ///
    /// A session whose statement is kept stays open on the server, for its end would end the statement: until that is
    /// closed here, or until the server finds the session idle.
    pub fn keep(&self) {
        self.statement.keep();
    }

    /// Returns the server's id of the statement.
    pub fn statement_id(&self) -> &str {
        self.statement.statement_id()
    }

    /// Asks the server for the state, unless it is known to be final.
    pub async fn state(&self) -> Result<StatementState> {
        let known = self.latest().state();
        if known.is_terminal() {
            return Ok(known);
        }
        let response = self.statement.client().status(self.statement_id()).await?;
        let mut latest = self.latest();
        // Another call may have seen the end meanwhile, and handed its rows out.
        if !latest.state().is_terminal() {
            latest.response = Some(response);
        }
        Ok(latest.state())
    }

    /// Waits until the statement has succeeded. There is no limit of our own: a statement may wait for a warehouse to
    /// start, or run for hours; drop the future or use a [`StatementCanceller`] to give up.
    ///
    /// # Errors
    /// [`ErrorKind::Sql`] where it failed, [`ErrorKind::Cancelled`], [`ErrorKind::Closed`] where its result was released
    /// before it could be read.
    pub async fn wait(&self) -> Result<()> {
        let is_new = self.latest().response.is_none();
        let mut state = if is_new { self.state().await? } else { self.latest().state() };
        let mut interval = FIRST_POLL_INTERVAL;
        while !state.is_terminal() {
            tokio::time::sleep(interval).await;
            interval = interval.mul_f64(1.5).min(LONGEST_POLL_INTERVAL);
            state = self.state().await?;
        }
        debug!(statement_id = self.statement_id(), ?state, "statement finished");
        let latest = self.latest();
        let Some(response) = latest.response.as_ref() else { return Ok(()) };
        match state {
            StatementState::Closed if response.manifest.is_some() || latest.taken => {
                // The whole result came along and the server has closed the statement by itself.
                self.statement.closed_by_server();
                Ok(())
            }
            StatementState::Closed => {
                self.statement.closed_by_server();
                Err(Error::new(ErrorKind::Closed, "the statement was closed before its result could be read")
                    .with_statement_id(self.statement_id()))
            }
            StatementState::Failed => {
                let error = statement_error(self.statement_id(), &response.status, &|text| {
                    self.statement.client().http().masked(text)
                });
                Err(self.statement.client().explain_limit(error))
            }
            StatementState::Canceled => Err(Error::new(ErrorKind::Cancelled, "the statement was cancelled")
                .with_sql_state(Some("57014".to_owned()))
                .with_statement_id(self.statement_id())),
            _ => Ok(()),
        }
    }

    /// Waits for success and opens the result, from its first row. The first chunk is in memory when this returns.
    ///
    /// The first result takes what came with the server's answer; each further one asks the server again.
    ///
    /// # Errors
    /// Those of [`ExecutedStatement::wait`], and [`ErrorKind::Closed`] for a further result of a statement whose result
    /// came whole with an answer that closed it.
    pub async fn results(&self) -> Result<ResultStream> {
        self.wait().await?;
        let taken = self.latest().take();
        let (manifest, first) = match taken {
            Some(taken) => taken,
            None => self.result_again().await?,
        };
        let statement = Arc::clone(&self.statement);
        ResultStream::open(statement, manifest, first.unwrap_or_default(), self.changes_rows).await
    }

    /// Waits for success and cuts the result into partitions, to be read by others; downloads nothing.
    ///
    /// # Errors
    /// Those of [`ExecutedStatement::results`], and [`ErrorKind::InvalidArgument`] where the statement transfers a file.
    pub async fn partitions(&self, config: PartitionConfig) -> Result<PartitionStream> {
        self.wait().await?;
        let taken = self.latest().take();
        let (manifest, first) = match taken {
            Some(taken) => taken,
            None => self.result_again().await?,
        };
        PartitionStream::open(Arc::clone(&self.statement), manifest, first.unwrap_or_default(), config).await
    }

    /// Asks the server for the result once more.
    async fn result_again(&self) -> Result<(Manifest, Option<ResultData>)> {
        let in_statement = |kind, text: &str| Error::new(kind, text).with_statement_id(self.statement_id());
        if self.statement.closed.load(Ordering::Acquire) && self.statement.hold() != Hold::ReadOnly {
            return Err(in_statement(ErrorKind::Closed, "the statement is closed, and its result was read before"));
        }
        let response = self.statement.client().status(self.statement_id()).await?;
        match (StatementState::from_wire(&response.status.state), response.manifest) {
            (StatementState::Succeeded | StatementState::Closed, Some(manifest)) => Ok((manifest, response.result)),
            (StatementState::Closed, None) => {
                Err(in_statement(ErrorKind::Closed, "the statement was closed before its result could be read again"))
            }
            _ => Err(in_statement(ErrorKind::Protocol, "the statement succeeded without a manifest")),
        }
    }

    /// Asks the server to cancel the statement. Accepted is not ended: [`ExecutedStatement::wait`] tells.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a read-only handle.
    pub async fn cancel(&self) -> Result<()> {
        if self.statement.hold() == Hold::ReadOnly {
            let text = "a read-only handle cannot cancel the statement; its owner can";
            return Err(Error::new(ErrorKind::InvalidArgument, text).with_statement_id(self.statement_id()));
        }
        self.statement.client().cancel(self.statement_id()).await
    }

    /// Releases the statement and its result on the server, also under results that are being read. Safe to call twice, and
    /// without effect on a read-only handle.
    pub async fn close(&self) -> Result<()> {
        self.statement.close().await
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Builds the error of a FAILED statement.
///
/// SQLSTATE is looked for beside `error`, inside it, and at last in the message: a recorded syntax error of 2024 had it
/// nowhere else.
pub(crate) fn statement_error(
    statement_id: &str,
    status: &StatementStatus,
    harmless: &dyn Fn(&str) -> String,
) -> Error {
    let error = status.error.as_ref();
    let message =
        error.and_then(|error| error.message.as_deref()).unwrap_or("the statement failed and no reason was given");
    let sql_state = status
        .sql_state
        .clone()
        .or_else(|| error.and_then(|error| error.sql_state.clone()))
        .or_else(|| sql_state_in(message).map(str::to_owned));
    Error::new(ErrorKind::Sql, harmless(message))
        .with_sql_state(sql_state.as_deref().map(harmless))
        .with_error_code(error.and_then(|error| error.error_code.as_deref()).map(harmless))
        .with_statement_id(statement_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_state_beside_the_error_wins() {
        let text = r#"{"state":"FAILED","sql_state":"42P01","error":{"error_code":"BAD_REQUEST","message":"m SQLSTATE: 42601"}}"#;
        let error = statement_error("01", &serde_json::from_str(text).unwrap(), &str::to_owned);
        assert_eq!(error.sql_state(), Some("42P01"));
        assert_eq!(
            (error.kind(), error.error_code(), error.statement_id()),
            (ErrorKind::Sql, Some("BAD_REQUEST"), Some("01"))
        );
        assert!(!error.is_retryable());
    }
}
