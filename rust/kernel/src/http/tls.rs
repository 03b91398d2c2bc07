//! TLS options as the HTTP client takes them. Whatever is wrong with them shows here, before anything is sent.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_native_certs::load_certs_from_paths;
use tracing::warn;

use crate::config::{SessionConfig, TlsConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::local_file::{self, Unread};
use crate::private_key::PrivateKey;

/// What the environment trusts besides the platform: OpenSSL's variables, that of requests, and that of curl, which requests
/// reads as well.
const AUTHORITY_VARIABLES: [&str; 4] = ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
/// Largest file, or content of a folder.
const LARGEST_FILE: u64 = 16 << 20;

/// Whom to trust.
#[derive(Debug)]
pub(super) struct Authorities {
    further: Vec<CertificateDer<'static>>,
    /// Those of the platform's own verifier go with them.
    has_platforms: bool,
}

/// Returns the authorities to trust besides the platform's: those of the options, and those that the environment names.
///
/// They add up: a variable that another program needs must not take the platform's authorities away from us. The platform's
/// verifier does that where OpenSSL's variables are set, so its usual ones are among those returned then.
pub(super) fn authorities(config: &SessionConfig) -> Result<Authorities> {
    let (mut further, mut has_platforms) = (Vec::new(), true);
    let tls = &config.tls;
    if let Some(pem) = &tls.ca_certificates_pem {
        further.extend(from_pem("`ca_certificates_pem`", pem)?);
    }
    if let Some(path) = &tls.ca_certificates_file {
        further.extend(from_path("ca_certificates_file", path)?);
    }
    if tls.verify_certificates {
        further.extend(match from_environment(|name| env::var_os(name)) {
            // Of no use to a warehouse on this machine, and so no reason to keep it from us. The platform's verifier reads
            // OpenSSL's variables, too, and would wait for what they name.
            Err(_) if config.host.scheme() != "https" => {
                has_platforms = !cfg!(all(unix, not(target_vendor = "apple")));
                usual_authorities()
            }
            read => read?,
        });
    }
    further.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
    further.dedup();
    Ok(Authorities { further, has_platforms })
}

fn from_environment(read: impl Fn(&str) -> Option<OsString>) -> Result<Vec<CertificateDer<'static>>> {
    let mut authorities = Vec::new();
    for name in AUTHORITY_VARIABLES {
        let Some(value) = read(name).filter(|value| !value.is_empty()) else { continue };
        if name == "SSL_CERT_DIR" {
            // Several, of which not each must exist.
            let folders = env::split_paths(&value).filter(|folder| !folder.as_os_str().is_empty());
            let folders: Vec<PathBuf> = folders.collect();
            if !folders.iter().any(|folder| folder.is_dir()) {
                return Err(invalid(&format!("`{name}` names no folder that is there: correct it or unset it")));
            }
            for folder in folders.iter().filter(|folder| folder.is_dir()) {
                authorities.extend(from_folder(&format!("`{name}`: `{}`", folder.display()), folder)?);
            }
        } else {
            authorities.extend(from_path(name, Path::new(&value))?);
        }
        if name.starts_with("SSL") {
            authorities.extend(usual_authorities());
        }
    }
    // A bundle may have certificates that cannot be authorities.
    authorities.retain(|authority| RootCertStore::empty().add(authority.clone()).is_ok());
    Ok(authorities)
}

/// Returns the platform's authorities, where the platform's verifier gives them up for those of OpenSSL's variables.
fn usual_authorities() -> Vec<CertificateDer<'static>> {
    #[cfg(all(unix, not(target_vendor = "apple")))]
    let folders = openssl_probe::candidate_cert_dirs();
    #[cfg(not(all(unix, not(target_vendor = "apple"))))]
    let folders = std::iter::empty::<&Path>();
    folders.flat_map(|folder| load_certs_from_paths(None, Some(folder)).certs).collect()
}

