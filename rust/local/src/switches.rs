//! What may be changed while the server runs: the shapes of its answers.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};

use serde::de::{Deserializer, Error, Unexpected};
use serde::{Deserialize, Serialize, Serializer};

use crate::settings::{self, SettingsError};

/// The shapes of the answers; as JSON, an object of the field names, every one optional.
///
/// A switch that shapes bodies (framing, surplus rows, inline chunks, empty results) works on statements that finish
/// after it was set; the others work at once.
///
/// | key | values (default first) | effect |
/// |---|---|---|
/// | `external_links_per_response` | `1`, n, `"all"` | links per answer under `EXTERNAL_LINKS` |
/// | `hybrid_links_per_response` | `"all"`, n | links per answer under `INLINE_OR_EXTERNAL_LINKS` |
/// | `next_chunk_index` | `"link"`, `"link_and_top"`, `"top"` | where it stands in answers with links |
/// | `null_next_chunk_index` | `false` | the last chunk carries `null` instead of nothing |
/// | `total_chunk_count`, `total_row_count` | `"exact"`, `"absent"`, `"zero"`, `"too_small"`, `"too_large"` | the manifest's totals |
/// | `manifest_chunks` | `"exact"`, `"absent"`, `"partial"`, `"wrong"` | the manifest's `chunks` |
/// | `byte_count` | `"compressed"`, `"uncompressed"`, `"absent"`, `"wrong"` | of links; the manifest's are always uncompressed |
/// | `link_lifetime_seconds` | `899`, fractions allowed | when links expire |
/// | `link_headers` | `{}` | `http_headers` of links, demanded by the store |
/// | `volume_headers` | `{"x-ms-blob-type": "BlockBlob"}` | `headers` of `PUT`, `GET` and `REMOVE`, demanded by the store |
/// | `volume_headers_form` | `"json"`, `"map"` | that column is text or a map |
/// | `volume_rows` | `1` | rows of the answer to `PUT`, `GET` and `REMOVE` |
/// | `strict_row_offset` | `false` | a chunk call without `row_offset` is 400 (a wrong one always is) |
/// | `hybrid_supported` | `true` | false: `INLINE_OR_EXTERNAL_LINKS` is 400 |
/// | `close_with_result` | `false` | a complete inline result comes with state `CLOSED` and is gone |
/// | `inline_chunks` | `1`, n | pieces an inline result is cut into |
/// | `empty_result` | `"no_chunk"`, `"schema_only"` | a result without rows: nothing, or one chunk of zero rows |
/// | `surplus_rows` | `0` | rows in each Arrow body past its `row_count` |
/// | `lz4_framing` | `"per_message"`, `"single"`, `"empty_frame_inside"` | frames per body |
/// | `lz4_checksums` | `false` | block and content checksums |
/// | `lz4_ignored` | `false` | bodies stay uncompressed though LZ4 was asked for |
/// | `sql_state` | `"status"`, `"error"`, `"message_only"` | where a failed statement tells its SQLSTATE |
/// | `result_cache` | `false` | an identical read re-serves the encoded bodies of the last one |
/// | `pending_answers`, `running_answers` | `0` | answers about a statement that say so before the truth is told |
/// | `oauth_lifetime_seconds` | `3600` | of access tokens, those of Entra too |
/// | `oauth_token_format` | `"jwt"`, `"opaque"` | of access tokens |
/// | `oauth_expires_in` | `"number"`, `"text"`, `"absent"` | how the token endpoint tells the lifetime |
/// | `oauth_rotate_refresh_tokens` | `false` | a refresh token works once and is replaced |
/// | `oauth_callback` | `"redirect"`, `"wrong_state"`, `"no_state"`, `"server_error"`, `"silent"` | what the browser is sent back with |
/// | `cloud` | `"aws"`, `"azure"`, `"gcp"` | how the store words its refusals |
/// | `warehouse_state` | `"RUNNING"`, `"STOPPED"`, `"STARTING"`, `"STOPPING"` | what `GET .../warehouses/{id}` says; statements run all the same |
/// | `ignore_range` | `false` | the store answers 200 with everything to a `Range` |
/// | `api_delay_ms`, `store_first_byte_ms` | `0` | latency added to every answer |
/// | `store_bytes_per_second` | `null` | pace of each body from the store |
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "switches, each on or off by itself")]
pub struct Switches {
    /// Links per answer under `EXTERNAL_LINKS`.
    pub external_links_per_response: LinkCount,
    /// Links per answer under `INLINE_OR_EXTERNAL_LINKS`.
    pub hybrid_links_per_response: LinkCount,
    /// Where `next_chunk_index` stands in answers with links.
    pub next_chunk_index: NextChunkIndex,
    /// The last chunk carries `"next_chunk_index": null`.
    pub null_next_chunk_index: bool,
    /// The manifest's `total_chunk_count`.
    pub total_chunk_count: Announced,
    /// The manifest's `total_row_count`.
    pub total_row_count: Announced,
    /// The manifest's `chunks`.
    pub manifest_chunks: ManifestChunks,
    /// The `byte_count` of links.
    pub byte_count: ByteCount,
    /// Seconds from issue to expiry of a link.
    pub link_lifetime_seconds: f64,
    /// Headers that links carry and the store demands.
    pub link_headers: BTreeMap<String, String>,
    /// Headers that links to files of volumes carry and the store demands.
    pub volume_headers: BTreeMap<String, String>,
    /// The form in which a statement about a file tells them.
    pub volume_headers_form: VolumeHeaders,
    /// Rows of the answer to a statement about a file; a client must insist on one.
    pub volume_rows: usize,
    /// A chunk call must carry `row_offset`.
    pub strict_row_offset: bool,
    /// `INLINE_OR_EXTERNAL_LINKS` is accepted.
    pub hybrid_supported: bool,
    /// A complete inline result closes its statement.
    pub close_with_result: bool,
    /// Pieces an inline result is cut into.
    pub inline_chunks: NonZeroUsize,
    /// The shape of a result without rows.
    pub empty_result: EmptyResult,
    /// Rows in each Arrow body past its `row_count`.
    pub surplus_rows: usize,
    /// How bodies are cut into LZ4 frames.
    pub lz4_framing: Lz4Framing,
    /// LZ4 frames carry block and content checksums.
    pub lz4_checksums: bool,
    /// Bodies stay uncompressed though LZ4 was asked for.
    pub lz4_ignored: bool,
    /// Where a failed statement tells its SQLSTATE.
    pub sql_state: SqlStatePlace,
    /// An identical read re-serves encoded bodies while nothing else was run.
    pub result_cache: bool,
    /// Answers about a statement that say `PENDING` first.
    pub pending_answers: u32,
    /// Answers about a statement that then say `RUNNING`.
    pub running_answers: u32,
    /// Lifetime of OAuth tokens.
    pub oauth_lifetime_seconds: u32,
    /// What OAuth tokens look like.
    pub oauth_token_format: OauthTokenFormat,
    /// How the token endpoint tells their lifetime.
    pub oauth_expires_in: ExpiresIn,
    /// A refresh token is replaced when it is used.
    pub oauth_rotate_refresh_tokens: bool,
    /// How a sign-in in a browser ends.
    pub oauth_callback: OauthCallback,
    /// Whose words the store uses.
    pub cloud: Cloud,
    /// The state that the description of the warehouse tells.
    pub warehouse_state: WarehouseState,
    /// The store does not do ranges.
    pub ignore_range: bool,
    /// Milliseconds before every API answer.
    pub api_delay_ms: u64,
    /// Milliseconds before every storage answer.
    pub store_first_byte_ms: u64,
    /// Pace of each body from the store.
    pub store_bytes_per_second: Option<NonZeroU32>,
}

