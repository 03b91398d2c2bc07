//! X.509 certificates of an authority that lives as long as the server (RFC 5280, in DER).
//!
//! Written by hand: the smallest library for it adds 40 KiB to a wheel that is to stay small, for the sake of one form.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};
use ring::error::Unspecified;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use time::{Duration, OffsetDateTime};

const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const PRIME256V1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SUBJECT_KEY_ID: u8 = 14;
const KEY_USAGE: u8 = 15;
const ALTERNATIVE_NAME: u8 = 17;
const BASIC_CONSTRAINTS: u8 = 19;
const AUTHORITY_KEY_ID: u8 = 35;
const EXTENDED_KEY_USAGE: u8 = 37;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// A certificate and the key it is for.
pub(crate) struct Certificate {
    pub(crate) der: Vec<u8>,
    pub(crate) pkcs8: Vec<u8>,
}

/// Whom a certificate is for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose<'names> {
    /// A server by these DNS names and addresses.
    Server { names: &'names [&'names str], addresses: &'names [&'names [u8]] },
    /// A client.
    Client,
}

/// Who signs.
pub(crate) struct Authority {
    name: Vec<u8>,
    key: Key,
    der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new(common_name: &str) -> Result<Self, Unspecified> {
        let (key, name) = (Key::generate()?, name(common_name));
        let now = OffsetDateTime::now_utc();
        let validity = (now - Duration::days(7), now + Duration::days(3650));
        let extensions = [
            extension(BASIC_CONSTRAINTS, true, &element(SEQUENCE, &element(BOOLEAN, &[0xff]))),
            // Signs certificates and lists of revoked ones.
            extension(KEY_USAGE, true, &element(BIT_STRING, &[1, 0x06])),
            extension(SUBJECT_KEY_ID, false, &element(OCTET_STRING, &key.id())),
        ];
        let der = certificate(&name, &key, &name, &key, validity, &extensions)?;
        Ok(Self { name, key, der })
    }

    pub(crate) fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }

    /// Issues a certificate, with a key of its own, that is good between two times.
    pub(crate) fn issue(
        &self,
        common_name: &str,
        purpose: Purpose<'_>,
        validity: (OffsetDateTime, OffsetDateTime),
    ) -> Result<Certificate, Unspecified> {
        let key = Key::generate()?;
        // The last number of id-kp-serverAuth and id-kp-clientAuth.
        let usage: u8 = if matches!(purpose, Purpose::Server { .. }) { 1 } else { 2 };
        let usage = element(OBJECT_ID, &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, usage]);
        let mut extensions = vec![
            extension(BASIC_CONSTRAINTS, true, &element(SEQUENCE, &[])),
            // Signs, which is all that a key on a curve does in a handshake.
            extension(KEY_USAGE, true, &element(BIT_STRING, &[7, 0x80])),
            extension(EXTENDED_KEY_USAGE, false, &element(SEQUENCE, &usage)),
            extension(SUBJECT_KEY_ID, false, &element(OCTET_STRING, &key.id())),
            extension(AUTHORITY_KEY_ID, false, &element(SEQUENCE, &element(0x80, &self.key.id()))),
        ];
        if let Purpose::Server { names, addresses } = purpose {
            let names = names.iter().map(|name| element(0x82, name.as_bytes()));
            let all: Vec<Vec<u8>> = names.chain(addresses.iter().map(|address| element(0x87, address))).collect();
            extensions.push(extension(ALTERNATIVE_NAME, false, &element(SEQUENCE, &all.concat())));
        }
        let der = certificate(&self.name, &self.key, &name(common_name), &key, validity, &extensions)?;
        Ok(Certificate { der, pkcs8: key.pkcs8 })
    }
}

struct Key {
    pair: EcdsaKeyPair,
    pkcs8: Vec<u8>,
    random: SystemRandom,
}

impl Key {
    fn generate() -> Result<Self, Unspecified> {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)?.as_ref().to_vec();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8, &random).map_err(|_| Unspecified)?;
        Ok(Self { pair, pkcs8, random })
    }

    /// What certificates know the key by: any short name will do.
    fn id(&self) -> Vec<u8> {
        digest(&SHA256, self.pair.public_key().as_ref()).as_ref().iter().take(20).copied().collect()
    }
}

fn certificate(
    issuer: &[u8],
    issuer_key: &Key,
    subject: &[u8],
    subject_key: &Key,
    (from, until): (OffsetDateTime, OffsetDateTime),
    extensions: &[Vec<u8>],
) -> Result<Vec<u8>, Unspecified> {
    let algorithm = element(SEQUENCE, &element(OBJECT_ID, ECDSA_WITH_SHA256));
    let key_algorithm = [element(OBJECT_ID, EC_PUBLIC_KEY), element(OBJECT_ID, PRIME256V1)].concat();
    let point = [&[0], subject_key.pair.public_key().as_ref()].concat();
    let content = [
        // Version 3.
        element(0xa0, &element(INTEGER, &[2])),
        element(INTEGER, &serial_number()),
        algorithm.clone(),
        issuer.to_vec(),
        element(SEQUENCE, &[utc_time(from), utc_time(until)].concat()),
        subject.to_vec(),
        element(SEQUENCE, &[element(SEQUENCE, &key_algorithm), element(BIT_STRING, &point)].concat()),
        element(0xa3, &element(SEQUENCE, &extensions.concat())),
    ];
    let content = element(SEQUENCE, &content.concat());
    let signature = issuer_key.pair.sign(&issuer_key.random, &content)?;
    let signature = element(BIT_STRING, &[&[0], signature.as_ref()].concat());
    Ok(element(SEQUENCE, &[content, algorithm, signature].concat()))
}

/// 16 random bytes, the first of them such that the number is positive and no byte can be left out.
fn serial_number() -> [u8; 16] {
    let number: u128 = rand::random();
    (number >> 2 | 1 << 125).to_be_bytes()
}

fn name(common_name: &str) -> Vec<u8> {
    let pair = [element(OBJECT_ID, COMMON_NAME), element(UTF8_STRING, common_name.as_bytes())].concat();
    element(SEQUENCE, &element(SET, &element(SEQUENCE, &pair)))
}

/// Two digits of the year: until 2050, when others are due to write four.
fn utc_time(time: OffsetDateTime) -> Vec<u8> {
    let text = format!(
        "{:02}{:02}{:02}{:02}{:02}{:02}Z",
        time.year() % 100,
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    element(UTC_TIME, text.as_bytes())
}

fn extension(id: u8, critical: bool, content: &[u8]) -> Vec<u8> {
    let id = element(OBJECT_ID, &[0x55, 0x1d, id]);
    let critical = if critical { element(BOOLEAN, &[0xff]) } else { Vec::new() };
    element(SEQUENCE, &[id, critical, element(OCTET_STRING, content)].concat())
}

/// A tag, the length, the content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match u8::try_from(content.len()) {
        Ok(length) if length < 0x80 => der.push(length),
        Ok(length) => der.extend([0x81, length]),
        Err(_) => {
            der.push(0x82);
            // Nothing here comes near 64 KiB.
            der.extend((content.len() as u16).to_be_bytes());
        }
    }
    der.extend(content);
    der
}

/// RFC 7468.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for (place, character) in BASE64_STANDARD.encode(der).chars().enumerate() {
        if place > 0 && place % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text + &format!("\n-----END {label}-----\n")
}
