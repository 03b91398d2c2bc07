//! Scripted faults: which request is disturbed, and how.

use std::sync::{Mutex, PoisonError};

use serde::de::{Deserializer, Error, Unexpected};
use serde::{Deserialize, Serialize, Serializer};

use crate::settings::{self, SettingsError};

/// One fault: the requests it waits for and what it does to them.
///
/// The first rule that matches a request and is not used up disturbs it, and no other does. As JSON:
///
/// ```
/// use seakernel_local::FaultRule;
///
/// let rules = FaultRule::list_from_json(r#"[
///     {"on": "execute", "statement_contains": "FROM t", "do": {"status": {"code": 503, "retry_after": 1}}},
///     {"on": "download", "chunk_index": 3, "after": 1, "times": "always", "do": {"truncate": {"bytes": 1000}}},
///     {"on": "poll", "do": "drop_before_response"}
/// ]"#).unwrap();
/// assert_eq!(rules.len(), 3);
/// let error = FaultRule::list_from_json(r#"[{"on": "poll", "do": {"delay": {"sec": 1}}}]"#).unwrap_err();
/// assert_eq!(error.key, "[0].do.delay.sec");
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// The operation to disturb.
    pub on: Operation,
    /// Only the chunk with this index (of `chunk` and `download`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_index: Option<u64>,
    /// Only statements whose SQL contains this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement_contains: Option<String>,
    /// Only requests for tokens by this `grant_type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_type: Option<String>,
    /// Matches to let pass first. Default 0.
    #[serde(default)]
    pub after: u64,
    /// Matches to disturb: a number (default 1) or `"always"`.
    #[serde(default)]
    pub times: Times,
    /// What happens to the request.
    #[serde(rename = "do")]
    pub fault: Fault,
}

impl FaultRule {
    /// A rule that disturbs the next request of this kind.
    pub fn new(on: Operation, fault: Fault) -> Self {
        Self {
            on,
            chunk_index: None,
            statement_contains: None,
            grant_type: None,
            after: 0,
            times: Times::default(),
            fault,
        }
    }

    /// Narrows the rule to one chunk.
    #[must_use]
    pub fn chunk(mut self, chunk_index: u64) -> Self {
        self.chunk_index = Some(chunk_index);
        self
    }

    /// Narrows the rule to statements whose SQL contains `text`.
    #[must_use]
    pub fn containing(mut self, text: &str) -> Self {
        self.statement_contains = Some(text.to_owned());
        self
    }

    /// Narrows the rule to requests for tokens by this grant.
    #[must_use]
    pub fn granting(mut self, grant_type: &str) -> Self {
        self.grant_type = Some(grant_type.to_owned());
        self
    }

    /// Lets the first `matches` pass.
    #[must_use]
    pub fn after(mut self, matches: u64) -> Self {
        self.after = matches;
        self
    }

    /// Disturbs this many matches.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Times::AtMost(times);
        self
    }

    /// Disturbs every match.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.times = Times::Always;
        self
    }

    /// Reads a list of rules from a JSON array.
    ///
    /// # Errors
    /// An unknown key or a wrong value, named by its place.
    pub fn list_from_json(json: &str) -> Result<Vec<Self>, SettingsError> {
        settings::parse(json)
    }

    fn matches(&self, target: &Target<'_>) -> bool {
        self.on == target.operation
            && self.chunk_index.is_none_or(|index| target.chunk_index == Some(index))
            && self.statement_contains.as_deref().is_none_or(|text| target.sql.is_some_and(|sql| sql.contains(text)))
            && self.grant_type.as_deref().is_none_or(|grant_type| target.grant_type == Some(grant_type))
    }
}

/// What a request does; the `on` of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `POST .../sessions`.
    OpenSession,
    /// `DELETE .../sessions/{id}`.
    CloseSession,
    /// `POST .../statements`.
    Execute,
    /// `GET .../statements/{id}`.
    Poll,
    /// `POST .../statements/{id}/cancel`.
    Cancel,
    /// `DELETE .../statements/{id}`.
    CloseStatement,
    /// `GET .../statements/{id}/result/chunks/{n}`.
    Chunk,
    /// A request to the store.
    Download,
    /// The upload of a file to a volume. `truncate` drops the connection after that many bytes of it have come, and `slow`
    /// reads it slowly.
    VolumePut,
    /// The download of a file of a volume.
    VolumeGet,
    /// The deletion of a file of a volume.
    VolumeRemove,
    /// `GET /oidc/.well-known/...`.
    Discovery,
    /// `GET /oidc/jwks.json`.
    Jwks,
    /// `GET` and `POST /oidc/v1/authorize`, and the redirector to it.
    Authorize,
    /// `POST /oidc/v1/token`.
    Token,
    /// `GET /aad/auth`.
    AzureTenant,
    /// `POST /{tenant}/oauth2/token` and `POST /{tenant}/oauth2/v2.0/token`.
    AzureToken,
    /// `GET /metadata/identity/oauth2/token`.
    Imds,
}

