//! Machine to machine: the grant `client_credentials`, with a secret or with a token that the client signs.

use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use url::Url;

use super::identity::{FormValue, Identity, TokenRequest};
use super::jwt::{JwtAlgorithm, Signer};
use super::{KeySource, file};
use crate::auth::{Credentials, Demand, Grant, Secret, TokenSource};
use crate::config::{SessionConfig, TlsConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::private_key::PrivateKey;

const DEFAULT_SCOPE: &str = "all-apis";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A service principal.
pub(super) struct ClientCredentials {
    pub(super) identity: Identity,
    pub(super) client_id: String,
    pub(super) proof: Proof,
    pub(super) scope: String,
    pub(super) token_url: Option<Url>,
}

/// What a client shows for who it is.
pub(super) enum Proof {
    Secret(Secret),
    Key(Arc<ClientKey>),
}

/// The key a client signs with.
pub(super) struct ClientKey {
    source: KeySource,
    key_id: String,
    passphrase: Option<Secret>,
    algorithm: JwtAlgorithm,
    /// The last key and its text, for decrypting one is slow on purpose.
    last: Mutex<Option<(Secret, Arc<Signer>)>>,
}

/// Returns the scopes as requests have them.
pub(super) fn scope(scopes: Option<&[String]>) -> String {
    scopes.map_or_else(|| DEFAULT_SCOPE.to_owned(), |scopes| scopes.join(" "))
}

impl ClientKey {
    pub(super) fn new(
        source: &KeySource,
        key_id: &str,
        passphrase: Option<&Secret>,
        algorithm: JwtAlgorithm,
    ) -> Arc<Self> {
        let (source, key_id, passphrase) = (source.clone(), key_id.to_owned(), passphrase.cloned());
        Arc::new(Self { source, key_id, passphrase, algorithm, last: Mutex::default() })
    }

    /// Returns what signs. A file is read anew, for keys are replaced in long lives.
    async fn signer(self: &Arc<Self>) -> Result<Arc<Signer>> {
        let pem = match &self.source {
            KeySource::Pem(pem) => pem.clone(),
            KeySource::File(path) => file::read("key_file", path).await?,
        };
        let key = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || key.read(pem));
        reading.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the key could not be read")))
    }

    fn read(&self, pem: Secret) -> Result<Arc<Signer>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((text, signer)) = last.as_ref()
            && *text == pem
        {
            return Ok(Arc::clone(signer));
        }
        let name = match &self.source {
            KeySource::Pem(_) => "`key_pem`".to_owned(),
            KeySource::File(path) => format!("the key in `{}`", path.display()),
        };
        let key = PrivateKey::read(&pem, self.passphrase.as_ref(), &name, "passphrase")?;
        if self.passphrase.is_some() && !key.was_encrypted {
            let text = format!("{name} is not encrypted: leave out `passphrase`, or name the encrypted key");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let signer = Arc::new(Signer::new(&key, &name, self.algorithm)?);
        *last = Some((pem, Arc::clone(&signer)));
        Ok(signer)
    }
}

impl ClientCredentials {
    async fn ask(&self) -> Result<Grant> {
        let deadline = self.identity.deadline();
        let signer = match &self.proof {
            Proof::Secret(_) => None,
            Proof::Key(key) => Some((key.signer().await?, &key.key_id)),
        };
        let url = match &self.token_url {
            Some(url) => url.clone(),
            None => self.identity.endpoints(deadline).await?.token.clone(),
        };
        // Each is good once, so that every attempt needs its own.
        let assertion = signer.map(|(signer, key_id)| {
            let (client_id, audience) = (self.client_id.as_str(), url.as_str());
            move || signer.assertion(client_id, key_id, audience)
        });
        let mut form = vec![("grant_type", "client_credentials".into()), ("scope", self.scope.as_str().into())];
        if let Some(assertion) = &assertion {
            form.push(("client_assertion_type", ASSERTION_TYPE.into()));
            form.push(("client_assertion", FormValue::Made(assertion)));
        }
        let basic = match &self.proof {
            Proof::Secret(secret) => Some((self.client_id.as_str(), secret)),
            Proof::Key(_) => None,
        };
        let request = TokenRequest { form, basic, may_be_repeated: true };
        Ok(self.identity.token(&url, request, deadline).await?.into_grant())
    }
}

/// Asks a workspace for tokens of a service principal that are good for what the request names, and for nothing else.
///
/// Nothing is kept and nothing shared: each call asks.
pub struct ScopedTokens {
    identity: Identity,
    url: Url,
    client_id: String,
    client_secret: Secret,
}

impl ScopedTokens {
    /// Prepares requests to `workspace_url`, over the proxy and with the trust that the environment names; `tls` adds to it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for what is no address that a secret may be sent to, and for what is wrong in `tls`.
    pub fn new(
        workspace_url: &str,
        client_id: &str,
        client_secret: &Secret,
        tls: TlsConfig,
        time_limit: Duration,
    ) -> Result<Self> {
        // Of a session, the address and the ways to the network are of use alone.
        let session = SessionConfig::new(workspace_url, "/sql/1.0/warehouses/0", Credentials::access_token(""))?;
        let config = SessionConfig { tls, ..session };
        let mut url = config.host.clone();
        url.set_path("/oidc/v1/token");
        let (client_id, client_secret) = (client_id.to_owned(), client_secret.clone());
        Ok(Self { identity: Identity::new(&config, time_limit)?, url, client_id, client_secret })
    }

    /// Asks for a token with these fields besides the grant and the scope. It has a lifetime where the answer names one.
    pub async fn ask(&self, fields: &[(&str, &str)]) -> Result<Grant> {
        let mut form = vec![("grant_type", "client_credentials".into()), ("scope", DEFAULT_SCOPE.into())];
        form.extend(fields.iter().map(|(name, value)| (*name, FormValue::Plain(value))));
        let basic = Some((self.client_id.as_str(), &self.client_secret));
        let request = TokenRequest { form, basic, may_be_repeated: true };
        let answer = self.identity.token(&self.url, request, self.identity.deadline()).await?;
        Ok(answer.into_named_grant())
    }
}

impl fmt::Debug for ScopedTokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ScopedTokens").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl TokenSource for ClientCredentials {
    fn grant(&self, _demand: Demand) -> BoxFuture<'_, Result<Grant, Box<dyn StdError + Send + Sync>>> {
        async { Ok(self.ask().await?) }.boxed()
    }

    fn time_limit(&self) -> Duration {
        self.identity.time_limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scoped_tokens_are_asked_for_at_safe_addresses_and_print_no_secret() {
        let new =
            |url| ScopedTokens::new(url, "an-id", &Secret::new("canary"), TlsConfig::default(), Duration::from_secs(1));
        let shown = format!("{:?}", new("http://127.0.0.1:1/").unwrap());
        assert!(shown.contains("an-id") && !shown.contains("canary"), "{shown}");
        assert_eq!(new("http://workspace.example").unwrap_err().kind(), ErrorKind::InvalidArgument);
        let header = Secret::new("canary").bearer().unwrap();
        assert!(header.is_sensitive() && header == "Bearer canary");
        for text in ["", "two\nlines"] {
            let error = Secret::new(text).bearer().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("lines"));
        }
    }
}
