//! The token endpoint's rules, and the tokens it issued.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::grpc::{Code, Status};

/// Most tokens that are remembered. Those that have expired are forgotten first, then the oldest.
const KEPT: usize = 100_000;

/// Tokens by their text.
#[derive(Default)]
pub(crate) struct Tokens {
    issued: Mutex<Issued>,
}

#[derive(Default)]
struct Issued {
    count: u64,
    tokens: HashMap<String, Token>,
}

#[derive(Clone)]
struct Token {
    number: u64,
    table: String,
    expires: Instant,
    refused: Option<Code>,
}

/// A request for a token that is in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenRequest {
    pub(crate) client_id: String,
    pub(crate) table: String,
}

/// A request for a token that is not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenRefusal {
    pub(crate) status: u16,
    pub(crate) error: &'static str,
    pub(crate) description: String,
}

impl TokenRequest {
    /// Reads a request and checks all of it; the secret is `secret`, that of `client_id`.
    pub(crate) fn read(
        authorization: Option<&str>,
        content_type: Option<&str>,
        body: &[u8],
        (client_id, secret): (&str, &str),
        workspace_id: Option<&str>,
    ) -> Result<Self, TokenRefusal> {
        let refuse = |status, error, description: String| Err(TokenRefusal { status, error, description });
        let basic = authorization
            .and_then(|value| value.strip_prefix("Basic "))
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((given_id, given_secret)) = basic.as_deref().and_then(|text| text.split_once(':')) else {
            return refuse(401, "invalid_client", "HTTP Basic with client id and secret is missing".to_owned());
        };
        if (given_id, given_secret) != (client_id, secret) {
            return refuse(401, "invalid_client", "client id or secret is wrong".to_owned());
        }
        let invalid = |description: String| refuse(400, "invalid_request", description);
        if !content_type.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
            return invalid("the body is not form-encoded".to_owned());
        }
        let mut form: HashMap<String, String> = HashMap::new();
        for (key, value) in form_urlencoded::parse(body) {
            if form.insert(key.clone().into_owned(), value.into_owned()).is_some() {
                return invalid(format!("`{key}` comes twice"));
            }
        }
        let mut field = |key: &str| form.remove(key).unwrap_or_default();
        let (grant, scope) = (field("grant_type"), field("scope"));
        let (resource, details) = (field("resource"), field("authorization_details"));
        if grant != "client_credentials" {
            return refuse(400, "unsupported_grant_type", format!("`grant_type` is `{grant}`"));
        }
        if scope != "all-apis" {
            return refuse(400, "invalid_scope", format!("`scope` is `{scope}`"));
        }
        let workspace = resource
            .strip_prefix("api://databricks/workspaces/")
            .and_then(|rest| rest.strip_suffix("/zerobusDirectWriteApi"))
            .filter(|workspace| !workspace.is_empty() && !workspace.contains('/'));
        if workspace.is_none_or(|workspace| workspace_id.is_some_and(|expected| workspace != expected)) {
            return refuse(400, "invalid_target", format!("`resource` is `{resource}`"));
        }
        if let Some(surplus) = form.keys().next() {
            return invalid(format!("`{surplus}` is not expected"));
        }
        let bad_details = |reason: String| refuse(400, "invalid_authorization_details", reason);
        let Ok(details) = serde_json::from_str::<Value>(&details) else {
            return bad_details("`authorization_details` is no JSON".to_owned());
        };
        let table = details.pointer("/2/object_full_path").and_then(Value::as_str).unwrap_or_default();
        let parts: Vec<&str> = table.split('.').collect();
        let [catalog, schema, _] = *parts else {
            return bad_details("the third of `authorization_details` names no table of three parts".to_owned());
        };
        let kind = "unity_catalog_privileges";
        let expected = json!([
            {"type": kind, "privileges": ["USE CATALOG"], "object_type": "CATALOG", "object_full_path": catalog},
            {
                "type": kind,
                "privileges": ["USE SCHEMA"],
                "object_type": "SCHEMA",
                "object_full_path": format!("{catalog}.{schema}"),
            },
            {
                "type": kind,
                "privileges": ["SELECT", "MODIFY"],
                "object_type": "TABLE",
                "object_full_path": table,
                "operations": ["zerobuswrite"],
            },
        ]);
        if details != expected {
            return bad_details(format!("`authorization_details` should be {expected}"));
        }
        Ok(Self { client_id: given_id.to_owned(), table: table.to_owned() })
    }
}

impl Tokens {
    /// Makes a token for a table.
    pub(crate) fn issue(&self, table: &str, life: Duration) -> String {
        let [high, low]: [u128; 2] = rand::random();
        let text = format!("local-zerobus-{high:032x}{low:032x}");
        let mut issued = self.issued();
        let now = Instant::now();
        if issued.tokens.len() >= KEPT {
            issued.tokens.retain(|_, token| token.expires > now);
            if issued.tokens.len() >= KEPT {
                // Several at once, for each time all are looked at.
                let oldest = issued.count.saturating_sub((KEPT - KEPT / 10) as u64);
                issued.tokens.retain(|_, token| token.number >= oldest);
            }
        }
        let token = Token { number: issued.count, table: table.to_owned(), expires: now + life, refused: None };
        issued.count += 1;
        issued.tokens.insert(text.clone(), token);
        text
    }

    /// The number of a token.
    pub(crate) fn number(&self, bearer: &str) -> Option<u64> {
        self.issued().tokens.get(bearer).map(|token| token.number)
    }

