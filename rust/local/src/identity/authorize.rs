//! The page on which a person signs in.

use std::fmt::Write as _;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, X_FRAME_OPTIONS};
use url::Url;

use super::form::Form;
use super::ledger::Code;
use super::{Identity, opaque_token};
use crate::answer::Answer;
use crate::switches::{OauthCallback, Switches};

/// What the page hands on to the request that it sends.
const HANDED_ON: [&str; 7] =
    ["client_id", "redirect_uri", "response_type", "scope", "state", "code_challenge", "code_challenge_method"];
/// Base64url of the 32 bytes of SHA-256.
const CHALLENGE_LENGTH: usize = 43;

/// Sends to the endpoint proper, as the workspace does for clients that know only this address.
pub(super) fn redirector(identity: &Identity, query: Option<&str>) -> Answer {
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    redirect(&format!("{}/v1/authorize{query}", identity.issuer))
}

/// A request of a browser, before (the page) or after somebody decided.
pub(super) struct AuthorizationRequest<'request> {
    pub(super) identity: &'request Identity,
    pub(super) switches: &'request Switches,
    pub(super) form: &'request Form,
}

impl AuthorizationRequest<'_> {
    pub(super) fn answer(&self, decided: bool) -> Answer {
        // Nothing is sent to an address before it is known to be the client's.
        let (client_id, redirect_uri) = match self.client() {
            Ok(client) => client,
            Err(reason) => return page(StatusCode::BAD_REQUEST, "Sign-in is not possible", &escaped(reason)),
        };
        if let Err((error, description)) = self.check() {
            return self.call_back(redirect_uri, &[("error", error), ("error_description", description)]);
        }
        match (decided, self.form.get("decision")) {
            (false, _) => self.question(client_id),
            (true, Some("sign-in")) => self.signed_in(client_id, redirect_uri),
            (true, _) => {
                let denied = [("error", "access_denied"), ("error_description", "The request was denied.")];
                self.call_back(redirect_uri, &denied)
            }
        }
    }

    fn client(&self) -> Result<(&str, Url), &'static str> {
        let client_id = self.form.get("client_id").ok_or("client_id is missing.")?;
        if self.identity.client(client_id).is_none() && !self.identity.is_public_client(client_id) {
            return Err("The client_id is unknown.");
        }
        let address = self.form.get("redirect_uri").ok_or("redirect_uri is missing.")?;
        let address = Url::parse(address).map_err(|_| "The redirect_uri is not a URL.")?;
        let loopback = matches!(address.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if address.scheme() != "http" || !loopback || address.fragment().is_some() {
            return Err("The redirect_uri is not one of this machine: http://localhost:PORT is expected.");
        }
        Ok((client_id, address))
    }

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.form.get("response_type") != Some("code") {
            return Err(("unsupported_response_type", "response_type must be code"));
        }
        let challenge = self.form.get("code_challenge").unwrap_or_default();
        if self.form.get("code_challenge_method") != Some("S256") || challenge.len() != CHALLENGE_LENGTH {
            return Err(("invalid_request", "code_challenge of method S256 is missing"));
        }
        if self.form.repeated().is_some() {
            return Err(("invalid_request", "a parameter stands there twice"));
        }
        Ok(())
    }

    fn question(&self, client_id: &str) -> Answer {
        let scope = self.form.get("scope").unwrap_or("all-apis");
        let mut form = String::from("<form method=\"post\" action=\"/oidc/v1/authorize\">");
        for (name, value) in HANDED_ON.iter().filter_map(|name| Some((name, self.form.get(name)?))) {
            let _ = write!(form, "<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escaped(value));
        }
        form.push_str(
            "<button id=\"sign-in\" name=\"decision\" value=\"sign-in\">Sign in</button>\
             <button id=\"deny\" name=\"decision\" value=\"deny\" class=\"quiet\">Deny</button></form>",
        );
        let (client_id, scope) = (escaped(client_id), escaped(scope));
        let text = format!("<b>{client_id}</b> asks for access to this local warehouse: <code>{scope}</code>.");
        page(StatusCode::OK, "Sign in", &format!("<p>{text}</p>{form}"))
    }

    fn signed_in(&self, client_id: &str, redirect_uri: Url) -> Answer {
        let text = |name| self.form.get(name).unwrap_or_default().to_owned();
        let code = opaque_token("local-code");
        self.identity.ledger.keep_code(
            code.clone(),
            Code {
                client_id: client_id.to_owned(),
                // As it was sent: the token request must repeat it letter for letter.
                redirect_uri: text("redirect_uri"),
                challenge: text("code_challenge"),
                scope: self.form.get("scope").unwrap_or("all-apis").to_owned(),
            },
        );
        self.call_back(redirect_uri, &[("code", &code)])
    }

    /// Sends the browser back to the client with the outcome and its state.
    fn call_back(&self, mut address: Url, outcome: &[(&str, &str)]) -> Answer {
        let state = match self.switches.oauth_callback {
            OauthCallback::Redirect => self.form.get("state"),
            OauthCallback::WrongState => Some("another-state"),
            OauthCallback::NoState => None,
            OauthCallback::ServerError => {
                let error = [("error", "server_error"), ("error_description", "The provider failed.")];
                address.query_pairs_mut().extend_pairs(error);
                return redirect(address.as_str());
            }
            OauthCallback::Silent => return page(StatusCode::OK, "Signed in", "<p>Nobody is told.</p>"),
        };
        address.query_pairs_mut().extend_pairs(outcome).extend_pairs(state.map(|state| ("state", state)));
        redirect(address.as_str())
    }
}

fn redirect(location: &str) -> Answer {
    let mut answer = Answer::bytes(StatusCode::FOUND, Bytes::new());
    answer.insert(LOCATION, location);
    answer.insert(CACHE_CONTROL, "no-store");
    answer
}

fn page(status: StatusCode, title: &str, content: &str) -> Answer {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>\
         body{{font:16px/1.5 system-ui,sans-serif;max-width:28rem;margin:15vh auto;padding:0 1rem;color:#1b2733}}\
         button{{font:inherit;padding:.5rem 1.25rem;margin-right:.5rem;border:1px solid #1b5fa8;border-radius:4px;\
         background:#1b5fa8;color:#fff;cursor:pointer}}.quiet{{background:#fff;color:#1b5fa8}}\
         code{{background:#eef2f6;padding:.1rem .3rem}}</style></head><body><h1>{title}</h1>{content}</body></html>"
    );
    let mut answer = Answer::typed(status, "text/html; charset=utf-8", html.into_bytes());
    answer.insert(CACHE_CONTROL, "no-store");
    answer.insert(X_FRAME_OPTIONS, "DENY");
    // Without `form-action`: browsers apply it to the redirect to the client as well.
    answer.insert(CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'");
    answer
}

fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}
