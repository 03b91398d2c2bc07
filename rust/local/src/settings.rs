//! Reading options, switches and faults from JSON, with errors that name the key.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A setting that could not be read: where it stands and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// The place in the JSON, such as `[2].do.status.code`; `.` is the whole text.
    pub key: String,
    /// What is wrong there.
    pub reason: String,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "setting `{}`: {}", self.key, self.reason)
    }
}

impl std::error::Error for SettingsError {}

/// Reads an object; serde alone would take an array for one.
///
/// # Errors
/// What cannot be read, named by its place.
pub fn parse_object<T: DeserializeOwned>(json: &str) -> Result<T, SettingsError> {
    if !json.trim_start().starts_with('{') {
        return Err(SettingsError { key: ".".to_owned(), reason: "an object expected".to_owned() });
    }
    parse(json)
}

/// Reads `json`.
///
/// # Errors
/// What cannot be read, named by its place.
pub fn parse<T: DeserializeOwned>(json: &str) -> Result<T, SettingsError> {
    read(json).map_err(|reason| {
        let found = serde_json::from_str(json).ok().and_then(misplaced::<T>);
        found.unwrap_or(SettingsError { key: ".".to_owned(), reason })
    })
}

fn read<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| {
        let text = error.to_string();
        text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned()
    })
}

/// Finds the place of what cannot be read: of each list and object, the first entry with which the reason appears.
fn misplaced<T: DeserializeOwned>(value: Value) -> Option<SettingsError> {
    let refusal = |value: &Value| read::<T>(&value.to_string()).err();
    // None of a key that stands twice in the text.
    let reason = refusal(&value)?;
    let is_reason = |value: &Value| refusal(value).as_ref() == Some(&reason);
    let (mut key, mut pointer, mut value) = (String::new(), String::new(), value);
    while let Some(place) = value.pointer_mut(&pointer) {
        let is_list = place.is_array();
        let entries: Vec<(String, Value)> = match place.take() {
            Value::Array(items) => {
                items.into_iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect()
            }
            Value::Object(entries) => entries.into_iter().collect(),
            _ => break,
        };
        // What comes after the entry that is looked for is left out for good: it would only be read in vain.
        let mut found = None;
        for count in 0..=entries.len() {
            let some = entries.iter().take(count).cloned();
            let fewer = if is_list { some.map(|(_, item)| item).collect() } else { Value::Object(some.collect()) };
            if let Some(place) = value.pointer_mut(&pointer) {
                *place = fewer;
            }
            if is_reason(&value) {
                found = count.checked_sub(1).and_then(|last| entries.get(last));
                break;
            }
        }
        let Some((name, _)) = found else { break };
        if is_list {
            key.extend(["[", name, "]"]);
        } else {
            key.extend([if key.is_empty() { "" } else { "." }, name]);
        }
        pointer.extend(["/", &name.replace('~', "~0").replace('/', "~1")]);
    }
    Some(SettingsError { key: if key.is_empty() { ".".to_owned() } else { key }, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Rule {
        on: String,
        #[serde(default)]
        times: Vec<u8>,
        #[serde(default)]
        inner: Option<Box<Self>>,
    }

    #[test]
    fn an_error_names_its_place() {
        for (json, key, reason) in [
            (r#"[{"on": "a"}, {"on": 7}]"#, "[1].on", "invalid type: integer `7`, expected a string"),
            (r#"[{"on": "a", "of": 1}]"#, "[0].of", "unknown field `of`"),
            (r#"[{"on": "a"}, {"times": [1]}]"#, "[1]", "missing field `on`"),
            (r#"[{"on": "a", "times": [1, 2, 300]}]"#, "[0].times[2]", "invalid value: integer `300`, expected u8"),
            ("[{\"on\": \"a\",\n \"inner\": {\"on\":\n true}}]", "[0].inner.on", "invalid type: boolean `true`"),
            (r#"[{"on": "}],\"[{", "times": 1}]"#, "[0].times", "invalid type: integer `1`"),
            (r#"[{"0": 1, "on": "a"}]"#, "[0].0", "unknown field `0`"),
            (r#"{"on": "a"}"#, ".", "invalid type: map, expected a sequence"),
            (r#"[{"on": "a"}] 5"#, ".", "trailing characters"),
            (r#"[{"on": 1}, {"on": 1}]"#, "[0].on", "invalid type: integer `1`"),
            (r#"[{"on": "a", "on": "b"}]"#, ".", "duplicate field `on`"),
            (r#"[{"on""#, ".", "EOF while parsing an object"),
            ("", ".", "EOF while parsing a value"),
        ] {
            let error = parse::<Vec<Rule>>(json).unwrap_err();
            assert_eq!(error.key, key, "{json}: {error}");
            assert!(error.reason.starts_with(reason), "{json}: {error}");
        }
    }
}
