//! Python options to the kernel's configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString};
use seakernel::{ResultConfig, RetryConfig, ValueForm};

use crate::error;

/// Reads the `results` option.
pub(crate) fn result_config(options: &Bound<'_, PyDict>) -> PyResult<ResultConfig> {
    const KEYS: [&str; 10] = [
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
    ];
    let mut config = ResultConfig::default();
    for (key, value) in options.iter() {
        let key: String = key.extract()?;
        match key.as_str() {
            "memory_budget_bytes" => config.memory_budget = positive(&key, &value)?,
            "max_concurrent_downloads" => config.max_concurrent_downloads = positive(&key, &value)?,
            "compression" => config.compression = value.extract()?,
            "download_idle_timeout_s" => config.download_idle_timeout = seconds(&key, &value)?,
            "max_chunk_bytes" => config.max_chunk_bytes = positive(&key, &value)?,
            "private_storage_addresses" => config.private_storage_addresses = value.extract()?,
            "complex_types" => config.complex_types = form(&key, &value, "json")?,
            "intervals" => config.intervals = form(&key, &value, "text")?,
            "geospatial" => config.geospatial = form(&key, &value, "text")?,
            "void" => config.void = form(&key, &value, "text")?,
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
        _ => {
            let given = value.repr().map_or_else(|_| "?".to_owned(), |given| given.to_string());
            let message = format!("`{name}` is {given}; expected \"native\" or \"{text}\"");
            Err(error::invalid_argument(value.py(), &message))
        }
    }
}

/// Reads a number of seconds, fractions included.
pub(crate) fn seconds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let number: f64 = value.extract()?;
    Duration::try_from_secs_f64(number).ok().filter(|duration| !duration.is_zero()).ok_or_else(|| {
        error::invalid_argument(value.py(), &format!("`{name}` is {number}; expected a positive number of seconds"))
    })
}

fn positive(name: &str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    value.extract::<usize>().ok().filter(|number| *number > 0).ok_or_else(|| {
        let given = value.repr().map_or_else(|_| "?".to_owned(), |text| text.to_string());
        error::invalid_argument(value.py(), &format!("`{name}` is {given}; expected a positive integer"))
    })
}
