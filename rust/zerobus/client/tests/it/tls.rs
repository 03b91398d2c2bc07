//! The way through TLS.

use std::path::Path;

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
    let config = WrapperConfiguration {
        zerobus_endpoint: "https://localhost:1".to_owned(),
        tls_ca_file: Some("/no/such/file".into()),
        ..config(&server)
    };
    let error = ZerobusWrapper::new(config).await.unwrap_err();
    assert_eq!(error.error_type(), "ConfigurationError");
    assert!(error.to_string().contains("/no/such/file"), "{error}");
}
