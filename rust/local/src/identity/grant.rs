//! The token endpoint: one function per grant.

use std::time::Duration;

use hyper::HeaderMap;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::form::Form;
use super::jwt::{ForeignToken, challenge_of};
use super::ledger::Audience;
use super::{EXCHANGE_GRANT, Identity, JWT_BEARER_GRANT, OauthError, token_answer, unix_seconds};
use crate::answer::Answer;
use crate::switches::{ExpiresIn, Switches};

const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";
const PERSONAL_TOKEN_TYPE: &str = "urn:databricks:params:oauth:token-type:personal-access-token";
const JWT_TYPES: [&str; 3] =
    ["urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token", ACCESS_TOKEN_TYPE];

/// A request to the token endpoint.
pub(super) struct TokenRequest<'request> {
    pub(super) identity: &'request Identity,
    pub(super) switches: &'request Switches,
    pub(super) form: &'request Form,
    pub(super) headers: &'request HeaderMap,
}

/// What is to be issued.
struct Granted {
    subject: String,
    client_id: String,
    scope: String,
    refresh_token: Option<String>,
    /// The response says what kind of token it carries (RFC 8693).
    exchanged: bool,
}

impl TokenRequest<'_> {
    pub(super) fn answer(&self) -> Result<Answer, OauthError> {
        if let Some(name) = self.form.repeated() {
            return Err(OauthError::request(&format!("`{name}` stands there twice")));
        }
        let client = Client::of(self.identity, self.headers, self.form)?;
        match self.form.get("grant_type") {
            Some("client_credentials") => self.issue(self.client_credentials(client)?, "client_credentials"),
            Some("authorization_code") => self.issue(self.authorization_code(&client)?, "authorization_code"),
            Some("refresh_token") => self.issue(self.refresh_token(&client)?, "refresh_token"),
            Some(EXCHANGE_GRANT) => self.exchange(&client),
            Some(JWT_BEARER_GRANT) => {
                let granted = self.federated(self.needed("assertion")?, &client, false)?;
                self.issue(granted, JWT_BEARER_GRANT)
            }
            Some(_) => Err(OauthError::new("unsupported_grant_type", "the provider does not know this `grant_type`")),
            None => Err(OauthError::request("`grant_type` is missing")),
        }
    }

    fn needed(&self, name: &str) -> Result<&str, OauthError> {
        self.form.get(name).ok_or_else(|| OauthError::request(&format!("`{name}` is missing")))
    }

    fn scope(&self) -> String {
        self.form.get("scope").unwrap_or("all-apis").to_owned()
    }

    fn client_credentials(&self, client: Client) -> Result<Granted, OauthError> {
        let Client::Confidential(client_id) = client else {
            return Err(OauthError::client("the client did not prove who it is"));
        };
        let (subject, scope) = (client_id.clone(), self.scope());
        Ok(Granted { subject, client_id, scope, refresh_token: None, exchanged: false })
    }

    /// The client of a person's sign-in, which may be a public one.
    fn persons_client<'client>(&self, client: &'client Client) -> Result<&'client str, OauthError> {
        match client {
            Client::Confidential(id) => Ok(id),
            Client::Public(id) if self.identity.is_public_client(id) => Ok(id),
            Client::Public(_) => Err(OauthError::client("the client is unknown, or did not send its secret")),
            Client::Absent => Err(OauthError::request("`client_id` is missing")),
        }
    }

    fn authorization_code(&self, client: &Client) -> Result<Granted, OauthError> {
        let client_id = self.persons_client(client)?;
        let code = self.identity.ledger.take_code(self.needed("code")?).map_err(OauthError::grant)?;
        let (redirect_uri, verifier) = (self.needed("redirect_uri")?, self.needed("code_verifier")?);
        if code.client_id != client_id {
            return Err(OauthError::grant("the code was given to another client"));
        }
        if code.redirect_uri != redirect_uri {
            return Err(OauthError::grant("`redirect_uri` is not the one of the authorization request"));
        }
        if !(43..=128).contains(&verifier.len()) || challenge_of(verifier) != code.challenge {
            return Err(OauthError::grant("`code_verifier` does not fit the code challenge"));
        }
        let refresh_token = code.scope.split(' ').any(|scope| scope == "offline_access").then(|| {
            let token = super::opaque_token("local-refresh");
            self.identity.ledger.keep_refresh_token(token.clone(), client_id, &code.scope);
            token
        });
        Ok(Granted {
            subject: PERSON.to_owned(),
            client_id: client_id.to_owned(),
            scope: code.scope,
            refresh_token,
            exchanged: false,
        })
    }

    fn refresh_token(&self, client: &Client) -> Result<Granted, OauthError> {
        let client_id = self.persons_client(client)?;
        let (ledger, rotated) = (&self.identity.ledger, self.switches.oauth_rotate_refresh_tokens);
        let scope =
            ledger.use_refresh_token(self.needed("refresh_token")?, client_id, rotated).map_err(OauthError::grant)?;
        let refresh_token = rotated.then(|| {
            let token = super::opaque_token("local-refresh");
            ledger.keep_refresh_token(token.clone(), client_id, &scope);
            token
        });
        Ok(Granted {
            subject: PERSON.to_owned(),
            client_id: client_id.to_owned(),
            scope,
            refresh_token,
            exchanged: false,
        })
    }

    fn exchange(&self, client: &Client) -> Result<Answer, OauthError> {
        let (subject_token, kind) = (self.needed("subject_token")?, self.needed("subject_token_type")?);
        if kind == PERSONAL_TOKEN_TYPE {
            if subject_token != self.identity.access_token {
                return Err(OauthError::grant("`subject_token` is not an access token of this workspace"));
            }
            let (subject, scope) = (PERSON.to_owned(), self.scope());
            let granted = Granted { subject, client_id: String::new(), scope, refresh_token: None, exchanged: true };
            return self.issue(granted, EXCHANGE_GRANT);
        }
        if !JWT_TYPES.contains(&kind) {
            return Err(OauthError::request("the provider does not know this `subject_token_type`"));
        }
        let returns_own = self.form.get("return_original_token_if_authenticated") == Some("true");
        if returns_own && let Some(left) = self.identity.ledger.seconds_left(subject_token) {
            return Ok(token_answer(&json!({
                "access_token": subject_token, "issued_token_type": ACCESS_TOKEN_TYPE, "token_type": "Bearer",
                "expires_in": left, "scope": self.scope(),
            })));
        }
        let granted = self.federated(subject_token, client, true)?;
        self.issue(granted, EXCHANGE_GRANT)
    }

    /// Believes a token of a registered issuer.
    fn federated(&self, token: &str, client: &Client, exchanged: bool) -> Result<Granted, OauthError> {
        let named = self.form.get("identity_federation_client_id").or(match client {
            Client::Confidential(id) | Client::Public(id) => Some(id),
            Client::Absent => None,
        });
        if let Some(id) = named
            && self.identity.client(id).is_none()
            && !self.identity.is_public_client(id)
        {
            return Err(OauthError::client("the service principal of the federation is unknown"));
        }
        let token = ForeignToken::parse(token).ok_or_else(|| OauthError::grant("the token is no signed JWT"))?;
        let (issuer, subject) = (token.claim("iss"), token.claim("sub"));
        let (Some(issuer), Some(subject)) = (issuer, subject) else {
            return Err(OauthError::grant("the token lacks `iss` or `sub`"));
        };
        let issuer = self.identity.issuers.iter().find(|known| known.issuer == issuer);
        let issuer = issuer.ok_or_else(|| OauthError::grant("the issuer of the token is not registered"))?;
        let keys = issuer.public_keys.iter().filter(|key| key.answers_to(token.key_id.as_deref()));
        token.check_signature(keys.map(|key| &key.pem)).map_err(OauthError::grant)?;
        token.check_times(unix_seconds()).map_err(OauthError::grant)?;
        let audiences: Vec<&str> = issuer.audiences.iter().map(String::as_str).collect();
        if !audiences.is_empty() && !token.is_for(&audiences) {
            return Err(OauthError::grant("`aud` of the token is not one of the issuer's policy"));
        }
        let subject = named.unwrap_or(subject).to_owned();
        let client_id = named.unwrap_or_default().to_owned();
        Ok(Granted { subject, client_id, scope: self.scope(), refresh_token: None, exchanged })
    }

    fn issue(&self, granted: Granted, grant: &'static str) -> Result<Answer, OauthError> {
        let lifetime = self.switches.oauth_lifetime_seconds;
        let mut claims = Map::new();
        claims.insert("sub".to_owned(), Value::from(granted.subject));
        claims.insert("aud".to_owned(), Value::from(self.identity.api_address.as_str()));
        claims.insert("client_id".to_owned(), Value::from(granted.client_id));
        claims.insert("scope".to_owned(), Value::from(granted.scope.as_str()));
        let token = self.identity.access_token(claims, &self.identity.issuer, self.switches)?;
        let lasts = Duration::from_secs(u64::from(lifetime));
        self.identity.ledger.issue(&token, Audience::Workspace, lasts, grant);
        let mut body = Map::new();
        let mut tell = |name: &str, value: Value| body.insert(name.to_owned(), value);
        tell("access_token", token.into());
        tell("token_type", "Bearer".into());
        match self.switches.oauth_expires_in {
            ExpiresIn::Number => drop(tell("expires_in", lifetime.into())),
            ExpiresIn::Text => drop(tell("expires_in", lifetime.to_string().into())),
            ExpiresIn::Absent => {}
        }
        tell("scope", granted.scope.into());
        if let Some(token) = granted.refresh_token {
            tell("refresh_token", token.into());
        }
        if granted.exchanged {
            tell("issued_token_type", ACCESS_TOKEN_TYPE.into());
        }
        Ok(token_answer(&Value::Object(body)))
    }
}

/// Whoever signs in with a browser.
const PERSON: &str = "someone@example.com";
