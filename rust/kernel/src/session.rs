//! Sessions.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time;
use tracing::{debug, info, warn};

use crate::auth::Credentials;
use crate::client_settings;
use crate::config::SessionConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::execution::ExecutedStatement;
use crate::metadata::Metadata;
use crate::sea::wire::CreateSessionResponse;
use crate::sea::{SeaClient, is_id};
use crate::statement::Statement;

/// Longest time in which the server is told that a session is closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// An open session on a SQL warehouse. Cheap to clone; clones share the session, and it may be used from any thread.
///
/// Dropping the last clone closes the session on the server in the background; [`Session::close`] waits for it.
///
/// Servers end sessions that were idle for long. A statement that the server refuses for that reason has not run: a new
/// session is opened and the statement sent there, unless an earlier statement has left something in the old one, such as
/// `USE`, `SET` or a temporary view, without which the new statement could mean something else.
#[derive(Clone, Debug)]
pub struct Session {
    inner: Arc<SessionInner>,
}

/// A [`Session`] that does not keep it open. What is under way, such as a statement that nobody waits for any more, does.
#[derive(Clone, Debug)]
pub struct WeakSession(Weak<SessionInner>);

impl WeakSession {
    /// Returns the session, if it is still open.
    pub fn upgrade(&self) -> Option<Session> {
        self.0.upgrade().map(|inner| Session { inner })
    }

    /// Tells whether it is gone.
    pub fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

#[derive(Debug)]
struct SessionInner {
    client: Arc<SeaClient>,
    /// As the server opened it, the last time.
    opened: Mutex<Arc<OpenedSession>>,
    /// Held while a new session is opened in place of a lost one.
    reopening: tokio::sync::Mutex<()>,
    closed: AtomicBool,
    /// Statements that are to outlive the session's handle, so that the server must not close it.
    kept_statements: AtomicUsize,
    runtime: tokio::runtime::Handle,
}

/// One session on the server.
#[derive(Debug)]
pub(crate) struct OpenedSession {
    pub(crate) response: CreateSessionResponse,
    /// Statements sent, and not refused, that leave something in the session which a new one would lack.
    changes: AtomicUsize,
    /// The server has said that it is gone.
    lost: AtomicBool,
}

impl OpenedSession {
    fn new(response: CreateSessionResponse) -> Arc<Self> {
        debug!(session_id = response.session_id, "session opened");
        Arc::new(Self { response, changes: AtomicUsize::new(0), lost: AtomicBool::new(false) })
    }

    /// Notes that a statement is about to be sent that leaves something in the session.
    pub(crate) fn will_change(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that this statement was refused, and has not run.
    pub(crate) fn has_not_changed(&self) {
        self.changes.fetch_sub(1, Ordering::AcqRel);
    }

    /// Notes what the answer to a request in this session says of it. True where it is that the session is gone and the
    /// statement was refused for it, and so has not run.
    ///
    /// A statement that was taken and failed says nothing: its message may quote any text.
    pub(crate) fn refused_as_lost(&self, error: &Error) -> bool {
        let Some(status @ 400..=599) = error.http_status() else { return false };
        // The wordings seen: "Invalid SessionHandle: SessionHandle [...] is closed", mostly with 400, sometimes with 500.
        let text = error.to_string().to_ascii_lowercase();
        let named = text.contains(&self.response.session_id.to_ascii_lowercase());
        let lost = text.contains("invalid sessionhandle") || (named && text.contains("session"));
        if lost {
            self.lost.store(true, Ordering::Release);
        }
        lost && status < 500
    }
}

impl Session {
    /// Opens a session on the server.
    ///
    /// A warehouse that is starting keeps statements waiting, not this call. Repeated on transport failures and 5xx: a
    /// session that was opened and never heard of is harmless. One whose caller has gone, by dropping the future, is closed in
    /// the background.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthenticated`] or [`ErrorKind::PermissionDenied`] for the token, [`ErrorKind::NotFound`] for the
    /// warehouse, [`ErrorKind::Network`] where the host cannot be reached, [`ErrorKind::InvalidArgument`] for an option.
    pub async fn open(mut config: SessionConfig) -> Result<Self> {
        client_settings::take(&mut config);
        let signs_in = matches!(config.credentials, Credentials::SignIn(_));
        let client = Arc::new(SeaClient::new(config)?);
        if signs_in {
            // Not in the task: a sign-in that waits for a user ends when nobody waits for it.
            client.sign_in().await?;
        }
        // In a task of its own, which goes on where the caller does not; the session it returns is then dropped.
        let opening = tokio::spawn(async move {
            let opened = Mutex::new(OpenedSession::new(client.open_session().await?));
            let inner = SessionInner {
                client,
                opened,
                reopening: tokio::sync::Mutex::default(),
                closed: AtomicBool::new(false),
                kept_statements: AtomicUsize::new(0),
                runtime: tokio::runtime::Handle::current(),
            };
            Ok(Self { inner: Arc::new(inner) })
        });
        opening.await.map_err(|error| {
            Error::new(ErrorKind::Internal, "the task that opens the session ended").with_source(error)
        })?
    }

