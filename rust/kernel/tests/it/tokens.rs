//! Behaviour 8: tokens that are renewed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use seakernel::{Credentials, Demand, Error, ErrorKind, Grant, Secret, Session, SessionConfig, TokenSource};
use seakernel_local::{Fault, FaultRule, OauthClient, Operation, Origin, RequestRecord, ServerOptions, Switches};

use crate::canary;
use crate::warehouse::{FEW, NUMBERS, Warehouse, all_ids, ids};

type Answer = Result<Grant, Box<dyn std::error::Error + Send + Sync>>;

fn status(code: u16) -> Fault {
    Fault::Status { code, retry_after: None, error_code: None, body: None }
}

fn warehouse() -> Warehouse {
    Warehouse::configured(ServerOptions {
        oauth_client: Some(OauthClient { client_id: "id".to_owned(), client_secret: "secret".to_owned() }),
        inline_bytes: 0,
        chunk_rows: Some(1000),
        ..ServerOptions::default()
    })
}

/// Tokens of the warehouse's own token endpoint.
struct Issued {
    address: String,
    http: reqwest::Client,
    current: Mutex<Secret>,
    renewals: AtomicUsize,
    under_way: AtomicUsize,
}

impl Issued {
    async fn start(warehouse: &Warehouse) -> Arc<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let source = Self {
            address: warehouse.server.address().to_owned(),
            http: reqwest::Client::new(),
            current: Mutex::new(Secret::new("")),
            renewals: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
        };
        source.renew().await;
        Arc::new(source)
    }

    fn current(&self) -> MutexGuard<'_, Secret> {
        self.current.lock().unwrap()
    }

    async fn renew(&self) {
        let form = "grant_type=client_credentials&client_id=id&client_secret=secret";
        let answer = self.http.post(format!("{}/oidc/v1/token", self.address)).body(form).send().await.unwrap();
        let answer: serde_json::Value = answer.json().await.unwrap();
        *self.current() = Secret::new(answer["access_token"].as_str().unwrap());
    }

    /// Puts a token in place that the warehouse refuses.
    async fn expire(&self, warehouse: &Warehouse) {
        warehouse.server.set_switches(Switches { oauth_lifetime_seconds: 0, ..Switches::default() });
        self.renew().await;
        warehouse.server.set_switches(Switches { oauth_lifetime_seconds: 3600, ..Switches::default() });
    }

    fn renewals(&self) -> usize {
        self.renewals.load(Ordering::SeqCst)
    }
}

impl TokenSource for Issued {
    fn grant(&self, demand: Demand) -> BoxFuture<'_, Answer> {
        async move {
            let rejected = demand.rejected.clone();
            assert_eq!(self.under_way.fetch_add(1, Ordering::SeqCst), 0, "two calls at once");
            if rejected.is_some() {
                assert_eq!(rejected, Some(self.current().clone()), "another token than the last one");
                self.renewals.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(50)).await;
                self.renew().await;
            }
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            Ok(Grant::of(self.current().clone()))
        }
        .boxed()
    }
}

fn config<S: TokenSource + 'static>(warehouse: &Warehouse, source: &Arc<S>) -> SessionConfig {
    let credentials = Credentials::TokenSource(Arc::<S>::clone(source));
    let mut config =
        SessionConfig::new(warehouse.server.address(), &warehouse.server.http_path(), credentials).unwrap();
    config.retry = warehouse.config().retry;
    config
}

async fn read(session: &Session, sql: &str) -> Result<Vec<i64>, Error> {
    ids(&mut session.statement(sql).execute().await?.results().await?).await
}

fn with_status(warehouse: &Warehouse, operation: Operation, status: u16) -> usize {
    let wanted = |request: &RequestRecord| request.operation == Some(operation) && request.status == Some(status);
    warehouse.server.requests().iter().filter(|request| wanted(request)).count()
}

/// Behaviour 8.
#[tokio::test]
async fn a_401_renews_the_token_once() {
    let warehouse = warehouse();
    let source = Issued::start(&warehouse).await;
    source.expire(&warehouse).await;
    let session = Session::open(config(&warehouse, &source)).await.unwrap();
    assert_eq!((source.renewals(), warehouse.count(Operation::OpenSession)), (1, 2));
    source.expire(&warehouse).await;
    // A statement that was refused with 401 did not run: it is sent once more, and runs once.
    assert_eq!(read(&session, NUMBERS).await.unwrap(), all_ids());
    assert_eq!((source.renewals(), warehouse.count(Operation::Execute)), (2, 2));
    assert_eq!(with_status(&warehouse, Operation::Execute, 401), 1);
    assert_eq!(warehouse.engine.statements().len(), 1);
}

