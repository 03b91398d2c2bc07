//! Files fetched in ranges while connections would be idle.

use std::num::NonZeroUsize;
use std::time::Duration;

use seakernel::{ErrorKind, Session};
use seakernel_local::{ByteCount, Fault, FaultRule, LinkCount, Operation, Switches};

use crate::warehouse::Large;

/// Behaviour 4.
#[tokio::test]
async fn few_files_are_fetched_in_ranges_over_several_connections() {
    let large = Large::in_chunks(2, Switches::default());
    let statistics = large.fetch(&large.session().await).await.unwrap();
    assert!(statistics.range_requests >= 4, "{statistics:?}");
    assert_eq!(statistics.range_requests, statistics.download_requests);
    assert_eq!(statistics.retries, 0);
    let downloads = large.downloads();
    assert!(downloads.iter().all(|request| request.status == Some(206)), "{downloads:?}");
    let bytes: u64 = downloads.iter().filter_map(|request| request.bytes).sum();
    assert_eq!(bytes, statistics.wire_bytes, "no byte was sent twice");
    let connections = downloads.iter().map(|request| request.connection).collect::<std::collections::BTreeSet<_>>();
    assert!(connections.len() > 2, "{connections:?}");
}

/// Behaviour 4.
#[tokio::test]
async fn many_files_leave_no_connection_for_ranges() {
    let large = Large::in_chunks(40, Switches::default());
    let statistics = large.fetch(&large.session().await).await.unwrap();
    assert_eq!((statistics.range_requests, statistics.download_requests), (0, 40));
}

/// Behaviour 4.
#[tokio::test]
async fn a_store_without_ranges_is_asked_once_and_remembered() {
    let large = Large::in_chunks(2, Switches { ignore_range: true, ..Switches::default() });
    let session = large.session().await;
    let first = large.fetch(&session).await.unwrap();
    assert!(first.range_requests > 0);
    let second = large.fetch(&session).await.unwrap();
    assert_eq!((second.range_requests, second.download_requests), (0, 2));
}

/// Behaviour 4.
#[tokio::test]
async fn a_signature_that_does_not_cover_ranges_is_no_expired_link() {
    let large = Large::in_chunks(2, Switches::default());
    let fault = Fault::Status { code: 403, retry_after: None, error_code: None, body: None };
    // Every request for a range of chunk 0 is refused: the plan for it has no more than eight.
    large.server().set_faults(vec![FaultRule::new(Operation::Download, fault).chunk(0).times(1)]);
    let statistics = large.fetch(&large.session().await).await.unwrap();
    assert_eq!((statistics.renewals, statistics.retries), (0, 0), "{statistics:?}");
}

#[tokio::test]
async fn declared_sizes_may_be_anything() {
    for byte_count in [ByteCount::Uncompressed, ByteCount::Absent, ByteCount::Wrong] {
        for lz4_ignored in [false, true] {
            let large = Large::in_chunks(2, Switches { byte_count, lz4_ignored, ..Switches::default() });
            let statistics = large.fetch(&large.session().await).await.unwrap();
            assert_eq!(statistics.rows, Large::ROWS, "{byte_count:?}");
        }
    }
}

/// Behaviour 4.
#[tokio::test]
async fn a_range_that_breaks_off_goes_on_from_the_byte_reached() {
    let large = Large::in_chunks(2, Switches::default());
    large.server().set_faults(vec![FaultRule::new(Operation::Download, Fault::Truncate { bytes: 300_000 }).times(3)]);
    let statistics = large.fetch(&large.session().await).await.unwrap();
    assert!(statistics.retries >= 1, "{statistics:?}");
    let downloads = large.downloads();
    let starts: Vec<u64> = downloads
        .iter()
        .filter_map(|request| request.range.as_ref()?.strip_prefix("bytes=")?.split('-').next()?.parse().ok())
        .collect();
    assert!(starts.iter().any(|start| start % (1 << 16) != 0), "{starts:?}");
    assert!(downloads.iter().any(|request| request.headers.iter().any(|name| name == "if-range")), "the same file");
}

