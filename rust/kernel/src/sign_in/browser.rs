//! A user signs in with a browser: the grant `authorization_code` with PKCE, renewed by refresh tokens.

use std::env;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::future::{BoxFuture, FutureExt};
use ring::digest::{SHA256, digest};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};
use url::Url;

use super::cache::{About, CacheFile, Locked, TokenCache, UserTokens};
use super::callback::{Callback, Outcome, Visitor};
use super::foreign_cache::{self, ForeignTokens};
use super::identity::{Identity, LONGEST, TokenAnswer, TokenRequest};
use super::{random, safe_url};
use crate::auth::{Demand, Grant, Secret, TokenSource, expiry_margin};
use crate::clock::time_of_day;
use crate::config::SessionConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::http::host_and_port;

/// The app that the platform's command line and SDKs sign in as; every workspace knows it.
pub(super) const CLI_CLIENT_ID: &str = "databricks-cli";
/// What it asks for; the second brings a refresh token.
pub(super) const DEFAULT_SCOPES: [&str; 2] = ["all-apis", "offline_access"];
/// The first port is what apps are registered with by custom, the others are known for the app above only.
const PORTS: std::ops::RangeInclusive<u16> = 8020..=8040;
const CALLBACK_TIMEOUT: Duration = Duration::from_secs(120);
/// Most characters of a provider's words that are repeated.
const MAX_WORDS: usize = 500;
/// Refresh tokens that are remembered as worthless.
const MAX_WORTHLESS: usize = 8;

/// A user who signs in with a browser (user to machine).
///
/// There is one sign-in at a time for all sessions that sign in alike, and it ends when nobody waits for it any more. Tokens
/// are renewed by refresh token; only where that is worthless or missing, and a session needs a token, the user is asked
/// again.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BrowserSignIn {
    /// The id of the app. Default `databricks-cli`.
    pub client_id: String,
    /// Its secret, if it has one.
    pub client_secret: Option<Secret>,
    /// Default `all-apis offline_access`.
    pub scopes: Vec<String>,
    /// Ports of `http://localhost:PORT` that the browser may come back to, of which the first free one is taken; at 0, one that
    /// the system chooses. Default 8020, and up to 8040 for `databricks-cli`.
    pub redirect_ports: Option<Vec<u16>>,
    /// Longest time for the user to sign in. Default 120 s.
    pub callback_timeout: Duration,
    /// The https address that is asked for tokens, in place of the one that the workspace names.
    pub token_url: Option<String>,
    /// Where tokens are kept between programs. Default: nowhere.
    pub cache: Option<TokenCache>,
    /// Shows pages to the user.
    pub opener: PageOpener,
}

impl BrowserSignIn {
    /// Returns a sign-in with the defaults, whose page `opener` shows.
    pub fn new(opener: Arc<dyn OpenPage>) -> Self {
        Self {
            client_id: CLI_CLIENT_ID.to_owned(),
            client_secret: None,
            scopes: DEFAULT_SCOPES.map(str::to_owned).to_vec(),
            redirect_ports: None,
            callback_timeout: CALLBACK_TIMEOUT,
            token_url: None,
            cache: None,
            opener: PageOpener(Arc::new(Mutex::new(opener))),
        }
    }
}

/// Shows a page to the user, as by telling the system's browser.
pub trait OpenPage: Send + Sync {
    /// Opens `address`, whose query nobody else must see. Done when the page is on its way to the user, however long that one
    /// takes; an error says why there is none, and holds nothing of the address.
    fn open(&self, address: &str) -> BoxFuture<'static, Result<(), Box<dyn StdError + Send + Sync>>>;
}

/// What opens pages. Any two are equal: they make no difference to whose tokens they are. Of sessions that share a sign-in, the
/// one opened last decides.
#[derive(Clone)]
pub struct PageOpener(Arc<Mutex<Arc<dyn OpenPage>>>);

impl PageOpener {
    fn current(&self) -> Arc<dyn OpenPage> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Uses what `newer` uses from now on.
    pub(super) fn follow(&self, newer: &Self) {
        let opener = newer.current();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = opener;
    }
}

impl PartialEq for PageOpener {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for PageOpener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PageOpener(...)")
    }
}

/// The tokens of a user.
pub(super) struct BrowserTokens {
    identity: Identity,
    options: BrowserSignIn,
    token_url: Option<Url>,
    about: About,
    cache: Option<Cache>,
    memory: Mutex<Memory>,
}

struct Cache {
    file: Arc<CacheFile>,
    options: TokenCache,
    /// The profile that the SDK would name its file after.
    profile: Option<String>,
}

/// The refresh token that the cache holds, if any.
struct OnDisk(Option<Secret>);

