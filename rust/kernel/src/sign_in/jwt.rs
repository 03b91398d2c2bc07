//! Signed tokens (JWT): what one says of itself.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::auth::Secret;
use crate::clock;

/// What a token says of itself, which nobody has checked.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Claims {
    #[serde(rename = "iss")]
    pub(super) issuer: Option<String>,
    #[serde(rename = "exp")]
    expiry: Option<f64>,
}

impl Claims {
    /// Returns the claims of a token; `None` where it is no JWT.
    pub(super) fn of(token: &Secret) -> Option<Self> {
        let mut parts = token.expose().trim().split('.');
        let (_header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
        serde_json::from_slice(&claims).ok()
    }

    fn lifetime(&self) -> Option<Duration> {
        let now = clock::time_of_day().duration_since(UNIX_EPOCH).ok()?;
        Some(Duration::try_from_secs_f64(self.expiry?).ok()?.saturating_sub(now))
    }
}

/// Returns how long a token lasts by its own words, which are not verified: zero where it has expired, `None` where it does
/// not say, or is no JWT.
pub fn lifetime_of(token: &Secret) -> Option<Duration> {
    Claims::of(token)?.lifetime()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn token(claims: &str) -> Secret {
        Secret::from(format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims)))
    }

    #[test]
    fn a_token_tells_how_long_it_lasts() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let left = |claims: String| lifetime_of(&token(&claims));
        let hour = left(format!(r#"{{"exp":{}}}"#, now + 3600)).unwrap().as_secs();
        assert!((3598..=3600).contains(&hour), "{hour}");
        let fraction = left(format!(r#"{{"iss":"https://a","exp":{}.5,"aud":["b"]}}"#, now + 60)).unwrap().as_secs();
        assert!((58..=60).contains(&fraction), "{fraction}");
        assert_eq!(left(r#"{"exp":1}"#.to_owned()), Some(Duration::ZERO));
        for claims in [r#"{"exp":-1}"#, r#"{"exp":1e300}"#, r#"{"exp":"1"}"#, r#"{"iss":"a"}"#, "[1]", "null", "", "{"]
        {
            assert_eq!(left(claims.to_owned()), None, "{claims}");
        }
        for text in ["", "dapi0123", "a.b", "a.b.c", "..", "a.e30.c.d", "e30.é.c"] {
            assert_eq!(lifetime_of(&Secret::new(text)), None, "{text}");
        }
    }

    #[test]
    fn padding_and_a_line_end_do_no_harm() {
        let text = format!(" e30.{}==.c2ln\n", BASE64_URL_SAFE_NO_PAD.encode(r#"{"iss":"me"}"#));
        assert_eq!(Claims::of(&Secret::from(text)).unwrap().issuer.as_deref(), Some("me"));
    }
}
