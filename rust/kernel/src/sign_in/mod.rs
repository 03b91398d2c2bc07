//! Signing in: how an identity provider is asked for tokens.
//!
//! Each method is a [`TokenSource`] in a module of its own; [`identity`] is the one way to talk to providers. Sessions of one
//! process that sign in alike share the tokens ([`SignIns`]).

mod azure;
mod browser;
mod cache;
mod callback;
mod client_credentials;
mod exchange;
mod file;
mod foreign_cache;
mod identity;
mod jwt;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use url::Url;

use crate::auth::{Credentials, Grant, NoSignIn, SIGN_IN_TIME_LIMIT, Secret, TokenSource, Tokens};
use crate::config::{SessionConfig, TlsConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::proxy::ProxyConfig;
use azure::{ManagedIdentity, ServicePrincipal};
use browser::BrowserTokens;
pub use browser::{BrowserSignIn, OpenPage, PageOpener};
pub use cache::TokenCache;
pub use client_credentials::ScopedTokens;
use client_credentials::{ClientCredentials, ClientKey, Proof};
use exchange::Exchange;
pub use exchange::SubjectToken;
use identity::Identity;
pub use jwt::{JwtAlgorithm, lifetime_of};

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
    /// A service principal with a key: the grant `client_credentials`, with a token that the client signs (RFC 7523).
    SignedJwt {
        /// The application id of the service principal.
        client_id: String,
        /// What the token is signed with.
        key: KeySource,
        /// Which of the keys registered for the client this is.
        key_id: String,
        /// Of an encrypted key.
        passphrase: Option<Secret>,
        /// How the token is signed.
        algorithm: JwtAlgorithm,
        /// Default `all-apis`.
        scopes: Option<Vec<String>>,
        /// The https address that is asked, in place of the one that the workspace names.
        token_url: Option<String>,
    },
    /// A service principal of Entra with a secret.
    AzureClientSecret {
        /// The application id of the service principal.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
        /// Its tenant. Default the one that the workspace names.
        tenant_id: Option<String>,
        /// The workspace in Azure's terms, for service principals that are not yet users of it: with it, a token for the
        /// management of Azure goes along.
        workspace_resource_id: Option<String>,
        /// Where Entra is. Default the one of the workspace's cloud.
        login_url: Option<String>,
    },
    /// The identity of the Azure machine that this process runs on.
    AzureManagedIdentity {
        /// Which of the machine's identities. Default the only one, or the one that the system assigned.
        client_id: Option<String>,
        /// As for a service principal.
        workspace_resource_id: Option<String>,
        /// The metadata service that is asked. Default what `IDENTITY_ENDPOINT` and `IDENTITY_HEADER` name, else that of
        /// virtual machines.
        endpoint: Option<String>,
    },
    /// A token of another identity provider, which is exchanged for one of the workspace.
    ///
    /// Tokens that the workspace issued itself, and what is no JWT, are used as they are, except where `client_id` is given
    /// and the token is not [`SubjectToken::Fixed`]. Without `client_id`, a fixed token that cannot be exchanged is used as it
    /// is, with a warning.
    TokenExchange {
        /// The token.
        subject: SubjectToken,
        /// The service principal to become. Default whoever the token is about.
        client_id: Option<String>,
        /// Default `all-apis`.
        scopes: Option<Vec<String>>,
        /// The https address that is asked, in place of the one that the workspace names.
        token_url: Option<String>,
    },
    /// A user with a browser.
    Browser(BrowserSignIn),
}

/// Where a private key is, in PEM.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySource {
    /// In this file, which is read anew for each token.
    File(PathBuf),
    /// Here.
    Pem(Secret),
}

impl SignIn {
    /// Returns a sign-in with the default limit of time.
    pub fn new(method: SignInMethod) -> Self {
        Self { method, time_limit: SIGN_IN_TIME_LIMIT }
    }
}

/// The sign-ins of a process: sessions with equal ones share the tokens, so that of many that open at once one signs in.
#[derive(Clone, Default)]
pub struct SignIns(Arc<Mutex<Vec<(Whose, Tokens)>>>);

/// What sessions must have in common to share tokens.
#[derive(PartialEq)]
struct Whose {
    host: Url,
    sign_in: SignIn,
    tls: TlsConfig,
    proxy: ProxyConfig,
    /// The token that the environment held: a program that sets another one is somebody else.
    subject: Option<Secret>,
}

/// Sign-ins that are remembered; the oldest go first.
const MAX_KNOWN: usize = 64;

