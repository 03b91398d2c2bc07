//! How to write, and where to.

use std::path::PathBuf;

use seakernel::Secret;

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
    /// A folder for files of OTLP JSON.
    pub output_dir: Option<PathBuf>,
    /// Seconds between two exports. Default 5.
    pub write_interval_secs: u64,
    /// `trace`, `debug`, `info`, `warn` or `error`. Default `info`.
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
    /// Both debug formats, unless one of the next two says otherwise. Default false.
    pub debug_enabled: bool,
    /// Whether batches are kept as Arrow files; unset follows `debug_enabled`.
    pub debug_arrow_enabled: Option<bool>,
    /// Whether records are kept as Protobuf files; unset follows `debug_enabled`.
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
    /// Id of the workspace. Default: the first label of the endpoint's host.
    pub workspace_id: Option<String>,
    /// Name of the application, for the user agent.
    pub application_name: Option<String>,
    /// A PEM file with the authorities to trust for the endpoint, besides the system's.
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
            workspace_id: None,
            application_name: None,
            tls_ca_file: None,
        }
    }
}
