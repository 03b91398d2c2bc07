use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use seakernel::{ErrorKind, Session};
use seakernel_local::{
    Announced, ByteCount, Fault, FaultRule, LinkCount, Lz4Framing, ManifestChunks, NextChunkIndex, Operation, Origin,
    Switches,
};

use crate::canary;
use crate::warehouse::{CHUNKS, NUMBERS, ROWS, Warehouse, all_ids, ids};

pub(crate) fn at_most(links: usize) -> LinkCount {
    LinkCount::AtMost(links.try_into().unwrap())
}

fn links_per_answer(count: usize) -> Switches {
    Switches { hybrid_links_per_response: at_most(count), ..Switches::default() }
}

/// The chunk calls received, by chunk: index and row offset.
fn chunk_calls(warehouse: &Warehouse) -> Vec<(u64, Option<i64>)> {
    let requests = warehouse.server.requests();
    let calls = requests.iter().filter(|request| request.operation == Some(Operation::Chunk));
    let mut calls: Vec<_> = calls.map(|request| (request.chunk_index.unwrap(), request.row_offset)).collect();
    calls.sort_unstable();
    calls
}

/// Behaviour 1, B1, B2, B4.
#[tokio::test]
async fn every_chunk_call_carries_the_right_row_offset_and_none_is_made_twice() {
    for per_answer in [1, 3, 4, 100] {
        let warehouse = Warehouse::with(Switches { strict_row_offset: true, ..links_per_answer(per_answer) });
        let mut results = warehouse.results(NUMBERS).await.unwrap();
        assert_eq!(ids(&mut results).await.unwrap(), all_ids());
        let expected: Vec<(u64, Option<i64>)> = (1..CHUNKS)
            .filter(|index| (*index as usize).is_multiple_of(per_answer))
            .map(|index| (index as u64, Some(index * ROWS / CHUNKS)))
            .collect();
        assert_eq!(chunk_calls(&warehouse), expected, "{per_answer} links an answer");
        assert_eq!(warehouse.count(Operation::Download), CHUNKS as usize);
    }
}

/// Behaviour 1, B5, B6.
#[tokio::test]
async fn chunk_counts_are_never_believed() {
    for total_chunk_count in [Announced::Absent, Announced::Zero, Announced::TooSmall, Announced::TooLarge] {
        for manifest_chunks in [ManifestChunks::Exact, ManifestChunks::Absent, ManifestChunks::Partial] {
            for null_next_chunk_index in [false, true] {
                let warehouse = Warehouse::with(Switches {
                    total_chunk_count,
                    manifest_chunks,
                    null_next_chunk_index,
                    ..links_per_answer(3)
                });
                let mut results = warehouse.results(NUMBERS).await.unwrap();
                assert_eq!(ids(&mut results).await.unwrap(), all_ids(), "{total_chunk_count:?} {manifest_chunks:?}");
            }
        }
    }
}

/// Behaviour 1, B4.
#[tokio::test]
async fn the_next_chunk_may_be_named_beside_the_links() {
    for next_chunk_index in [NextChunkIndex::Link, NextChunkIndex::LinkAndTop, NextChunkIndex::Top] {
        let warehouse = Warehouse::with(Switches { next_chunk_index, ..links_per_answer(2) });
        let mut results = warehouse.results(NUMBERS).await.unwrap();
        assert_eq!(ids(&mut results).await.unwrap(), all_ids(), "{next_chunk_index:?}");
    }
}

