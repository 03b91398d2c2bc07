//! Private keys as files hold them: PEM of the usual kinds, encrypted or not.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pkcs8::der::asn1::{AnyRef, ObjectIdentifier};
use pkcs8::der::{Decode, Encode};
use pkcs8::pkcs5::pbes2::Kdf;
use pkcs8::pkcs5::{self, EncryptionScheme};
use pkcs8::{AlgorithmIdentifierRef, EncryptedPrivateKeyInfo, LineEnding, PrivateKeyInfo, SecretDocument};
use zeroize::Zeroizing;

use crate::auth::Secret;
use crate::error::{Error, ErrorKind, Result};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ELLIPTIC_CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// What a file may ask for to derive a key from a passphrase; ordinary ones ask for 16 MiB, or a million rounds at most.
const MAX_SCRYPT_BYTES: u64 = 256 << 20;
const MAX_ROUNDS: u32 = 10_000_000;

/// A private key in DER, PKCS#8 whatever it was. Its memory is overwritten when it is dropped.
pub(crate) struct PrivateKey {
    pub(crate) der: Zeroizing<Vec<u8>>,
    pub(crate) kind: KeyKind,
    /// Whether the passphrase was needed.
    pub(crate) was_encrypted: bool,
}

/// What a key computes with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyKind {
    Rsa,
    P256,
    P384,
    Other,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Rsa => "RSA",
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::Other => "another algorithm or curve",
        })
    }
}

impl PrivateKey {
    /// Reads the first private key in `pem`, which may hold certificates and parameters as well. `name` is how errors call
    /// the key, `passphrase_option` where its passphrase is given.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] says what is wrong and how to convert the key; nothing of it is repeated.
    pub(crate) fn read(pem: &Secret, passphrase: Option<&Secret>, name: &str, passphrase_option: &str) -> Result<Self> {
        let invalid = |why: &str| Error::new(ErrorKind::InvalidArgument, format!("{name} {why}"));
        let block = Block::first(pem.expose())
            .ok_or_else(|| invalid("is no private key in PEM: a line `-----BEGIN PRIVATE KEY-----` is expected"))?;
        if block.label == "OPENSSH PRIVATE KEY" {
            return Err(invalid("is in the form of OpenSSH: convert it with `ssh-keygen -p -m PKCS8 -f key`"));
        }
        if block.has_headers {
            return Err(invalid("is encrypted in an old form: convert it with `openssl pkcs8 -topk8 -in key.pem`"));
        }
        let unreadable = || invalid("is damaged: its content is no private key");
        let der = block.der.ok_or_else(unreadable)?;
        let was_encrypted = block.label == "ENCRYPTED PRIVATE KEY";
        let der = match block.label {
            "PRIVATE KEY" => der,
            "RSA PRIVATE KEY" => wrapped(RSA, Some(AnyRef::NULL), &der).ok_or_else(unreadable)?,
            "EC PRIVATE KEY" => {
                let curve = [P256, P384].into_iter().find(|curve| names_curve(&der, curve));
                let curve = curve.ok_or_else(|| {
                    invalid("is on a curve that is not supported: make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`")
                })?;
                wrapped(ELLIPTIC_CURVE, Some(AnyRef::from(&curve)), &der).ok_or_else(unreadable)?
            }
            "ENCRYPTED PRIVATE KEY" => {
                let Some(passphrase) = passphrase else {
                    return Err(invalid(&format!("is encrypted: give its passphrase as `{passphrase_option}`")));
                };
                decrypted(&der, passphrase).map_err(|refusal| match refusal {
                    Refusal::Damaged => unreadable(),
                    Refusal::Scheme => invalid(
                        "is encrypted in a way that is not supported: convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in key.pem`",
                    ),
                    Refusal::Passphrase => {
                        invalid(&format!("cannot be decrypted: `{passphrase_option}` is not its passphrase"))
                    }
                })?
            }
            _ => {
                return Err(invalid(
                    "is of a kind that is not supported: convert it with `openssl pkcs8 -topk8 -in key.pem`",
                ));
            }
        };
        let kind = kind(&der).ok_or_else(|| {
            if was_encrypted {
                // One wrong passphrase in 256 leaves something that looks like an answer.
                invalid(&format!("cannot be decrypted: `{passphrase_option}` is not its passphrase"))
            } else {
                unreadable()
            }
        })?;
        Ok(Self { der, kind, was_encrypted })
    }

