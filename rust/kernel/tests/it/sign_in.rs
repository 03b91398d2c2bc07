//! Signing in: tokens of an identity provider.

use std::time::Duration;

use futures_util::future::join_all;
use seakernel::{Credentials, ErrorKind, Secret, Session, SessionConfig, SignIn, SignInMethod, SignIns};
use seakernel_local::{Fault, FaultRule, OauthClient, Operation, ServerOptions, Switches};
use tokio::time::{Instant, sleep};

use crate::canary;
use crate::warehouse::{FEW, Warehouse, ids};

const SECRET: &str = "canary-client-secret";

fn warehouse(lifetime: u32) -> Warehouse {
    Warehouse::configured(ServerOptions {
        oauth_client: Some(OauthClient { client_id: "app:1".to_owned(), client_secret: SECRET.to_owned() }),
        switches: Switches { oauth_lifetime_seconds: lifetime, ..Switches::default() },
        ..ServerOptions::default()
    })
}

/// Signs in with a client secret; the local provider is named by its address.
fn config(warehouse: &Warehouse, secret: &str, sign_ins: &SignIns) -> SessionConfig {
    let mut sign_in = SignIn::new(SignInMethod::ClientSecret {
        client_id: "app:1".to_owned(),
        client_secret: Secret::new(secret),
        scopes: None,
        token_url: Some(format!("{}/oidc/v1/token", warehouse.server.address())),
    });
    sign_in.time_limit = Duration::from_secs(3);
    let credentials = Credentials::SignIn(sign_in);
    let mut config =
        SessionConfig::new(warehouse.server.address(), &warehouse.server.http_path(), credentials).unwrap();
    config.retry = warehouse.config().retry;
    config.sign_ins = sign_ins.clone();
    config
}

#[tokio::test]
async fn sessions_that_sign_in_alike_share_one_token() {
    let warehouse = warehouse(3600);
    let sign_ins = SignIns::default();
    let opened = join_all((0..16).map(|_| Session::open(config(&warehouse, SECRET, &sign_ins)))).await;
    for session in opened {
        let mut results = session.unwrap().statement(FEW).execute().await.unwrap().results().await.unwrap();
        assert_eq!(ids(&mut results).await.unwrap().len(), 10);
    }
    assert_eq!(warehouse.count(Operation::Token), 1);
    // Without sharing each would ask for itself.
    Session::open(config(&warehouse, SECRET, &SignIns::default())).await.unwrap();
    assert_eq!(warehouse.count(Operation::Token), 2);
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end_and_seldom() {
    let warehouse = warehouse(2);
    let session = Session::open(config(&warehouse, SECRET, &SignIns::default())).await.unwrap();
    let (started, mut requests) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(5) {
        let mut results = session.statement(FEW).execute().await.unwrap().results().await.unwrap();
        assert_eq!(ids(&mut results).await.unwrap().len(), 10);
        requests += 1;
        sleep(Duration::from_millis(50)).await;
    }
    let refused = warehouse.server.requests().iter().filter(|request| request.status == Some(401)).count();
    let renewals = warehouse.count(Operation::Token);
    // After 1.5 s each, if the machine is not too busy to come to it.
    assert!((2..=5).contains(&renewals) && requests > 2 * renewals, "{renewals} tokens for {requests} requests");
    assert_eq!(refused, 0, "a token was used beyond its end");
}

#[tokio::test]
async fn a_token_that_was_revoked_is_renewed_once() {
    let warehouse = warehouse(3600);
    let session = Session::open(config(&warehouse, SECRET, &SignIns::default())).await.unwrap();
    let body = Some(r#"{"error_code":403,"message":"Invalid access token."}"#.to_owned());
    let revoked = Fault::Status { code: 403, retry_after: None, error_code: None, body };
    warehouse.server.set_faults(vec![FaultRule::new(Operation::Execute, revoked)]);
    let mut results = session.statement(FEW).execute().await.unwrap().results().await.unwrap();
    assert_eq!(ids(&mut results).await.unwrap().len(), 10);
    assert_eq!((warehouse.count(Operation::Token), warehouse.count(Operation::Execute)), (2, 2));
}

#[tokio::test]
async fn a_refusal_names_the_provider_and_what_is_wrong_and_all_who_wait_get_it() {
    let warehouse = warehouse(3600);
    let sign_ins = SignIns::default();
    let opened = join_all((0..8).map(|_| Session::open(config(&warehouse, "canary-wrong", &sign_ins)))).await;
    let host = warehouse.server.address().trim_start_matches("http://").to_owned();
    for session in opened {
        let error = session.unwrap_err();
        assert_eq!((error.kind(), error.http_status()), (ErrorKind::Unauthenticated, Some(401)));
        let text = error.to_string();
        assert!(text.contains(&format!("sign-in: {host} answered HTTP 401 invalid_client")), "{text}");
        assert!(text.contains("its secret or key is wrong") && !error.is_retryable(), "{text}");
        canary::look_at(&error);
    }
    assert_eq!(warehouse.count(Operation::Token), 1);
    assert_eq!(warehouse.count(Operation::OpenSession), 0);
}

#[tokio::test]
async fn a_provider_that_is_silent_or_away_is_named_in_time() {
    let warehouse = warehouse(3600);
    let started = Instant::now();
    warehouse.server.set_faults(vec![FaultRule::new(Operation::Token, Fault::Delay { ms: 5_000 }).always()]);
    let error = Session::open(config(&warehouse, SECRET, &SignIns::default())).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("no answer from 127.0.0.1:"), "{error}");

    let mut config = config(&warehouse, SECRET, &SignIns::default());
    config.retry.max_attempts = 2;
    warehouse.server.stop();
    let error = Session::open(config).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Network, 2));
    assert!(error.to_string().contains("sign-in: no connection to 127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn a_failure_that_passes_is_not_noticed() {
    let warehouse = warehouse(3600);
    let status = |code| Fault::Status { code, retry_after: None, error_code: None, body: None };
    warehouse.server.set_faults([503, 500].map(|code| FaultRule::new(Operation::Token, status(code))).into());
    Session::open(config(&warehouse, SECRET, &SignIns::default())).await.unwrap();
    assert_eq!(warehouse.count(Operation::Token), 3);
}
