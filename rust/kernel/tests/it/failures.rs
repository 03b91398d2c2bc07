use std::time::Duration;

use seakernel::{Credentials, ErrorKind, RetryConfig, Session, SessionConfig};
use seakernel_local::{Fault, FaultRule, NumberOrText, Operation, Switches};

use crate::canary;
use crate::warehouse::{FEW, NUMBERS, ROWS, Warehouse, all_ids, ids};

fn status(code: u16) -> Fault {
    Fault::Status { code, retry_after: None, error_code: None, body: None }
}

/// Behaviour 8, B13.
#[tokio::test]
async fn transient_failures_of_every_idempotent_call_are_outlived() {
    let operations = [Operation::OpenSession, Operation::Poll, Operation::Chunk, Operation::Download];
    for operation in operations {
        for fault in
            [status(500), status(503), status(429), status(408), Fault::DropBeforeResponse, Fault::DropAfterHeaders]
        {
            let mut switches = seakernel_local::Switches { running_answers: 1, ..Default::default() };
            switches.hybrid_links_per_response = seakernel_local::LinkCount::AtMost(4.try_into().unwrap());
            let warehouse = Warehouse::with(switches);
            let rows = warehouse.numbers_under(vec![FaultRule::new(operation, fault.clone()).times(2)]).await;
            assert_eq!(rows.unwrap(), all_ids(), "{operation:?} {fault:?}");
        }
    }
}

/// Behaviour 8, B13.
#[tokio::test]
async fn a_body_cut_in_half_is_fetched_again() {
    for fault in [
        Fault::Truncate { bytes: 1000 },
        Fault::ShortBody { bytes: 1000 },
        Fault::Corrupt { offset: Some(40), count: 8, seed: 1 },
    ] {
        let warehouse = Warehouse::start();
        let rows = warehouse.numbers_under(vec![FaultRule::new(Operation::Download, fault.clone()).chunk(3)]).await;
        assert_eq!(rows.unwrap(), all_ids(), "{fault:?}");
    }
}

/// Behaviour 3, 10 (redirects), B13.
#[tokio::test]
async fn bad_bodies_are_typed_errors_that_name_the_chunk_and_the_session_works_on() {
    let table = [
        ("truncated body", Fault::Truncate { bytes: 1000 }, ErrorKind::Network, 4),
        ("short body", Fault::ShortBody { bytes: 1000 }, ErrorKind::DataLoss, 3),
        ("empty body", Fault::ShortBody { bytes: 0 }, ErrorKind::DataLoss, 3),
        ("corrupt body", Fault::Corrupt { offset: Some(40), count: 16, seed: 1 }, ErrorKind::DataLoss, 3),
        ("rows missing", Fault::MissingRows { rows: 1 }, ErrorKind::DataLoss, 3),
        ("a web page", Fault::Html, ErrorKind::DataLoss, 3),
        (
            "a redirect",
            Fault::Redirect { status: 302, location: "http://127.0.0.1:1/".to_owned() },
            ErrorKind::Protocol,
            1,
        ),
        ("server error", status(500), ErrorKind::Unavailable, 4),
    ];
    for (what, fault, kind, attempts) in table {
        let warehouse = Warehouse::start();
        let session = warehouse.session().await;
        warehouse.server.set_faults(vec![FaultRule::new(Operation::Download, fault).chunk(3).always()]);
        let mut results = session.statement(NUMBERS).execute().await.unwrap().results().await.unwrap();
        let error = ids(&mut results).await.unwrap_err();
        assert_eq!((error.kind(), error.chunk_index()), (kind, Some(3)), "{what}: {error}");
        assert_eq!(error.attempts(), attempts, "{what}: {error}");
        assert!(error.statement_id().is_some(), "{what}");
        assert!(error.to_string().contains("chunk 3 (rows 3000..4000)"), "{what}: {error}");
        warehouse.server.set_faults(vec![]);
        let mut results = session.statement(FEW).execute().await.unwrap().results().await.unwrap();
        assert_eq!(ids(&mut results).await.unwrap().len(), 10, "{what}");
    }
}

/// Behaviour 3.
#[tokio::test]
async fn surplus_rows_in_one_body_are_trimmed() {
    let warehouse = Warehouse::start();
    let surplus = FaultRule::new(Operation::Download, Fault::SurplusRows { rows: 1407 }).chunk(9);
    assert_eq!(warehouse.numbers_under(vec![surplus]).await.unwrap(), all_ids());
}

/// B14.
#[tokio::test]
async fn rows_before_a_failed_chunk_are_delivered_and_the_failure_stays() {
    let warehouse = Warehouse::start();
    warehouse.server.set_faults(vec![FaultRule::new(Operation::Download, status(404)).chunk(5).always()]);
    let mut results = warehouse.results(NUMBERS).await.unwrap();
    let mut rows = 0;
    let error = loop {
        match results.next_batch().await {
            Ok(batch) => rows += batch.unwrap().num_rows(),
            Err(error) => break error,
        }
    };
    assert_eq!((rows, error.kind()), (5000, ErrorKind::LinkExpired));
    assert_eq!(results.next_batch().await.unwrap_err().kind(), ErrorKind::LinkExpired);
    assert!(warehouse.eventually(|w| w.server.counters().statements == 0).await, "closed after the failure");
}

