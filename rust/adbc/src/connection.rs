//! Connections: one session each.

use std::collections::HashSet;
use std::sync::Arc;

use adbc_core::error::{Result, Status};
use adbc_core::options::{InfoCode, ObjectDepth, OptionConnection, OptionValue};
use adbc_core::schemas::{GET_STATISTIC_NAMES_SCHEMA, GET_TABLE_TYPES_SCHEMA};
use adbc_core::{CancelHandle, Optionable};
use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::Schema;
use seakernel::{Partition, ResultStream, Session};

use crate::cancellation::Current;
use crate::database::{as_double, as_int};
use crate::error::{error, from_kernel, is_of_what_was_read, not_implemented};
use crate::info;
use crate::objects::{self, Filter};
use crate::options::{Limits, Settings, text, truth, unknown, unset};
use crate::reader::{Batches, BoxedReader, Reader};
use crate::runtime::{Home, Owned};
use crate::sql_name::{quoted, table};
use crate::statement::{Sender, Statement};

/// The session of a connection, its statements and their results; closed when the last of them is released.
pub(crate) struct OpenSession {
    home: Home,
    session: Owned<Session>,
}

impl OpenSession {
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    pub(crate) fn get(&self) -> Result<&Session> {
        self.session.get().ok_or_else(|| error(Status::InvalidState, "the connection is closed"))
    }
}

/// A connection.
pub struct Connection {
    session: Arc<OpenSession>,
    current: Current,
    settings: Settings,
    limits: Limits,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn open(settings: &Settings) -> Result<Self> {
        let home = Home::current()?;
        let limits = settings.limits()?;
        let config = settings.session_config(home.sign_ins())?;
        let session = home.wait(async { Session::open(config).await.map_err(|cause| from_kernel(&cause)) })?;
        let session = Arc::new(OpenSession { session: Owned::new(&home, session), home });
        Ok(Self { session, current: Current::default(), settings: settings.clone(), limits })
    }

    /// Tells whether an option is one that has a single value here, and fails where another one is asked for.
    pub(crate) fn is_fixed_option(key: &OptionConnection, value: &OptionValue) -> Result<bool> {
        let (expected, why) = match key {
            OptionConnection::AutoCommit => {
                (true, "transactions: a warehouse commits each statement by itself, so autocommit stays on")
            }
            OptionConnection::ReadOnly => (false, "read-only connections"),
            OptionConnection::IsolationLevel => {
                let level = text(key.as_ref(), value.clone())?;
                if level.is_empty() || level.ends_with(".default") {
                    return Ok(true);
                }
                return Err(not_implemented("isolation levels: a warehouse has its own for each table"));
            }
            _ => return Ok(false),
        };
        let given = text(key.as_ref(), value.clone())?;
        if truth(key.as_ref(), &given)? == expected { Ok(true) } else { Err(not_implemented(why)) }
    }

    fn sender(&self) -> Sender {
        Sender { session: Arc::clone(&self.session), limits: Limits::default() }
    }

    /// Runs a statement of the driver's own and returns the text in its first row and column.
    fn ask(&self, sql: &str) -> Result<Option<String>> {
        self.look(sql, |batch| text_at(batch, 0, 0).map(str::to_owned))
    }

    /// Runs a statement of the driver's own and returns what is found in one of its batches.
    fn look<T>(&self, sql: &str, find: impl Fn(&RecordBatch) -> Option<T>) -> Result<Option<T>> {
        let execution = self.current.begin(self.session.home());
        let mut stream = self.sender().send(&execution, sql, Vec::new()).inspect_err(|_| execution.end())?;
        let mut found = None;
        while let (None, Some(stream)) = (&found, stream.get_mut()) {
            let next = execution.wait(async { stream.next_batch().await.map_err(|cause| from_kernel(&cause)) });
            let Some(batch) = next.inspect_err(|_| execution.end())? else { break };
            found = find(&batch);
        }
        execution.end();
        Ok(found)
    }

    /// Returns the rows of a table: counted, or as its statistics have them, where there are any.
    fn row_count(&self, [catalog, schema, name]: &[String; 3], approximate: bool) -> Result<Option<i64>> {
        let name = table(Some(catalog), Some(schema), name);
        if approximate {
            self.look(&format!("DESCRIBE TABLE EXTENDED {name}"), rows_described)
        } else {
            let count = self.ask(&format!("SELECT CAST(count(*) AS STRING) FROM {name}"))?;
            Ok(count.and_then(|count| count.parse().ok()))
        }
    }

