//! Failures that other clients of this service were known for, each under its name.

use std::time::Duration;

use seakernel::{ErrorKind, ResultStream, Session};
use seakernel_local::{Announced, Fault, FaultRule, Lz4Framing, ManifestChunks, Operation, Switches};

use crate::links::at_most;
use crate::warehouse::{NUMBERS, Warehouse, all_ids, batch_ids, ids};

/// Far more than any of these needs: what takes longer has lost a wake-up.
const DEADLINE: Duration = Duration::from_secs(60);

/// One driver took a time-out in the middle of a result for its end, and returned the rows so far as a success.
///
/// Behaviour 3, 5.
#[tokio::test]
async fn a_timeout_while_streaming_is_not_the_end_of_the_result() {
    for operation in [Operation::Download, Operation::Chunk] {
        let fault = match operation {
            Operation::Download => Fault::Stall { bytes: 1000 },
            _ => Fault::Delay { ms: 20_000 },
        };
        let rule = FaultRule::new(operation, fault).chunk(4);
        for (rule, whole) in [(rule.clone(), true), (rule.always(), false)] {
            let switches = Switches { hybrid_links_per_response: at_most(1), ..Switches::default() };
            let warehouse = Warehouse::with(switches);
            let mut config = warehouse.config();
            config.retry.max_attempts = 2;
            config.results.download_idle_timeout = Duration::from_millis(150);
            config.read_timeout = Duration::from_millis(300);
            warehouse.server.set_faults(vec![rule]);
            let mut results = warehouse.results_with(config, NUMBERS).await.unwrap();
            let read = async {
                let mut rows = 0;
                loop {
                    match results.next_batch().await {
                        Ok(Some(batch)) => rows += batch.num_rows(),
                        Ok(None) => return (rows, None),
                        Err(error) => return (rows, Some(error)),
                    }
                }
            };
            let (rows, error) = tokio::time::timeout(DEADLINE, read).await.unwrap();
            match error {
                None => assert!(whole && rows == 10_000, "{operation:?}: a success with {rows} rows"),
                Some(error) => {
                    assert!(!whole, "{operation:?}: {error}");
                    assert_eq!((error.kind(), rows), (ErrorKind::Timeout, 4000), "{operation:?}: {error}");
                }
            }
        }
    }
}

/// The last file of a LIMIT holds more rows than the limit lets through; one driver delivered them.
///
/// Behaviour 3.
#[tokio::test]
async fn limit_300000_does_not_deliver_301407_rows() {
    for total_row_count in [Announced::Exact, Announced::Absent] {
        let warehouse = Warehouse::sized(300_000, 25_000, Switches { total_row_count, ..Switches::default() });
        let surplus = FaultRule::new(Operation::Download, Fault::SurplusRows { rows: 1407 }).chunk(11).always();
        warehouse.server.set_faults(vec![surplus]);
        let mut results = warehouse.results(NUMBERS).await.unwrap();
        assert!(ids(&mut results).await.unwrap().into_iter().eq(0..300_000), "other rows");
        let statistics = results.statistics();
        assert_eq!((statistics.rows, statistics.trimmed_rows), (300_000, 1407));
    }
}

/// Links collected up front have expired long before the last of 60,000 files is read.
///
/// Behaviour 1, 2, B7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_thousand_chunks_with_links_that_live_shortly() {
    let switches = Switches {
        hybrid_links_per_response: at_most(32),
        link_lifetime_seconds: 0.5,
        strict_row_offset: true,
        manifest_chunks: ManifestChunks::Absent,
        ..Switches::default()
    };
    let warehouse = Warehouse::sized(60_000, 1, switches);
    let mut config = warehouse.config();
    // A few chunks: the links behind them wait for the reader.
    config.results.memory_budget = 64 << 10;
    config.results.compression = false;
    let mut results = warehouse.results_with(config, NUMBERS).await.unwrap();
    let mut next = 0;
    while let Some(batch) = results.next_batch().await.unwrap() {
        assert_eq!(batch_ids(&batch), [next]);
        next += 1;
        if next % 20_000 == 0 {
            // Every link that is waiting expires meanwhile.
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
    }
    let statistics = results.statistics();
    assert_eq!((next, statistics.chunks, statistics.rows), (60_000, 60_000, 60_000));
    assert!(statistics.renewals > 0, "links did expire: {statistics:?}");
    // A renewal makes up to a window of links new; otherwise each call brings 32.
    assert!(statistics.link_requests < 60_000 / 32 + 200, "{statistics:?}");
}

