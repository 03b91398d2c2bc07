//! Checking a statement before it is accepted.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value;

use crate::answer::Answer;
use crate::engine::StatementParameter;
use crate::result::{Disposition, Format};
use crate::wire::{Execute, Parameter};

/// The largest statement text the service takes (documented).
const MAX_STATEMENT_BYTES: usize = 16 << 20;
const DEFAULT_WAIT: Duration = Duration::from_secs(10);

/// A refusal with an HTTP error.
#[derive(Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) error_code: Value,
    pub(crate) message: String,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, error_code: impl Into<Value>, message: impl Into<String>) -> Self {
        Self { status, error_code: error_code.into(), message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_PARAMETER_VALUE", message)
    }

    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "RESOURCE_DOES_NOT_EXIST", message)
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        Self::error(refused.status, refused.error_code, &refused.message)
    }
}

/// A statement the server takes on.
#[derive(Debug, PartialEq)]
pub(crate) struct Submission {
    pub(crate) sql: String,
    pub(crate) session_id: Option<String>,
    pub(crate) catalog: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) parameters: Vec<StatementParameter>,
    pub(crate) disposition: Disposition,
    pub(crate) format: Format,
    pub(crate) lz4: bool,
    pub(crate) row_limit: Option<u64>,
    pub(crate) byte_limit: Option<u64>,
    pub(crate) wait: Duration,
    pub(crate) cancel_after_wait: bool,
}

impl Submission {
    /// Applies the documented rules; `hybrid_supported` is the switch.
    pub(crate) fn check(request: Execute, hybrid_supported: bool) -> Result<Self, Refused> {
        let sql = request.statement.filter(|sql| !sql.trim().is_empty());
        let sql = sql.ok_or_else(|| Refused::invalid("statement must not be empty"))?;
        if sql.len() > MAX_STATEMENT_BYTES {
            return Err(Refused::invalid(format!(
                "statement of {} bytes is longer than the limit of 16 MiB",
                sql.len()
            )));
        }
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (session_id, catalog, schema) = (some(request.session_id), some(request.catalog), some(request.schema));
        if session_id.is_some() && (catalog.is_some() || schema.is_some()) {
            return Err(Refused::invalid("catalog and schema must not be given together with session_id"));
        }
        let disposition = disposition(request.disposition.as_deref(), hybrid_supported)?;
        let format = format(request.format.as_deref())?;
        if disposition == Disposition::Inline && format != Format::JsonArray {
            return Err(Refused::invalid(format!(
                "format must be JSON_ARRAY when disposition is INLINE, it is {}",
                format.name()
            )));
        }
        let lz4 = match request.result_compression.as_deref() {
            None | Some("" | "NONE" | "RESULT_COMPRESSION_UNSPECIFIED") => false,
            Some("LZ4_FRAME") => true,
            Some(other) => return Err(Refused::invalid(format!("result_compression `{other}` is not supported"))),
        };
        let cancel_after_wait = match request.on_wait_timeout.as_deref() {
            None | Some("" | "CONTINUE") => false,
            Some("CANCEL") => true,
            Some(other) => return Err(Refused::invalid(format!("on_wait_timeout `{other}` is not supported"))),
        };
        Ok(Self {
            sql,
            session_id,
            catalog,
            schema,
            parameters: parameters(request.parameters.unwrap_or_default())?,
            disposition,
            format,
            lz4: lz4 && format == Format::ArrowStream,
            row_limit: limit("row_limit", request.row_limit)?,
            byte_limit: limit("byte_limit", request.byte_limit)?,
            wait: wait(request.wait_timeout.as_deref())?,
            cancel_after_wait,
        })
    }
}

fn disposition(text: Option<&str>, hybrid_supported: bool) -> Result<Disposition, Refused> {
    match text {
        None | Some("" | "INLINE") => Ok(Disposition::Inline),
        Some("EXTERNAL_LINKS") => Ok(Disposition::ExternalLinks),
        Some("INLINE_OR_EXTERNAL_LINKS") if hybrid_supported => Ok(Disposition::Hybrid),
        Some(other) => Err(Refused::invalid(format!("{other} is not a supported disposition"))),
    }
}

fn format(text: Option<&str>) -> Result<Format, Refused> {
    match text {
        None | Some("" | "JSON_ARRAY") => Ok(Format::JsonArray),
        Some("ARROW_STREAM") => Ok(Format::ArrowStream),
        Some("CSV") => Ok(Format::Csv),
        Some(other) => Err(Refused::invalid(format!("{other} is not a supported format"))),
    }
}

/// 0 or 5 to 50 seconds; official clients also write fractions such as `6.0s`.
fn wait(text: Option<&str>) -> Result<Duration, Refused> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(DEFAULT_WAIT) };
    let seconds = text.strip_suffix('s').and_then(|number| number.trim().parse::<f64>().ok());
    match seconds {
        Some(seconds) if seconds == 0.0 || (5.0..=50.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(Refused::invalid(format!(
            "wait_timeout `{text}` is neither 0 seconds (0s) nor between 5 and 50 seconds (5s to 50s)"
        ))),
    }
}

