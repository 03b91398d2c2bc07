//! Talking to an identity provider: discovery, and requests for tokens.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use crate::auth::{Grant, Secret, masked};
use crate::clock;
use crate::config::{SessionConfig, is_loopback};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{PlainAnswer, PlainClient, PlainRequest, RequestClass, host_and_port};

/// Added to the limit of time for whoever ends a whole sign-in, so that what failed last is told instead.
const GRACE: Duration = Duration::from_secs(1);
/// Longest limit of time that is kept to, for more is as good as none, and beyond what clocks can tell.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Life of a token whose answer names none. The platform's own live for an hour; one that ends sooner is refused and renewed.
const UNNAMED_LIFETIME: Duration = Duration::from_secs(3600);
/// Longest life of a token that is believed, in seconds: ten years.
const LONGEST_LIFETIME: u64 = 10 * 365 * 24 * 3600;
/// Most characters of a provider's reason that are repeated.
const MAX_REASON: usize = 500;

/// One identity provider, as a workspace names it.
pub(super) struct Identity {
    workspace: Url,
    client: PlainClient,
    time_limit: Duration,
    endpoints: OnceCell<Endpoints>,
}

/// What the workspace says of its provider.
#[derive(Clone, Debug)]
pub(super) struct Endpoints {
    /// Where users sign in.
    pub(super) authorization: Url,
    /// Where tokens are given out.
    pub(super) token: Url,
}

/// A request for a token.
pub(super) struct TokenRequest<'a> {
    pub(super) form: Vec<(&'a str, FormValue<'a>)>,
    /// Client id and secret that go along by HTTP Basic.
    pub(super) basic: Option<(&'a str, &'a Secret)>,
    /// Whether it may be sent again although the provider may have answered it; codes and some refresh tokens are good once.
    pub(super) may_be_repeated: bool,
}

/// A value of a form, which is never printed where it is secret.
#[derive(Clone, Copy)]
pub(super) enum FormValue<'a> {
    Plain(&'a str),
    Secret(&'a Secret),
    /// Made anew for every attempt, for what is good once.
    Made(&'a (dyn Fn() -> Result<Secret> + Sync)),
}

/// A token as the provider gave it.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    #[serde(deserialize_with = "secret")]
    access_token: Secret,
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<u64>,
    /// Seconds since 1970, where Azure's App Service leaves out the life.
    #[serde(default, deserialize_with = "seconds")]
    expires_on: Option<u64>,
    /// What the next token can be had with, without the user.
    #[serde(default, deserialize_with = "optional_secret")]
    pub(super) refresh_token: Option<Secret>,
}

impl TokenAnswer {
    pub(super) fn read(url: &Url, answer: &PlainAnswer) -> Result<Self> {
        parse(url, answer)
    }

    /// As [`TokenAnswer::into_grant`], without a lifetime where none was named.
    pub(super) fn into_named_grant(self) -> Grant {
        let named = self.expires_in.is_some_and(|seconds| seconds > 0);
        let grant = self.into_grant();
        if named { grant } else { Grant::of(grant.token) }
    }

    pub(super) fn into_grant(self) -> Grant {
        let left = || {
            let now = clock::time_of_day().duration_since(UNIX_EPOCH).unwrap_or_default();
            Some(self.expires_on?.saturating_sub(now.as_secs()))
        };
        // A life of nothing would mean a request for a token with each request.
        let lifetime =
            self.expires_in.or_else(left).map(|seconds| Duration::from_secs(seconds.clamp(1, LONGEST_LIFETIME)));
        let lifetime = lifetime.unwrap_or(UNNAMED_LIFETIME);
        Grant { lifetime: Some(lifetime), ..Grant::of(self.access_token) }
    }
}

impl Identity {
    pub(super) fn new(config: &SessionConfig, time_limit: Duration) -> Result<Self> {
        Ok(Self::reached_by(PlainClient::new(config)?, config, time_limit))
    }

    /// Returns one that is on this machine, where no proxy leads.
    pub(super) fn on_this_machine(config: &SessionConfig, time_limit: Duration) -> Result<Self> {
        Ok(Self::reached_by(PlainClient::direct(config)?, config, time_limit))
    }

    fn reached_by(client: PlainClient, config: &SessionConfig, time_limit: Duration) -> Self {
        let (workspace, time_limit) = (config.host.clone(), time_limit.min(LONGEST));
        Self { workspace, client, time_limit, endpoints: OnceCell::new() }
    }

    pub(super) fn workspace(&self) -> &Url {
        &self.workspace
    }

    /// The moment at which a sign-in that starts now must be done.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.time_limit
    }

    /// The limit for a whole call of a token source that keeps to [`Identity::deadline`].
    pub(super) fn time_limit(&self) -> Duration {
        self.time_limit + GRACE
    }

    /// Asks the workspace, once, where its provider is.
    pub(super) async fn endpoints(&self, deadline: Instant) -> Result<&Endpoints> {
        #[derive(Deserialize)]
        struct Discovered {
            authorization_endpoint: String,
            token_endpoint: String,
        }
        let discover = async {
            let mut url = self.workspace.clone();
            url.set_path("/oidc/.well-known/oauth-authorization-server");
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
            let answer = self.get(&url, headers, deadline).await?;
            if !answer.status.is_success() {
                return Err(refused(&url, &answer, "is this the address of a workspace?", &[]));
            }
            let found: Discovered = parse(&url, &answer)?;
            let safe = |text: &str| -> Result<Url> {
                // A workspace elsewhere has no business with plain http on this machine.
                let is_here = is_loopback(&self.workspace);
                let url = Url::parse(text).ok().filter(|url| is_safe(url) && (is_here || url.scheme() == "https"));
                url.ok_or_else(|| protocol(&self.workspace, "names an endpoint that is no https address"))
            };
            Ok(Endpoints { authorization: safe(&found.authorization_endpoint)?, token: safe(&found.token_endpoint)? })
        };
        self.endpoints.get_or_try_init(|| discover).await
    }

    /// Returns what is at `url`, whatever the status; redirects are not followed.
    pub(super) async fn get(&self, url: &Url, headers: HeaderMap, deadline: Instant) -> Result<PlainAnswer> {
        let (class, method) = (RequestClass::Discovery, Method::GET);
        self.client.send(PlainRequest { class, method, url, headers, body: None }, deadline).await
    }

    /// Asks `url` for a token.
    pub(super) async fn token(&self, url: &Url, request: TokenRequest<'_>, deadline: Instant) -> Result<TokenAnswer> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let mut sent = Vec::new();
        if let Some((id, secret)) = request.basic {
            let encoded = basic(id, secret);
            headers.insert(AUTHORIZATION, authorization(&encoded)?);
            sent.extend([secret.clone(), encoded]);
        }
        let sent = Mutex::new(sent);
        let form = || {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            for (name, value) in &request.form {
                let secret = match value {
                    FormValue::Plain(text) => {
                        form.append_pair(name, text);
                        continue;
                    }
                    FormValue::Secret(secret) => (*secret).clone(),
                    FormValue::Made(make) => make()?,
                };
                form.append_pair(name, secret.expose());
                sent.lock().unwrap_or_else(PoisonError::into_inner).push(secret);
            }
            Ok(Bytes::from(form.finish()))
        };
        let class = if request.may_be_repeated { RequestClass::Token } else { RequestClass::TokenOnce };
        let sending = PlainRequest { class, method: Method::POST, url, headers, body: Some(&form) };
        let answer = self.client.send(sending, deadline).await?;
        if answer.status.is_success() {
            return parse(url, &answer);
        }
        let sent = sent.into_inner().unwrap_or_else(PoisonError::into_inner);
        let secrets: Vec<&str> = sent.iter().map(Secret::expose).collect();
        Err(refused(url, &answer, "no token was given", &secrets))
    }
}

