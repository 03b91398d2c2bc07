//! Statements.

use std::num::NonZeroU64;
use std::sync::Arc;

use adbc_core::error::{Error, Result, Status};
use adbc_core::options::{IngestMode, OptionStatement, OptionValue};
use adbc_core::{CancelHandle, Optionable, PartitionedResult};
use arrow_array::{Int64Array, RecordBatch, RecordBatchReader};
use arrow_schema::{DataType, Field, Schema};
use seakernel::{MultiRowInsert, Parameter, PartitionConfig, ResultStream};

use crate::bound::{Bound, Markers, parameter};
use crate::cancellation::{Current, Execution};
use crate::connection::OpenSession;
use crate::database::{as_double, as_int};
use crate::error::{error, from_kernel, not_implemented};
use crate::ingest::Target;
use crate::options::{self, Limits, text, truth, unset};
use crate::reader::{Batches, BoxedReader, Reader};
use crate::runtime::Owned;

/// Most parameters of a statement. Source: Databricks SQL language reference, "Parameter markers".
pub(crate) const MAX_PARAMETERS: usize = 256;
/// Has bound columns go by their names.
const BIND_BY_NAME: &str = "adbc.statement.bind_by_name";
/// Bytes of a partition, uncompressed.
const TARGET_BYTES: &str = "databricks.partition.target_bytes";
/// Reads the server's id of the statement executed last.
const STATEMENT_ID: &str = "databricks.statement_id";

/// A statement: SQL with its bound rows, or a table that bound rows go into.
///
/// Bound rows are consumed by the execution, whether it succeeds or not; what else was set stays.
pub struct Statement {
    session: Arc<OpenSession>,
    current: Current,
    sql: Option<String>,
    target: Target,
    bound: Option<Bound>,
    by_name: bool,
    target_bytes: Option<NonZeroU64>,
    limits: Limits,
}

impl std::fmt::Debug for Statement {
    /// Shows no SQL: it may hold personal data.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Statement").field("statement_id", &self.current.statement_id()).finish_non_exhaustive()
    }
}

/// What sends statements of one execution.
#[derive(Clone)]
pub(crate) struct Sender {
    pub(crate) session: Arc<OpenSession>,
    pub(crate) limits: Limits,
}

impl Sender {
    /// Returns the statement, with what a cancel then ends.
    fn statement(&self, execution: &Execution, sql: &str, parameters: Vec<Parameter>) -> Result<seakernel::Statement> {
        self.session.home().check()?;
        let mut statement = self.session.get()?.statement(sql);
        statement = parameters.into_iter().fold(statement, seakernel::Statement::bind);
        if let Some(limit) = self.limits.timeout {
            statement = statement.timeout(limit);
        }
        if let Some(rows) = self.limits.max_rows {
            statement = statement.row_limit(rows);
        }
        execution.runs(statement.canceller());
        Ok(statement)
    }

    /// Runs a statement and opens its result.
    pub(crate) fn send(
        &self,
        execution: &Execution,
        sql: &str,
        parameters: Vec<Parameter>,
    ) -> Result<Owned<ResultStream>> {
        let statement = self.statement(execution, sql, parameters)?;
        let stream = execution.wait(async move {
            let run = async { statement.execute().await?.results().await };
            run.await.map_err(|failure| from_kernel(&failure))
        })?;
        execution.executed(stream.statement_id());
        let stream = Owned::new(self.session.home(), stream);
        if stream.get().is_some_and(ResultStream::is_volume_operation) {
            return Err(not_implemented(
                "the transfer of files between this machine and a volume: `seakernel.connect(...).volume` does it",
            ));
        }
        Ok(stream)
    }

