//! How to write, and where to.

mod loading;

use std::path::{Path, PathBuf};

use seakernel::Secret;

use crate::error::ZerobusError;

pub use loading::{load_from_env, load_from_yaml};

/// What a batch travels as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IngestMode {
    /// One Protobuf message a row.
    #[default]
    Proto,
    /// Arrow Flight.
    Arrow,
}

/// What becomes of a list with a null element, which Protobuf cannot carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NullListElement {
    /// The row fails.
    #[default]
    Error,
    /// The element is left out.
    Drop,
}

/// Where metrics and traces go.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpSdkConfig {
    /// The OTLP collector (gRPC), `http://` or `https://`.
    pub endpoint: Option<String>,
    /// A folder for files of OTLP JSON: `zerobus-traces.jsonl` and `zerobus-metrics.jsonl`. One that has come to 64 MiB is
    /// renamed to `zerobus-traces.1.jsonl` or `zerobus-metrics.1.jsonl`, in the place of the one before it.
    pub output_dir: Option<PathBuf>,
    /// Seconds between two exports. Default 5.
    pub write_interval_secs: u64,
    /// `trace`, `debug`, `info`, `warn` or `error`, which is checked and of no effect: it is there for configurations of others.
    /// Metrics and spans are exported whatever it is, and logs are for the subscriber of `tracing`, by its own levels. Default
    /// `info`.
    pub log_level: String,
}

impl Default for OtlpSdkConfig {
    fn default() -> Self {
        Self { endpoint: None, output_dir: None, write_interval_secs: 5, log_level: "info".to_owned() }
    }
}

/// All options of a wrapper.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct WrapperConfiguration {
    /// Address of the service, `https://` or, for tests, `http://`.
    pub zerobus_endpoint: String,
    /// Name of the table, `catalog.schema.table`.
    pub table_name: String,
    /// Application id of the service principal.
    pub client_id: Option<String>,
    /// Its secret.
    pub client_secret: Option<Secret>,
    /// Address of the workspace, where tokens come from.
    pub unity_catalog_url: Option<String>,
    /// Whether metrics and traces are made. Default false.
    pub observability_enabled: bool,
    /// Where they go.
    pub observability_config: Option<OtlpSdkConfig>,
    /// Both debug formats, unless one of the next two is set. Default false.
    pub debug_enabled: bool,
    /// Whether batches are kept as Arrow files; [`Self::keeps_arrow`] tells what follows from all three.
    pub debug_arrow_enabled: Option<bool>,
    /// Whether records are kept as Protobuf files; [`Self::keeps_protobuf`] tells what follows from all three.
    pub debug_protobuf_enabled: Option<bool>,
    /// Folder of the debug files.
    pub debug_output_dir: Option<PathBuf>,
    /// Seconds between two flushes of the debug files. Default 5.
    pub debug_flush_interval_secs: u64,
    /// Bytes after which a debug file is closed. Default: no limit.
    pub debug_max_file_size: Option<u64>,
    /// Closed debug files that are kept, per format; none keeps all. Default 10.
    pub debug_max_files_retained: Option<usize>,
    /// Rows after which a debug file is closed; 0 is no limit. Default 1000.
    pub debug_rotation_rows: u64,
    /// Whether Protobuf records are ended by newlines in place of being preceded by their length. Default false.
    pub debug_protobuf_newlines: bool,
    /// Tries in all, 1 or more. Default 5.
    pub retry_max_attempts: u32,
    /// Longest pause before the second try, in milliseconds; it doubles from try to try. Default 100.
    pub retry_base_delay_ms: u64,
    /// Longest pause between any two tries, in milliseconds. Default 30,000.
    pub retry_max_delay_ms: u64,
    /// Whether nothing is sent: rows are converted and written to debug files alone. Default false.
    pub zerobus_writer_disabled: bool,
    /// What a batch travels as. Default Protobuf.
    pub ingest_mode: IngestMode,
    /// Bytes of the largest record. Default 4,194,285.
    pub max_record_bytes: usize,
    /// Bytes of the records of one request. Default 10,420,224.
    pub max_request_bytes: usize,
    /// Rows of one request. Default 10,000.
    pub max_request_rows: usize,
    /// Requests that wait for their acknowledgement, all streams together. Default 64.
    pub max_inflight_requests: usize,
    /// Bytes that wait for their acknowledgement, all streams together. Default 64 MiB.
    pub max_inflight_bytes: usize,
    /// Milliseconds to wait for an acknowledgement while one is due. Default 60,000.
    pub ack_timeout_ms: u64,
    /// Milliseconds that `flush` waits. Default 300,000.
    pub flush_timeout_ms: u64,
    /// Milliseconds to open a stream. Default 15,000.
    pub connect_timeout_ms: u64,
    /// Seconds before the end of a token in which it is renewed. Default 300.
    pub token_refresh_buffer_secs: u64,
    /// Whether the rows that the service refuses are looked for one by one. Default true.
    pub isolate_bad_rows: bool,
    /// Streams that may be opened per call to find them. Default 32.
    pub isolate_max_probes: u32,
    /// What becomes of a list with a null element. Default: the row fails.
    pub null_list_element: NullListElement,
    /// Whether writes pause where more than 1 % of the rows failed. Default true.
    pub failure_backoff_enabled: bool,
    /// Whether pauses of the table, for failed rows or because the service refuses streams into it, hold for all wrappers of
    /// this process with the same endpoint and table that have this on. Default false: they hold for a wrapper and its clones.
    pub failure_backoff_shared: bool,
    /// Id of the workspace. Default: the first label of the endpoint's host.
    pub workspace_id: Option<String>,
    /// Name of the application, for the user agent.
    pub application_name: Option<String>,
    /// A PEM file with the authorities to trust for the endpoint and for the workspace that tokens come from, besides the
    /// system's, of which there need not be any. It is read once, when the wrapper is made.
    pub tls_ca_file: Option<PathBuf>,
}

