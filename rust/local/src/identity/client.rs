//! Which client asks, and how it proves that.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::form::Form;
use super::jwt::ForeignToken;
use super::{Identity, OauthError, unix_seconds};
use crate::request_log::unescaped;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// A signed token that lives longer was not made for one request.
const LONGEST_ASSERTION_SECONDS: f64 = 3600.0;

/// The client of a request, if it named one.
pub(super) enum Client {
    /// It proved who it is.
    Confidential(String),
    /// It has nothing to prove it with.
    Public(String),
    /// None was named.
    Absent,
}

impl Client {
    /// Reads HTTP Basic, a signed token, a secret in the form, or the id alone; two at once are refused.
    pub(super) fn of(identity: &Identity, headers: &HeaderMap, form: &Form) -> Result<Self, OauthError> {
        let basic = match headers.get(AUTHORIZATION) {
            None => None,
            Some(value) => Some(value.to_str().ok().and_then(basic_credentials).ok_or_else(|| {
                OauthError::client("the `Authorization` header is not HTTP Basic of a client id and secret")
            })?),
        };
        let (client_id, secret, assertion) =
            (form.get("client_id"), form.get("client_secret"), form.get("client_assertion"));
        if [basic.is_some(), secret.is_some(), assertion.is_some()].into_iter().filter(|given| *given).count() > 1 {
            return Err(OauthError::request("more than one way to authenticate the client"));
        }
        match (&basic, client_id, secret, assertion) {
            (Some((id, secret)), named, ..) => {
                if named.is_some_and(|named| named != id) {
                    return Err(OauthError::request("`client_id` is not the client of the `Authorization` header"));
                }
                with_secret(identity, id, secret)
            }
            (None, Some(id), Some(secret), _) => with_secret(identity, id, secret),
            (None, None, Some(_), _) => Err(OauthError::request("`client_id` is missing")),
            (None, named, None, Some(assertion)) => signed(identity, form, named, assertion).map(Self::Confidential),
            (None, Some(id), None, None) => Ok(Self::Public(id.to_owned())),
            (None, None, None, None) => Ok(Self::Absent),
        }
    }
}

fn with_secret(identity: &Identity, id: &str, secret: &str) -> Result<Client, OauthError> {
    let known = identity.client(id).is_some_and(|client| client.client_secret.as_deref() == Some(secret));
    if known {
        Ok(Client::Confidential(id.to_owned()))
    } else {
        Err(OauthError::client("the client is unknown, or its secret is another"))
    }
}

/// The client that signed `assertion` (RFC 7523, section 3).
fn signed(identity: &Identity, form: &Form, named: Option<&str>, assertion: &str) -> Result<String, OauthError> {
    if form.get("client_assertion_type") != Some(ASSERTION_TYPE) {
        return Err(OauthError::request("`client_assertion_type` is not that of RFC 7523"));
    }
    let malformed = || OauthError::client("`client_assertion` is no signed JWT");
    let token = ForeignToken::parse(assertion).ok_or_else(malformed)?;
    let (Some(id), Some(subject)) = (token.claim("iss"), token.claim("sub")) else {
        return Err(OauthError::client("`client_assertion` lacks `iss` or `sub`"));
    };
    if id != subject || named.is_some_and(|named| named != id) {
        return Err(OauthError::client("`iss`, `sub` and `client_id` are not the same"));
    }
    let client = identity.client(id).ok_or_else(|| OauthError::client("the client is unknown"))?;
    let keys = client.public_keys.iter().filter(|key| key.answers_to(token.key_id.as_deref()));
    token.check_signature(keys.map(|key| &key.pem)).map_err(OauthError::client)?;
    if !token.is_for(&[&identity.token_endpoint(), &identity.issuer]) {
        return Err(OauthError::client("`aud` is not the token endpoint"));
    }
    let now = unix_seconds();
    let left = token.check_times(now).map_err(OauthError::client)? - now;
    if left > LONGEST_ASSERTION_SECONDS {
        return Err(OauthError::client("`exp` is more than an hour from now"));
    }
    let number = token.claim("jti").ok_or_else(|| OauthError::client("`jti` is missing"))?;
    if identity.ledger.first_sight(format!("{id} {number}"), left) {
        Ok(id.to_owned())
    } else {
        Err(OauthError::client("`client_assertion` was used before"))
    }
}

pub(super) fn basic_credentials(value: &str) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((unescaped(id), unescaped(secret)))
}