    /// Writes the key in PEM, not encrypted.
    pub(crate) fn to_pem(&self) -> Result<Secret> {
        let written = SecretDocument::try_from(self.der.as_slice());
        let written = written.and_then(|document| document.to_pem("PRIVATE KEY", LineEnding::LF));
        written
            .map(|pem| Secret::new(&pem))
            .map_err(|_| Error::new(ErrorKind::Internal, "a private key could not be written"))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PrivateKey").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// One block of PEM. It is read as leniently as OpenSSL does: lines of any length, text around it.
struct Block<'a> {
    label: &'a str,
    /// The form of old ended its headers with an empty line.
    has_headers: bool,
    der: Option<Zeroizing<Vec<u8>>>,
}

impl<'a> Block<'a> {
    fn first(pem: &'a str) -> Option<Self> {
        let mut rest = pem;
        loop {
            let (_, after) = rest.split_once("-----BEGIN ")?;
            let (label, after) = after.split_once("-----")?;
            if label.ends_with("PRIVATE KEY") {
                let (body, _) = after.split_once("-----END ")?;
                let bytes: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
                let der = BASE64_STANDARD.decode(Zeroizing::new(bytes).as_slice()).ok().map(Zeroizing::new);
                return Some(Self { label, has_headers: body.contains(':'), der });
            }
            rest = after;
        }
    }
}

enum Refusal {
    Damaged,
    Scheme,
    Passphrase,
}

fn decrypted(der: &[u8], passphrase: &Secret) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let encrypted = EncryptedPrivateKeyInfo::from_der(der).map_err(|error| match error.kind() {
        // The scheme is named by a number that the library does not know.
        pkcs8::der::ErrorKind::OidUnknown { .. } | pkcs8::der::ErrorKind::Value { .. } => Refusal::Scheme,
        _ => Refusal::Damaged,
    })?;
    let EncryptionScheme::Pbes2(parameters) = &encrypted.encryption_algorithm else { return Err(Refusal::Scheme) };
    let is_bounded = match &parameters.kdf {
        Kdf::Pbkdf2(parameters) => parameters.iteration_count <= MAX_ROUNDS,
        Kdf::Scrypt(parameters) => {
            let bytes = parameters.cost_parameter.saturating_mul(u64::from(parameters.block_size)).saturating_mul(128);
            parameters.cost_parameter.is_power_of_two() && bytes <= MAX_SCRYPT_BYTES && parameters.parallelization <= 16
        }
        _ => false,
    };
    if !is_bounded {
        return Err(Refusal::Scheme);
    }
    match encrypted.decrypt(passphrase.expose()) {
        Ok(document) => Ok(document.to_bytes()),
        // A wrong padding, which the library calls a failed encryption; or what came out is no DER.
        Err(
            pkcs8::Error::EncryptedPrivateKey(pkcs5::Error::DecryptFailed | pkcs5::Error::EncryptFailed)
            | pkcs8::Error::Asn1(_),
        ) => Err(Refusal::Passphrase),
        Err(_) => Err(Refusal::Scheme),
    }
}

/// Makes PKCS#8 of the older form of a key.
fn wrapped(algorithm: ObjectIdentifier, parameters: Option<AnyRef<'_>>, key: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let algorithm = AlgorithmIdentifierRef { oid: algorithm, parameters };
    PrivateKeyInfo::new(algorithm, key).to_der().ok().map(Zeroizing::new)
}

/// Tells whether a key of RFC 5915 names this curve, as it may after its number.
fn names_curve(der: &[u8], curve: &ObjectIdentifier) -> bool {
    curve.to_der().is_ok_and(|name| der.windows(name.len()).any(|window| window == name))
}

