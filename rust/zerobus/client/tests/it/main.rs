//! Batches on their way to the look-alike, undisturbed and disturbed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test may panic"
)]

mod disabled;
#[cfg(feature = "flight")]
mod flight;
mod isolation;
mod lifecycle;
mod pauses;
mod random;
mod soak;
mod tls;
mod tokens;
mod transport;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use seakernel_zerobus::{TransmissionResult, WrapperConfiguration, ZerobusWrapper};
use seakernel_zerobus_local::{Column, FaultRule, ServerOptions, Settings, ZerobusServer};

const TABLE: &str = "main.default.events";
/// More than anything takes, on any machine.
const LONG: Duration = Duration::from_secs(60);

/// A server with a table of two columns.
fn server() -> ZerobusServer {
    server_with(Settings::default())
}

fn server_with(settings: Settings) -> ZerobusServer {
    let server = ZerobusServer::start(ServerOptions { settings, ..ServerOptions::default() }).unwrap();
    server.create_table(TABLE, &columns()).unwrap();
    server
}

fn columns() -> [Column; 2] {
    [Column::new("id", "BIGINT").not_null(), Column::new("text", "STRING")]
}

/// Options with short pauses.
fn config(server: &ZerobusServer) -> WrapperConfiguration {
    config_for(server, TABLE)
}

fn config_for(server: &ZerobusServer, table: &str) -> WrapperConfiguration {
    WrapperConfiguration::new(server.endpoint(), table)
        .with_credentials(server.client_id(), server.client_secret())
        .with_unity_catalog(server.unity_catalog_url())
        .with_retry_config(5, 5, 20)
}

async fn wrapper(server: &ZerobusServer) -> ZerobusWrapper {
    ZerobusWrapper::new(config(server)).await.unwrap()
}

/// Small requests, so that one batch has many.
fn small_requests(server: &ZerobusServer, rows: usize) -> WrapperConfiguration {
    WrapperConfiguration { max_request_rows: rows, ..config(server) }
}

fn batch(ids: Range<i64>) -> RecordBatch {
    let text = ids.clone().map(|id| (id % 7 != 0).then(|| format!("row {id}")));
    let schema = Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("text", DataType::Utf8, true)]);
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from_iter_values(ids)), Arc::new(text.collect::<StringArray>())];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn faults(server: &ZerobusServer, json: &str) {
    server.set_faults(FaultRule::list_from_json(json).unwrap());
}

/// The invariants of a result.
fn check(result: &TransmissionResult) {
    let failed: Vec<usize> = result.failed_rows.iter().flatten().map(|(row, _)| *row).collect();
    let stored: Vec<usize> = result.successful_rows.clone().unwrap_or_default();
    assert_eq!((failed.len(), stored.len()), (result.failed_count, result.successful_count));
    assert!(failed.is_sorted_by(|a, b| a < b) && stored.is_sorted_by(|a, b| a < b));
    assert!(result.failed_rows.as_ref().is_none_or(|rows| !rows.is_empty()));
    assert!(result.successful_rows.as_ref().is_none_or(|rows| !rows.is_empty()));
    let all: BTreeSet<usize> = failed.iter().chain(&stored).copied().collect();
    match &result.error {
        None => assert!(all.into_iter().eq(0..result.total_rows), "{result:?}"),
        Some(error) => {
            assert!(!result.success && stored.is_empty() && result.uncertain_rows.is_empty());
            // Either all rows are listed, or none is.
            assert!(failed.is_empty() || failed.len() == result.total_rows, "{error}");
        }
    }
    assert_eq!(result.success, !stored.is_empty() || result.total_rows == 0);
    assert!(result.uncertain_rows.iter().all(|row| failed.contains(row)));
    assert!(result.attempts >= 1 && result.latency_ms.is_some());
}

/// Sends and checks the invariants.
async fn send(wrapper: &ZerobusWrapper, batch: RecordBatch) -> TransmissionResult {
    let result = tokio::time::timeout(LONG, wrapper.send_batch(batch)).await.expect("a send hangs").unwrap();
    check(&result);
    result
}

/// The failed rows, which must all have failed for the same reason, with it.
fn failed_alike(result: &TransmissionResult) -> (usize, String) {
    let rows = result.failed_rows.as_ref().expect("no row failed");
    let texts: BTreeSet<String> = rows.iter().map(|(_, error)| error.to_string()).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    (rows.len(), texts.into_iter().next().unwrap())
}

/// How often each id is stored.
fn stored(server: &ZerobusServer) -> Vec<(i64, u64)> {
    let mut ids: Vec<(i64, u64)> =
        server.keys(TABLE, "id").into_iter().map(|(id, times)| (id.parse().unwrap(), times)).collect();
    ids.sort_unstable();
    ids
}

/// All of these ids are stored, each once, and nothing else.
fn assert_stored_once(server: &ZerobusServer, ids: impl IntoIterator<Item = i64>) {
    let ids: BTreeSet<i64> = ids.into_iter().collect();
    let found = stored(server);
    let twice: Vec<_> = found.iter().filter(|(_, times)| *times != 1).take(5).collect();
    assert!(twice.is_empty(), "stored more than once: {twice:?}");
    let found: BTreeSet<i64> = found.into_iter().map(|(id, _)| id).collect();
    let missing: Vec<_> = ids.difference(&found).take(5).collect();
    let surplus: Vec<_> = found.difference(&ids).take(5).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:?}, surplus {surplus:?}");
}

fn assert_no_violations(server: &ZerobusServer) {
    let violations = server.log().violations;
    assert!(violations.is_empty(), "{violations:?}");
}

/// Waits until the server has seen something.
async fn until(mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < LONG, "it does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Lets the clock of this client jump; the server has its own.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}
