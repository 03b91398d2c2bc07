//! Python options to the kernel's configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyMapping, PyString};
use seakernel::{RequestConfig, ResultConfig, RetryConfig, Secret, TlsConfig, ValueForm};

use crate::error;

/// Reads the `results` option.
pub(crate) fn result_config(options: &Bound<'_, PyDict>) -> PyResult<ResultConfig> {
    const KEYS: [&str; 11] = [
        "memory_budget_bytes",
        "max_concurrent_downloads",
        "compression",
        "download_idle_timeout_s",
        "max_chunk_bytes",
        "private_storage_addresses",
        "complex_types",
        "intervals",
        "geospatial",
        "void",
        "cloud_fetch",
    ];
    let mut config = ResultConfig::default();
    for (key, value) in options.iter() {
        let key: String = key.extract()?;
        match key.as_str() {
            "memory_budget_bytes" => config.memory_budget = positive(&key, &value)?,
            "max_concurrent_downloads" => config.max_concurrent_downloads = positive(&key, &value)?,
            "compression" => config.compression = truth(&key, &value)?,
            "download_idle_timeout_s" => config.download_idle_timeout = seconds(&key, &value)?,
            "max_chunk_bytes" => config.max_chunk_bytes = positive(&key, &value)?,
            "private_storage_addresses" => config.private_storage_addresses = truth(&key, &value)?,
            "complex_types" => config.complex_types = form(&key, &value, "json")?,
            "intervals" => config.intervals = form(&key, &value, "text")?,
            "geospatial" => config.geospatial = form(&key, &value, "text")?,
            "void" => config.void = form(&key, &value, "text")?,
            "cloud_fetch" => config.cloud_fetch = truth(&key, &value)?,
            _ => return Err(error::unknown_key(options.py(), "results", &key, &KEYS)),
        }
    }
    Ok(config)
}

/// Reads the `retry` option.
pub(crate) fn retry_config(options: &Bound<'_, PyDict>) -> PyResult<RetryConfig> {
    const KEYS: [&str; 4] = ["max_attempts", "min_wait_s", "max_wait_s", "max_elapsed_s"];
    let mut config = RetryConfig::default();
    for (key, value) in options.iter() {
        let key: String = key.extract()?;
        match key.as_str() {
            "max_attempts" => {
                config.max_attempts = u32::try_from(positive(&key, &value)?).unwrap_or(u32::MAX);
            }
            "min_wait_s" => config.min_wait = seconds(&key, &value)?,
            "max_wait_s" => config.max_wait = seconds(&key, &value)?,
            "max_elapsed_s" => config.max_elapsed = seconds(&key, &value)?,
            _ => return Err(error::unknown_key(options.py(), "retry", &key, &KEYS)),
        }
    }
    if config.min_wait > config.max_wait && options.contains("min_wait_s")? && options.contains("max_wait_s")? {
        return Err(error::invalid_argument(options.py(), "`min_wait_s` is longer than `max_wait_s`; exchange them"));
    }
    Ok(config)
}

/// Reads the `requests` option.
pub(crate) fn request_config(options: &Bound<'_, PyDict>) -> PyResult<RequestConfig> {
    const KEYS: [&str; 3] = ["headers", "timeout_s", "max_idle_connections"];
    let mut config = RequestConfig::default();
    for (key, value) in options.iter() {
        let key: String = key.extract()?;
        match key.as_str() {
            "headers" => config.headers = headers(&value)?,
            "timeout_s" => config.timeout = if value.is_none() { None } else { Some(seconds(&key, &value)?) },
            "max_idle_connections" => config.max_idle_connections = positive(&key, &value)?,
            _ => return Err(error::unknown_key(options.py(), "requests", &key, &KEYS)),
        }
    }
    Ok(config)
}

/// Reads headers: a mapping, or pairs where a name comes more than once.
fn headers(value: &Bound<'_, PyAny>) -> PyResult<Vec<(String, Secret)>> {
    let pairs = match value.cast::<PyMapping>() {
        Ok(mapping) => mapping.items()?.into_any(),
        Err(_) => value.clone(),
    };
    let pairs: Vec<(String, String)> = pairs.extract().map_err(|_| {
        error::invalid_argument(value.py(), "`headers` is neither a mapping of texts nor a list of pairs of texts")
    })?;
    Ok(pairs.into_iter().map(|(name, value)| (name, Secret::new(&value))).collect())
}