fn kind(der: &[u8]) -> Option<KeyKind> {
    let info = PrivateKeyInfo::from_der(der).ok()?;
    Some(match info.algorithm.oid {
        RSA => KeyKind::Rsa,
        ELLIPTIC_CURVE => match info.algorithm.parameters_oid().ok()? {
            P256 => KeyKind::P256,
            P384 => KeyKind::P384,
            _ => KeyKind::Other,
        },
        _ => KeyKind::Other,
    })
}

#[cfg(test)]
pub(crate) mod test_keys;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pem: &str, passphrase: Option<&str>) -> Result<PrivateKey> {
        PrivateKey::read(&Secret::new(pem), passphrase.map(Secret::new).as_ref(), "the key", "passphrase")
    }

    #[test]
    fn every_usual_form_is_read() {
        for (pem, kind) in [
            (test_keys::RSA_PKCS8, KeyKind::Rsa),
            (test_keys::RSA_PKCS1, KeyKind::Rsa),
            (test_keys::P256_PKCS8, KeyKind::P256),
            (test_keys::P256_SEC1, KeyKind::P256),
            (test_keys::P384_PKCS8, KeyKind::P384),
            (test_keys::ED25519, KeyKind::Other),
        ] {
            let key = read(pem, None).unwrap();
            assert_eq!((key.kind, key.was_encrypted), (kind, false));
            let one_line = pem.replace('\n', "\r\n");
            assert_eq!(read(&format!("text\n{one_line}\nmore"), None).unwrap().der, key.der);
        }
        let plain = read(test_keys::RSA_PKCS8, None).unwrap();
        assert_eq!(read(test_keys::RSA_PKCS1, None).unwrap().der, plain.der);
        assert_eq!(read(test_keys::P256_SEC1, None).unwrap().kind, KeyKind::P256);
        for pem in [test_keys::RSA_PBKDF2, test_keys::RSA_SCRYPT] {
            let key = read(pem, Some(test_keys::PASSPHRASE)).unwrap();
            assert_eq!((&key.der, key.was_encrypted), (&plain.der, true));
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_nothing_of_the_key_is() {
        let cut = test_keys::RSA_PKCS8.replace("-----END PRIVATE", "x-----END PRIVATE");
        let right = Some(test_keys::PASSPHRASE);
        for (pem, passphrase, expected) in [
            ("", None, "no private key in PEM"),
            ("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----", None, "no private key in PEM"),
            ("-----BEGIN PRIVATE KEY-----\ncanary", None, "no private key in PEM"),
            ("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----", None, "damaged"),
            (cut.as_str(), None, "damaged"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nMAA=\n-----END OPENSSH PRIVATE KEY-----", None, "ssh-keygen -p"),
            ("-----BEGIN DSA PRIVATE KEY-----\nMAA=\n-----END DSA PRIVATE KEY-----", None, "not supported: convert"),
            (test_keys::RSA_TRADITIONAL, right, "old form: convert it with `openssl pkcs8 -topk8"),
            (test_keys::SECP256K1_SEC1, None, "curve that is not supported"),
            (test_keys::RSA_PBKDF2, None, "give its passphrase as `passphrase`"),
            (test_keys::RSA_PBKDF2, Some("canary-wrong"), "`passphrase` is not its passphrase"),
            (test_keys::RSA_PBKDF2, Some(""), "`passphrase` is not its passphrase"),
            (test_keys::RSA_SCRYPT, Some("canary-wrong"), "`passphrase` is not its passphrase"),
            (test_keys::RSA_TRIPLE_DES, right, "not supported: convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc"),
            (test_keys::RSA_PBES1, right, "not supported: convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc"),
            (test_keys::RSA_HUGE_SCRYPT, right, "not supported: convert"),
        ] {
            let error = read(pem, passphrase).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.starts_with("the key ") && text.contains(expected), "{text}");
            assert!(!text.contains("canary") && !text.contains("MII"), "{text}");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }
}
