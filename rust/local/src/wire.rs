//! The JSON of the API, as the public reference and recorded exchanges name it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// `POST .../sessions`. Unknown fields are ignored, as everywhere.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OpenSession {
    pub(crate) warehouse_id: Option<String>,
    pub(crate) catalog: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) session_confs: Option<BTreeMap<String, Value>>,
}

#[derive(Debug, Serialize)]
pub(crate) struct SessionOpened<'session> {
    pub(crate) session_id: &'session str,
}

/// The body some clients send with `DELETE .../sessions/{id}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CloseSession {
    pub(crate) warehouse_id: Option<String>,
}

/// `POST .../statements`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Execute {
    pub(crate) statement: Option<String>,
    pub(crate) warehouse_id: Option<String>,
    pub(crate) session_id: Option<String>,
    pub(crate) catalog: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) parameters: Option<Vec<Parameter>>,
    pub(crate) row_limit: Option<i64>,
    pub(crate) byte_limit: Option<i64>,
    pub(crate) disposition: Option<String>,
    pub(crate) format: Option<String>,
    pub(crate) result_compression: Option<String>,
    pub(crate) wait_timeout: Option<String>,
    pub(crate) on_wait_timeout: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Parameter {
    pub(crate) name: Option<String>,
    pub(crate) ordinal: Option<u32>,
    #[serde(rename = "type")]
    pub(crate) type_text: Option<String>,
    pub(crate) value: Option<Value>,
}

/// The answer to a submission and to a poll.
#[derive(Debug, Serialize)]
pub(crate) struct StatementResponse<'result> {
    pub(crate) statement_id: &'result str,
    pub(crate) status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<Manifest<'result>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<ResultData<'result>>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Status {
    pub(crate) state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<StatusError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sql_state: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct StatusError {
    pub(crate) error_code: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sql_state: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Manifest<'result> {
    pub(crate) format: &'static str,
    pub(crate) schema: ManifestSchema<'result>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total_chunk_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chunks: Option<Vec<ChunkInfo>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total_row_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total_byte_count: Option<u64>,
    pub(crate) truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) result_compression: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) is_volume_operation: Option<bool>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ManifestSchema<'result> {
    pub(crate) column_count: usize,
    /// Left out when there are none, as recorded.
    #[serde(skip_serializing_if = "<[ColumnInfo]>::is_empty")]
    pub(crate) columns: &'result [ColumnInfo],
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ColumnInfo {
    pub(crate) name: String,
    pub(crate) type_text: String,
    pub(crate) type_name: &'static str,
    pub(crate) position: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) type_precision: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) type_scale: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) type_interval_type: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ChunkInfo {
    pub(crate) chunk_index: usize,
    pub(crate) row_offset: u64,
    pub(crate) row_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) byte_count: Option<u64>,
}

/// What an answer says about the chunk after its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum NextChunk {
    #[default]
    LeftOut,
    Null,
    Index(usize),
}

impl NextChunk {
    fn is_left_out(&self) -> bool {
        *self == Self::LeftOut
    }
}

/// The `result` object, and the whole body of a chunk call.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ResultData<'result> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chunk_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) row_offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) row_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) byte_count: Option<u64>,
    #[serde(skip_serializing_if = "NextChunk::is_left_out")]
    pub(crate) next_chunk_index: NextChunk,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_chunk_internal_link: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data_array: Option<&'result RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attachment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) external_links: Option<Vec<ExternalLink>>,
}

#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the API's own name")]
pub(crate) struct ExternalLink {
    pub(crate) chunk_index: usize,
    pub(crate) row_offset: u64,
    pub(crate) row_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) byte_count: Option<u64>,
    #[serde(skip_serializing_if = "NextChunk::is_left_out")]
    pub(crate) next_chunk_index: NextChunk,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_chunk_internal_link: Option<String>,
    pub(crate) external_link: String,
    pub(crate) expiration: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) http_headers: BTreeMap<String, String>,
}

/// The body of every HTTP error of the API.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorBody<'error> {
    pub(crate) error_code: Value,
    pub(crate) message: &'error str,
}
