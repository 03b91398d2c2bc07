//! Signed tokens (JWT): what one says of itself, and tokens of our own by which a client proves who it is.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair as RsaKeyPair;
use ring::signature::{self, EcdsaKeyPair, RsaEncoding};
use serde::Deserialize;
use serde_json::json;

use crate::auth::Secret;
use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::private_key::{KeyKind, PrivateKey};

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

    /// Returns when the token ends by its own words, since 1970.
    pub(super) fn end(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.expiry?).ok()
    }

    pub(super) fn lifetime(&self) -> Option<Duration> {
        Some(self.end()?.saturating_sub(since_1970()))
    }
}

/// Returns how long a token lasts by its own words, which are not verified: zero where it has expired, `None` where it does
/// not say, or is no JWT.
pub fn lifetime_of(token: &Secret) -> Option<Duration> {
    Claims::of(token)?.lifetime()
}

fn since_1970() -> Duration {
    clock::time_of_day().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// How a token is signed, as RFC 7518 names it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub enum JwtAlgorithm {
    #[default]
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
}

impl JwtAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 8] =
        [Self::Rs256, Self::Rs384, Self::Rs512, Self::Ps256, Self::Ps384, Self::Ps512, Self::Es256, Self::Es384];

    /// Returns the name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
        }
    }

    /// Returns the algorithm of this name, in any case.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    fn key(self) -> KeyKind {
        match self {
            Self::Es256 => KeyKind::P256,
            Self::Es384 => KeyKind::P384,
            _ => KeyKind::Rsa,
        }
    }

    fn rsa_encoding(self) -> &'static dyn RsaEncoding {
        match self {
            Self::Rs384 => &signature::RSA_PKCS1_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_SHA512,
            Self::Ps256 => &signature::RSA_PSS_SHA256,
            Self::Ps384 => &signature::RSA_PSS_SHA384,
            Self::Ps512 => &signature::RSA_PSS_SHA512,
            _ => &signature::RSA_PKCS1_SHA256,
        }
    }
}

/// How long an assertion of ours is good; it is used at once.
const ASSERTION_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// Signs tokens that say who a client is (RFC 7523).
pub(super) struct Signer {
    key: SigningKey,
    algorithm: JwtAlgorithm,
}

enum SigningKey {
    Rsa(RsaKeyPair),
    EllipticCurve(EcdsaKeyPair),
}

