//! An engine of prepared answers, for tests of clients.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};

use crate::engine::{Engine, EngineColumn, EngineOutput, EngineStatement, SqlError, VolumeTransfer};
use crate::spark_type::wire_schema;

/// Answers SQL texts it was told, and nothing else.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::record_batch;
/// use seakernel_local::{CannedEngine, LocalServer, ServerOptions, SqlError};
///
/// let batch = record_batch!(("id", Int64, [1, 2, 3])).unwrap();
/// let engine = CannedEngine::new()
///     .table("SELECT id FROM t", [("id", "BIGINT")], vec![batch])
///     .without_result("CREATE TABLE u (id INT)")
///     .failure("SELEC", SqlError::bad_request("42601", "[PARSE_SYNTAX_ERROR] Syntax error at or near 'SELEC'."));
/// let server = LocalServer::start(ServerOptions::default(), Arc::new(engine)).unwrap();
/// assert!(server.address().starts_with("http://127.0.0.1:"));
/// ```
#[derive(Debug, Default)]
pub struct CannedEngine {
    answers: HashMap<String, Canned>,
    delays: HashMap<String, Duration>,
    seen: Mutex<Seen>,
    cancelled: Condvar,
}

/// One session as a client opened it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedSession {
    /// The id the server gave it.
    pub session_id: String,
    /// The initial catalog.
    pub catalog: Option<String>,
    /// The initial schema.
    pub schema: Option<String>,
    /// The `session_confs` as sent.
    pub configuration: BTreeMap<String, String>,
}

#[derive(Debug)]
enum Canned {
    Rows { columns: Vec<EngineColumn>, schema: SchemaRef, batches: Vec<RecordBatch> },
    Failure(SqlError),
    Transfer(VolumeTransfer),
}

#[derive(Debug, Default)]
struct Seen {
    sessions: Vec<OpenedSession>,
    statements: Vec<EngineStatement>,
    cancelled: BTreeSet<String>,
}

impl CannedEngine {
    /// An engine that fails every statement.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers `sql` (compared without surrounding blanks) with rows.
    ///
    /// No batches mean no rows; an unreadable type makes the statement fail.
    #[must_use]
    pub fn table<C: Into<EngineColumn>>(
        mut self,
        sql: &str,
        columns: impl IntoIterator<Item = C>,
        batches: Vec<RecordBatch>,
    ) -> Self {
        let columns: Vec<EngineColumn> = columns.into_iter().map(Into::into).collect();
        let schema = batches.first().map_or_else(|| wire_schema(&columns), |batch| Ok(batch.schema()));
        let answer = match schema {
            Ok(schema) => Canned::Rows { columns, schema, batches },
            Err(error) => Canned::Failure(error),
        };
        self.answers.insert(sql.trim().to_owned(), answer);
        self
    }

    /// Lets `sql` succeed without a result, as DDL does.
    #[must_use]
    pub fn without_result(mut self, sql: &str) -> Self {
        let answer = Canned::Rows { columns: Vec::new(), schema: SchemaRef::new(Schema::empty()), batches: Vec::new() };
        self.answers.insert(sql.trim().to_owned(), answer);
        self
    }

    /// Lets `sql` fail.
    #[must_use]
    pub fn failure(mut self, sql: &str, error: SqlError) -> Self {
        self.answers.insert(sql.trim().to_owned(), Canned::Failure(error));
        self
    }

    /// Lets `sql` ask for the transfer of a file.
    #[must_use]
    pub fn transfer(mut self, sql: &str, transfer: VolumeTransfer) -> Self {
        self.answers.insert(sql.trim().to_owned(), Canned::Transfer(transfer));
        self
    }

    /// Lets `sql` run this long before it answers; a cancel ends the wait.
    #[must_use]
    pub fn delay(mut self, sql: &str, delay: Duration) -> Self {
        self.delays.insert(sql.trim().to_owned(), delay);
        self
    }

    /// The statements run so far, in order.
    pub fn statements(&self) -> Vec<EngineStatement> {
        self.seen().statements.clone()
    }

    /// The sessions opened so far, in order.
    pub fn sessions(&self) -> Vec<OpenedSession> {
        self.seen().sessions.clone()
    }

    /// The ids of the statements whose cancellation reached the engine.
    pub fn cancelled(&self) -> Vec<String> {
        self.seen().cancelled.iter().cloned().collect()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits unless cancelled; true when the time ran out undisturbed.
    fn wait(&self, statement_id: &str, delay: Duration) -> bool {
        let deadline = Instant::now() + delay;
        let mut seen = self.seen();
        while !seen.cancelled.contains(statement_id) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return true };
            seen = self.cancelled.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }
}

impl Engine for CannedEngine {
    fn open_session(
        &self,
        session_id: &str,
        catalog: Option<&str>,
        schema: Option<&str>,
        configuration: &BTreeMap<String, String>,
    ) -> Result<(), SqlError> {
        self.seen().sessions.push(OpenedSession {
            session_id: session_id.to_owned(),
            catalog: catalog.map(str::to_owned),
            schema: schema.map(str::to_owned),
            configuration: configuration.clone(),
        });
        Ok(())
    }

    fn close_session(&self, _session_id: &str) {}

    fn execute(&self, statement: EngineStatement) -> Result<EngineOutput, SqlError> {
        let sql = statement.sql.trim().to_owned();
        let statement_id = statement.statement_id.clone();
        self.seen().statements.push(statement);
        if let Some(delay) = self.delays.get(&sql)
            && !self.wait(&statement_id, *delay)
        {
            return Err(SqlError::new("CANCELLED", "the statement was cancelled"));
        }
        match self.answers.get(&sql) {
            Some(Canned::Rows { columns, schema, batches }) => {
                Ok(EngineOutput::from_batches(columns.clone(), SchemaRef::clone(schema), batches.clone()))
            }
            Some(Canned::Failure(error)) => Err(error.clone()),
            Some(Canned::Transfer(transfer)) => Ok(EngineOutput::transfer(transfer.clone())),
            None => Err(SqlError::bad_request("42000", format!("no canned answer for `{sql}`"))),
        }
    }

    fn cancel(&self, statement_id: &str) {
        self.seen().cancelled.insert(statement_id.to_owned());
        self.cancelled.notify_all();
    }
}