    /// Runs a statement and cuts its result. The server keeps it for an hour, for nobody here knows when the last part was
    /// read.
    fn cut(
        &self,
        execution: &Execution,
        sql: &str,
        parameters: Vec<Parameter>,
        target_bytes: Option<NonZeroU64>,
    ) -> Result<PartitionedResult> {
        let statement = self.statement(execution, sql, parameters)?;
        let mut config = PartitionConfig { ordered: true, ..PartitionConfig::default() };
        config.target_bytes = target_bytes.unwrap_or(config.target_bytes);
        let (statement_id, result) = execution.wait(async move {
            let cut = async {
                let executed = statement.execute().await?;
                let mut stream = executed.partitions(config).await?;
                let mut partitions = Vec::new();
                while let Some(partition) = stream.next().await? {
                    partitions.push(partition.to_bytes());
                }
                // Not before: a result that nobody can read is of no use.
                executed.keep();
                let schema = Arc::unwrap_or_clone(stream.schema());
                Ok((executed.statement_id().to_owned(), PartitionedResult { partitions, schema, rows_affected: -1 }))
            };
            cut.await.map_err(|failure: seakernel::Error| from_kernel(&failure))
        })?;
        execution.executed(&statement_id);
        Ok(result)
    }
}

/// A statement that runs once for each bound row.
pub(crate) struct Repeated {
    sender: Sender,
    markers: Markers,
    bound: Bound,
}

impl Repeated {
    fn new(sender: Sender, sql: &str, bound: Bound, by_name: bool) -> Result<Self> {
        Ok(Self { sender, markers: Markers::new(sql, bound.columns(), by_name)?, bound })
    }

    /// Runs it with the next row; `None` after the last one.
    pub(crate) fn next(&mut self, execution: &Execution) -> Result<Option<Owned<ResultStream>>> {
        if !self.bound.has_next()? {
            return Ok(None);
        }
        let parameters = self.markers.parameters(self.bound.columns(), &self.bound.peek()?)?;
        self.bound.advance();
        self.sender.send(execution, &self.markers.sql, parameters).map(Some)
    }

    /// Tells whether another row waits behind one that was applied.
    fn has_more(&mut self) -> Result<bool> {
        self.bound.has_next().map_err(|failure| after(1, failure))
    }

    /// Runs it with every row, several of which share an INSERT where that inserts the same, and returns the rows that
    /// were changed; `None` where the server did not tell. `applied` rows were so before, and changed so many.
    fn run_all(&mut self, execution: &Execution, mut applied: usize, mut changed: Option<i64>) -> Result<Option<i64>> {
        let insert = self.shared_insert();
        while self.bound.has_next().map_err(|failure| after(applied, failure))? {
            let (stream, rows) = match &insert {
                Some(insert) => self.insert_some(execution, insert),
                None => self.next(execution).map(|stream| (stream, 1)),
            }
            .map_err(|failure| after(applied, failure))?;
            let Some(stream) = stream else { break };
            applied += rows;
            let told = stream.get().and_then(ResultStream::modified_row_count);
            changed = changed.zip(told).map(|(sum, more)| sum + more);
        }
        Ok(changed)
    }

    /// Reads the SQL as an INSERT of one row; `None` for every other statement. Rows share one only by their columns' types,
    /// which are the same for all.
    fn shared_insert(&self) -> Option<MultiRowInsert> {
        if self.bound.columns().iter().any(|column| column.sql_type.is_nested) {
            return None;
        }
        let insert = MultiRowInsert::parse(&self.markers.sql)?;
        let known = |name: &str| self.bound.columns().iter().any(|column| column.name == name);
        let fits = insert.markers().flatten().all(known);
        fits.then_some(insert)
    }

