//! Every test looks for secrets, see [`canary`]; these say what is looked for, and go where things fail.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, ready};

use seakernel::{Credentials, Demand, ErrorKind, Grant, Parameter, Secret, Session, TokenSource};
use seakernel_local::{Fault, FaultRule, Operation, Switches};

use crate::canary;
use crate::warehouse::{NUMBERS, Warehouse, ids};

/// Gives a token that is refused, or panics.
struct Source {
    panics: bool,
}

impl TokenSource for Source {
    fn grant(&self, _demand: Demand) -> BoxFuture<'_, Result<Grant, Box<dyn std::error::Error + Send + Sync>>> {
        assert!(!self.panics, "the source has a fault of its own");
        ready(Ok(Grant::of(Secret::new("dapi-canary-renewed")))).boxed()
    }
}

#[tokio::test]
async fn every_secret_is_marked() {
    let link_headers = BTreeMap::from([("x-secret".to_owned(), canary::HEADER.to_owned())]);
    let warehouse = Warehouse::with(Switches { link_headers, ..Switches::default() });
    let mut results = warehouse.results(NUMBERS).await.unwrap();
    ids(&mut results).await.unwrap();
    let sent = warehouse.engine.statements().remove(0).parameters.remove(0).value.unwrap();
    for secret in [warehouse.server.access_token(), canary::HEADER, sent.as_str(), "GET /a?X-Amz-Signature=1"] {
        assert!(canary::mark_in(secret).is_some(), "{secret}");
    }
    let downloads: Vec<_> =
        warehouse.server.requests().into_iter().filter(|r| r.origin == seakernel_local::Origin::Storage).collect();
    assert!(downloads.iter().all(|request| request.query.contains_key("X-Amz-Signature")), "links are signed so");
    let log = canary::log_of(results.statement_id());
    assert!(log.iter().any(|line| line.contains("chunk fetched")));
    assert!(log.iter().any(|line| line.contains("result read")));
    assert!(canary::seen_below_the_kernel(), "the log of the HTTP client is looked at too");
}

#[tokio::test]
async fn no_secret_appears_where_things_fail() {
    let faults = [Fault::Expire, Fault::DropBeforeResponse, Fault::Truncate { bytes: 10 }, Fault::Html];
    for fault in faults {
        let link_headers = BTreeMap::from([("x-secret".to_owned(), canary::HEADER.to_owned())]);
        let warehouse = Warehouse::with(Switches { link_headers, ..Switches::default() });
        let session = warehouse.session().await;
        warehouse.server.set_faults(vec![FaultRule::new(Operation::Download, fault).chunk(2).always()]);
        let statement = session.statement(NUMBERS).bind(Parameter::positional("BINARY", Some(canary::PARAMETER)));
        canary::look_at(&statement);
        let executed = statement.execute().await.unwrap();
        canary::look_at(&executed);
        let mut results = executed.results().await.unwrap();
        canary::look_at(&results);
        ids(&mut results).await.unwrap_err();
        canary::look_at(&results);
    }
    let warehouse = Warehouse::start();
    let wrong = Credentials::access_token("dapi-canary-wrong");
    canary::look_at(&wrong);
    let config =
        seakernel::SessionConfig::new(warehouse.server.address(), &warehouse.server.http_path(), wrong).unwrap();
    canary::look_at(&config);
    let error = Session::open(config).await.unwrap_err();
    canary::look_at(&error);
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let unauthenticated = Fault::Status { code: 401, retry_after: None, error_code: None, body: None };
    warehouse.server.set_faults(vec![FaultRule::new(Operation::OpenSession, unauthenticated)]);
    for panics in [false, true] {
        let credentials = Credentials::TokenSource(Arc::new(Source { panics }));
        canary::look_at(&credentials);
        let config =
            seakernel::SessionConfig::new(warehouse.server.address(), &warehouse.server.http_path(), credentials);
        let error = Session::open(config.unwrap()).await.unwrap_err();
        canary::look_at(&error);
        assert!(!format!("{error:?}").contains("fault of its own"), "a panic may tell anything");
    }
}

#[tokio::test]
async fn what_a_server_repeats_is_not_told() {
    let warehouse = Warehouse::start();
    let token = warehouse.server.access_token().to_owned();
    canary::look_for("own-header-canary");
    let mut config = warehouse.config();
    config.requests.headers = vec![("x-own".to_owned(), Secret::new("own-header-canary"))];
    let echo = format!("Bearer {token} and own-header-canary");
    let json = format!(r#"{{"error_code":"{token}","message":"no such {echo}","details":["{echo}"]}}"#);
    let page = format!("<html><title>{echo}</title></html>");
    for body in [json, page, echo] {
        let fault = Fault::Status { code: 400, retry_after: None, error_code: None, body: Some(body) };
        warehouse.server.set_faults(vec![FaultRule::new(Operation::OpenSession, fault)]);
        let error = Session::open(config.clone()).await.unwrap_err();
        canary::look_at(&error);
        let text = format!("{error} {error:?} {:?}", error.error_code());
        assert!(text.contains("Bearer *** and ***") && !text.contains(&token), "{text}");
    }
    // Of a statement that has run and failed.
    warehouse.server.set_faults(Vec::new());
    let session = Session::open(config).await.unwrap();
    let error = session.statement(format!("SELECT raise_error('{token}')")).execute().await.unwrap_err();
    canary::look_at(&error);
    assert!(error.to_string().contains("***") && !error.to_string().contains(&token), "{error}");
}
