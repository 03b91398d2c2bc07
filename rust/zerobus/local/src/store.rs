//! The tables and the rows that came into them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_array::RecordBatch;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::flight::BatchPlan;
use crate::json::row_as_json;
use crate::plan::MessagePlan;
use crate::record::{BadRecord, Row};
use crate::uc_type::{UcField, UcType};

/// The most bytes of rows that are kept, of all tables.
const MOST_KEPT: u64 = 4 << 30;

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type in Unity Catalog, such as `DECIMAL(18,2)`.
    #[serde(rename = "type")]
    pub type_text: String,
    /// Whether it may be null. Default true.
    #[serde(default = "nullable")]
    pub nullable: bool,
}

fn nullable() -> bool {
    true
}

impl Column {
    /// A nullable column.
    pub fn new(name: &str, type_text: &str) -> Self {
        Self { name: name.to_owned(), type_text: type_text.to_owned(), nullable: true }
    }

    /// The same, with a value in every row.
    #[must_use]
    pub fn not_null(mut self) -> Self {
        self.nullable = false;
        self
    }
}

/// Where tables are that the server did not create itself.
pub trait Tables: Send + Sync {
    /// The columns of a table with this name of three parts, if there is one. Asked whenever a stream is opened.
    ///
    /// # Errors
    /// Why it cannot be ingested into.
    fn describe(&self, name: &str) -> Result<Option<Vec<Column>>, String>;

    /// Adds the rows of one message, all or none of them. They have all columns of the table, in order, in the types of
    /// Arrow that the service itself prefers: text as `Utf8`, timestamps in microseconds, a `VARIANT` as JSON text.
    ///
    /// # Errors
    /// Why they are refused.
    fn append(&self, name: &str, rows: &RecordBatch) -> Result<(), String>;
}

/// A row, with where it came from.
#[derive(Clone, Debug, Serialize)]
pub struct StoredRow {
    /// The stream.
    pub stream_id: String,
    /// The offset of its message.
    pub offset: i64,
    /// Its place in the message.
    pub position: usize,
    /// When the message came, in seconds since 1970.
    pub time: f64,
    /// The values by column. Dates, timestamps and numbers are numbers (those that JSON lacks are text), decimals are text,
    /// bytes are Base64, maps are lists of pairs.
    pub values: Map<String, Json>,
}

/// The records of one message.
pub(crate) struct StoredMessage {
    pub(crate) stream_id: Arc<str>,
    pub(crate) offset: i64,
    pub(crate) time: f64,
    pub(crate) records: Records,
}

/// Records as they came, with how they become rows.
pub(crate) enum Records {
    Messages(Arc<MessagePlan>, Vec<Bytes>),
    Batch(Arc<BatchPlan>, RecordBatch),
}

impl Records {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Messages(_, records) => records.len(),
            Self::Batch(_, batch) => batch.num_rows(),
        }
    }

    /// About the bytes it takes to keep them, of which there came `size`.
    pub(crate) fn weight(&self, size: u64) -> u64 {
        let bytes = match self {
            Self::Messages(_, records) => size + size_of_val(records.as_slice()) as u64,
            Self::Batch(_, batch) => batch.get_array_memory_size() as u64,
        };
        bytes + size_of::<StoredMessage>() as u64
    }

    /// The columns of the table.
    pub(crate) fn columns(&self) -> &[UcField] {
        match self {
            Self::Messages(plan, _) => &plan.columns,
            Self::Batch(plan, _) => &plan.columns,
        }
    }

    /// Reads one of them, and checks what the table demands of it.
    pub(crate) fn row(&self, position: usize) -> Result<Row<'_>, BadRecord> {
        match self {
            Self::Messages(plan, records) => plan.row(records.get(position).map(AsRef::as_ref).unwrap_or_default()),
            Self::Batch(plan, batch) => plan.row(batch, position),
        }
    }

    /// All of them that can be read.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.len()).map(|position| self.row(position).unwrap_or_default())
    }
}

impl StoredMessage {
    pub(crate) fn now() -> f64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }

    fn rows(&self) -> impl Iterator<Item = StoredRow> {
        self.records.rows().enumerate().map(|(position, row)| StoredRow {
            stream_id: self.stream_id.to_string(),
            offset: self.offset,
            position,
            time: self.time,
            values: row_as_json(self.records.columns(), &row),
        })
    }
}

#[derive(Default)]
struct Table {
    /// None of a table that is somewhere else.
    columns: Option<Arc<[UcField]>>,
    messages: Vec<StoredMessage>,
    rows: u64,
}

/// All tables.
pub(crate) struct Store {
    tables: Mutex<HashMap<String, Table>>,
    /// The weight of all that is kept, and the most it may be.
    kept: AtomicU64,
    most_kept: u64,
    elsewhere: Option<Arc<dyn Tables>>,
}

impl Store {
    pub(crate) fn new(elsewhere: Option<Arc<dyn Tables>>) -> Self {
        Self { tables: Mutex::default(), kept: AtomicU64::new(0), most_kept: MOST_KEPT, elsewhere }
    }

    fn tables(&self) -> MutexGuard<'_, HashMap<String, Table>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a table, or gives it other columns.
    pub(crate) fn create(&self, name: &str, columns: &[Column]) -> Result<(), String> {
        let columns = read_columns(columns)?;
        self.tables().entry(name.to_owned()).or_default().columns = Some(columns.into());
        Ok(())
    }

    /// Gives a table other columns. One that is somewhere else keeps its own: they are returned, to be checked against only.
    pub(crate) fn disguise(&self, name: &str, columns: &[Column]) -> Result<Option<Arc<[UcField]>>, String> {
        if let Some(elsewhere) = self.elsewhere(name)
            && elsewhere.describe(name)?.is_some()
        {
            return Ok(Some(read_columns(columns)?.into()));
        }
        self.create(name, columns)?;
        Ok(None)
    }

