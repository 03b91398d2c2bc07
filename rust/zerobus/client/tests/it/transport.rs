//! One stream and its ends.

use std::time::{Duration, Instant};

use seakernel_zerobus::{WrapperConfiguration, ZerobusWrapper};
use seakernel_zerobus_local::{ServerOptions, Settings, ZerobusServer};
use serde_json::json;

use super::*;

#[tokio::test]
async fn an_empty_batch_needs_no_network() {
    let server = server();
    let wrapper = wrapper(&server).await;
    let result = send(&wrapper, batch(0..0)).await;
    assert!(result.success && result.attempts == 1);
    assert_eq!((result.failed_rows.is_none(), result.successful_rows.is_none()), (true, true));
    assert_eq!((server.log().connections, server.log().token_fetches.len()), (0, 0));
}

#[tokio::test]
async fn f19_a_stream_is_opened_as_the_protocol_says() {
    let server = server();
    let config = WrapperConfiguration { application_name: Some("tests/1.0".to_owned()), ..config(&server) };
    let wrapper = ZerobusWrapper::new(config).await.unwrap();
    let result = send(&wrapper, batch(0..1000)).await;
    assert_eq!((result.error, result.successful_count, result.attempts), (None, 1000, 1));
    assert!(result.failed_rows.is_none() && result.wire_bytes > 1000 && result.batch_size_bytes > 1000);
    assert_stored_once(&server, 0..1000);
    let log = server.log();
    assert_eq!((log.opens, log.connections, log.token_fetches.values().sum::<u64>()), (1, 1, 1));
    assert_eq!((log.streams[0].table.as_str(), log.streams[0].token), (TABLE, Some(0)));
    let agent = &log.streams[0].user_agent;
    assert!(agent.starts_with(&format!("seakernel-zerobus/{} tests/1.0", env!("CARGO_PKG_VERSION"))), "{agent}");
    assert_no_violations(&server);
}