    /// Refuses a token from now on.
    pub(crate) fn refuse(&self, bearer: &str, code: Code) {
        if let Some(token) = self.issued().tokens.get_mut(bearer) {
            token.refused = Some(code);
        }
    }

    /// Checks a token for a table.
    pub(crate) fn check(&self, bearer: Option<&str>, table: &str) -> Result<(), Status> {
        let Some(bearer) = bearer else {
            return Err(Status::new(Code::Unauthenticated, "a bearer token is missing"));
        };
        let Some(token) = self.issued().tokens.get(bearer).cloned() else {
            return Err(Status::new(Code::Unauthenticated, "the token was not issued here"));
        };
        if let Some(code) = token.refused {
            return Err(Status::new(code, "the token is refused"));
        }
        if token.expires <= Instant::now() {
            return Err(Status::new(Code::Unauthenticated, "the token has expired"));
        }
        if token.table != table {
            let text = format!("the token is for table `{}`, not for `{table}`", token.table);
            return Err(Status::new(Code::PermissionDenied, text));
        }
        Ok(())
    }

    fn issued(&self) -> MutexGuard<'_, Issued> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(changes: &[(&str, &str)]) -> Vec<u8> {
        let details = r#"[
            {"type":"unity_catalog_privileges","privileges":["USE CATALOG"],"object_type":"CATALOG","object_full_path":"c"},
            {"type":"unity_catalog_privileges","privileges":["USE SCHEMA"],"object_type":"SCHEMA","object_full_path":"c.s"},
            {"type":"unity_catalog_privileges","privileges":["SELECT","MODIFY"],"object_type":"TABLE",
             "object_full_path":"c.s.t","operations":["zerobuswrite"]}]"#;
        let mut fields = vec![
            ("grant_type", "client_credentials"),
            ("scope", "all-apis"),
            ("resource", "api://databricks/workspaces/127/zerobusDirectWriteApi"),
            ("authorization_details", details),
        ];
        for (key, value) in changes {
            match fields.iter_mut().find(|(known, _)| known == key) {
                Some(field) => field.1 = value,
                None => fields.push((key, value)),
            }
        }
        form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes()
    }

    fn read(authorization: &str, body: &[u8]) -> Result<TokenRequest, TokenRefusal> {
        let basic = format!("Basic {}", STANDARD.encode(authorization));
        let kind = Some("application/x-www-form-urlencoded");
        TokenRequest::read(Some(&basic), kind, body, ("id", "secret"), Some("127"))
    }

    #[test]
    fn a_request_in_order_names_its_table() {
        let expected = TokenRequest { client_id: "id".to_owned(), table: "c.s.t".to_owned() };
        assert_eq!(read("id:secret", &form(&[])), Ok(expected));
    }

    #[test]
    fn requests_out_of_order_are_refused() {
        let status =
            |outcome: Result<TokenRequest, TokenRefusal>| outcome.map_err(|refusal| (refusal.status, refusal.error));
        assert_eq!(status(read("id:other", &form(&[]))), Err((401, "invalid_client")));
        for (key, value, error) in [
            ("grant_type", "password", "unsupported_grant_type"),
            ("scope", "sql", "invalid_scope"),
            ("resource", "api://databricks/workspaces/128/zerobusDirectWriteApi", "invalid_target"),
            ("resource", "api://databricks/workspaces//zerobusDirectWriteApi", "invalid_target"),
            ("authorization_details", "[]", "invalid_authorization_details"),
            ("authorization_details", "{", "invalid_authorization_details"),
            ("client_id", "id", "invalid_request"),
        ] {
            assert_eq!(status(read("id:secret", &form(&[(key, value)]))), Err((400, error)), "{key}");
        }
    }

    #[test]
    fn tokens_are_for_one_table_and_a_while() {
        let tokens = Tokens::default();
        let code = |outcome: Result<(), Status>| outcome.map_err(|status| status.code);
        let text = tokens.issue("c.s.t", Duration::from_secs(60));
        assert_eq!(code(tokens.check(Some(&text), "c.s.t")), Ok(()));
        assert_eq!(code(tokens.check(Some(&text), "c.s.u")), Err(Code::PermissionDenied));
        assert_eq!(code(tokens.check(Some("other"), "c.s.t")), Err(Code::Unauthenticated));
        assert_eq!(code(tokens.check(None, "c.s.t")), Err(Code::Unauthenticated));
        assert_eq!(
            code(tokens.check(Some(&tokens.issue("c.s.t", Duration::ZERO)), "c.s.t")),
            Err(Code::Unauthenticated)
        );
        tokens.refuse(&text, Code::PermissionDenied);
        assert_eq!(code(tokens.check(Some(&text), "c.s.t")), Err(Code::PermissionDenied));
    }

    #[test]
    fn of_too_many_tokens_the_oldest_are_forgotten() {
        let tokens = Tokens::default();
        let life = Duration::from_secs(3600);
        let first = tokens.issue("c.s.t", life);
        for _ in 1..KEPT / 2 {
            tokens.issue("c.s.t", life);
        }
        let middle = tokens.issue("c.s.t", life);
        for _ in 0..KEPT / 2 + 10 {
            tokens.issue("c.s.t", life);
            assert!(tokens.issued().tokens.len() <= KEPT);
        }
        let last = tokens.issue("c.s.t", life);
        assert_eq!(tokens.check(Some(&first), "c.s.t").map_err(|status| status.code), Err(Code::Unauthenticated));
        assert_eq!([&middle, &last].map(|token| tokens.check(Some(token), "c.s.t")), [Ok(()), Ok(())]);
    }
}
