//! Python options to the client's configuration.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyMapping, PyString};
use seakernel_zerobus::{IngestMode, NullListElement, OtlpSdkConfig, Secret, WrapperConfiguration};
use seakernel_zerobus::{load_from_env, load_from_yaml};

use crate::error;

#[pyclass(frozen, name = "WrapperConfiguration", module = "seakernel_zerobus")]
pub(crate) struct PyWrapperConfiguration {
    pub(crate) config: WrapperConfiguration,
}

const OPTIONS: [&str; 38] = [
    "client_id",
    "client_secret",
    "unity_catalog_url",
    "observability_enabled",
    "observability_config",
    "debug_enabled",
    "debug_arrow_enabled",
    "debug_protobuf_enabled",
    "debug_output_dir",
    "debug_flush_interval_secs",
    "debug_max_file_size",
    "debug_max_files_retained",
    "debug_rotation_rows",
    "debug_protobuf_framing",
    "retry_max_attempts",
    "retry_base_delay_ms",
    "retry_max_delay_ms",
    "zerobus_writer_disabled",
    "ingest_mode",
    "max_record_bytes",
    "max_request_bytes",
    "max_request_rows",
    "max_inflight_requests",
    "max_inflight_bytes",
    "ack_timeout_ms",
    "flush_timeout_ms",
    "connect_timeout_ms",
    "token_refresh_buffer_secs",
    "isolate_bad_rows",
    "isolate_max_probes",
    "null_list_element",
    "failure_backoff_enabled",
    "failure_backoff_shared",
    "workspace_id",
    "application_name",
    "tls_ca_file",
    "endpoint",
    "table_name",
];

/// Reads the arguments of `WrapperConfiguration`.
pub(crate) fn read(
    py: Python<'_>,
    endpoint: &str,
    table_name: &str,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<WrapperConfiguration> {
    let mut config = WrapperConfiguration::new(endpoint, table_name);
    for (key, value) in options.into_iter().flatten() {
        let key: String = key.extract()?;
        set(py, &mut config, &key, &value)?;
    }
    Ok(config)
}

fn set(py: Python<'_>, config: &mut WrapperConfiguration, key: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    match key {
        "client_id" => config.client_id = optional(key, value, text)?,
        // Without its value in any message.
        "client_secret" => config.client_secret = optional(key, value, text)?.map(|secret| Secret::new(&secret)),
        "unity_catalog_url" => match optional(key, value, text)? {
            Some(url) => *config = config.clone().with_unity_catalog(&url),
            None => config.unity_catalog_url = None,
        },
        "observability_enabled" => config.observability_enabled = truth(key, value)?,
        "observability_config" => config.observability_config = optional(key, value, otlp)?,
        "debug_enabled" => config.debug_enabled = truth(key, value)?,
        "debug_arrow_enabled" => config.debug_arrow_enabled = optional(key, value, truth)?,
        "debug_protobuf_enabled" => config.debug_protobuf_enabled = optional(key, value, truth)?,
        "debug_output_dir" => config.debug_output_dir = optional(key, value, path)?,
        "debug_flush_interval_secs" => config.debug_flush_interval_secs = whole(key, value)?,
        "debug_max_file_size" => config.debug_max_file_size = optional(key, value, whole)?,
        "debug_max_files_retained" => config.debug_max_files_retained = optional(key, value, whole)?,
        "debug_rotation_rows" => config.debug_rotation_rows = whole(key, value)?,
        "debug_protobuf_framing" => {
            config.debug_protobuf_newlines = match text(key, value)?.as_str() {
                "length-delimited" => false,
                "newline" => true,
                other => return Err(refused(py, key, other, "length-delimited, newline")),
            }
        }
        "retry_max_attempts" => config.retry_max_attempts = whole(key, value)?,
        "retry_base_delay_ms" => config.retry_base_delay_ms = whole(key, value)?,
        "retry_max_delay_ms" => config.retry_max_delay_ms = whole(key, value)?,
        "zerobus_writer_disabled" => config.zerobus_writer_disabled = truth(key, value)?,
        "ingest_mode" => config.ingest_mode = named(key, value)?,
        "max_record_bytes" => config.max_record_bytes = whole(key, value)?,
        "max_request_bytes" => config.max_request_bytes = whole(key, value)?,
        "max_request_rows" => config.max_request_rows = whole(key, value)?,
        "max_inflight_requests" => config.max_inflight_requests = whole(key, value)?,
        "max_inflight_bytes" => config.max_inflight_bytes = whole(key, value)?,
        "ack_timeout_ms" => config.ack_timeout_ms = whole(key, value)?,
        "flush_timeout_ms" => config.flush_timeout_ms = whole(key, value)?,
        "connect_timeout_ms" => config.connect_timeout_ms = whole(key, value)?,
        "token_refresh_buffer_secs" => config.token_refresh_buffer_secs = whole(key, value)?,
        "isolate_bad_rows" => config.isolate_bad_rows = truth(key, value)?,
        "isolate_max_probes" => config.isolate_max_probes = whole(key, value)?,
        "null_list_element" => config.null_list_element = named(key, value)?,
        "failure_backoff_enabled" => config.failure_backoff_enabled = truth(key, value)?,
        "failure_backoff_shared" => config.failure_backoff_shared = truth(key, value)?,
        "workspace_id" => config.workspace_id = optional(key, value, text)?,
        "application_name" => config.application_name = optional(key, value, text)?,
        "tls_ca_file" => config.tls_ca_file = optional(key, value, path)?,
        _ => return Err(PyTypeError::new_err(error::unknown_name(py, "`WrapperConfiguration`", key, &OPTIONS))),
    }
    Ok(())
}