/// Behaviour 3.
#[tokio::test]
async fn bodies_in_every_wrapping_and_with_any_declared_size() {
    for lz4_framing in [Lz4Framing::PerMessage, Lz4Framing::Single, Lz4Framing::EmptyFrameInside] {
        for (lz4_checksums, lz4_ignored) in [(false, false), (true, false), (false, true)] {
            for byte_count in [ByteCount::Compressed, ByteCount::Uncompressed, ByteCount::Absent, ByteCount::Wrong] {
                let warehouse = Warehouse::with(Switches {
                    lz4_framing,
                    lz4_checksums,
                    lz4_ignored,
                    byte_count,
                    ..Switches::default()
                });
                let mut results = warehouse.results(NUMBERS).await.unwrap();
                assert_eq!(ids(&mut results).await.unwrap(), all_ids(), "{lz4_framing:?} {lz4_ignored} {byte_count:?}");
            }
        }
    }
}

/// Behaviour 3.
#[tokio::test]
async fn surplus_rows_of_a_body_are_trimmed_and_counted() {
    let warehouse = Warehouse::with(Switches { surplus_rows: 7, ..Switches::default() });
    let mut results = warehouse.results(NUMBERS).await.unwrap();
    assert_eq!(ids(&mut results).await.unwrap(), all_ids());
    assert_eq!(results.statistics().trimmed_rows, 7 * CHUNKS as u64);
}

/// Behaviour 3.
#[tokio::test]
async fn another_total_than_announced_is_data_loss() {
    for total_row_count in [Announced::TooSmall, Announced::TooLarge] {
        let warehouse = Warehouse::with(Switches { total_row_count, ..Switches::default() });
        let mut results = warehouse.results(NUMBERS).await.unwrap();
        let error = ids(&mut results).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss);
        assert!(error.message().contains("10000 rows"), "{error}");
        let again = results.next_batch().await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::DataLoss, "an error is final");
    }
}

/// Behaviour 2, B3.
#[tokio::test]
async fn an_expired_link_is_renewed_by_clock_or_by_the_stores_answer() {
    // By clock: links that live shorter than the margin are renewed before use, and then used.
    let warehouse = Warehouse::with(Switches { link_lifetime_seconds: 5.0, ..Switches::default() });
    let mut results = warehouse.results(NUMBERS).await.unwrap();
    assert_eq!(ids(&mut results).await.unwrap(), all_ids());
    // By answer, as each cloud words it.
    for cloud in [seakernel_local::Cloud::Aws, seakernel_local::Cloud::Azure, seakernel_local::Cloud::Gcp] {
        let warehouse = Warehouse::with(Switches { cloud, ..Switches::default() });
        let expired = FaultRule::new(Operation::Download, Fault::Expire).chunk(4).times(2);
        assert_eq!(warehouse.numbers_under(vec![expired]).await.unwrap(), all_ids(), "{cloud:?}");
        assert_eq!(chunk_calls(&warehouse), [(4, Some(4000)), (4, Some(4000))]);
    }
}

/// Behaviour 2, B9.
#[tokio::test]
async fn links_that_expire_together_are_renewed_by_few_calls() {
    let warehouse = Warehouse::start();
    let expired = (1..9).map(|index| FaultRule::new(Operation::Download, Fault::Expire).chunk(index));
    assert_eq!(warehouse.numbers_under(expired.collect()).await.unwrap(), all_ids());
    let calls = chunk_calls(&warehouse).len();
    assert!((1..=4).contains(&calls), "{calls} calls for 8 links");
    let mut downloads: Vec<u64> = warehouse
        .server
        .requests()
        .iter()
        .filter(|r| r.operation == Some(Operation::Download))
        .filter_map(|r| r.chunk_index)
        .collect();
    downloads.sort_unstable();
    downloads.dedup();
    assert_eq!(downloads.len(), CHUNKS as usize);
}

