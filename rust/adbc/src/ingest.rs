//! Bulk ingest: bound rows into a table, by INSERT statements of several rows.

use std::sync::Arc;

use adbc_core::error::{Result, Status};
use adbc_core::options::{IngestMode, OptionStatement};
use seakernel::{Parameter, ResultStream};

use crate::bound::{Bound, Column, parameter};
use crate::cancellation::Execution;
use crate::error::{error, not_implemented};
use crate::sql_name::{quoted, table};
use crate::statement::{MAX_PARAMETERS, Sender, after};

/// The table that bound rows go into.
pub(crate) struct Target {
    pub(crate) table: Option<String>,
    pub(crate) catalog: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) mode: IngestMode,
    /// Whether the catalog and the schema are those of an ingest before: the next table may be elsewhere.
    is_catalog_used: bool,
    is_schema_used: bool,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            table: None,
            catalog: None,
            schema: None,
            mode: IngestMode::Create,
            is_catalog_used: false,
            is_schema_used: false,
        }
    }
}

impl Target {
    pub(crate) fn get(&self, key: &OptionStatement) -> Option<String> {
        match key {
            OptionStatement::IngestMode => Some(self.mode.into()),
            OptionStatement::TargetTable => self.table.clone(),
            OptionStatement::TargetCatalog => self.catalog.clone(),
            OptionStatement::TargetDbSchema => self.schema.clone(),
            _ => None,
        }
    }

    pub(crate) fn set_table(&mut self, name: String) {
        self.table = Some(name);
        if self.is_catalog_used {
            self.catalog = None;
        }
        if self.is_schema_used {
            self.schema = None;
        }
    }

    pub(crate) fn set_catalog(&mut self, name: String) {
        (self.catalog, self.is_catalog_used) = (Some(name).filter(|name| !name.is_empty()), false);
    }

    pub(crate) fn set_schema(&mut self, name: String) {
        (self.schema, self.is_schema_used) = (Some(name).filter(|name| !name.is_empty()), false);
    }

    /// Has catalog and schema be those of this table only. More rows may follow into it.
    pub(crate) fn used(&mut self) {
        (self.is_catalog_used, self.is_schema_used) = (true, true);
    }

    /// Makes the table as the mode says and inserts the rows; returns how many.
    pub(crate) fn ingest(&self, sender: &Sender, execution: &Arc<Execution>, mut bound: Bound) -> Result<Option<i64>> {
        let name = self.table.as_deref().unwrap_or_default();
        if name.is_empty() {
            return Err(error(Status::InvalidState, "the name of the table to ingest into is empty"));
        }
        let name = table(self.catalog.as_deref(), self.schema.as_deref(), name);
        let columns = bound.columns();
        if columns.is_empty() {
            return Err(error(Status::InvalidArguments, "the rows to ingest have no columns"));
        }
        if columns.len() > MAX_PARAMETERS {
            return Err(not_implemented(format!(
                "an ingest of {} columns: a statement has at most {MAX_PARAMETERS} parameters",
                columns.len()
            )));
        }
        if let Some(sql) = self.creation(&name, columns) {
            sender.send(execution, &sql, Vec::new())?;
        }
        let row = format!("({})", columns.iter().map(marker).collect::<Vec<_>>().join(", "));
        let names = columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ");
        let most = MAX_PARAMETERS / columns.len();
        let mut inserted = 0;
        loop {
            let (parameters, rows) = taken(&mut bound, most).map_err(|failure| after(inserted, failure))?;
            if rows == 0 {
                return Ok(Some(inserted as i64));
            }
            let sql = format!("INSERT INTO {name} ({names}) VALUES {}", vec![row.as_str(); rows].join(", "));
            let sent = sender.send(execution, &sql, parameters).map_err(|failure| after(inserted, failure))?;
            inserted += rows;
            let told = sent.get().and_then(ResultStream::modified_row_count);
            if told.is_some_and(|told| told != rows as i64) {
                let text = format!(
                    "{rows} rows were sent to {name} and the server says that {} were added",
                    told.unwrap_or(-1)
                );
                return Err(error(Status::InvalidData, text));
            }
        }
    }

    fn creation(&self, name: &str, columns: &[Column]) -> Option<String> {
        let command = match self.mode {
            IngestMode::Append => return None,
            IngestMode::Create => "CREATE TABLE",
            IngestMode::Replace => "CREATE OR REPLACE TABLE",
            IngestMode::CreateAppend => "CREATE TABLE IF NOT EXISTS",
        };
        let column = |column: &Column| format!("{} {}", quoted(&column.name), column.sql_type.of_column());
        Some(format!("{command} {name} ({})", columns.iter().map(column).collect::<Vec<_>>().join(", ")))
    }
}

fn marker(column: &Column) -> String {
    if column.sql_type.is_nested {
        // Without the mode, what does not fit would be NULL.
        format!(
            "from_json(?, '{}', map('mode', 'FAILFAST'))",
            column.sql_type.text.replace('\\', "\\\\").replace('\'', "\\'")
        )
    } else {
        "?".to_owned()
    }
}

/// Takes up to `most` rows.
fn taken(bound: &mut Bound, most: usize) -> Result<(Vec<Parameter>, usize)> {
    let (mut parameters, mut rows) = (Vec::new(), 0);
    while rows < most && bound.has_next()? {
        let values = bound.peek()?;
        for (column, value) in bound.columns().iter().zip(&values) {
            parameters.push(parameter(None, &column.sql_type, value.as_deref())?);
        }
        bound.advance();
        rows += 1;
    }
    Ok((parameters, rows))
}
