//! Statements before they are sent.

use std::sync::Arc;
use std::time::Duration;

use tokio::time;
use tracing::info;

use crate::dml;
use crate::error::{Error, ErrorKind, Result};
use crate::execution::{ExecutedStatement, StatementCanceller};
use crate::params::Parameter;
use crate::sea::wire::StatementResponse;
use crate::sea::{MetadataCall, SeaClient, Submission, Wait, is_id};
use crate::session::Session;

/// Longest text of a statement. Source: Statement Execution API, "statement".
const MAX_STATEMENT_BYTES: usize = 16 << 20;

/// A SQL text with its parameters and limits; nothing is sent before [`Statement::execute`] or [`Statement::submit`].
#[derive(Debug)]
pub struct Statement {
    session: Session,
    submission: Submission,
    timeout: Option<Duration>,
    canceller: StatementCanceller,
}

impl Statement {
    pub(crate) fn new(session: Session, sql: String) -> Self {
        Self {
            canceller: StatementCanceller::new(session.clone()),
            session,
            submission: Submission { sql, ..Submission::default() },
            timeout: None,
        }
    }

    /// Adds a parameter. Named and positional ones cannot be mixed; that is checked when the statement is sent.
    #[must_use]
    pub fn bind(mut self, parameter: Parameter) -> Self {
        self.submission.parameters.push(parameter);
        self
    }

    /// Cuts the result at `row_limit` rows; the result then says that it is truncated.
    #[must_use]
    pub fn row_limit(mut self, row_limit: i64) -> Self {
        self.submission.row_limit = Some(row_limit);
        self
    }

    /// Adds a tag for the warehouse's query history: a key, with or without a value.
    #[must_use]
    pub fn query_tag(mut self, key: &str, value: Option<&str>) -> Self {
        self.submission.query_tags.push((key.to_owned(), value.map(str::to_owned)));
        self
    }

    /// Limits how long [`Statement::execute`] waits for the statement to succeed; no limit by default. It is then cancelled
    /// on the server, in the background: at once where the server has named it, which it does within ten seconds.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Says which metadata the statement asks for.
    pub(crate) fn metadata_call(mut self, call: MetadataCall) -> Self {
        self.submission.metadata_call = Some(call);
        self
    }

    /// Returns a handle that cancels this statement from another thread while `execute` waits.
    pub fn canceller(&self) -> StatementCanceller {
        self.canceller.clone()
    }

    /// Runs the statement and waits until it has succeeded, failed or was cancelled.
    ///
    /// Dropping the future cancels the statement on the server, in the background, as soon as its id is known.
    ///
    /// # Errors
    /// [`ErrorKind::Sql`] with the SQLSTATE where the statement failed, [`ErrorKind::Cancelled`], [`ErrorKind::Timeout`] with
    /// SQLSTATE `HYT00` after [`Statement::timeout`], and those of the connection. A statement whose answer was lost is never
    /// sent again.
    pub async fn execute(self) -> Result<ExecutedStatement> {
        let Some(timeout) = self.timeout else { return self.run(Wait::UntilDone).await };
        let canceller = self.canceller();
        // Dropping the future is what cancels the statement.
        time::timeout(timeout, self.run(Wait::UntilDone)).await.unwrap_or_else(|_| {
            let text = format!("the statement took longer than its limit of {timeout:?}, and is being cancelled");
            let error =
                Error::new(ErrorKind::Timeout, text).with_sql_state(Some("HYT00".to_owned())).with_retryable(false);
            Err(match canceller.statement_id() {
                Some(statement_id) => error.with_statement_id(&statement_id),
                None => error,
            })
        })
    }

    /// Sends the statement and returns as soon as the server has taken it.
    ///
    /// # Errors
    /// As [`Statement::execute`], but a failing statement shows only when it is waited for.
    pub async fn submit(self) -> Result<ExecutedStatement> {
        self.run(Wait::No).await
    }

