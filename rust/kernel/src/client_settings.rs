//! Settings that the platform's own kernel takes out of the session configuration: they are for the client, and a server
//! that got them would refuse the session.

use std::collections::BTreeMap;
use std::fmt;

use tracing::warn;

use crate::config::{CloudFetch, ResultConfig, SessionConfig, ValueForm};

/// Most downloads that `cloudfetch_max_chunks_in_memory` may ask for, as in the platform's kernel.
const MOST_CHUNKS: usize = 256;

/// The settings by name, in lower case; they are written in any.
#[derive(Clone, Copy)]
enum ClientSetting {
    CloudFetchEnabled,
    MaxChunksInMemory,
    /// A number that says how far to look ahead, which here follows from the memory budget.
    LookAhead,
    ComplexTypesAsJson,
    IntervalsAsString,
}

impl ClientSetting {
    fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "cloudfetch_enabled" => Some(Self::CloudFetchEnabled),
            "cloudfetch_max_chunks_in_memory" => Some(Self::MaxChunksInMemory),
            "cloudfetch_link_prefetch_window" | "inline_max_chunks_in_memory" => Some(Self::LookAhead),
            "complex_types_as_json" => Some(Self::ComplexTypesAsJson),
            "intervals_as_string" => Some(Self::IntervalsAsString),
            _ => None,
        }
    }

    /// Applies `value`, or says what was expected.
    fn apply(self, value: &str, results: &mut ResultConfig) -> Result<(), &'static str> {
        let truth = || match value.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("`true` or `false`"),
        };
        let form = |as_text| if as_text { ValueForm::Text } else { ValueForm::Native };
        let count = || value.trim().parse::<usize>().ok().filter(|count| *count > 0).ok_or("a positive number");
        match self {
            Self::CloudFetchEnabled => {
                results.cloud_fetch = if truth()? { CloudFetch::On } else { CloudFetch::Off };
            }
            Self::MaxChunksInMemory => results.max_concurrent_downloads = count()?.min(MOST_CHUNKS),
            Self::LookAhead => drop(count()?),
            Self::ComplexTypesAsJson => results.complex_types = form(truth()?),
            Self::IntervalsAsString => results.intervals = form(truth()?),
        }
        Ok(())
    }
}

/// Takes the client's settings out of the session configuration and applies them. A bad value leaves the default and
/// warns: the same configuration opens a session with other clients.
pub(crate) fn take(config: &mut SessionConfig) {
    let mut left = BTreeMap::new();
    for (name, value) in std::mem::take(&mut config.session_configuration) {
        match ClientSetting::named(&name) {
            None => drop(left.insert(name, value)),
            Some(setting) => {
                if let Err(expected) = setting.apply(&value, &mut config.results) {
                    warn_of(&name, &value, &expected);
                }
            }
        }
    }
    config.session_configuration = left;
}

fn warn_of(name: &str, value: &str, expected: &dyn fmt::Display) {
    let value: String = value.chars().take(40).collect();
    warn!("session setting `{name}` is `{value}`; expected {expected}; the default stays");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Credentials;

    #[test]
    fn client_settings_are_applied_and_never_sent() {
        let mut config =
            SessionConfig::new("host", "/sql/1.0/warehouses/a", Credentials::access_token("dapi-x")).unwrap();
        let defaults = config.results.clone();
        for (name, value) in [
            ("CloudFetch_Enabled", "FALSE"),
            ("cloudfetch_max_chunks_in_memory", "100000"),
            ("cloudfetch_link_prefetch_window", "4"),
            ("INLINE_MAX_CHUNKS_IN_MEMORY", "-1"),
            ("complex_types_as_json", "perhaps"),
            ("intervals_as_string", "true"),
            ("ANSI_MODE", "true"),
        ] {
            config.session_configuration.insert(name.to_owned(), value.to_owned());
        }
        take(&mut config);
        assert_eq!(config.session_configuration.into_iter().collect::<Vec<_>>(), [("ANSI_MODE".into(), "true".into())]);
        assert_eq!(config.results.cloud_fetch, CloudFetch::Off);
        assert_eq!(config.results.max_concurrent_downloads, 256);

        let mut config = SessionConfig::new("host", "/sql/1.0/warehouses/a", Credentials::access_token("x")).unwrap();
        for name in ["cloudfetch_enabled", "cloudfetch_max_chunks_in_memory"] {
            config.session_configuration.insert(name.to_owned(), "perhaps".to_owned());
        }
        take(&mut config);
        assert!(config.results.cloud_fetch == CloudFetch::Auto && config.session_configuration.is_empty());
        assert_eq!(config.results.max_concurrent_downloads, defaults.max_concurrent_downloads);
    }
}