impl WrapperConfiguration {
    /// The defaults, for this table at this address.
    pub fn new(endpoint: &str, table_name: &str) -> Self {
        Self {
            zerobus_endpoint: endpoint.trim().to_owned(),
            table_name: table_name.to_owned(),
            client_id: None,
            client_secret: None,
            unity_catalog_url: None,
            observability_enabled: false,
            observability_config: None,
            debug_enabled: false,
            debug_arrow_enabled: None,
            debug_protobuf_enabled: None,
            debug_output_dir: None,
            debug_flush_interval_secs: 5,
            debug_max_file_size: None,
            debug_max_files_retained: Some(10),
            debug_rotation_rows: 1000,
            debug_protobuf_newlines: false,
            retry_max_attempts: 5,
            retry_base_delay_ms: 100,
            retry_max_delay_ms: 30_000,
            zerobus_writer_disabled: false,
            ingest_mode: IngestMode::Proto,
            max_record_bytes: 4_194_285,
            max_request_bytes: 10_420_224,
            max_request_rows: 10_000,
            max_inflight_requests: 64,
            max_inflight_bytes: 64 << 20,
            ack_timeout_ms: 60_000,
            flush_timeout_ms: 300_000,
            connect_timeout_ms: 15_000,
            token_refresh_buffer_secs: 300,
            isolate_bad_rows: true,
            isolate_max_probes: 32,
            null_list_element: NullListElement::Error,
            failure_backoff_enabled: true,
            failure_backoff_shared: false,
            workspace_id: None,
            application_name: None,
            tls_ca_file: None,
        }
    }

    /// Application id and secret of the service principal that writes.
    #[must_use]
    pub fn with_credentials(self, client_id: &str, client_secret: &str) -> Self {
        Self { client_id: Some(client_id.to_owned()), client_secret: Some(Secret::new(client_secret)), ..self }
    }

    /// Address of the workspace; a `/` at its end is dropped.
    #[must_use]
    pub fn with_unity_catalog(self, url: &str) -> Self {
        Self { unity_catalog_url: Some(url.trim().trim_end_matches('/').to_owned()), ..self }
    }

    /// Has metrics and traces made, and tells where they go.
    #[must_use]
    pub fn with_observability(self, config: OtlpSdkConfig) -> Self {
        Self { observability_enabled: true, observability_config: Some(config), ..self }
    }

    /// Has debug files written there, in both formats unless one was chosen.
    #[must_use]
    pub fn with_debug_output(self, directory: impl Into<PathBuf>) -> Self {
        Self { debug_enabled: true, debug_output_dir: Some(directory.into()), ..self }
    }

