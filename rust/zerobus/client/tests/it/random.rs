//! The invariants of results, whatever happens.

use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use seakernel_zerobus::{IngestMode, WrapperConfiguration, ZerobusWrapper};
use seakernel_zerobus_local::Settings;
use serde_json::{Value, json};

use super::*;

/// What rows may be twice for: nothing, or a break between their storing and their acknowledgement.
const ONCE: bool = false;
const TWICE: bool = true;

/// All faults of the look-alike by their number in its list, with what may come of them.
const FAULTS: [(u8, &str, &str, bool); 68] = [
    (1, "connect", r#""refuse""#, ONCE),
    (2, "connect", r#""silence""#, ONCE),
    (3, "open", r#""silence""#, ONCE),
    (4, "open", r#"{"delay": {"ms": 20}}"#, ONCE),
    (4, "open", r#"{"delay_answer": {"ms": 20}}"#, ONCE),
    (5, "open", r#""no_stream_id""#, ONCE),
    (6, "open", r#"{"status": {"code": "CANCELLED"}}"#, ONCE),
    (6, "open", r#"{"status": {"code": "UNKNOWN"}}"#, ONCE),
    (6, "open", r#"{"status": {"code": "INVALID_ARGUMENT"}}"#, ONCE),
    (6, "open", r#"{"status": {"code": "DEADLINE_EXCEEDED"}}"#, ONCE),
    (6, "open", r#"{"status": {"code": "NOT_FOUND"}}"#, ONCE),
    (6, "open", r#"{"status": {"code": "ALREADY_EXISTS"}}"#, ONCE),
    (6, "open", r#"{"status": {"code": "PERMISSION_DENIED"}}"#, ONCE),
    (6, "open", r#"{"status": {"code": "RESOURCE_EXHAUSTED", "retry_after_ms": 20}}"#, ONCE),
    (6, "open", r#"{"status": {"code": "FAILED_PRECONDITION"}}"#, ONCE),
    (6, "open", r#"{"status": {"code": "ABORTED"}}"#, ONCE),
    (6, "open", r#"{"status": {"code": "OUT_OF_RANGE"}}"#, ONCE),
    (6, "open", r#"{"status": {"code": "UNIMPLEMENTED"}}"#, ONCE),
    (6, "open", r#"{"status": {"code": "INTERNAL"}}"#, ONCE),
    (6, "open", r#"{"status": {"code": "UNAVAILABLE"}}"#, ONCE),
    (6, "open", r#"{"status": {"code": "DATA_LOSS"}}"#, ONCE),
    (6, "open", r#"{"status": {"code": "UNAUTHENTICATED"}}"#, ONCE),
    (6, "open", r#"{"status": {"code": "OK"}}"#, ONCE),
    (
        6,
        "open",
        r#"{"status": {"code": "UNAVAILABLE", "error_info": {"reason": "X", "domain": "", "metadata": {"error_code": "6006"}}}}"#,
        ONCE,
    ),
    (7, "message", r#"{"status": {"code": "UNAVAILABLE"}}"#, TWICE),
    (7, "message", r#"{"status": {"code": "INTERNAL"}}"#, TWICE),
    (7, "message", r#"{"status": {"code": "INVALID_ARGUMENT"}}"#, TWICE),
    (7, "message", r#"{"status": {"code": "NOT_FOUND"}}"#, TWICE),
    (7, "open", r#"{"status": {"code": "UNAVAILABLE", "after_ms": 5}}"#, TWICE),
    (8, "message", r#"{"break": {"by": "ok"}}"#, TWICE),
    (9, "open", r#"{"close": {"after_ms": 5, "ms": 20, "grace_ms": 0}}"#, TWICE),
    (9, "message", r#"{"close": {"ms": 20, "grace_ms": 0, "then": "unavailable"}}"#, TWICE),
    (10, "message", r#"{"close": {"ms": 0, "grace_ms": 60000}}"#, ONCE),
    (10, "message", r#"{"close": {"grace_ms": 60000}}"#, ONCE),
    (11, "open", r#"{"break": {"after_bytes": 700}}"#, TWICE),
    (11, "open", r#"{"break": {"after_ms": 5}}"#, TWICE),
    (11, "message", r#"{"break": {}}"#, TWICE),
    (12, "message", r#"{"break": {"stored": true}}"#, TWICE),
    (12, "message", r#"{"status": {"code": "INTERNAL", "stored": true}}"#, TWICE),
    (13, "ack", r#"{"delay": {"ms": 50}}"#, ONCE),
    (14, "ack", r#""silence""#, TWICE),
    (15, "ack", r#"{"when_idle": {"ms": 30}}"#, ONCE),
    (16, "ack", r#""backwards""#, TWICE),
    (17, "ack", r#"{"beyond": {"by": 3}}"#, TWICE),
    (18, "ack", r#""no_value""#, TWICE),
    (19, "message", r#"{"stall": {"ms": 30}}"#, ONCE),
    (19, "open", r#"{"stall": {}}"#, TWICE),
    (20, "open", r#"{"slow": {"bytes_per_second": 100000}}"#, ONCE),
    (21, "token", r#"{"http": {"code": 400}}"#, ONCE),
    (21, "token", r#"{"http": {"code": 401}}"#, ONCE),
    (21, "token", r#"{"http": {"code": 403}}"#, ONCE),
    (21, "token", r#"{"http": {"code": 429, "retry_after": 0}}"#, ONCE),
    (21, "token", r#"{"http": {"code": 500}}"#, ONCE),
    (21, "token", r#""silence""#, ONCE),
    (21, "token", r#""bad_json""#, ONCE),
    (21, "token", r#"{"expires_in": {}}"#, ONCE),
    (21, "token", r#"{"expires_in": {"value": "3600"}}"#, ONCE),
    (21, "token", r#"{"expires_in": {"value": 0}}"#, ONCE),
    (21, "token", r#"{"expires_in": {"value": 2}}"#, ONCE),
    (22, "open", r#"{"refuse_token": {}}"#, ONCE),
    (23, "message", r#"{"status": {"code": "INVALID_ARGUMENT"}}"#, TWICE),
    (24, "open", r#"{"columns": [{"name": "id", "type": "BIGINT"}]}"#, ONCE),
    (25, "open", r#"{"limit": {"bytes": 60, "code": "OUT_OF_RANGE"}}"#, ONCE),
    (26, "open", r#"{"close": {"after_ms": 30, "ms": 200, "grace_ms": 60000}}"#, ONCE),
    (27, "message", r#"{"go_away": {}}"#, TWICE),
    (27, "message", r#"{"go_away": {"abrupt": true}}"#, TWICE),
    (28, "ack", r#"{"fragment": {"ms": 5}}"#, ONCE),
    // The last of them are never acknowledged.
    (29, "ack", r#"{"partial": {"records": 2}}"#, TWICE),
];
/// More of the last, which Arrow Flight alone has.
const FLIGHT: [(u8, &str, &str, bool); 3] = [
    (29, "ack", r#"{"partial": {"records": 1, "then": "unavailable"}}"#, TWICE),
    (29, "ack", r#"{"partial": {"records": 7, "then": "reset"}}"#, TWICE),
    (29, "open", r#"{"delay_answer": {"ms": 60000}}"#, ONCE),
];

fn faults_of(mode: IngestMode) -> impl Iterator<Item = (u8, &'static str, &'static str, bool)> {
    FAULTS.into_iter().chain(FLIGHT.into_iter().filter(move |_| mode == IngestMode::Arrow))
}

/// One run: what is disturbed, and whether rows may be twice.
struct Run {
    name: String,
    rules: Vec<Value>,
    may_double: bool,
    rows: i64,
    senders: i64,
    settings: Settings,
    config: WrapperConfiguration,
}

impl Run {
    fn new(name: String) -> Self {
        let config = WrapperConfiguration {
            connect_timeout_ms: 300,
            flush_timeout_ms: 2000,
            failure_backoff_enabled: false,
            ..WrapperConfiguration::new("http://later", TABLE).with_retry_config(3, 1, 5)
        };
        let settings = Settings::default();
        Self { name, rules: Vec::new(), may_double: false, rows: 40, senders: 1, settings, config }
    }

    fn disturb(&mut self, fault: (u8, &str, &str, bool), times: &Value, after: u64, probability: f64) {
        let (number, on, text, may_double) = fault;
        let what: Value = serde_json::from_str(text).unwrap();
        let mut rule = json!({"on": on, "after": after, "times": times, "probability": probability, "do": what});
        if number == 23 {
            rule["where"] = json!({"column": "id", "equals": 7});
        }
        self.rules.push(rule);
        self.may_double |= may_double;
    }

    /// Sends, and holds what the results say against what is stored.
    async fn check(self) {
        let Self { name, rules, may_double, rows, senders, settings, config } = self;
        let server = server_with(settings);
        let text = json!(rules).to_string();
        let place = super::config(&server);
        let config = WrapperConfiguration {
            zerobus_endpoint: place.zerobus_endpoint,
            client_id: place.client_id,
            client_secret: place.client_secret,
            unity_catalog_url: place.unity_catalog_url,
            // What is never acknowledged costs this long; all else has time, for rows that are late are sent twice.
            ack_timeout_ms: if may_double { 300 } else { 30_000 },
            ..config
        };
        let wrapper = ZerobusWrapper::new(config).await.unwrap();
        faults(&server, &text);
        let tasks: Vec<_> = (0..senders)
            .map(|sender| {
                let wrapper = wrapper.clone();
                let first = sender * 100_000;
                tokio::spawn(async move { (first, send(&wrapper, batch(first..first + rows)).await) })
            })
            .collect();
        let mut results = Vec::new();
        for task in tasks {
            results.push(task.await.unwrap_or_else(|failure| panic!("{name}: {failure}; {text}")));
        }
        drop(tokio::time::timeout(LONG, wrapper.shutdown()).await.expect("a shutdown hangs"));
        // What came before a break is stored only once the server has read it.
        until(|| server.log().open_connections == 0).await;
        let found = stored(&server);
        let twice: Vec<_> = found.iter().filter(|(_, times)| *times > 1).take(5).collect();
        assert!(may_double || twice.is_empty(), "{name}: {twice:?} are there twice; {text}");
        let found: BTreeSet<i64> = found.into_iter().map(|(id, _)| id).collect();
        for (first, result) in results {
            let is_stored = |row: usize| found.contains(&(first + row as i64));
            for row in result.successful_rows.iter().flatten() {
                assert!(is_stored(*row), "{name}: row {row} is lost; {text}");
            }
            let uncertain: BTreeSet<usize> = result.uncertain_rows.iter().copied().collect();
            for (row, error) in result.failed_rows.iter().flatten() {
                assert!(!is_stored(*row) || uncertain.contains(row), "{name}: {row} is stored, {error}; {text}");
            }
            if let Some(error) = &result.error {
                assert!(!(0..result.total_rows).any(is_stored), "{name}: a row is stored, {error}; {text}");
            }
        }
        assert_no_violations(&server);
    }
}

/// Many at a time: they wait for the most part.
async fn check_all(runs: Vec<Run>) {
    let mut running =
        futures_util::stream::iter(runs.into_iter().map(|run| tokio::spawn(run.check()))).buffer_unordered(16);
    while let Some(checked) = running.next().await {
        checked.unwrap();
    }
}

async fn each_fault(mode: IngestMode) {
    let numbers: BTreeSet<u8> = faults_of(mode).map(|(number, ..)| number).collect();
    assert!(numbers.into_iter().eq(1..=29));
    let mut runs = Vec::new();
    for fault in faults_of(mode) {
        let is_within = matches!(fault.1, "message" | "ack");
        if mode == IngestMode::Arrow && !is_within && !matches!(fault.0, 5 | 29) {
            // Before a stream is open, there is one way for all.
            continue;
        }
        for (times, after) in [(json!(1), if is_within { 2 } else { 0 }), (json!("always"), 0)] {
            let mut run = Run::new(format!("fault {}, {times} after {after}", fault.0));
            run.disturb(fault, &times, after, 1.0);
            run.config.ingest_mode = mode;
            run.config.max_request_rows = 7;
            runs.push(run);
        }
    }
    check_all(runs).await;
}

async fn random_faults(mode: IngestMode) {
    let seeds = std::env::var("SEAKERNEL_ZEROBUS_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(30);
    let known: Vec<_> = faults_of(mode).collect();
    let runs = (0..seeds).map(|seed| {
        let mut random = StdRng::seed_from_u64(seed);
        let mut run = Run::new(format!("seed {seed}"));
        for _ in 0..random.random_range(0..5) {
            let fault = *known.choose(&mut random).unwrap();
            let probability = *[0.05, 0.3, 1.0].choose(&mut random).unwrap();
            let times = [json!(1), json!(3), json!("always")].choose(&mut random).unwrap().clone();
            run.disturb(fault, &times, random.random_range(0..4), probability);
        }
        run.rows = *[1, 10, 300, 3000].choose(&mut random).unwrap();
        run.senders = 2;
        run.settings.ack_delay_ms = random.random_range(0..10);
        run.config = WrapperConfiguration {
            ingest_mode: mode,
            isolate_bad_rows: random.random_bool(0.5),
            max_inflight_requests: random.random_range(1..8),
            max_request_rows: random.random_range(1..400),
            ..run.config
        };
        run
    });
    check_all(runs.collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f16_results_tell_the_truth_under_each_fault() {
    each_fault(IngestMode::Proto).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f16_results_tell_the_truth_under_random_faults() {
    random_faults(IngestMode::Proto).await;
}

#[cfg(feature = "flight")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f46_results_tell_the_truth_under_each_fault() {
    each_fault(IngestMode::Arrow).await;
}

#[cfg(feature = "flight")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f46_results_tell_the_truth_under_random_faults() {
    random_faults(IngestMode::Arrow).await;
}
