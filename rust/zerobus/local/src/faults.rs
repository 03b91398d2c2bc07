//! Scripted faults: what is disturbed, when, and how.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use seakernel_local::Times;
use seakernel_local::settings::{self, SettingsError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::grpc::{Code, ErrorInfo};
use crate::options::{some_span, span};
use crate::store::Column;

/// One fault: what it waits for and what it does.
///
/// Of the rules of one kind, all that are due disturb the opening of a stream, and the first that is due anything else.
/// As JSON:
///
/// ```
/// use seakernel_zerobus_local::FaultRule;
///
/// let rules = FaultRule::list_from_json(r#"[
///     {"on": "open", "times": "always", "do": {"close": {"after_ms": 2000, "ms": 500}}},
///     {"on": "message", "after_records": 100, "do": {"status": {"code": "UNAVAILABLE"}}},
///     {"on": "message", "where": {"column": "id", "equals": 7}, "do": {"status": {"code": "INVALID_ARGUMENT"}}},
///     {"on": "ack", "probability": 0.1, "times": "always", "do": {"delay": {"ms": 50}}},
///     {"on": "token", "do": {"http": {"code": 503}}}
/// ]"#).unwrap();
/// assert_eq!(rules.len(), 5);
/// let error = FaultRule::list_from_json(r#"[{"on": "ack", "do": {"delay": {"sec": 1}}}]"#).unwrap_err();
/// assert_eq!(error.key, "[0].do.delay.sec");
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "GivenRule")]
pub struct FaultRule {
    /// What to disturb.
    pub on: Operation,
    /// Only this table; not of `connect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Only messages with such a record.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub holding: Option<Holding>,
    /// Matches to let pass first. Default 0.
    pub after: u64,
    /// Records of matching messages to let pass first. Default 0.
    pub after_records: u64,
    /// Matches to disturb: a number (default 1) or `"always"`.
    pub times: Times,
    /// The share of matches that are disturbed. Default 1.
    pub probability: f64,
    /// What happens.
    #[serde(rename = "do")]
    pub fault: Fault,
}

/// The rule as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenRule {
    on: Operation,
    #[serde(default)]
    table: Option<String>,
    #[serde(default, rename = "where")]
    holding: Option<Holding>,
    #[serde(default)]
    after: u64,
    #[serde(default)]
    after_records: u64,
    #[serde(default)]
    times: Times,
    #[serde(default = "certain")]
    probability: f64,
    #[serde(rename = "do")]
    fault: Fault,
}

impl TryFrom<GivenRule> for FaultRule {
    type Error = String;

    fn try_from(given: GivenRule) -> Result<Self, String> {
        let GivenRule { on, table, holding, after, after_records, times, probability, fault } = given;
        if !fault.can_happen_to(on) {
            return Err(format!("`{}` cannot happen to `{}`", word(&fault), word(&on)));
        }
        if !(0.0..=1.0).contains(&probability) {
            return Err(format!("probability `{probability}` is not between 0 and 1"));
        }
        if on != Operation::Message && (after_records > 0 || holding.is_some()) {
            return Err("`where` and `after_records` are for `message`".to_owned());
        }
        if on == Operation::Connect && table.is_some() {
            return Err("`connect` knows no `table`".to_owned());
        }
        Ok(Self { on, table, holding, after, after_records, times, probability, fault })
    }
}

/// The name of a variant in JSON.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        Ok(Value::Object(entries)) => entries.into_iter().next().map(|(word, _)| word).unwrap_or_default(),
        _ => String::new(),
    }
}

impl FaultRule {
    /// A rule that disturbs the next match.
    pub fn new(on: Operation, fault: Fault) -> Self {
        Self {
            on,
            table: None,
            holding: None,
            after: 0,
            after_records: 0,
            times: Times::default(),
            probability: 1.0,
            fault,
        }
    }

    /// Narrows the rule to one table.
    #[must_use]
    pub fn table(mut self, table: &str) -> Self {
        self.table = Some(table.to_owned());
        self
    }

    /// Narrows the rule to messages with a record whose column has this value.
    #[must_use]
    pub fn holding(mut self, column: &str, equals: impl Into<Value>) -> Self {
        self.holding = Some(Holding { column: column.to_owned(), equals: equals.into() });
        self
    }

    /// Lets the first `matches` pass.
    #[must_use]
    pub fn after(mut self, matches: u64) -> Self {
        self.after = matches;
        self
    }

