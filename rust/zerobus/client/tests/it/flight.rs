//! Batches by Arrow Flight.

use std::collections::BTreeSet;

use arrow_array::builder::{Int32Builder, MapBuilder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    BinaryArray, Date64Array, Decimal128Array, DictionaryArray, Float64Array, Int8Array, ListArray, MapArray,
    TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use seakernel_zerobus::{IngestMode, WrapperConfiguration, ZerobusWrapper};
use seakernel_zerobus_local::Settings;
use serde_json::json;

use super::*;

fn arrow(config: WrapperConfiguration) -> WrapperConfiguration {
    WrapperConfiguration { ingest_mode: IngestMode::Arrow, ..config }
}

async fn arrow_wrapper(server: &ZerobusServer) -> ZerobusWrapper {
    ZerobusWrapper::new(arrow(config(server))).await.unwrap()
}

async fn small(server: &ZerobusServer, rows: usize) -> ZerobusWrapper {
    ZerobusWrapper::new(arrow(small_requests(server, rows))).await.unwrap()
}

#[tokio::test]
async fn f46_a_batch_is_stored_and_the_stream_used_again() {
    let server = server();
    let wrapper = arrow_wrapper(&server).await;
    let result = send(&wrapper, batch(0..1000)).await;
    assert_eq!((result.successful_count, result.attempts), (1000, 1));
    assert!(result.wire_bytes > 8000, "{}", result.wire_bytes);
    send(&wrapper, batch(1000..1001)).await;
    send(&wrapper, batch(0..3000).slice(2000, 500)).await;
    wrapper.shutdown().await.unwrap();
    assert_stored_once(&server, (0..1001).chain(2000..2500));
    let row = &server.rows(TABLE)[8];
    assert_eq!((&row.values["id"], &row.values["text"]), (&json!(8), &json!("row 8")));
    assert!(server.rows(TABLE)[7].values["text"].is_null());
    assert_no_violations(&server);
    let log = server.log();
    assert_eq!((log.opens, log.half_closes, log.resets), (1, 1, 0));
}

#[tokio::test]
async fn f46_large_batches_are_split() {
    let server = server();
    let wrapper =
        ZerobusWrapper::new(WrapperConfiguration { max_request_rows: 1 << 20, ..arrow(config(&server)) }).await;
    let wrapper = wrapper.unwrap();
    let ids = 0..20_000_i64;
    // The second half has almost all of the bytes, so that a split by rows alone would not do.
    let text = ids.clone().map(|id| Some("x".repeat(if id < 10_000 { 1 } else { 1000 })));
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from_iter_values(ids)), Arc::new(text.collect::<StringArray>())];
    let result = send(&wrapper, RecordBatch::try_new(batch(0..1).schema(), columns).unwrap()).await;
    assert_eq!(result.successful_count, 20_000);
    assert_stored_once(&server, 0..20_000);
    let log = server.log();
    assert!((4..=12).contains(&log.messages), "{} messages", log.messages);
    assert_no_violations(&server);
}

#[tokio::test]
async fn f46_a_row_that_is_too_large_fails_alone() {
    let server = server();
    let config = WrapperConfiguration { max_record_bytes: 5000, ..arrow(config(&server)) };
    let wrapper = ZerobusWrapper::new(config).await.unwrap();
    let ids = 0..100_i64;
    let text = ids.clone().map(|id| Some("x".repeat(if id == 41 { 6000 } else { 10 })));
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from_iter_values(ids)), Arc::new(text.collect::<StringArray>())];
    let batch = RecordBatch::try_new(batch(0..1).schema(), columns).unwrap();
    let result = send(&wrapper, batch).await;
    assert_eq!(result.get_failed_row_indices(), [41]);
    assert!(failed_alike(&result).1.contains("a record of 6"));
    assert_stored_once(&server, (0..100).filter(|id| *id != 41));
}

