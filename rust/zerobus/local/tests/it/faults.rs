//! Every fault is seen to act. The numbers are those of the list of faults.

use std::time::{Duration, Instant};

use h2::Reason;
use prost_types::field_descriptor_proto::{Label, Type};
use seakernel_zerobus_local::Settings;
use serde_json::{Value, json};

use crate::client::{
    Event, TABLE, batch_message, call, descriptor, field, ids, message, open, open_with, record_message, row,
    start_with, stream, token,
};

const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

fn on(operation: &str, fault: impl Into<Value>) -> Value {
    let fault = fault.into();
    json!([{"on": operation, "do": fault}])
}

fn always(operation: &str, fault: impl Into<Value>) -> Value {
    let fault = fault.into();
    json!([{"on": operation, "times": "always", "do": fault}])
}

#[tokio::test]
async fn f01_a_connection_is_refused() {
    let server = start_with(&on("connect", json!("refuse")));
    assert!(call(&server, &[]).await.is_err());
    stream(&server).await;
}

#[tokio::test]
async fn f02_a_connection_is_never_answered() {
    let server = start_with(&on("connect", json!("silence")));
    assert!(tokio::time::timeout(Duration::from_millis(300), open(&server)).await.is_err());
    stream(&server).await;
}

#[tokio::test]
async fn f03_headers_never_come() {
    let server = start_with(&on("open", json!("silence")));
    let token = token(&server);
    assert!(tokio::time::timeout(Duration::from_millis(300), open_with(&server, &token)).await.is_err());
    stream(&server).await;
}