    /// The columns of a table.
    pub(crate) fn describe(&self, name: &str) -> Result<Option<Arc<[UcField]>>, String> {
        if let Some(columns) = self.tables().get(name).and_then(|table| table.columns.clone()) {
            return Ok(Some(columns));
        }
        let Some(elsewhere) = &self.elsewhere else { return Ok(None) };
        let columns = elsewhere.describe(name)?;
        columns.map(|columns| read_columns(&columns).map(Into::into)).transpose()
    }

    /// Where the rows of this table go as well.
    pub(crate) fn elsewhere(&self, name: &str) -> Option<&dyn Tables> {
        let here = self.tables().get(name).is_some_and(|table| table.columns.is_some());
        self.elsewhere.as_deref().filter(|_| !here)
    }

    /// Tells whether records of this weight can be kept. Streams that ask at once may exceed the limit, by a message each.
    pub(crate) fn check_room(&self, weight: u64) -> Result<(), String> {
        let (kept, most) = (self.kept.load(Ordering::Relaxed), self.most_kept);
        if kept.saturating_add(weight) <= most {
            return Ok(());
        }
        Err(format!(
            "{kept} bytes of rows are kept of at most {most}: reset the server, or have it count rows only (`keep_rows`)"
        ))
    }

    /// Adds the rows of a message, and keeps them where they are given a weight.
    pub(crate) fn append(&self, name: &str, message: StoredMessage, weight: Option<u64>) {
        let mut tables = self.tables();
        let table = tables.entry(name.to_owned()).or_default();
        table.rows += message.records.len() as u64;
        if let Some(weight) = weight {
            self.kept.fetch_add(weight, Ordering::Relaxed);
            table.messages.push(message);
        }
    }

    pub(crate) fn rows(&self, name: &str) -> Vec<StoredRow> {
        self.tables()
            .get(name)
            .map_or_else(Vec::new, |table| table.messages.iter().flat_map(StoredMessage::rows).collect())
    }

    pub(crate) fn records(&self, name: &str) -> Vec<Bytes> {
        self.tables().get(name).map_or_else(Vec::new, |table| {
            let records = |message: &StoredMessage| match &message.records {
                Records::Messages(_, records) => records.clone(),
                Records::Batch(..) => Vec::new(),
            };
            table.messages.iter().flat_map(records).collect()
        })
    }

    pub(crate) fn row_count(&self, name: &str) -> u64 {
        self.tables().get(name).map_or(0, |table| table.rows)
    }

    /// How often each value of a column is there, written as JSON.
    pub(crate) fn keys(&self, name: &str, column: &str) -> BTreeMap<String, u64> {
        let mut keys = BTreeMap::new();
        let tables = self.tables();
        for message in tables.get(name).iter().flat_map(|table| &table.messages) {
            let columns = message.records.columns();
            let Some((place, field)) = columns.iter().enumerate().find(|(_, field)| field.name == column) else {
                continue;
            };
            for row in message.records.rows() {
                let Some(slot) = row.get(place) else { continue };
                let key = crate::json::as_json(&field.kind, slot.as_ref());
                let key = if let Json::String(text) = key { text } else { key.to_string() };
                *keys.entry(key).or_default() += 1;
            }
        }
        keys
    }

    /// Forgets all rows; tables stay.
    pub(crate) fn clear(&self) {
        let mut tables = self.tables();
        for table in tables.values_mut() {
            table.messages.clear();
            table.rows = 0;
        }
        self.kept.store(0, Ordering::Relaxed);
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Store").finish_non_exhaustive()
    }
}

pub(crate) fn read_columns(columns: &[Column]) -> Result<Vec<UcField>, String> {
    let read = |column: &Column| {
        let kind = UcType::parse(&column.type_text).map_err(|reason| format!("column `{}`: {reason}", column.name))?;
        Ok(UcField { name: column.name.clone(), kind, nullable: column.nullable })
    };
    columns.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use prost_types::field_descriptor_proto::{Label, Type};
    use prost_types::{DescriptorProto, FieldDescriptorProto};

    use super::*;

    #[test]
    fn records_have_a_weight_even_where_they_are_empty() {
        let field = FieldDescriptorProto {
            name: Some("id".to_owned()),
            number: Some(1),
            label: Some(Label::Optional.into()),
            r#type: Some(Type::Int64.into()),
            ..FieldDescriptorProto::default()
        };
        let descriptor =
            DescriptorProto { name: Some("M".to_owned()), field: vec![field], ..DescriptorProto::default() };
        let columns = read_columns(&[Column::new("id", "BIGINT")]).unwrap();
        let plan = Arc::new(MessagePlan::new(&descriptor, &columns).unwrap());
        let store = Store { most_kept: 100_000, ..Store::new(None) };
        let mut messages = 0;
        let refusal = loop {
            let records = Records::Messages(Arc::clone(&plan), vec![Bytes::new(); 100]);
            let weight = records.weight(0);
            if let Err(refusal) = store.check_room(weight) {
                break refusal;
            }
            let message = StoredMessage { stream_id: "s".into(), offset: messages, time: 0.0, records };
            store.append("t", message, Some(weight));
            messages += 1;
        };
        assert!((10..40).contains(&messages), "{messages}");
        assert!(refusal.contains("of at most 100000") && refusal.contains("`keep_rows`"), "{refusal}");
        store.clear();
        assert_eq!(store.check_room(100_000), Ok(()));
    }
}