    fn insert_some(
        &mut self,
        execution: &Execution,
        insert: &MultiRowInsert,
    ) -> Result<(Option<Owned<ResultStream>>, usize)> {
        let markers: Vec<Option<&str>> = insert.markers().collect();
        let most = (MAX_PARAMETERS / markers.len().max(1)).max(1);
        let (mut rows, mut parameters) = (0, Vec::new());
        while rows < most && self.bound.has_next()? {
            let values = self.bound.peek()?;
            for (place, marker) in markers.iter().enumerate() {
                let column = match marker {
                    Some(name) => self.bound.columns().iter().position(|column| column.name == *name),
                    None => Some(place),
                };
                let found = column.and_then(|place| self.bound.columns().get(place).zip(values.get(place)));
                let Some((column, value)) = found else { continue };
                let name = marker.map(|_| format!("p{}", parameters.len() + 1));
                parameters.push(parameter(name.as_deref(), &column.sql_type, value.as_deref())?);
            }
            self.bound.advance();
            rows += 1;
        }
        Ok((Some(self.sender.send(execution, &insert.statement(rows), parameters)?), rows))
    }
}

/// Says how many of several rows were applied before one of them failed: there are no transactions.
pub(crate) fn after(applied: usize, failure: Error) -> Error {
    if applied == 0 {
        return failure;
    }
    let message = format!("{}; the first {applied} of the bound rows were applied before", failure.message);
    Error { message, ..failure }
}

/// Returns the number of changed rows as the server tells it for a single statement.
fn changed_rows(changed: Option<i64>) -> Result<BoxedReader> {
    let schema = Arc::new(Schema::new(vec![Field::new("num_affected_rows", DataType::Int64, true)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int64Array::from(vec![changed]))])?;
    Ok(Batches::boxed(schema, vec![batch]))
}

impl Statement {
    pub(crate) fn new(session: Arc<OpenSession>, current: Current, limits: Limits) -> Self {
        Self {
            session,
            current,
            sql: None,
            target: Target::default(),
            bound: None,
            by_name: false,
            target_bytes: None,
            limits,
        }
    }

    fn sql(&self) -> Result<&str> {
        self.sql.as_deref().ok_or_else(|| error(Status::InvalidState, "the statement has no SQL: set a query first"))
    }

    fn sender(&self) -> Sender {
        Sender { session: Arc::clone(&self.session), limits: self.limits }
    }

    /// Runs `call` as an execution of this statement; what ends it is the end of its rows.
    fn run<T>(&mut self, call: impl FnOnce(&mut Self, &Arc<Execution>) -> Result<T>) -> Result<T> {
        let execution = self.current.begin(self.session.home());
        let outcome = call(self, &execution);
        if outcome.is_err() {
            execution.end();
        }
        outcome
    }

    fn option(&self, key: &OptionStatement) -> Result<String> {
        let name = key.as_ref();
        match key {
            OptionStatement::Incremental | OptionStatement::Temporary => Ok("false".to_owned()),
            OptionStatement::Other(name) if name == BIND_BY_NAME => Ok(self.by_name.to_string()),
            OptionStatement::Other(name) if name == TARGET_BYTES => {
                self.target_bytes.map(|bytes| bytes.to_string()).ok_or_else(|| unset(name))
            }
            OptionStatement::Other(name) if name == STATEMENT_ID => {
                self.current.statement_id().ok_or_else(|| unset(name))
            }
            OptionStatement::Other(name) => self.limits.get(name).ok_or_else(|| unset(name)),
            _ => self.target.get(key).ok_or_else(|| unset(name)),
        }
    }

    /// Opens the result of the query that has the schema of this one and no rows.
    fn rowless(&mut self, execution: &Execution) -> Result<Owned<ResultStream>> {
        let sender = self.sender();
        let query = self.sql()?.trim_end_matches(|c: char| c.is_whitespace() || c == ';').to_owned();
        // The line break ends a comment.
        let sql = format!("SELECT * FROM (\n{query}\n) LIMIT 0");
        let Some(bound) = self.bound.as_mut() else { return sender.send(execution, &sql, Vec::new()) };
        let markers = Markers::new(&sql, bound.columns(), self.by_name)?;
        let values = if bound.has_next()? { bound.peek()? } else { vec![None; bound.columns().len()] };
        let parameters = markers.parameters(bound.columns(), &values)?;
        sender.send(execution, &markers.sql, parameters)
    }
}

