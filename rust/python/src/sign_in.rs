//! The `auth` option to the kernel's credentials.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use seakernel::{Credentials, Secret, SignIn, SignInMethod};

use crate::browser::browser_sign_in;
use crate::{config, error};

/// Values of `type`, as the platform's own drivers name them.
const TYPES: [&str; 2] = ["oauth-m2m", "oauth-u2m"];

/// Returns how to sign in; exactly one of the arguments must be given.
pub(crate) fn credentials(
    py: Python<'_>,
    access_token: Option<&str>,
    auth: Option<&Bound<'_, PyDict>>,
) -> PyResult<Credentials> {
    match (access_token, auth) {
        (Some(token), None) => Ok(Credentials::access_token(token)),
        (None, Some(options)) => Ok(Credentials::SignIn(sign_in(options)?)),
        (Some(_), Some(_)) => {
            Err(error::invalid_argument(py, "`access_token` and `auth` are both given; give one of them"))
        }
        (None, None) => {
            Err(error::invalid_argument(py, "neither `access_token` nor `auth` is given; give one of them"))
        }
    }
}

fn sign_in(options: &Bound<'_, PyDict>) -> PyResult<SignIn> {
    let mut auth = Auth { options, known: vec!["type", "timeout_s"] };
    let kind = auth.text("type")?;
    let method = match kind.as_str() {
        "oauth-m2m" => SignInMethod::ClientSecret {
            client_id: auth.text("client_id")?,
            client_secret: auth.secret("client_secret")?,
            scopes: auth.scopes()?,
            token_url: auth.optional_text("token_url")?,
        },
        "oauth-u2m" => SignInMethod::Browser(browser_sign_in(&mut auth)?),
        _ => {
            let types = TYPES.join("`, `");
            let message = format!("`auth` has the type `{kind}`; expected one of `{types}`");
            return Err(error::invalid_argument(options.py(), &message));
        }
    };
    auth.check_keys()?;
    let mut sign_in = SignIn::new(method);
    if let Some(limit) = auth.seconds("timeout_s")? {
        sign_in.time_limit = limit;
    }
    Ok(sign_in)
}

/// The keys of `auth`, each checked as it is read.
pub(crate) struct Auth<'a, 'py> {
    options: &'a Bound<'py, PyDict>,
    known: Vec<&'static str>,
}

impl<'py> Auth<'_, 'py> {
    pub(crate) fn given(&mut self, key: &'static str) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.known.push(key);
        Ok(self.options.get_item(key)?.filter(|value| !value.is_none()))
    }

    /// Refuses a value; its text is never repeated, for a secret may stand under the wrong key.
    pub(crate) fn wrong(&self, key: &str, what: &str) -> PyErr {
        error::invalid_argument(self.options.py(), &format!("`auth`: `{key}` {what}"))
    }

    pub(crate) fn optional_text(&mut self, key: &'static str) -> PyResult<Option<String>> {
        let Some(value) = self.given(key)? else { return Ok(None) };
        let Ok(text) = value.cast::<PyString>() else {
            let given = value.get_type().name()?;
            return Err(self.wrong(key, &format!("is of type `{given}`; expected a text")));
        };
        let text = text.to_str()?.to_owned();
        if text.trim().is_empty() {
            return Err(self.wrong(key, "is empty"));
        }
        Ok(Some(text))
    }

    fn text(&mut self, key: &'static str) -> PyResult<String> {
        self.optional_text(key)?.ok_or_else(|| self.wrong(key, "is missing"))
    }

    fn secret(&mut self, key: &'static str) -> PyResult<Secret> {
        self.text(key).map(Secret::from)
    }

    /// A list of texts; a single text is refused, for its characters would be taken for scopes.
    pub(crate) fn scopes(&mut self) -> PyResult<Option<Vec<String>>> {
        let Some(value) = self.given("scopes")? else { return Ok(None) };
        let scopes: Option<Vec<String>> = if value.is_instance_of::<PyString>() { None } else { value.extract().ok() };
        match scopes.filter(|scopes| !scopes.is_empty() && scopes.iter().all(|scope| !scope.trim().is_empty())) {
            Some(scopes) => Ok(Some(scopes)),
            None => Err(self.wrong("scopes", "is not a list of texts, such as [\"all-apis\"]")),
        }
    }

    pub(crate) fn seconds(&mut self, key: &'static str) -> PyResult<Option<Duration>> {
        let Some(value) = self.given(key)? else { return Ok(None) };
        if value.extract::<f64>().is_err() {
            return Err(self.wrong(key, "is no number of seconds"));
        }
        config::seconds(key, &value).map(Some)
    }

    /// Refuses keys that were not read.
    fn check_keys(&self) -> PyResult<()> {
        for key in self.options.keys() {
            let key: String = key.extract()?;
            if !self.known.contains(&key.as_str()) {
                return Err(error::unknown_key(self.options.py(), "auth", &key, &self.known));
            }
        }
        Ok(())
    }
}
