//! The identity provider: the workspace's own, and what Entra and Azure's machines answer.
//!
//! Everything that was given out stands in one [`Ledger`], by which the API tells valid tokens from others.

mod authorize;
mod azure;
mod client;
mod discovery;
mod form;
mod grant;
mod jwt;
mod key;
mod ledger;
mod options;
mod route;

use std::fmt;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use hyper::{HeaderMap, StatusCode};
use rand::random;
use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::options::ServerOptions;
use crate::switches::{OauthTokenFormat, Switches};

use authorize::AuthorizationRequest;
use azure::AzureTokenRequest;
use grant::TokenRequest;
use jwt::Signer;

pub(crate) use form::Form;
pub use key::PublicKey;
pub(crate) use ledger::{Audience, Ledger, Tally, TokenState};
pub use options::{
    AzureOptions, FOREIGN_ISSUER, ForeignIssuer, IdentityClient, IdentityOptions, ManagedIdentity, RegisteredKey,
};
pub(crate) use route::IdentityRoute;

const EXCHANGE_GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT_BEARER_GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The provider: whom it knows, its keys, and what it has given out.
pub(crate) struct Identity {
    api_address: String,
    issuer: String,
    access_token: String,
    clients: Vec<IdentityClient>,
    public_clients: Vec<String>,
    issuers: Vec<ForeignIssuer>,
    azure: Option<AzureOptions>,
    machine: Option<ManagedIdentity>,
    signer: Signer,
    foreign_signer: Signer,
    pub(crate) ledger: Ledger,
}

/// One request to the provider, read to its end.
pub(crate) struct IdentityRequest<'request> {
    pub(crate) route: IdentityRoute<'request>,
    pub(crate) query: Option<&'request str>,
    pub(crate) headers: &'request HeaderMap,
    pub(crate) body: &'request [u8],
}

impl Identity {
    /// Makes the keys. Without `oauth` among the options, only `oauth_client` is known.
    pub(crate) fn new(options: &ServerOptions, api_address: &str) -> io::Result<Self> {
        let known = options.oauth.clone();
        let enabled = known.is_some();
        let known = known.unwrap_or_else(|| IdentityOptions { public_clients: Vec::new(), ..Default::default() });
        let broken = |_| io::Error::other("no key could be made: the system has no random numbers");
        let (signer, foreign_signer) = (Signer::generate().map_err(broken)?, Signer::generate().map_err(broken)?);
        let mut issuers = known.issuers;
        if enabled {
            let key = RegisteredKey { pem: foreign_signer.public_key(), key_id: None };
            issuers.push(ForeignIssuer {
                issuer: FOREIGN_ISSUER.to_owned(),
                public_keys: vec![key],
                audiences: Vec::new(),
            });
        }
        let mut clients = known.clients;
        clients.extend(options.oauth_client.clone().map(IdentityClient::from));
        Ok(Self {
            api_address: api_address.to_owned(),
            issuer: format!("{api_address}/oidc"),
            access_token: options.access_token.clone(),
            clients,
            public_clients: known.public_clients,
            issuers,
            azure: known.azure,
            machine: known.managed_identity,
            signer,
            foreign_signer,
            ledger: Ledger::default(),
        })
    }

    /// Answers one request.
    pub(crate) fn answer(&self, request: &IdentityRequest<'_>, switches: &Switches) -> Answer {
        let answered = match request.route {
            IdentityRoute::Discovery => Ok(discovery::document(self)),
            IdentityRoute::Jwks => Ok(discovery::keys(self)),
            IdentityRoute::Token => {
                let (form, headers) = (&Form::of_body(request.body), request.headers);
                TokenRequest { identity: self, switches, form, headers }.answer()
            }
            IdentityRoute::Authorize { decided } => {
                let form = if decided { Form::of_body(request.body) } else { query(request) };
                Ok(AuthorizationRequest { identity: self, switches, form: &form }.answer(decided))
            }
            IdentityRoute::AuthorizeRedirector => Ok(authorize::redirector(self, request.query)),
            IdentityRoute::AzureTenant => azure::tenant(self),
            IdentityRoute::AzureToken { tenant, version } => {
                let (form, headers) = (&Form::of_body(request.body), request.headers);
                AzureTokenRequest { identity: self, switches, form, headers }.answer(tenant, version)
            }
            IdentityRoute::ManagedIdentity => {
                let (form, headers) = (&query(request), request.headers);
                AzureTokenRequest { identity: self, switches, form, headers }.managed_identity()
            }
        };
        answered.unwrap_or_else(Answer::from)
    }

