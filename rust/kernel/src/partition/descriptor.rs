//! Partitions as bytes.
//!
//! JSON with a version. Readers pass over fields they do not know, so that fields which may be ignored can be added; a
//! change that older readers must not pass over gets a new version, which they refuse.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow_buffer::Buffer;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::links::{LinksText, PartitionLinks};
use super::{Forms, Partition, Rows, Whole, presented};
use crate::auth::Credentials;
use crate::config::{SessionConfig, ValueForm};
use crate::error::{Error, ErrorKind, Result};
use crate::results::{ChunkHint, Compression};
use crate::schema::Column;
use crate::sea::is_id;

/// The version written; all up to it are read.
const VERSION: u64 = 1;
/// Largest descriptor accepted: a result of 64 MiB in it takes 86 MiB.
const MAX_BYTES: usize = 256 << 20;
/// Most chunks accepted; 64 are written.
const MAX_CHUNKS: usize = 1024;
/// Most columns accepted, for each is a field of two schemas.
const MAX_COLUMNS: usize = 1 << 14;
/// Longest names and types of all columns together.
const MAX_COLUMN_BYTES: usize = 4 << 20;
/// Most commas and brackets in the types of all columns: each may stand for a field within one.
const MAX_INNER_FIELDS: usize = 1 << 15;
/// Longest name of a time zone.
const MAX_ZONE_BYTES: usize = 256;

#[derive(Deserialize)]
struct Versioned {
    seakernel_partition: u64,
}

#[derive(Serialize, Deserialize)]
struct Descriptor {
    seakernel_partition: u64,
    statement_id: String,
    /// Scheme, host and port.
    server_hostname: String,
    http_path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sign_in: Option<String>,
    #[serde(deserialize_with = "at_most::<MAX_COLUMNS, _, _>")]
    columns: Vec<ColumnText>,
    time_zone: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result_compression: Option<String>,
    #[serde(default)]
    forms: FormNames,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    chunk_index: i64,
    row_offset: i64,
    row_count: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    byte_count: Option<i64>,
    /// Index, first row, rows and uncompressed bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "at_most::<MAX_CHUNKS, _, _>")]
    chunks: Vec<(i64, i64, Option<i64>, Option<u64>)>,
    /// An Arrow stream in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inline: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    links: Option<LinksText>,
}

#[derive(Serialize, Deserialize)]
struct ColumnText {
    name: String,
    type_text: String,
    type_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    type_precision: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    type_scale: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    type_interval_type: Option<String>,
}

/// Whether values are handed over as text.
#[derive(Serialize, Deserialize)]
struct FormNames {
    complex_types: FormName,
    intervals: FormName,
    geospatial: FormName,
    void: FormName,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FormName {
    Native,
    Text,
}

impl Default for FormNames {
    fn default() -> Self {
        let (complex_types, intervals, void) = (FormName::Native, FormName::Native, FormName::Native);
        Self { complex_types, intervals, geospatial: FormName::Text, void }
    }
}

impl From<ValueForm> for FormName {
    fn from(form: ValueForm) -> Self {
        match form {
            ValueForm::Native => Self::Native,
            ValueForm::Text => Self::Text,
        }
    }
}

impl From<FormName> for ValueForm {
    fn from(name: FormName) -> Self {
        match name {
            FormName::Native => Self::Native,
            FormName::Text => Self::Text,
        }
    }
}

impl From<Forms> for FormNames {
    fn from(forms: Forms) -> Self {
        Self {
            complex_types: forms.complex_types.into(),
            intervals: forms.intervals.into(),
            geospatial: forms.geospatial.into(),
            void: forms.void.into(),
        }
    }
}

impl From<FormNames> for Forms {
    fn from(names: FormNames) -> Self {
        Self {
            complex_types: names.complex_types.into(),
            intervals: names.intervals.into(),
            geospatial: names.geospatial.into(),
            void: names.void.into(),
        }
    }
}

impl From<&Column> for ColumnText {
    fn from(column: &Column) -> Self {
        let Column { name, type_text, type_name, type_precision, type_scale, type_interval_type } = column.clone();
        Self { name, type_text, type_name, type_precision, type_scale, type_interval_type }
    }
}

impl From<ColumnText> for Column {
    fn from(column: ColumnText) -> Self {
        let ColumnText { name, type_text, type_name, type_precision, type_scale, type_interval_type } = column;
        Self { name, type_text, type_name, type_precision, type_scale, type_interval_type }
    }
}

impl Partition {
    /// Writes the partition down, for [`Partition::from_bytes`] of this and later releases.
    pub fn to_bytes(&self) -> Vec<u8> {
        let whole = &self.whole;
        let (chunks, inline) = match &self.rows {
            Rows::Chunks(chunks) => (&**chunks, None),
            Rows::Inline(content) => (&[][..], Some(BASE64_STANDARD.encode(content.as_slice()))),
        };
        let chunk = |chunk: &ChunkHint| {
            let bytes = chunk.byte_count.and_then(|bytes| u64::try_from(bytes).ok());
            (chunk.chunk_index, chunk.row_offset, chunk.row_count, bytes)
        };
        let descriptor = Descriptor {
            seakernel_partition: VERSION,
            statement_id: whole.statement_id.clone(),
            server_hostname: self.server_hostname().to_owned(),
            http_path: self.http_path(),
            sign_in: whole.sign_in.clone(),
            columns: whole.columns.iter().map(ColumnText::from).collect(),
            time_zone: whole.time_zone.to_string(),
            result_compression: match whole.compression {
                Compression::None => None,
                Compression::Lz4Frame => Some("LZ4_FRAME".to_owned()),
            },
            forms: whole.forms.into(),
            sequence: self.sequence,
            chunk_index: self.chunk_index,
            row_offset: self.row_offset,
            row_count: self.row_count,
            byte_count: self.byte_count,
            chunks: chunks.iter().map(chunk).collect(),
            inline,
            links: self.links.as_ref().map(PartitionLinks::text),
        };
        // Plain structs, texts and numbers: there is no map with other keys that could fail.
        serde_json::to_vec(&descriptor).unwrap_or_default()
    }

