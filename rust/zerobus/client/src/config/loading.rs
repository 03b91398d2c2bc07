//! Options from a file or from the environment, by one list of both names.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use saphyr::{ScalarStyle, Yaml, YamlLoader};
use saphyr_parser::Parser;
use seakernel::Secret;

use super::{IngestMode, NullListElement, OtlpSdkConfig, WrapperConfiguration, refused};
use crate::error::ZerobusError;

/// Reads the options in the YAML file at `path`, and checks them.
///
/// # Errors
/// `ConfigurationError` where there is no such file, it is not YAML, has an unknown key or a value that is not accepted, and
/// for what [`WrapperConfiguration::validate`] refuses.
pub fn load_from_yaml(path: impl AsRef<Path>) -> Result<WrapperConfiguration, ZerobusError> {
    let path = path.as_ref();
    let failed = |cause: &str| ZerobusError::configuration(format!("`{}`: {cause}", path.display()));
    let text = fs::read_to_string(path).map_err(|failure| failed(&failure.to_string()))?;
    let given = from_yaml(&text).map_err(|failure| failed(&failure.failure().message))?;
    from_texts(&given, |setting| setting.key.to_owned())
}

/// Reads the options in the environment, and checks them. A variable that is empty counts as unset.
///
/// # Errors
/// `ConfigurationError` where a variable has a value that is not accepted, and for what
/// [`WrapperConfiguration::validate`] refuses.
pub fn load_from_env() -> Result<WrapperConfiguration, ZerobusError> {
    let mut given = BTreeMap::new();
    for setting in SETTINGS {
        match env::var(setting.variable) {
            Ok(text) if !text.trim().is_empty() => given.insert(setting.key, text.trim().to_owned()),
            Ok(_) | Err(env::VarError::NotPresent) => None,
            Err(env::VarError::NotUnicode(_)) => {
                return Err(ZerobusError::configuration(format!("`{}` is not UTF-8", setting.variable)));
            }
        };
    }
    from_texts(&given, |setting| setting.variable.to_owned())
}

/// An option under its two names, and what its text does.
struct Setting {
    /// Path in the file.
    key: &'static str,
    /// Variable of the environment.
    variable: &'static str,
    /// Sets it; fails with what is accepted.
    set: fn(&mut WrapperConfiguration, &str) -> Result<(), &'static str>,
}

macro_rules! settings {
    ($($key:literal $variable:literal |$config:ident, $text:ident| $set:expr;)*) => {
        &[$(Setting { key: $key, variable: $variable, set: |$config, $text| { $set; Ok(()) } }),*]
    };
}

