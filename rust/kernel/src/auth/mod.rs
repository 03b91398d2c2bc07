//! Credentials, and the type that keeps a secret from being printed.

use std::fmt;
use std::sync::Arc;

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
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Credentials {
    /// A personal access token or any other bearer token; never renewed.
    AccessToken(Secret),
}

impl Credentials {
    /// Returns credentials that send `token` as the bearer token.
    pub fn access_token(token: &str) -> Self {
        Self::AccessToken(Secret::new(token))
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