impl Optionable for Statement {
    type Option = OptionStatement;

    fn set_option(&mut self, key: OptionStatement, value: OptionValue) -> Result<()> {
        let value = text(key.as_ref(), value)?;
        match &key {
            OptionStatement::IngestMode => self.target.mode = value.parse::<IngestMode>()?,
            OptionStatement::TargetTable => {
                self.target.set_table(value);
                self.sql = None;
            }
            OptionStatement::TargetCatalog => self.target.set_catalog(value),
            OptionStatement::TargetDbSchema => self.target.set_schema(value),
            OptionStatement::Temporary => {
                if truth(key.as_ref(), &value)? {
                    return Err(not_implemented("temporary tables: Databricks SQL warehouses have no such thing here"));
                }
            }
            OptionStatement::Incremental => {
                if truth(key.as_ref(), &value)? {
                    return Err(not_implemented("incremental execution: `adbc.statement.exec.incremental`"));
                }
            }
            OptionStatement::Other(name) if name == BIND_BY_NAME => self.by_name = truth(name, &value)?,
            OptionStatement::Other(name) if name == TARGET_BYTES => {
                let bytes = value.parse().map_err(|_| {
                    error(Status::InvalidArguments, format!("`{TARGET_BYTES}` is no positive number of bytes"))
                })?;
                self.target_bytes = Some(bytes);
            }
            OptionStatement::Other(name) if self.limits.set(name, &value)? => {}
            _ => return Err(options::unknown(key.as_ref())),
        }
        Ok(())
    }

    fn get_option_string(&self, key: OptionStatement) -> Result<String> {
        self.option(&key)
    }

    fn get_option_bytes(&self, key: OptionStatement) -> Result<Vec<u8>> {
        self.option(&key).map(String::into_bytes)
    }

    fn get_option_int(&self, key: OptionStatement) -> Result<i64> {
        as_int(key.as_ref(), &self.option(&key)?)
    }

    fn get_option_double(&self, key: OptionStatement) -> Result<f64> {
        as_double(key.as_ref(), &self.option(&key)?)
    }
}

impl adbc_core::Statement for Statement {
    fn bind(&mut self, batch: RecordBatch) -> Result<()> {
        self.bound = None;
        self.bound = Some(Bound::of_batch(batch)?);
        Ok(())
    }

    fn bind_stream(&mut self, reader: Box<dyn RecordBatchReader + Send>) -> Result<()> {
        self.bound = None;
        self.bound = Some(Bound::of_reader(reader)?);
        Ok(())
    }

    fn execute(&mut self) -> Result<BoxedReader> {
        if self.target.table.is_some() {
            let text = "an ingest has no rows to return; execute it as an update (without a stream)";
            return Err(error(Status::InvalidState, text));
        }
        self.run(|this, execution| {
            let sender = this.sender();
            let (stream, mut repeated) = match this.bound.take() {
                None => (sender.send(execution, this.sql()?, Vec::new())?, None),
                Some(bound) => {
                    let mut repeated = Repeated::new(sender, this.sql()?, bound, this.by_name)?;
                    let first = repeated.next(execution)?;
                    let text = "the bound rows are none: a query needs one row of parameters for each execution";
                    (first.ok_or_else(|| error(Status::InvalidArguments, text))?, Some(repeated))
                }
            };
            let opened = stream.get();
            // What no host asks for: these statements are run for what they do.
            let acts = seakernel::changes_rows(this.sql()?)
                || opened.is_some_and(|stream| stream.schema().fields().is_empty());
            if let Some(repeated) = repeated.as_mut().filter(|_| acts)
                && repeated.has_more()?
            {
                let changed = opened.and_then(ResultStream::modified_row_count);
                let changed = repeated.run_all(execution, 1, changed)?;
                execution.end();
                return changed_rows(changed);
            }
            Ok(Box::new(Reader::new(Arc::clone(&this.session), Arc::clone(execution), stream, repeated)?)
                as BoxedReader)
        })
    }