const SETTINGS: &[Setting] = settings! {
    "zerobus_endpoint" "ZEROBUS_ENDPOINT" |config, text| text.clone_into(&mut config.zerobus_endpoint);
    "table_name" "ZEROBUS_TABLE_NAME" |config, text| text.clone_into(&mut config.table_name);
    "client_id" "ZEROBUS_CLIENT_ID" |config, text| config.client_id = Some(text.to_owned());
    "client_secret" "ZEROBUS_CLIENT_SECRET" |config, text| config.client_secret = Some(Secret::new(text));
    "unity_catalog_url" "UNITY_CATALOG_URL"
        |config, text| config.unity_catalog_url = Some(text.trim_end_matches('/').to_owned());
    "zerobus_writer_disabled" "ZEROBUS_WRITER_DISABLED" |config, text| config.zerobus_writer_disabled = boolean(text)?;
    "observability.enabled" "OTLP_ENABLED" |config, text| config.observability_enabled = boolean(text)?;
    "observability.endpoint" "OTLP_ENDPOINT" |config, text| otlp(config).endpoint = Some(text.to_owned());
    "observability.output_dir" "OTLP_OUTPUT_DIR" |config, text| otlp(config).output_dir = Some(PathBuf::from(text));
    "observability.write_interval_secs" "OTLP_WRITE_INTERVAL_SECS"
        |config, text| otlp(config).write_interval_secs = number(text)?;
    "observability.log_level" "OTLP_LOG_LEVEL" |config, text| text.clone_into(&mut otlp(config).log_level);
    "debug.enabled" "DEBUG_ENABLED" |config, text| config.debug_enabled = boolean(text)?;
    "debug.arrow_enabled" "DEBUG_ARROW_ENABLED" |config, text| config.debug_arrow_enabled = Some(boolean(text)?);
    "debug.protobuf_enabled" "DEBUG_PROTOBUF_ENABLED"
        |config, text| config.debug_protobuf_enabled = Some(boolean(text)?);
    "debug.output_dir" "DEBUG_OUTPUT_DIR" |config, text| config.debug_output_dir = Some(PathBuf::from(text));
    "debug.flush_interval_secs" "DEBUG_FLUSH_INTERVAL_SECS"
        |config, text| config.debug_flush_interval_secs = number(text)?;
    "debug.max_file_size" "DEBUG_MAX_FILE_SIZE" |config, text| config.debug_max_file_size = limit(text)?;
    "debug.max_files_retained" "DEBUG_MAX_FILES_RETAINED"
        |config, text| config.debug_max_files_retained = limit(text)?;
    "debug.rotation_rows" "DEBUG_ROTATION_ROWS" |config, text| config.debug_rotation_rows = number(text)?;
    "debug.protobuf_framing" "DEBUG_PROTOBUF_FRAMING"
        |config, text| config.debug_protobuf_newlines = newlines(text)?;
    "retry.max_attempts" "RETRY_MAX_ATTEMPTS" |config, text| config.retry_max_attempts = number(text)?;
    "retry.base_delay_ms" "RETRY_BASE_DELAY_MS" |config, text| config.retry_base_delay_ms = number(text)?;
    "retry.max_delay_ms" "RETRY_MAX_DELAY_MS" |config, text| config.retry_max_delay_ms = number(text)?;
    "ingest_mode" "ZEROBUS_INGEST_MODE" |config, text| config.ingest_mode = text.parse()?;
    "max_record_bytes" "ZEROBUS_MAX_RECORD_BYTES" |config, text| config.max_record_bytes = number(text)?;
    "max_request_bytes" "ZEROBUS_MAX_REQUEST_BYTES" |config, text| config.max_request_bytes = number(text)?;
    "max_request_rows" "ZEROBUS_MAX_REQUEST_ROWS" |config, text| config.max_request_rows = number(text)?;
    "max_inflight_requests" "ZEROBUS_MAX_INFLIGHT_REQUESTS"
        |config, text| config.max_inflight_requests = number(text)?;
    "max_inflight_bytes" "ZEROBUS_MAX_INFLIGHT_BYTES" |config, text| config.max_inflight_bytes = number(text)?;
    "ack_timeout_ms" "ZEROBUS_ACK_TIMEOUT_MS" |config, text| config.ack_timeout_ms = number(text)?;
    "flush_timeout_ms" "ZEROBUS_FLUSH_TIMEOUT_MS" |config, text| config.flush_timeout_ms = number(text)?;
    "connect_timeout_ms" "ZEROBUS_CONNECT_TIMEOUT_MS" |config, text| config.connect_timeout_ms = number(text)?;
    "token_refresh_buffer_secs" "ZEROBUS_TOKEN_REFRESH_BUFFER_SECS"
        |config, text| config.token_refresh_buffer_secs = number(text)?;
    "isolate_bad_rows" "ZEROBUS_ISOLATE_BAD_ROWS" |config, text| config.isolate_bad_rows = boolean(text)?;
    "isolate_max_probes" "ZEROBUS_ISOLATE_MAX_PROBES" |config, text| config.isolate_max_probes = number(text)?;
    "null_list_element" "ZEROBUS_NULL_LIST_ELEMENT" |config, text| config.null_list_element = text.parse()?;
    "failure_backoff_enabled" "ZEROBUS_FAILURE_BACKOFF_ENABLED"
        |config, text| config.failure_backoff_enabled = boolean(text)?;
    "failure_backoff_shared" "ZEROBUS_FAILURE_BACKOFF_SHARED"
        |config, text| config.failure_backoff_shared = boolean(text)?;
    "workspace_id" "ZEROBUS_WORKSPACE_ID" |config, text| config.workspace_id = Some(text.to_owned());
    "application_name" "ZEROBUS_APPLICATION_NAME" |config, text| config.application_name = Some(text.to_owned());
    "tls_ca_file" "ZEROBUS_TLS_CA_FILE" |config, text| config.tls_ca_file = Some(PathBuf::from(text));
};

/// What a null in the file, and `none` in the environment, mean to the settings that have a limit by default.
const NO_LIMIT: &str = "none";