/// Behaviour 8.
#[tokio::test]
async fn many_401_at_once_make_one_renewal() {
    let warehouse = warehouse();
    let source = Issued::start(&warehouse).await;
    let session = Session::open(config(&warehouse, &source)).await.unwrap();
    source.expire(&warehouse).await;
    let results = join_all((0..20).map(|_| read(&session, FEW))).await;
    assert!(results.into_iter().all(|rows| rows.unwrap().len() == 10));
    assert_eq!(source.renewals(), 1);
    assert!(with_status(&warehouse, Operation::Execute, 401) > 1, "the test shows nothing");
}

/// Behaviour 8.
#[tokio::test]
async fn a_second_401_is_final() {
    let warehouse = warehouse();
    let source = Issued::start(&warehouse).await;
    let session = Session::open(config(&warehouse, &source)).await.unwrap();
    warehouse.server.set_faults(vec![FaultRule::new(Operation::Execute, status(401)).always()]);
    let error = read(&session, FEW).await.unwrap_err();
    assert_eq!((error.kind(), error.http_status(), error.attempts()), (ErrorKind::Unauthenticated, Some(401), 2));
    assert!(!error.is_retryable() && error.to_string().contains("the renewed token was refused too"), "{error}");
    assert_eq!((source.renewals(), warehouse.count(Operation::Execute)), (1, 2));
}

/// Behaviour 8.
#[tokio::test]
async fn a_fixed_token_is_not_renewed() {
    let warehouse = warehouse();
    let session = warehouse.session().await;
    warehouse.server.set_faults(vec![FaultRule::new(Operation::Execute, status(401))]);
    let error = read(&session, FEW).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts(), error.is_retryable()), (ErrorKind::Unauthenticated, 1, false));
    assert_eq!(warehouse.count(Operation::Execute), 1);
}

/// Behaviour 8.
#[tokio::test]
async fn renewing_happens_inside_the_retry_loop() {
    let warehouse = warehouse();
    let source = Issued::start(&warehouse).await;
    let session = Session::open(config(&warehouse, &source)).await.unwrap();
    let rules = [503, 401, 503].into_iter().map(|code| FaultRule::new(Operation::Poll, status(code)));
    warehouse.server.set_faults(rules.collect());
    warehouse.server.set_switches(Switches { running_answers: 1, ..Switches::default() });
    assert_eq!(read(&session, FEW).await.unwrap().len(), 10);
    assert_eq!((source.renewals(), warehouse.count(Operation::Poll)), (1, 4));
}

/// Behaviour 8.
#[tokio::test]
async fn no_token_goes_to_storage() {
    let warehouse = warehouse();
    let source = Issued::start(&warehouse).await;
    for session in [warehouse.session().await, Session::open(config(&warehouse, &source)).await.unwrap()] {
        read(&session, NUMBERS).await.unwrap();
    }
    let requests = warehouse.server.requests();
    assert_eq!(requests.iter().filter(|request| request.origin == Origin::Storage).count(), 20);
    for request in requests.iter().filter(|request| request.operation != Some(Operation::Token)) {
        assert_eq!(request.authorization, request.origin == Origin::Api, "{request:?}");
    }
}

/// Behaviour 8.
#[tokio::test]
async fn a_dropped_request_does_not_break_off_a_renewal() {
    let warehouse = warehouse();
    let source = Issued::start(&warehouse).await;
    let session = Session::open(config(&warehouse, &source)).await.unwrap();
    source.expire(&warehouse).await;
    let dropped = tokio::spawn({
        let session = session.clone();
        async move { read(&session, FEW).await }
    });
    while source.renewals() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    dropped.abort();
    assert_eq!(read(&session, FEW).await.unwrap().len(), 10);
    assert_eq!(source.renewals(), 1);
}

/// Answers with whatever it holds.
struct Canned(fn() -> Answer);

impl TokenSource for Canned {
    fn grant(&self, _demand: Demand) -> BoxFuture<'_, Answer> {
        async { (self.0)() }.boxed()
    }
}

/// Behaviour 8.
#[tokio::test]
async fn a_source_that_fails_is_an_error_with_its_cause() {
    let warehouse = warehouse();
    let table: [(Canned, ErrorKind, &str); 4] = [
        (
            Canned(|| Err("the vault is closed".into())),
            ErrorKind::Unauthenticated,
            "no token could be had: the vault is closed",
        ),
        (Canned(|| panic!("a fault of its own")), ErrorKind::Internal, "the token source ended without an answer"),
        (Canned(|| Ok(Grant::of(Secret::new("")))), ErrorKind::InvalidArgument, "the access token is empty"),
        (Canned(|| Ok(Grant::of(Secret::new("canary\n")))), ErrorKind::InvalidArgument, "perhaps a line break"),
    ];
    for (source, kind, text) in table {
        let error = Session::open(config(&warehouse, &Arc::new(source))).await.unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(text), "{error}");
        assert!(!format!("{error:?}").contains("of its own"), "{error:?}");
        canary::look_at(&error);
    }
    assert_eq!(warehouse.count(Operation::OpenSession), 0, "nothing was sent without a token");
}