    /// Lets messages pass until this many records have come in them.
    #[must_use]
    pub fn after_records(mut self, records: u64) -> Self {
        self.after_records = records;
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

    /// Disturbs this share of the matches.
    #[must_use]
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    /// Reads a list of rules from a JSON array.
    ///
    /// # Errors
    /// An unknown key or a wrong value, named by its place.
    pub fn list_from_json(json: &str) -> Result<Vec<Self>, SettingsError> {
        settings::parse(json)
    }
}

/// A record in which `column` is `equals`, as [`crate::StoredRow::values`] would have it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Holding {
    /// A column of the table.
    pub column: String,
    /// Its value.
    pub equals: Value,
}

/// What a rule waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A connection to the gRPC port.
    Connect,
    /// A call, once its headers have come.
    Open,
    /// A message with records, which could be stored.
    Message,
    /// An acknowledgement about to be sent.
    Ack,
    /// A request for a token, which could be granted.
    Token,
}

/// How a stream is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Break {
    /// The TCP connection is reset.
    #[default]
    Reset,
    /// The call ends with `UNAVAILABLE`.
    Unavailable,
    /// The call ends with `OK`.
    Ok,
}

/// What happens. Faults with `after_ms` on `open` strike that long after the stream was created.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The connection is reset as soon as it is there (`connect`).
    Refuse,
    /// No answer at all: nothing is read (`connect`), no headers are sent (`open`), nothing is answered (`token`), the
    /// acknowledgement is left out (`ack`).
    Silence,
    /// The headers (`open`), the acknowledgement (`ack`) or the answer (`token`) come late.
    Delay {
        /// Milliseconds.
        #[serde(deserialize_with = "span")]
        ms: u64,
    },
    /// The answer to the creation comes late (`open`).
    DelayAnswer {
        /// Milliseconds.
        #[serde(deserialize_with = "span")]
        ms: u64,
    },
    /// The answer to the creation has no `stream_id` (`open`); by Arrow Flight it does not say that all is ready.
    NoStreamId,
    /// The call ends with a status (`open`, `message`). Of a rule with `where` it is a bad record's: what was stored before may
    /// be acknowledged first ([`crate::Settings::acks_before_refusal`]).
    Status {
        /// The code.
        code: Code,
        /// The text. Default: one that names the fault.
        #[serde(default)]
        message: Option<String>,
        /// Details, such as the `error_code` 6006.
        #[serde(default)]
        error_info: Option<ErrorInfo>,
        /// The pause that the details ask for.
        #[serde(default)]
        #[serde(deserialize_with = "some_span")]
        retry_after_ms: Option<u64>,
        /// Whether the message is stored, though never acknowledged.
        #[serde(default)]
        stored: bool,
        /// Milliseconds from the creation of the stream (`open`).
        #[serde(default)]
        #[serde(deserialize_with = "span")]
        after_ms: u64,
    },
    /// The stream says that it will close (`open`, `message`); by Arrow Flight in `close_stream_duration_ms`.
    Close {
        /// Milliseconds that it announces; none of them leaves the duration out.
        #[serde(default)]
        #[serde(deserialize_with = "some_span")]
        ms: Option<u64>,
        /// Milliseconds after those at which the stream breaks, if the client has not ended it. Default 1000.
        #[serde(default = "second")]
        #[serde(deserialize_with = "span")]
        grace_ms: u64,
        /// How it breaks.
        #[serde(default)]
        then: Break,
        /// Milliseconds from the creation of the stream (`open`).
        #[serde(default)]
        #[serde(deserialize_with = "span")]
        after_ms: u64,
    },
    /// The stream breaks (`open`, `message`).
    Break {
        /// How.
        #[serde(default)]
        by: Break,
        /// Whether the message is stored, though never acknowledged.
        #[serde(default)]
        stored: bool,
        /// Bytes of the client's messages that come through (`open`).
        #[serde(default)]
        after_bytes: Option<u64>,
        /// Milliseconds from the creation of the stream (`open`).
        #[serde(default)]
        #[serde(deserialize_with = "span")]
        after_ms: u64,
    },
    /// The connection is told to go away (`open`, `message`).
    GoAway {
        /// Whether at once, with an error, or when its streams are over.
        #[serde(default)]
        abrupt: bool,
        /// Milliseconds from the creation of the stream (`open`).
        #[serde(default)]
        #[serde(deserialize_with = "span")]
        after_ms: u64,
    },
    /// Nothing is read any more (`open`, `message`).
    Stall {
        /// Milliseconds; without, for good.
        #[serde(default)]
        #[serde(deserialize_with = "some_span")]
        ms: Option<u64>,
    },
    /// The client's messages are read slowly (`open`).
    Slow {
        /// The pace.
        bytes_per_second: NonZeroU32,
    },
    /// The token is refused, now and whenever it comes again (`open`).
    RefuseToken {
        /// `UNAUTHENTICATED` or `PERMISSION_DENIED`. Default the former.
        #[serde(default = "unauthenticated")]
        code: Code,
    },
    /// The table has these columns from now on; one of the warehouse only for this stream, whose records are checked by them
    /// (`open`).
    Columns(Vec<Column>),
    /// Messages with more bytes of records are refused (`open`).
    Limit {
        /// Bytes.
        bytes: usize,
        /// Such as `RESOURCE_EXHAUSTED` or `OUT_OF_RANGE`.
        code: Code,
    },
    /// The acknowledgement waits until no message has come for a while, or the client is done (`ack`).
    WhenIdle {
        /// Milliseconds.
        #[serde(deserialize_with = "span")]
        ms: u64,
    },
    /// The acknowledgement is followed by the one before it (`ack`).
    Backwards,
    /// The acknowledgement is of offsets that were never sent (`ack`).
    Beyond {
        /// How far beyond the last. Default 1000.
        #[serde(default = "thousand")]
        by: i64,
    },
    /// The acknowledgement has no offset (`ack`).
    NoValue,
    /// The acknowledgement ends within a message, so many records before its end, as Arrow Flight alone can say (`ack`).
    Partial {
        /// Records that are left out; one of the message is acknowledged at least, if it has two.
        records: u64,
        /// How the stream breaks then; without, the rest is acknowledged with what comes next.
        #[serde(default)]
        then: Option<Break>,
    },
    /// Half of the acknowledgement's bytes come late (`ack`).
    Fragment {
        /// Milliseconds.
        #[serde(deserialize_with = "span")]
        ms: u64,
    },
    /// An HTTP error (`token`).
    Http {
        /// The HTTP status.
        code: u16,
        /// The `Retry-After` header, in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// The answer is no JSON (`token`).
    BadJson,
    /// `expires_in` is this: any JSON value, or left out without one (`token`). A number is also how long the token lives.
    ExpiresIn {
        /// Such as `2`, `"3600"` or `0`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<Value>,
    },
}

