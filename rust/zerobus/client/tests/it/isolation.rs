//! Rows that the service refuses are found.

use std::collections::BTreeSet;

use seakernel_zerobus::{WrapperConfiguration, ZerobusWrapper};
use seakernel_zerobus_local::Settings;
use serde_json::json;

use super::*;

fn refuse(server: &ZerobusServer, ids: &[i64]) {
    let rule = |id: &i64| {
        let status = json!({"status": {"code": "INVALID_ARGUMENT", "message": "no such row"}});
        json!({"on": "message", "times": "always", "where": {"column": "id", "equals": id}, "do": status})
    };
    faults(server, &json!(ids.iter().map(rule).collect::<Vec<_>>()).to_string());
}

async fn find(settings: Settings, config: impl Fn(&ZerobusServer) -> WrapperConfiguration, bad: &[i64], rows: i64) -> u64 {
    let server = server_with(settings);
    refuse(&server, bad);
    let wrapper = ZerobusWrapper::new(config(&server)).await.unwrap();
    let result = send(&wrapper, batch(0..rows)).await;
    let failed: Vec<i64> = result.get_failed_row_indices().into_iter().map(|row| row as i64).collect();
    assert_eq!(failed, bad, "{:?}", result.failed_rows.map(|rows| rows[0].clone()));
    for (_, error) in result.failed_rows.unwrap() {
        assert_eq!(error.error_type(), "TransmissionError");
        assert!(error.to_string().contains("no such row"), "{error}");
    }
    let bad: BTreeSet<i64> = bad.iter().copied().collect();
    assert_stored_once(&server, (0..rows).filter(|id| !bad.contains(id)));
    assert_no_violations(&server);
    server.log().opens
}

#[tokio::test]
async fn f31_one_bad_row_in_ten_thousand_is_found() {
    for bad in [0, 4321, 9999] {
        let opens = find(Settings::default(), config, &[bad], 10_000).await;
        assert!(opens <= 6, "{opens} streams");
    }
}

#[tokio::test]
async fn f31_five_bad_rows_in_ten_thousand_are_found() {
    for bad in [[3, 777, 778, 5000, 9999], [0, 1, 2, 3, 4], [1000, 3000, 5000, 7000, 9000]] {
        let opens = find(Settings::default(), config, &bad, 10_000).await;
        assert!(opens <= 32, "{opens} streams");
    }
}

#[tokio::test]
async fn f31_bad_rows_in_several_requests_are_found() {
    let several = |server: &ZerobusServer| small_requests(server, 1000);
    let opens = find(Settings::default(), several, &[3, 1777, 5000, 9999], 10_000).await;
    assert!(opens <= 32, "{opens} streams");
}

#[tokio::test]
async fn f31_late_acknowledgements_point_at_nobody_else() {
    let settings = Settings { ack_delay_ms: 30, ..Settings::default() };
    let opens = find(settings, config, &[123, 456], 1000).await;
    assert!(opens <= 32, "{opens} streams");
}

#[tokio::test]
async fn f31_a_server_that_refuses_before_it_acknowledges_fails_no_good_row() {
    let settings = Settings { acks_before_refusal: false, ack_delay_ms: 30, ..Settings::default() };
    let server = server_with(settings);
    refuse(&server, &[700]);
    let wrapper = wrapper(&server).await;
    let result = send(&wrapper, batch(0..1000)).await;
    assert_eq!(result.get_failed_row_indices(), [700]);
    let ids: Vec<i64> = stored(&server).into_iter().map(|(id, _)| id).collect();
    assert!(ids.into_iter().eq((0..1000).filter(|id| *id != 700)));
    assert!(server.log().opens <= 32, "{} streams", server.log().opens);
}

#[tokio::test]
async fn f31_switched_off_all_that_is_left_fails() {
    let server = server();
    refuse(&server, &[500]);
    let config = WrapperConfiguration { isolate_bad_rows: false, ..config(&server) };
    let wrapper = ZerobusWrapper::new(config).await.unwrap();
    let result = send(&wrapper, batch(0..1000)).await;
    assert_eq!((result.failed_count, server.log().opens), (1000, 1));
    assert!(failed_alike(&result).1.starts_with("Transmission error: "));
}

#[tokio::test]
async fn f31_the_search_ends_at_its_limit() {
    let server = server();
    let bad: Vec<i64> = (0..100).collect();
    refuse(&server, &bad);
    let config = WrapperConfiguration { isolate_max_probes: 8, ..config(&server) };
    let wrapper = ZerobusWrapper::new(config).await.unwrap();
    let result = send(&wrapper, batch(0..100)).await;
    assert_eq!((result.failed_count, result.error.is_none()), (100, true));
    assert_eq!(server.log().opens, 9);
}

#[tokio::test]
async fn f31_a_bad_row_is_no_misfortune_of_other_senders() {
    let server = server_with(Settings { ack_delay_ms: 5, ..Settings::default() });
    refuse(&server, &[150]);
    let wrapper = wrapper(&server).await;
    let senders: Vec<_> = (0..8_i64)
        .map(|sender| {
            let wrapper = wrapper.clone();
            tokio::spawn(async move { send(&wrapper, batch(sender * 100..(sender + 1) * 100)).await })
        })
        .collect();
    for (sender, task) in senders.into_iter().enumerate() {
        let expected: &[usize] = if sender == 1 { &[50] } else { &[] };
        assert_eq!(task.await.unwrap().get_failed_row_indices(), expected);
    }
    let ids: Vec<i64> = stored(&server).into_iter().map(|(id, _)| id).collect();
    assert!(ids.into_iter().eq((0..800).filter(|id| *id != 150)));
}
