//! Reading options, switches and faults from JSON, with errors that name the key.

use std::fmt;

use serde::de::DeserializeOwned;

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

/// Reads an object, refusing unknown keys; serde alone would take an array for one.
pub(crate) fn parse_object<T: DeserializeOwned>(json: &str) -> Result<T, SettingsError> {
    if !json.trim_start().starts_with('{') {
        return Err(SettingsError { key: ".".to_owned(), reason: "an object expected".to_owned() });
    }
    parse(json)
}

/// Reads `json`, refusing unknown keys.
pub(crate) fn parse<T: DeserializeOwned>(json: &str) -> Result<T, SettingsError> {
    serde_json::from_str(json).map_err(|error| {
        let text = error.to_string();
        // Serde says the position after the reason, in a form of its own.
        let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
        let before = json.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
        let read = json.as_bytes().get(..before + error.column()).unwrap_or(json.as_bytes());
        SettingsError { key: place(read), reason: reason.to_owned() }
    })
}

/// Where in a JSON text one is who has read this much of it, such as `[2].do.status.code`.
fn place(read: &[u8]) -> String {
    // Of each open object the key that was read last, of each open list how many items were ended.
    let mut path: Vec<Step> = Vec::new();
    let mut bytes = read.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' => path.push(Step::Key { name: String::new(), is_next: true }),
            b'[' => path.push(Step::Index(0)),
            b'}' | b']' => drop(path.pop()),
            b',' => match path.last_mut() {
                Some(Step::Key { is_next, .. }) => *is_next = true,
                Some(Step::Index(index)) => *index += 1,
                None => {}
            },
            b'"' => {
                let mut text = Vec::new();
                while let Some(byte) = bytes.next().filter(|&byte| byte != b'"') {
                    text.push(if byte == b'\\' { bytes.next().unwrap_or(byte) } else { byte });
                }
                if let Some(Step::Key { name, is_next: is_next @ true }) = path.last_mut() {
                    *is_next = false;
                    *name = String::from_utf8_lossy(&text).into_owned();
                }
            }
            _ => {}
        }
    }
    let mut place = String::new();
    for step in path {
        match step {
            Step::Index(index) => place.push_str(&format!("[{index}]")),
            Step::Key { name, .. } if name.is_empty() => {}
            Step::Key { name, .. } => {
                if !place.is_empty() {
                    place.push('.');
                }
                place.push_str(&name);
            }
        }
    }
    if place.is_empty() { ".".to_owned() } else { place }
}

enum Step {
    Key { name: String, is_next: bool },
    Index(usize),
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
        inner: Option<Box<Rule>>,
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
            (r#"{"on": "a"}"#, ".", "invalid type: map, expected a sequence"),
            (r#"[{"on": "a"}] 5"#, ".", "trailing characters"),
            (r#"[{"on""#, "[0].on", "EOF while parsing an object"),
            ("", ".", "EOF while parsing a value"),
        ] {
            let error = parse::<Vec<Rule>>(json).unwrap_err();
            assert_eq!(error.key, key, "{json}: {error}");
            assert!(error.reason.starts_with(reason), "{json}: {error}");
        }
    }
}
