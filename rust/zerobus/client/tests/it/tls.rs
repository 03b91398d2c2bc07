//! The way through TLS.

use std::path::Path;
use std::process::Command;

use seakernel_zerobus::{WrapperConfiguration, ZerobusWrapper};
use seakernel_zerobus_local::TlsIdentity;

use super::*;

/// A server whose authority no system knows; good for a hundred years.
fn behind_tls() -> ZerobusServer {
    let tls = TlsIdentity {
        certificate_pem: include_str!("server.pem").to_owned(),
        key_pem: include_str!("server_key.pem").to_owned(),
    };
    let server = ZerobusServer::start(ServerOptions { tls: Some(tls), ..ServerOptions::default() }).unwrap();
    server.create_table(TABLE, &columns()).unwrap();
    server
}

#[tokio::test]
async fn an_authority_of_our_own_is_trusted() {
    let server = behind_tls();
    let authority = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/authority.pem");
    let config = WrapperConfiguration { tls_ca_file: Some(authority), ..config(&server) };
    let wrapper = ZerobusWrapper::new(config).await.unwrap();
    let result = send(&wrapper, batch(0..1000)).await;
    assert_eq!((result.successful_count, result.error), (1000, None));
    assert_stored_once(&server, 0..1000);
    wrapper.shutdown().await.unwrap();
    assert_eq!((server.log().half_closes, server.log().resets), (1, 0));
}

#[test]
fn an_authority_of_our_own_suffices_where_the_system_has_none() {
    let none = std::env::temp_dir().join(format!("zerobus-no-authorities-{}", std::process::id()));
    std::fs::create_dir_all(&none).unwrap();
    // In a process of its own, for environments are shared by all tests.
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "tls::an_authority_of_our_own_is_trusted"]);
    let outcome = child.env_remove("SSL_CERT_FILE").env("SSL_CERT_DIR", &none).output().unwrap();
    std::fs::remove_dir(&none).unwrap();
    let text = String::from_utf8_lossy(&outcome.stdout);
    assert!(outcome.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
async fn an_unknown_authority_is_not() {
    let server = behind_tls();
    let wrapper = ZerobusWrapper::new(config(&server).with_retry_config(1, 1, 1)).await.unwrap();
    let error = send(&wrapper, batch(0..2)).await.error.unwrap();
    assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
    assert_eq!(server.log().opens, 0);
}

#[tokio::test]
async fn a_file_without_an_authority_is_told_at_once() {
    let server = server();
    let folder = std::env::temp_dir().join(format!("zerobus-authorities-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let broken = include_str!("authority.pem").replacen("MII", "AAA", 1);
    for (name, content, expected) in [
        ("nowhere.pem", None, "cannot be read: "),
        ("empty.pem", Some(""), "no `BEGIN CERTIFICATE` block"),
        ("cut.pem", Some("-----BEGIN CERTIFICATE-----\nMII"), "is not PEM"),
        ("broken.pem", Some(broken.as_str()), "no certificate"),
    ] {
        let path = folder.join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        // For the token endpoint alone as well.
        for endpoint in ["https://localhost:1", server.endpoint()] {
            let (zerobus_endpoint, tls_ca_file) = (endpoint.to_owned(), Some(path.clone()));
            let config = WrapperConfiguration { zerobus_endpoint, tls_ca_file, ..config(&server) };
            let error = ZerobusWrapper::new(config).await.unwrap_err();
            assert_eq!(error.error_type(), "ConfigurationError");
            let text = error.to_string();
            assert!(
                text.contains(&format!("`tls_ca_file`: `{}`", path.display())) && text.contains(expected),
                "{text}"
            );
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
