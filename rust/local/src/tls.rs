//! TLS with an authority made at start, in good order or in one of several kinds of disorder.

use std::fmt;
use std::io;
use std::sync::Arc;

use ring::error::Unspecified;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use serde::Deserialize;
use time::{Duration, OffsetDateTime};
use tokio_rustls::TlsAcceptor;

use crate::certificate::{Authority, Certificate, Purpose, pem};
use crate::request_log::Origin;

/// How both origins speak TLS; as JSON, an object of the field names, every one optional.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsOptions {
    /// The certificate shown.
    pub certificate: ServerCertificate,
    /// The versions spoken.
    pub versions: TlsVersions,
    /// Clients of the API, though not of the store, must show the certificate of [`crate::LocalServer::client_certificate`].
    pub client_certificate: bool,
}

/// The certificate a server shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerCertificate {
    /// For `localhost`, `127.0.0.1` and `::1`, of the authority that clients are told.
    #[default]
    Valid,
    /// The same, until yesterday.
    Expired,
    /// For `elsewhere.example.com`.
    OtherHost,
    /// Of an authority that clients are not told.
    UnknownAuthority,
}

/// The versions of TLS a server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    #[default]
    #[serde(rename = "all")]
    All,
    /// 1.2 only.
    #[serde(rename = "1.2")]
    Tls12,
    /// 1.3 only.
    #[serde(rename = "1.3")]
    Tls13,
}

/// What was made at start.
pub(crate) struct Tls {
    api: TlsAcceptor,
    storage: TlsAcceptor,
    pub(crate) authority_pem: String,
    pub(crate) client_pem: String,
    pub(crate) client_key_pem: String,
}

impl Tls {
    pub(crate) fn new(options: TlsOptions) -> io::Result<Self> {
        let authority = Authority::new("seakernel local authority").map_err(no_key)?;
        let now = OffsetDateTime::now_utc();
        // A day for clocks that differ, and no longer than clients of today accept.
        let valid = (now - Duration::days(1), now + Duration::days(396));
        let (signer, host, validity) = match options.certificate {
            ServerCertificate::Valid => (&authority, "localhost", valid),
            ServerCertificate::Expired => (&authority, "localhost", (now - Duration::days(3), now - Duration::days(1))),
            ServerCertificate::OtherHost => (&authority, "elsewhere.example.com", valid),
            ServerCertificate::UnknownAuthority => {
                (&Authority::new("another authority").map_err(no_key)?, "localhost", valid)
            }
        };
        let names = [host];
        let addresses: &[&[u8]] = if host == "localhost" { &[&[127, 0, 0, 1], &LOOPBACK_V6] } else { &[] };
        let server = Purpose::Server { names: &names, addresses };
        let server = signer.issue(host, server, validity).map_err(no_key)?;
        let client = authority.issue("seakernel local client", Purpose::Client, valid).map_err(no_key)?;
        Ok(Self {
            api: acceptor(options, &server, &client)?,
            // Presigned links are all that a store asks for.
            storage: acceptor(TlsOptions { client_certificate: false, ..options }, &server, &client)?,
            authority_pem: authority.pem(),
            client_pem: pem("CERTIFICATE", &client.der),
            client_key_pem: pem("PRIVATE KEY", &client.pkcs8),
        })
    }

    pub(crate) fn acceptor(&self, origin: Origin) -> &TlsAcceptor {
        match origin {
            Origin::Api => &self.api,
            Origin::Storage => &self.storage,
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").finish_non_exhaustive()
    }
}

const LOOPBACK_V6: [u8; 16] = 1_u128.to_be_bytes();

fn no_key(_: Unspecified) -> io::Error {
    io::Error::other("no key could be made: the system has no random numbers")
}

fn acceptor(options: TlsOptions, server: &Certificate, client: &Certificate) -> io::Result<TlsAcceptor> {
    Ok(TlsAcceptor::from(Arc::new(configuration(options, server, client).map_err(io::Error::other)?)))
}

fn configuration(
    options: TlsOptions,
    server: &Certificate,
    client: &Certificate,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[&SupportedProtocolVersion] = match options.versions {
        TlsVersions::All => &[&TLS12, &TLS13],
        TlsVersions::Tls12 => &[&TLS12],
        TlsVersions::Tls13 => &[&TLS13],
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
    let builder = if options.client_certificate {
        builder.with_client_cert_verifier(Arc::new(OneClient { certificate: client.der.clone(), provider }))
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivatePkcs8KeyDer::from(server.pkcs8.clone());
    let mut configuration = builder.with_single_cert(vec![CertificateDer::from(server.der.clone())], key.into())?;
    configuration.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(configuration)
}

/// Lets in who shows the one certificate and has its key.
#[derive(Debug)]
struct OneClient {
    certificate: Vec<u8>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for OneClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if end_entity.as_ref() == self.certificate {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(CertificateError::UnknownIssuer.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
