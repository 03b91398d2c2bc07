//! Statements on the server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tracing::{debug, warn};

use crate::error::{Error, ErrorKind, Result};
use crate::results::ResultStream;
use crate::sea::SeaClient;
use crate::sea::wire::{StatementResponse, StatementStatus};
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

    fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled | Self::Closed)
    }
}

/// Cancels a statement from another thread, also one whose id is not known yet.
#[derive(Clone, Debug)]
pub struct StatementCanceller {
    session: Session,
    slot: Arc<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    statement_id: OnceLock<String>,
    requested: AtomicBool,
    abandoned: AtomicBool,
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
        self.slot.requested.store(true, Ordering::SeqCst);
        match self.slot.statement_id.get() {
            Some(statement_id) => self.session.client()?.cancel(statement_id).await,
            None => Ok(()),
        }
    }

    /// Returns the id of the statement once the server has named it, also after a failure.
    pub fn statement_id(&self) -> Option<String> {
        self.slot.statement_id.get().cloned()
    }

    /// Notes the id and sends what was asked for before it was known.
    pub(crate) async fn statement_known(&self, statement_id: &str) {
        // The order matters: the id first, then the look at the flag; `cancel` does it the other way round.
        drop(self.slot.statement_id.set(statement_id.to_owned()));
        if self.slot.requested.load(Ordering::SeqCst) || self.slot.abandoned.load(Ordering::SeqCst) {
            self.end_on_server().await;
        }
    }

    async fn end_on_server(&self) {
        let (Ok(client), Some(statement_id)) = (self.session.client(), self.slot.statement_id.get()) else { return };
        if let Err(error) = client.cancel(statement_id).await {
            warn!(statement_id, cause = %error, "statement not cancelled");
        }
        // A caller that only asked to cancel still looks at the state; one that has gone needs the statement no more.
        if self.slot.abandoned.load(Ordering::SeqCst)
            && let Err(error) = client.close_statement(statement_id).await
        {
            warn!(statement_id, cause = %error, "statement not closed");
        }
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
        canceller.slot.abandoned.store(true, Ordering::SeqCst);
        if canceller.slot.statement_id.get().is_some() {
            let runtime = canceller.session.runtime().clone();
            runtime.spawn(async move { canceller.end_on_server().await });
        }
    }
}

/// The duty to close a statement on the server: on [`ServerStatement::close`] or, in the background, on drop.
#[derive(Debug)]
pub(crate) struct ServerStatement {
    /// Kept open as long as the statement: closing a session ends its statements.
    session: Session,
    statement_id: String,
    closed: AtomicBool,
}

