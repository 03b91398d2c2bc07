//! Each fault, as a client sees it.

use std::time::{Duration, Instant};

use seakernel_local::{FaultRule, LocalServer, Times};
use serde_json::{Value, json};

use crate::client::{Client, Reply, download, id};
use crate::rows::{NUMBERS, decompress, ids, numbers, read_stream, small_chunks, start};

struct Scene {
    server: LocalServer,
    answer: Value,
}

/// A finished statement of three chunks, and then the rules.
fn scene(rules: &Value) -> Scene {
    let server = start(small_chunks(), numbers(2500));
    let more =
        json!({"disposition": "INLINE_OR_EXTERNAL_LINKS", "format": "ARROW_STREAM", "result_compression": "LZ4_FRAME"});
    let answer = Client { server: &server }.execute(NUMBERS, &more).json();
    server.set_faults(FaultRule::list_from_json(&rules.to_string()).unwrap());
    Scene { server, answer }
}

impl Scene {
    fn link(&self, chunk_index: usize) -> &Value {
        &self.answer["result"]["external_links"][chunk_index]
    }

    fn get(&self, chunk_index: usize) -> std::io::Result<Reply> {
        download(self.link(chunk_index), &[])
    }

    fn ids(&self, chunk_index: usize) -> Vec<i64> {
        ids(&read_stream(&decompress(&self.get(chunk_index).unwrap().body)))
    }

    fn client(&self) -> Client<'_> {
        Client { server: &self.server }
    }
}

#[test]
fn a_status_comes_with_what_was_asked_and_only_once() {
    let scene = scene(&json!([
        {"on": "poll", "do": {"status": {"code": 429, "retry_after": 1, "error_code": 429}}},
        {"on": "download", "chunk_index": 1, "do": {"status": {"code": 503}}},
        {"on": "chunk", "times": 2, "do": {"status": {"code": 500, "body": "INTERNAL: boom"}}},
    ]));
    let target = format!("/api/2.0/sql/statements/{}", id(&scene.answer["statement_id"]));
    let limited = scene.client().api("GET", &target, &Value::Null);
    assert_eq!(
        (limited.status, limited.header("retry-after"), &limited.json()["error_code"]),
        (429, Some("1"), &json!(429))
    );
    assert_eq!(scene.client().api("GET", &target, &Value::Null).status, 200);
    assert_eq!([0, 1, 1].map(|chunk| scene.get(chunk).unwrap().status), [200, 503, 200]);
    let chunks = [(); 3].map(|()| scene.client().chunk(&scene.answer["statement_id"], 0));
    assert_eq!(chunks[0].text(), "INTERNAL: boom");
    assert_eq!(chunks.map(|chunk| chunk.status), [500, 500, 200]);
    let faults: Vec<&str> = scene.server.requests().iter().filter_map(|record| record.fault).collect();
    assert_eq!(faults, ["status"; 4]);
}

#[test]
fn a_statement_answered_with_a_status_is_not_run_and_a_dropped_one_is() {
    let scene = scene(&json!([
        {"on": "execute", "statement_contains": "numbers", "do": {"status": {"code": 502}}},
        {"on": "execute", "do": "drop_before_response"},
    ]));
    let before = scene.server.counters().statements;
    assert_eq!(scene.client().execute(NUMBERS, &json!({})).status, 502);
    assert_eq!(scene.server.counters().statements, before);
    let body = scene.client().body(NUMBERS, &json!({}));
    assert!(scene.client().try_api("POST", "/api/2.0/sql/statements", &body).is_err());
    assert_eq!(scene.server.counters().statements, before + 1);
    let last = scene.server.requests().pop().unwrap();
    assert_eq!((last.status, last.fault), (None, Some("drop_before_response")));
}

#[test]
fn bodies_break_off_after_headers_or_bytes_with_an_honest_length() {
    let scene = scene(&json!([
        {"on": "download", "do": "drop_after_headers"},
        {"on": "download", "do": {"truncate": {"bytes": 100}}},
        {"on": "download", "do": {"short_body": {"bytes": 100}}},
    ]));
    let replies = [(); 4].map(|()| scene.get(0).unwrap());
    let whole = replies[3].body.len();
    assert_eq!(replies.each_ref().map(|reply| reply.body.len()), [0, 100, 100, whole]);
    let lengths = replies.each_ref().map(|reply| reply.header("content-length").unwrap().parse::<usize>().unwrap());
    assert_eq!(lengths, [whole, whole, 100, whole]);
    assert_eq!(replies[1].body, replies[3].body[..100]);
}

#[test]
fn corruption_is_seeded_and_can_be_placed() {
    let corrupt = json!({"on": "download", "do": {"corrupt": {"seed": 5, "count": 3}}});
    let placed = json!({"on": "download", "do": {"corrupt": {"offset": 10}}});
    let scene = scene(&json!([corrupt, corrupt, placed]));
    let [first, second, third, good] = [(); 4].map(|()| scene.get(0).unwrap().body);
    assert!(first == second && first != good && first.len() == good.len());
    let changed: Vec<usize> = (0..good.len()).filter(|place| third[*place] != good[*place]).collect();
    assert_eq!(changed, [10]);
}