#[tokio::test]
async fn f04_headers_and_the_answer_come_late() {
    let server = start_with(&on("open", json!({"delay": {"ms": 200}})));
    let token = token(&server);
    let started = Instant::now();
    let mut call = open_with(&server, &token).await;
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert!(matches!(call.create().await, Event::Created(Some(_))));

    let server = start_with(&on("open", json!({"delay_answer": {"ms": 200}})));
    let mut call = open(&server).await;
    let started = Instant::now();
    assert!(matches!(call.create().await, Event::Created(Some(_))));
    assert!(started.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn f05_the_answer_has_no_id() {
    let server = start_with(&on("open", json!("no_stream_id")));
    assert_eq!(open(&server).await.create().await, Event::Created(None));
}

#[tokio::test]
async fn f06_an_opening_ends_with_any_status() {
    for (number, code) in (0..).zip(CODES) {
        let server = start_with(&on("open", json!({"status": {"code": code, "message": "because"}})));
        let Event::Status(status) = open(&server).await.create().await else { panic!("a status expected") };
        assert_eq!((status.code, &*status.message, &*status.details), (number, "because", ""));
        stream(&server).await;
    }
}

#[tokio::test]
async fn f06_a_status_has_details() {
    let info = json!({"reason": "BLOCKED", "metadata": {"error_code": "6006"}});
    let fault = json!({"status": {"code": "UNAVAILABLE", "error_info": info, "retry_after_ms": 1500}});
    let server = start_with(&on("open", fault));
    let Event::Status(status) = open(&server).await.create().await else { panic!("a status expected") };
    for part in ["google.rpc.ErrorInfo", "BLOCKED", "error_code", "6006", "google.rpc.RetryInfo"] {
        assert!(status.details.contains(part), "{part}: {}", status.details);
    }
}

#[tokio::test]
async fn f06_only_the_table_and_the_share_that_are_meant() {
    let server = start_with(&json!([
        {"on": "open", "table": "main.default.other", "times": "always", "do": {"status": {"code": "ABORTED"}}},
        {"on": "open", "probability": 0, "times": "always", "do": {"status": {"code": "ABORTED"}}},
        {"on": "open", "after": 1, "times": 2, "do": {"status": {"code": "INTERNAL"}}},
    ]));
    stream(&server).await;
    assert_eq!(open(&server).await.create().await.code(), 13);
    assert_eq!(open(&server).await.create().await.code(), 13);
    stream(&server).await;
}

#[tokio::test]
async fn f07_a_stream_ends_after_so_many_records() {
    let rule = json!([{"on": "message", "after_records": 3, "do": {"status": {"code": "UNAVAILABLE"}}}]);
    let server = start_with(&rule);
    let mut stream = stream(&server).await;
    stream.record(0, 1);
    stream.write(&batch_message(1, &[row(2, ""), row(3, "")]));
    stream.acked(1).await;
    stream.record(2, 4);
    assert_eq!(stream.event().await.code(), 14);
    assert_eq!(ids(&server), [1, 2, 3]);
}

#[tokio::test]
async fn f07_a_stream_ends_with_any_status() {
    for (number, code) in (0..).zip(CODES) {
        let server = start_with(&on("message", json!({"status": {"code": code}})));
        let mut stream = stream(&server).await;
        stream.record(0, 1);
        assert_eq!(stream.event().await.code(), number);
    }
}

#[tokio::test]
async fn f08_a_stream_ends_well_without_a_signal() {
    let server = start_with(&on("message", json!({"break": {"by": "ok"}})));
    let mut stream = stream(&server).await;
    stream.record(0, 1);
    assert_eq!(stream.event().await.code(), 0);
    assert!(ids(&server).is_empty());
}

#[tokio::test]
async fn f09_a_stream_announces_its_end_and_breaks_afterwards() {
    let rule = json!([{"on": "message", "after": 1, "do": {"close": {"ms": 300, "grace_ms": 100}}}]);
    let server = start_with(&rule);
    let mut stream = stream(&server).await;
    stream.record(0, 1);
    stream.acked(0).await;
    let announced = Instant::now();
    stream.record(1, 2);
    assert_eq!(stream.event().await, Event::Close(Some(300)));
    stream.acked(1).await;
    stream.record(2, 3);
    stream.acked(2).await;
    assert_eq!(stream.event().await, Event::Broken);
    assert!(announced.elapsed() >= Duration::from_millis(400));
    assert_eq!(ids(&server), [1, 2, 3]);
}

#[tokio::test]
async fn f09_a_stream_that_is_ended_in_time_ends_well() {
    let server = start_with(&on("message", json!({"close": {"ms": 30_000, "then": "unavailable"}})));
    let mut stream = stream(&server).await;
    stream.record(0, 1);
    assert_eq!(stream.event().await, Event::Close(Some(30_000)));
    stream.half_close();
    stream.acked(0).await;
    assert_eq!(stream.event().await.code(), 0);
    assert!(server.log().streams[0].close_signal);
}

#[tokio::test]
async fn f10_an_end_is_announced_for_now() {
    for (ms, announced) in [(json!(0), Some(0)), (Value::Null, None)] {
        let server = start_with(&on("message", json!({"close": {"ms": ms, "grace_ms": 50, "then": "ok"}})));
        let mut stream = stream(&server).await;
        stream.record(0, 1);
        assert_eq!(stream.event().await, Event::Close(announced));
        stream.acked(0).await;
        assert_eq!(stream.event().await.code(), 0);
    }
}

#[tokio::test]
async fn f11_the_connection_is_reset_at_a_message() {
    let server = start_with(&on("message", json!({"break": {}})));
    let mut stream = stream(&server).await;
    stream.record(0, 1);
    assert_eq!(stream.event().await, Event::Broken);
    assert!(ids(&server).is_empty());
    assert_eq!(server.log().streams[0].ended.as_deref(), Some("the server reset the connection"));
}

#[tokio::test]
async fn f11_the_connection_is_reset_within_a_message() {
    let server = start_with(&on("open", json!({"break": {"after_bytes": 100_000}})));
    let mut stream = stream(&server).await;
    stream.write(&record_message(0, &row(1, "a")));
    stream.acked(0).await;
    stream.write(&record_message(1, &row(2, &"b".repeat(1_000_000))));
    assert_eq!(stream.event().await, Event::Broken);
    assert_eq!(ids(&server), [1]);
}

#[tokio::test]
async fn f12_a_message_is_stored_and_not_acknowledged() {
    for (fault, code) in [
        (json!({"break": {"by": "unavailable", "stored": true}}), Some(14)),
        (json!({"break": {"by": "reset", "stored": true}}), None),
        (json!({"status": {"code": "ABORTED", "stored": true}}), Some(10)),
    ] {
        let server = start_with(&on("message", fault));
        let mut stream = stream(&server).await;
        stream.record(0, 1);
        let event = stream.event().await;
        match code {
            Some(code) => assert_eq!(event.code(), code),
            None => assert_eq!(event, Event::Broken),
        }
        assert_eq!(ids(&server), [1]);
        assert_eq!(server.log().acks, 0);
    }
}

#[tokio::test]
async fn f13_an_acknowledgement_comes_late() {
    let server = start_with(&on("ack", json!({"delay": {"ms": 300}})));
    let mut stream = stream(&server).await;
    let sent = Instant::now();
    stream.record(0, 1);
    stream.record(1, 2);
    stream.acked(1).await;
    assert!(sent.elapsed() >= Duration::from_millis(300));
    stream.record(2, 3);
    stream.acked(2).await;
}

#[tokio::test]
async fn f14_acknowledgements_never_come() {
    let server = start_with(&always("ack", json!("silence")));
    let mut stream = stream(&server).await;
    stream.record(0, 1);
    stream.silence(300).await;
    assert_eq!(ids(&server), [1]);
    stream.half_close();
    assert_eq!(stream.event().await.code(), 0);
}

#[tokio::test]
async fn f15_acknowledgements_wait_for_the_end() {
    let server = start_with(&always("ack", json!({"when_idle": {"ms": 60_000}})));
    let mut stream = stream(&server).await;
    stream.record(0, 1);
    stream.record(1, 2);
    stream.silence(200).await;
    stream.half_close();
    assert_eq!(stream.event().await, Event::Ack(Some(1)));
    assert_eq!(stream.event().await.code(), 0);
}

#[tokio::test]
async fn f15_acknowledgements_wait_for_a_pause() {
    let server = start_with(&always("ack", json!({"when_idle": {"ms": 200}})));
    let mut stream = stream(&server).await;
    stream.record(0, 1);
    tokio::time::sleep(Duration::from_millis(50)).await;
    stream.record(1, 2);
    assert_eq!(stream.event().await, Event::Ack(Some(1)));
}

#[tokio::test]
async fn f16_f17_f18_acknowledgements_make_no_sense() {
    for (fault, events) in [
        (json!("backwards"), &[Some(0), Some(-1)][..]),
        (json!({"beyond": {}}), &[Some(1000)]),
        (json!({"beyond": {"by": 1}}), &[Some(1)]),
        (json!("no_value"), &[None]),
    ] {
        let server = start_with(&on("ack", fault));
        let mut stream = stream(&server).await;
        stream.record(0, 1);
        for event in events {
            assert_eq!(stream.event().await, Event::Ack(*event));
        }
    }
}

#[tokio::test]
async fn f19_nothing_is_read_any_more() {
    let server = start_with(&on("open", json!({"stall": {}})));
    let mut stream = stream(&server).await;
    stream.send.reserve_capacity(64 << 20);
    for offset in 0..32 {
        stream.write(&record_message(offset, &row(offset, &"x".repeat(1 << 20))));
    }
    stream.silence(300).await;
    assert!(ids(&server).is_empty());
    // What the window took, and no more.
    assert!(stream.send.capacity() < 60 << 20);
}

#[tokio::test]
async fn f19_reading_goes_on_after_a_while() {
    let server = start_with(&on("message", json!({"stall": {"ms": 300}})));
    let mut stream = stream(&server).await;
    stream.record(0, 1);
    stream.acked(0).await;
    let stalled = Instant::now();
    stream.record(1, 2);
    stream.acked(1).await;
    assert!(stalled.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn f19_many_small_messages_may_wait() {
    let server = start_with(&on("open", json!({"stall": {"ms": 1000}})));
    let mut stream = stream(&server).await;
    for offset in 0..150_000 {
        stream.record(offset, offset);
    }
    stream.acked(149_999).await;
    assert_eq!(server.row_count(TABLE), 150_000);
}

#[tokio::test]
async fn f20_messages_are_read_slowly() {
    let server = start_with(&on("open", json!({"slow": {"bytes_per_second": 1_000_000}})));
    let mut stream = stream(&server).await;
    let sent = Instant::now();
    stream.write(&record_message(0, &row(1, &"x".repeat(500_000))));
    stream.acked(0).await;
    assert!(sent.elapsed() >= Duration::from_millis(300), "{:?}", sent.elapsed());
}

#[tokio::test]
async fn f22_a_token_is_refused_for_good() {
    for (fault, code) in
        [(json!({"refuse_token": {}}), 16), (json!({"refuse_token": {"code": "PERMISSION_DENIED"}}), 7)]
    {
        let server = start_with(&on("open", fault.clone()));
        let refused = token(&server);
        assert_eq!(open_with(&server, &refused).await.create().await.code(), code);
        assert_eq!(open_with(&server, &refused).await.create().await.code(), code);
        stream(&server).await;
        let server = start_with(&always("open", fault));
        for _ in 0..3 {
            assert_eq!(open(&server).await.create().await.code(), code);
        }
    }
}

#[tokio::test]
async fn f23_records_with_a_value_are_refused() {
    let server = start_with(&json!([{
        "on": "message",
        "where": {"column": "id", "equals": 7},
        "times": "always",
        "do": {"status": {"code": "INVALID_ARGUMENT"}},
    }]));
    for _ in 0..2 {
        let mut stream = stream(&server).await;
        stream.record(0, 6);
        stream.acked(0).await;
        stream.write(&batch_message(1, &[row(6, ""), row(7, ""), row(8, "")]));
        assert_eq!(stream.event().await.code(), 3);
    }
    assert_eq!(ids(&server), [6, 6]);
}

#[tokio::test]
async fn f23_what_was_stored_before_a_refused_record_is_acknowledged() {
    let status = json!({"status": {"code": "INVALID_ARGUMENT"}});
    let bad = json!([{"on": "message", "where": {"column": "id", "equals": 7}, "do": status}]);
    // Of a status that is not for a record nothing follows.
    let any = json!([{"on": "message", "after": 2, "do": status}]);
    for (rules, acks_before_refusal, acked) in [(&bad, true, true), (&bad, false, false), (&any, true, false)] {
        let server = start_with(rules);
        server.set_settings(Settings { ack_delay_ms: 3_600_000, acks_before_refusal, ..Settings::default() });
        let mut stream = stream(&server).await;
        stream.record(0, 5);
        stream.record(1, 6);
        stream.record(2, 7);
        if acked {
            assert_eq!(stream.event().await, Event::Ack(Some(1)));
        }
        assert_eq!(stream.event().await.code(), 3, "{rules}");
        assert_eq!(ids(&server), [5, 6]);
    }
}

#[tokio::test]
async fn f24_the_schema_changes_between_two_openings() {
    let columns = json!([{"name": "id", "type": "STRING"}, {"name": "text", "type": "STRING"}]);
    let server = start_with(&json!([{"on": "open", "after": 1, "do": {"columns": columns}}]));
    let mut before = stream(&server).await;
    assert_eq!(open(&server).await.create().await.code(), 3);
    before.record(0, 1);
    before.acked(0).await;
    let changed = message("M", vec![field("id", 1, Type::String, Label::Optional)]);
    assert!(matches!(open(&server).await.create_with(&changed).await, Event::Created(Some(_))));
}

#[tokio::test]
async fn f25_messages_are_too_large() {
    for (code, number) in [("RESOURCE_EXHAUSTED", 8), ("OUT_OF_RANGE", 11)] {
        let server = start_with(&on("open", json!({"limit": {"bytes": 1000, "code": code}})));
        let mut stream = stream(&server).await;
        stream.write(&record_message(0, &row(1, &"x".repeat(900))));
        stream.acked(0).await;
        stream.write(&record_message(1, &row(1, &"x".repeat(1100))));
        assert_eq!(stream.event().await.code(), number);
    }
}

#[tokio::test]
async fn f26_streams_are_rotated() {
    let server = start_with(&always("open", json!({"close": {"after_ms": 100, "ms": 5000}})));
    for id in 0..3 {
        let mut stream = stream(&server).await;
        stream.record(0, id);
        stream.acked(0).await;
        assert_eq!(stream.event().await, Event::Close(Some(5000)));
        stream.half_close();
        assert_eq!(stream.event().await.code(), 0);
    }
    assert_eq!(ids(&server), [0, 1, 2]);
}

#[tokio::test]
async fn f27_the_connection_is_told_to_go_away() {
    let server = start_with(&on("message", json!({"go_away": {}})));
    let mut polite = stream(&server).await;
    polite.record(0, 1);
    polite.acked(0).await;
    // The stream goes on; no other begins on its connection.
    let refused = loop {
        let mut requests = polite.requests.clone();
        let request = http::Request::post("http://localhost/").body(()).unwrap();
        match std::future::poll_fn(|context| requests.poll_ready(context)).await {
            Ok(()) => drop(requests.send_request(request, true)),
            Err(error) => break error,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(refused.reason(), Some(Reason::NO_ERROR));
    polite.record(1, 2);
    polite.acked(1).await;

    let server = start_with(&on("message", json!({"go_away": {"abrupt": true}})));
    let mut abrupt = stream(&server).await;
    abrupt.record(0, 1);
    loop {
        match abrupt.event().await {
            Event::Ack(_) => {}
            event => break assert_eq!(event, Event::Broken),
        }
    }
    while server.log().streams[0].ended.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.log().resets, 0, "the client did none");
}

#[tokio::test]
async fn f28_acknowledgements_come_in_halves() {
    let server = start_with(&always("ack", json!({"fragment": {"ms": 100}})));
    let mut stream = stream(&server).await;
    let sent = Instant::now();
    stream.record(0, 1);
    assert_eq!(stream.event().await, Event::Ack(Some(0)));
    assert!(sent.elapsed() >= Duration::from_millis(100));
    stream.record(1, 2);
    assert_eq!(stream.event().await, Event::Ack(Some(1)));
}

#[tokio::test]
async fn faults_at_a_time_strike_without_a_message() {
    for (fault, code) in [
        (json!({"status": {"code": "INTERNAL", "after_ms": 50}}), Some(13)),
        (json!({"break": {"by": "ok", "after_ms": 50}}), Some(0)),
        (json!({"break": {"after_ms": 50}}), None),
    ] {
        let server = start_with(&on("open", fault));
        let event = stream(&server).await.event().await;
        match code {
            Some(code) => assert_eq!(event.code(), code),
            None => assert_eq!(event, Event::Broken),
        }
    }
}

#[tokio::test]
async fn several_faults_meet_in_one_opening() {
    let server = start_with(&json!([
        {"on": "open", "times": "always", "do": {"close": {"after_ms": 100, "ms": 1000}}},
        {"on": "open", "times": "always", "do": "no_stream_id"},
        {"on": "open", "after": 1, "do": {"delay_answer": {"ms": 1}}},
    ]));
    let mut call = open(&server).await;
    assert_eq!(call.create().await, Event::Created(None));
    assert_eq!(call.event().await, Event::Close(Some(1000)));
}

#[tokio::test]
async fn headers_come_before_the_first_message() {
    let server = start_with(&json!([]));
    // `call` waits for the headers and has sent nothing by then.
    let call = call(&server, &[("x-databricks-zerobus-table-name", TABLE)]).await.unwrap();
    assert_eq!(call.headers["content-type"], "application/grpc");
    assert!(descriptor().field.len() == 2);
}