fn from_texts(
    given: &BTreeMap<&'static str, String>,
    name: fn(&Setting) -> String,
) -> Result<WrapperConfiguration, ZerobusError> {
    let mut config = WrapperConfiguration::new("", "");
    for setting in SETTINGS {
        match given.get(setting.key) {
            Some(text) => {
                (setting.set)(&mut config, text.trim()).map_err(|accepted| refused(&name(setting), text, accepted))?;
            }
            None if matches!(setting.key, "zerobus_endpoint" | "table_name") => {
                return Err(ZerobusError::configuration(format!("`{}` is not set", name(setting))));
            }
            None => {}
        }
    }
    config.validate()?;
    Ok(config)
}

/// The values in a document, by their paths.
fn from_yaml(text: &str) -> Result<BTreeMap<&'static str, String>, ZerobusError> {
    let mut loader = YamlLoader::<Yaml<'_>>::default();
    // A secret of digits alone stays what it is.
    loader.early_parse(false);
    let not_yaml = |failure: &dyn std::fmt::Display| ZerobusError::configuration(format!("not YAML: {failure}"));
    Parser::new_from_str(text).load(&mut loader, true).map_err(|failure| not_yaml(&failure))?;
    if let Some(failure) = loader.error() {
        return Err(not_yaml(failure));
    }
    let documents = loader.into_documents();
    let [document] = documents.as_slice() else {
        return Err(not_yaml(&"one document is expected"));
    };
    let mut given = BTreeMap::new();
    collect("", document, &mut given)?;
    Ok(given)
}

fn collect(section: &str, node: &Yaml<'_>, given: &mut BTreeMap<&'static str, String>) -> Result<(), ZerobusError> {
    let Yaml::Mapping(entries) = node else {
        let place = if section.is_empty() { "the document" } else { section };
        return Err(ZerobusError::configuration(format!("`{place}` is no mapping of keys to values")));
    };
    for (key, value) in entries {
        let Yaml::Representation(key, ..) = key else {
            return Err(ZerobusError::configuration(format!("a key of `{section}` is no text")));
        };
        let path = if section.is_empty() { key.to_string() } else { format!("{section}.{key}") };
        let setting = SETTINGS.iter().find(|setting| setting.key == path);
        match (setting, value) {
            (Some(setting), Yaml::Representation(text, style, _)) => {
                let is_null = *style == ScalarStyle::Plain && matches!(&**text, "" | "~" | "null" | "Null" | "NULL");
                if !is_null {
                    given.insert(setting.key, text.to_string());
                } else if setting.key == "debug.max_files_retained" {
                    given.insert(setting.key, NO_LIMIT.to_owned());
                }
            }
            (Some(_), _) => return Err(ZerobusError::configuration(format!("`{path}` is no single value"))),
            (None, _) if section.is_empty() && matches!(&**key, "observability" | "debug" | "retry") => {
                collect(key, value, given)?;
            }
            (None, _) => {
                let accepted = SETTINGS.iter().filter_map(|setting| match setting.key.rsplit_once('.') {
                    Some((of, name)) => (of == section).then_some(name),
                    None => section.is_empty().then_some(setting.key),
                });
                let accepted: Vec<&str> = accepted.collect();
                let message = format!("unknown key `{path}`; accepted: {}", accepted.join(", "));
                return Err(ZerobusError::configuration(message));
            }
        }
    }
    Ok(())
}

fn otlp(config: &mut WrapperConfiguration) -> &mut OtlpSdkConfig {
    config.observability_config.get_or_insert_default()
}

fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        "true" | "True" | "TRUE" => Ok(true),
        "false" | "False" | "FALSE" => Ok(false),
        _ => Err("true, false"),
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, &'static str> {
    text.parse().map_err(|_| "a whole number, 0 or more")
}

/// Whether records are ended by newlines, by the name of their framing.
fn newlines(framing: &str) -> Result<bool, &'static str> {
    match framing {
        "length-delimited" => Ok(false),
        "newline" => Ok(true),
        _ => Err("length-delimited, newline"),
    }
}

fn limit<T: FromStr>(text: &str) -> Result<Option<T>, &'static str> {
    if text == NO_LIMIT { Ok(None) } else { text.parse().map(Some).map_err(|_| "a whole number, 0 or more, or none") }
}

impl FromStr for IngestMode {
    type Err = &'static str;

    /// Fails with what is accepted.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "proto" => Ok(Self::Proto),
            "arrow" => Ok(Self::Arrow),
            _ => Err("proto, arrow"),
        }
    }
}

