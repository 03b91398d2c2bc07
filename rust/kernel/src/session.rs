//! Sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tracing::{debug, warn};

use crate::client_settings;
use crate::config::SessionConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::execution::ExecutedStatement;
use crate::metadata::Metadata;
use crate::sea::wire::CreateSessionResponse;
use crate::sea::{SeaClient, is_id};
use crate::statement::Statement;

/// An open session on a SQL warehouse. Cheap to clone; clones share the session, and it may be used from any thread.
///
/// Dropping the last clone closes the session on the server in the background; [`Session::close`] waits for it.
#[derive(Clone, Debug)]
pub struct Session {
    inner: Arc<SessionInner>,
}

#[derive(Debug)]
struct SessionInner {
    client: Arc<SeaClient>,
    /// As the server opened it.
    opened: CreateSessionResponse,
    closed: AtomicBool,
    /// Statements that are to outlive the session's handle, so that the server must not close it.
    kept_statements: AtomicUsize,
    runtime: tokio::runtime::Handle,
}

impl Session {
    /// Opens a session on the server.
    ///
    /// A warehouse that is starting keeps statements waiting, not this call. Repeated on transport failures and 5xx: a
    /// session that was opened and never heard of is harmless.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthenticated`] or [`ErrorKind::PermissionDenied`] for the token, [`ErrorKind::NotFound`] for the
    /// warehouse, [`ErrorKind::Network`] where the host cannot be reached, [`ErrorKind::InvalidArgument`] for an option.
    pub async fn open(mut config: SessionConfig) -> Result<Self> {
        client_settings::take(&mut config);
        let client = Arc::new(SeaClient::new(config)?);
        let opened = client.open_session().await?;
        debug!(session_id = opened.session_id, "session opened");
        let runtime = tokio::runtime::Handle::current();
        let (closed, kept_statements) = (AtomicBool::new(false), AtomicUsize::new(0));
        Ok(Self { inner: Arc::new(SessionInner { client, opened, closed, kept_statements, runtime }) })
    }

    /// Returns the server's id of the session.
    pub fn session_id(&self) -> &str {
        &self.inner.opened.session_id
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
    /// With a statement that is to be kept ([`ExecutedStatement::keep`]) the server is not told.
    pub async fn close(&self) -> Result<()> {
        if self.inner.closed.swap(true, Ordering::AcqRel) || self.inner.keeps_statements() {
            return Ok(());
        }
        self.inner.client.close_session(self.session_id()).await
    }

    /// Notes that a statement is to outlive this handle.
    pub(crate) fn keep_statement(&self) {
        self.inner.kept_statements.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that one of those is closed; after the last one, a session closed meanwhile is closed on the server, too.
    pub(crate) async fn release_statement(&self) -> Result<()> {
        let was_last = self.inner.kept_statements.fetch_sub(1, Ordering::AcqRel) == 1;
        if was_last && self.inner.closed.load(Ordering::Acquire) {
            return self.inner.client.close_session(self.session_id()).await;
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

    pub(crate) fn opened(&self) -> &CreateSessionResponse {
        &self.inner.opened
    }

    pub(crate) fn runtime(&self) -> &tokio::runtime::Handle {
        &self.inner.runtime
    }
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
        let (client, session_id) = (Arc::clone(&self.client), std::mem::take(&mut self.opened.session_id));
        self.runtime.spawn(async move {
            if let Err(error) = client.close_session(&session_id).await {
                warn!(session_id, cause = %error, "session not closed");
            }
        });
    }
}
