//! Statements before they are sent.

use crate::error::Result;
use crate::execution::{ExecutedStatement, StatementCanceller};
use crate::params::Parameter;

/// A SQL text with its parameters and limits; nothing is sent before [`Statement::execute`] or [`Statement::submit`].
#[derive(Debug)]
pub struct Statement {}

impl Statement {
    /// Adds a parameter. Named and positional ones cannot be mixed; that is checked when the statement is sent.
    #[must_use]
    pub fn bind(self, _parameter: Parameter) -> Self {
        todo!()
    }

    /// Cuts the result at `row_limit` rows; the result then says that it is truncated.
    #[must_use]
    pub fn row_limit(self, _row_limit: i64) -> Self {
        todo!()
    }

    /// Returns a handle that cancels this statement from another thread while `execute` waits.
    pub fn canceller(&self) -> StatementCanceller {
        todo!()
    }

    /// Runs the statement and waits until it has succeeded, failed or was cancelled.
    ///
    /// Dropping the future cancels the statement on the server in the background.
    pub async fn execute(self) -> Result<ExecutedStatement> {
        todo!()
    }

    /// Sends the statement and returns as soon as the server has taken it.
    pub async fn submit(self) -> Result<ExecutedStatement> {
        todo!()
    }
}