    /// Whether batches are kept as Arrow files.
    #[must_use]
    pub fn with_debug_arrow_enabled(self, enabled: bool) -> Self {
        Self { debug_arrow_enabled: Some(enabled), ..self }
    }

    /// Whether records are kept as Protobuf files.
    #[must_use]
    pub fn with_debug_protobuf_enabled(self, enabled: bool) -> Self {
        Self { debug_protobuf_enabled: Some(enabled), ..self }
    }

    /// Seconds between two flushes of the debug files.
    #[must_use]
    pub fn with_debug_flush_interval_secs(self, seconds: u64) -> Self {
        Self { debug_flush_interval_secs: seconds, ..self }
    }

    /// Bytes after which a debug file is closed; none is no limit.
    #[must_use]
    pub fn with_debug_max_file_size(self, bytes: Option<u64>) -> Self {
        Self { debug_max_file_size: bytes, ..self }
    }

    /// Closed debug files that are kept, per format; none keeps all.
    #[must_use]
    pub fn with_debug_max_files_retained(self, files: Option<usize>) -> Self {
        Self { debug_max_files_retained: files, ..self }
    }

    /// Tries in all, and the longest pauses before the second try and between any two, in milliseconds.
    #[must_use]
    pub fn with_retry_config(self, max_attempts: u32, base_delay_ms: u64, max_delay_ms: u64) -> Self {
        Self {
            retry_max_attempts: max_attempts,
            retry_base_delay_ms: base_delay_ms,
            retry_max_delay_ms: max_delay_ms,
            ..self
        }
    }

    /// Whether nothing is sent: rows are converted and written to debug files alone.
    #[must_use]
    pub fn with_zerobus_writer_disabled(self, disabled: bool) -> Self {
        Self { zerobus_writer_disabled: disabled, ..self }
    }

    /// Whether batches are kept as Arrow files.
    ///
    /// `debug_enabled` counts only where neither format was chosen, as it did when there was no choice.
    pub fn keeps_arrow(&self) -> bool {
        self.debug_arrow_enabled.unwrap_or(self.debug_enabled && self.debug_protobuf_enabled.is_none())
    }

    /// Whether records are kept as Protobuf files.
    pub fn keeps_protobuf(&self) -> bool {
        self.debug_protobuf_enabled.unwrap_or(self.debug_enabled && self.debug_arrow_enabled.is_none())
    }

    /// Checks every rule that can be checked without a network.
    ///
    /// # Errors
    /// `ConfigurationError` with the option, its value and what is accepted; a secret is never shown.
    pub fn validate(&self) -> Result<(), ZerobusError> {
        check_url("zerobus_endpoint", &self.zerobus_endpoint)?;
        self.check_table_name()?;
        if !self.zerobus_writer_disabled {
            self.check_sign_in()?;
        }
        if let Some(url) = &self.unity_catalog_url {
            check_url("unity_catalog_url", url)?;
        }
        self.check_observability()?;
        self.check_debug()?;
        self.check_retry()?;
        self.check_limits()?;
        self.check_names()
    }

    fn check_table_name(&self) -> Result<(), ZerobusError> {
        let parts: Vec<&str> = self.table_name.split('.').collect();
        let is_name =
            |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if parts.len() > 3 || !parts.iter().all(is_name) {
            let accepted = "`catalog.schema.table`, each part of ASCII letters, digits and `_`";
            return Err(refused("table_name", &self.table_name, accepted));
        }
        if parts.len() < 3 && !self.zerobus_writer_disabled {
            let accepted = "`catalog.schema.table`: the service and its tokens want all three parts";
            return Err(refused("table_name", &self.table_name, accepted));
        }
        Ok(())
    }

    fn check_sign_in(&self) -> Result<(), ZerobusError> {
        let is_missing = |text: Option<&str>| text.is_none_or(|text| text.trim().is_empty());
        let missing = if is_missing(self.client_id.as_deref()) {
            "client_id"
        } else if self.client_secret.as_ref().is_none_or(|secret| *secret == Secret::new("")) {
            "client_secret"
        } else if is_missing(self.unity_catalog_url.as_deref()) {
            "unity_catalog_url"
        } else {
            return Ok(());
        };
        let message = format!(
            "`{missing}` is not set: a service principal's `client_id` and `client_secret` and the `unity_catalog_url` of its \
             workspace are needed, unless `zerobus_writer_disabled` is true"
        );
        Err(ZerobusError::configuration(message))
    }

