//! Secrets, tokens and where they come from. How the tokens of OAuth are had is told in `sign_in`.

mod tokens;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use zeroize::Zeroizing;

use crate::sign_in::SignIn;
pub use tokens::Demand;
pub(crate) use tokens::{Tokens, expiry_margin};

/// A text that cannot be printed: `Debug` shows a placeholder and there is no `Display`. Its memory is overwritten when the
/// last copy is dropped.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: &str) -> Self {
        Self::from(text.to_owned())
    }

    /// Returns the text, for the one place that sends it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

/// Replaces `secrets` in the words of a server, which may repeat what it was sent.
pub(crate) fn masked<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let mut secrets: Vec<&str> = secrets.into_iter().filter(|secret| !secret.is_empty()).collect();
    // One may be the beginning of another.
    secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.into_iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(...)")
    }
}

/// How to get in.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credentials {
    /// A personal access token or any other bearer token; never renewed.
    AccessToken(Secret),
    /// Tokens of limited life, from a source that renews them.
    TokenSource(Arc<dyn TokenSource>),
    /// Tokens of limited life, from an identity provider.
    SignIn(SignIn),
    /// Nobody's: for partitions that need no sign-in. Whatever does need one fails with
    /// [`crate::ErrorKind::Unauthenticated`] before anything is sent.
    None,
}

/// Gives no token.
pub(crate) struct NoSignIn;

impl TokenSource for NoSignIn {
    fn grant(&self, _: Demand) -> BoxFuture<'_, Result<Grant, Box<dyn StdError + Send + Sync>>> {
        let error = crate::Error::new(crate::ErrorKind::Unauthenticated, "there is no sign-in");
        Box::pin(async move { Err(error.into()) })
    }
}

/// What a token source gives: a bearer token, how long it is good, and what goes along with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// Sent as `Authorization: Bearer`.
    pub token: Secret,
    /// Life from now on. Without it the source is asked before each request.
    pub lifetime: Option<Duration>,
    /// Further headers of every request to the workspace, such as those of Azure's service principals.
    pub headers: Vec<(Cow<'static, str>, Secret)>,
}

impl Grant {
    /// Returns a grant of `token` alone, which is asked for anew before each request.
    pub fn of(token: Secret) -> Self {
        Self { token, lifetime: None, headers: Vec::new() }
    }
}

/// Gives the bearer tokens of a session.
///
/// It is never called while a former call is under way, and each call comes to its end even where nobody waits for it any
/// more: a refresh token that was spent must not get lost. Of many requests that need a token, one leads to a call. A token
/// with a lifetime is renewed in the background when a quarter of its life, or 20 minutes, is left, and is used on until a
/// tenth of it, or 40 seconds, is left. A request that was refused is sent again once, with the token that a call with
/// [`Demand::rejected`] brings.
pub trait TokenSource: Send + Sync {
    /// Returns a token to send now.
    ///
    /// An error that is a [`crate::Error`] keeps its kind, any other becomes [`crate::ErrorKind::Unauthenticated`]; its text
    /// must hold no secret.
    fn grant(&self, demand: Demand) -> BoxFuture<'_, Result<Grant, Box<dyn StdError + Send + Sync>>>;

    /// Longest time of one call, after which it is dropped. Default 15 s.
    fn time_limit(&self) -> Duration {
        SIGN_IN_TIME_LIMIT
    }
}

/// Longest time in which a token must be had, where nothing else is said.
pub(crate) const SIGN_IN_TIME_LIMIT: Duration = Duration::from_secs(15);

impl Credentials {
    /// Returns credentials that send `token` as the bearer token.
    pub fn access_token(token: &str) -> Self {
        Self::AccessToken(Secret::new(token))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccessToken(token) => formatter.debug_tuple("AccessToken").field(token).finish(),
            // A source may hold secrets and print them.
            Self::TokenSource(_) => formatter.write_str("TokenSource(...)"),
            Self::SignIn(sign_in) => sign_in.fmt(formatter),
            Self::None => formatter.write_str("None"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_replaced_whole_and_other_words_stay() {
        let text = "Invalid access token dapi-0123456789, not dapi-0123";
        let masked = masked(text, ["", "dapi-0123", "dapi-0123456789"]);
        assert_eq!(masked, "Invalid access token ***, not ***");
    }

    #[test]
    fn debug_does_not_show_the_token() {
        assert_eq!(format!("{:?}", Credentials::access_token("dapi-canary")), "AccessToken(Secret(...))");
        let grant = Grant { headers: vec![("x-a".into(), Secret::new("canary"))], ..Grant::of(Secret::new("canary")) };
        assert!(!format!("{grant:?}").contains("canary"));
    }
}
