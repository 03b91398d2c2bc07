//! What runs the SQL: the trait, and the values that cross it.

use std::collections::BTreeMap;
use std::fmt;

use arrow_array::{RecordBatch, RecordBatchIterator, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};

/// Runs SQL for the local warehouse.
///
/// Every method may block and is called off the server's I/O threads, several at a time. Errors become what a
/// warehouse would answer: a refused session is HTTP 400, a failed statement is HTTP 200 with state `FAILED`.
pub trait Engine: Send + Sync + 'static {
    /// Opens the session the server has just named `session_id`.
    ///
    /// `configuration` holds the client's `session_confs`, names as sent.
    fn open_session(
        &self,
        session_id: &str,
        catalog: Option<&str>,
        schema: Option<&str>,
        configuration: &BTreeMap<String, String>,
    ) -> Result<(), SqlError>;

    /// Forgets a session; its statements have been cancelled before.
    fn close_session(&self, session_id: &str);

    /// Runs one statement to the point where its rows can be read.
    ///
    /// The rows are drained on the thread of this call, right after it returns.
    fn execute(&self, statement: EngineStatement) -> Result<EngineOutput, SqlError>;

    /// Interrupts `execute` of this statement from another thread; a statement it does not know is no error.
    fn cancel(&self, statement_id: &str);
}

/// One statement as a client sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineStatement {
    /// The id the server gave the statement.
    pub statement_id: String,
    /// The session it runs in; absent for session-less clients.
    pub session_id: Option<String>,
    /// The SQL text, untouched.
    pub sql: String,
    /// The bound parameters, in the order sent.
    pub parameters: Vec<StatementParameter>,
    /// The catalog of a session-less statement.
    pub catalog: Option<String>,
    /// The schema of a session-less statement.
    pub schema: Option<String>,
}

/// One bound parameter: named or positional, its value still text.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub struct StatementParameter {
    /// The name of a `:name` marker.
    pub name: Option<String>,
    /// The 1-based place of a `?` marker.
    pub ordinal: Option<u32>,
    /// The SQL type; absent means `STRING`.
    pub type_text: Option<String>,
    /// The value as text; absent means SQL `NULL`.
    pub value: Option<String>,
}

/// One result column with its declared SQL type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineColumn {
    /// The column's name; names may repeat.
    pub name: String,
    /// The full SQL type, such as `DECIMAL(18,2)` or `ARRAY<STRUCT<a: INT>>`.
    pub type_text: String,
}

impl EngineColumn {
    /// Names a column of a result.
    pub fn new(name: impl Into<String>, type_text: impl Into<String>) -> Self {
        Self { name: name.into(), type_text: type_text.into() }
    }
}

impl<N: Into<String>, T: Into<String>> From<(N, T)> for EngineColumn {
    fn from((name, type_text): (N, T)) -> Self {
        Self::new(name, type_text)
    }
}

/// The rows of a statement, not read yet.
///
/// The batches may use other Arrow types than the wire does; the server converts each column to the Arrow type of its
/// declared SQL type, and fails the statement when a value does not fit.
pub struct EngineOutput {
    /// The declared columns; empty for a statement without a result, such as DDL.
    pub columns: Vec<EngineColumn>,
    /// The rows.
    pub batches: Box<dyn RecordBatchReader + Send>,
    /// The transfer that the client is to make; then columns and rows are the server's to say.
    pub volume: Option<VolumeTransfer>,
}

/// The answer to `PUT`, `GET` and `REMOVE`: what the client is to do, for which the server signs a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeTransfer {
    /// What is to be done.
    pub action: VolumeAction,
    /// The file, such as `/Volumes/main/default/files/a.parquet`.
    pub path: String,
    /// The client's file, as the statement names it; none for `REMOVE`.
    pub local_file: Option<String>,
}

/// What a statement about a file of a volume does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeAction {
    /// Upload a file.
    Put,
    /// Download a file.
    Get,
    /// Delete a file.
    Remove,
}

impl VolumeAction {
    /// The word of the statement.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "PUT",
            Self::Get => "GET",
            Self::Remove => "REMOVE",
        }
    }
}

impl EngineOutput {
    /// A result whose batches are all there.
    pub fn from_batches(columns: Vec<EngineColumn>, schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        let batches = batches.into_iter().map(Ok::<_, ArrowError>);
        Self { columns, batches: Box::new(RecordBatchIterator::new(batches, schema)), volume: None }
    }

    /// The outcome of a statement that has the client transfer a file.
    pub fn transfer(volume: VolumeTransfer) -> Self {
        Self { volume: Some(volume), ..Self::without_result() }
    }

    /// The outcome of a statement that returns no result.
    pub fn without_result() -> Self {
        Self::from_batches(Vec::new(), SchemaRef::new(arrow_schema::Schema::empty()), Vec::new())
    }
}

impl fmt::Debug for EngineOutput {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EngineOutput").field("columns", &self.columns).finish_non_exhaustive()
    }
}

/// Why a session or a statement was refused or failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// The text for people; `SQLSTATE: xxxxx` is appended on the wire when it is not in it.
    pub message: String,
    /// The five-character SQLSTATE.
    pub sql_state: Option<String>,
    /// The service's own code, such as `BAD_REQUEST`.
    pub error_code: String,
}

impl SqlError {
    /// An error without a SQLSTATE.
    pub fn new(error_code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), sql_state: None, error_code: error_code.into() }
    }

    /// The error of a statement the server refuses with a SQLSTATE.
    pub fn bad_request(sql_state: impl Into<String>, message: impl Into<String>) -> Self {
        Self { sql_state: Some(sql_state.into()), ..Self::new("BAD_REQUEST", message) }
    }

    /// The message as clients get it: ending in the SQLSTATE, which some of them read from the text.
    pub(crate) fn wire_message(&self) -> String {
        match &self.sql_state {
            Some(sql_state) if !self.message.contains("SQLSTATE") => {
                format!("{} SQLSTATE: {sql_state}", self.message)
            }
            _ => self.message.clone(),
        }
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.error_code, self.wire_message())
    }
}

impl std::error::Error for SqlError {}
