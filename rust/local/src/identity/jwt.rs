//! JSON Web Tokens: the provider's own, and those of others.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::key::{ALGORITHMS, PublicKey};

/// Clocks of clients may differ by so much.
const LEEWAY_SECONDS: f64 = 60.0;

/// A key made at start, and the signing with it (ES256: ring makes no RSA keys).
pub(crate) struct Signer {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    key_id: String,
}

impl Signer {
    pub(crate) fn generate() -> Result<Self, ring::error::Unspecified> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
            .map_err(|_| ring::error::Unspecified)?;
        let key_id = encoded(digest(&SHA256, pair.public_key().as_ref()).as_ref());
        Ok(Self { pair, random, key_id })
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        PublicKey::p256(self.pair.public_key().as_ref())
    }

    /// The public key as RFC 7517 writes it.
    pub(crate) fn jwk(&self) -> Value {
        // An uncompressed point: one byte of form, then both coordinates.
        let point = self.pair.public_key().as_ref();
        let coordinate = |place: usize| point.get(place..place + 32).map(encoded);
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.key_id,
            "x": coordinate(1), "y": coordinate(33),
        })
    }

    pub(crate) fn sign(&self, claims: &Map<String, Value>) -> Result<String, ring::error::Unspecified> {
        let header = json!({"alg": "ES256", "kid": self.key_id, "typ": "JWT"});
        let claims = serde_json::to_vec(claims).map_err(|_| ring::error::Unspecified)?;
        let message = format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(&claims));
        let signature = self.pair.sign(&self.random, message.as_bytes())?;
        Ok(format!("{message}.{}", encoded(signature.as_ref())))
    }
}

/// A token of somebody else, not yet believed.
pub(crate) struct ForeignToken {
    algorithm: String,
    pub(crate) key_id: Option<String>,
    message: String,
    signature: Vec<u8>,
    claims: Map<String, Value>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

impl ForeignToken {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (message, signature) = text.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let header: Header = serde_json::from_slice(&decoded(header)?).ok()?;
        Some(Self {
            algorithm: header.alg,
            key_id: header.kid,
            message: message.to_owned(),
            signature: decoded(signature)?,
            claims: serde_json::from_slice(&decoded(claims)?).ok()?,
        })
    }

    pub(crate) fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// Whether `aud`, a text or a list of them, names one of these.
    pub(crate) fn is_for(&self, accepted: &[&str]) -> bool {
        match self.claims.get("aud") {
            Some(Value::String(audience)) => accepted.contains(&audience.as_str()),
            Some(Value::Array(audiences)) => {
                audiences.iter().filter_map(Value::as_str).any(|audience| accepted.contains(&audience))
            }
            _ => false,
        }
    }

    /// Says what is wrong with the signature.
    pub(crate) fn check_signature<'key>(
        &self,
        mut keys: impl Iterator<Item = &'key PublicKey>,
    ) -> Result<(), &'static str> {
        if !ALGORITHMS.contains(&self.algorithm.as_str()) {
            return Err("the algorithm of the token is not RS, PS 256, 384, 512 or ES 256, 384");
        }
        let verifies = |key: &PublicKey| key.verifies(&self.algorithm, self.message.as_bytes(), &self.signature);
        if keys.any(verifies) { Ok(()) } else { Err("the signature of the token does not fit a registered key") }
    }

    /// Says what is wrong with the times; `exp` must be there. Returns it.
    pub(crate) fn check_times(&self, now: f64) -> Result<f64, &'static str> {
        let time = |name| self.claims.get(name).map(|value| value.as_f64().unwrap_or(f64::NAN));
        let expiry = time("exp").ok_or("the token has no `exp`")?;
        if expiry.is_nan() || expiry <= now {
            return Err("the token has expired");
        }
        for name in ["iat", "nbf"] {
            // Written so that what is no number fails.
            if !time(name).is_none_or(|time| time <= now + LEEWAY_SECONDS) {
                return Err("the token is of the future");
            }
        }
        Ok(expiry)
    }
}

fn encoded(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

/// Base64url of the SHA-256 of `verifier`: a challenge of RFC 7636.
pub(crate) fn challenge_of(verifier: &str) -> String {
    encoded(digest(&SHA256, verifier.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_own_token_verifies_until_a_byte_of_it_changes() {
        let (signer, other) = (Signer::generate().unwrap(), Signer::generate().unwrap());
        let text = signer.sign(&claims(json!({"iss": "me", "aud": ["a", "b"], "exp": 100, "iat": 10}))).unwrap();
        let token = ForeignToken::parse(&text).unwrap();
        assert_eq!((token.claim("iss"), token.claim("sub")), (Some("me"), None));
        assert!(token.is_for(&["b"]) && !token.is_for(&["c"]));
        assert_eq!(token.check_signature([other.public_key(), signer.public_key()].iter()), Ok(()));
        assert!(token.check_signature([other.public_key()].iter()).is_err());
        let (message, signature) = text.rsplit_once('.').unwrap();
        let (header, _) = message.split_once('.').unwrap();
        let forged = format!("{header}.{}.{signature}", encoded(br#"{"iss":"you","exp":100}"#));
        assert!(ForeignToken::parse(&forged).unwrap().check_signature([signer.public_key()].iter()).is_err());
        let unsigned = format!("{}.{}.", encoded(br#"{"alg":"none"}"#), encoded(b"{}"));
        let error = ForeignToken::parse(&unsigned).unwrap().check_signature([signer.public_key()].iter()).unwrap_err();
        assert!(error.contains("algorithm"), "{error}");
        for text in ["", "a.b", "a.b.c", "....", "e30.e30.e30"] {
            assert!(ForeignToken::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn times_are_checked() {
        let signer = Signer::generate().unwrap();
        let check =
            |value: Value| ForeignToken::parse(&signer.sign(&claims(value)).unwrap()).unwrap().check_times(1000.0);
        assert_eq!(check(json!({"exp": 1001, "iat": 1030, "nbf": 900})), Ok(1001.0));
        for value in [
            json!({}),
            json!({"exp": 1000}),
            json!({"exp": "later"}),
            json!({"exp": 2000, "nbf": 1100}),
            json!({"exp": 2000, "iat": 1061}),
            json!({"exp": 2000, "iat": "then"}),
        ] {
            assert!(check(value.clone()).is_err(), "{value}");
        }
    }

    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        assert_eq!(
            challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }
}