impl ServerStatement {
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
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.client().close_statement(&self.statement_id).await
    }

    /// Starts the close without waiting for it: the end of a result must not cost a round trip.
    pub(crate) fn close_in_background(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
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

impl Drop for ServerStatement {
    fn drop(&mut self) {
        self.close_in_background();
    }
}

/// A statement that the server has taken.
///
/// Dropping it closes the statement on the server in the background, which also ends it if it still runs.
#[derive(Debug)]
pub struct ExecutedStatement {
    statement: ServerStatement,
    /// The newest answer; the one that says `SUCCEEDED` carries the manifest and the first rows or links.
    latest: Mutex<Option<StatementResponse>>,
}

impl ExecutedStatement {
    pub(crate) fn new(session: &Session, response: StatementResponse) -> Self {
        let (session, statement_id) = (session.clone(), response.statement_id.clone());
        let statement = ServerStatement { session, statement_id, closed: AtomicBool::new(false) };
        Self { statement, latest: Mutex::new(Some(response)) }
    }

    /// Returns the server's id of the statement.
    pub fn statement_id(&self) -> &str {
        self.statement.statement_id()
    }

    /// Asks the server for the state, unless it is known to be final.
    pub async fn state(&self) -> Result<StatementState> {
        let known = self.known_state();
        if known.is_terminal() {
            return Ok(known);
        }
        let response = self.statement.client().status(self.statement_id()).await?;
        *self.latest() = Some(response);
        Ok(self.known_state())
    }

    /// Waits until the statement has succeeded. There is no limit of our own: a statement may wait for a warehouse to
    /// start, or run for hours; drop the future or use a [`StatementCanceller`] to give up.
    ///
    /// # Errors
    /// [`ErrorKind::Sql`] where it failed, [`ErrorKind::Cancelled`], [`ErrorKind::Closed`] where its result was released
    /// before it could be read.
    pub async fn wait(&self) -> Result<()> {
        let mut state = self.known_state();
        let mut interval = FIRST_POLL_INTERVAL;
        while !state.is_terminal() {
            tokio::time::sleep(interval).await;
            interval = interval.mul_f64(1.5).min(LONGEST_POLL_INTERVAL);
            state = self.state().await?;
        }
        debug!(statement_id = self.statement_id(), ?state, "statement finished");
        let latest = self.latest();
        let Some(response) = latest.as_ref() else { return Ok(()) };
        match state {
            StatementState::Closed if response.manifest.is_some() => {
                // The whole result came along and the server has closed the statement by itself.
                self.statement.closed_by_server();
                Ok(())
            }
            StatementState::Closed => {
                self.statement.closed_by_server();
                Err(Error::new(ErrorKind::Closed, "the statement was closed before its result could be read")
                    .with_statement_id(self.statement_id()))
            }
            StatementState::Failed => Err(statement_error(self.statement_id(), &response.status)),
            StatementState::Canceled => Err(Error::new(ErrorKind::Cancelled, "the statement was cancelled")
                .with_sql_state(Some("57014".to_owned()))
                .with_statement_id(self.statement_id())),
            _ => Ok(()),
        }
    }

    /// Waits for success and opens the result. The first chunk is in memory when this returns.
    pub async fn results(self) -> Result<ResultStream> {
        self.wait().await?;
        let response = self.latest().take();
        let Some(response) = response else {
            return Err(
                Error::new(ErrorKind::Internal, "the result was taken before").with_statement_id(self.statement_id())
            );
        };
        ResultStream::open(self.statement, response).await
    }

    /// Asks the server to cancel the statement. Accepted is not ended: [`ExecutedStatement::wait`] tells.
    pub async fn cancel(&self) -> Result<()> {
        self.statement.client().cancel(self.statement_id()).await
    }

    /// Releases the statement and its result on the server. Safe to call twice.
    pub async fn close(&self) -> Result<()> {
        self.statement.close().await
    }

    fn latest(&self) -> std::sync::MutexGuard<'_, Option<StatementResponse>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_state(&self) -> StatementState {
        self.latest()
            .as_ref()
            .map_or(StatementState::Unknown, |response| StatementState::from_wire(&response.status.state))
    }
}

/// Builds the error of a FAILED statement.
///
/// SQLSTATE is looked for beside `error`, inside it, and at last in the message: a recorded syntax error of 2024 had it
/// nowhere else.
pub(crate) fn statement_error(statement_id: &str, status: &StatementStatus) -> Error {
    let error = status.error.as_ref();
    let message =
        error.and_then(|error| error.message.as_deref()).unwrap_or("the statement failed and no reason was given");
    let sql_state = status
        .sql_state
        .clone()
        .or_else(|| error.and_then(|error| error.sql_state.clone()))
        .or_else(|| sql_state_in(message).map(str::to_owned));
    Error::new(ErrorKind::Sql, message)
        .with_sql_state(sql_state)
        .with_error_code(error.and_then(|error| error.error_code.clone()))
        .with_statement_id(statement_id)
}

/// Finds `SQLSTATE: xxxxx` in a message.
fn sql_state_in(message: &str) -> Option<&str> {
    let rest = message.split_once("SQLSTATE:")?.1.trim_start();
    let code = rest.get(..5)?;
    let ends = rest.as_bytes().get(5).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    (ends && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_state_is_found_in_messages() {
        for (message, expected) in [
            ("[PARSE_SYNTAX_ERROR] near 'SELEC'. SQLSTATE: 42601 (line 1, pos 0)", Some("42601")),
            ("x SQLSTATE:KP001", Some("KP001")),
            ("SQLSTATE: 4260", None),
            ("SQLSTATE: 426011", None),
            ("SQLSTATE: ÄÖÜäö", None),
            ("nothing", None),
        ] {
            assert_eq!(sql_state_in(message), expected, "{message}");
        }
    }

    #[test]
    fn sql_state_beside_the_error_wins() {
        let text = r#"{"state":"FAILED","sql_state":"42P01","error":{"error_code":"BAD_REQUEST","message":"m SQLSTATE: 42601"}}"#;
        let error = statement_error("01", &serde_json::from_str(text).unwrap());
        assert_eq!(error.sql_state(), Some("42P01"));
        assert_eq!(
            (error.kind(), error.error_code(), error.statement_id()),
            (ErrorKind::Sql, Some("BAD_REQUEST"), Some("01"))
        );
        assert!(!error.is_retryable());
    }
}
