//! Tokens that a Python callable gives; `seakernel.token_callable` calls it, in a thread of Python's own.
//!
//! Not in one of our threads: the callable may wait for long, and a thread that comes back into an interpreter that has
//! exited meanwhile ends there, which frames of ours would not survive.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyList, PyMapping, PyString, PyTuple};
use seakernel::{Demand, Error, ErrorKind, Grant, Secret, TokenSource, lifetime_of};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time;

use crate::visit::Visit;
use crate::{config, runtime};

/// Longest time of one call, where nothing else is said.
const TIME_LIMIT: Duration = Duration::from_secs(15);
/// Added for whoever else ends the call, so that the error is ours, which names the callable.
const GRACE: Duration = Duration::from_secs(1);
/// Numbers below are no moments in seconds since 1970 but seconds from now, which a clock cannot tell apart from long ago.
const LEAST_MOMENT: f64 = 1e9;

type Failure = Box<dyn StdError + Send + Sync>;
type Answer = Result<Grant, Failure>;

/// A Python callable as a source of tokens.
struct TokenCallable(Arc<Asked>);

struct Asked {
    /// A `seakernel.token_callable.TokenCallable`.
    callable: Py<PyAny>,
    name: String,
    /// Where coroutines run, for connections of `seakernel.aio`.
    event_loop: Option<Py<PyAny>>,
    time_limit: Duration,
    /// For sessions that the interpreter's exit closes: no Python thread starts any more then.
    last: Mutex<Option<Grant>>,
}

/// What the option `auth` is.
pub(crate) enum Auth<'py> {
    /// A group of options with a `type`.
    Group(Bound<'py, PyDict>),
    /// Something that gives tokens.
    Source(Arc<dyn TokenSource>),
}

impl<'py> Auth<'py> {
    /// Tells callables and objects that give tokens from groups of options.
    pub(crate) fn of(given: &Bound<'py, PyAny>, event_loop: Option<Py<PyAny>>) -> PyResult<Self> {
        let py = given.py();
        let prepared = py.import("seakernel.token_callable")?.call_method1(intern!(py, "prepared"), (given,))?;
        if let Ok(group) = prepared.cast::<PyDict>() {
            return Ok(Self::Group(group.clone()));
        }
        let limit = prepared.getattr(intern!(py, "timeout_s"))?;
        let asked = Asked {
            name: prepared.getattr(intern!(py, "name"))?.extract()?,
            time_limit: if limit.is_none() { TIME_LIMIT } else { config::seconds("timeout_s", &limit)? },
            callable: prepared.unbind(),
            event_loop,
            last: Mutex::default(),
        };
        Ok(Self::Source(Arc::new(TokenCallable(Arc::new(asked)))))
    }
}

impl TokenSource for TokenCallable {
    fn grant(&self, _demand: Demand) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
        Box::pin(async {
            let asked = &self.0;
            if runtime::is_stopped()
                && let Some(last) = asked.last()
            {
                return Ok(last);
            }
            let (sender, receiver) = oneshot::channel();
            let starting = Arc::clone(asked);
            spawn_blocking(move || starting.start(sender)).await??;
            match time::timeout(asked.time_limit, receiver).await {
                Ok(Ok(answer)) => {
                    let grant = answer?;
                    *asked.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(grant.clone());
                    Ok(grant)
                }
                Ok(Err(_)) => Err("the interpreter is exiting".into()),
                Err(_) => {
                    let (name, limit) = (&asked.name, asked.time_limit.as_secs_f64());
                    let text = format!("`{name}` gave no token within {limit} s, the limit `timeout_s` of `auth`");
                    Err(Error::new(ErrorKind::Timeout, text).into())
                }
            }
        })
    }

    fn time_limit(&self) -> Duration {
        self.0.time_limit + GRACE
    }
}

