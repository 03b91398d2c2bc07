//! Sessions.

use crate::config::SessionConfig;
use crate::error::Result;
use crate::statement::Statement;

/// An open session on a SQL warehouse. Cheap to clone; clones share the session.
#[derive(Clone, Debug)]
pub struct Session {}

impl Session {
    /// Opens a session on the server.
    pub async fn open(_config: SessionConfig) -> Result<Self> {
        todo!()
    }

    /// Returns the server's id of the session.
    pub fn session_id(&self) -> &str {
        todo!()
    }

    /// Prepares `sql` to be run; sends nothing.
    pub fn statement(&self, _sql: impl Into<String>) -> Statement {
        todo!()
    }

    /// Closes the session on the server. Safe to call twice.
    pub async fn close(&self) -> Result<()> {
        todo!()
    }
}