#[tokio::test]
async fn f20_what_is_not_acknowledged_is_sent_again_in_order() {
    let server = server();
    let wrapper = ZerobusWrapper::new(small_requests(&server, 10)).await.unwrap();
    // The fourth message is not stored, and those after it are lost with the stream.
    faults(&server, r#"[{"on": "message", "after": 4, "do": {"break": {"by": "unavailable"}}}]"#);
    let result = send(&wrapper, batch(0..200)).await;
    assert_eq!((result.successful_count, result.error.is_none(), result.attempts), (200, true, 2));
    assert_no_violations(&server);
    let rows = server.rows(TABLE);
    let of_second: Vec<_> = rows.iter().filter(|row| row.stream_id == server.log().streams[1].stream_id).collect();
    assert_eq!(of_second[0].offset, 0);
    let ids: Vec<i64> = of_second.iter().map(|row| row.values["id"].as_i64().unwrap()).collect();
    assert!(ids.is_sorted() && ids.contains(&199), "{ids:?}");
    // What was acknowledged on the first stream was not sent again.
    let acked = server.log().streams[0].acked.map_or(0, |acked| (acked + 1) * 10);
    assert_eq!(ids[0], acked);
}

/// Codes with whether they are tried again, the error at opening and the one in the midst of a stream.
const CODES: [(&str, bool, &str, &str); 17] = [
    // An end in order, where there should be none.
    ("OK", true, "RetryExhausted", "RetryExhausted"),
    ("CANCELLED", true, "RetryExhausted", "RetryExhausted"),
    ("UNKNOWN", true, "RetryExhausted", "RetryExhausted"),
    ("INVALID_ARGUMENT", false, "TransmissionError", "TransmissionError"),
    ("DEADLINE_EXCEEDED", true, "RetryExhausted", "RetryExhausted"),
    ("NOT_FOUND", false, "ConfigurationError", "ConfigurationError"),
    ("ALREADY_EXISTS", true, "RetryExhausted", "RetryExhausted"),
    ("PERMISSION_DENIED", false, "AuthenticationError", "AuthenticationError"),
    ("RESOURCE_EXHAUSTED", true, "RetryExhausted", "RetryExhausted"),
    ("FAILED_PRECONDITION", true, "RetryExhausted", "RetryExhausted"),
    ("ABORTED", true, "RetryExhausted", "RetryExhausted"),
    ("OUT_OF_RANGE", false, "TransmissionError", "TransmissionError"),
    ("UNIMPLEMENTED", false, "ConfigurationError", "ConfigurationError"),
    ("INTERNAL", true, "RetryExhausted", "RetryExhausted"),
    ("UNAVAILABLE", true, "RetryExhausted", "RetryExhausted"),
    ("DATA_LOSS", true, "RetryExhausted", "RetryExhausted"),
    ("UNAUTHENTICATED", false, "AuthenticationError", "AuthenticationError"),
];

/// The code that an error has.
fn told(code: &'static str) -> Option<&'static str> {
    (code != "OK").then_some(code)
}

#[tokio::test]
async fn f21_each_status_at_opening_is_tried_again_as_often_as_it_may_help() {
    let server = server();
    for (code, is_retried, error_type, _) in CODES {
        server.reset();
        let rules = json!([{"on": "open", "times": "always", "do": {"status": {"code": code}}}]);
        faults(&server, &rules.to_string());
        let config = config(&server).with_retry_config(3, 1, 4);
        let wrapper = ZerobusWrapper::new(config).await.unwrap();
        let result = send(&wrapper, batch(0..5)).await;
        let error = result.error.as_ref().expect(code);
        assert_eq!((error.error_type(), error.failure().grpc_code), (error_type, told(code)), "{error}");
        assert_eq!(result.failed_count, 5, "{code}");
        // A new token is tried once, whatever the tries.
        let is_about_token = error_type == "AuthenticationError";
        let opens = if is_retried { 3 } else { 1 + u64::from(is_about_token) };
        assert_eq!((server.log().opens, u64::from(result.attempts)), (opens, if is_retried { 3 } else { 1 }), "{code}");
    }
}

#[tokio::test]
async fn f21_each_status_in_the_midst_of_a_stream_is_tried_again_as_often_as_it_may_help() {
    let server = server();
    for (code, is_retried, _, error_type) in CODES {
        server.reset();
        let rules = json!([{"on": "message", "times": "always", "do": {"status": {"code": code}}}]);
        faults(&server, &rules.to_string());
        let mut config = config(&server).with_retry_config(3, 1, 4);
        config.isolate_bad_rows = false;
        let wrapper = ZerobusWrapper::new(config).await.unwrap();
        let result = send(&wrapper, batch(0..5)).await;
        // Something was written, so that it is no error of the batch.
        assert_eq!((result.error.is_none(), result.failed_count), (true, 5), "{code}");
        assert_eq!(result.uncertain_rows, [0, 1, 2, 3, 4]);
        let error = &result.failed_rows.as_ref().unwrap()[0].1;
        assert_eq!((error.error_type(), error.failure().grpc_code), (error_type, told(code)), "{error}");
        let is_about_token = error_type == "AuthenticationError";
        // An end in order is followed once for free, for services close streams.
        let tries = if code == "OK" { 4 } else { 3 };
        let opens = if is_retried { tries } else { 1 + u64::from(is_about_token) };
        assert_eq!(server.log().opens, opens, "{code}");
    }
}

#[tokio::test]
async fn f21_exhausted_resources_wait_the_whole_delay_and_as_long_as_the_server_asks() {
    let server = server();
    let status = json!({"status": {"code": "RESOURCE_EXHAUSTED", "retry_after_ms": 400}});
    faults(&server, &json!([{"on": "open", "do": status}]).to_string());
    let wrapper = wrapper(&server).await;
    let started = Instant::now();
    let result = send(&wrapper, batch(0..5)).await;
    assert_eq!((result.successful_count, result.attempts), (5, 2));
    assert!(started.elapsed() >= Duration::from_millis(400));
}

#[tokio::test]
async fn f22_exhaustion_fails_all_rows_with_the_count_and_the_last_error() {
    let server = server();
    faults(
        &server,
        r#"[{"on": "open", "times": "always", "do": {"status": {"code": "UNAVAILABLE", "message": "closed today"}}}]"#,
    );
    let wrapper = wrapper(&server).await;
    let result = send(&wrapper, batch(0..7)).await;
    let (count, text) = failed_alike(&result);
    assert_eq!((count, result.attempts), (7, 5));
    assert!(text.starts_with("Retry exhausted: ") && text.contains("5 tries"), "{text}");
    assert!(text.contains("Connection error: ") && text.contains("UNAVAILABLE: closed today"), "{text}");
    assert_eq!(result.error.unwrap().to_string(), text);
    // The wrapper is as good as before.
    server.set_faults(vec![]);
    assert_eq!(send(&wrapper, batch(0..7)).await.successful_count, 7);
}

#[tokio::test]
async fn f22_nobody_there_is_told_as_such() {
    let server = server();
    let config = WrapperConfiguration { zerobus_endpoint: "http://127.0.0.1:1".to_owned(), ..config(&server) };
    let wrapper = ZerobusWrapper::new(config.with_retry_config(2, 1, 1)).await.unwrap();
    let result = send(&wrapper, batch(0..2)).await;
    let (count, text) = failed_alike(&result);
    assert_eq!((count, result.error.is_some()), (2, true));
    assert!(text.contains("127.0.0.1:1 cannot be reached"), "{text}");
}

#[tokio::test]
async fn f23_nothing_is_lost_where_a_stream_breaks() {
    for (rule, may_double) in [
        (r#"{"on": "message", "after_records": 300, "do": {"status": {"code": "UNAVAILABLE"}}}"#, false),
        (r#"{"on": "open", "do": {"break": {"after_bytes": 3000}}}"#, true),
        (r#"{"on": "message", "after_records": 300, "do": {"break": {"stored": true}}}"#, true),
        (r#"{"on": "message", "after_records": 300, "do": {"break": {"by": "ok"}}}"#, false),
        (r#"{"on": "message", "after_records": 300, "do": {"go_away": {"abrupt": true}}}"#, true),
    ] {
        let server = server();
        let wrapper = ZerobusWrapper::new(small_requests(&server, 50)).await.unwrap();
        faults(&server, &format!("[{rule}]"));
        let result = send(&wrapper, batch(0..1000)).await;
        assert_eq!((result.successful_count, result.failed_count), (1000, 0), "{rule}: {result:?}");
        let ids = stored(&server);
        assert!(ids.iter().map(|(id, _)| *id).eq(0..1000), "{rule}");
        assert!(ids.iter().all(|(_, times)| *times <= 2), "{rule}");
        // A status comes behind all acknowledgements, but not behind the writing of what came after.
        if !may_double {
            let acked: i64 = server.log().streams.iter().filter_map(|stream| stream.acked).map(|acked| acked + 1).sum();
            assert!(acked >= 20, "{rule}");
        }
        assert_no_violations(&server);
    }
}

#[tokio::test]
async fn f24_a_close_signal_loses_and_doubles_nothing() {
    for (signal, delay_ms) in
        [(json!({"ms": 3000}), 20), (json!({"ms": 0}), 20), (json!({}), 20), (json!({"ms": 0}), 0)]
    {
        let server = server_with(Settings { ack_delay_ms: delay_ms, ..Settings::default() });
        let wrapper = ZerobusWrapper::new(small_requests(&server, 20)).await.unwrap();
        faults(&server, &json!([{"on": "message", "after": 10, "do": {"close": signal}}]).to_string());
        let started = Instant::now();
        let result = send(&wrapper, batch(0..1000)).await;
        assert_eq!((result.successful_count, result.failed_count), (1000, 0), "{signal}");
        // The acknowledgements come in no time, so that the time given is not used up.
        assert!(started.elapsed() < Duration::from_secs(3), "{signal}: {:?}", started.elapsed());
        assert_stored_once(&server, 0..1000);
        assert_no_violations(&server);
        until(|| server.log().streams[0].half_closed).await;
        assert_eq!(server.log().resets, 0, "{signal}");
    }
}

#[tokio::test]
async fn f24_late_acknowledgements_are_read_before_anything_is_sent_again() {
    let server = server_with(Settings { ack_delay_ms: 300, ..Settings::default() });
    let wrapper = ZerobusWrapper::new(small_requests(&server, 20)).await.unwrap();
    faults(&server, r#"[{"on": "message", "after": 10, "do": {"close": {"ms": 0}}}]"#);
    let result = send(&wrapper, batch(0..1000)).await;
    assert_eq!(result.successful_count, 1000);
    assert_stored_once(&server, 0..1000);
}

#[tokio::test]
async fn f24_a_long_close_does_not_lengthen_the_wait_for_acknowledgements() {
    let server = server();
    let config = WrapperConfiguration { ack_timeout_ms: 300, ..config(&server) };
    let wrapper = ZerobusWrapper::new(config).await.unwrap();
    let close = json!({"close": {"ms": 3_600_000}});
    faults(&server, &json!([{"on": "message", "do": close}, {"on": "ack", "do": "silence"}]).to_string());
    let result = send(&wrapper, batch(0..10)).await;
    assert_eq!((result.successful_count, result.attempts), (10, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f25_rotation_under_four_senders_loses_nothing() {
    // A rotation each 2 s for a minute is not for every run.
    let is_full = std::env::var_os("SEAKERNEL_ZEROBUS_FULL").is_some();
    let (seconds, rotation_ms) = if is_full { (60, 2000) } else { (3, 200) };
    let server = server_with(Settings { ack_delay_ms: 5, ..Settings::default() });
    let wrapper = ZerobusWrapper::new(small_requests(&server, 50)).await.unwrap();
    let rotation = json!({"close": {"after_ms": rotation_ms, "ms": 100}});
    faults(&server, &json!([{"on": "open", "times": "always", "do": rotation}]).to_string());
    let until = Instant::now() + Duration::from_secs(seconds);
    let senders: Vec<_> = (0..4_i64)
        .map(|sender| {
            let wrapper = wrapper.clone();
            tokio::spawn(async move {
                let mut sent = 0;
                while Instant::now() < until {
                    let first = sender * 1_000_000 + sent;
                    let result = send(&wrapper, batch(first..first + 200)).await;
                    assert_eq!(result.successful_count, 200, "{:?}", result.failed_rows.map(|rows| rows[0].clone()));
                    sent += 200;
                }
                sent
            })
        })
        .collect();
    let mut ids = Vec::new();
    for (sender, task) in (0..4_i64).zip(senders) {
        let sent = task.await.unwrap();
        ids.extend(sender * 1_000_000..sender * 1_000_000 + sent);
    }
    assert_stored_once(&server, ids);
    assert_no_violations(&server);
    let opens = server.log().opens;
    assert!(opens > 5);
    eprintln!("{} rows over {opens} streams in {seconds} s, each stored once", server.row_count(TABLE));
}

#[tokio::test]
async fn f26_no_acknowledgement_fails_after_its_time_and_not_before() {
    let server = server();
    let config = WrapperConfiguration { ack_timeout_ms: 300, ..config(&server) };
    let wrapper = ZerobusWrapper::new(config.with_retry_config(2, 1, 1)).await.unwrap();
    faults(&server, r#"[{"on": "ack", "times": "always", "do": "silence"}]"#);
    let started = Instant::now();
    let result = send(&wrapper, batch(0..3)).await;
    assert!(started.elapsed() >= Duration::from_millis(600), "{:?}", started.elapsed());
    let (count, text) = failed_alike(&result);
    assert_eq!((count, result.error.is_none(), result.uncertain_rows.len()), (3, true, 3));
    assert!(text.contains("no acknowledgement came within 0.3 s"), "{text}");
}

#[tokio::test]
async fn f26_a_late_acknowledgement_within_the_time_succeeds() {
    let server = server();
    let config = WrapperConfiguration { ack_timeout_ms: 20_000, ..config(&server) };
    let wrapper = ZerobusWrapper::new(config).await.unwrap();
    faults(&server, r#"[{"on": "ack", "do": {"delay": {"ms": 700}}}]"#);
    let result = send(&wrapper, batch(0..3)).await;
    assert_eq!((result.successful_count, result.attempts), (3, 1));
    assert!(result.latency_ms.unwrap() >= 700);
    // Nothing is due while nothing is sent.
    assert_stored_once(&server, 0..3);
}

#[tokio::test]
async fn f26_an_idle_stream_has_no_time_limit() {
    let server = server();
    let config = WrapperConfiguration { ack_timeout_ms: 200, ..config(&server) };
    let wrapper = ZerobusWrapper::new(config).await.unwrap();
    send(&wrapper, batch(0..3)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    send(&wrapper, batch(3..6)).await;
    assert_eq!(server.log().opens, 1);
}

#[tokio::test]
async fn f27_hostile_acknowledgements_are_no_success() {
    for fault in
        [json!("no_value"), json!("backwards"), json!({"beyond": {"by": 100}}), json!({"beyond": {"by": 1_i64 << 40}})]
    {
        let server = server();
        let wrapper = ZerobusWrapper::new(small_requests(&server, 10)).await.unwrap();
        faults(&server, &json!([{"on": "ack", "after": 0, "do": fault}]).to_string());
        let result = send(&wrapper, batch(0..100)).await;
        assert_eq!(result.successful_count, 100, "{fault}");
        assert!(stored(&server).into_iter().map(|(id, _)| id).eq(0..100), "{fault}");
        // What goes backwards was acknowledged before, and may have been the last.
        assert!(result.attempts == 2 || fault == json!("backwards"), "{fault}");
        if fault == json!("backwards") {
            continue;
        }
        // For ever, it is a failure.
        faults(&server, &json!([{"on": "ack", "times": "always", "do": fault}]).to_string());
        let result = send(&wrapper, batch(100..101)).await;
        let (_, text) = failed_alike(&result);
        assert!(text.contains("protocol violation: "), "{fault}: {text}");
    }
}

#[tokio::test]
async fn an_acknowledgement_in_two_pieces_is_one() {
    let server = server();
    let wrapper = wrapper(&server).await;
    faults(&server, r#"[{"on": "ack", "do": {"fragment": {"ms": 50}}}]"#);
    assert_eq!(send(&wrapper, batch(0..10)).await.attempts, 1);
}

#[tokio::test]
async fn f28_back_pressure_drops_nothing() {
    let options = ServerOptions { stream_window: 65_535, connection_window: 65_535, ..ServerOptions::default() };
    let server = ZerobusServer::start(options).unwrap();
    server.create_table(TABLE, &columns()).unwrap();
    let config =
        WrapperConfiguration { max_inflight_requests: 2, max_inflight_bytes: 4096, ..small_requests(&server, 50) };
    let wrapper = ZerobusWrapper::new(config).await.unwrap();
    faults(
        &server,
        r#"[{"on": "open", "do": {"slow": {"bytes_per_second": 200000}}}, {"on": "message", "after": 5, "do": {"stall": {"ms": 300}}}]"#,
    );
    let senders: Vec<_> = (0..4_i64)
        .map(|sender| {
            let wrapper = wrapper.clone();
            tokio::spawn(async move { send(&wrapper, batch(sender * 1000..(sender + 1) * 1000)).await })
        })
        .collect();
    for sender in senders {
        assert_eq!(sender.await.unwrap().successful_count, 1000);
    }
    assert_stored_once(&server, 0..4000);
    assert_no_violations(&server);
}

#[tokio::test]
async fn f28_a_server_that_reads_no_more_is_left() {
    let server = server();
    let config = WrapperConfiguration { ack_timeout_ms: 500, max_inflight_requests: 3, ..small_requests(&server, 20) };
    let wrapper = ZerobusWrapper::new(config).await.unwrap();
    faults(&server, r#"[{"on": "message", "after": 5, "do": {"stall": {}}}]"#);
    let result = send(&wrapper, batch(0..1000)).await;
    assert_eq!((result.successful_count, result.attempts), (1000, 2));
    until(|| server.log().open_connections == 1).await;
}

/// On such threads names are resolved: where all of them wait, nothing can be reached.
#[test]
fn f28_sends_that_wait_for_room_hold_no_threads() {
    let threads = std::thread::available_parallelism().unwrap().get() + 3;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(threads).build().unwrap();
    runtime.block_on(async {
        let server = server();
        faults(&server, r#"[{"on": "ack", "times": "always", "do": "silence"}]"#);
        let config = WrapperConfiguration { max_inflight_bytes: 1024, ..small_requests(&server, 10) };
        let wrapper = ZerobusWrapper::new(config).await.unwrap();
        let sends: Vec<_> = (0..4 * threads as i64)
            .map(|send| {
                let wrapper = wrapper.clone();
                tokio::spawn(async move { wrapper.send_batch(batch(send * 1000..(send + 1) * 1000)).await })
            })
            .collect();
        until(|| server.log().messages > 0).await;
        let free = tokio::time::timeout(LONG / 3, tokio::task::spawn_blocking(|| ())).await;
        free.expect("all threads wait").unwrap();
        for send in sends {
            send.abort();
        }
    });
}

#[tokio::test]
async fn f32_a_schema_that_is_refused_is_told_with_its_causes_and_tried_once() {
    let server = server();
    server.create_table(TABLE, &[Column::new("id", "BIGINT").not_null()]).unwrap();
    let wrapper = wrapper(&server).await;
    let result = send(&wrapper, batch(0..3)).await;
    let error = result.error.unwrap();
    assert_eq!((error.error_type(), server.log().opens), ("ConfigurationError", 1), "{error}");
    assert!(error.to_string().contains("FIELD_NOT_IN_TABLE"), "{error}");
    assert_eq!(result.failed_count, 3);
}

#[tokio::test]
async fn f32_a_table_that_is_not_there_is_tried_once() {
    let server = server();
    let wrapper = ZerobusWrapper::new(config_for(&server, "main.default.other")).await.unwrap();
    let error = send(&wrapper, batch(0..3)).await.error.unwrap();
    assert_eq!((error.error_type(), error.failure().grpc_code), ("ConfigurationError", Some("NOT_FOUND")));
    assert_eq!(server.log().opens, 1);
}

#[tokio::test]
async fn f33_two_schemas_have_a_stream_each() {
    let server = server();
    let wrapper = wrapper(&server).await;
    let narrow = |ids: std::ops::Range<i64>| batch(ids).project(&[0]).unwrap();
    for round in 0..5 {
        assert_eq!(send(&wrapper, batch(round * 20..round * 20 + 10)).await.successful_count, 10);
        assert_eq!(send(&wrapper, narrow(round * 20 + 10..round * 20 + 20)).await.successful_count, 10);
    }
    assert_stored_once(&server, 0..100);
    assert_eq!(server.log().opens, 2);
    assert_no_violations(&server);
}

#[tokio::test]
async fn what_hangs_at_opening_ends_in_time() {
    for rules in [
        r#"[{"on": "connect", "times": "always", "do": "silence"}]"#,
        r#"[{"on": "open", "times": "always", "do": "silence"}]"#,
        r#"[{"on": "open", "times": "always", "do": {"delay_answer": {"ms": 60000}}}]"#,
        r#"[{"on": "open", "times": "always", "do": "no_stream_id"}]"#,
        r#"[{"on": "connect", "times": "always", "do": "refuse"}]"#,
    ] {
        let server = server();
        faults(&server, rules);
        let config = WrapperConfiguration { connect_timeout_ms: 300, ..config(&server).with_retry_config(2, 1, 1) };
        let wrapper = ZerobusWrapper::new(config).await.unwrap();
        let result = send(&wrapper, batch(0..2)).await;
        let (count, text) = failed_alike(&result);
        assert_eq!((count, result.error.is_some()), (2, true), "{rules}");
        assert!(text.starts_with("Retry exhausted: "), "{rules}: {text}");
        server.set_faults(vec![]);
        // Nothing is left behind.
        until(|| server.log().open_connections == 0).await;
    }
}

#[tokio::test]
async fn requests_that_are_too_large_for_the_service_are_cut() {
    let server = server();
    faults(&server, r#"[{"on": "open", "times": "always", "do": {"limit": {"bytes": 2000, "code": "OUT_OF_RANGE"}}}]"#);
    let wrapper = wrapper(&server).await;
    let result = send(&wrapper, batch(0..1000)).await;
    assert_eq!((result.successful_count, result.failed_count), (1000, 0), "{:?}", result.failed_rows);
    assert_stored_once(&server, 0..1000);
}

#[tokio::test]
async fn a_table_that_changes_in_between_fails_what_is_left() {
    let server = server_with(Settings { ack_interval_ms: 0, ..Settings::default() });
    let wrapper = ZerobusWrapper::new(small_requests(&server, 10)).await.unwrap();
    let rules = json!([
        {"on": "message", "after": 5, "do": {"close": {"ms": 0}}},
        {"on": "open", "after": 1, "do": {"columns": [{"name": "other", "type": "STRING"}]}},
    ]);
    faults(&server, &rules.to_string());
    let result = send(&wrapper, batch(0..1000)).await;
    assert!(result.error.is_none() && result.is_partial_success(), "{result:?}");
    assert_eq!(server.log().opens, 2);
    for (_, error) in result.failed_rows.as_ref().unwrap() {
        assert_eq!(error.error_type(), "ConfigurationError");
    }
    assert_eq!(server.row_count(TABLE), result.successful_count as u64);
}

#[tokio::test]
async fn a_connection_that_goes_away_in_order_loses_nothing() {
    let server = server();
    let wrapper = ZerobusWrapper::new(small_requests(&server, 10)).await.unwrap();
    faults(&server, r#"[{"on": "message", "after": 5, "do": {"go_away": {}}}]"#);
    let result = send(&wrapper, batch(0..500)).await;
    assert_eq!(result.successful_count, 500);
    assert_stored_once(&server, 0..500);
}