impl FromStr for NullListElement {
    type Err = &'static str;

    /// Fails with what is accepted.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "error" => Ok(Self::Error),
            "drop" => Ok(Self::Drop),
            _ => Err("error, drop"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "zerobus_endpoint: http://127.0.0.1:1\ntable_name: a.b.c\nzerobus_writer_disabled: true\n\
                           debug: {enabled: true, output_dir: out}\n";

    fn read(text: &str) -> Result<WrapperConfiguration, String> {
        let given = from_yaml(text).map_err(|error| error.to_string())?;
        from_texts(&given, |setting| setting.key.to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn f02_a_file_has_every_key() {
        let config = read(
            "zerobus_endpoint: https://1.zerobus.eu.cloud.databricks.com\ntable_name: a.b.c\nclient_id: id\n\
             client_secret: 0123\nunity_catalog_url: https://w/\n\
             observability: {enabled: true, endpoint: 'http://c:4317', output_dir: o, write_interval_secs: 7, log_level: warn}\n\
             debug:\n  enabled: true\n  arrow_enabled: true\n  protobuf_enabled: false\n  output_dir: d\n  \
             flush_interval_secs: 9\n  max_file_size: 1000\n  max_files_retained: ~\n\
             retry: {max_attempts: 2, base_delay_ms: 3, max_delay_ms: 4}\nzerobus_writer_disabled: true\n",
        )
        .unwrap();
        assert_eq!(config.client_secret, Some(Secret::new("0123")), "as it was written");
        assert_eq!(config.unity_catalog_url.as_deref(), Some("https://w"));
        let otlp = config.observability_config.unwrap();
        assert_eq!((otlp.endpoint.as_deref(), otlp.output_dir), (Some("http://c:4317"), Some("o".into())));
        assert_eq!((otlp.write_interval_secs, otlp.log_level.as_str()), (7, "warn"));
        assert_eq!((config.debug_arrow_enabled, config.debug_protobuf_enabled), (Some(true), Some(false)));
        assert_eq!((config.debug_flush_interval_secs, config.debug_max_file_size), (9, Some(1000)));
        assert_eq!(config.debug_max_files_retained, None);
        assert_eq!((config.retry_max_attempts, config.retry_base_delay_ms, config.retry_max_delay_ms), (2, 3, 4));
        assert!(config.zerobus_writer_disabled && config.observability_enabled && config.debug_enabled);
    }

    #[test]
    fn f02_retry_values_count_one_by_one() {
        let config = read(&format!("{MINIMAL}retry:\n  max_attempts: 9\n")).unwrap();
        assert_eq!(
            (config.retry_max_attempts, config.retry_base_delay_ms, config.retry_max_delay_ms),
            (9, 100, 30_000)
        );
    }

    #[test]
    fn f02_what_is_not_accepted_is_named() {
        for (more, expected) in [
            ("retry: {max_attempts: many}", "`retry.max_attempts` is `many`; accepted: a whole number"),
            ("retry: {max_attempts: -1}", "`retry.max_attempts` is `-1`"),
            ("retry: {max_attempts: 0}", "`retry_max_attempts` is `0`; accepted: 1 or more"),
            ("retry: {tries: 3}", "unknown key `retry.tries`; accepted: max_attempts, base_delay_ms, max_delay_ms"),
            ("retry: 3", "`retry` is no mapping"),
            ("table: a.b.c", "unknown key `table`; accepted: zerobus_endpoint, table_name"),
            ("client_id: [a]", "`client_id` is no single value"),
            ("isolate_bad_rows: yes", "`isolate_bad_rows` is `yes`; accepted: true, false"),
            ("ingest_mode: json", "`ingest_mode` is `json`; accepted: proto, arrow"),
            ("client_secret: {", "not YAML"),
            ("client_id: a\nclient_id: b", "not YAML"),
            ("---\na: b", "not YAML: one document is expected"),
        ] {
            let refusal = read(&format!("{MINIMAL}{more}\n")).unwrap_err();
            assert!(refusal.starts_with("Configuration error: ") && refusal.contains(expected), "{more}: {refusal}");
        }
        assert!(read("table_name: a.b.c").unwrap_err().contains("`zerobus_endpoint` is not set"));
        assert!(read("- a").unwrap_err().contains("is no mapping"));
    }
}