    fn check_observability(&self) -> Result<(), ZerobusError> {
        if let Some(config) = &self.observability_config {
            config.validate()?;
        }
        if self.observability_enabled && !cfg!(feature = "observability") {
            let accepted = "false: metrics and traces are left out of this build (cargo feature `observability`)";
            return Err(refused("observability_enabled", true, accepted));
        }
        Ok(())
    }

    fn check_debug(&self) -> Result<(), ZerobusError> {
        let keeps_any = self.keeps_arrow() || self.keeps_protobuf();
        if keeps_any && self.debug_output_dir.as_ref().is_none_or(|directory| directory.as_os_str().is_empty()) {
            let message = "`debug_output_dir` is not set: debug files need a folder";
            return Err(ZerobusError::configuration(message));
        }
        if self.zerobus_writer_disabled && !keeps_any {
            let accepted =
                "false, or true with `debug_arrow_enabled` or `debug_protobuf_enabled`: rows would go nowhere";
            return Err(refused("zerobus_writer_disabled", true, accepted));
        }
        check_positive("debug_flush_interval_secs", self.debug_flush_interval_secs)?;
        self.debug_max_file_size.map_or(Ok(()), |bytes| check_positive("debug_max_file_size", bytes))
    }

    fn check_retry(&self) -> Result<(), ZerobusError> {
        check_positive("retry_max_attempts", self.retry_max_attempts.into())?;
        if self.retry_base_delay_ms > self.retry_max_delay_ms {
            let accepted = format!("at most `retry_max_delay_ms`, which is {}", self.retry_max_delay_ms);
            return Err(refused("retry_base_delay_ms", self.retry_base_delay_ms, &accepted));
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), ZerobusError> {
        check_positive("max_record_bytes", self.max_record_bytes as u64)?;
        check_positive("max_request_rows", self.max_request_rows as u64)?;
        check_positive("max_inflight_requests", self.max_inflight_requests as u64)?;
        check_positive("max_inflight_bytes", self.max_inflight_bytes as u64)?;
        check_positive("ack_timeout_ms", self.ack_timeout_ms)?;
        check_positive("flush_timeout_ms", self.flush_timeout_ms)?;
        check_positive("connect_timeout_ms", self.connect_timeout_ms)?;
        if self.max_request_bytes < self.max_record_bytes {
            let accepted = format!("at least `max_record_bytes`, which is {}", self.max_record_bytes);
            return Err(refused("max_request_bytes", self.max_request_bytes, &accepted));
        }
        Ok(())
    }

    /// Texts that become parts of headers.
    fn check_names(&self) -> Result<(), ZerobusError> {
        for (key, text) in [("workspace_id", &self.workspace_id), ("application_name", &self.application_name)] {
            if let Some(text) = text
                && (text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()))
            {
                return Err(refused(key, text.escape_debug(), "printable ASCII without blanks, one character or more"));
            }
        }
        if self.tls_ca_file.as_deref() == Some(Path::new("")) {
            return Err(refused("tls_ca_file", "", "the path of a PEM file"));
        }
        Ok(())
    }
}

impl OtlpSdkConfig {
    /// Checks every rule.
    ///
    /// # Errors
    /// `ConfigurationError` with the option, its value and what is accepted.
    pub fn validate(&self) -> Result<(), ZerobusError> {
        if let Some(endpoint) = &self.endpoint {
            check_url("observability_config.endpoint", endpoint)?;
        }
        if self.output_dir.as_deref() == Some(Path::new("")) {
            return Err(refused("observability_config.output_dir", "", "the path of a folder"));
        }
        check_positive("observability_config.write_interval_secs", self.write_interval_secs)?;
        if !LOG_LEVELS.contains(&self.log_level.as_str()) {
            return Err(refused("observability_config.log_level", &self.log_level, &LOG_LEVELS.join(", ")));
        }
        Ok(())
    }
}

const LOG_LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