#[derive(Default)]
struct Memory {
    /// The access token that was given out last. Whoever asks again needs another one.
    given: Option<Secret>,
    refresh_token: Option<Secret>,
    /// What the cache held when it could not be written: as long as it holds that, memory is newer.
    outdated: Option<OnDisk>,
    /// Refresh tokens that the provider has refused.
    worthless: Vec<Secret>,
}

impl BrowserTokens {
    pub(super) fn new(config: &SessionConfig, identity: Identity, options: &BrowserSignIn) -> Result<Self> {
        let token_url = options.token_url.as_deref().map(|text| safe_url("token_url", text)).transpose()?;
        if options.redirect_ports.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "`redirect_ports` is empty; expected ports such as 8020",
            ));
        }
        let about = About {
            host: config.host.origin().ascii_serialization(),
            client_id: options.client_id.clone(),
            scopes: options.scopes.clone(),
            token_url: token_url.as_ref().map(Url::to_string),
        };
        let cache = options.cache.as_ref().map(|cache| {
            let profile = env::var("DATABRICKS_CONFIG_PROFILE").ok().filter(|name| !name.is_empty());
            Ok(Cache { file: Arc::new(cache.file(about.clone())?), options: cache.clone(), profile })
        });
        let cache = cache.transpose()?;
        let options = BrowserSignIn { callback_timeout: options.callback_timeout.min(LONGEST), ..options.clone() };
        Ok(Self { identity, options, token_url, about, cache, memory: Mutex::default() })
    }

    async fn token(&self, demand: &Demand) -> Result<Grant> {
        let Some(cache) = &self.cache else { return self.renewed(demand, None, None).await };
        if let Some(grant) = cache.file.read().await?.and_then(|tokens| self.usable(&tokens, demand)) {
            return Ok(grant);
        }
        let locked = cache.file.lock(Instant::now() + self.patience()).await?;
        // Whoever held the lock may have renewed them.
        let tokens = cache.file.read_locked(&locked).await?;
        if let Some(grant) = tokens.as_ref().and_then(|tokens| self.usable(tokens, demand)) {
            return Ok(grant);
        }
        let kept = tokens.and_then(|tokens| tokens.refresh_token);
        self.renewed(demand, kept, Some((cache, &locked))).await
    }

    /// How long another program may take to sign in.
    fn patience(&self) -> Duration {
        self.options.callback_timeout + 2 * self.identity.time_limit()
    }

    /// Returns the access token of `tokens`, if it is of use to whoever asks.
    fn usable(&self, tokens: &UserTokens, demand: &Demand) -> Option<Grant> {
        let token = tokens.access_token.clone()?;
        let (left, mut memory) = (tokens.left(), self.memory());
        if left <= expiry_margin(tokens.lifetime)
            || demand.rejected.as_ref() == Some(&token)
            || memory.given.as_ref() == Some(&token)
        {
            return None;
        }
        memory.given = Some(token.clone());
        Some(Grant { lifetime: Some(left), ..Grant::of(token) })
    }

    /// Gets new tokens: by the refresh token that was kept on disk or in memory, by what other tools have, or from the user.
    async fn renewed(&self, demand: &Demand, kept: Option<Secret>, cache: Option<(&Cache, &Locked)>) -> Result<Grant> {
        let deadline = self.identity.deadline();
        let own = {
            let memory = self.memory();
            let is_outdated = memory.outdated.as_ref().is_some_and(|on_disk| on_disk.0 == kept);
            // What is on disk is the newest: other programs renew it, too.
            if is_outdated {
                memory.refresh_token.clone()
            } else {
                kept.clone().or_else(|| memory.refresh_token.clone())
            }
        };
        if let Some(answer) = self.refreshed(own.as_ref(), deadline).await? {
            return Ok(self.keep(answer, own, kept, cache).await);
        }
        for ForeignTokens { owner, tokens } in self.foreign(cache).await {
            if let Some(grant) = self.usable(&tokens, demand) {
                debug!("the access token of {owner} is used");
                return Ok(grant);
            }
            if let Some(answer) = self.refreshed(tokens.refresh_token.as_ref(), deadline).await? {
                if answer.refresh_token.as_ref().is_some_and(|token| Some(token) != tokens.refresh_token.as_ref()) {
                    warn!("the provider has replaced the refresh token of {owner}, which may have to sign in again");
                }
                return Ok(self.keep(answer, tokens.refresh_token, kept, cache).await);
            }
        }
        if !demand.may_ask_user() {
            let text = "sign-in: the user has to sign in again for the next statement, for there is no refresh token that \
                        the provider takes";
            return Err(Error::new(ErrorKind::Unauthenticated, text));
        }
        let answer = self.ask_user(demand).await?;
        Ok(self.keep(answer, None, kept, cache).await)
    }

    async fn foreign(&self, cache: Option<(&Cache, &Locked)>) -> Vec<ForeignTokens> {
        let Some((cache, _)) = cache else { return Vec::new() };
        let Some(home) = cache.options.home() else { return Vec::new() };
        let (about, profile) = (self.about.clone(), cache.profile.clone());
        let reading = tokio::task::spawn_blocking(move || foreign_cache::read(&home, &about, profile.as_deref()));
        reading.await.unwrap_or_default()
    }

    /// Asks for new tokens; `None` where there is no refresh token, or it is worthless.
    async fn refreshed(&self, token: Option<&Secret>, deadline: Instant) -> Result<Option<TokenAnswer>> {
        let Some(token) = token.filter(|token| !self.memory().worthless.contains(token)) else { return Ok(None) };
        let mut request = self.request();
        request.form.extend([("grant_type", "refresh_token".into()), ("refresh_token", token.into())]);
        match self.ask(request, deadline).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if is_about_the_grant(&error) => {
                debug!(cause = %error, "the refresh token is worthless");
                let mut memory = self.memory();
                if memory.worthless.len() >= MAX_WORTHLESS {
                    memory.worthless.remove(0);
                }
                memory.worthless.push(token.clone());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Has the user sign in.
    async fn ask_user(&self, demand: &Demand) -> Result<TokenAnswer> {
        let authorization = &self.identity.endpoints(self.identity.deadline()).await?.authorization;
        let host = host_and_port(authorization);
        let callback = match &self.options.redirect_ports {
            Some(ports) => Callback::listen(ports).await?,
            None if self.options.client_id == CLI_CLIENT_ID => Callback::listen(&PORTS.collect::<Vec<_>>()).await?,
            None => Callback::listen(&[*PORTS.start()]).await?,
        };
        let (state, verifier, redirect_uri) = (random_text()?, random_text()?, callback.redirect_uri());
        let mut address = authorization.clone();
        address.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.options.client_id),
            ("redirect_uri", &redirect_uri),
            ("scope", &self.options.scopes.join(" ")),
            ("state", state.expose()),
            ("code_challenge", &challenge_of(&verifier)),
            ("code_challenge_method", "S256"),
        ]);
        debug!(host, redirect_uri, "the user is asked to sign in with a browser");
        let opening = self.options.opener.current().open(address.as_str());
        let coming = async {
            tokio::pin!(opening);
            let coming = callback.outcome(&state);
            tokio::pin!(coming);
            tokio::select! {
                // A page that opens only to come back at once may be quicker than what opens it.
                biased;
                came = &mut coming => Ok(came),
                opened = &mut opening => match opened {
                    Ok(()) => Ok(coming.await),
                    Err(cause) => Err(cause),
                },
            }
        };
        let limit = self.options.callback_timeout;
        let came = tokio::select! {
            came = timeout(limit, coming) => came,
            () = demand.abandoned() => {
                return Err(Error::new(ErrorKind::Cancelled, format!("sign-in: nobody waits for the user at {host} any more")));
            }
        };
        let (outcome, visitor) = match came {
            Ok(Ok(came)) => came,
            Ok(Err(cause)) => return Err(not_opened(&host).with_source(cause)),
            Err(_) => return Err(too_late(&host, limit)),
        };
        let code = match outcome {
            Outcome::Code(code) => code,
            Outcome::Refusal { error, description } => {
                let error = refused(&host, &error, description.as_deref());
                visitor.show("You are not signed in", &format!("{error}.")).await;
                return Err(error);
            }
            Outcome::WrongState => {
                let text = "This page is not of the sign-in that the program is waiting for. Close it, go back to the \
                            program, and sign in again.";
                visitor.show("You are not signed in", text).await;
                return Err(wrong_state(&host, &redirect_uri));
            }
        };
        self.redeem(&code, &redirect_uri, &verifier, visitor).await
    }

    /// Gets tokens for the code, and has the browser show how it went.
    async fn redeem(
        &self,
        code: &Secret,
        redirect_uri: &str,
        verifier: &Secret,
        visitor: Visitor,
    ) -> Result<TokenAnswer> {
        let mut request = self.request();
        request.form.extend([
            ("grant_type", "authorization_code".into()),
            ("code", code.into()),
            ("redirect_uri", redirect_uri.into()),
            ("code_verifier", verifier.into()),
        ]);
        let answer = self.ask(request, self.identity.deadline()).await;
        match &answer {
            Ok(_) => visitor.show("You are signed in", "You can close this page and go back to the program.").await,
            Err(error) => visitor.show("You are not signed in", &format!("{error}.")).await,
        }
        answer
    }

    /// Returns a request that says which app asks.
    fn request(&self) -> TokenRequest<'_> {
        let client_id = self.options.client_id.as_str();
        // Codes and, at some providers, refresh tokens are good once.
        let may_be_repeated = false;
        match &self.options.client_secret {
            Some(secret) => TokenRequest { form: Vec::new(), basic: Some((client_id, secret)), may_be_repeated },
            None => TokenRequest { form: vec![("client_id", client_id.into())], basic: None, may_be_repeated },
        }
    }

    async fn ask(&self, request: TokenRequest<'_>, deadline: Instant) -> Result<TokenAnswer> {
        let url = match &self.token_url {
            Some(url) => url.clone(),
            None => self.identity.endpoints(deadline).await?.token.clone(),
        };
        self.identity.token(&url, request, deadline).await
    }

    /// Keeps what an answer has brought; a provider that names no new refresh token lets the old one stand.
    async fn keep(
        &self,
        mut answer: TokenAnswer,
        refresh_token: Option<Secret>,
        kept: Option<Secret>,
        cache: Option<(&Cache, &Locked)>,
    ) -> Grant {
        let refresh_token = answer.refresh_token.take().or(refresh_token);
        let grant = answer.into_grant();
        {
            let mut memory = self.memory();
            memory.given = Some(grant.token.clone());
            memory.refresh_token.clone_from(&refresh_token);
        }
        if let Some((cache, locked)) = cache {
            let lifetime = grant.lifetime.unwrap_or_default();
            let tokens = UserTokens {
                access_token: Some(grant.token.clone()),
                refresh_token,
                expires: time_of_day() + lifetime,
                lifetime: grant.lifetime,
            };
            let written = cache.file.write(&tokens, locked).await;
            self.memory().outdated = written.is_err().then_some(OnDisk(kept));
            if let Err(error) = written {
                warn!(cause = %error, "the tokens could not be kept, the next program has to sign in again");
            }
        }
        grant
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenSource for BrowserTokens {
    fn grant(&self, demand: Demand) -> BoxFuture<'_, Result<Grant, Box<dyn StdError + Send + Sync>>> {
        async move { Ok(self.token(&demand).await?) }.boxed()
    }

    fn time_limit(&self) -> Duration {
        // Each of its parts has a limit of its own, which tells more.
        self.patience() + self.options.callback_timeout + 4 * self.identity.time_limit()
    }
}