fn limit(name: &str, value: Option<i64>) -> Result<Option<u64>, Refused> {
    match value {
        None => Ok(None),
        Some(value) => match u64::try_from(value) {
            Ok(limit) if limit > 0 => Ok(Some(limit)),
            _ => Err(Refused::invalid(format!("{name} must be positive, it is {value}"))),
        },
    }
}

fn parameters(parameters: Vec<Parameter>) -> Result<Vec<StatementParameter>, Refused> {
    let checked: Vec<StatementParameter> = parameters
        .into_iter()
        .map(|parameter| StatementParameter {
            name: parameter.name.filter(|name| !name.is_empty()),
            ordinal: parameter.ordinal,
            type_text: parameter.type_text.filter(|text| !text.is_empty()),
            value: parameter.value.and_then(|value| match value {
                Value::Null => None,
                Value::String(text) => Some(text),
                other => Some(other.to_string()),
            }),
        })
        .collect();
    for parameter in &checked {
        match (&parameter.name, parameter.ordinal) {
            (Some(_), None) => {}
            (None, Some(ordinal)) if ordinal > 0 => {}
            _ => return Err(Refused::invalid("a parameter needs either a name or an ordinal from 1 on")),
        }
    }
    let named = checked.iter().filter(|parameter| parameter.name.is_some()).count();
    if named > 0 && named < checked.len() {
        return Err(Refused::invalid("named and positional parameters must not be mixed"));
    }
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<Submission, Refused> {
        Submission::check(serde_json::from_str(json).unwrap(), true)
    }

    #[test]
    fn what_clients_send_is_understood() {
        let submission = check(
            r#"{"statement":"SELECT ?","parameters":[{"ordinal":1,"type":"INT","value":"4"},{"ordinal":2}],
                "disposition":"INLINE_OR_EXTERNAL_LINKS","format":"ARROW_STREAM","result_compression":"LZ4_FRAME",
                "on_wait_timeout":"CANCEL","row_limit":5,"query_tags":[{"key":"a"}]}"#,
        )
        .unwrap();
        assert_eq!((submission.disposition, submission.format), (Disposition::Hybrid, Format::ArrowStream));
        assert!(submission.lz4 && submission.cancel_after_wait);
        assert_eq!((submission.wait, submission.row_limit), (DEFAULT_WAIT, Some(5)));
        assert_eq!(submission.parameters[0].value.as_deref(), Some("4"));
        assert_eq!(submission.parameters[1], StatementParameter { ordinal: Some(2), ..Default::default() });
    }

    #[test]
    fn wait_timeouts() {
        for (text, seconds) in [("0s", 0.0), ("5s", 5.0), ("6.0s", 6.0), ("50s", 50.0)] {
            assert_eq!(wait(Some(text)).unwrap(), Duration::from_secs_f64(seconds));
        }
        for text in ["10", "4s", "51s", "-1s", "NaNs", "s", "1m"] {
            assert_eq!(wait(Some(text)).unwrap_err().error_code, "INVALID_PARAMETER_VALUE", "{text}");
        }
    }

    #[test]
    fn broken_rules_are_named() {
        for (fields, expected) in [
            (r#""format":"ARROW_STREAM""#, "format must be JSON_ARRAY when disposition is INLINE"),
            (r#""format":"CSV","disposition":"INLINE""#, "format must be JSON_ARRAY"),
            (r#""format":"PARQUET""#, "PARQUET is not a supported format"),
            (r#""disposition":"OUTLINE""#, "OUTLINE is not a supported disposition"),
            (r#""session_id":"a","schema":"b""#, "together with session_id"),
            (r#""row_limit":0"#, "row_limit must be positive"),
            (r#""result_compression":"GZIP""#, "`GZIP` is not supported"),
            (r#""on_wait_timeout":"PANIC""#, "`PANIC` is not supported"),
            (r#""parameters":[{"value":"1"}]"#, "either a name or an ordinal"),
            (r#""parameters":[{"name":"a"},{"ordinal":1}]"#, "must not be mixed"),
            (r#""statement":"  ""#, "must not be empty"),
        ] {
            let json = if fields.contains("statement") {
                format!("{{{fields}}}")
            } else {
                format!("{{\"statement\":\"S\",{fields}}}")
            };
            let refused = check(&json).unwrap_err();
            assert!(refused.status == 400 && refused.message.contains(expected), "{fields}: {refused:?}");
        }
        let hybrid = serde_json::from_str(r#"{"statement":"S","disposition":"INLINE_OR_EXTERNAL_LINKS"}"#).unwrap();
        let refused = Submission::check(hybrid, false).unwrap_err();
        assert_eq!(refused.message, "INLINE_OR_EXTERNAL_LINKS is not a supported disposition");
    }
}