/// How often a rule works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// This many times.
    AtMost(u64),
    /// Without end.
    Always,
}

impl Default for Times {
    fn default() -> Self {
        Self::AtMost(1)
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Number(u64),
            Word(String),
        }
        match Given::deserialize(deserializer) {
            Ok(Given::Number(number)) => Ok(Self::AtMost(number)),
            Ok(Given::Word(word)) if word == "always" => Ok(Self::Always),
            Ok(Given::Word(word)) => {
                Err(D::Error::invalid_value(Unexpected::Str(&word), &"a number of times or \"always\""))
            }
            Err(_) => Err(D::Error::custom("a number of times or \"always\" expected")),
        }
    }
}

impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AtMost(times) => times.serialize(serializer),
            Self::Always => serializer.serialize_str("always"),
        }
    }
}

/// What happens to a disturbed request.
///
/// `status`, `redirect`, `html` and `expire` are answered *instead of* the work: a statement disturbed so was never
/// run. All others happen *after* the work: the statement runs, only its answer suffers.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// An HTTP error. Without `body` the usual JSON error (XML at the store); `error_code` may be a number or a text.
    Status {
        /// The HTTP status.
        code: u16,
        /// The `Retry-After` header: seconds, or any text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<NumberOrText>,
        /// The `error_code` of the JSON body.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error_code: Option<NumberOrText>,
        /// The whole body.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// The answer comes late.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// The connection is closed instead of answering.
    DropBeforeResponse,
    /// The connection is closed after the response head.
    DropAfterHeaders,
    /// The connection is closed in the body, whose `Content-Length` is honest.
    Truncate {
        /// Bytes of the body that get through.
        bytes: u64,
    },
    /// The body stops coming, and the connection stays open for a minute.
    Stall {
        /// Bytes of the body that get through.
        bytes: u64,
    },
    /// The body ends early and `Content-Length` agrees.
    ShortBody {
        /// Bytes left of the body.
        bytes: u64,
    },
    /// Bytes of the body are changed.
    Corrupt {
        /// The first byte changed; chosen by `seed` when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
        /// Bytes changed. Default 1.
        #[serde(default = "one")]
        count: u64,
        /// Seeds the choice of bytes. Default 0.
        #[serde(default)]
        seed: u64,
    },
    /// The body is followed by blanks, which leaves JSON valid.
    Padded {
        /// Blanks; at most 1 GiB of them.
        bytes: u64,
    },
    /// The body is valid and lacks its last rows (Arrow and JSON bodies).
    MissingRows {
        /// Rows missing.
        rows: u64,
    },
    /// The body is valid and repeats rows past its end (Arrow and JSON bodies).
    SurplusRows {
        /// Rows too many.
        rows: u64,
    },
    /// The body is valid and its first column has another type and no values (Arrow bodies).
    OtherType,
    /// The body of another chunk of the statement.
    WrongChunk {
        /// The index of the chunk served instead.
        index: u64,
    },
    /// The store says the link has expired.
    Expire,
    /// A redirect.
    Redirect {
        /// The HTTP status. Default 307.
        #[serde(default = "temporary_redirect")]
        status: u16,
        /// The `Location` header.
        location: String,
    },
    /// HTTP 200 with a login page instead of data.
    Html,
    /// The body comes slowly.
    Slow {
        /// Its pace.
        bytes_per_second: std::num::NonZeroU32,
    },
}

/// A JSON number or text, kept as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum NumberOrText {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

impl From<i64> for NumberOrText {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

fn one() -> u64 {
    1
}

fn temporary_redirect() -> u16 {
    307
}

impl Fault {
    /// The fault's name, as in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Delay { .. } => "delay",
            Self::DropBeforeResponse => "drop_before_response",
            Self::DropAfterHeaders => "drop_after_headers",
            Self::Truncate { .. } => "truncate",
            Self::Stall { .. } => "stall",
            Self::ShortBody { .. } => "short_body",
            Self::Corrupt { .. } => "corrupt",
            Self::Padded { .. } => "padded",
            Self::MissingRows { .. } => "missing_rows",
            Self::SurplusRows { .. } => "surplus_rows",
            Self::OtherType => "other_type",
            Self::WrongChunk { .. } => "wrong_chunk",
            Self::Expire => "expire",
            Self::Redirect { .. } => "redirect",
            Self::Html => "html",
            Self::Slow { .. } => "slow",
        }
    }
}