/// Reads the `tls` option.
pub(crate) fn tls_config(options: &Bound<'_, PyDict>) -> PyResult<TlsConfig> {
    const KEYS: [&str; 5] =
        ["ca_certificates_pem", "client_certificate_pem", "client_key_pem", "verify_certificates", "verify_hostnames"];
    let mut config = TlsConfig::default();
    for (key, value) in options.iter() {
        let key: String = key.extract()?;
        check_pem(&key, &value)?;
        match key.as_str() {
            "ca_certificates_pem" => config.ca_certificates_pem = value.extract()?,
            "client_certificate_pem" => config.client_certificate_pem = value.extract()?,
            "client_key_pem" => {
                let bytes: Option<Vec<u8>> = value.extract()?;
                let text = bytes
                    .map(String::from_utf8)
                    .transpose()
                    .map_err(|_| error::invalid_argument(value.py(), "`client_key_pem` is not PEM, which is text"))?;
                config.client_key_pem = text.map(|text| Secret::new(&text));
            }
            "verify_certificates" => config.verify_certificates = truth(&key, &value)?,
            "verify_hostnames" => config.verify_hostnames = truth(&key, &value)?,
            _ => return Err(error::unknown_key(options.py(), "tls", &key, &KEYS)),
        }
    }
    Ok(config)
}

/// Reads session parameters. Numbers and booleans are sent as SQL writes them.
pub(crate) fn session_configuration(options: &Bound<'_, PyDict>) -> PyResult<BTreeMap<String, String>> {
    let mut configuration = BTreeMap::new();
    for (key, value) in options.iter() {
        let key: String = key.extract()?;
        let text = if let Ok(truth) = value.cast::<PyBool>() {
            truth.is_true().to_string()
        } else if value.is_instance_of::<PyString>()
            || value.is_instance_of::<PyInt>()
            || value.is_instance_of::<PyFloat>()
        {
            value.str()?.to_str()?.to_owned()
        } else {
            let given = value.get_type().name()?;
            let message = format!("`session_configuration` has a `{given}` for `{key}`; expected text");
            return Err(error::invalid_argument(options.py(), &message));
        };
        configuration.insert(key, text);
    }
    Ok(configuration)
}

/// Reads `native`, or the word for the type's text.
fn form(name: &str, value: &Bound<'_, PyAny>, text: &str) -> PyResult<ValueForm> {
    match value.extract::<&str>() {
        Ok("native") => Ok(ValueForm::Native),
        Ok(word) if word == text => Ok(ValueForm::Text),
        _ => Err(wrong(name, value, &format!("\"native\" or \"{text}\""))),
    }
}

/// Reads True or False; what may stand for them elsewhere, such as texts, is refused.
fn truth(name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value.cast::<PyBool>().map(PyBoolMethods::is_true).map_err(|_| wrong(name, value, "True or False"))
}

/// Refuses what is no bytes where PEM is expected; nothing of it is repeated, for it may be a key.
fn check_pem(name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    if !name.ends_with("_pem") || value.is_none() || value.is_instance_of::<PyBytes>() {
        return Ok(());
    }
    let given = value.get_type().name()?;
    let message = format!("`{name}` is of type `{given}`; expected bytes, as `Path(...).read_bytes()` gives them");
    Err(error::invalid_argument(value.py(), &message))
}

fn wrong(name: &str, value: &Bound<'_, PyAny>, expected: &str) -> PyErr {
    let given = value.repr().map_or_else(|_| "?".to_owned(), |given| given.to_string());
    error::invalid_argument(value.py(), &format!("`{name}` is {given}; expected {expected}"))
}

/// Reads a number of seconds, fractions included.
pub(crate) fn seconds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let number = if value.is_instance_of::<PyBool>() { None } else { value.extract::<f64>().ok() };
    number
        .and_then(|number| Duration::try_from_secs_f64(number).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| wrong(name, value, "a positive number of seconds"))
}

fn positive(name: &str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    let number = if value.is_instance_of::<PyBool>() { None } else { value.extract::<usize>().ok() };
    number.filter(|number| *number > 0).ok_or_else(|| wrong(name, value, "a positive integer"))
}