/// Behaviour 1.
#[tokio::test]
async fn links_are_resolved_concurrently_where_the_manifest_lists_the_chunks() {
    for (manifest_chunks, limit_ms) in [(ManifestChunks::Exact, 700.0), (ManifestChunks::Absent, f64::INFINITY)] {
        let warehouse = Warehouse::with(Switches { manifest_chunks, ..links_per_answer(1) });
        let slow = FaultRule::new(Operation::Chunk, Fault::Delay { ms: 100 }).always();
        assert_eq!(warehouse.numbers_under(vec![slow]).await.unwrap(), all_ids());
        let requests = warehouse.server.requests();
        let times: Vec<f64> =
            requests.iter().filter(|r| r.operation == Some(Operation::Chunk)).map(|r| r.offset_ms).collect();
        assert_eq!(times.len(), CHUNKS as usize - 1, "no call is made twice");
        let spread = times.iter().copied().fold(0.0, f64::max) - times.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(spread < limit_ms, "{spread} ms between the first and the last call");
        assert!(manifest_chunks == ManifestChunks::Exact || spread >= 800.0, "without the list they follow each other");
    }
}

/// Behaviour 2.
#[tokio::test]
async fn a_store_that_refuses_fresh_links_too_is_named() {
    let warehouse = Warehouse::start();
    let error = warehouse
        .numbers_under(vec![FaultRule::new(Operation::Download, Fault::Expire).chunk(2).always()])
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.chunk_index(), error.http_status()), (ErrorKind::LinkExpired, Some(2), Some(403)));
    let host = warehouse.server.storage_address().trim_start_matches("http://").to_owned();
    assert!(error.to_string().contains(&host), "{error}");
    let downloads = warehouse
        .server
        .requests()
        .iter()
        .filter(|r| r.operation == Some(Operation::Download) && r.chunk_index == Some(2))
        .count();
    assert_eq!(downloads, 4, "the first link and three renewals");
}

/// Behaviour 10.
#[tokio::test]
async fn link_headers_go_to_the_store_and_the_token_does_not() {
    let link_headers =
        BTreeMap::from([("x-amz-server-side-encryption-customer-key".to_owned(), canary::HEADER.to_owned())]);
    let warehouse = Warehouse::with(Switches { link_headers, ..Switches::default() });
    let mut config = warehouse.config();
    config.user_agent_entry = Some("my-app".to_owned());
    let session = seakernel::Session::open(config).await.unwrap();
    let mut results = session.statement(NUMBERS).execute().await.unwrap().results().await.unwrap();
    assert_eq!(ids(&mut results).await.unwrap(), all_ids());
    let requests = warehouse.server.requests();
    let downloads: Vec<_> = requests.iter().filter(|request| request.origin == Origin::Storage).collect();
    assert_eq!(downloads.len(), CHUNKS as usize);
    for download in downloads {
        assert!(!download.authorization && download.user_agent.is_none(), "{:?}", download.headers);
        assert!(download.headers.iter().all(|name| !name.starts_with("x-databricks")), "{:?}", download.headers);
    }
}

/// Behaviour 6, B8.
#[tokio::test]
async fn chunks_are_downloaded_ahead_and_delivered_in_order() {
    let warehouse = Warehouse::start();
    let slow = FaultRule::new(Operation::Download, Fault::Delay { ms: 500 }).chunk(1);
    assert_eq!(warehouse.numbers_under(vec![slow]).await.unwrap(), all_ids());
    let requests = warehouse.server.requests();
    let arrival = |index| {
        let of_chunk = |r: &&seakernel_local::RequestRecord| {
            r.operation == Some(Operation::Download) && r.chunk_index == Some(index)
        };
        requests.iter().find(of_chunk).unwrap().offset_ms
    };
    assert!(arrival(9) - arrival(1) < 400.0, "chunk 9 was asked for while chunk 1 was on its way");
}

