//! Behaviour 8: what is repeated, how often, and what a failing host costs.

use std::time::{Duration, Instant};

use seakernel::{Credentials, Error, ErrorKind, RetryConfig, Session, SessionConfig};
use seakernel_local::{
    Fault, FaultRule, LinkCount, ManifestChunks, NumberOrText, Operation, Origin, RequestRecord, Switches,
};

use crate::warehouse::{FEW, NUMBERS, Warehouse, all_ids, ids};

/// Retries that a fresh client may make to one host.
const ALLOWANCE: usize = 40;
/// Downloads under way at once, the default.
const CONCURRENT: usize = 16;

fn status(code: u16) -> Fault {
    Fault::Status { code, retry_after: None, error_code: None, body: None }
}

/// A session that repeats as often as usual, with shorter waits.
async fn session(warehouse: &Warehouse) -> Session {
    let mut config = warehouse.config();
    config.retry.max_attempts = 6;
    Session::open(config).await.unwrap()
}

async fn read(session: &Session, sql: &str) -> Result<Vec<i64>, Error> {
    ids(&mut session.statement(sql).execute().await?.results().await?).await
}

/// Behaviour 8.
#[tokio::test]
async fn a_storm_of_503_costs_at_most_1_2_times_the_downloads() {
    let warehouse = Warehouse::start();
    let session = session(&warehouse).await;
    warehouse.server.set_faults(vec![FaultRule::new(Operation::Download, status(503)).always()]);
    let mut last = None;
    for _ in 0..200 {
        last = read(&session, FEW).await.err();
    }
    assert_eq!(warehouse.count(Operation::Download), 200 + ALLOWANCE);
    let error = last.unwrap();
    assert_eq!((error.kind(), error.http_status(), error.attempts()), (ErrorKind::Unavailable, Some(503), 1));
    assert!(error.is_retryable() && error.to_string().contains("its retry budget is empty"), "{error}");
}

/// Behaviour 8.
#[tokio::test]
async fn a_storm_of_503_costs_at_most_1_2_times_the_chunk_calls() {
    let warehouse = Warehouse::with(Switches {
        external_links_per_response: LinkCount::AtMost(1.try_into().unwrap()),
        hybrid_links_per_response: LinkCount::AtMost(1.try_into().unwrap()),
        manifest_chunks: ManifestChunks::Absent,
        ..Switches::default()
    });
    let session = session(&warehouse).await;
    warehouse.server.set_faults(vec![FaultRule::new(Operation::Chunk, status(503)).always()]);
    for _ in 0..200 {
        assert_eq!(read(&session, NUMBERS).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert!(warehouse.eventually(|w| w.count(Operation::CloseStatement) == 200).await);
    let of_api = |request: &RequestRecord| request.origin == Origin::Api;
    let sent = warehouse.server.requests().iter().filter(|request| of_api(request)).count();
    // A session, and for each result: execute, one chunk call, close. Those that succeed earn a fifth of a retry each.
    let without_retries = 1 + 3 * 200;
    println!("{sent} requests to the API, {without_retries} without retries");
    assert!(sent > without_retries && sent <= without_retries * 6 / 5, "{sent}");
}

/// Behaviour 8.
#[tokio::test]
async fn one_result_in_a_storm_ends_soon() {
    let warehouse = Warehouse::in_chunks_of(50, Switches::default());
    let session = session(&warehouse).await;
    warehouse.server.set_faults(vec![FaultRule::new(Operation::Download, status(503)).always()]);
    let error = read(&session, NUMBERS).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let downloads = warehouse.count(Operation::Download);
    println!("{downloads} downloads of 200 chunks");
    assert!(downloads <= CONCURRENT + ALLOWANCE + CONCURRENT, "{downloads}");
}

/// Behaviour 8.
#[tokio::test]
async fn nothing_is_repeated_once_a_chunk_has_failed_for_good() {
    let warehouse = Warehouse::start();
    let session = session(&warehouse).await;
    let later = Fault::Status { code: 503, retry_after: Some(NumberOrText::Number(60)), error_code: None, body: None };
    warehouse.server.set_faults(vec![
        FaultRule::new(Operation::Download, later).chunk(0).always(),
        FaultRule::new(Operation::Download, status(501)).chunk(3).always(),
    ]);
    let started = Instant::now();
    let error = read(&session, NUMBERS).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10), "waited for chunk 0");
    assert_eq!((error.chunk_index(), error.http_status()), (Some(0), Some(503)), "{error}");
    assert!(error.to_string().contains("another chunk"), "{error}");
}

/// Behaviour 8.
#[tokio::test]
async fn a_handful_of_failures_is_outlived_to_the_last_attempt() {
    let warehouse = Warehouse::start();
    let session = session(&warehouse).await;
    let rules = (0..8).map(|chunk| FaultRule::new(Operation::Download, status(503)).chunk(chunk).times(5));
    warehouse.server.set_faults(rules.collect());
    let mut results = session.statement(NUMBERS).execute().await.unwrap().results().await.unwrap();
    assert_eq!(ids(&mut results).await.unwrap(), all_ids());
    assert_eq!(results.statistics().retries, 40);
}

/// Behaviour 8.
#[tokio::test]
async fn after_a_storm_successes_earn_retries_again() {
    let warehouse = Warehouse::start();
    let session = session(&warehouse).await;
    warehouse.server.set_faults(vec![FaultRule::new(Operation::Download, status(503)).always()]);
    for _ in 0..10 {
        read(&session, FEW).await.unwrap_err();
    }
    let once = || vec![FaultRule::new(Operation::Download, status(503)).chunk(0)];
    warehouse.server.set_faults(once());
    assert!(read(&session, FEW).await.is_err(), "nothing is left");
    // Ten chunks: two retries.
    assert_eq!(read(&session, NUMBERS).await.unwrap(), all_ids());
    warehouse.server.set_faults(once());
    assert_eq!(read(&session, FEW).await.unwrap().len(), 10);
}

/// Behaviour 8.
#[tokio::test]
async fn connections_refused_do_not_use_up_the_budget() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut config = SessionConfig::new(&address, "/sql/1.0/warehouses/w", Credentials::access_token("t")).unwrap();
    config.retry = RetryConfig { max_attempts: 100, max_wait: Duration::from_millis(1), ..RetryConfig::default() };
    let error = Session::open(config).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Network, 100), "{error}");
}