    /// Signs `claims` as [`FOREIGN_ISSUER`] does, whatever they say.
    pub(crate) fn foreign_token(&self, claims: &Map<String, Value>) -> io::Result<String> {
        self.foreign_signer.sign(claims).map_err(|_| io::Error::other("the token could not be signed"))
    }

    /// The headers that a request with a token of Entra must have besides it.
    pub(crate) fn check_azure_headers(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        azure::check_headers(self, headers)
    }

    fn token_endpoint(&self) -> String {
        format!("{}/v1/token", self.issuer)
    }

    fn client(&self, client_id: &str) -> Option<&IdentityClient> {
        self.clients.iter().find(|client| client.client_id == client_id)
    }

    fn is_public_client(&self, client_id: &str) -> bool {
        self.public_clients.iter().any(|known| known == client_id)
    }

    /// Makes an access token with these claims and the usual ones, or one that says nothing.
    fn access_token(
        &self,
        mut claims: Map<String, Value>,
        issuer: &str,
        switches: &Switches,
    ) -> Result<String, OauthError> {
        if switches.oauth_token_format == OauthTokenFormat::Opaque {
            return Ok(opaque_token("local-oauth"));
        }
        let now = unix_seconds().floor();
        claims.insert("iss".to_owned(), Value::from(issuer));
        claims.insert("iat".to_owned(), Value::from(now));
        claims.insert("exp".to_owned(), Value::from(now + f64::from(switches.oauth_lifetime_seconds)));
        claims.insert("jti".to_owned(), Value::from(opaque_token("id")));
        self.signer.sign(&claims).map_err(|_| OauthError::new("server_error", "the token could not be signed"))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Identity").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

fn query(request: &IdentityRequest<'_>) -> Form {
    Form::parse(request.query.unwrap_or_default())
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

/// A token that says nothing, with 256 random bits.
fn opaque_token(prefix: &str) -> String {
    let [first, second]: [u128; 2] = random();
    format!("{prefix}-{first:032x}{second:032x}")
}

/// An answer with a token, which nobody may keep on the way (RFC 6749, section 5.1).
fn token_answer(body: &Value) -> Answer {
    let mut answer = Answer::json(body);
    answer.insert(CACHE_CONTROL, "no-store");
    answer
}

/// A refusal as RFC 6749, section 5.2 words it.
#[derive(Debug)]
struct OauthError {
    status: StatusCode,
    code: &'static str,
    description: String,
    /// The numbers Entra gives its errors.
    azure_code: Option<u64>,
}

impl OauthError {
    fn new(code: &'static str, description: &str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, description: description.to_owned(), azure_code: None }
    }

    fn request(description: &str) -> Self {
        Self::new("invalid_request", description)
    }

    fn grant(description: &str) -> Self {
        Self::new("invalid_grant", description)
    }

    fn client(description: &str) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, ..Self::new("invalid_client", description) }
    }

    fn azure(status: StatusCode, code: &'static str, number: u64, description: &str) -> Self {
        let description = format!("AADSTS{number}: {description}");
        Self { status, code, description, azure_code: Some(number) }
    }
}

impl From<OauthError> for Answer {
    fn from(error: OauthError) -> Self {
        let mut body = json!({"error": error.code, "error_description": error.description});
        if let (Some(fields), Some(number)) = (body.as_object_mut(), error.azure_code) {
            fields.insert("error_codes".to_owned(), json!([number]));
        }
        let mut answer = token_answer(&body);
        answer.status = error.status;
        if error.status == StatusCode::UNAUTHORIZED {
            answer.insert(WWW_AUTHENTICATE, "Basic realm=\"local warehouse\"");
        }
        answer
    }
}

/// The body of a fault of an endpoint of the provider.
pub(crate) fn fault_body(error: &str) -> Vec<u8> {
    json!({"error": error, "error_description": "a fault was asked for"}).to_string().into_bytes()
}
