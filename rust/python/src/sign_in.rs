//! The `auth` option to the kernel's credentials.

use std::path::PathBuf;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use seakernel::{Credentials, JwtAlgorithm, KeySource, Secret, SignIn, SignInMethod, SubjectToken};

use crate::browser::browser_sign_in;
use crate::token_callable::Auth;
use crate::{config, error};

/// Values of `type`, as the platform's own drivers name them.
const TYPES: [&str; 9] = [
    "oauth-m2m",
    "oauth-m2m-jwt",
    "oauth-u2m",
    "azure-client-secret",
    "azure-managed-identity",
    "env-oidc",
    "file-oidc",
    "github-oidc",
    "token-federation",
];

/// Returns how to sign in; exactly one of the arguments must be given.
pub(crate) fn credentials(
    py: Python<'_>,
    access_token: Option<&str>,
    auth: Option<&Bound<'_, PyAny>>,
    event_loop: Option<Py<PyAny>>,
) -> PyResult<Credentials> {
    match (access_token, auth) {
        (Some(token), None) => Ok(Credentials::access_token(token)),
        (None, Some(given)) => match Auth::of(given, event_loop)? {
            Auth::Group(options) => Ok(Credentials::SignIn(sign_in(&options)?)),
            Auth::Source(source) => Ok(Credentials::TokenSource(source)),
        },
        (Some(_), Some(_)) => {
            Err(error::invalid_argument(py, "`access_token` and `auth` are both given; give one of them"))
        }
        (None, None) => {
            Err(error::invalid_argument(py, "neither `access_token` nor `auth` is given; give one of them"))
        }
    }
}

fn sign_in(options: &Bound<'_, PyDict>) -> PyResult<SignIn> {
    let mut auth = Keys { options, known: vec!["type", "timeout_s"] };
    let kind = auth.text("type")?;
    let method = match kind.as_str() {
        "oauth-m2m" => SignInMethod::ClientSecret {
            client_id: auth.text("client_id")?,
            client_secret: auth.secret("client_secret")?,
            scopes: auth.scopes()?,
            token_url: auth.optional_text("token_url")?,
        },
        "oauth-m2m-jwt" => SignInMethod::SignedJwt {
            client_id: auth.text("client_id")?,
            key: auth.key()?,
            key_id: auth.text("key_id")?,
            passphrase: auth.optional_text("passphrase")?.map(Secret::from),
            algorithm: auth.algorithm()?,
            scopes: auth.scopes()?,
            token_url: auth.optional_text("token_url")?,
        },
        "azure-client-secret" | "azure-sp-m2m" => SignInMethod::AzureClientSecret {
            client_id: auth.text("azure_client_id")?,
            client_secret: auth.secret("azure_client_secret")?,
            tenant_id: auth.optional_text("azure_tenant_id")?,
            workspace_resource_id: auth.optional_text("azure_workspace_resource_id")?,
            login_url: auth.optional_text("login_url")?,
        },
        "azure-managed-identity" | "azure-msi" => SignInMethod::AzureManagedIdentity {
            client_id: auth.optional_text("azure_client_id")?,
            workspace_resource_id: auth.optional_text("azure_workspace_resource_id")?,
            endpoint: auth.optional_text("endpoint")?,
        },
        "env-oidc" => {
            let name = auth.optional_text("token_env")?.unwrap_or_else(|| "DATABRICKS_OIDC_TOKEN".to_owned());
            auth.exchange(SubjectToken::Environment(name))?
        }
        "file-oidc" => {
            let path = auth.path("token_file")?.ok_or_else(|| auth.wrong("token_file", "is missing"))?;
            auth.exchange(SubjectToken::File(path))?
        }
        "github-oidc" => {
            let audience = auth.optional_text("audience")?;
            auth.exchange(SubjectToken::Github { audience })?
        }
        "token-federation" => {
            let token = auth.secret("token")?;
            auth.exchange(SubjectToken::Fixed(token))?
        }
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
pub(crate) struct Keys<'a, 'py> {
    options: &'a Bound<'py, PyDict>,
    known: Vec<&'static str>,
}

impl<'py> Keys<'_, 'py> {
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

    /// A file; a name or what `os.fspath` makes one of.
    fn path(&mut self, key: &'static str) -> PyResult<Option<PathBuf>> {
        let Some(value) = self.given(key)? else { return Ok(None) };
        let path: Option<PathBuf> = if value.is_instance_of::<PyBytes>() { None } else { value.extract().ok() };
        match path {
            Some(path) if !path.as_os_str().is_empty() => Ok(Some(path)),
            Some(_) => Err(self.wrong(key, "is empty")),
            None => Err(self.wrong(key, &format!("is of type `{}`; expected a path", value.get_type().name()?))),
        }
    }

    /// A private key: its file, or itself as a text or bytes.
    fn key(&mut self) -> PyResult<KeySource> {
        let (file, pem) = (self.path("key_file")?, self.given("key_pem")?);
        match (file, pem) {
            (Some(_), Some(_)) => Err(self.wrong("key_file", "and `key_pem` are both given; give one of them")),
            (Some(path), None) => Ok(KeySource::File(path)),
            (None, Some(pem)) => match pem.cast::<PyBytes>() {
                Ok(bytes) => match std::str::from_utf8(bytes.as_bytes()) {
                    Ok(text) if !text.trim().is_empty() => Ok(KeySource::Pem(Secret::new(text))),
                    Ok(_) => Err(self.wrong("key_pem", "is empty")),
                    Err(_) => Err(self.wrong("key_pem", "is no text; a key in PEM is expected")),
                },
                Err(_) => Ok(KeySource::Pem(self.secret("key_pem")?)),
            },
            (None, None) => Err(self.wrong("key_file", "is missing, and so is `key_pem`; give one of them")),
        }
    }

    fn algorithm(&mut self) -> PyResult<JwtAlgorithm> {
        let Some(name) = self.optional_text("algorithm")? else { return Ok(JwtAlgorithm::default()) };
        JwtAlgorithm::of_name(&name).ok_or_else(|| {
            let known = JwtAlgorithm::ALL.map(JwtAlgorithm::name).join("`, `");
            self.wrong("algorithm", &format!("is none of `{known}`"))
        })
    }

    fn exchange(&mut self, subject: SubjectToken) -> PyResult<SignInMethod> {
        Ok(SignInMethod::TokenExchange {
            subject,
            client_id: self.optional_text("client_id")?,
            scopes: self.scopes()?,
            token_url: self.optional_text("token_url")?,
        })
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
        self.given(key)?.map(|value| config::seconds(key, &value)).transpose()
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
