//! Machines that sign in: with keys, with Azure, and with tokens of other providers. Every secret is a canary.

use std::path::PathBuf;
use std::time::Duration;

use seakernel::{
    Credentials, Error, ErrorKind, JwtAlgorithm, KeySource, Secret, Session, SessionConfig, SignIn, SignInMethod,
    SubjectToken,
};
use seakernel_local::{
    AzureOptions, Fault, FaultRule, IdentityClient, IdentityOptions, ManagedIdentity, Operation, PublicKey,
    RegisteredKey, ServerOptions,
};
use serde_json::json;

use crate::canary;
use crate::warehouse::{FEW, Warehouse, ids};

const KEY: &str = include_str!("../../src/private_key/test_keys/rsa_pbkdf2.pem");
const PUBLIC_KEY: &str = include_str!("../../src/private_key/test_keys/rsa_public.pem");
const PASSPHRASE: &str = "canary-passphrase";
const RESOURCE_ID: &str = "/subscriptions/1/workspaces/2";

fn warehouse() -> Warehouse {
    let key = RegisteredKey { pem: PublicKey::from_pem(PUBLIC_KEY).unwrap(), key_id: Some("1".to_owned()) };
    let client = IdentityClient { client_id: "app".to_owned(), client_secret: None, public_keys: vec![key] };
    let azure = AzureOptions {
        tenant_id: "tenant-1".to_owned(),
        client_id: "azure-app".to_owned(),
        client_secret: "canary-azure-secret".to_owned(),
        workspace_resource_id: Some(RESOURCE_ID.to_owned()),
        require_management_token: true,
    };
    let machine =
        ManagedIdentity { client_id: "machine".to_owned(), object_id: None, resource_id: None, is_default: false };
    Warehouse::configured(ServerOptions {
        oauth: Some(IdentityOptions {
            clients: vec![client],
            azure: Some(azure),
            managed_identity: Some(machine),
            ..IdentityOptions::default()
        }),
        ..ServerOptions::default()
    })
}

async fn open(warehouse: &Warehouse, method: SignInMethod) -> Result<Session, Error> {
    let mut sign_in = SignIn::new(method);
    sign_in.time_limit = Duration::from_secs(10);
    let (host, path) = (warehouse.server.address(), warehouse.server.http_path());
    let mut config = SessionConfig::new(host, &path, Credentials::SignIn(sign_in)).unwrap();
    config.retry = warehouse.config().retry;
    Session::open(config).await
}

async fn read(session: &Session) {
    let mut results = session.statement(FEW).execute().await.unwrap().results().await.unwrap();
    assert_eq!(ids(&mut results).await.unwrap().len(), 10);
}

fn signed(key: KeySource, passphrase: Option<&str>) -> SignInMethod {
    SignInMethod::SignedJwt {
        client_id: "app".to_owned(),
        key,
        key_id: "1".to_owned(),
        passphrase: passphrase.map(Secret::new),
        algorithm: JwtAlgorithm::Ps256,
        scopes: None,
        token_url: None,
    }
}

fn azure(warehouse: &Warehouse, secret: &str) -> SignInMethod {
    SignInMethod::AzureClientSecret {
        client_id: "azure-app".to_owned(),
        client_secret: Secret::new(secret),
        tenant_id: None,
        workspace_resource_id: Some(RESOURCE_ID.to_owned()),
        login_url: Some(warehouse.server.address().to_owned()),
    }
}

fn exchange(subject: SubjectToken, client_id: Option<&str>) -> SignInMethod {
    SignInMethod::TokenExchange { subject, client_id: client_id.map(str::to_owned), scopes: None, token_url: None }
}

fn foreign_token(warehouse: &Warehouse, issuer: &str) -> Secret {
    let serde_json::Value::Object(claims) = json!({"iss": issuer, "sub": "canary-subject", "exp": 4_000_000_000_u64})
    else {
        panic!("no object")
    };
    Secret::from(warehouse.server.foreign_token(claims).unwrap())
}

