//! What the provider has given out: tokens, codes, and how often.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Long enough to tell an expired token or a used code from a foreign one.
const KEPT_AFTER_EXPIRY: Duration = Duration::from_secs(3600);
/// The longest that RFC 6749 recommends.
const CODE_LIFETIME: Duration = Duration::from_secs(600);

/// Everything given out, under one lock.
#[derive(Default)]
pub(crate) struct Ledger {
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    access: HashMap<String, AccessToken>,
    refresh: HashMap<String, RefreshToken>,
    codes: HashMap<String, (Code, Instant, bool)>,
    assertions: HashMap<String, Instant>,
    tally: Tally,
}

struct AccessToken {
    expiry: Instant,
    audience: Audience,
    revoked: bool,
}

/// What an access token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// The workspace, whose own provider issued it.
    Workspace,
    /// The workspace, issued by Entra.
    AzureWorkspace,
    /// The management of Azure.
    AzureManagement,
    /// Something else.
    Elsewhere,
}

struct RefreshToken {
    client_id: String,
    scope: String,
    used: bool,
    revoked: bool,
}

/// What an authorization code stands for.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: String,
    pub(crate) scope: String,
}

/// What was issued and what was tried twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) issued: BTreeMap<&'static str, u64>,
    pub(crate) reused_codes: u64,
    pub(crate) reused_refresh_tokens: u64,
}

/// Why a token does not open anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenState {
    Valid(Audience),
    Expired,
    Revoked,
    Unknown,
}

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tally(&self) -> Tally {
        self.books().tally.clone()
    }

    /// Notes an access token that was issued for `grant`.
    pub(crate) fn issue(&self, token: &str, audience: Audience, lifetime: Duration, grant: &'static str) {
        let now = Instant::now();
        let mut books = self.books();
        books.access.retain(|_, token| now < token.expiry + KEPT_AFTER_EXPIRY);
        books.access.insert(token.to_owned(), AccessToken { expiry: now + lifetime, audience, revoked: false });
        *books.tally.issued.entry(grant).or_default() += 1;
    }

    pub(crate) fn state(&self, token: &str) -> TokenState {
        match self.books().access.get(token) {
            None => TokenState::Unknown,
            Some(token) if token.revoked => TokenState::Revoked,
            Some(token) if token.expiry <= Instant::now() => TokenState::Expired,
            Some(token) => TokenState::Valid(token.audience),
        }
    }

    /// Whole seconds a valid token has left.
    pub(crate) fn seconds_left(&self, token: &str) -> Option<u64> {
        let books = self.books();
        let token = books.access.get(token).filter(|token| !token.revoked)?;
        token.expiry.checked_duration_since(Instant::now()).map(|left| left.as_secs())
    }

    /// Makes every access token issued so far worthless.
    pub(crate) fn revoke_access_tokens(&self) {
        self.books().access.values_mut().for_each(|token| token.revoked = true);
    }

    pub(crate) fn revoke_refresh_tokens(&self) {
        self.books().refresh.values_mut().for_each(|token| token.revoked = true);
    }

    pub(crate) fn keep_code(&self, code: String, meaning: Code) {
        let now = Instant::now();
        let mut books = self.books();
        books.codes.retain(|_, (_, expiry, _)| now < *expiry + KEPT_AFTER_EXPIRY);
        books.codes.insert(code, (meaning, now + CODE_LIFETIME, false));
    }

    /// Takes a code; it is used up even if the rest of the request turns out wrong.
    pub(crate) fn take_code(&self, code: &str) -> Result<Code, &'static str> {
        let mut books = self.books();
        let Some((meaning, expiry, used)) = books.codes.get_mut(code) else { return Err("the code is unknown") };
        if *used {
            books.tally.reused_codes += 1;
            return Err("the code was used before");
        }
        *used = true;
        if *expiry <= Instant::now() {
            return Err("the code has expired");
        }
        Ok(meaning.clone())
    }

    pub(crate) fn keep_refresh_token(&self, token: String, client_id: &str, scope: &str) {
        let (client_id, scope) = (client_id.to_owned(), scope.to_owned());
        self.books().refresh.insert(token, RefreshToken { client_id, scope, used: false, revoked: false });
    }

    /// Checks a refresh token of this client and tells its scope; `rotated` tokens work once.
    pub(crate) fn use_refresh_token(
        &self,
        token: &str,
        client_id: &str,
        rotated: bool,
    ) -> Result<String, &'static str> {
        let mut books = self.books();
        let Some(known) = books.refresh.get_mut(token).filter(|known| known.client_id == client_id) else {
            return Err("the refresh token is unknown, or of another client");
        };
        if known.revoked {
            return Err("the refresh token was revoked");
        }
        if known.used {
            books.tally.reused_refresh_tokens += 1;
            return Err("the refresh token was replaced by a newer one");
        }
        known.used = rotated;
        Ok(known.scope.clone())
    }

    /// Notes the id of a signed token; false if it came before.
    pub(crate) fn first_sight(&self, assertion: String, seconds_left: f64) -> bool {
        let now = Instant::now();
        let mut books = self.books();
        books.assertions.retain(|_, expiry| now < *expiry);
        // A day is more than the provider lets one live.
        let expiry = now + Duration::from_secs_f64(seconds_left.clamp(0.0, 86_400.0));
        books.assertions.insert(assertion, expiry).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn tokens_expire_and_are_revoked() {
        let ledger = Ledger::default();
        ledger.issue("long", Audience::Workspace, HOUR, "client_credentials");
        ledger.issue("short", Audience::Workspace, Duration::ZERO, "client_credentials");
        let state = |token| ledger.state(token);
        assert_eq!(state("long"), TokenState::Valid(Audience::Workspace));
        assert_eq!((state("short"), state("none")), (TokenState::Expired, TokenState::Unknown));
        assert!(ledger.seconds_left("long").is_some_and(|left| (3500..=3600).contains(&left)));
        ledger.revoke_access_tokens();
        ledger.issue("new", Audience::AzureWorkspace, HOUR, "refresh_token");
        assert_eq!((state("long"), ledger.seconds_left("long")), (TokenState::Revoked, None));
        assert_eq!(state("new"), TokenState::Valid(Audience::AzureWorkspace));
        assert_eq!(ledger.tally().issued, BTreeMap::from([("client_credentials", 2), ("refresh_token", 1)]));
    }

    #[test]
    fn codes_and_rotated_refresh_tokens_work_once() {
        let ledger = Ledger::default();
        let text = || "x".to_owned();
        let code = Code { client_id: text(), redirect_uri: text(), challenge: text(), scope: text() };
        ledger.keep_code("code".to_owned(), code);
        assert!(ledger.take_code("code").is_ok());
        assert_eq!(ledger.take_code("code").unwrap_err(), "the code was used before");
        ledger.keep_refresh_token("r".to_owned(), "app", "sql");
        assert!(ledger.use_refresh_token("r", "other", false).is_err());
        for rotated in [false, false, true] {
            assert_eq!(ledger.use_refresh_token("r", "app", rotated), Ok("sql".to_owned()));
        }
        assert!(ledger.use_refresh_token("r", "app", true).unwrap_err().contains("newer"));
        ledger.revoke_refresh_tokens();
        assert!(ledger.use_refresh_token("r", "app", true).unwrap_err().contains("revoked"));
        let tally = ledger.tally();
        assert_eq!((tally.reused_codes, tally.reused_refresh_tokens), (1, 1));
        assert!(ledger.first_sight("a".to_owned(), 60.0) && !ledger.first_sight("a".to_owned(), 60.0));
    }
}
