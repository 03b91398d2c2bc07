//! Statements on the server.

use crate::error::Result;
use crate::results::ResultStream;

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
    /// Finished, and its result was released.
    Closed,
    /// A state this version does not know.
    Unknown,
}

/// Cancels a statement from another thread, also one whose id is not known yet.
#[derive(Clone, Debug)]
pub struct StatementCanceller {}

impl StatementCanceller {
    /// Asks the server to cancel. A cancel asked for before the id is known is sent as soon as it is.
    pub async fn cancel(&self) -> Result<()> {
        todo!()
    }

    /// Returns the id of the statement once the server has named it, also after a failure.
    pub fn statement_id(&self) -> Option<String> {
        todo!()
    }
}

/// A statement that the server has taken.
#[derive(Debug)]
pub struct ExecutedStatement {}

impl ExecutedStatement {
    /// Returns the server's id of the statement.
    pub fn statement_id(&self) -> &str {
        todo!()
    }

    /// Asks the server for the state.
    pub async fn state(&self) -> Result<StatementState> {
        todo!()
    }

    /// Waits until the statement has succeeded.
    pub async fn wait(&self) -> Result<()> {
        todo!()
    }

    /// Waits for success and opens the result. The first chunk is in memory when this returns.
    pub async fn results(self) -> Result<ResultStream> {
        todo!()
    }

    /// Asks the server to cancel the statement.
    pub async fn cancel(&self) -> Result<()> {
        todo!()
    }

    /// Releases the statement and its result on the server. Safe to call twice.
    pub async fn close(&self) -> Result<()> {
        todo!()
    }
}