    /// Reads what [`Partition::to_bytes`] of this or an older release has written. Takes up to ten times the memory of
    /// `bytes`, and 64 MiB for the schema.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for anything else, a later version included.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_BYTES {
            return Err(not_a_partition("it is too long"));
        }
        // The parser's own message could repeat parts of the text, and a link may be in it.
        let versioned: Versioned =
            serde_json::from_slice(bytes).map_err(|_| not_a_partition("it is no JSON with a version"))?;
        if !(1..=VERSION).contains(&versioned.seakernel_partition) {
            return Err(not_a_partition(&format!(
                "it is of version {}, and this release of seakernel reads up to {VERSION}; update the reader",
                versioned.seakernel_partition
            )));
        }
        let descriptor: Descriptor = serde_json::from_slice(bytes)
            .map_err(|error| not_a_partition(&format!("a field is wrong or missing at column {}", error.column())))?;
        Self::checked(descriptor)
    }

    fn checked(descriptor: Descriptor) -> Result<Self> {
        let Descriptor { statement_id, chunk_index, row_offset, row_count, byte_count, .. } = &descriptor;
        if !is_id(statement_id) {
            return Err(not_a_partition("the id of the statement is not usable"));
        }
        let is_range = |offset: i64, count: i64| offset >= 0 && count >= 0 && offset.checked_add(count).is_some();
        if *chunk_index < 0 || !is_range(*row_offset, *row_count) || byte_count.is_some_and(|bytes| bytes < 0) {
            return Err(not_a_partition("an index, offset or count is negative or too large"));
        }
        check_size(&descriptor.columns, &descriptor.time_zone)?;
        // The rules for hosts and paths are those of a session's; the credentials are not used.
        let place =
            SessionConfig::new(&descriptor.server_hostname, &descriptor.http_path, Credentials::access_token(""))
                .map_err(|error| not_a_partition("the host or the path is wrong").with_source(error))?;
        let columns: Vec<Column> = descriptor.columns.into_iter().map(Column::from).collect();
        let (time_zone, forms) = (Arc::from(descriptor.time_zone), Forms::from(descriptor.forms));
        let whole = Whole {
            statement_id: descriptor.statement_id,
            host: place.host,
            warehouse_id: place.warehouse_id,
            organization_id: place.organization_id,
            sign_in: descriptor.sign_in,
            schema: presented(&columns, &time_zone, forms)
                .map_err(|error| not_a_partition("a column is wrong").with_source(error))?,
            columns,
            time_zone,
            compression: Compression::from_manifest(descriptor.result_compression.as_deref())?,
            forms,
        };
        let rows = match descriptor.inline {
            Some(text) => {
                let content = BASE64_STANDARD.decode(text).map_err(|_| not_a_partition("its rows are not base64"))?;
                Rows::Inline(Buffer::from_vec(content))
            }
            None => Rows::Chunks(chunks(descriptor.chunks)?),
        };
        Ok(Self {
            whole: Arc::new(whole),
            sequence: descriptor.sequence,
            chunk_index: descriptor.chunk_index,
            row_offset: descriptor.row_offset,
            row_count: descriptor.row_count,
            byte_count: descriptor.byte_count,
            rows,
            links: descriptor.links.map(PartitionLinks::of_text).transpose()?,
        })
    }
}

fn chunks(chunks: Vec<(i64, i64, Option<i64>, Option<u64>)>) -> Result<Arc<[ChunkHint]>> {
    let chunk = |(chunk_index, row_offset, row_count, byte_count): (i64, i64, Option<i64>, Option<u64>)| {
        if chunk_index < 0 || row_offset < 0 || row_count.is_some_and(|rows| rows < 0) {
            return Err(not_a_partition("an index, offset or count of a chunk is negative"));
        }
        let byte_count = byte_count.and_then(|bytes| usize::try_from(bytes).ok());
        Ok(ChunkHint { chunk_index, row_offset, row_count, byte_count })
    };
    chunks.into_iter().map(chunk).collect()
}

/// Refuses what would become far larger as a schema.
fn check_size(columns: &[ColumnText], time_zone: &str) -> Result<()> {
    let bytes: usize =
        columns.iter().map(|column| column.name.len() + column.type_text.len() + column.type_name.len()).sum();
    let inner: usize =
        columns.iter().map(|column| column.type_text.bytes().filter(|byte| b",<".contains(byte)).count()).sum();
    if bytes > MAX_COLUMN_BYTES || inner > MAX_INNER_FIELDS || time_zone.len() > MAX_ZONE_BYTES {
        return Err(not_a_partition("its columns or its time zone are too long"));
    }
    Ok(())
}

/// Reads a list of `MOST` items at most: a short text could stand for a lot of memory.
pub(super) fn at_most<'de, const MOST: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Items<const MOST: usize, T>(PhantomData<T>);

    impl<'de, const MOST: usize, T: Deserialize<'de>> Visitor<'de> for Items<MOST, T> {
        type Value = Vec<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "a list of at most {MOST}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = list.next_element()? {
                if items.len() == MOST {
                    return Err(A::Error::invalid_length(MOST + 1, &self));
                }
                items.push(item);
            }
            Ok(items)
        }
    }

    deserializer.deserialize_seq(Items::<MOST, T>(PhantomData))
}

fn not_a_partition(why: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("these bytes are not a partition: {why}"))
}
