//! The current token, renewed by one call however many requests need it.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::{Credentials, Secret, TokenSource};
use crate::error::{Error, ErrorKind, Result};

/// Where the tokens of a session come from.
pub(crate) enum Tokens {
    Fixed(Secret),
    Renewed(Arc<Renewed>),
}

/// A source, and the last token it gave. The lock is held during a call of the source.
pub(crate) struct Renewed {
    source: Arc<dyn TokenSource>,
    last: Mutex<Option<Secret>>,
}

impl Tokens {
    pub(crate) fn new(credentials: &Credentials) -> Self {
        match credentials {
            Credentials::AccessToken(token) => Self::Fixed(token.clone()),
            Credentials::TokenSource(source) => {
                Self::Renewed(Arc::new(Renewed { source: Arc::clone(source), last: Mutex::default() }))
            }
        }
    }

    /// Tells whether a token that was refused may be followed by another.
    pub(crate) fn are_renewed(&self) -> bool {
        matches!(self, Self::Renewed(_))
    }

    /// Returns the token to send; `rejected` is the one that was refused, if that is why it is needed.
    pub(crate) async fn token(&self, rejected: Option<Secret>) -> Result<Secret> {
        match self {
            Self::Fixed(token) => Ok(token.clone()),
            Self::Renewed(renewed) => {
                // A task, so that a request that is dropped does not break off a renewal that others need.
                // Why it ended is not told: the message of a panic could hold anything.
                let ended = |_| Err(Error::new(ErrorKind::Internal, "the token source ended without an answer"));
                tokio::spawn(Arc::clone(renewed).token(rejected)).await.unwrap_or_else(ended)
            }
        }
    }
}

impl Renewed {
    async fn token(self: Arc<Self>, rejected: Option<Secret>) -> Result<Secret> {
        let mut last = self.last.lock().await;
        // Another request was refused with the same token and has renewed it.
        if let (Some(last), Some(rejected)) = (&*last, &rejected)
            && last != rejected
        {
            return Ok(last.clone());
        }
        let token = self.source.token(rejected).await.map_err(|error| match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => Error::new(ErrorKind::Unauthenticated, "no token could be had").with_source(error),
        })?;
        *last = Some(token.clone());
        Ok(token)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tokens(...)")
    }
}