impl<'a> From<&'a str> for FormValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::Plain(text)
    }
}

impl<'a> From<&'a Secret> for FormValue<'a> {
    fn from(secret: &'a Secret) -> Self {
        Self::Secret(secret)
    }
}

/// Tells whether a secret may be sent to `url`.
pub(super) fn is_safe(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

/// Both parts are escaped before they are joined (RFC 6749, 2.3.1).
fn basic(id: &str, secret: &Secret) -> Secret {
    let escaped = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let joined = Zeroizing::new(format!("{}:{}", escaped(id), escaped(secret.expose())));
    Secret::from(BASE64_STANDARD.encode(joined.as_bytes()))
}

fn authorization(basic: &Secret) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&Zeroizing::new(format!("Basic {}", basic.expose())))
        .map_err(|_| Error::new(ErrorKind::Internal, "client id and secret could not be written as a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

pub(super) fn parse<T: DeserializeOwned>(url: &Url, answer: &PlainAnswer) -> Result<T> {
    // The words of the parser may quote the answer, and that is a token.
    serde_json::from_slice(&answer.body).map_err(|_| protocol(url, "gave an answer that is not understood"))
}

fn protocol(url: &Url, what: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("sign-in: {} {what}", host_and_port(url)))
}

/// Makes an error of a refusal; `secrets` are what was sent, should the provider repeat it.
pub(super) fn refused(url: &Url, answer: &PlainAnswer, otherwise: &str, secrets: &[&str]) -> Error {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Refusal {
        error: Option<String>,
        error_description: Option<String>,
    }
    let refusal: Refusal = serde_json::from_slice(&answer.body).unwrap_or_default();
    let harmless = |text: String| {
        let text = masked(&text, secrets.iter().copied());
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON).collect::<String>()
    };
    let code = refusal.error.map(harmless);
    let meaning = match code.as_deref() {
        Some("invalid_client") => "the client is unknown, or its secret or key is wrong or has expired",
        Some("invalid_grant") => "what was shown has expired, was used before, or belongs to another client",
        Some("invalid_scope") => "it does not give these scopes to this client",
        Some("unauthorized_client") => "this client may not sign in this way",
        Some("access_denied") => "access was denied",
        _ => otherwise,
    };
    let said = code.as_deref().map(|code| format!(" {code}")).unwrap_or_default();
    let why = refusal.error_description.map(|text| format!(" ({})", harmless(text))).unwrap_or_default();
    let status = answer.status.as_u16();
    let text = format!("sign-in: {} answered HTTP {status}{said}: {meaning}{why}", host_and_port(url));
    let kind = match answer.status {
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Unauthenticated,
        StatusCode::TOO_MANY_REQUESTS => ErrorKind::ResourceExhausted,
        status if status.is_server_error() => ErrorKind::Unavailable,
        _ => ErrorKind::Protocol,
    };
    Error::new(kind, text).with_http_status(answer.status.as_u16()).with_error_code(code)
}

pub(super) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Err(D::Error::custom("empty")) } else { Ok(Secret::from(text)) }
}

fn optional_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()).map(Secret::from))
}

/// Reads a number of seconds; some providers write it as text.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(u64),
        Fraction(f64),
        Text(String),
    }
    Ok(match Option::<Seconds>::deserialize(deserializer)? {
        None => None,
        Some(Seconds::Number(number)) => Some(number),
        Some(Seconds::Fraction(number)) => Some(number.max(0.0) as u64),
        Some(Seconds::Text(text)) => Some(text.trim().parse().map_err(|_| D::Error::custom("no number"))?),
    })
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Identity").field("workspace", &self.workspace).finish_non_exhaustive()
    }
}