    fn execute_update(&mut self) -> Result<Option<i64>> {
        self.run(|this, execution| {
            let sender = this.sender();
            let changed = if this.target.table.is_some() {
                let bound = this.bound.take();
                let bound = bound
                    .ok_or_else(|| error(Status::InvalidState, "no rows are bound: bind what is to be ingested"))?;
                this.target.used();
                this.target.ingest(&sender, execution, bound)?
            } else if let Some(bound) = this.bound.take() {
                Repeated::new(sender, this.sql()?, bound, this.by_name)?.run_all(execution, 0, Some(0))?
            } else {
                let stream = sender.send(execution, this.sql()?, Vec::new())?;
                stream.get().and_then(ResultStream::modified_row_count)
            };
            execution.end();
            Ok(changed)
        })
    }

    fn execute_schema(&mut self) -> Result<Schema> {
        self.run(|this, execution| {
            let stream = this.rowless(execution).map_err(|failure| {
                // What stands no FROM is no query.
                if failure.sqlstate.map(|c| c as u8) == *b"42601" {
                    let text = format!("only queries have a schema before they are executed: {}", failure.message);
                    return Error { message: text, status: Status::InvalidArguments, ..failure };
                }
                failure
            })?;
            let schema = stream.get().map(ResultStream::schema);
            execution.end();
            schema.map(Arc::unwrap_or_clone).ok_or_else(|| error(Status::Internal, "the result is gone"))
        })
    }

    fn execute_partitions(&mut self) -> Result<PartitionedResult> {
        self.run(|this, execution| {
            let sender = this.sender();
            let (sql, parameters) = match this.bound.take() {
                None => (this.sql()?.to_owned(), Vec::new()),
                Some(mut bound) => {
                    let markers = Markers::new(this.sql()?, bound.columns(), this.by_name)?;
                    let row = if bound.has_next()? { Some(bound.peek()?) } else { None };
                    bound.advance();
                    let (Some(row), false) = (row, bound.has_next()?) else {
                        return Err(not_implemented("partitions of several executions: bind one row of parameters"));
                    };
                    (markers.sql.clone(), markers.parameters(bound.columns(), &row)?)
                }
            };
            let result = sender.cut(execution, &sql, parameters, this.target_bytes)?;
            execution.end();
            Ok(result)
        })
    }

    fn get_parameter_schema(&self) -> Result<Schema> {
        // What a value may be, the server says only when it has one.
        let markers = seakernel::marker_names(self.sql()?);
        let field = |(place, name): (usize, Option<String>)| {
            Field::new(name.unwrap_or_else(|| place.to_string()), DataType::Null, true)
        };
        Ok(Schema::new(markers.into_iter().enumerate().map(field).collect::<Vec<_>>()))
    }

    fn prepare(&mut self) -> Result<()> {
        // The server prepares nothing; each execution sends the SQL.
        self.session.home().check()?;
        self.sql().map(drop)
    }

    fn set_sql_query(&mut self, query: impl AsRef<str>) -> Result<()> {
        if self.sql.is_some() || self.target.table.is_some() {
            // Rows that were bound for something else, such as a schema that was asked for.
            self.bound = None;
        }
        self.sql = Some(query.as_ref().to_owned());
        self.target = Target::default();
        Ok(())
    }

    fn set_substrait_plan(&mut self, _plan: impl AsRef<[u8]>) -> Result<()> {
        Err(not_implemented("Substrait plans: Databricks SQL warehouses take SQL"))
    }

    fn get_cancel_handle(&self) -> Box<dyn CancelHandle> {
        Box::new(self.current.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_applied() {
        let failure = error(Status::Integrity, "duplicate");
        assert_eq!(after(0, failure.clone()).message, "duplicate");
        assert_eq!(after(3, failure).message, "duplicate; the first 3 of the bound rows were applied before");
    }
}
