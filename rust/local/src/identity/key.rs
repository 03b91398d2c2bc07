//! Public keys that others sign with.

use std::fmt;

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

/// The algorithms a token may be signed with, as its header names them.
pub(crate) const ALGORITHMS: [&str; 8] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384"];

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
/// Lengths of uncompressed points.
const P256_POINT: usize = 65;
const P384_POINT: usize = 97;

/// A public key: RSA of at least 2048 bits, P-256 or P-384. In JSON a PEM text (`-----BEGIN PUBLIC KEY-----`).
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicKey {
    family: Family,
    /// As ring wants it: RFC 8017's `RSAPublicKey`, or an uncompressed point.
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Rsa,
    P256,
    P384,
}

impl PublicKey {
    /// Reads a PEM text.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn from_pem(pem: &str) -> Result<Self, String> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| "a PEM text with `-----BEGIN PUBLIC KEY-----` expected".to_owned())?;
        let key = subject_public_key(&der).ok_or_else(|| "the public key is not well-formed".to_owned())?;
        let family = match (key.first(), key.len()) {
            (Some(&SEQUENCE), _) => Family::Rsa,
            (Some(4), P256_POINT) => Family::P256,
            (Some(4), P384_POINT) => Family::P384,
            _ => return Err("an RSA, P-256 or P-384 key expected".to_owned()),
        };
        Ok(Self { family, bytes: key.to_vec() })
    }

    /// A P-256 key by its uncompressed point.
    pub(crate) fn p256(point: &[u8]) -> Self {
        Self { family: Family::P256, bytes: point.to_vec() }
    }

    /// Whether this key made `signature`; false too where the algorithm is not one of the key's.
    pub(crate) fn verifies(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match (self.family, algorithm) {
            (Family::Rsa, "RS256") => &signature::RSA_PKCS1_2048_8192_SHA256,
            (Family::Rsa, "RS384") => &signature::RSA_PKCS1_2048_8192_SHA384,
            (Family::Rsa, "RS512") => &signature::RSA_PKCS1_2048_8192_SHA512,
            (Family::Rsa, "PS256") => &signature::RSA_PSS_2048_8192_SHA256,
            (Family::Rsa, "PS384") => &signature::RSA_PSS_2048_8192_SHA384,
            (Family::Rsa, "PS512") => &signature::RSA_PSS_2048_8192_SHA512,
            (Family::P256, "ES256") => &signature::ECDSA_P256_SHA256_FIXED,
            (Family::P384, "ES384") => &signature::ECDSA_P384_SHA384_FIXED,
            _ => return false,
        };
        UnparsedPublicKey::new(algorithm, &self.bytes).verify(message, signature).is_ok()
    }
}

impl TryFrom<String> for PublicKey {
    type Error = String;

    fn try_from(pem: String) -> Result<Self, String> {
        Self::from_pem(&pem)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PublicKey").field("family", &self.family).finish_non_exhaustive()
    }
}

/// The key inside RFC 5280's `SubjectPublicKeyInfo`: a sequence of the algorithm and a bit string.
fn subject_public_key(der: &[u8]) -> Option<&[u8]> {
    let (whole, _) = element(der, SEQUENCE)?;
    let (_, rest) = element(whole, SEQUENCE)?;
    let (bits, _) = element(rest, BIT_STRING)?;
    bits.strip_prefix(&[0])
}

/// Splits one element with this tag off: its content and what follows.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first().filter(|_| *first == tag)?;
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let (digits, rest) =
            rest.split_at_checked(usize::from(length & 0x7f)).filter(|(digits, _)| digits.len() <= 3)?;
        (digits.iter().fold(0, |number, digit| number << 8 | usize::from(*digit)), rest)
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_public_key_is_refused() {
        for (pem, reason) in [
            ("", "BEGIN PUBLIC KEY"),
            ("-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n", "well-formed"),
            ("-----BEGIN PUBLIC KEY-----\nMAUwAAMBAA==\n-----END PUBLIC KEY-----\n", "RSA, P-256 or P-384"),
            ("-----BEGIN PUBLIC KEY-----\nMP////8=\n-----END PUBLIC KEY-----\n", "well-formed"),
        ] {
            let error = PublicKey::from_pem(pem).unwrap_err();
            assert!(error.contains(reason), "{pem}: {error}");
        }
    }
}
