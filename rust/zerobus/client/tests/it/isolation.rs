//! Rows that the service refuses are found.

use std::collections::BTreeSet;

use arrow_array::Int32Array;
use seakernel_zerobus::{WrapperConfiguration, ZerobusWrapper};
use seakernel_zerobus_local::Settings;

use super::*;

/// A server whose table takes levels below 128.
fn server_of_levels(settings: Settings) -> ZerobusServer {
    let server = server_with(settings);
    server.create_table(TABLE, &[Column::new("id", "BIGINT").not_null(), Column::new("level", "TINYINT")]).unwrap();
    server
}

/// Rows of which these have a level that the table does not take.
fn batch_with(bad: &[i64], ids: Range<i64>) -> RecordBatch {
    let levels = ids.clone().map(|id| if bad.contains(&id) { 1000 } else { 1 });
    let level = Field::new("level", DataType::Int32, true);
    let schema = Schema::new(vec![Field::new("id", DataType::Int64, false), level]);
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from_iter_values(ids.clone())), Arc::new(Int32Array::from_iter_values(levels))];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

async fn find(
    settings: Settings,
    config: impl Fn(&ZerobusServer) -> WrapperConfiguration,
    bad: &[i64],
    rows: i64,
) -> u64 {
    let server = server_of_levels(settings);
    let wrapper = ZerobusWrapper::new(config(&server)).await.unwrap();
    let result = send(&wrapper, batch_with(bad, 0..rows)).await;
    let failed: Vec<i64> = result.get_failed_row_indices().into_iter().map(|row| row as i64).collect();
    assert_eq!(failed, bad, "{:?}", result.failed_rows.map(|rows| rows[0].clone()));
    for (_, error) in result.failed_rows.unwrap() {
        assert_eq!(error.error_type(), "TransmissionError");
        assert!(error.to_string().contains("is invalid"), "{error}");
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
    let server = server_of_levels(settings);
    let wrapper = wrapper(&server).await;
    let result = send(&wrapper, batch_with(&[700], 0..1000)).await;
    assert_eq!(result.get_failed_row_indices(), [700]);
    let ids: Vec<i64> = stored(&server).into_iter().map(|(id, _)| id).collect();
    assert!(ids.into_iter().eq((0..1000).filter(|id| *id != 700)));
    assert!(server.log().opens <= 32, "{} streams", server.log().opens);
}

#[tokio::test]
async fn f31_switched_off_all_that_is_left_fails() {
    let server = server_of_levels(Settings::default());
    let config = WrapperConfiguration { isolate_bad_rows: false, ..config(&server) };
    let wrapper = ZerobusWrapper::new(config).await.unwrap();
    let result = send(&wrapper, batch_with(&[500], 0..1000)).await;
    assert_eq!((result.failed_count, server.log().opens), (1000, 1));
    assert!(failed_alike(&result).1.starts_with("Transmission error: "));
}

#[tokio::test]
async fn f31_the_search_ends_at_its_limit() {
    let server = server_of_levels(Settings::default());
    let bad: Vec<i64> = (0..100).collect();
    let config = WrapperConfiguration { isolate_max_probes: 8, ..config(&server) };
    let wrapper = ZerobusWrapper::new(config).await.unwrap();
    let result = send(&wrapper, batch_with(&bad, 0..100)).await;
    assert_eq!((result.failed_count, result.error.is_none()), (100, true));
    assert_eq!(server.log().opens, 8);
}

#[tokio::test]
async fn f31_a_bad_row_is_no_misfortune_of_other_senders() {
    let server = server_of_levels(Settings { ack_delay_ms: 5, ..Settings::default() });
    let wrapper = wrapper(&server).await;
    let senders: Vec<_> = (0..8_i64)
        .map(|sender| {
            let wrapper = wrapper.clone();
            tokio::spawn(async move { send(&wrapper, batch_with(&[150], sender * 100..(sender + 1) * 100)).await })
        })
        .collect();
    for (sender, task) in senders.into_iter().enumerate() {
        let expected: &[usize] = if sender == 1 { &[50] } else { &[] };
        assert_eq!(task.await.unwrap().get_failed_row_indices(), expected);
    }
    let ids: Vec<i64> = stored(&server).into_iter().map(|(id, _)| id).collect();
    assert!(ids.into_iter().eq((0..800).filter(|id| *id != 150)));
}