/// The form of exporters that had another configuration; what is not in [`OtlpSdkConfig`] is kept and ignored.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
pub struct OtlpConfig {
    /// The OTLP collector.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// As in [`OtlpSdkConfig`].
    #[serde(default)]
    pub log_level: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl From<OtlpConfig> for OtlpSdkConfig {
    fn from(legacy: OtlpConfig) -> Self {
        let defaults = Self::default();
        Self { endpoint: legacy.endpoint, log_level: legacy.log_level.unwrap_or(defaults.log_level), ..defaults }
    }
}

fn check_url(key: &str, url: &str) -> Result<(), ZerobusError> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let authority = rest.map_or("", |rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    if authority.contains('@') {
        // What stands before it may be a password.
        return Err(refused(key, "***", "an address without a user"));
    }
    if authority.is_empty() || url.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err(refused(key, url.escape_debug(), "an address that begins with `https://` or `http://`"));
    }
    Ok(())
}

fn check_positive(key: &str, value: u64) -> Result<(), ZerobusError> {
    if value > 0 { Ok(()) } else { Err(refused(key, value, "1 or more")) }
}

/// The error of an option whose value is none of those accepted.
fn refused(key: &str, value: impl std::fmt::Display, accepted: &str) -> ZerobusError {
    ZerobusError::configuration(format!("`{key}` is `{value}`; accepted: {accepted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> WrapperConfiguration {
        WrapperConfiguration::new(" https://1.zerobus.eu-west-1.cloud.databricks.com ", "catalog.schema.table")
            .with_credentials("id", "dose-of-secret")
            .with_unity_catalog("https://workspace.cloud.databricks.com/")
    }

    #[test]
    fn f01_defaults_and_builders() {
        let config = valid();
        config.validate().unwrap();
        assert_eq!(config.zerobus_endpoint, "https://1.zerobus.eu-west-1.cloud.databricks.com");
        assert_eq!(config.unity_catalog_url.as_deref(), Some("https://workspace.cloud.databricks.com"));
        assert_eq!(
            (config.retry_max_attempts, config.retry_base_delay_ms, config.retry_max_delay_ms),
            (5, 100, 30_000)
        );
        assert_eq!((config.debug_flush_interval_secs, config.debug_max_file_size), (5, None));
        assert_eq!(config.debug_max_files_retained, Some(10));
        assert!(!config.keeps_arrow() && !config.keeps_protobuf() && !config.zerobus_writer_disabled);
        assert!(!config.observability_enabled && config.observability_config.is_none());
        let config = config
            .with_retry_config(1, 2, 3)
            .with_debug_output("out")
            .with_debug_flush_interval_secs(9)
            .with_debug_max_file_size(Some(8))
            .with_debug_max_files_retained(None)
            .with_zerobus_writer_disabled(true);
        config.validate().unwrap();
        assert_eq!((config.retry_max_attempts, config.retry_base_delay_ms, config.retry_max_delay_ms), (1, 2, 3));
        assert_eq!((config.debug_flush_interval_secs, config.debug_max_file_size), (9, Some(8)));
        assert_eq!(config.debug_max_files_retained, None);
    }

    #[test]
    fn f01_the_legacy_flag_turns_on_both_unless_one_was_chosen() {
        let kept = |config: WrapperConfiguration| (config.keeps_arrow(), config.keeps_protobuf());
        assert_eq!(kept(valid().with_debug_output("out")), (true, true));
        assert_eq!(kept(valid().with_debug_output("out").with_debug_arrow_enabled(true)), (true, false));
        assert_eq!(kept(valid().with_debug_output("out").with_debug_protobuf_enabled(false)), (false, false));
        assert_eq!(kept(valid().with_debug_protobuf_enabled(true)), (false, true));
    }

    #[test]
    fn f01_every_rule_names_option_value_and_what_is_accepted() {
        let nothing = WrapperConfiguration::new("https://h", "a.b.c");
        let otlp = OtlpSdkConfig::default();
        let with_otlp = |config| valid().with_observability(config);
        let cases: Vec<(WrapperConfiguration, &str)> = vec![
            (WrapperConfiguration { zerobus_endpoint: String::new(), ..valid() }, "`zerobus_endpoint` is ``"),
            (WrapperConfiguration { zerobus_endpoint: "host".into(), ..valid() }, "`zerobus_endpoint` is `host`"),
            (WrapperConfiguration { zerobus_endpoint: "https://".into(), ..valid() }, "begins with `https://`"),
            (WrapperConfiguration { table_name: "a..c".into(), ..valid() }, "`table_name` is `a..c`"),
            (WrapperConfiguration { table_name: "a.b.c.d".into(), ..valid() }, "`table_name`"),
            (WrapperConfiguration { table_name: "a.b.ü".into(), ..valid() }, "ASCII letters"),
            (WrapperConfiguration { table_name: "b.c".into(), ..valid() }, "all three parts"),
            (nothing.clone(), "`client_id` is not set"),
            (WrapperConfiguration { client_secret: None, ..valid() }, "`client_secret` is not set"),
            (nothing.with_credentials("id", "dose-of-secret"), "`unity_catalog_url` is not set"),
            (valid().with_unity_catalog("ftp://w"), "`unity_catalog_url` is `ftp://w`"),
            (valid().with_unity_catalog("https://user:dose-of-secret@w"), "without a user"),
            (valid().with_debug_arrow_enabled(true), "`debug_output_dir` is not set"),
            (valid().with_debug_output("d").with_debug_flush_interval_secs(0), "`debug_flush_interval_secs` is `0`"),
            (valid().with_debug_max_file_size(Some(0)), "`debug_max_file_size` is `0`"),
            (valid().with_retry_config(0, 1, 1), "`retry_max_attempts` is `0`"),
            (
                valid().with_retry_config(1, 3, 2),
                "`retry_base_delay_ms` is `3`; accepted: at most `retry_max_delay_ms`",
            ),
            (valid().with_zerobus_writer_disabled(true), "`zerobus_writer_disabled` is `true`"),
            (WrapperConfiguration { max_record_bytes: 0, ..valid() }, "`max_record_bytes` is `0`"),
            (WrapperConfiguration { max_request_bytes: 9, ..valid() }, "`max_request_bytes` is `9`"),
            (WrapperConfiguration { max_inflight_requests: 0, ..valid() }, "`max_inflight_requests`"),
            (WrapperConfiguration { workspace_id: Some(String::new()), ..valid() }, "`workspace_id`"),
            (
                WrapperConfiguration { application_name: Some("a\nb".into()), ..valid() },
                "`application_name` is `a\\nb`",
            ),
            (WrapperConfiguration { tls_ca_file: Some(PathBuf::new()), ..valid() }, "`tls_ca_file`"),
            (
                with_otlp(OtlpSdkConfig { endpoint: Some("c:4317".into()), ..otlp.clone() }),
                "config.endpoint` is `c:4317`",
            ),
            (with_otlp(OtlpSdkConfig { output_dir: Some(PathBuf::new()), ..otlp.clone() }), "config.output_dir`"),
            (with_otlp(OtlpSdkConfig { write_interval_secs: 0, ..otlp.clone() }), "config.write_interval_secs` is `0`"),
            (with_otlp(OtlpSdkConfig { log_level: "loud".into(), ..otlp }), "trace, debug, info, warn, error"),
        ];
        for (config, expected) in cases {
            let refusal = config.validate().unwrap_err();
            assert_eq!(refusal.error_type(), "ConfigurationError");
            let text = refusal.to_string();
            assert!(text.contains(expected) && !text.contains("dose-of-secret"), "{expected}: {text}");
        }
    }

    #[test]
    fn f01_a_disabled_writer_needs_no_sign_in() {
        let config = WrapperConfiguration::new("http://127.0.0.1:1", "table").with_debug_output("out");
        config.with_zerobus_writer_disabled(true).validate().unwrap();
    }

    #[test]
    fn f03_debug_output_has_no_secret() {
        let text = format!("{:?}", valid());
        assert!(text.contains("client_secret") && !text.contains("dose-of-secret"), "{text}");
    }

    #[test]
    fn f01_the_older_form_of_exporter_options_is_read() {
        let legacy: OtlpConfig = serde_json::from_str(r#"{"endpoint": "http://c", "batch": 3}"#).unwrap();
        assert_eq!(legacy.extra["batch"], 3);
        let current = OtlpSdkConfig::from(legacy);
        assert_eq!((current.endpoint.as_deref(), current.log_level.as_str()), (Some("http://c"), "info"));
    }
}