#[pymethods]
impl PyWrapperConfiguration {
    #[new]
    #[pyo3(signature = (endpoint, table_name, **options))]
    fn new(py: Python<'_>, endpoint: &str, table_name: &str, options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        Ok(Self { config: read(py, endpoint, table_name, options)? })
    }

    #[staticmethod]
    fn from_yaml(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let config = py.detach(|| load_from_yaml(path)).map_err(|failure| error::from_client(py, &failure))?;
        Ok(Self { config })
    }

    #[staticmethod]
    fn from_env(py: Python<'_>) -> PyResult<Self> {
        let config = load_from_env().map_err(|failure| error::from_client(py, &failure))?;
        Ok(Self { config })
    }

    fn validate(&self, py: Python<'_>) -> PyResult<()> {
        self.config.validate().map_err(|failure| error::from_client(py, &failure))
    }

    fn __repr__(&self) -> String {
        let (endpoint, table_name) = (&self.config.zerobus_endpoint, &self.config.table_name);
        format!("WrapperConfiguration(endpoint={endpoint:?}, table_name={table_name:?}, ...)")
    }

    #[getter]
    fn endpoint(&self) -> &str {
        &self.config.zerobus_endpoint
    }

    #[getter]
    fn table_name(&self) -> &str {
        &self.config.table_name
    }

    #[getter]
    fn client_id(&self) -> Option<&str> {
        self.config.client_id.as_deref()
    }

    #[getter]
    fn unity_catalog_url(&self) -> Option<&str> {
        self.config.unity_catalog_url.as_deref()
    }

    #[getter]
    fn observability_enabled(&self) -> bool {
        self.config.observability_enabled
    }

    #[getter]
    fn observability_config<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(config) = &self.config.observability_config else { return Ok(None) };
        let options = PyDict::new(py);
        options.set_item("endpoint", config.endpoint.as_deref())?;
        options.set_item("output_dir", config.output_dir.as_ref().map(|path| path.as_os_str()))?;
        options.set_item("write_interval_secs", config.write_interval_secs)?;
        options.set_item("log_level", &config.log_level)?;
        Ok(Some(options))
    }

    #[getter]
    fn debug_enabled(&self) -> bool {
        self.config.debug_enabled
    }

    #[getter]
    fn debug_arrow_enabled(&self) -> bool {
        self.config.keeps_arrow()
    }

    #[getter]
    fn debug_protobuf_enabled(&self) -> bool {
        self.config.keeps_protobuf()
    }

    #[getter]
    fn debug_output_dir(&self) -> Option<OsString> {
        self.config.debug_output_dir.clone().map(PathBuf::into_os_string)
    }

    #[getter]
    fn debug_flush_interval_secs(&self) -> u64 {
        self.config.debug_flush_interval_secs
    }

    #[getter]
    fn debug_max_file_size(&self) -> Option<u64> {
        self.config.debug_max_file_size
    }

    #[getter]
    fn debug_max_files_retained(&self) -> Option<usize> {
        self.config.debug_max_files_retained
    }

    #[getter]
    fn debug_rotation_rows(&self) -> u64 {
        self.config.debug_rotation_rows
    }

    #[getter]
    fn debug_protobuf_framing(&self) -> &'static str {
        if self.config.debug_protobuf_newlines { "newline" } else { "length-delimited" }
    }

    #[getter]
    fn retry_max_attempts(&self) -> u32 {
        self.config.retry_max_attempts
    }

    #[getter]
    fn retry_base_delay_ms(&self) -> u64 {
        self.config.retry_base_delay_ms
    }

    #[getter]
    fn retry_max_delay_ms(&self) -> u64 {
        self.config.retry_max_delay_ms
    }

    #[getter]
    fn zerobus_writer_disabled(&self) -> bool {
        self.config.zerobus_writer_disabled
    }

    #[getter]
    fn ingest_mode(&self) -> &'static str {
        match self.config.ingest_mode {
            IngestMode::Proto => "proto",
            IngestMode::Arrow => "arrow",
        }
    }

    #[getter]
    fn max_record_bytes(&self) -> usize {
        self.config.max_record_bytes
    }

    #[getter]
    fn max_request_bytes(&self) -> usize {
        self.config.max_request_bytes
    }

    #[getter]
    fn max_request_rows(&self) -> usize {
        self.config.max_request_rows
    }

    #[getter]
    fn max_inflight_requests(&self) -> usize {
        self.config.max_inflight_requests
    }

    #[getter]
    fn max_inflight_bytes(&self) -> usize {
        self.config.max_inflight_bytes
    }

    #[getter]
    fn ack_timeout_ms(&self) -> u64 {
        self.config.ack_timeout_ms
    }

    #[getter]
    fn flush_timeout_ms(&self) -> u64 {
        self.config.flush_timeout_ms
    }

    #[getter]
    fn connect_timeout_ms(&self) -> u64 {
        self.config.connect_timeout_ms
    }

    #[getter]
    fn token_refresh_buffer_secs(&self) -> u64 {
        self.config.token_refresh_buffer_secs
    }

    #[getter]
    fn isolate_bad_rows(&self) -> bool {
        self.config.isolate_bad_rows
    }

    #[getter]
    fn isolate_max_probes(&self) -> u32 {
        self.config.isolate_max_probes
    }

    #[getter]
    fn null_list_element(&self) -> &'static str {
        match self.config.null_list_element {
            NullListElement::Error => "error",
            NullListElement::Drop => "drop",
        }
    }

    #[getter]
    fn failure_backoff_enabled(&self) -> bool {
        self.config.failure_backoff_enabled
    }

    #[getter]
    fn failure_backoff_shared(&self) -> bool {
        self.config.failure_backoff_shared
    }

    #[getter]
    fn workspace_id(&self) -> Option<&str> {
        self.config.workspace_id.as_deref()
    }

    #[getter]
    fn application_name(&self) -> Option<&str> {
        self.config.application_name.as_deref()
    }

    #[getter]
    fn tls_ca_file(&self) -> Option<OsString> {
        self.config.tls_ca_file.clone().map(PathBuf::into_os_string)
    }
}