impl Switches {
    /// Reads switches from a JSON object; keys left out have their default.
    ///
    /// # Errors
    /// An unknown key or a wrong value, named by its place.
    pub fn from_json(json: &str) -> Result<Self, SettingsError> {
        settings::parse_object(json)
    }
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            external_links_per_response: LinkCount::AtMost(NonZeroUsize::MIN),
            hybrid_links_per_response: LinkCount::All,
            next_chunk_index: NextChunkIndex::Link,
            null_next_chunk_index: false,
            total_chunk_count: Announced::Exact,
            total_row_count: Announced::Exact,
            manifest_chunks: ManifestChunks::Exact,
            byte_count: ByteCount::Compressed,
            link_lifetime_seconds: 899.0,
            link_headers: BTreeMap::new(),
            volume_headers: BTreeMap::from([("x-ms-blob-type".to_owned(), "BlockBlob".to_owned())]),
            volume_headers_form: VolumeHeaders::Json,
            volume_rows: 1,
            strict_row_offset: false,
            hybrid_supported: true,
            close_with_result: false,
            inline_chunks: NonZeroUsize::MIN,
            empty_result: EmptyResult::NoChunk,
            surplus_rows: 0,
            lz4_framing: Lz4Framing::PerMessage,
            lz4_checksums: false,
            lz4_ignored: false,
            sql_state: SqlStatePlace::Status,
            result_cache: false,
            pending_answers: 0,
            running_answers: 0,
            oauth_lifetime_seconds: 3600,
            oauth_token_format: OauthTokenFormat::Jwt,
            oauth_expires_in: ExpiresIn::Number,
            oauth_rotate_refresh_tokens: false,
            oauth_callback: OauthCallback::Redirect,
            cloud: Cloud::Aws,
            warehouse_state: WarehouseState::Running,
            ignore_range: false,
            api_delay_ms: 0,
            store_first_byte_ms: 0,
            store_bytes_per_second: None,
        }
    }
}

