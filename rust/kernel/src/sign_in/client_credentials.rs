//! Machine to machine: the grant `client_credentials`.

use std::error::Error as StdError;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use url::Url;

use super::identity::{Identity, TokenRequest};
use crate::auth::{Demand, Grant, Secret, TokenSource};

const DEFAULT_SCOPE: &str = "all-apis";

/// A service principal.
pub(super) struct ClientCredentials {
    identity: Identity,
    client_id: String,
    client_secret: Secret,
    scope: String,
    token_url: Option<Url>,
}

impl ClientCredentials {
    pub(super) fn with_secret(
        identity: Identity,
        client_id: &str,
        client_secret: &Secret,
        scopes: Option<&[String]>,
        token_url: Option<Url>,
    ) -> Self {
        Self {
            identity,
            client_id: client_id.to_owned(),
            client_secret: client_secret.clone(),
            scope: scopes.map_or_else(|| DEFAULT_SCOPE.to_owned(), |scopes| scopes.join(" ")),
            token_url,
        }
    }
}

impl TokenSource for ClientCredentials {
    fn grant(&self, _demand: Demand) -> BoxFuture<'_, Result<Grant, Box<dyn StdError + Send + Sync>>> {
        async {
            let deadline = self.identity.deadline();
            let url = match &self.token_url {
                Some(url) => url.clone(),
                None => self.identity.endpoints(deadline).await?.token.clone(),
            };
            let request = TokenRequest {
                form: vec![("grant_type", "client_credentials".into()), ("scope", self.scope.as_str().into())],
                basic: Some((&self.client_id, &self.client_secret)),
                may_be_repeated: true,
            };
            Ok(self.identity.token(&url, request, deadline).await?.into_grant())
        }
        .boxed()
    }

    fn time_limit(&self) -> Duration {
        self.identity.time_limit()
    }
}