impl Asked {
    fn last(&self) -> Option<Grant> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has a Python thread call, which sends what comes of it. Where nobody will, `answer` is dropped.
    fn start(self: Arc<Self>, answer: oneshot::Sender<Answer>) -> Result<(), Failure> {
        let Some(_visit) = Visit::begin() else { return Ok(()) };
        let started = Python::try_attach(|py| {
            let (asked, answer) = (Arc::clone(&self), Mutex::new(Some(answer)));
            let deliver = PyCFunction::new_closure(py, None, None, move |arguments, _| {
                let Some(_visit) = Visit::begin() else { return };
                let outcome = asked.outcome(arguments);
                if let Some(answer) = answer.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    // Nobody waits any more after the time limit.
                    let _ = answer.send(outcome);
                }
            })?;
            let arguments = (&self.event_loop, self.time_limit.as_secs_f64(), deliver);
            self.callable.call_method1(py, intern!(py, "start"), arguments)
        });
        match started {
            Some(Err(raised)) => Python::attach(|py| Err(Raised::new(py, &self.name, raised.into_value(py)).into())),
            _ => Ok(()),
        }
    }

    /// Reads what the callable returned, or raised.
    fn outcome(&self, arguments: &Bound<'_, PyTuple>) -> Answer {
        let py = arguments.py();
        let raised = |raised: PyErr| Failure::from(Raised::new(py, &self.name, raised.into_value(py)));
        let (answer, exception): (Bound<'_, PyAny>, Bound<'_, PyAny>) = arguments.extract().map_err(raised)?;
        if !exception.is_none() {
            return Err(Raised::of(&self.name, &exception).into());
        }
        match grant(&answer).map_err(raised)? {
            Ok(grant) => Ok(grant),
            Err(what) => Err(Error::new(ErrorKind::InvalidArgument, format!("`{}` {what}", self.name)).into()),
        }
    }
}

/// An exception of the callable. Its text may hold a token and is not repeated: it is the cause of what is raised.
pub(crate) struct Raised {
    name: String,
    class: String,
    exception: Py<PyAny>,
}

impl Raised {
    pub(crate) fn new(py: Python<'_>, name: &str, exception: Py<pyo3::exceptions::PyBaseException>) -> Self {
        Self::of(name, exception.bind(py).as_any())
    }

    pub(crate) fn of(name: &str, exception: &Bound<'_, PyAny>) -> Self {
        let class = exception.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        Self { name: name.to_owned(), class, exception: exception.clone().unbind() }
    }

    /// Makes the exception the cause of `failure`.
    pub(crate) fn cause(&self, py: Python<'_>, failure: &PyErr) {
        // What cannot be a cause is none: the message has told its class.
        let _ = failure.value(py).setattr(intern!(py, "__cause__"), &self.exception);
    }
}