    /// Returns the server's id of the session, which changes where a new one had to be opened.
    pub fn session_id(&self) -> String {
        self.current().response.session_id.clone()
    }

    /// Prepares `sql` to be run; sends nothing.
    pub fn statement(&self, sql: impl Into<String>) -> Statement {
        Statement::new(self.clone(), sql.into())
    }

    /// Returns a handle on a statement that was sent before, by whomever, to follow it and to read its result.
    ///
    /// The handle is read-only: it refuses to cancel, and closing or dropping it leaves the statement alone.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] names the id where the server does not know it, or knows it no more. A statement that has
    /// failed or was closed is no error; its state says so.
    pub async fn attach(&self, statement_id: &str) -> Result<ExecutedStatement> {
        let client = self.client()?;
        if !is_id(statement_id) {
            let text = format!("`{}` is not the id of a statement", statement_id.escape_debug());
            return Err(Error::new(ErrorKind::NotFound, text).with_statement_id(statement_id));
        }
        Ok(ExecutedStatement::attached(self, client.status(statement_id).await?))
    }

    /// Returns what asks for catalogs, schemas, tables and the like; sends nothing.
    pub fn metadata(&self) -> Metadata {
        Metadata::new(self.clone())
    }

    /// Closes the session on the server, which ends the statements that still run in it. Safe to call twice; later
    /// statements fail with [`ErrorKind::Closed`]. Results already open can be read to their end as far as their links
    /// are known.
    ///
    /// With a statement that is to be kept ([`ExecutedStatement::keep`]) the server is not told. Where it cannot be told, for
    /// it is out of reach, does not answer within five seconds, or a user would have to sign in for it, which is never asked
    /// of one to end something, that is a warning and no error: the session is of no use any
    /// more, the server ends idle ones by itself, and an error would hide the one that the program may be ending with.
    ///
    /// # Errors
    /// Those that a server answers with.
    pub async fn close(&self) -> Result<()> {
        if self.inner.closed.swap(true, Ordering::AcqRel) || self.inner.keeps_statements() {
            return Ok(());
        }
        let session_id = self.session_id();
        let answer = time::timeout(CLOSE_LIMIT, self.inner.client.close_session(&session_id)).await;
        let cause = match answer {
            Ok(Err(error)) if is_of_the_network(&error) || error.is_want_of_token() => error,
            Ok(answer) => return answer,
            Err(_) => {
                Error::new(ErrorKind::Timeout, format!("close session: no answer within {} s", CLOSE_LIMIT.as_secs()))
            }
        };
        warn!(session_id, cause = %cause, "session not closed: the server ends it when it was idle for long");
        Ok(())
    }

    /// Returns a reference that does not keep the session open.
    pub fn downgrade(&self) -> WeakSession {
        WeakSession(Arc::downgrade(&self.inner))
    }