impl Signer {
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where the key, which errors call `name`, is not one of the algorithm's.
    pub(super) fn new(key: &PrivateKey, name: &str, algorithm: JwtAlgorithm) -> Result<Self> {
        let invalid = |why: String| Error::new(ErrorKind::InvalidArgument, format!("{name} {why}"));
        if key.kind != algorithm.key() {
            let fitting: Vec<&str> = (JwtAlgorithm::ALL.into_iter())
                .filter(|algorithm| algorithm.key() == key.kind)
                .map(JwtAlgorithm::name)
                .collect();
            let advice = match fitting.as_slice() {
                [] => "RSA, P-256 or P-384 keys can be used".to_owned(),
                fitting => format!("it fits {}", fitting.join(", ")),
            };
            let (wanted, is) = (algorithm.key(), key.kind);
            return Err(invalid(format!("is a key of {is}, and {} needs one of {wanted}: {advice}", algorithm.name())));
        }
        let random = SystemRandom::new();
        let key = match key.kind {
            KeyKind::Rsa => RsaKeyPair::from_pkcs8(&key.der).map(SigningKey::Rsa),
            KeyKind::P256 => EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &key.der, &random)
                .map(SigningKey::EllipticCurve),
            _ => EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, &key.der, &random)
                .map(SigningKey::EllipticCurve),
        };
        // The reasons of the library are short words such as `TooSmall`.
        let key = key.map_err(|reason| {
            invalid(format!("cannot be used ({reason}): RSA keys must have 2048 to 4096 bits, others their public key"))
        })?;
        Ok(Self { key, algorithm })
    }

    /// Returns a token by which `client_id` proves to `audience` who it is; good once.
    pub(super) fn assertion(&self, client_id: &str, key_id: &str, audience: &str) -> Result<Secret> {
        let now = since_1970().as_secs();
        self.sign(
            &json!({"alg": self.algorithm.name(), "typ": "JWT", "kid": key_id}),
            &json!({
                "iss": client_id,
                "sub": client_id,
                "aud": audience,
                "iat": now,
                "exp": now + ASSERTION_LIFETIME.as_secs(),
                "jti": format!("{:032x}", rand::random::<u128>()),
            }),
        )
    }

    fn sign(&self, header: &serde_json::Value, claims: &serde_json::Value) -> Result<Secret> {
        let encoded = |value: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encoded(header), encoded(claims));
        let random = SystemRandom::new();
        let signature = match &self.key {
            SigningKey::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(self.algorithm.rsa_encoding(), &random, message.as_bytes(), &mut signature).map(|()| signature)
            }
            SigningKey::EllipticCurve(key) => {
                key.sign(&random, message.as_bytes()).map(|signature| signature.as_ref().to_vec())
            }
        };
        let signature = signature.map_err(|_| Error::new(ErrorKind::Internal, "the sign-in could not be signed"))?;
        Ok(Secret::from(format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Signer").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use ring::signature::{KeyPair, UnparsedPublicKey, VerificationAlgorithm};

    use crate::private_key::test_keys;

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

    fn signer(pem: &str, algorithm: JwtAlgorithm) -> Result<Signer> {
        let key = PrivateKey::read(&Secret::new(pem), None, "the key", "passphrase")?;
        Signer::new(&key, "the key", algorithm)
    }

    #[test]
    fn every_algorithm_is_signed_with_as_its_verifier_wants_it() {
        let table: [(JwtAlgorithm, &str, &dyn VerificationAlgorithm); 8] = [
            (JwtAlgorithm::Rs256, test_keys::RSA_PKCS8, &signature::RSA_PKCS1_2048_8192_SHA256),
            (JwtAlgorithm::Rs384, test_keys::RSA_PKCS1, &signature::RSA_PKCS1_2048_8192_SHA384),
            (JwtAlgorithm::Rs512, test_keys::RSA_PKCS8, &signature::RSA_PKCS1_2048_8192_SHA512),
            (JwtAlgorithm::Ps256, test_keys::RSA_PKCS1, &signature::RSA_PSS_2048_8192_SHA256),
            (JwtAlgorithm::Ps384, test_keys::RSA_PKCS8, &signature::RSA_PSS_2048_8192_SHA384),
            (JwtAlgorithm::Ps512, test_keys::RSA_PKCS8, &signature::RSA_PSS_2048_8192_SHA512),
            (JwtAlgorithm::Es256, test_keys::P256_SEC1, &signature::ECDSA_P256_SHA256_FIXED),
            (JwtAlgorithm::Es384, test_keys::P384_PKCS8, &signature::ECDSA_P384_SHA384_FIXED),
        ];
        for (algorithm, pem, verifier) in table {
            let with = signer(pem, algorithm).unwrap();
            let token = with.assertion("app", "key-1", "https://a/oidc/v1/token").unwrap();
            let again = with.assertion("app", "key-1", "https://a/oidc/v1/token").unwrap();
            let public = match &with.key {
                SigningKey::Rsa(key) => key.public_key().as_ref().to_vec(),
                SigningKey::EllipticCurve(key) => key.public_key().as_ref().to_vec(),
            };
            let (message, signature) = token.expose().rsplit_once('.').unwrap();
            let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
            let key = UnparsedPublicKey::new(verifier, &public);
            key.verify(message.as_bytes(), &signature).unwrap();
            key.verify(format!("{message}x").as_bytes(), &signature).unwrap_err();
            let part = |token: &Secret, index| -> serde_json::Value {
                let part = token.expose().split('.').nth(index).unwrap().to_owned();
                serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
            };
            assert_eq!(part(&token, 0), json!({"alg": algorithm.name(), "typ": "JWT", "kid": "key-1"}));
            let claims = part(&token, 1);
            let names = ["iss", "sub", "aud"].map(|name| claims[name].as_str().unwrap());
            assert_eq!(names, ["app", "app", "https://a/oidc/v1/token"]);
            assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
            assert_ne!(claims["jti"], part(&again, 1)["jti"]);
            assert_eq!(JwtAlgorithm::of_name(&algorithm.name().to_lowercase()), Some(algorithm));
        }
        assert_eq!(JwtAlgorithm::of_name("ES512"), None);
    }

    /// RFC 7515, appendix A.2.
    #[test]
    fn a_signature_is_the_one_of_the_rfc() {
        let with = signer(test_keys::RFC_7515, JwtAlgorithm::Rs256).unwrap();
        let SigningKey::Rsa(key) = &with.key else { panic!("not RSA") };
        let message = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(with.algorithm.rsa_encoding(), &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
        assert!(
            signature.starts_with("cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7"),
            "{signature}"
        );
    }

    #[test]
    fn a_key_that_does_not_fit_is_refused() {
        for (pem, algorithm, expected) in [
            (test_keys::P256_PKCS8, JwtAlgorithm::Rs256, "RS256 needs one of RSA: it fits ES256"),
            (test_keys::P256_PKCS8, JwtAlgorithm::Es384, "ES384 needs one of P-384: it fits ES256"),
            (test_keys::RSA_PKCS8, JwtAlgorithm::Es256, "it fits RS256, RS384, RS512, PS256, PS384, PS512"),
            (test_keys::ED25519, JwtAlgorithm::Es256, "RSA, P-256 or P-384 keys can be used"),
            (test_keys::RSA_SMALL, JwtAlgorithm::Rs256, "must have 2048 to 4096 bits"),
        ] {
            let error = signer(pem, algorithm).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    fn padding_and_a_line_end_do_no_harm() {
        let text = format!(" e30.{}==.c2ln\n", BASE64_URL_SAFE_NO_PAD.encode(r#"{"iss":"me"}"#));
        assert_eq!(Claims::of(&Secret::from(text)).unwrap().issuer.as_deref(), Some("me"));
    }
}