type Reader<T> = fn(&str, &Bound<'_, PyAny>) -> PyResult<T>;

fn optional<T>(key: &str, value: &Bound<'_, PyAny>, read: Reader<T>) -> PyResult<Option<T>> {
    if value.is_none() { Ok(None) } else { read(key, value).map(Some) }
}

pub(crate) fn text(key: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = value.cast::<PyString>().map_err(|_| error::wrong_type(key, value, "str"))?;
    // Python's own error has the text, which may be a secret.
    let text = text.to_str().map_err(|_| error::configuration(value.py(), format!("`{key}` is no valid text")))?;
    Ok(text.to_owned())
}

fn truth(key: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let truth = value.cast::<PyBool>().map_err(|_| error::wrong_type(key, value, "True, False"))?;
    Ok(truth.is_true())
}

fn path(key: &str, value: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    value.extract().map_err(|_| error::wrong_type(key, value, "str, os.PathLike"))
}

fn whole<T: for<'a, 'py> FromPyObject<'a, 'py>>(key: &str, value: &Bound<'_, PyAny>) -> PyResult<T> {
    if !value.is_instance_of::<PyInt>() || value.is_instance_of::<PyBool>() {
        return Err(error::wrong_type(key, value, "int"));
    }
    value.extract().map_err(|_| refused(value.py(), key, &value.to_string(), "a whole number, 0 or more"))
}

fn named<T: FromStr<Err = &'static str>>(key: &str, value: &Bound<'_, PyAny>) -> PyResult<T> {
    let text = text(key, value)?;
    text.parse().map_err(|accepted| refused(value.py(), key, &text, accepted))
}

/// Reads the dictionary of exporters, all of whose failures are a `ConfigurationError`.
fn otlp(key: &str, value: &Bound<'_, PyAny>) -> PyResult<OtlpSdkConfig> {
    const KEYS: [&str; 4] = ["endpoint", "output_dir", "write_interval_secs", "log_level"];
    let py = value.py();
    let as_configuration = |raised: PyErr| error::configuration(py, raised.value(py).to_string());
    let options = value.cast::<PyMapping>().map_err(|_| as_configuration(error::wrong_type(key, value, "dict")))?;
    let options: BTreeMap<String, Bound<'_, PyAny>> =
        PyDict::from_sequence(options.items()?.as_any())?.extract().map_err(as_configuration)?;
    let mut config = OtlpSdkConfig::default();
    for (name, value) in &options {
        let place = format!("{key}.{name}");
        match name.as_str() {
            "endpoint" => config.endpoint = optional(&place, value, text).map_err(as_configuration)?,
            "output_dir" => config.output_dir = optional(&place, value, path).map_err(as_configuration)?,
            "write_interval_secs" => config.write_interval_secs = whole(&place, value).map_err(as_configuration)?,
            "log_level" => config.log_level = text(&place, value).map_err(as_configuration)?,
            _ => return Err(error::configuration(py, error::unknown_name(py, "`observability_config`", name, &KEYS))),
        }
    }
    Ok(config)
}

fn refused(py: Python<'_>, key: &str, value: &str, accepted: &str) -> PyErr {
    error::configuration(py, format!("`{key}` is `{value}`; accepted: {accepted}"))
}