    fn option(&self, key: &OptionConnection) -> Result<String> {
        let name = key.as_ref();
        match key {
            OptionConnection::AutoCommit => Ok("true".to_owned()),
            OptionConnection::ReadOnly => Ok("false".to_owned()),
            OptionConnection::IsolationLevel => Ok("adbc.connection.transaction.isolation.default".to_owned()),
            // Asked for, because a statement may have changed it.
            OptionConnection::CurrentCatalog => self.ask("SELECT current_catalog()").map(Option::unwrap_or_default),
            OptionConnection::CurrentSchema => self.ask("SELECT current_schema()").map(Option::unwrap_or_default),
            _ if Limits::has(name) => self.limits.get(name).ok_or_else(|| unset(name)),
            _ => self.settings.get(name),
        }
    }

    fn listing<T: Send>(&self, call: impl Future<Output = seakernel::Result<T>> + Send) -> Result<T> {
        let execution = self.current.begin(self.session.home());
        let outcome = execution.wait(async { call.await.map_err(|cause| from_kernel(&cause)) });
        execution.end();
        outcome
    }
}

fn text_at(batch: &RecordBatch, column: usize, row: usize) -> Option<&str> {
    let texts = batch.columns().get(column)?.as_string_opt::<i32>()?;
    (row < texts.len() && texts.is_valid(row)).then(|| texts.value(row))
}

/// Finds the rows of a table in its description. Columns stand in it first, and one may be called `Statistics`.
fn rows_described(batch: &RecordBatch) -> Option<i64> {
    let mut lines = (0..batch.num_rows()).filter(|row| text_at(batch, 0, *row) == Some("Statistics"));
    lines.find_map(|row| rows_in(text_at(batch, 1, row)?))
}

/// Reads the rows in statistics such as `864 bytes, 2 rows`; those without a scan have bytes only.
fn rows_in(statistics: &str) -> Option<i64> {
    statistics.split(',').find_map(|part| part.trim().strip_suffix(" rows")?.parse().ok())
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Waited for, so that a process which ends right away leaves nothing open. Where a statement or result is still there,
        // its release closes the session, in the background.
        let Some(session) = Arc::get_mut(&mut self.session) else { return };
        let home = session.home.clone();
        if let Some(session) = session.session.get() {
            // A session that cannot be closed is of no use to the host, nor is the error.
            let _ = home.wait(async { session.close().await.map_err(|cause| from_kernel(&cause)) });
        }
    }
}

impl Optionable for Connection {
    type Option = OptionConnection;

    fn set_option(&mut self, key: OptionConnection, value: OptionValue) -> Result<()> {
        if Self::is_fixed_option(&key, &value)? {
            return Ok(());
        }
        let name = key.as_ref();
        let value = text(name, value)?;
        match &key {
            OptionConnection::CurrentCatalog => self.ask(&format!("USE CATALOG {}", quoted(&value))).map(drop),
            OptionConnection::CurrentSchema => self.ask(&format!("USE SCHEMA {}", quoted(&value))).map(drop),
            _ if self.limits.set(name, &value)? => Ok(()),
            _ if self.settings.get(name).is_ok() => {
                Err(error(Status::InvalidState, format!("`{name}` is to be set before the connection is opened")))
            }
            _ => Err(unknown(name)),
        }
    }

    fn get_option_string(&self, key: OptionConnection) -> Result<String> {
        self.option(&key)
    }

    fn get_option_bytes(&self, key: OptionConnection) -> Result<Vec<u8>> {
        self.option(&key).map(String::into_bytes)
    }

    fn get_option_int(&self, key: OptionConnection) -> Result<i64> {
        as_int(key.as_ref(), &self.option(&key)?)
    }

    fn get_option_double(&self, key: OptionConnection) -> Result<f64> {
        as_double(key.as_ref(), &self.option(&key)?)
    }
}

impl adbc_core::Connection for Connection {
    type StatementType = Statement;

    fn new_statement(&mut self) -> Result<Statement> {
        self.session.home().check()?;
        Ok(Statement::new(Arc::clone(&self.session), Current::default(), self.limits))
    }

    fn get_cancel_handle(&self) -> Box<dyn CancelHandle> {
        Box::new(self.current.clone())
    }

    fn get_info(&self, codes: Option<HashSet<InfoCode>>) -> Result<BoxedReader> {
        self.session.home().check()?;
        info::read(codes.as_ref(), || self.ask("SELECT current_version().dbsql_version").ok().flatten())
    }