/// Links per answer: a number or `"all"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkCount {
    /// This many, or fewer at the end.
    AtMost(NonZeroUsize),
    /// All that remain.
    All,
}

impl<'de> Deserialize<'de> for LinkCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Number(i64),
            Word(String),
        }
        let expected = &"a number of links above 0, or \"all\"";
        match Given::deserialize(deserializer)? {
            Given::Word(word) if word == "all" => Ok(Self::All),
            Given::Word(word) => Err(D::Error::invalid_value(Unexpected::Str(&word), expected)),
            Given::Number(number) => usize::try_from(number)
                .ok()
                .and_then(NonZeroUsize::new)
                .map(Self::AtMost)
                .ok_or_else(|| D::Error::invalid_value(Unexpected::Signed(number), expected)),
        }
    }
}

impl Serialize for LinkCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AtMost(count) => count.serialize(serializer),
            Self::All => serializer.serialize_str("all"),
        }
    }
}

/// Where `next_chunk_index` stands in answers with links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NextChunkIndex {
    /// On every link, as recorded.
    Link,
    /// On every link, and beside the links for the whole answer.
    LinkAndTop,
    /// Beside the links only.
    Top,
}

/// How truthfully a total is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Announced {
    /// As it is.
    Exact,
    /// Not at all.
    Absent,
    /// As 0.
    Zero,
    /// One less, if that is possible.
    TooSmall,
    /// Seven more.
    TooLarge,
}

impl Announced {
    /// The number to announce for `truth`.
    pub(crate) fn announce(self, truth: u64) -> Option<u64> {
        match self {
            Self::Exact => Some(truth),
            Self::Absent => None,
            Self::Zero => Some(0),
            Self::TooSmall => Some(truth.saturating_sub(1)),
            Self::TooLarge => Some(truth + 7),
        }
    }
}