#[tokio::test]
async fn sign_in_and_routing_failures_are_told_apart() {
    let warehouse = Warehouse::start();
    let path = warehouse.server.http_path();
    let open = |path: &str, token: &str| {
        let mut config =
            SessionConfig::new(warehouse.server.address(), path, Credentials::access_token(token)).unwrap();
        config.retry.max_attempts = 1;
        Session::open(config)
    };
    let error = open(&path, "dapi-wrong").await.unwrap_err();
    assert_eq!((error.kind(), error.http_status()), (ErrorKind::PermissionDenied, Some(403)));
    let error = open("/sql/1.0/warehouses/0000", warehouse.server.access_token()).await.unwrap_err();
    assert_eq!((error.kind(), error.http_status()), (ErrorKind::NotFound, Some(404)));
    let error = open(&path, "dapi-canary\n").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    canary::look_at(&error);
}

#[tokio::test]
async fn a_dead_port_is_a_network_error_with_its_cause_and_attempts() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut config = SessionConfig::new(&address, "/sql/1.0/warehouses/w", Credentials::access_token("t")).unwrap();
    config.retry = RetryConfig { max_attempts: 3, min_wait: Duration::from_millis(1), ..RetryConfig::default() };
    let error = Session::open(config).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts(), error.is_retryable()), (ErrorKind::Network, 3, true));
    assert!(error.elapsed().is_some());
    let text = error.to_string();
    assert!(text.contains("after 3 attempts") && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn answers_that_are_not_the_protocol_are_errors() {
    for (fault, kind) in [
        (Fault::Html, ErrorKind::Protocol),
        (
            Fault::Status { code: 200, retry_after: None, error_code: None, body: Some("{}".to_owned()) },
            ErrorKind::Protocol,
        ),
        (Fault::Redirect { status: 307, location: "https://login.example/login.html".to_owned() }, ErrorKind::Protocol),
        (
            Fault::Status { code: 403, retry_after: None, error_code: Some(NumberOrText::Number(403)), body: None },
            ErrorKind::PermissionDenied,
        ),
    ] {
        let warehouse = Warehouse::start();
        warehouse.server.set_faults(vec![FaultRule::new(Operation::Execute, fault.clone())]);
        let error = warehouse.results(NUMBERS).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        if matches!(fault, Fault::Redirect { .. }) {
            assert!(error.to_string().contains("login.example:443"), "{error}");
        }
    }
}

/// Behaviour 8.
#[tokio::test]
async fn retry_after_is_waited_for() {
    let warehouse = Warehouse::start();
    let later = Fault::Status { code: 503, retry_after: Some(NumberOrText::Number(1)), error_code: None, body: None };
    let started = std::time::Instant::now();
    let rows = warehouse.numbers_under(vec![FaultRule::new(Operation::Execute, later)]).await.unwrap();
    assert_eq!(rows, all_ids());
    assert!(started.elapsed() >= Duration::from_secs(1));
}

/// Behaviour 3.
#[tokio::test]
async fn a_chunk_with_other_types_is_data_loss() {
    let warehouse = Warehouse::start();
    let error =
        warehouse.numbers_under(vec![FaultRule::new(Operation::Download, Fault::OtherType).chunk(6).always()]).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
    assert_eq!((error.chunk_index(), error.statement_id().is_some()), (Some(6), true), "{error}");
    assert_eq!(error.message(), "column `id` has type Boolean in a chunk and Int64 in the first one");
}

/// There is a limit for silence and none for the whole body.
///
/// Behaviour 5.
#[tokio::test]
async fn a_slow_body_has_the_time_it_needs_and_a_silent_one_is_fetched_again() {
    // Four files are too few to know a slow one by.
    let warehouse = Warehouse::in_chunks_of((ROWS / 4) as u64, Switches::default());
    let mut config = warehouse.config();
    config.results.download_idle_timeout = Duration::from_millis(400);
    warehouse.server.set_faults(vec![
        FaultRule::new(Operation::Download, Fault::Slow { bytes_per_second: 10_000.try_into().unwrap() }).chunk(2),
        FaultRule::new(Operation::Download, Fault::Stall { bytes: 2000 }).chunk(3),
    ]);
    let started = std::time::Instant::now();
    let mut results = warehouse.results_with(config, NUMBERS).await.unwrap();
    assert_eq!(ids(&mut results).await.unwrap(), all_ids());
    assert!(started.elapsed() > Duration::from_millis(800), "the body took longer than the limit");
    assert_eq!(results.statistics().retries, 1, "for the silent one alone");
}
