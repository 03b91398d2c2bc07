//! The invariants of results, whatever happens.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use seakernel_zerobus::{WrapperConfiguration, ZerobusWrapper};
use seakernel_zerobus_local::Settings;
use serde_json::{Value, json};

use super::*;

/// Faults under which rows may be stored although the client cannot know.
const FAULTS: [(&str, &str); 22] = [
    ("connect", r#""refuse""#),
    ("open", r#"{"status": {"code": "UNAVAILABLE"}}"#),
    ("open", r#"{"status": {"code": "RESOURCE_EXHAUSTED"}}"#),
    ("open", r#"{"status": {"code": "NOT_FOUND"}}"#),
    ("open", r#""no_stream_id""#),
    ("open", r#"{"delay": {"ms": 20}}"#),
    ("open", r#"{"break": {"after_bytes": 700}}"#),
    ("open", r#"{"break": {"after_ms": 5}}"#),
    ("open", r#"{"close": {"after_ms": 5, "ms": 20}}"#),
    ("open", r#"{"refuse_token": {}}"#),
    ("message", r#"{"status": {"code": "UNAVAILABLE"}}"#),
    ("message", r#"{"status": {"code": "INVALID_ARGUMENT"}}"#),
    ("message", r#"{"status": {"code": "INTERNAL", "stored": true}}"#),
    ("message", r#"{"break": {"stored": true}}"#),
    ("message", r#"{"break": {"by": "ok"}}"#),
    ("message", r#"{"close": {"ms": 0}}"#),
    ("message", r#"{"stall": {"ms": 30}}"#),
    ("ack", r#""silence""#),
    ("ack", r#""no_value""#),
    ("ack", r#""backwards""#),
    ("ack", r#"{"beyond": {"by": 3}}"#),
    ("ack", r#"{"fragment": {"ms": 5}}"#),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f16_results_tell_the_truth_under_random_faults() {
    let seeds = std::env::var("SEAKERNEL_ZEROBUS_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(20);
    for seed in 0..seeds {
        let mut random = StdRng::seed_from_u64(seed);
        let server = server_with(Settings { ack_delay_ms: random.random_range(0..10), ..Settings::default() });
        let mut rules: Vec<Value> = Vec::new();
        for _ in 0..random.random_range(0..5) {
            let (on, fault) = FAULTS.choose(&mut random).unwrap();
            let fault: Value = serde_json::from_str(fault).unwrap();
            let probability = [0.05, 0.3, 1.0].choose(&mut random).unwrap();
            let times = [json!(1), json!(3), json!("always")].choose(&mut random).unwrap().clone();
            let after = random.random_range(0..4);
            rules.push(json!({"on": on, "after": after, "times": times, "probability": probability, "do": fault}));
        }
        let text = json!(rules).to_string();
        let rows: i64 = *[1, 10, 300, 3000].choose(&mut random).unwrap();
        let config = WrapperConfiguration {
            ack_timeout_ms: 300,
            isolate_bad_rows: random.random_bool(0.5),
            failure_backoff_enabled: false,
            max_inflight_requests: random.random_range(1..8),
            ..small_requests(&server, random.random_range(1..400)).with_retry_config(3, 1, 5)
        };
        let wrapper = ZerobusWrapper::new(config).await.unwrap();
        faults(&server, &text);
        let senders: Vec<_> = (0..2_i64)
            .map(|sender| {
                let wrapper = wrapper.clone();
                tokio::spawn(async move {
                    let first = sender * 100_000;
                    (first, send(&wrapper, batch(first..first + rows)).await)
                })
            })
            .collect();
        let mut results = Vec::new();
        for sender in senders {
            results.push(sender.await.unwrap());
        }
        drop(tokio::time::timeout(LONG, wrapper.shutdown()).await.expect("a shutdown hangs"));
        // What came before a break is stored only once the server has read it.
        until(|| server.log().open_connections == 0).await;
        let found: BTreeSet<i64> = stored(&server).into_iter().map(|(id, _)| id).collect();
        for (first, result) in results {
            for row in result.successful_rows.iter().flatten() {
                assert!(found.contains(&(first + *row as i64)), "seed {seed}: row {row} is lost; {text}");
            }
            let uncertain: BTreeSet<usize> = result.uncertain_rows.iter().copied().collect();
            for (row, error) in result.failed_rows.iter().flatten() {
                let is_stored = found.contains(&(first + *row as i64));
                assert!(!is_stored || uncertain.contains(row), "seed {seed}: {row} is stored, {error}; {text}");
            }
        }
        assert_no_violations(&server);
    }
}