    /// Notes that a statement is to outlive this handle.
    pub(crate) fn keep_statement(&self) {
        self.inner.kept_statements.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that one of those is closed; after the last one, a session closed meanwhile is closed on the server, too.
    pub(crate) async fn release_statement(&self) -> Result<()> {
        let was_last = self.inner.kept_statements.fetch_sub(1, Ordering::AcqRel) == 1;
        if was_last && self.inner.closed.load(Ordering::Acquire) {
            return self.inner.client.close_session(&self.session_id()).await;
        }
        Ok(())
    }

    /// Returns the client, unless the session is closed.
    pub(crate) fn client(&self) -> Result<&Arc<SeaClient>> {
        if self.inner.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the session is closed; open a new one"));
        }
        Ok(&self.inner.client)
    }

    /// Tells whether the server was not told to close the session: it is open, or kept for its statements.
    pub(crate) fn is_open_on_server(&self) -> bool {
        !self.inner.closed.load(Ordering::Acquire) || self.inner.keeps_statements()
    }

    /// Returns the client for a statement that was sent before: its result may be read, and must be closed, in any case.
    pub(crate) fn client_of_statement(&self) -> &Arc<SeaClient> {
        &self.inner.client
    }

    fn current(&self) -> Arc<OpenedSession> {
        Arc::clone(&self.opened())
    }

    fn opened(&self) -> MutexGuard<'_, Arc<OpenedSession>> {
        self.inner.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the session to send a statement in: a new one where the server has ended the old one.
    pub(crate) async fn usable(&self) -> Result<Arc<OpenedSession>> {
        if !self.current().lost.load(Ordering::Acquire) {
            return Ok(self.current());
        }
        let _turn = self.inner.reopening.lock().await;
        let current = self.current();
        if !current.lost.load(Ordering::Acquire) {
            return Ok(current);
        }
        if current.changes.load(Ordering::Acquire) > 0 {
            let text = "the server has ended the session, and with it what earlier statements had set there (USE, SET, \
                        variables, temporary views); the statement was not run: open a new session and set it again";
            return Err(Error::new(ErrorKind::Closed, text));
        }
        let opened = OpenedSession::new(self.client()?.open_session().await?);
        info!(session_id = opened.response.session_id, "the server had ended the session; a new one is open");
        *self.opened() = Arc::clone(&opened);
        self.close_replaced(current);
        if self.inner.closed.load(Ordering::Acquire) {
            self.inner.client.close_session(&opened.response.session_id).await?;
        }
        self.client().map(|_| opened)
    }

    /// Closes a session that the server may have ended only for one of its machines, in the background.
    fn close_replaced(&self, replaced: Arc<OpenedSession>) {
        if self.inner.keeps_statements() {
            return;
        }
        let client = Arc::clone(&self.inner.client);
        self.inner.runtime.spawn(async move {
            if let Err(error) = client.close_session(&replaced.response.session_id).await {
                debug!(session_id = replaced.response.session_id, cause = %error, "lost session not closed");
            }
        });
    }

    pub(crate) fn runtime(&self) -> &tokio::runtime::Handle {
        &self.inner.runtime
    }
}

/// Tells whether a request has failed on its way, or at a service that is overloaded or down.
fn is_of_the_network(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Network | ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::ResourceExhausted
    )
}

impl SessionInner {
    fn keeps_statements(&self) -> bool {
        self.kept_statements.load(Ordering::Acquire) > 0
    }
}

impl Drop for SessionInner {
    fn drop(&mut self) {
        if *self.closed.get_mut() || self.keeps_statements() {
            return;
        }
        let opened = Arc::clone(self.opened.get_mut().unwrap_or_else(PoisonError::into_inner));
        let (client, session_id) = (Arc::clone(&self.client), opened.response.session_id.clone());
        self.runtime.spawn(async move {
            if let Err(error) = client.close_session(&session_id).await {
                warn!(session_id, cause = %error, "session not closed");
            }
        });
    }
}
