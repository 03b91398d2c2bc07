//! Python options to the kernel's configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyMapping, PyString};
use seakernel::{
    CloudFetch, Proxy, ProxyConfig, RequestConfig, ResultConfig, RetryConfig, Secret, TlsConfig, ValueForm,
};

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
            "private_storage_addresses" => config.private_storage_addresses = Some(truth(&key, &value)?),
            "complex_types" => config.complex_types = form(&key, &value, "json")?,
            "intervals" => config.intervals = form(&key, &value, "text")?,
            "geospatial" => config.geospatial = form(&key, &value, "text")?,
            "void" => config.void = form(&key, &value, "text")?,
            "cloud_fetch" => config.cloud_fetch = cloud_fetch(&key, &value)?,
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
    const KEYS: [&str; 7] = [
        "ca_certificates_pem",
        "ca_certificates_file",
        "client_certificate_pem",
        "client_key_pem",
        "client_key_passphrase",
        "verify_certificates",
        "verify_hostnames",
    ];
    let mut config = TlsConfig::default();
    for (key, value) in options.iter() {
        let key: String = key.extract()?;
        check_pem(&key, &value)?;
        match key.as_str() {
            "ca_certificates_pem" => config.ca_certificates_pem = value.extract()?,
            "ca_certificates_file" => config.ca_certificates_file = file_name(&key, &value)?,
            "client_key_passphrase" => config.client_key_passphrase = passphrase(&key, &value)?,
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

/// Reads the `proxy` option: an address, False for none, or a group.
pub(crate) fn proxy_config(value: &Bound<'_, PyAny>) -> PyResult<ProxyConfig> {
    const KEYS: [&str; 4] = ["url", "username", "password", "no_proxy"];
    let py = value.py();
    let wrong = |what: &str| {
        let expected = "an address like `http://user:password@host:port`, a group with a `url`, or False for no proxy";
        error::invalid_argument(py, &format!("`proxy` {what}; expected {expected}"))
    };
    if let Ok(truth) = value.cast::<PyBool>() {
        return if truth.is_true() { Err(wrong("is True")) } else { Ok(ProxyConfig::Off) };
    }
    if let Ok(address) = value.extract::<String>() {
        return proxy(py, Proxy::new(&address)).map(ProxyConfig::Through);
    }
    let Ok(group) = value.cast::<PyMapping>() else {
        return Err(wrong(&format!("is of type `{}`", value.get_type().name()?)));
    };
    let (mut address, mut username, mut password, mut no_proxy) = (None, None, None, Vec::new());
    for item in group.items()? {
        let (key, value): (String, Bound<'_, PyAny>) = item.extract()?;
        if value.is_none() {
            continue;
        }
        let text = || {
            let given = value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
            let message = format!("`{key}` of `proxy` is of type `{given}`; expected a text");
            value.extract::<String>().map_err(|_| error::invalid_argument(py, &message))
        };
        match key.as_str() {
            "url" => address = Some(text()?),
            "username" => username = Some(text()?),
            "password" => password = Some(Secret::new(&text()?)),
            "no_proxy" => {
                no_proxy = match value.extract::<String>() {
                    Ok(hosts) => vec![hosts],
                    Err(_) => value.extract().map_err(|_| {
                        error::invalid_argument(py, "`no_proxy` of `proxy` is neither a text nor a list of hosts")
                    })?,
                };
            }
            _ => return Err(error::unknown_key(py, "proxy", &key, &KEYS)),
        }
    }
    let Some(address) = address else { return Err(wrong("has no `url`")) };
    let mut read = proxy(py, Proxy::new(&address))?.except(&no_proxy);
    match (username, password) {
        (None, None) => {}
        (Some(username), password) => {
            let password = password.unwrap_or_else(|| Secret::new(""));
            read = proxy(py, read.with_credentials(&username, &password))?;
        }
        (None, Some(_)) => {
            return Err(error::invalid_argument(py, "`proxy` has a `password` without a `username`; give both"));
        }
    }
    Ok(ProxyConfig::Through(read))
}

/// Returns the proxy of the environment for an address, with its password, for what makes connections of its own.
#[pyfunction]
pub(crate) fn environment_proxy(py: Python<'_>, url: &str) -> PyResult<Option<String>> {
    ProxyConfig::Environment.address_for(url).map_err(|failure| error::from_kernel(py, failure))
}

fn proxy(py: Python<'_>, read: seakernel::Result<Proxy>) -> PyResult<Proxy> {
    read.map_err(|failure| error::from_kernel(py, failure))
}

/// Reads `auto`, `on` or `off`; True means `on` and False `off`.
fn cloud_fetch(name: &str, value: &Bound<'_, PyAny>) -> PyResult<CloudFetch> {
    let word = match value.cast::<PyBool>() {
        Ok(truth) => return Ok(if truth.is_true() { CloudFetch::On } else { CloudFetch::Off }),
        Err(_) => value.extract::<&str>(),
    };
    match word {
        Ok("auto") => Ok(CloudFetch::Auto),
        Ok("on") => Ok(CloudFetch::On),
        Ok("off") => Ok(CloudFetch::Off),
        _ => {
            let given = value.repr().map_or_else(|_| "?".to_owned(), |given| given.to_string());
            let message = format!("`{name}` is {given}; expected \"auto\", \"on\" or \"off\", or True or False");
            Err(error::invalid_argument(value.py(), &message))
        }
    }
}

/// Reads the name of a file.
fn file_name(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<PathBuf>> {
    let path: Option<PathBuf> = value.extract().map_err(|_| {
        let given = value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        error::invalid_argument(value.py(), &format!("`{name}` is of type `{given}`; expected the name of a file"))
    })?;
    if path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
        return Err(error::invalid_argument(value.py(), &format!("`{name}` is empty; expected the name of a file")));
    }
    Ok(path)
}

/// Reads a passphrase, text or bytes; the error repeats nothing of it.
fn passphrase(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<Secret>> {
    if value.is_none() {
        return Ok(None);
    }
    let text = match value.extract::<String>() {
        Ok(text) => Some(text),
        Err(_) => value.extract::<Vec<u8>>().ok().and_then(|bytes| String::from_utf8(bytes).ok()),
    };
    let message = || format!("`{name}` is neither a text nor bytes in UTF-8");
    text.map(|text| Some(Secret::new(&text))).ok_or_else(|| error::invalid_argument(value.py(), &message()))
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