#[tokio::test]
async fn an_encrypted_key_signs_anew_for_every_attempt() {
    let warehouse = warehouse();
    let status = |code| Fault::Status { code, retry_after: None, error_code: None, body: None };
    // The provider reads the token all the same and would not take it twice.
    warehouse.server.set_faults([503, 500].map(|code| FaultRule::new(Operation::Token, status(code))).into());
    let session = open(&warehouse, signed(KeySource::Pem(Secret::new(KEY)), Some(PASSPHRASE))).await.unwrap();
    read(&session).await;
    assert_eq!((warehouse.count(Operation::Discovery), warehouse.count(Operation::Token)), (1, 3));
}

#[tokio::test]
async fn a_wrong_key_or_passphrase_is_said_before_anything_is_sent() {
    let warehouse = warehouse();
    for (key, passphrase, expected) in [
        (KeySource::Pem(Secret::new(KEY)), Some("canary-wrong"), "`key_pem` cannot be decrypted"),
        (KeySource::Pem(Secret::new(KEY)), None, "`key_pem` is encrypted"),
        (KeySource::Pem(Secret::new("canary")), None, "`key_pem` is no private key"),
        (KeySource::File(PathBuf::from("/missing/key")), None, "the file `/missing/key` cannot be read"),
    ] {
        let error = open(&warehouse, signed(key, passphrase)).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::InvalidArgument, false));
        assert!(error.to_string().contains(expected), "{error}");
        canary::look_at(&error);
    }
    assert_eq!(warehouse.count(Operation::Token), 0);
}

#[tokio::test]
async fn azure_gets_two_tokens_that_are_renewed_together() {
    let warehouse = warehouse();
    let session = open(&warehouse, azure(&warehouse, "canary-azure-secret")).await.unwrap();
    read(&session).await;
    warehouse.server.revoke_tokens();
    read(&session).await;
    assert_eq!((warehouse.count(Operation::AzureTenant), warehouse.count(Operation::AzureToken)), (1, 4));

    let error = open(&warehouse, azure(&warehouse, "canary-wrong")).await.unwrap_err();
    assert!(error.to_string().contains("AADSTS7000215"), "{error}");
    assert_eq!((error.kind(), error.http_status()), (ErrorKind::Unauthenticated, Some(401)));
    canary::look_at(&error);
}

#[tokio::test]
async fn a_managed_identity_is_asked_for_by_name() {
    let warehouse = warehouse();
    let method = |client_id: Option<&str>| SignInMethod::AzureManagedIdentity {
        client_id: client_id.map(str::to_owned),
        workspace_resource_id: Some(RESOURCE_ID.to_owned()),
        endpoint: Some(format!("{}/metadata/identity/oauth2/token", warehouse.server.address())),
    };
    read(&open(&warehouse, method(Some("machine"))).await.unwrap()).await;
    let error = open(&warehouse, method(None)).await.unwrap_err();
    assert!(error.to_string().contains("this machine has no such identity"), "{error}");
}

#[tokio::test]
async fn a_foreign_token_is_exchanged_and_an_own_one_is_not() {
    let warehouse = warehouse();
    let foreign = foreign_token(&warehouse, seakernel_local::FOREIGN_ISSUER);
    for client_id in [None, Some("app")] {
        let before = warehouse.count(Operation::Token);
        read(&open(&warehouse, exchange(SubjectToken::Fixed(foreign.clone()), client_id)).await.unwrap()).await;
        assert_eq!(warehouse.count(Operation::Token) - before, 1);
    }
    let before = warehouse.count(Operation::Token);
    let own = Secret::new(&ServerOptions::default().access_token);
    read(&open(&warehouse, exchange(SubjectToken::Fixed(own), None)).await.unwrap()).await;
    assert_eq!(warehouse.count(Operation::Token), before);
}

#[tokio::test]
async fn a_token_that_cannot_be_exchanged_is_tried_once_as_it_is_unless_it_must_be() {
    let warehouse = warehouse();
    let unknown = foreign_token(&warehouse, "https://unknown.example.com");
    let error = open(&warehouse, exchange(SubjectToken::Fixed(unknown.clone()), None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.to_string().contains("invalid_grant"), "{error}");
    assert_eq!((warehouse.count(Operation::Token), warehouse.count(Operation::OpenSession)), (2, 1));
    canary::look_at(&error);

    let error = open(&warehouse, exchange(SubjectToken::Fixed(unknown), Some("app"))).await.unwrap_err();
    assert!(error.to_string().contains("invalid_grant"), "{error}");
    assert_eq!(warehouse.count(Operation::OpenSession), 1);
    canary::look_at(&error);
}