    fn get_objects(
        &self,
        depth: ObjectDepth,
        catalog: Option<&str>,
        db_schema: Option<&str>,
        table_name: Option<&str>,
        table_type: Option<Vec<&str>>,
        column_name: Option<&str>,
    ) -> Result<BoxedReader> {
        let filter = Filter {
            catalog,
            schema: db_schema,
            table: table_name,
            types: table_type.map(|types| types.into_iter().map(str::to_owned).collect()),
            column: column_name,
        };
        let metadata = self.session.get()?.metadata();
        let found = self.listing(objects::find(&metadata, depth, &filter))?;
        let batch = found.into_batch()?;
        Ok(Batches::boxed(batch.schema(), vec![batch]))
    }

    fn get_table_schema(&self, catalog: Option<&str>, db_schema: Option<&str>, table_name: &str) -> Result<Schema> {
        let execution = self.current.begin(self.session.home());
        let sql = format!("SELECT * FROM {} LIMIT 0", table(catalog, db_schema, table_name));
        let stream = self.sender().send(&execution, &sql, Vec::new());
        execution.end();
        let schema = stream?.get().map(ResultStream::schema);
        schema.map(Arc::unwrap_or_clone).ok_or_else(|| error(Status::Internal, "the result is gone"))
    }

    fn get_table_types(&self) -> Result<BoxedReader> {
        let listing = self.session.get()?.metadata().table_types().map_err(|cause| from_kernel(&cause))?;
        let schema = Arc::clone(&GET_TABLE_TYPES_SCHEMA);
        let renamed =
            listing.batches().iter().map(|batch| RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec()));
        Ok(Batches::boxed(Arc::clone(&schema), renamed.collect::<std::result::Result<_, _>>()?))
    }

    fn get_statistic_names(&self) -> Result<BoxedReader> {
        // None beyond those that ADBC names.
        Ok(Batches::boxed(Arc::clone(&GET_STATISTIC_NAMES_SCHEMA), Vec::new()))
    }

    fn get_statistics(
        &self,
        catalog: Option<&str>,
        db_schema: Option<&str>,
        table_name: Option<&str>,
        approximate: bool,
    ) -> Result<BoxedReader> {
        let filter = Filter { catalog, schema: db_schema, table: table_name, types: None, column: None };
        let metadata = self.session.get()?.metadata();
        let found = self.listing(objects::find(&metadata, ObjectDepth::Tables, &filter))?;
        // One statement for each table, as a warehouse answers for no more.
        let row_count = |table| match self.row_count(table, approximate) {
            // A view of what is gone, say, or a table that this user may list and not read: the others have theirs.
            Err(error) if is_of_what_was_read(&error) => Ok(None),
            count => count,
        };
        let counts = found.tables().iter().map(row_count).collect::<Result<_>>()?;
        let batch = found.into_row_counts(counts, approximate)?;
        Ok(Batches::boxed(batch.schema(), vec![batch]))
    }

    fn commit(&mut self) -> Result<()> {
        Err(error(
            Status::InvalidState,
            "nothing to commit: autocommit is on, and each statement is committed by itself",
        ))
    }

    fn rollback(&mut self) -> Result<()> {
        Err(error(
            Status::InvalidState,
            "nothing to roll back: autocommit is on, and each statement is committed by itself",
        ))
    }

    fn read_partition(&self, partition: impl AsRef<[u8]>) -> Result<BoxedReader> {
        let partition = Partition::from_bytes(partition.as_ref()).map_err(|cause| from_kernel(&cause))?;
        let home = self.session.home();
        let session = self.session.get()?;
        let execution = self.current.begin(home);
        let stream = execution.wait(async { partition.results_in(session).await.map_err(|cause| from_kernel(&cause)) });
        let stream = Owned::new(home, stream.inspect_err(|_| execution.end())?);
        Ok(Box::new(Reader::new(Arc::clone(&self.session), execution, stream, None)?))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::StringArray;

    use super::*;

    #[test]
    fn rows_are_read_from_statistics() {
        for (text, rows) in [("864 bytes, 2 rows", Some(2)), ("864 bytes", None), ("", None), ("1 bytes, x rows", None)]
        {
            assert_eq!(rows_in(text), rows, "{text}");
        }
    }

    #[test]
    fn a_column_called_statistics_does_not_hide_them() {
        let names = StringArray::from(vec!["Statistics", "# Detailed Table Information", "Statistics"]);
        let texts = StringArray::from(vec!["string", "", "864 bytes, 2 rows"]);
        let described = RecordBatch::try_from_iter([
            ("col_name", Arc::new(names) as Arc<dyn Array>),
            ("data_type", Arc::new(texts) as Arc<dyn Array>),
        ]);
        assert_eq!(rows_described(&described.unwrap()), Some(2));
    }
}