/// Waits for the next batch and gives up after `turns` turns of the scheduler.
async fn impatient(results: &mut ResultStream, turns: usize) -> Option<Option<i64>> {
    let patience = async {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        batch = results.next_batch() => Some(batch.unwrap().map(|batch| batch.num_rows() as i64)),
        () = patience => None,
    }
}

/// A cancelled await took a chunk with it: 20 of 30 rows came, and no error.
///
/// Behaviour 7.
#[tokio::test]
async fn a_cancelled_await_returns_30_of_30_rows() {
    let (mut cancelled, mut delivered) = (0, 0);
    for turns in 0..60 {
        let warehouse = Warehouse::sized(30, 10, Switches { store_first_byte_ms: turns % 3, ..Switches::default() });
        let fault = [Fault::Expire, Fault::Truncate { bytes: 20 }, Fault::Delay { ms: 3 }][turns as usize % 3].clone();
        warehouse.server.set_faults(vec![FaultRule::new(Operation::Download, fault).chunk(turns % 2 + 1)]);
        let mut results = warehouse.results(NUMBERS).await.unwrap();
        let mut rows = 0;
        let read = async {
            loop {
                match impatient(&mut results, turns as usize).await {
                    None => {
                        cancelled += 1;
                        tokio::task::yield_now().await;
                    }
                    Some(Some(count)) => rows += count,
                    Some(None) => return,
                }
            }
        };
        tokio::time::timeout(DEADLINE, read).await.unwrap();
        assert_eq!(rows, 30, "after waits of {turns} turns");
        delivered += 1;
    }
    assert!(cancelled > 100 && delivered == 60, "{cancelled} waits were cancelled");
}

/// The reader waits while the last chunk and the end of the chain arrive together, and nobody wakes it.
///
/// Behaviour 9, B14.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_at_the_end_of_the_stream() {
    let warehouse = Warehouse::sized(3, 1, Switches { hybrid_links_per_response: at_most(1), ..Switches::default() });
    let session = warehouse.session().await;
    for round in 0..300 {
        let read = async {
            let mut results = session.statement(NUMBERS).execute().await.unwrap().results().await.unwrap();
            if round % 3 == 1 {
                // The end is there before the reader asks for it.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let rows = ids(&mut results).await.unwrap();
            assert!(results.next_batch().await.unwrap().is_none());
            rows
        };
        let read = tokio::time::timeout(DEADLINE, read).await;
        assert_eq!(read.unwrap_or_else(|_| panic!("round {round} waits for ever")), [0, 1, 2]);
    }
}

/// A decoder that stops at the first frame that holds nothing loses every batch behind it.
///
/// Behaviour 3.
#[tokio::test]
async fn an_empty_lz4_frame_in_the_middle_of_a_body_is_not_its_end() {
    for lz4_checksums in [false, true] {
        let lz4_framing = Lz4Framing::EmptyFrameInside;
        let warehouse = Warehouse::with(Switches { lz4_framing, lz4_checksums, ..Switches::default() });
        let mut results = warehouse.results(NUMBERS).await.unwrap();
        assert_eq!(ids(&mut results).await.unwrap(), all_ids());
        let warehouse = Warehouse::inline(Switches { lz4_framing, lz4_checksums, ..Switches::default() });
        let session = Session::open(warehouse.config()).await.unwrap();
        let mut results = session.statement(NUMBERS).execute().await.unwrap().results().await.unwrap();
        assert_eq!(ids(&mut results).await.unwrap(), all_ids(), "inline");
    }
}