impl SignIns {
    /// Returns the tokens of a session.
    pub(crate) fn tokens(&self, config: &SessionConfig) -> Result<Tokens> {
        let sign_in = match &config.credentials {
            Credentials::AccessToken(token) => return Ok(Tokens::Fixed(Grant::of(token.clone()))),
            Credentials::TokenSource(source) => return Ok(Tokens::of_source(Arc::clone(source))),
            Credentials::None => return Ok(Tokens::of_source(Arc::new(NoSignIn))),
            Credentials::SignIn(sign_in) => sign_in,
        };
        let subject = match &sign_in.method {
            SignInMethod::TokenExchange { subject: SubjectToken::Environment(name), .. } => {
                std::env::var(name).ok().map(Secret::from)
            }
            _ => None,
        };
        let whose = Whose {
            host: config.host.clone(),
            sign_in: sign_in.clone(),
            tls: config.tls.clone(),
            proxy: config.proxy.clone(),
            subject,
        };
        if let Some(tokens) = whose.among(&self.lock()) {
            return Ok(tokens);
        }
        // Not under the lock of all sign-ins, for it reads files.
        let tokens = Tokens::of_source(source(config, sign_in)?);
        let mut known = self.lock();
        // Another session may have been quicker.
        if let Some(tokens) = whose.among(&known) {
            return Ok(tokens);
        }
        if known.len() >= MAX_KNOWN {
            known.remove(0);
        }
        known.push((whose, tokens.clone()));
        Ok(tokens)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Whose, Tokens)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Whose {
    /// Returns their tokens, where they have signed in before.
    fn among(&self, known: &[(Self, Tokens)]) -> Option<Tokens> {
        let (known, tokens) = known.iter().find(|(known, _)| known == self)?;
        if let (SignInMethod::Browser(known), SignInMethod::Browser(newer)) =
            (&known.sign_in.method, &self.sign_in.method)
        {
            known.opener.follow(&newer.opener);
        }
        Some(tokens.clone())
    }
}

/// Checks a sign-in, and makes what can ask for its tokens.
fn source(config: &SessionConfig, sign_in: &SignIn) -> Result<Arc<dyn TokenSource>> {
    let identity = || Identity::new(config, sign_in.time_limit);
    let token_url = |text: &Option<String>| text.as_deref().map(|text| safe_url("token_url", text)).transpose();
    Ok(match &sign_in.method {
        SignInMethod::ClientSecret { client_id, client_secret, scopes, token_url: url } => {
            Arc::new(ClientCredentials {
                identity: identity()?,
                client_id: client_id.clone(),
                proof: Proof::Secret(client_secret.clone()),
                scope: client_credentials::scope(scopes.as_deref()),
                token_url: token_url(url)?,
            })
        }
        SignInMethod::SignedJwt { client_id, key, key_id, passphrase, algorithm, scopes, token_url: url } => {
            Arc::new(ClientCredentials {
                identity: identity()?,
                client_id: client_id.clone(),
                proof: Proof::Key(ClientKey::new(key, key_id, passphrase.as_ref(), *algorithm)),
                scope: client_credentials::scope(scopes.as_deref()),
                token_url: token_url(url)?,
            })
        }
        SignInMethod::AzureClientSecret { client_id, client_secret, tenant_id, workspace_resource_id, login_url } => {
            Arc::new(ServicePrincipal::new(
                identity()?,
                client_id,
                client_secret,
                tenant_id.as_deref(),
                workspace_resource_id.as_deref(),
                login_url.as_deref().map(|text| safe_url("login_url", text)).transpose()?,
            )?)
        }
        SignInMethod::AzureManagedIdentity { client_id, workspace_resource_id, endpoint } => {
            let endpoint = endpoint.as_deref().map(metadata_service).transpose()?;
            let identity = Identity::on_this_machine(config, sign_in.time_limit)?;
            let (client_id, resource_id) = (client_id.as_deref(), workspace_resource_id.as_deref());
            Arc::new(ManagedIdentity::new(identity, client_id, resource_id, endpoint))
        }
        SignInMethod::TokenExchange { subject, client_id, scopes, token_url: url } => Arc::new(Exchange {
            identity: identity()?,
            subject: subject.clone(),
            client_id: client_id.clone(),
            scope: client_credentials::scope(scopes.as_deref()),
            token_url: token_url(url)?,
        }),
        SignInMethod::Browser(options) => Arc::new(BrowserTokens::new(config, identity()?, options)?),
    })
}

/// Returns random bytes that nobody can guess.
fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let failed = |_| Error::new(ErrorKind::Internal, "the system has no random numbers");
    SystemRandom::new().fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn metadata_service(text: &str) -> Result<Url> {
    Url::parse(text).ok().filter(azure::is_metadata_service).ok_or_else(|| {
        let text = "`endpoint` is neither an https address nor one of this machine, as http://169.254.169.254 is";
        Error::new(ErrorKind::InvalidArgument, text)
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
