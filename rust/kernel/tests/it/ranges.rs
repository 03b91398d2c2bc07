//! Files fetched in ranges while connections would be idle.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use seakernel::{Credentials, ErrorKind, Result, Session, SessionConfig, Statistics};
use seakernel_local::{
    ByteCount, CannedEngine, Fault, FaultRule, LocalServer, Operation, RequestRecord, ServerOptions, Switches,
};

use crate::canary;
use crate::warehouse::ids;

const LARGE: &str = "SELECT id FROM large";
/// Two files of about 4 MB: the numbers do not compress.
const ROWS: u64 = 1_000_000;

fn numbers() -> impl Iterator<Item = i64> {
    (0..ROWS).map(|row| (row.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (row << 31)) as i64)
}

struct Large(LocalServer);

impl Large {
    fn with(switches: Switches) -> Self {
        Self::in_chunks_of(ROWS / 2, switches)
    }

    fn in_chunks_of(rows: u64, switches: Switches) -> Self {
        canary::watch();
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
        let batch = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(numbers()))]).unwrap();
        let engine = CannedEngine::new().table(LARGE, [("id", "BIGINT")], vec![batch]);
        let options = ServerOptions { chunk_rows: Some(rows), inline_bytes: 0, switches, ..ServerOptions::default() };
        Self(LocalServer::start(options, Arc::new(engine)).unwrap())
    }

    async fn session(&self) -> Session {
        let credentials = Credentials::access_token(self.0.access_token());
        let mut config = SessionConfig::new(self.0.address(), &self.0.http_path(), credentials).unwrap();
        config.retry.min_wait = std::time::Duration::from_millis(1);
        config.retry.max_wait = std::time::Duration::from_millis(10);
        Session::open(config).await.unwrap()
    }

    async fn fetch(&self, session: &Session) -> Result<Statistics> {
        let mut results = session.statement(LARGE).execute().await?.results().await?;
        let rows = ids(&mut results).await?;
        assert!(rows.into_iter().eq(numbers()), "other rows");
        Ok(results.statistics())
    }

    fn downloads(&self) -> Vec<RequestRecord> {
        let is_download = |request: &RequestRecord| request.operation == Some(Operation::Download);
        self.0.requests().into_iter().filter(is_download).collect()
    }
}

/// Behaviour 4.
#[tokio::test]
async fn few_files_are_fetched_in_ranges_over_several_connections() {
    let large = Large::with(Switches::default());
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
    let large = Large::in_chunks_of(ROWS / 40, Switches::default());
    let statistics = large.fetch(&large.session().await).await.unwrap();
    assert_eq!((statistics.range_requests, statistics.download_requests), (0, 40));
}

/// Behaviour 4.
#[tokio::test]
async fn a_store_without_ranges_is_asked_once_and_remembered() {
    let large = Large::with(Switches { ignore_range: true, ..Switches::default() });
    let session = large.session().await;
    let first = large.fetch(&session).await.unwrap();
    assert!(first.range_requests > 0);
    let second = large.fetch(&session).await.unwrap();
    assert_eq!((second.range_requests, second.download_requests), (0, 2));
}

/// Behaviour 4.
#[tokio::test]
async fn a_signature_that_does_not_cover_ranges_is_no_expired_link() {
    let large = Large::with(Switches::default());
    let fault = Fault::Status { code: 403, retry_after: None, error_code: None, body: None };
    // Every request for a range of chunk 0 is refused: the plan for it has no more than eight.
    large.0.set_faults(vec![FaultRule::new(Operation::Download, fault).chunk(0).times(1)]);
    let statistics = large.fetch(&large.session().await).await.unwrap();
    assert_eq!((statistics.renewals, statistics.retries), (0, 0), "{statistics:?}");
}

#[tokio::test]
async fn declared_sizes_may_be_anything() {
    for byte_count in [ByteCount::Uncompressed, ByteCount::Absent, ByteCount::Wrong] {
        for lz4_ignored in [false, true] {
            let large = Large::with(Switches { byte_count, lz4_ignored, ..Switches::default() });
            let statistics = large.fetch(&large.session().await).await.unwrap();
            assert_eq!(statistics.rows, ROWS, "{byte_count:?}");
        }
    }
}

/// Behaviour 4.
#[tokio::test]
async fn a_range_that_breaks_off_goes_on_from_the_byte_reached() {
    let large = Large::with(Switches::default());
    large.0.set_faults(vec![FaultRule::new(Operation::Download, Fault::Truncate { bytes: 300_000 }).times(3)]);
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
    let large = Large::in_chunks_of(ROWS / 40, Switches::default());
    let session = large.session().await;
    large.fetch(&session).await.unwrap();
    let before = large.downloads().len();
    large.0.set_faults(vec![FaultRule::new(Operation::Download, Fault::Truncate { bytes: 50_000 }).chunk(7).times(1)]);
    let statistics = large.fetch(&session).await.unwrap();
    assert_eq!((statistics.retries, statistics.range_requests), (1, 1));
    let ranges: Vec<Option<String>> = large.downloads().drain(before..).map(|request| request.range).collect();
    assert_eq!(ranges.into_iter().flatten().collect::<Vec<_>>(), ["bytes=50000-"]);
}

/// Behaviour 4.
#[tokio::test]
async fn a_part_that_nobody_asked_for_is_an_error_after_a_few_attempts() {
    for chunk_rows in [ROWS / 2, ROWS / 40] {
        let large = Large::in_chunks_of(chunk_rows, Switches::default());
        let part = Fault::Status { code: 206, retry_after: None, error_code: None, body: Some("part".to_owned()) };
        large.0.set_faults(vec![FaultRule::new(Operation::Download, part).chunk(0).always()]);
        let session = large.session().await;
        let fetch = tokio::time::timeout(std::time::Duration::from_secs(60), large.fetch(&session));
        let error = fetch.await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.chunk_index()), (ErrorKind::Protocol, Some(0)), "{error}");
        assert!(error.attempts() > 1, "{error}");
    }
}
