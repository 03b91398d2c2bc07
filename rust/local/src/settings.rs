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
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let parsed = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| SettingsError { key: error.path().to_string(), reason: error.inner().to_string() })?;
    deserializer.end().map_err(|error| SettingsError { key: ".".to_owned(), reason: error.to_string() })?;
    Ok(parsed)
}
