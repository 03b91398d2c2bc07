//! The JSON of the Statement Execution API, field for field. Unknown fields are ignored and every one may be absent,
//! because warehouses leave out what is empty or zero.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::auth::Secret;

#[derive(Debug, Serialize)]
pub(crate) struct CreateSessionRequest<'a> {
    pub(crate) warehouse_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) catalog: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) session_confs: &'a BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct CreateSessionResponse {
    pub(crate) session_id: String,
    /// Holds a `version_id`; not in the public reference, and only repeated in later requests.
    pub(crate) session_version: Option<Value>,
}

#[derive(Serialize)]
pub(crate) struct ExecuteStatementRequest<'a> {
    pub(crate) warehouse_id: &'a str,
    pub(crate) session_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_version: Option<&'a Value>,
    pub(crate) statement: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) parameters: Vec<StatementParameter<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) row_limit: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) query_tags: Vec<QueryTag<'a>>,
    pub(crate) disposition: &'static str,
    pub(crate) format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) result_compression: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wait_timeout: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) on_wait_timeout: Option<&'static str>,
}

#[derive(Serialize)]
pub(crate) struct QueryTag<'a> {
    pub(crate) key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<&'a str>,
}

#[derive(Serialize)]
pub(crate) struct StatementParameter<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ordinal: Option<usize>,
    #[serde(rename = "type")]
    pub(crate) sql_type: &'a str,
    pub(crate) value: Option<&'a str>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct StatementResponse {
    pub(crate) statement_id: String,
    pub(crate) status: StatementStatus,
    pub(crate) manifest: Option<Manifest>,
    pub(crate) result: Option<ResultData>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct StatementStatus {
    pub(crate) state: String,
    pub(crate) error: Option<ServiceError>,
    pub(crate) sql_state: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct ServiceError {
    pub(crate) error_code: Option<String>,
    pub(crate) message: Option<String>,
    /// One driver looks for it here; the documented place is beside `error`.
    pub(crate) sql_state: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: Option<String>,
    #[serde(default)]
    pub(crate) schema: ResultSchema,
    /// Deprecated counts (`total_chunk_count`) are not read at all, so that nothing can depend on them.
    pub(crate) total_row_count: Option<i64>,
    /// A hint for memory only, and often incomplete.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) chunks: Vec<ChunkInfo>,
    #[serde(default)]
    pub(crate) truncated: bool,
    pub(crate) result_compression: Option<String>,
    /// The rows have the columns of the older Thrift interface. In no public reference; the platform's drivers read it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) is_native_metadata_result: bool,
    /// The one row tells which file of a volume to transfer.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) is_volume_operation: bool,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct ResultSchema {
    /// Absent where there are no columns.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) columns: Vec<ColumnInfo>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct ColumnInfo {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) type_text: String,
    #[serde(default)]
    pub(crate) type_name: String,
    pub(crate) type_precision: Option<i64>,
    pub(crate) type_scale: Option<i64>,
    pub(crate) type_interval_type: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct ChunkInfo {
    #[serde(default)]
    pub(crate) chunk_index: i64,
    #[serde(default)]
    pub(crate) row_offset: i64,
    pub(crate) row_count: Option<i64>,
    /// Uncompressed size.
    pub(crate) byte_count: Option<i64>,
}

/// The `result` object of a statement, and the whole answer of the chunk endpoint.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ResultData {
    pub(crate) chunk_index: Option<i64>,
    pub(crate) row_count: Option<i64>,
    pub(crate) next_chunk_index: Option<i64>,
    pub(crate) data_array: Option<Vec<Vec<Option<String>>>>,
    pub(crate) attachment: Option<Attachment>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) external_links: Vec<ExternalLink>,
}

/// Base64 text of an inline result; rows are not for logs.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Attachment(pub(crate) String);

impl fmt::Debug for Attachment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Attachment({} characters)", self.0.len())
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct ExternalLink {
    #[serde(rename = "external_link", deserialize_with = "secret")]
    pub(crate) url: Secret,
    pub(crate) expiration: Option<String>,
    #[serde(default)]
    pub(crate) chunk_index: i64,
    #[serde(default)]
    pub(crate) row_offset: i64,
    pub(crate) row_count: Option<i64>,
    pub(crate) byte_count: Option<i64>,
    pub(crate) next_chunk_index: Option<i64>,
    /// Usually a decryption key: as secret as the link.
    #[serde(default, deserialize_with = "secrets")]
    pub(crate) http_headers: BTreeMap<String, Secret>,
}

fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    Ok(Secret::new(&String::deserialize(deserializer)?))
}

fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Secret>, D::Error> {
    let headers: Option<BTreeMap<String, String>> = Option::deserialize(deserializer)?;
    Ok(headers.unwrap_or_default().into_iter().map(|(name, value)| (name, Secret::new(&value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_rows_has_no_columns_key() {
        let text = r#"{"statement_id":"1","status":{"state":"SUCCEEDED"},"manifest":{"schema":{"column_count":0},
            "total_row_count":0,"truncated":false,"novel":1},"result":{}}"#;
        let response: StatementResponse = serde_json::from_str(text).unwrap();
        assert!(response.manifest.unwrap().schema.columns.is_empty());
        assert!(response.result.unwrap().external_links.is_empty());
    }

    #[test]
    fn zero_valued_and_null_fields_may_be_left_out() {
        let text = r#"{"external_links":[{"external_link":"https://s/?sig=canary","http_headers":{"k":"canary"}}],
            "attachment":null,"next_chunk_index":null}"#;
        let data: ResultData = serde_json::from_str(text).unwrap();
        let link = data.external_links.first().unwrap();
        assert_eq!((link.chunk_index, link.row_offset, link.row_count), (0, 0, None));
        assert!(!format!("{data:?}").contains("canary"));
        let none: ResultData = serde_json::from_str(r#"{"external_links":null}"#).unwrap();
        assert!(none.external_links.is_empty());
    }
}
