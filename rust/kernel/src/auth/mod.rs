//! Credentials, and the type that keeps a secret from being printed.

mod tokens;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

pub(crate) use tokens::Tokens;

/// A text that cannot be printed: `Debug` shows a placeholder and there is no `Display`.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// Returns the text, for the one place that sends it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(...)")
    }
}

/// How to sign in.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credentials {
    /// A personal access token or any other bearer token; never renewed.
    AccessToken(Secret),
    /// Tokens of limited life, from a source that renews them.
    TokenSource(Arc<dyn TokenSource>),
}

/// Gives the bearer tokens of a session, one for each request that is sent.
///
/// The session never calls it while a former call is under way, and lets each call come to its end even where nobody
/// waits for it any more: a refresh token that was spent must not get lost. Of many requests that were refused with the
/// same token, one leads to a call; a request is sent again once, with the token that it brings.
pub trait TokenSource: Send + Sync {
    /// Returns a token to send now: usually the last one, as long as it is good.
    ///
    /// `rejected` is a token that the server has refused (HTTP 401), whatever its announced life; to return it again makes
    /// the refusal final. Limits of time are the source's own: nothing is sent until it has answered. An error that is a
    /// [`crate::Error`] keeps its kind, any other becomes [`crate::ErrorKind::Unauthenticated`]; its text must hold no
    /// secret.
    fn token(&self, rejected: Option<Secret>) -> BoxFuture<'_, Result<Secret, Box<dyn StdError + Send + Sync>>>;
}

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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_token() {
        assert_eq!(format!("{:?}", Credentials::access_token("dapi-canary")), "AccessToken(Secret(...))");
    }
}