    async fn run(self, wait: Wait) -> Result<ExecutedStatement> {
        self.check()?;
        let Self { session, submission, timeout: _, canceller } = self;
        let changes_rows = dml::changes_rows(&submission.sql);
        let client = Arc::clone(session.client()?);
        // Nothing is sent for a caller who has gone while a user was to sign in.
        client.sign_in().await?;
        // The request runs in a task of its own, for only its answer tells the id to cancel when the caller has gone.
        let mut abandoned = canceller.cancel_when_dropped();
        let request = tokio::spawn({
            let (session, canceller) = (session.clone(), canceller.clone());
            async move {
                let is_wanted = || canceller.is_wanted();
                let answer = send(&session, &client, &submission, wait, &is_wanted).await.and_then(checked_id);
                if let Ok(response) = &answer {
                    canceller.statement_known(&response.statement_id).await;
                }
                answer
            }
        });
        let response = request.await.map_err(|error| {
            Error::new(ErrorKind::Internal, "the task that sends the statement ended").with_source(error)
        })??;
        info!(statement_id = response.statement_id, state = response.status.state, "statement sent");
        let executed = ExecutedStatement::new(&session, response, changes_rows);
        canceller.follow(&executed);
        abandoned.disarm();
        if wait == Wait::UntilDone {
            // Until now the canceller was in charge; from here on dropping `executed` closes the statement.
            let mut abandoned = canceller.cancel_when_dropped();
            let outcome = executed.wait().await;
            abandoned.disarm();
            outcome?;
        }
        Ok(executed)
    }

    fn check(&self) -> Result<()> {
        let invalid = |text: String| Err(Error::new(ErrorKind::InvalidArgument, text));
        let Submission { sql, parameters, row_limit, query_tags, metadata_call: _ } = &self.submission;
        if sql.trim().is_empty() {
            return invalid("the statement is empty".to_owned());
        }
        if sql.len() > MAX_STATEMENT_BYTES {
            return invalid(format!("the statement has {} bytes; the limit is {MAX_STATEMENT_BYTES}", sql.len()));
        }
        if let Some(limit) = row_limit.filter(|limit| *limit <= 0) {
            return invalid(format!("row_limit {limit} is not positive"));
        }
        let named = parameters.iter().filter(|parameter| parameter.name.is_some()).count();
        if named != 0 && named != parameters.len() {
            return invalid("named and positional parameters cannot be mixed in one statement".to_owned());
        }
        if parameters.iter().any(|parameter| parameter.name.as_deref() == Some("")) {
            return invalid("a parameter has an empty name".to_owned());
        }
        if query_tags.iter().any(|(key, _)| key.is_empty()) {
            return invalid("a query tag has an empty key".to_owned());
        }
        Ok(())
    }
}

/// Refuses an answer whose id could stand in no path and in no message.
fn checked_id(response: StatementResponse) -> Result<StatementResponse> {
    if is_id(&response.statement_id) {
        return Ok(response);
    }
    Err(Error::new(ErrorKind::Protocol, "the server answered with what is no id of a statement"))
}

/// Sends a statement; once more where it was refused only for its session, which the server had ended.
async fn send(
    session: &Session,
    client: &SeaClient,
    submission: &Submission,
    wait: Wait,
    is_wanted: &(dyn Fn() -> bool + Sync),
) -> Result<StatementResponse> {
    match send_once(session, client, submission, wait, is_wanted).await? {
        Ok(response) => Ok(response),
        Err(refusal) => match send_once(session, client, submission, wait, is_wanted).await {
            Ok(answer) => answer,
            Err(failure) => Err(failure.with_source(refusal)),
        },
    }
}

/// Sends a statement. The inner error says that it was refused for its session, and so has not run.
async fn send_once(
    session: &Session,
    client: &SeaClient,
    submission: &Submission,
    wait: Wait,
    is_wanted: &(dyn Fn() -> bool + Sync),
) -> Result<Result<StatementResponse>> {
    let opened = session.usable().await?;
    let changes_session = dml::changes_session(&submission.sql);
    if changes_session {
        // Before it is sent: from then on no other statement may go to a session without what this one sets.
        opened.will_change();
    }
    match client.execute(&opened.response, submission, wait, is_wanted).await {
        Err(refusal) if opened.refused_as_lost(&refusal) => {
            if changes_session {
                opened.has_not_changed();
            }
            Ok(Err(refusal))
        }
        answer => answer.map(Ok),
    }
}