/// What is known of a request when a fault is chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'request> {
    pub(crate) operation: Operation,
    pub(crate) chunk_index: Option<u64>,
    pub(crate) sql: Option<&'request str>,
    pub(crate) grant_type: Option<&'request str>,
}

/// The rules in force, with the matches each has seen.
#[derive(Debug, Default)]
pub(crate) struct FaultTable {
    rules: Mutex<Vec<(FaultRule, u64)>>,
}

impl FaultTable {
    pub(crate) fn new(rules: Vec<FaultRule>) -> Self {
        let table = Self::default();
        table.replace(rules);
        table
    }

    /// Puts `rules` in the place of all others; counting starts anew.
    pub(crate) fn replace(&self, rules: Vec<FaultRule>) {
        let rules = rules.into_iter().map(|rule| (rule, 0)).collect();
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// Chooses the fault for a request and counts the match.
    pub(crate) fn choose(&self, target: &Target<'_>) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        for (rule, matches) in rules.iter_mut().filter(|(rule, _)| rule.matches(target)) {
            let place = *matches;
            *matches += 1;
            let in_time = match rule.times {
                Times::Always => true,
                Times::AtMost(times) => place < rule.after.saturating_add(times),
            };
            if place >= rule.after && in_time {
                return Some(rule.fault.clone());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn download(chunk_index: u64) -> Target<'static> {
        Target {
            operation: Operation::Download,
            chunk_index: Some(chunk_index),
            sql: Some("SELECT 1"),
            grant_type: None,
        }
    }

    #[test]
    fn a_rule_skips_then_disturbs_then_rests() {
        let table = FaultTable::new(vec![FaultRule::new(Operation::Download, Fault::Html).chunk(2).after(1).times(2)]);
        let disturbed: Vec<bool> = (0..5).map(|_| table.choose(&download(2)).is_some()).collect();
        assert_eq!(disturbed, [false, true, true, false, false]);
        assert_eq!(table.choose(&download(1)), None);
    }

    #[test]
    fn the_next_rule_takes_over_when_the_first_is_used_up() {
        let table = FaultTable::new(vec![
            FaultRule::new(Operation::Download, Fault::Html),
            FaultRule::new(Operation::Download, Fault::Expire).containing("SELECT").always(),
            FaultRule::new(Operation::Poll, Fault::DropBeforeResponse),
        ]);
        assert_eq!(table.choose(&download(0)), Some(Fault::Html));
        assert_eq!(table.choose(&download(0)), Some(Fault::Expire));
        assert_eq!(table.choose(&download(0)), Some(Fault::Expire));
    }

    #[test]
    fn every_fault_reads_back_from_its_json() {
        for json in [
            r#"{"status":{"code":429,"retry_after":1,"error_code":429,"body":"slow down"}}"#,
            r#"{"status":{"code":503,"retry_after":"Fri, 21 Nov 2026 11:00:00 GMT"}}"#,
            r#"{"delay":{"ms":5}}"#,
            r#""drop_before_response""#,
            r#""drop_after_headers""#,
            r#"{"truncate":{"bytes":10}}"#,
            r#"{"stall":{"bytes":10}}"#,
            r#"{"short_body":{"bytes":10}}"#,
            r#"{"corrupt":{"count":1,"seed":7}}"#,
            r#"{"padded":{"bytes":10}}"#,
            r#"{"missing_rows":{"rows":1}}"#,
            r#"{"surplus_rows":{"rows":1}}"#,
            r#""other_type""#,
            r#"{"wrong_chunk":{"index":1}}"#,
            r#""expire""#,
            r#"{"redirect":{"status":302,"location":"/login.html"}}"#,
            r#""html""#,
            r#"{"slow":{"bytes_per_second":1000}}"#,
        ] {
            let fault: Fault = settings::parse(json).unwrap();
            assert_eq!(serde_json::to_string(&fault).unwrap(), json);
            assert!(json.contains(fault.name()));
        }
    }

    #[test]
    fn errors_name_the_place() {
        for (json, key) in [
            (r#"[{"on":"poll","do":"html","time":2}]"#, "[0].time"),
            (r#"[{"on":"poll","do":"html","times":"often"}]"#, "[0].times"),
            (r#"[{"on":"pol","do":"html"}]"#, "[0].on"),
            (r#"[{"on":"poll","do":{"status":{"code":"x"}}}]"#, "[0].do.status.code"),
        ] {
            assert_eq!(FaultRule::list_from_json(json).unwrap_err().key, key, "{json}");
        }
    }
}