/// The manifest's list of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ManifestChunks {
    /// Every chunk.
    Exact,
    /// No list.
    Absent,
    /// The first half, as some servers do for large results.
    Partial,
    /// Every chunk but one in the middle, whose rows are counted to the one before it.
    Wrong,
}

/// What the `byte_count` of a link means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ByteCount {
    /// The body as downloaded (servers since 2025).
    Compressed,
    /// The Arrow bytes in it (servers of 2024).
    Uncompressed,
    /// Left out.
    Absent,
    /// A number that is neither.
    Wrong,
}

/// The state of the warehouse as its description tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WarehouseState {
    /// It takes statements at once.
    Running,
    /// The next statement starts it.
    Stopped,
    /// Statements wait until it has started.
    Starting,
    /// It is on its way to `STOPPED`.
    Stopping,
}

/// The shape of a result without rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyResult {
    /// A manifest with columns and an empty result object.
    NoChunk,
    /// One chunk of zero rows.
    SchemaOnly,
}

/// How a body is cut into LZ4 frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lz4Framing {
    /// Schema, every batch and the end marker are frames of their own, as recorded.
    PerMessage,
    /// One frame, as recorded for the largest chunks.
    Single,
    /// Like `PerMessage`, with a frame of zero bytes after the schema.
    EmptyFrameInside,
}

/// Where a failed statement tells its SQLSTATE besides the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SqlStatePlace {
    /// In `status`, as documented.
    Status,
    /// In `status.error`.
    Error,
    /// Nowhere else, as recorded in 2024.
    MessageOnly,
}

/// Whose words the store uses to refuse a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cloud {
    /// Expired is 403 `AccessDenied`.
    Aws,
    /// Expired is 403 `AuthenticationFailed`.
    Azure,
    /// Expired is 400 `ExpiredToken`.
    Gcp,
}

/// How a statement about a file tells the headers of its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeHeaders {
    /// As the text of a JSON object.
    Json,
    /// As a map.
    Map,
}

/// What an access token looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OauthTokenFormat {
    /// A signed token with claims.
    Jwt,
    /// A text that says nothing.
    Opaque,
}

/// How the token endpoint tells the lifetime of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiresIn {
    /// As a number of seconds.
    Number,
    /// As a text of that number, a habit of Entra.
    Text,
    /// Not at all.
    Absent,
}

/// How a sign-in in a browser ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OauthCallback {
    /// The browser is sent back to the client with the outcome.
    Redirect,
    /// The same, with a state that is not the client's.
    WrongState,
    /// The same, without a state.
    NoState,
    /// The browser is sent back with `error=server_error`.
    ServerError,
    /// The browser stays where it is.
    Silent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_is_the_default_and_round_trips() {
        let switches = Switches::from_json("{}").unwrap();
        assert_eq!(switches, Switches::default());
        assert_eq!(Switches::from_json(&serde_json::to_string(&switches).unwrap()).unwrap(), switches);
    }

    #[test]
    fn a_typo_or_a_wrong_value_is_an_error_that_names_the_key() {
        for (json, key, reason) in [
            (r#"{"link_lifetime": 1}"#, "link_lifetime", "unknown field `link_lifetime`"),
            (r#"{"hybrid_links_per_response": 0}"#, "hybrid_links_per_response", "above 0, or \"all\""),
            (r#"{"hybrid_links_per_response": "some"}"#, "hybrid_links_per_response", "above 0, or \"all\""),
            (r#"{"cloud": "mars"}"#, "cloud", "unknown variant `mars`"),
            (r#"{"inline_chunks": 0}"#, "inline_chunks", "nonzero"),
            (r"{} x", ".", "trailing"),
            ("[]", ".", "an object expected"),
        ] {
            let error = Switches::from_json(json).unwrap_err();
            assert_eq!(error.key, key, "{json}");
            assert!(error.reason.contains(reason), "{error}");
        }
    }
}