impl Fault {
    fn can_happen_to(&self, on: Operation) -> bool {
        use Operation::{Ack, Connect, Message, Open, Token};
        match self {
            Self::Refuse => on == Connect,
            Self::Silence => on != Message,
            Self::Delay { .. } => matches!(on, Open | Ack | Token),
            Self::Status { after_ms, stored, .. } => (on == Open && !stored) || (on == Message && *after_ms == 0),
            Self::Break { after_ms, after_bytes, stored, .. } => {
                (on == Open && !stored) || (on == Message && *after_ms == 0 && after_bytes.is_none())
            }
            Self::Close { after_ms, .. } | Self::GoAway { after_ms, .. } => {
                on == Open || (on == Message && *after_ms == 0)
            }
            Self::Stall { .. } => matches!(on, Open | Message),
            Self::DelayAnswer { .. }
            | Self::NoStreamId
            | Self::Slow { .. }
            | Self::RefuseToken { .. }
            | Self::Columns(_)
            | Self::Limit { .. } => on == Open,
            Self::WhenIdle { .. }
            | Self::Backwards
            | Self::Beyond { .. }
            | Self::NoValue
            | Self::Partial { .. }
            | Self::Fragment { .. } => on == Ack,
            Self::Http { .. } | Self::BadJson | Self::ExpiresIn { .. } => on == Token,
        }
    }
}

fn certain() -> f64 {
    1.0
}

fn second() -> u64 {
    1000
}

fn thousand() -> i64 {
    1000
}

fn unauthenticated() -> Code {
    Code::Unauthenticated
}

/// What is known when a fault is chosen.
#[derive(Clone, Copy)]
pub(crate) struct Target<'t> {
    pub(crate) on: Operation,
    pub(crate) table: Option<&'t str>,
    pub(crate) records: u64,
    /// Whether the message holds a record.
    pub(crate) holds: &'t (dyn Fn(&Holding) -> bool + Sync),
}

impl<'t> Target<'t> {
    pub(crate) fn new(on: Operation, table: Option<&'t str>) -> Self {
        Self { on, table, records: 0, holds: &|_| false }
    }
}

