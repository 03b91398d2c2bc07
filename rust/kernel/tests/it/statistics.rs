//! Behaviour 12: what a result has cost.

use std::time::Duration;

use seakernel::{ErrorKind, Session, Statistics};
use seakernel_local::{Fault, FaultRule, Operation, Switches};

use crate::canary;
use crate::warehouse::{NUMBERS, Warehouse, all_ids, ids};

fn status(code: u16) -> Fault {
    Fault::Status { code, retry_after: None, error_code: None, body: None }
}

async fn statistics_under(faults: Vec<FaultRule>) -> (Result<Vec<i64>, seakernel::Error>, Statistics) {
    let warehouse = Warehouse::start();
    warehouse.server.set_faults(faults);
    let mut results = warehouse.results(NUMBERS).await.unwrap();
    let rows = ids(&mut results).await;
    assert_eq!(results.statistics().download_requests, warehouse.count(Operation::Download) as u64);
    (rows, results.statistics())
}

/// Behaviour 12.
#[tokio::test]
async fn a_retry_counts_when_a_request_is_repeated() {
    let (rows, statistics) =
        statistics_under(vec![FaultRule::new(Operation::Download, status(503)).chunk(3).times(2)]).await;
    assert_eq!((rows.unwrap(), statistics.retries, statistics.download_requests), (all_ids(), 2, 12));
    // Four attempts are three retries.
    let (rows, statistics) =
        statistics_under(vec![FaultRule::new(Operation::Download, status(503)).chunk(9).always()]).await;
    assert_eq!(rows.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!((statistics.retries, statistics.download_requests), (3, 13));
    let (rows, statistics) = statistics_under(vec![FaultRule::new(Operation::Download, status(501)).chunk(9)]).await;
    assert!(rows.is_err());
    assert_eq!(statistics.retries, 0, "nothing was repeated");
}

/// Behaviour 12.
#[tokio::test]
async fn refused_bodies_are_not_among_the_decoded_bytes() {
    let (_, undisturbed) = statistics_under(vec![]).await;
    for fault in [Fault::MissingRows { rows: 1 }, Fault::ShortBody { bytes: 1000 }] {
        let (rows, statistics) =
            statistics_under(vec![FaultRule::new(Operation::Download, fault.clone()).chunk(3)]).await;
        assert_eq!((rows.unwrap(), statistics.retries), (all_ids(), 1), "{fault:?}");
        assert_eq!(statistics.decoded_bytes, undisturbed.decoded_bytes, "{fault:?}");
        assert!(statistics.wire_bytes > undisturbed.wire_bytes, "{fault:?}");
    }
}

/// Behaviour 12.
#[tokio::test]
async fn a_reader_of_statistics_follows_the_result_and_outlives_it() {
    let warehouse = Warehouse::start();
    let mut results = warehouse.results(NUMBERS).await.unwrap();
    let reader = results.statistics_reader();
    assert_eq!(reader.read().rows, 0);
    results.next_batch().await.unwrap().unwrap();
    assert!((1..10_000).contains(&reader.read().rows));
    ids(&mut results).await.unwrap();
    assert_eq!(reader.read(), results.statistics());
    drop(results);
    assert_eq!((reader.read().rows, reader.read().chunks), (10_000, 10));
}

/// Behaviour 12.
#[tokio::test]
async fn waits_of_the_reader_and_for_memory_are_told() {
    let slow = Warehouse::with(Switches { store_first_byte_ms: 200, ..Switches::default() });
    let mut results = slow.results(NUMBERS).await.unwrap();
    ids(&mut results).await.unwrap();
    let statistics = results.statistics();
    assert!(statistics.reader_wait >= Duration::from_millis(150), "{statistics:?}");
    assert!(statistics.memory_wait < Duration::from_millis(100), "{statistics:?}");

    let warehouse = Warehouse::start();
    let mut config = warehouse.config();
    config.results.memory_budget = 1;
    let session = Session::open(config).await.unwrap();
    let mut results = session.statement(NUMBERS).execute().await.unwrap().results().await.unwrap();
    // All but one chunk wait until this reader wants them.
    tokio::time::sleep(Duration::from_millis(300)).await;
    ids(&mut results).await.unwrap();
    let statistics = results.statistics();
    assert!(statistics.memory_wait >= Duration::from_millis(250), "{statistics:?}");
    assert!(statistics.reader_wait < statistics.memory_wait, "{statistics:?}");
}

/// Behaviour 12.
#[tokio::test]
async fn a_wait_that_is_given_up_counts() {
    let warehouse = Warehouse::start();
    warehouse.server.set_faults(vec![FaultRule::new(Operation::Download, Fault::Delay { ms: 400 }).chunk(1)]);
    let mut results = warehouse.results(NUMBERS).await.unwrap();
    let mut gave_up = 0;
    loop {
        match tokio::time::timeout(Duration::from_millis(20), results.next_batch()).await {
            Ok(batch) if batch.as_ref().unwrap().is_none() => break,
            Ok(_) => {}
            Err(_) => gave_up += 1,
        }
    }
    let statistics = results.statistics();
    assert!(gave_up > 5 && statistics.reader_wait >= gave_up * Duration::from_millis(20), "{gave_up} {statistics:?}");
}

/// Behaviour 12.
#[tokio::test]
async fn one_log_line_tells_it_all() {
    let warehouse = Warehouse::start();
    let mut results = warehouse.results(NUMBERS).await.unwrap();
    ids(&mut results).await.unwrap();
    let log = canary::log_of(results.statement_id());
    let lines: Vec<_> = log.iter().filter(|line| line.contains("result read")).collect();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    for field in [
        "rows",
        "chunks",
        "wire_bytes",
        "decoded_bytes",
        "link_requests",
        "renewals",
        "download_requests",
        "range_requests",
        "hedged_requests",
        "retries",
        "trimmed_rows",
        "reader_wait_ms",
        "memory_wait_ms",
        "truncated",
    ] {
        assert!(line.contains(&format!(" {field}=")), "{field} in {line}");
    }
}
