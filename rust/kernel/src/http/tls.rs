//! TLS options as the HTTP client takes them. Whatever is wrong with them shows here, before anything is sent.

use reqwest::{Certificate, ClientBuilder, Identity};
use tracing::warn;

use crate::config::{SessionConfig, TlsConfig};
use crate::error::{Error, ErrorKind, Result};

/// Tells the client whom to trust; for the API and for storage hosts.
pub(super) fn trust(builder: ClientBuilder, tls: &TlsConfig) -> Result<ClientBuilder> {
    let mut own = Vec::new();
    if let Some(pem) = &tls.ca_certificates_pem {
        own = Certificate::from_pem_bundle(pem)
            .map_err(|error| invalid("the CA certificates are not PEM").with_source(error))?;
        if own.is_empty() {
            return Err(invalid("the CA certificates hold no `BEGIN CERTIFICATE` block"));
        }
    }
    if !tls.verify_certificates {
        return Ok(builder.tls_danger_accept_invalid_certs(true));
    }
    if tls.verify_hostnames {
        return Ok(builder.tls_certs_merge(own));
    }
    // The platform's verifier cannot leave out the name, so its roots are given to one that can.
    let system = rustls_native_certs::load_native_certs().certs;
    own.extend(system.iter().filter_map(|certificate| Certificate::from_der(certificate).ok()));
    if own.is_empty() {
        return Err(invalid("this system has no certificate authorities; give them as `ca_certificates_pem`"));
    }
    Ok(builder.tls_certs_only(own).tls_danger_accept_invalid_hostnames(true))
}

/// Gives the client our certificate; for the API only.
pub(super) fn identify(builder: ClientBuilder, config: &SessionConfig) -> Result<ClientBuilder> {
    let (certificate, key) = match (&config.tls.client_certificate_pem, &config.tls.client_key_pem) {
        (None, None) => return Ok(builder),
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => return Err(invalid("the client certificate has no key; give both")),
        (None, Some(_)) => return Err(invalid("the client key has no certificate; give both")),
    };
    if config.host.scheme() != "https" {
        return Err(invalid("a client certificate is of no use on a host without https"));
    }
    if key.expose().contains("ENCRYPTED") {
        return Err(invalid("the client key is encrypted; decrypt it first"));
    }
    let both = [certificate.as_slice(), b"\n", key.expose().as_bytes()].concat();
    // The parser's words may quote the key.
    let identity = Identity::from_pem(&both)
        .map_err(|_| invalid("the client certificate and key are not one PEM certificate chain and one PEM key"))?;
    Ok(builder.identity(identity))
}

/// Says once per session that it is not protected.
pub(super) fn warn_of_what_is_off(config: &SessionConfig) {
    if !config.tls.verify_certificates {
        warn!("certificates are not verified: whoever is on the way can read the token and the results");
    } else if !config.tls.verify_hostnames {
        warn!("the host names of certificates are not verified: any trusted certificate will do");
    }
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use reqwest::Client;

    use super::*;
    use crate::auth::{Credentials, Secret};

    fn config(host: &str, tls: TlsConfig) -> SessionConfig {
        let mut config =
            SessionConfig::new(host, "/sql/1.0/warehouses/a", Credentials::access_token("dapi-x")).unwrap();
        config.tls = tls;
        config
    }

    #[test]
    fn wrong_options_are_refused_before_anything_is_sent_and_never_quoted() {
        let (certificate, key) = (Some(b"certificate-canary".to_vec()), Some(Secret::new("key-canary")));
        let table = [
            (
                TlsConfig { ca_certificates_pem: Some(b"nothing".to_vec()), ..TlsConfig::default() },
                "no `BEGIN CERTIFICATE",
            ),
            (TlsConfig { client_certificate_pem: certificate.clone(), ..TlsConfig::default() }, "has no key"),
            (TlsConfig { client_key_pem: key.clone(), ..TlsConfig::default() }, "has no certificate"),
            (
                TlsConfig {
                    client_certificate_pem: certificate.clone(),
                    client_key_pem: key.clone(),
                    ..TlsConfig::default()
                },
                "not one PEM",
            ),
            (
                TlsConfig {
                    client_certificate_pem: certificate.clone(),
                    client_key_pem: Some(Secret::new("-----BEGIN ENCRYPTED PRIVATE KEY-----")),
                    ..TlsConfig::default()
                },
                "encrypted",
            ),
        ];
        for (tls, expected) in table {
            let config = config("dbc-1.cloud.databricks.com", tls);
            let error =
                trust(Client::builder(), &config.tls).and_then(|builder| identify(builder, &config)).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(expected) && !text.contains("canary"), "{text}");
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::InvalidArgument, false));
        }
        let tls = TlsConfig { client_certificate_pem: certificate, client_key_pem: key, ..TlsConfig::default() };
        let error = identify(Client::builder(), &config("http://127.0.0.1:1", tls)).unwrap_err();
        assert!(error.to_string().contains("without https"), "{error}");
    }
}