#[test]
fn chunks_come_with_other_rows() {
    let scene = scene(&json!([
        {"on": "download", "chunk_index": 0, "do": {"missing_rows": {"rows": 10}}},
        {"on": "download", "chunk_index": 0, "do": {"surplus_rows": {"rows": 1010}}},
        {"on": "download", "chunk_index": 0, "do": {"wrong_chunk": {"index": 2}}},
    ]));
    assert_eq!(scene.ids(0), (0..990).collect::<Vec<i64>>());
    assert_eq!(scene.ids(0), (0..1000).chain(0..1000).chain(0..10).collect::<Vec<i64>>());
    assert_eq!(scene.ids(0), (2000..2500).collect::<Vec<i64>>());
    assert_eq!(scene.ids(0), (0..1000).collect::<Vec<i64>>());
}

#[test]
fn a_chunk_comes_with_another_type() {
    let scene = scene(&json!([{"on": "download", "chunk_index": 1, "do": "other_type"}]));
    let batches = |chunk| read_stream(&decompress(&scene.get(chunk).unwrap().body));
    let (other, usual) = (batches(1), batches(1));
    assert_ne!(other[0].schema().field(0).data_type(), usual[0].schema().field(0).data_type());
    let rows = |batches: &[arrow_array::RecordBatch]| -> usize {
        batches.iter().map(arrow_array::RecordBatch::num_rows).sum()
    };
    assert_eq!((rows(&other), rows(&usual)), (1000, 1000));
}

#[test]
fn a_body_falls_silent() {
    let scene = scene(&json!([{"on": "download", "do": {"stall": {"bytes": 100}}}]));
    let fetched = std::thread::scope(|scope| {
        let fetch = scope.spawn(|| scene.get(0));
        std::thread::sleep(Duration::from_millis(500));
        let still_waiting = !fetch.is_finished();
        scene.server.stop();
        (still_waiting, fetch.join().unwrap().map_or(0, |reply| reply.body.len()))
    });
    assert!(fetched.0 && fetched.1 <= 100, "{fetched:?}");
}

#[test]
fn a_chunk_call_can_answer_for_another_chunk() {
    let scene = scene(&json!([{"on": "chunk", "chunk_index": 1, "do": {"wrong_chunk": {"index": 2}}}]));
    let data = scene.client().chunk(&scene.answer["statement_id"], 1).json();
    assert_eq!(data["external_links"][0]["chunk_index"], 2);
}

#[test]
fn answers_come_late_slow_expired_elsewhere_or_as_a_page() {
    let scene = scene(&json!([
        {"on": "download", "do": {"delay": {"ms": 150}}},
        {"on": "download", "do": "expire"},
        {"on": "download", "do": {"redirect": {"location": "http://127.0.0.1:1/x"}}},
        {"on": "download", "do": "html"},
        {"on": "download", "chunk_index": 2, "do": {"slow": {"bytes_per_second": 20000}}},
        {"on": "open_session", "do": {"redirect": {"status": 307, "location": "/elsewhere"}}},
    ]));
    let before = Instant::now();
    assert_eq!(scene.get(0).unwrap().status, 200);
    assert!(before.elapsed() >= Duration::from_millis(150));
    assert!(scene.get(0).unwrap().text().contains("Request has expired"));
    let redirect = scene.get(0).unwrap();
    assert_eq!((redirect.status, redirect.header("location")), (307, Some("http://127.0.0.1:1/x")));
    assert_eq!(scene.get(0).unwrap().header("content-type"), Some("text/html; charset=utf-8"));
    let before = Instant::now();
    let slow = scene.get(2).unwrap().body.len() as f64;
    assert!(before.elapsed().as_secs_f64() >= slow / 20000.0 * 0.9, "{:?} for {slow} bytes", before.elapsed());
    let session = scene.client().api("POST", "/api/2.0/sql/sessions", &json!({}));
    assert_eq!((session.status, session.header("location")), (307, Some("/elsewhere")));
}

#[test]
fn replaced_rules_count_anew() {
    let scene = scene(&json!([{"on": "download", "times": "always", "do": "html"}]));
    assert_eq!([0, 0].map(|chunk| scene.get(chunk).unwrap().header("content-type").unwrap().len()), [24, 24]);
    let rule: FaultRule = serde_json::from_value(json!({"on": "download", "after": 1, "do": "html"})).unwrap();
    assert_eq!(rule.times, Times::AtMost(1));
    scene.server.set_faults(vec![rule]);
    let statuses =
        [0, 0, 0].map(|chunk| scene.get(chunk).unwrap().header("content-type") == Some("text/html; charset=utf-8"));
    assert_eq!(statuses, [false, true, false]);
    scene.server.set_faults(Vec::new());
    assert_eq!(scene.ids(1).len(), 1000);
}