#[tokio::test]
async fn f46_columns_become_the_types_of_the_service() {
    let server = server();
    let types = [
        ("i8", "TINYINT"),
        ("u64", "BIGINT"),
        ("text", "STRING"),
        ("bytes", "BINARY"),
        ("price", "DECIMAL(9,2)"),
        ("day", "DATE"),
        ("at", "TIMESTAMP"),
        ("local", "TIMESTAMP_NTZ"),
        ("list", "ARRAY<INT>"),
        ("map", "MAP<STRING, INT>"),
        ("number", "DOUBLE"),
    ];
    server.create_table(TABLE, &types.map(|(name, kind)| Column::new(name, kind))).unwrap();
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("a");
    map.values().append_value(1);
    map.append(true).unwrap();
    map.append(false).unwrap();
    let map: MapArray = map.finish();
    let list: ListArray = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), Some(vec![])]);
    let price = Decimal128Array::from(vec![Some(-5), None]).with_precision_and_scale(9, 2).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("i8", Arc::new(Int8Array::from(vec![Some(-1), None]))),
        ("u64", Arc::new(UInt64Array::from(vec![7, u64::MAX]))),
        ("text", Arc::new([Some("x"), Some("y")].into_iter().collect::<DictionaryArray<Int32Type>>())),
        ("bytes", Arc::new(BinaryArray::from(vec![&b"\x00\x01"[..], b""]))),
        ("price", Arc::new(price)),
        ("day", Arc::new(Date64Array::from(vec![-1, 0]))),
        ("at", Arc::new(TimestampSecondArray::from(vec![2, 3]).with_timezone("+02:00"))),
        ("local", Arc::new(TimestampNanosecondArray::from(vec![-1, 1]))),
        ("list", Arc::new(list)),
        ("map", Arc::new(map)),
        ("number", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let wrapper = arrow_wrapper(&server).await;
    let result = send(&wrapper, batch).await;
    assert_eq!(result.get_failed_row_indices(), [1]);
    let (_, text) = failed_alike(&result);
    assert!(text.contains("field='u64', row=1, error=a number beyond 64 bits"), "{text}");
    let rows = server.rows(TABLE);
    let expected = json!({
        "i8": -1, "u64": 7, "text": "x", "bytes": "AAE=", "price": "-0.05", "day": -1, "at": 2_000_000, "local": -1,
        "list": [1, null], "map": [["a", 1]], "number": 0.5,
    });
    assert_eq!(json!(rows[0].values), expected);
    assert_no_violations(&server);
}

#[tokio::test]
async fn f46_a_schema_that_does_not_fit_is_told_and_tried_once() {
    let server = server();
    server.create_table(TABLE, &[Column::new("id", "INT").not_null(), Column::new("text", "STRING")]).unwrap();
    let wrapper = arrow_wrapper(&server).await;
    let result = send(&wrapper, batch(0..3)).await;
    let error = result.error.unwrap();
    assert_eq!((error.error_type(), server.log().opens), ("ConfigurationError", 1), "{error}");
    assert!(error.to_string().contains("TYPE_INCOMPATIBLE"), "{error}");
    let descriptor = prost_types::DescriptorProto::default();
    let result = wrapper.send_batch_with_descriptor(batch(0..3), Some(descriptor)).await.unwrap();
    assert_eq!(result.error.unwrap().error_type(), "ConfigurationError");
}

#[tokio::test]
async fn f46_a_stream_that_is_not_ready_is_not_used() {
    for rules in [
        r#"[{"on": "open", "times": "always", "do": "no_stream_id"}]"#,
        r#"[{"on": "open", "times": "always", "do": {"delay_answer": {"ms": 60000}}}]"#,
    ] {
        let server = server();
        faults(&server, rules);
        let config = WrapperConfiguration { connect_timeout_ms: 300, ..config(&server).with_retry_config(2, 1, 1) };
        let wrapper = ZerobusWrapper::new(arrow(config)).await.unwrap();
        let result = send(&wrapper, batch(0..2)).await;
        assert!(failed_alike(&result).1.starts_with("Retry exhausted: "), "{result:?}");
        assert_eq!((server.log().messages, server.log().opens), (0, 2));
    }
}

