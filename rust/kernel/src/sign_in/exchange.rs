//! Tokens of another identity provider, exchanged for one of the workspace (RFC 8693): token federation.

use std::env;
use std::error::Error as StdError;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;
use tokio::time::Instant;
use tracing::warn;
use url::Url;
use zeroize::Zeroizing;

use super::file;
use super::identity::{FormValue, Identity, TokenRequest, is_safe, parse, refused, secret};
use super::jwt::Claims;
use crate::auth::{Demand, Grant, Secret, TokenSource};
use crate::error::{Error, ErrorKind, Result};

const EXCHANGE_GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";
const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const GITHUB_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
/// How long a token that does not tell its end is used before it is read again: one that nobody replaces, and others.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(3600);
const UNKNOWN_LIFETIME_OF_REPLACED: Duration = Duration::from_secs(60);

/// Where a token of another identity provider comes from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SubjectToken {
    /// This one.
    Fixed(Secret),
    /// The value of this environment variable, at each renewal.
    Environment(String),
    /// The content of this file at each renewal: Kubernetes replaces it now and then.
    File(PathBuf),
    /// GitHub Actions, asked for a token for this audience; by default the workspace's token endpoint.
    Github {
        /// Whom the token is for.
        audience: Option<String>,
    },
}

/// Tells whether the provider has looked at the token and will not exchange it.
fn is_refusal(error: &Error) -> bool {
    error.kind() == ErrorKind::Unauthenticated && error.error_code().is_some()
}

/// Exchanges a token for one of the workspace.
pub(super) struct Exchange {
    pub(super) identity: Identity,
    pub(super) subject: SubjectToken,
    /// The service principal to become.
    pub(super) client_id: Option<String>,
    pub(super) scope: String,
    pub(super) token_url: Option<Url>,
}

impl Exchange {
    async fn ask(&self, rejected: Option<&Secret>) -> Result<Grant> {
        let deadline = self.identity.deadline();
        let token = self.subject_token(deadline).await?;
        let claims = Claims::of(&token);
        let is_foreign = claims.as_ref().is_some_and(|claims| !self.is_own(claims));
        // A workload that names a service principal is never somebody else, whoever issued its token.
        let is_workload_of_client = self.client_id.is_some() && !matches!(self.subject, SubjectToken::Fixed(_));
        if !is_foreign && !is_workload_of_client {
            return Ok(self.unchanged(token, claims.as_ref()));
        }
        let may_stay = self.client_id.is_none() && matches!(self.subject, SubjectToken::Fixed(_));
        match self.exchange(&token, deadline).await {
            Ok(grant) => Ok(grant),
            // The workspace may take it all the same, as on Azure. Not so where it was shown and refused, and a provider that
            // was away says nothing of the token.
            Err(error) if may_stay && is_refusal(&error) && rejected != Some(&token) => {
                warn!(cause = %error, "the token could not be exchanged and is used as it is");
                Ok(self.unchanged(token, claims.as_ref()))
            }
            Err(error) => Err(error),
        }
    }

    /// Tells whether the workspace issued the token. Ports do not count, as in the platform's own driver.
    fn is_own(&self, claims: &Claims) -> bool {
        let issuer = claims.issuer.as_deref().and_then(|issuer| Url::parse(issuer).ok());
        issuer.is_some_and(|issuer| issuer.host() == self.identity.workspace().host())
    }

    fn unchanged(&self, token: Secret, claims: Option<&Claims>) -> Grant {
        let unknown = match self.subject {
            SubjectToken::Fixed(_) => UNKNOWN_LIFETIME,
            _ => UNKNOWN_LIFETIME_OF_REPLACED,
        };
        Grant { lifetime: claims.and_then(Claims::lifetime).or(Some(unknown)), ..Grant::of(token) }
    }

    async fn subject_token(&self, deadline: Instant) -> Result<Secret> {
        match &self.subject {
            SubjectToken::Fixed(token) => Ok(token.clone()),
            SubjectToken::Environment(name) => variable(name, "set it to the token to exchange"),
            SubjectToken::File(path) => file::read("token_file", path).await,
            SubjectToken::Github { audience } => match audience {
                Some(audience) => self.github(audience, deadline).await,
                None => self.github(self.url(deadline).await?.as_str(), deadline).await,
            },
        }
    }

    async fn url(&self, deadline: Instant) -> Result<Url> {
        match &self.token_url {
            Some(url) => Ok(url.clone()),
            None => Ok(self.identity.endpoints(deadline).await?.token.clone()),
        }
    }

    async fn exchange(&self, token: &Secret, deadline: Instant) -> Result<Grant> {
        let url = self.url(deadline).await?;
        let mut form = vec![
            ("grant_type", EXCHANGE_GRANT.into()),
            ("subject_token", FormValue::Secret(token)),
            ("subject_token_type", JWT_TYPE.into()),
            ("scope", self.scope.as_str().into()),
        ];
        if let Some(client_id) = &self.client_id {
            form.push(("client_id", client_id.as_str().into()));
        } else if matches!(self.subject, SubjectToken::Fixed(_)) {
            form.push(("return_original_token_if_authenticated", "true".into()));
        }
        let request = TokenRequest { form, basic: None, may_be_repeated: true };
        Ok(self.identity.token(&url, request, deadline).await?.into_grant())
    }

    /// Source: the documentation of GitHub Actions, "`OpenID` Connect reference".
    async fn github(&self, audience: &str, deadline: Instant) -> Result<Secret> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(deserialize_with = "secret")]
            value: Secret,
        }
        let advice = "this is no job of GitHub Actions, or it lacks `permissions: id-token: write`";
        let url = variable(GITHUB_URL, advice)?;
        let mut url = Url::parse(url.expose())
            .ok()
            .filter(is_safe)
            .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, format!("`{GITHUB_URL}` is no https address")))?;
        url.query_pairs_mut().append_pair("audience", audience);
        let bearer = variable(GITHUB_TOKEN, advice)?;
        let mut value = HeaderValue::from_str(&Zeroizing::new(format!("Bearer {}", bearer.expose())))
            .map_err(|_| Error::new(ErrorKind::InvalidArgument, format!("`{GITHUB_TOKEN}` cannot be sent")))?;
        value.set_sensitive(true);
        let accepted = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(ACCEPT, accepted), (AUTHORIZATION, value)]);
        let answer = self.identity.get(&url, headers, deadline).await?;
        if !answer.status.is_success() {
            return Err(refused(&url, &answer, "GitHub gave no token for this job", &[bearer.expose()]));
        }
        Ok(parse::<Answer>(&url, &answer)?.value)
    }
}

/// Reads an environment variable; `advice` is for one that is not there.
fn variable(name: &str, advice: &str) -> Result<Secret> {
    let value = env::var(name).ok().map(Zeroizing::new);
    let value = value.as_ref().map(|value| value.trim()).filter(|value| !value.is_empty());
    value.map(Secret::new).ok_or_else(|| {
        let text = format!("the environment variable `{name}` is not set or empty: {advice}");
        Error::new(ErrorKind::InvalidArgument, text)
    })
}

impl TokenSource for Exchange {
    fn grant(&self, demand: Demand) -> BoxFuture<'_, Result<Grant, Box<dyn StdError + Send + Sync>>> {
        async move { Ok(self.ask(demand.rejected.as_ref()).await?) }.boxed()
    }

    fn time_limit(&self) -> Duration {
        self.identity.time_limit()
    }
}