/// Reads the authorities in a file, or in the files of a folder; `name` is that of the option or variable.
fn from_path(name: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let named = format!("`{name}`: `{}`", path.display());
    if path.is_dir() {
        let found = from_folder(&named, path)?;
        return if found.is_empty() {
            Err(invalid(&format!("{named} holds no certificate in PEM")))
        } else {
            Ok(found)
        };
    }
    let content = local_file::read(path, LARGEST_FILE).map_err(|unread| match unread.words(LARGEST_FILE) {
        (why, Some(cause)) => invalid(&format!("{named} {why}; name a file in PEM")).with_source(cause),
        (why, None) => invalid(&format!("{named} {why}; name a file in PEM")),
    })?;
    from_pem(&named, &content)
}

/// Reads the certificates in the files of a folder, which may hold others, too.
fn from_folder(named: &str, folder: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let entries = folder.read_dir().map_err(|error| invalid(&format!("{named} cannot be read")).with_source(error))?;
    let (mut found, mut left) = (Vec::new(), LARGEST_FILE);
    for entry in entries.flatten() {
        match local_file::read(&entry.path(), left) {
            Ok(content) => {
                left -= content.len() as u64;
                found.extend(CertificateDer::pem_slice_iter(&content).flatten());
            }
            Err(Unread::TooLarge) => return Err(invalid(&format!("{named} holds more than 16 MiB"))),
            Err(_) => {}
        }
    }
    Ok(found)
}

fn from_pem(named: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| invalid(&format!("{named}: the CA certificates are not PEM")))?;
    if found.is_empty() {
        return Err(invalid(&format!("{named}: the CA certificates hold no `BEGIN CERTIFICATE` block")));
    }
    if found.iter().any(|authority| RootCertStore::empty().add(authority.clone()).is_err()) {
        return Err(invalid(&format!("{named}: a block is no certificate")));
    }
    Ok(found)
}

/// Tells the client whom to trust.
pub(super) fn trust(builder: ClientBuilder, tls: &TlsConfig, authorities: &Authorities) -> Result<ClientBuilder> {
    let builder = builder.tls_version_min(reqwest::tls::Version::TLS_1_2);
    if !tls.verify_certificates {
        return Ok(builder.tls_danger_accept_invalid_certs(true));
    }
    let mut further: Vec<Certificate> =
        authorities.further.iter().filter_map(|authority| Certificate::from_der(authority).ok()).collect();
    if tls.verify_hostnames {
        return Ok(if authorities.has_platforms {
            builder.tls_certs_merge(further)
        } else {
            builder.tls_certs_only(further)
        });
    }
    // The platform's verifier cannot leave out the name, so its roots are given to one that can.
    let system = if authorities.has_platforms { rustls_native_certs::load_native_certs().certs } else { Vec::new() };
    further.extend(system.iter().filter_map(|certificate| Certificate::from_der(certificate).ok()));
    if further.is_empty() {
        return Err(invalid("this system has no certificate authorities; give them as `ca_certificates_file`"));
    }
    Ok(builder.tls_certs_only(further).tls_danger_accept_invalid_hostnames(true))
}

