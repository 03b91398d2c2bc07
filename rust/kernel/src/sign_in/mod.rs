//! Signing in: how an identity provider is asked for tokens.
//!
//! Each method is a [`TokenSource`] in a module of its own; [`identity`] is the one way to talk to providers. Sessions of one
//! process that sign in alike share the tokens ([`SignIns`]).

mod browser;
mod cache;
mod callback;
mod client_credentials;
mod foreign_cache;
mod identity;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use url::Url;

use crate::auth::{Credentials, Grant, SIGN_IN_TIME_LIMIT, Secret, TokenSource, Tokens};
use crate::config::{SessionConfig, TlsConfig};
use crate::error::{Error, ErrorKind, Result};
use browser::BrowserTokens;
pub use browser::{BrowserSignIn, OpenPage, PageOpener};
pub use cache::TokenCache;
use client_credentials::ClientCredentials;
use identity::Identity;

/// How to sign in with an identity provider.
#[derive(Clone, Debug, PartialEq)]
pub struct SignIn {
    /// What to show the provider.
    pub method: SignInMethod,
    /// Longest time until a token is there; a user in front of a browser has a limit of its own. Default 15 s.
    pub time_limit: Duration,
}

/// What is shown to an identity provider for a token.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SignInMethod {
    /// A service principal with a secret: the grant `client_credentials`, with the secret by HTTP Basic.
    ClientSecret {
        /// The application id of the service principal.
        client_id: String,
        /// Its OAuth secret.
        client_secret: Secret,
        /// Default `all-apis`.
        scopes: Option<Vec<String>>,
        /// The https address that is asked, in place of the one that the workspace names.
        token_url: Option<String>,
    },
    /// A user with a browser.
    Browser(BrowserSignIn),
}

impl SignIn {
    /// Returns a sign-in with the default limit of time.
    pub fn new(method: SignInMethod) -> Self {
        Self { method, time_limit: SIGN_IN_TIME_LIMIT }
    }
}

/// The sign-ins of a process: sessions with equal ones share the tokens, so that of many that open at once one signs in.
#[derive(Clone, Default)]
pub struct SignIns(Arc<Mutex<Vec<Known>>>);

struct Known {
    host: Url,
    sign_in: SignIn,
    tls: TlsConfig,
    tokens: Tokens,
}

/// Sign-ins that are remembered; the oldest go first.
const MAX_KNOWN: usize = 64;

impl SignIns {
    /// Returns the tokens of a session.
    pub(crate) fn tokens(&self, config: &SessionConfig) -> Result<Tokens> {
        let sign_in = match &config.credentials {
            Credentials::AccessToken(token) => return Ok(Tokens::Fixed(Grant::of(token.clone()))),
            Credentials::TokenSource(source) => return Ok(Tokens::of_source(Arc::clone(source))),
            Credentials::SignIn(sign_in) => sign_in,
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &&Known| known.host == config.host && known.sign_in == *sign_in && known.tls == config.tls;
        if let Some(known) = known.iter().find(same) {
            if let (SignInMethod::Browser(known), SignInMethod::Browser(newer)) =
                (&known.sign_in.method, &sign_in.method)
            {
                known.opener.follow(&newer.opener);
            }
            return Ok(known.tokens.clone());
        }
        let tokens = Tokens::of_source(source(config, sign_in)?);
        if known.len() >= MAX_KNOWN {
            known.remove(0);
        }
        known.push(Known {
            host: config.host.clone(),
            sign_in: sign_in.clone(),
            tls: config.tls.clone(),
            tokens: tokens.clone(),
        });
        Ok(tokens)
    }
}

/// Checks a sign-in, and makes what can ask for its tokens.
fn source(config: &SessionConfig, sign_in: &SignIn) -> Result<Arc<dyn TokenSource>> {
    let identity = Identity::new(config, sign_in.time_limit)?;
    Ok(match &sign_in.method {
        SignInMethod::ClientSecret { client_id, client_secret, scopes, token_url } => {
            let token_url = token_url.as_deref().map(|text| safe_url("token_url", text)).transpose()?;
            Arc::new(ClientCredentials::with_secret(identity, client_id, client_secret, scopes.as_deref(), token_url))
        }
        SignInMethod::Browser(options) => Arc::new(BrowserTokens::new(config, identity, options)?),
    })
}

/// Reads an address that secrets are sent to. It is not repeated where it is none, for it may be something else.
fn safe_url(name: &str, text: &str) -> Result<Url> {
    Url::parse(text).ok().filter(identity::is_safe).ok_or_else(|| {
        let text = format!("`{name}` is no https address (http is for loopback addresses)");
        Error::new(ErrorKind::InvalidArgument, text)
    })
}

impl fmt::Debug for SignIns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SignIns(...)")
    }
}
