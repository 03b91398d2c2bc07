//! Signing in with a browser: the keys of `auth`, and Python's way of opening pages.

use std::error::Error as StdError;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyCFunction};
use seakernel::{BrowserSignIn, OpenPage, TokenCache};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::sign_in::Keys;
use crate::visit::Visit;

/// Reads the keys of the type `oauth-u2m`.
pub(crate) fn browser_sign_in(auth: &mut Keys<'_, '_>) -> PyResult<BrowserSignIn> {
    let function = auth.given("open_browser")?;
    if let Some(function) = &function
        && !function.is_callable()
    {
        return Err(auth.wrong("open_browser", "is not a function; expected one that takes the address of a page"));
    }
    let mut options =
        BrowserSignIn::new(Arc::new(PythonBrowser { function: function.map(|it| Arc::new(it.unbind())) }));
    if let Some(client_id) = auth.optional_text("client_id")? {
        options.client_id = client_id;
    }
    options.client_secret = auth.optional_text("client_secret")?.map(Into::into);
    if let Some(scopes) = auth.scopes()? {
        options.scopes = scopes;
    }
    options.redirect_ports = ports(auth)?;
    if let Some(limit) = auth.seconds("callback_timeout_s")? {
        options.callback_timeout = limit;
    }
    options.token_url = auth.optional_text("token_url")?;
    options.cache = cache(auth)?;
    Ok(options)
}

fn ports(auth: &mut Keys<'_, '_>) -> PyResult<Option<Vec<u16>>> {
    let Some(value) = auth.given("redirect_ports")? else { return Ok(None) };
    match value.extract::<Vec<u16>>() {
        Ok(ports) if !ports.is_empty() && !value.is_instance_of::<pyo3::types::PyBytes>() => Ok(Some(ports)),
        _ => Err(auth.wrong("redirect_ports", "is not a list of ports, such as [8020, 8021]")),
    }
}

fn cache(auth: &mut Keys<'_, '_>) -> PyResult<Option<TokenCache>> {
    let (value, passphrase) = (auth.given("cache")?, auth.optional_text("cache_passphrase")?);
    let folder = match value {
        Some(value) => match value.cast::<PyBool>() {
            Ok(truth) if truth.is_true() => Some(None),
            Ok(_) => None,
            // `~` is the user's home, as everywhere in Python where files are named by hand.
            Err(_) => match value
                .py()
                .import("os.path")?
                .call_method1("expanduser", (&value,))
                .and_then(|it| it.extract::<PathBuf>())
            {
                Ok(path) if !path.as_os_str().is_empty() => Some(Some(path)),
                _ => return Err(auth.wrong("cache", "is neither True nor False nor the path of a folder")),
            },
        },
        None => None,
    };
    match (folder, passphrase) {
        (None, Some(_)) => Err(auth.wrong("cache_passphrase", "is given without `cache`; add `\"cache\": True`")),
        (None, None) => Ok(None),
        (Some(folder), passphrase) => {
            let mut cache = TokenCache::default();
            cache.folder = folder;
            cache.passphrase = passphrase.map(Into::into);
            Ok(Some(cache))
        }
    }
}

/// Opens pages with a function of the program, or with Python's `webbrowser`.
struct PythonBrowser {
    function: Option<Arc<Py<PyAny>>>,
}

impl OpenPage for PythonBrowser {
    fn open(
        &self,
        address: &str,
    ) -> Pin<Box<dyn Future<Output = Result<(), Box<dyn StdError + Send + Sync>>> + Send + 'static>> {
        let (function, address) = (self.function.clone(), address.to_owned());
        Box::pin(async move {
            let (sender, receiver) = oneshot::channel();
            // For the start alone; what shows the page may take its time, or wait for the user.
            let started = spawn_blocking(move || start(&address, function.as_deref(), sender)).await;
            if !matches!(started, Ok(Some(Ok(())))) {
                return Err(EXITING.into());
            }
            match receiver.await {
                Ok(None) => Ok(()),
                Ok(Some(why_not)) => Err(why_not.into()),
                Err(_) => Err(BROKEN_OFF.into()),
            }
        })
    }
}

const EXITING: &str = "the interpreter is exiting";
const BROKEN_OFF: &str = "opening it was broken off";

/// Has a Python thread show the page, which sends why it cannot. Not one of ours: exit and forks wait for those.
fn start(address: &str, function: Option<&Py<PyAny>>, answer: oneshot::Sender<Option<String>>) -> Option<PyResult<()>> {
    let _visit = Visit::begin()?;
    Python::try_attach(|py| {
        let answer = Mutex::new(Some(answer));
        let deliver = PyCFunction::new_closure(py, None, None, move |arguments, _| {
            let why_not = arguments.get_item(0).and_then(|why_not| why_not.extract::<Option<String>>());
            let why_not = why_not.unwrap_or_else(|_| Some(BROKEN_OFF.to_owned()));
            if let Some(answer) = answer.lock().unwrap_or_else(PoisonError::into_inner).take() {
                // Nobody waits any more where the user was quicker, or has gone.
                let _ = answer.send(why_not);
            }
        })?;
        py.import("seakernel.browser")?.call_method1("start", (address, function, deliver)).map(drop)
    })
}