/// Gives the client our certificate, where we have one; for the workspace only.
pub(super) fn identify(builder: ClientBuilder, config: &SessionConfig) -> Result<ClientBuilder> {
    let TlsConfig { client_certificate_pem, client_key_pem, client_key_passphrase, .. } = &config.tls;
    let (certificate, key) = match (client_certificate_pem, client_key_pem) {
        (None, None) if client_key_passphrase.is_some() => {
            return Err(invalid("`client_key_passphrase` has no `client_key_pem`; give both"));
        }
        (None, None) => return Ok(builder),
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => return Err(invalid("the client certificate has no key; give both")),
        (None, Some(_)) => return Err(invalid("the client key has no certificate; give both")),
    };
    if config.host.scheme() != "https" {
        return Err(invalid("a client certificate is of no use on a host without https"));
    }
    let key =
        PrivateKey::read(key, client_key_passphrase.as_ref(), "the client key", "client_key_passphrase")?.to_pem()?;
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
    use crate::private_key::test_keys;

    /// Of nobody, and with the passphrase `pass-canary`.
    const ENCRYPTED_KEY: &str = include_str!("test_key.pem");
    const AUTHORITY: &str = include_str!("test_authority.pem");

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
                "the client key is no private key in PEM",
            ),
            (
                TlsConfig {
                    client_certificate_pem: certificate.clone(),
                    client_key_pem: Some(Secret::new(ENCRYPTED_KEY)),
                    ..TlsConfig::default()
                },
                "give its passphrase",
            ),
            (
                TlsConfig {
                    client_certificate_pem: certificate.clone(),
                    client_key_pem: Some(Secret::new(test_keys::RSA_PKCS8)),
                    ..TlsConfig::default()
                },
                "not one PEM",
            ),
            (
                TlsConfig {
                    client_certificate_pem: certificate.clone(),
                    client_key_pem: Some(Secret::new(test_keys::RSA_TRADITIONAL)),
                    client_key_passphrase: Some(Secret::new("pass-canary")),
                    ..TlsConfig::default()
                },
                "old form",
            ),
            (
                TlsConfig { client_key_passphrase: Some(Secret::new("pass-canary")), ..TlsConfig::default() },
                "has no `client_key_pem`",
            ),
            (
                TlsConfig { ca_certificates_file: Some("/no/such/file".into()), ..TlsConfig::default() },
                "`ca_certificates_file`: `/no/such/file` cannot be read",
            ),
        ];
        for (tls, expected) in table {
            let config = config("dbc-1.cloud.databricks.com", tls);
            let error = authorities(&config)
                .and_then(|authorities| trust(Client::builder(), &config.tls, &authorities))
                .and_then(|builder| identify(builder, &config))
                .unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(expected) && !text.contains("canary"), "{text}");
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::InvalidArgument, false));
        }
        let tls = TlsConfig { client_certificate_pem: certificate, client_key_pem: key, ..TlsConfig::default() };
        let error = identify(Client::builder(), &config("http://127.0.0.1:1", tls)).unwrap_err();
        assert!(error.to_string().contains("without https"), "{error}");
    }

    #[test]
    fn an_encrypted_key_is_what_it_was_before() {
        let read = |pem: &Secret, passphrase: &str| {
            PrivateKey::read(pem, Some(&Secret::new(passphrase)), "the client key", "client_key_passphrase")
        };
        let plain = read(&Secret::new(ENCRYPTED_KEY), "pass-canary").unwrap().to_pem().unwrap();
        assert!(plain.expose().starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert!(Identity::from_pem(plain.expose().as_bytes()).is_err(), "a key without its certificate");
        // To one that needs none, a passphrase does no harm.
        let same = read(&plain, "pass-canary").unwrap().to_pem().unwrap();
        assert_eq!(same.expose(), plain.expose());
        let error = read(&Secret::new(ENCRYPTED_KEY), "wrong-canary").unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains("is not its passphrase") && !text.contains("canary"), "{text}");
    }

    #[test]
    fn the_environment_adds_authorities_and_a_wrong_name_there_is_an_error() {
        let folder = std::env::temp_dir().join(format!("seakernel-authorities-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("bundle.pem");
        std::fs::write(&file, format!("# a comment\n{AUTHORITY}")).unwrap();
        let given = CertificateDer::from_pem_slice(AUTHORITY.as_bytes()).unwrap();
        for (name, value) in [
            ("SSL_CERT_FILE", file.clone()),
            ("SSL_CERT_DIR", folder.clone()),
            ("REQUESTS_CA_BUNDLE", file.clone()),
            ("REQUESTS_CA_BUNDLE", folder.clone()),
            ("CURL_CA_BUNDLE", file.clone()),
        ] {
            let read = |asked: &str| (asked == name).then(|| value.clone().into_os_string());
            assert!(from_environment(read).unwrap().contains(&given), "{name}");
        }
        for name in AUTHORITY_VARIABLES {
            let read = |asked: &str| (asked == name).then(|| OsString::from("/no/such/place"));
            let error = from_environment(read).unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
            let empty = |asked: &str| (asked == name).then(OsString::new);
            assert!(from_environment(empty).unwrap().is_empty());
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