/// Behaviour 4.
#[tokio::test]
async fn a_whole_file_goes_on_from_the_byte_reached_too() {
    let large = Large::in_chunks(40, Switches::default());
    let session = large.session().await;
    large.fetch(&session).await.unwrap();
    let before = large.downloads().len();
    large
        .server()
        .set_faults(vec![FaultRule::new(Operation::Download, Fault::Truncate { bytes: 50_000 }).chunk(7).times(1)]);
    let statistics = large.fetch(&session).await.unwrap();
    assert_eq!((statistics.retries, statistics.range_requests), (1, 1));
    let ranges: Vec<Option<String>> = large.downloads().drain(before..).map(|request| request.range).collect();
    assert_eq!(ranges.into_iter().flatten().collect::<Vec<_>>(), ["bytes=50000-"]);
}

/// Behaviour 8.
#[tokio::test]
async fn an_attempt_that_brings_bytes_starts_the_count_afresh() {
    for (chunks, attempts) in [(2, 100), (40, 2 * 40)] {
        let large = Large::in_chunks(chunks, Switches::default());
        large
            .server()
            .set_faults(vec![FaultRule::new(Operation::Download, Fault::Truncate { bytes: 70_000 }).always()]);
        let mut config = large.config();
        config.retry.max_attempts = 2;
        let statistics = large.fetch(&Session::open(config).await.unwrap()).await.unwrap();
        // More than the retry budget holds: an attempt that brings bytes is of use.
        assert!(statistics.download_requests > attempts, "{statistics:?}");
    }
}

/// Behaviour 8.
#[tokio::test]
async fn attempts_that_bring_bytes_are_bounded_by_time_and_others_by_number() {
    let large = Large::in_chunks(40, Switches::default());
    let fails = async |bytes: u64, max_elapsed: Duration| {
        large
            .server()
            .set_faults(vec![FaultRule::new(Operation::Download, Fault::Truncate { bytes }).chunk(0).always()]);
        let mut config = large.config();
        (config.retry.max_attempts, config.retry.max_elapsed) = (3, max_elapsed);
        large.fetch(&Session::open(config).await.unwrap()).await.unwrap_err()
    };
    let error = fails(70_000, Duration::ZERO).await;
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Network, 1), "{error}");
    let error = fails(1000, Duration::from_secs(60)).await;
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Network, 3), "{error}");
}

#[tokio::test]
async fn a_part_that_nobody_asked_for_is_an_error_after_a_few_attempts() {
    for chunks in [2, 40] {
        let large = Large::in_chunks(chunks, Switches::default());
        let part = Fault::Status { code: 206, retry_after: None, error_code: None, body: Some("part".to_owned()) };
        large.server().set_faults(vec![FaultRule::new(Operation::Download, part).chunk(0).always()]);
        let session = large.session().await;
        let fetch = tokio::time::timeout(Duration::from_secs(60), large.fetch(&session));
        let error = fetch.await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.chunk_index()), (ErrorKind::Protocol, Some(0)), "{error}");
        assert!(error.attempts() > 1, "{error}");
    }
}

#[tokio::test]
async fn the_first_file_is_fetched_in_ranges_although_many_follow() {
    let one_link_an_answer =
        Switches { hybrid_links_per_response: LinkCount::AtMost(NonZeroUsize::MIN), ..Switches::default() };
    let large = Large::in_chunks(4, one_link_an_answer);
    let statistics = large.fetch(&large.session().await).await.unwrap();
    assert!(statistics.range_requests >= 2, "{statistics:?}");
    let downloads = large.downloads();
    let ranged = |chunk| {
        downloads.iter().filter(|request| request.chunk_index == Some(chunk)).all(|request| request.range.is_some())
    };
    assert!(ranged(0), "{downloads:?}");
}
