//! When a table is left alone.

use seakernel_zerobus::{WrapperConfiguration, ZerobusWrapper};
use serde_json::json;

use super::*;

#[tokio::test]
async fn f29_a_blocked_table_is_left_alone_and_then_tried_again() {
    let info = json!({"reason": "STREAM_CREATION_BLOCKED", "domain": "zerobus.databricks.com", "metadata": {"error_code": "6006"}});
    for status in [
        json!({"code": "FAILED_PRECONDITION", "error_info": info}),
        json!({"code": "UNAVAILABLE", "message": "Error 6006: recent pipelines of this table failed"}),
    ] {
        let server = server();
        faults(&server, &json!([{"on": "open", "do": {"status": status}}]).to_string());
        let wrapper = wrapper(&server).await;
        let result = send(&wrapper, batch(0..3)).await;
        let error = result.error.unwrap();
        assert_eq!((error.error_type(), error.failure().server_code.as_deref()), ("ConnectionError", Some("6006")));
        assert!(error.is_retryable());
        // At once, and without a word to the server.
        let before = server.log().connections;
        pass(59).await;
        let result = send(&wrapper, batch(0..3)).await;
        let error = result.error.unwrap();
        assert!(error.to_string().contains("writes pause for another "), "{error}");
        assert_eq!((server.log().connections, result.failed_rows.is_none()), (before, true));
        pass(31).await;
        assert_eq!(send(&wrapper, batch(0..3)).await.successful_count, 3);
    }
}

#[tokio::test]
async fn f29_a_name_with_that_number_blocks_nothing() {
    let server = server();
    let table = "main.default.t_6006";
    server.create_table(table, &columns()).unwrap();
    let message = format!("table {table} is being created; 16006 of 60061 done; t.6006");
    faults(
        &server,
        &json!([{"on": "open", "do": {"status": {"code": "UNAVAILABLE", "message": message}}}]).to_string(),
    );
    let wrapper = ZerobusWrapper::new(config_for(&server, table)).await.unwrap();
    let result = send(&wrapper, batch(0..3)).await;
    assert_eq!((result.successful_count, result.attempts), (3, 2));
}

#[tokio::test]
async fn f30_too_many_failed_rows_pause_the_table() {
    let server = server();
    let config = WrapperConfiguration { isolate_bad_rows: false, ..config(&server).with_retry_config(1, 1, 1) };
    let break_at = |id: i64| {
        faults(&server, &json!([{"on": "message", "times": "always", "where": {"column": "id", "equals": id}, "do": {"status": {"code": "INTERNAL"}}}]).to_string());
    };
    // One per cent is not more than one per cent.
    let wrapper = ZerobusWrapper::new(config.clone()).await.unwrap();
    break_at(0);
    assert_eq!(send(&wrapper, batch(1..100)).await.successful_count, 99);
    assert_eq!(send(&wrapper, batch(0..1)).await.failed_count, 1);
    assert_eq!(send(&wrapper, batch(100..101)).await.successful_count, 1);
    // Two are.
    assert_eq!(send(&wrapper, batch(0..1)).await.failed_count, 1);
    let result = send(&wrapper, batch(101..102)).await;
    assert!(result.error.unwrap().to_string().contains("more than 1 % of the rows failed"));
    pass(45).await;
    assert_eq!(send(&wrapper, batch(101..102)).await.successful_count, 1);
    // Of too few rows nothing follows, and it can be switched off.
    let wrapper = ZerobusWrapper::new(config.clone()).await.unwrap();
    assert_eq!(send(&wrapper, batch(0..99)).await.failed_count, 99);
    assert_eq!(send(&wrapper, batch(200..201)).await.successful_count, 1);
    let off = WrapperConfiguration { failure_backoff_enabled: false, ..config };
    let wrapper = ZerobusWrapper::new(off).await.unwrap();
    assert_eq!(send(&wrapper, batch(0..500)).await.failed_count, 500);
    assert_eq!(send(&wrapper, batch(201..202)).await.successful_count, 1);
}

#[tokio::test]
async fn f30_rows_that_cannot_be_converted_do_not_count() {
    let server = server();
    let wrapper = ZerobusWrapper::new(WrapperConfiguration { max_record_bytes: 12, ..config(&server) }).await.unwrap();
    // From 1000 on, texts are too long.
    let result = send(&wrapper, batch(500..1500)).await;
    assert!(result.failed_count > 100, "{}", result.failed_count);
    assert!(result.group_errors_by_type().keys().eq(["ConversionError"]));
    assert_eq!(send(&wrapper, batch(1..2)).await.successful_count, 1);
}
