//! Keys of nobody, made with OpenSSL 3.0 for tests.

/// Of the encrypted ones.
pub(crate) const PASSPHRASE: &str = "canary-passphrase";

pub(crate) const RSA_PKCS8: &str = include_str!("test_keys/rsa_pkcs8.pem");
pub(crate) const RSA_PKCS1: &str = include_str!("test_keys/rsa_pkcs1.pem");
pub(crate) const RSA_SMALL: &str = include_str!("test_keys/rsa_small.pem");
pub(crate) const RSA_PBKDF2: &str = include_str!("test_keys/rsa_pbkdf2.pem");
pub(crate) const RSA_SCRYPT: &str = include_str!("test_keys/rsa_scrypt.pem");
pub(crate) const RSA_HUGE_SCRYPT: &str = include_str!("test_keys/rsa_huge_scrypt.pem");
pub(crate) const RSA_TRIPLE_DES: &str = include_str!("test_keys/rsa_triple_des.pem");
pub(crate) const RSA_PBES1: &str = include_str!("test_keys/rsa_pbes1.pem");
pub(crate) const RSA_TRADITIONAL: &str = include_str!("test_keys/rsa_traditional.pem");
pub(crate) const P256_PKCS8: &str = include_str!("test_keys/p256_pkcs8.pem");
pub(crate) const P256_SEC1: &str = include_str!("test_keys/p256_sec1.pem");
pub(crate) const P384_PKCS8: &str = include_str!("test_keys/p384_pkcs8.pem");
pub(crate) const SECP256K1_SEC1: &str = include_str!("test_keys/secp256k1_sec1.pem");
pub(crate) const ED25519: &str = include_str!("test_keys/ed25519.pem");
/// The key of RFC 7515, appendix A.2.
pub(crate) const RFC_7515: &str = include_str!("test_keys/rfc_7515.pem");