#[derive(Debug)]
struct Counted {
    rule: FaultRule,
    matches: u64,
    records: u64,
    strikes: u64,
}

impl Counted {
    /// Counts a match, and says whether it is to be disturbed.
    fn strikes(&mut self, target: &Target<'_>) -> bool {
        let rule = &self.rule;
        let is_meant = rule.on == target.on
            && rule.table.as_deref().is_none_or(|table| target.table == Some(table))
            && rule.holding.as_ref().is_none_or(|holding| (target.holds)(holding));
        if !is_meant {
            return false;
        }
        let (matches, records) = (self.matches, self.records);
        self.matches += 1;
        self.records += target.records;
        let left = match rule.times {
            Times::Always => true,
            Times::AtMost(times) => self.strikes < times,
        };
        let due = left && matches >= rule.after && records >= rule.after_records;
        let strikes = due && (rule.probability >= 1.0 || rand::random::<f64>() < rule.probability);
        self.strikes += u64::from(strikes);
        strikes
    }
}

/// The rules in force.
#[derive(Debug, Default)]
pub(crate) struct FaultTable {
    rules: Mutex<Vec<Counted>>,
}

impl FaultTable {
    /// Puts `rules` in the place of all others; counting starts anew.
    pub(crate) fn replace(&self, rules: Vec<FaultRule>) {
        let counted = |rule| Counted { rule, matches: 0, records: 0, strikes: 0 };
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = rules.into_iter().map(counted).collect();
    }

    /// The first fault that is due.
    pub(crate) fn first(&self, target: &Target<'_>) -> Option<Fault> {
        self.first_with_cause(target).map(|(fault, _)| fault)
    }

    /// The same, with whether it waited for a record.
    pub(crate) fn first_with_cause(&self, target: &Target<'_>) -> Option<(Fault, bool)> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = rules.iter_mut().find_map(|counted| counted.strikes(target).then_some(&counted.rule))?;
        Some((counted.fault.clone(), counted.holding.is_some()))
    }

    /// All faults that are due.
    pub(crate) fn all(&self, target: &Target<'_>) -> Vec<Fault> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let due = rules.iter_mut().filter_map(|counted| counted.strikes(target).then(|| counted.rule.fault.clone()));
        due.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rules: Vec<FaultRule>) -> FaultTable {
        let table = FaultTable::default();
        table.replace(rules);
        table
    }

    #[test]
    fn rules_count_matches_and_records() {
        let target = |records| Target { records, ..Target::new(Operation::Message, Some("a.b.c")) };
        let stall = || FaultRule::new(Operation::Message, Fault::Stall { ms: None });
        let rules = table(vec![stall().after(1).times(2)]);
        let struck: Vec<bool> = (0..4).map(|_| rules.first(&target(1)).is_some()).collect();
        assert_eq!(struck, [false, true, true, false]);
        let rules = table(vec![stall().after_records(100).always().table("a.b.c")]);
        let struck: Vec<bool> = (0..4).map(|_| rules.first(&target(50)).is_some()).collect();
        assert_eq!(struck, [false, false, true, true]);
        assert!(rules.first(&Target::new(Operation::Message, Some("a.b.d"))).is_none());
        let rules = table(vec![stall().always().probability(0.5)]);
        let struck = (0..1000).filter(|_| rules.first(&target(1)).is_some()).count();
        assert!((300..700).contains(&struck), "{struck}");
    }

    #[test]
    fn errors_name_their_place() {
        for (json, key, reason) in [
            (r#"[{"on": "open", "do": {"status": {"code": "NOPE"}}}]"#, "[0].do.status.code", "unknown variant `NOPE`"),
            (r#"[{"on": "open", "do": "refuse"}]"#, "[0].on", "`refuse` cannot happen to `open`"),
            (
                r#"[{"on": "ack", "where": {"column": "a", "equals": 1}, "do": "no_value"}]"#,
                "[0].where.equals",
                "`where` and",
            ),
            (r#"[{"on": "ack", "do": "no_value", "probability": 2}]"#, "[0].probability", "probability `2`"),
            (r#"[{"on": "open", "do": {"columns": [{}]}}]"#, "[0].do.columns[0]", "missing field `name`"),
        ] {
            let error = FaultRule::list_from_json(json).unwrap_err();
            assert_eq!(error.key, key, "{json}: {error}");
            assert!(error.reason.starts_with(reason), "{json}: {error}");
        }
    }
}
