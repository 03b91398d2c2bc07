//! The download that the reader waits for is requested a second time when it is slow.

use std::time::{Duration, Instant};

use seakernel::Statistics;
use seakernel_local::{Fault, FaultRule, Operation, Switches};

use crate::warehouse::Large;

/// Small enough that only the reader's own waiting counts, many enough to know what is usual.
const CHUNKS: u64 = 40;
const SLOW: Duration = Duration::from_secs(8);

async fn fetch_with(faults: Vec<FaultRule>) -> (Statistics, Duration) {
    let large = Large::in_chunks(CHUNKS, Switches::default());
    let session = large.session().await;
    large.fetch(&session).await.unwrap();
    large.server().set_faults(faults);
    let started = Instant::now();
    (large.fetch(&session).await.unwrap(), started.elapsed())
}

fn slow(chunk: u64) -> FaultRule {
    FaultRule::new(Operation::Download, Fault::Delay { ms: SLOW.as_millis() as u64 }).chunk(chunk).times(1)
}

/// Behaviour 5.
#[tokio::test]
async fn a_slow_download_is_requested_again_while_the_reader_waits_for_it() {
    let (statistics, elapsed) = fetch_with(vec![slow(20)]).await;
    assert_eq!((statistics.hedged_requests, statistics.retries), (1, 0), "{statistics:?}");
    assert_eq!(statistics.download_requests, CHUNKS + 1);
    assert!(elapsed < SLOW, "{elapsed:?}");
}

/// Behaviour 5.
#[tokio::test]
async fn usual_downloads_are_requested_once() {
    let (statistics, _) = fetch_with(Vec::new()).await;
    assert_eq!((statistics.hedged_requests, statistics.download_requests), (0, CHUNKS), "{statistics:?}");
}

/// Behaviour 5.
#[tokio::test]
async fn where_nothing_is_known_of_the_store_nothing_is_requested_twice() {
    let large = Large::in_chunks(4, Switches { ignore_range: true, ..Switches::default() });
    let session = large.session().await;
    large.server().set_faults(vec![FaultRule::new(Operation::Download, Fault::Delay { ms: 1500 }).chunk(1).times(1)]);
    let statistics = large.fetch(&session).await.unwrap();
    assert_eq!(statistics.hedged_requests, 0, "{statistics:?}");
}

/// Behaviour 5.
#[tokio::test]
async fn a_store_that_is_slow_throughout_does_not_carry_everything_twice() {
    // Fewer than there are connections: the second request takes one that is free.
    let faults = (8..30).map(slow).collect();
    let (statistics, _) = fetch_with(faults).await;
    assert!((1..=CHUNKS / 8).contains(&statistics.hedged_requests), "{statistics:?}");
}