/// Behaviour 7.
#[tokio::test]
async fn a_cancelled_read_loses_no_batch() {
    let warehouse = Warehouse::start();
    let delays = (0..CHUNKS as u64)
        .map(|index| FaultRule::new(Operation::Download, Fault::Delay { ms: 100 * index }).chunk(index));
    warehouse.server.set_faults(delays.collect());
    let mut results = warehouse.results(NUMBERS).await.unwrap();
    let mut all = Vec::new();
    let cancelled = std::sync::atomic::AtomicU32::new(0);
    loop {
        let read = results.next_batch();
        match tokio::time::timeout(std::time::Duration::from_micros(200), read).await {
            Err(_) => {
                cancelled.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Ok(Some(batch))) => {
                use arrow_array::cast::AsArray;
                all.extend(batch.column(0).as_primitive::<arrow_array::types::Int64Type>().values().to_vec());
            }
            Ok(Ok(None)) => break,
            Ok(Err(error)) => panic!("{error}"),
        }
    }
    assert_eq!(all, all_ids());
    assert!(cancelled.into_inner() > 0);
}

/// Found by simulation: the owner of the links waited for the reader to take those before the failure, and the reader
/// for the owner to renew one.
///
/// Behaviour 2.
#[tokio::test]
async fn links_are_renewed_after_discovery_has_failed() {
    let warehouse = Warehouse::with(Switches { store_first_byte_ms: 50, ..links_per_answer(4) });
    let refused = Fault::Status { code: 501, retry_after: None, error_code: None, body: None };
    warehouse.server.set_faults(vec![
        FaultRule::new(Operation::Chunk, refused).chunk(4).always(),
        FaultRule::new(Operation::Download, Fault::Expire).chunk(0),
    ]);
    let mut config = warehouse.config();
    config.results.memory_budget = 1;
    let session = Session::open(config).await.unwrap();
    let mut rows = 0;
    let read = async {
        let mut results = session.statement(NUMBERS).execute().await.unwrap().results().await.unwrap();
        loop {
            match results.next_batch().await {
                Ok(batch) => rows += batch.unwrap().num_rows(),
                Err(error) => return error,
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(10), read).await.unwrap();
    assert_eq!((error.http_status(), rows), (Some(501), 4000), "{error}");
}

/// Behaviour 2, B1, B3.
#[tokio::test]
async fn a_chunk_call_for_the_first_chunk_carries_row_offset_zero() {
    let warehouse = Warehouse::with(Switches { strict_row_offset: true, ..Switches::default() });
    let expired = FaultRule::new(Operation::Download, Fault::Expire).chunk(0);
    assert_eq!(warehouse.numbers_under(vec![expired]).await.unwrap(), all_ids());
    assert_eq!(chunk_calls(&warehouse), [(0, Some(0))]);
}

/// Behaviour 1, B7.
#[tokio::test]
async fn links_are_discovered_one_call_after_the_other_ahead_of_the_reader_and_not_all_at_once() {
    let switches = Switches { manifest_chunks: ManifestChunks::Absent, ..links_per_answer(4) };
    let warehouse = Warehouse::sized(2000, 5, switches);
    let mut config = warehouse.config();
    config.results.memory_budget = 1;
    let mut results = warehouse.results_with(config, NUMBERS).await.unwrap();
    assert!(warehouse.eventually(|w| w.count(Operation::Chunk) >= 15).await, "links are not asked for ahead");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(warehouse.count(Operation::Download), 1, "the reader has not moved");
    let ahead = warehouse.count(Operation::Chunk);
    assert!((15..=18).contains(&ahead), "{ahead} calls for a window of 64 links, 4 an answer");
    assert!(ids(&mut results).await.unwrap().into_iter().eq(0..2000));
    let calls = chunk_calls(&warehouse);
    assert!(calls.iter().copied().eq((4..400).step_by(4).map(|index| (index, Some(index as i64 * 5)))), "{calls:?}");
    let requests = warehouse.server.requests();
    let calls: Vec<_> = requests.iter().filter(|request| request.operation == Some(Operation::Chunk)).collect();
    for pair in calls.windows(2) {
        assert!(pair[0].offset_ms + pair[0].duration_ms.unwrap() <= pair[1].offset_ms, "two calls at a time: {pair:?}");
    }
}

/// Behaviour 1.
#[tokio::test]
async fn a_wrong_hint_costs_a_call_and_no_row() {
    let warehouse = Warehouse::with(Switches { manifest_chunks: ManifestChunks::Wrong, ..links_per_answer(1) });
    let mut results = warehouse.results(NUMBERS).await.unwrap();
    assert_eq!(ids(&mut results).await.unwrap(), all_ids());
    let calls = chunk_calls(&warehouse);
    assert!(calls.len() > CHUNKS as usize - 1, "hints were followed: {calls:?}");
    assert!(calls.len() < 2 * CHUNKS as usize, "{calls:?}");
    let mut chunks: Vec<u64> = calls.into_iter().map(|(index, _)| index).collect();
    chunks.dedup();
    assert!(chunks.into_iter().eq(1..CHUNKS as u64), "chunk 5, which the list hides, was found by the chain");
}

/// The renewal of chunk 2 brings chunks 4 and 5, of which nothing was known: the call for them is still under way.
///
/// Behaviour 2, B9, B10, B11, B12.
#[tokio::test]
async fn chunks_that_come_with_a_renewal_are_started_and_not_asked_for_again() {
    let warehouse = Warehouse::with(links_per_answer(4));
    let late = FaultRule::new(Operation::Chunk, Fault::Delay { ms: 20_000 }).chunk(4).always();
    let expired = FaultRule::new(Operation::Download, Fault::Expire).chunk(2);
    let rows = tokio::time::timeout(Duration::from_secs(10), warehouse.numbers_under(vec![late, expired]));
    assert_eq!(rows.await.unwrap().unwrap(), all_ids());
    assert_eq!(chunk_calls(&warehouse), [(2, Some(2000)), (4, Some(4000)), (6, Some(6000))]);
    assert_eq!(warehouse.count(Operation::Download), CHUNKS as usize + 1);
}

/// Behaviour 2.
#[tokio::test]
async fn a_renewal_that_brings_other_rows_than_before_is_data_loss() {
    let link = serde_json::json!({"external_links": [{
        "chunk_index": 4, "row_offset": 4000, "row_count": 999, "next_chunk_index": 5,
        "external_link": "http://127.0.0.1:1/results?X-Amz-Signature=canary", "expiration": "2100-01-01T00:00:00Z",
    }]});
    let changed = Fault::Status { code: 200, retry_after: None, error_code: None, body: Some(link.to_string()) };
    let warehouse = Warehouse::start();
    let error = warehouse
        .numbers_under(vec![
            FaultRule::new(Operation::Download, Fault::Expire).chunk(4),
            FaultRule::new(Operation::Chunk, changed).chunk(4),
        ])
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.chunk_index()), (ErrorKind::DataLoss, Some(4)), "{error}");
    assert!(error.to_string().contains("999 rows"), "{error}");
}

/// Behaviour 6, B8.
#[tokio::test]
async fn no_more_downloads_run_at_once_than_allowed() {
    let warehouse = Warehouse::start();
    warehouse.server.set_faults(vec![FaultRule::new(Operation::Download, Fault::Delay { ms: 60 }).always()]);
    let mut config = warehouse.config();
    config.results.max_concurrent_downloads = 3;
    let mut results = warehouse.results_with(config, NUMBERS).await.unwrap();
    assert_eq!(ids(&mut results).await.unwrap(), all_ids());
    let requests = warehouse.server.requests();
    let downloads: Vec<(f64, f64)> = requests
        .iter()
        .filter(|request| request.operation == Some(Operation::Download))
        .map(|request| (request.offset_ms, request.offset_ms + request.duration_ms.unwrap()))
        .collect();
    let at_once = |at: f64| downloads.iter().filter(|(start, end)| *start <= at && at < *end).count();
    let most = downloads.iter().map(|(start, _)| at_once(*start)).max().unwrap();
    assert_eq!((most, downloads.len()), (3, CHUNKS as usize), "{downloads:?}");
}