/// Tells whether a refusal means that what was shown is worthless, and not that the app is refused as such.
fn is_about_the_grant(error: &Error) -> bool {
    // Some versions of the platform say `invalid_request` of a refresh token that has ended. What says nothing in the words
    // of OAuth is not the provider's: a gateway, or a list of addresses.
    error.kind() == ErrorKind::Unauthenticated
        && matches!(error.error_code(), Some("invalid_grant" | "invalid_request" | "access_denied"))
}

fn not_opened(host: &str) -> Error {
    let text = format!(
        "sign-in: the page of {host} could not be shown to anybody: pass `open_browser`, a function that takes its address, \
         or sign in without a browser: with an access token, or as a service principal (`\"type\": \"oauth-m2m\"`)"
    );
    Error::new(ErrorKind::Unauthenticated, text)
}

fn too_late(host: &str, limit: Duration) -> Error {
    let text = format!(
        "sign-in: nobody has signed in at {host} within {} s: try again and finish in the browser, or allow for more with \
         `callback_timeout_s`",
        limit.as_secs_f64()
    );
    // To try again by itself would open page after page.
    Error::new(ErrorKind::Timeout, text).with_retryable(false)
}

fn wrong_state(host: &str, redirect_uri: &str) -> Error {
    let text = format!(
        "sign-in: a browser came to {redirect_uri} with another state than the one sent to {host}: it may be of an older \
         sign-in, or somebody else's; close such pages and sign in again"
    );
    Error::new(ErrorKind::Unauthenticated, text)
}

fn refused(host: &str, error: &str, description: Option<&str>) -> Error {
    let line = |text: &str| {
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS).collect();
        text.trim().trim_end_matches('.').to_owned()
    };
    let code = line(error);
    let meaning = match code.as_str() {
        "access_denied" => "access was denied in the browser: sign in again and allow it, or ask an administrator",
        "invalid_scope" => "it does not give these scopes to this app: see `scopes`",
        "unauthorized_client" => "this app may not sign in users: see `client_id`",
        _ => "the sign-in in the browser failed: try again",
    };
    let why = description.map(line).map(|text| format!(" ({text})")).unwrap_or_default();
    Error::new(ErrorKind::Unauthenticated, format!("sign-in: {host} answered {code}: {meaning}{why}"))
        .with_error_code(Some(code))
}

/// Returns 256 random bits as text, which is what a verifier of PKCE has at least.
fn random_text() -> Result<Secret> {
    Ok(Secret::from(BASE64_URL_SAFE_NO_PAD.encode(random::<32>()?)))
}

fn challenge_of(verifier: &Secret) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.expose().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, appendix B.
    #[test]
    fn the_challenge_is_that_of_the_standard() {
        let verifier = Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(challenge_of(&verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
