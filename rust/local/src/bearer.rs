//! Who may use the API: the fixed token, and tokens the OAuth endpoint gave out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap};
use serde_json::json;

use crate::answer::Answer;
use crate::options::{OauthClient, ServerOptions};
use crate::request_log::unescaped;
use crate::submission::Refused;
use crate::warehouse::new_id;

const KEPT_AFTER_EXPIRY: Duration = Duration::from_secs(3600);

/// The tokens in force.
pub(crate) struct BearerTokens {
    access_token: String,
    client: Option<OauthClient>,
    issued: Mutex<HashMap<String, Instant>>,
}

impl BearerTokens {
    pub(crate) fn new(options: &ServerOptions) -> Self {
        Self {
            access_token: options.access_token.clone(),
            client: options.oauth_client.clone(),
            issued: Mutex::default(),
        }
    }

    /// Refuses a request as recorded servers do, with numeric codes.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let unauthorized = |message| Refused::new(StatusCode::UNAUTHORIZED, 401, message);
        let token = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Err(unauthorized("Credential was not sent or was of an unsupported type for this API."));
        };
        if token == self.access_token {
            return Ok(());
        }
        match self.issued.lock().unwrap_or_else(PoisonError::into_inner).get(token) {
            Some(expiry) if *expiry > Instant::now() => Ok(()),
            Some(_) => Err(unauthorized("Access token has expired.")),
            None => Err(Refused::new(StatusCode::FORBIDDEN, 403, "Invalid access token.")),
        }
    }

    /// Answers `POST /oidc/v1/token` for client credentials, by HTTP Basic or in the form.
    pub(crate) fn issue(&self, headers: &HeaderMap, form: &[u8], lifetime_seconds: u32) -> Answer {
        let form: HashMap<String, String> = String::from_utf8_lossy(form)
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (unescaped(key), unescaped(value)))
            .collect();
        if form.get("grant_type").map(String::as_str) != Some("client_credentials") {
            return oauth_error(StatusCode::BAD_REQUEST, "unsupported_grant_type");
        }
        let in_form = || Some((form.get("client_id")?.clone(), form.get("client_secret")?.clone()));
        let given = basic_credentials(headers).or_else(in_form);
        let known = self.client.as_ref().map(|client| (client.client_id.clone(), client.client_secret.clone()));
        if known.is_none() || given != known {
            return oauth_error(StatusCode::UNAUTHORIZED, "invalid_client");
        }
        let token = format!("local-oauth-{}", new_id());
        let now = Instant::now();
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        // Long enough to tell an expired token from a foreign one.
        issued.retain(|_, expiry| now < *expiry + KEPT_AFTER_EXPIRY);
        issued.insert(token.clone(), now + Duration::from_secs(u64::from(lifetime_seconds)));
        drop(issued);
        let scope = form.get("scope").map_or("all-apis", String::as_str);
        Answer::json(&json!({
            "access_token": token, "token_type": "Bearer", "expires_in": lifetime_seconds, "scope": scope,
        }))
    }
}

fn basic_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((unescaped(id), unescaped(secret)))
}

fn oauth_error(status: StatusCode, code: &str) -> Answer {
    let mut answer = Answer::json(&json!({"error": code, "error_description": "see the options of the local server"}));
    answer.status = status;
    answer
}