#[tokio::test]
async fn f46_what_a_record_count_acknowledges_is_not_sent_again() {
    let server = server_with(Settings { ack_interval_ms: 0, ..Settings::default() });
    let wrapper = arrow_wrapper(&server).await;
    faults(&server, r#"[{"on": "ack", "do": {"partial": {"records": 30, "then": "unavailable"}}}]"#);
    let result = send(&wrapper, batch(0..100)).await;
    assert_eq!((result.successful_count, result.attempts), (100, 2), "{:?}", result.failed_rows);
    // It had stored all, and acknowledged 70: the suffix came twice, and it alone.
    let expected: Vec<(i64, u64)> = (0..100).map(|id| (id, if id < 70 { 1 } else { 2 })).collect();
    assert_eq!(stored(&server), expected);
    assert_no_violations(&server);
}

#[tokio::test]
async fn f46_what_is_acknowledged_in_part_stays_so_when_all_fails() {
    let server = server();
    let config = WrapperConfiguration { isolate_bad_rows: false, ..config(&server).with_retry_config(1, 1, 1) };
    let wrapper = ZerobusWrapper::new(arrow(config)).await.unwrap();
    faults(&server, r#"[{"on": "ack", "times": "always", "do": {"partial": {"records": 30, "then": "unavailable"}}}]"#);
    let result = send(&wrapper, batch(0..100)).await;
    assert!(result.successful_rows.as_ref().unwrap().iter().copied().eq(0..70));
    assert!(result.uncertain_rows.iter().copied().eq(70..100));
    assert_eq!(failed_alike(&result).0, 30);
}

#[tokio::test]
async fn f46_partial_acknowledgements_add_up() {
    let server = server_with(Settings { ack_interval_ms: 0, ..Settings::default() });
    let wrapper = small(&server, 10).await;
    faults(&server, r#"[{"on": "ack", "times": "always", "probability": 0.5, "do": {"partial": {"records": 3}}}]"#);
    for round in 0..5 {
        let result = send(&wrapper, batch(round * 200..(round + 1) * 200)).await;
        assert_eq!((result.successful_count, result.attempts), (200, 1));
    }
    assert_stored_once(&server, 0..1000);
    assert_eq!(server.log().opens, 1);
}

#[tokio::test]
async fn f46_wrong_acknowledgements_are_nothing_stored() {
    for fault in [r#""no_value""#, r#"{"beyond": {}}"#] {
        let server = server();
        let wrapper = small(&server, 10).await;
        faults(&server, &format!(r#"[{{"on": "ack", "do": {fault}}}]"#));
        let result = send(&wrapper, batch(0..100)).await;
        assert_eq!(result.successful_count, 100, "{fault}");
        assert!(result.attempts > 1, "{fault}");
        assert!(stored(&server).into_iter().map(|(id, _)| id).eq(0..100));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f46_rotation_loses_and_doubles_nothing() {
    for ms in ["0", "200"] {
        let server = server_with(Settings { ack_delay_ms: 5, ..Settings::default() });
        let wrapper = small(&server, 20).await;
        let rules = format!(
            r#"[{{"on": "open", "times": "always", "do": {{"close": {{"after_ms": 50, "ms": {ms}, "grace_ms": 5000}}}}}}]"#
        );
        faults(&server, &rules);
        let senders: Vec<_> = (0..2_i64)
            .map(|sender| {
                let wrapper = wrapper.clone();
                tokio::spawn(async move {
                    for round in 0..30 {
                        let first = sender * 100_000 + round * 100;
                        assert_eq!(send(&wrapper, batch(first..first + 100)).await.failed_count, 0);
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.await.unwrap();
        }
        assert_stored_once(&server, (0..3000).chain(100_000..103_000));
        assert!(server.log().opens > 1);
        assert_no_violations(&server);
    }
}

#[tokio::test]
async fn f46_rows_that_the_service_refuses_are_found() {
    for bad in [&[4321][..], &[0, 777, 778, 5000, 9999]] {
        let server = server();
        // Text in this mode, so that only the service sees what is no number.
        server.create_table(TABLE, &[Column::new("id", "BIGINT"), Column::new("price", "DECIMAL(5,2)")]).unwrap();
        let prices = (0..10_000).map(|row| Some(if bad.contains(&row) { "dear" } else { "1.50" }));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(Int64Array::from_iter_values(0..10_000))),
            ("price", Arc::new(prices.collect::<StringArray>())),
        ];
        let wrapper = arrow_wrapper(&server).await;
        let result = send(&wrapper, RecordBatch::try_from_iter(columns).unwrap()).await;
        assert_eq!(result.get_failed_row_indices(), bad, "{:?}", result.error);
        for (_, error) in result.failed_rows.unwrap() {
            assert_eq!(error.error_type(), "TransmissionError");
            assert!(error.to_string().contains("`dear` is no DECIMAL(5,2)"), "{error}");
        }
        let bad: BTreeSet<i64> = bad.iter().map(|row| *row as i64).collect();
        assert_stored_once(&server, (0..10_000).filter(|id| !bad.contains(id)));
        assert!(server.log().opens <= 32, "{} streams", server.log().opens);
        assert_no_violations(&server);
    }
}