impl fmt::Display for Raised {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` raised `{}`", self.name, self.class)
    }
}

impl fmt::Debug for Raised {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl StdError for Raised {}

/// Sets the exception behind `failure`, if there is one, as its cause in Python.
pub(crate) fn set_cause(py: Python<'_>, failure: &PyErr, kernel: &Error) {
    let mut link: Option<&(dyn StdError + 'static)> = Some(kernel);
    while let Some(current) = link {
        if let Some(raised) = current.downcast_ref::<Raised>() {
            return raised.cause(py, failure);
        }
        link = current.source();
    }
}

/// Reads an answer; the inner error says what is wrong with it and repeats none of it.
fn grant(answer: &Bound<'_, PyAny>) -> PyResult<Result<Grant, String>> {
    let py = answer.py();
    if let Ok(headers) = answer.cast::<PyMapping>() {
        return of_headers(&headers.items()?);
    }
    let (token, expiry) = if answer.is_instance_of::<PyString>() {
        (answer.clone(), None)
    } else if let Ok((token, expiry)) = answer.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>() {
        (token, Some(expiry))
    } else if let Some(token) = answer.getattr_opt(intern!(py, "access_token"))? {
        (token, answer.getattr_opt(intern!(py, "expiry"))?)
    } else {
        return Ok(Err(format!("returned {}; expected {ACCEPTED}", kind(answer)?)));
    };
    let Some(token) = text(&token)? else {
        return Ok(Err(format!("returned {} for the token; expected {ACCEPTED}", kind(&token)?)));
    };
    let token = token.trim();
    if token.is_empty() {
        return Ok(Err("returned an empty token".to_owned()));
    }
    let token = Secret::new(bearer(token).unwrap_or(token));
    let announced = match expiry.filter(|expiry| !expiry.is_none()) {
        None => None,
        Some(expiry) => match lifetime(&expiry)? {
            Some(lifetime) => Some(lifetime),
            None => return Ok(Err(format!("returned {} for the expiry; expected {MOMENT}", kind(&expiry)?))),
        },
    };
    let lifetime = announced.or_else(|| lifetime_of(&token));
    Ok(Ok(Grant { lifetime, ..Grant::of(token) }))
}

const ACCEPTED: &str =
    "a token, a mapping of headers, a pair of token and expiry, or an object with `access_token` and `expiry`";
const MOMENT: &str = "a datetime, seconds since 1970, or a timedelta from now";

fn of_headers(items: &Bound<'_, PyList>) -> PyResult<Result<Grant, String>> {
    let (mut token, mut headers) = (None, Vec::new());
    for item in items {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        let Some(name) = text(&name)? else {
            return Ok(Err(format!("returned headers with {} for a name; expected a text", kind(&name)?)));
        };
        let Some(value) = text(&value)? else {
            let shown = name.escape_debug();
            return Ok(Err(format!("returned {} for the header `{shown}`; expected a text", kind(&value)?)));
        };
        if name.eq_ignore_ascii_case("authorization") {
            let Some(bearer) = bearer(value.trim()) else {
                let scheme = ["Basic", "Digest", "Negotiate"].into_iter().find(|scheme| value.starts_with(scheme));
                let what = scheme.map_or_else(|| "does not start with `Bearer `".to_owned(), |s| format!("is `{s}`"));
                return Ok(Err(format!("returned an `Authorization` header that {what}; only Bearer tokens are sent")));
            };
            token = Some(Secret::new(bearer));
        } else {
            headers.push((name.into(), Secret::from(value)));
        }
    }
    Ok(match token {
        Some(token) => Ok(Grant { lifetime: lifetime_of(&token), headers, token }),
        None => {
            Err("returned headers without `Authorization`; expected `{\"Authorization\": \"Bearer ...\"}`".to_owned())
        }
    })
}

fn bearer(text: &str) -> Option<&str> {
    const SCHEME: &str = "bearer ";
    let scheme = text.get(..SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| text.get(SCHEME.len()..).unwrap_or_default().trim())
}

fn text(value: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    value.cast::<PyString>().ok().map(|text| text.to_str().map(str::to_owned)).transpose()
}

/// Reads when a token ends; a datetime without a zone is local time, as Python and the platform's SDK have it.
fn lifetime(expiry: &Bound<'_, PyAny>) -> PyResult<Option<Duration>> {
    let py = expiry.py();
    let now = || py.import("time")?.call_method0("time")?.extract::<f64>();
    let left = if expiry.hasattr(intern!(py, "total_seconds"))? {
        expiry.call_method0(intern!(py, "total_seconds"))?.extract::<f64>()?
    } else if expiry.hasattr(intern!(py, "timestamp"))? {
        expiry.call_method0(intern!(py, "timestamp"))?.extract::<f64>()? - now()?
    } else {
        match expiry.extract::<f64>() {
            Ok(moment) if moment >= LEAST_MOMENT => moment - now()?,
            _ => return Ok(None),
        }
    };
    Ok(Some(Duration::try_from_secs_f64(left.max(0.0)).unwrap_or(Duration::MAX)))
}

fn kind(value: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(if value.is_none() { "None".to_owned() } else { format!("a value of type `{}`", value.get_type().name()?) })
}
