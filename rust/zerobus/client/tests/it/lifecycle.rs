//! Many senders, and the end.

use std::time::Instant;

use seakernel_zerobus::{WrapperConfiguration, ZerobusWrapper};
use seakernel_zerobus_local::Settings;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f36_sixteen_senders_through_one_wrapper() {
    let server = server();
    let wrapper = wrapper(&server).await;
    let senders: Vec<_> = (0..16_i64)
        .map(|sender| {
            let wrapper = wrapper.clone();
            tokio::spawn(async move {
                for round in 0..200 {
                    let first = sender * 10_000 + round * 5;
                    assert_eq!(send(&wrapper, batch(first..first + 5)).await.successful_count, 5);
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    assert_stored_once(&server, (0..16).flat_map(|sender| sender * 10_000..sender * 10_000 + 1000));
    assert_eq!(server.log().opens, 1);
    assert_no_violations(&server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f36_four_senders_are_faster_than_one() {
    let server = server_with(Settings { ack_delay_ms: 20, ..Settings::default() });
    let wrapper = wrapper(&server).await;
    send(&wrapper, batch(0..1)).await;
    let time = async |senders: i64, rounds: i64| {
        let started = Instant::now();
        let tasks: Vec<_> = (0..senders)
            .map(|_| {
                let wrapper = wrapper.clone();
                tokio::spawn(async move {
                    for _ in 0..rounds {
                        assert_eq!(send(&wrapper, batch(0..100)).await.successful_count, 100);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        started.elapsed()
    };
    let one = time(1, 40).await;
    let four = time(4, 10).await;
    assert!(one.as_secs_f64() > 1.8 * four.as_secs_f64(), "one sender {one:?}, four {four:?}");
}

#[tokio::test]
async fn f37_flush_returns_after_all_acknowledgements() {
    let server = server_with(Settings { ack_delay_ms: 300, ..Settings::default() });
    let wrapper = wrapper(&server).await;
    wrapper.flush().await.unwrap();
    let sending = wrapper.clone();
    let sender = tokio::spawn(async move { send(&sending, batch(0..10)).await });
    until(|| server.row_count(TABLE) == 10).await;
    assert!(!sender.is_finished());
    wrapper.flush().await.unwrap();
    assert_eq!(server.log().streams[0].acked, Some(0));
    assert_eq!(sender.await.unwrap().successful_count, 10);
}

#[tokio::test]
async fn f37_flush_waits_for_what_nobody_else_waits_for() {
    let server = server_with(Settings { ack_delay_ms: 300, ..Settings::default() });
    let wrapper = wrapper(&server).await;
    let sending = wrapper.clone();
    let sender = tokio::spawn(async move { send(&sending, batch(0..10)).await });
    until(|| server.row_count(TABLE) == 10).await;
    sender.abort();
    wrapper.flush().await.unwrap();
    assert_eq!(server.log().streams[0].acked, Some(0));
}

#[tokio::test]
async fn f37_flush_has_a_limit() {
    let server = server();
    faults(&server, r#"[{"on": "ack", "times": "always", "do": "silence"}]"#);
    let wrapper = ZerobusWrapper::new(WrapperConfiguration { flush_timeout_ms: 200, ..config(&server) }).await.unwrap();
    let sending = wrapper.clone();
    let sender = tokio::spawn(async move { sending.send_batch(batch(0..10)).await });
    until(|| server.row_count(TABLE) == 10).await;
    let error = wrapper.flush().await.unwrap_err();
    assert_eq!(error.error_type(), "ConnectionError");
    sender.abort();
}

#[tokio::test]
async fn f37_shutdown_ends_the_stream_in_order() {
    let server = server_with(Settings { ack_delay_ms: 100, ..Settings::default() });
    let wrapper = wrapper(&server).await;
    let sending = wrapper.clone();
    let sender = tokio::spawn(async move { send(&sending, batch(0..10)).await });
    until(|| server.row_count(TABLE) == 10).await;
    let other = wrapper.clone();
    let (one, two) = tokio::join!(wrapper.shutdown(), other.shutdown());
    assert_eq!((one, two), (Ok(()), Ok(())));
    wrapper.shutdown().await.unwrap();
    assert_eq!(sender.await.unwrap().successful_count, 10);
    let log = server.log();
    assert_eq!((log.half_closes, log.resets, log.streams[0].half_closed), (1, 0, true));
    until(|| server.log().open_connections == 0).await;
    for error in [other.send_batch(batch(0..1)).await.unwrap_err(), other.flush().await.unwrap_err()] {
        assert_eq!(error.error_type(), "ConfigurationError");
        assert!(error.to_string().contains("shut down"));
    }
    assert_eq!(server.log().opens, 1);
}

#[tokio::test]
async fn f37_a_dropped_wrapper_ends_its_stream_in_order() {
    let server = server();
    let wrapper = wrapper(&server).await;
    send(&wrapper, batch(0..10)).await;
    drop(wrapper);
    until(|| server.log().open_connections == 0).await;
    assert_eq!((server.log().half_closes, server.log().resets), (1, 0));
}

#[tokio::test]
async fn f37_a_send_that_is_given_up_leaves_the_wrapper_usable() {
    let server = server_with(Settings { ack_delay_ms: 200, ..Settings::default() });
    let config = WrapperConfiguration { max_inflight_requests: 2, ..small_requests(&server, 10) };
    let wrapper = ZerobusWrapper::new(config).await.unwrap();
    for round in 0..3 {
        let sending = wrapper.clone();
        let sender = tokio::spawn(async move { sending.send_batch(batch(round * 1000..round * 1000 + 100)).await });
        until(|| server.row_count(TABLE) > round as u64 * 10).await;
        sender.abort();
    }
    let result = send(&wrapper, batch(100_000..100_100)).await;
    assert_eq!((result.successful_count, result.attempts), (100, 1));
    assert_eq!(server.log().opens, 1);
    assert_no_violations(&server);
}

#[test]
fn a_wrapper_outlives_the_runtime_it_was_made_in() {
    let server = server_with(Settings { ack_delay_ms: 50, ..Settings::default() });
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let first = runtime();
    let wrapper = first.block_on(wrapper(&server));
    first.block_on(send(&wrapper, batch(0..10)));
    let second = runtime();
    let sending = wrapper.clone();
    let sender = second.spawn(async move { send(&sending, batch(10..20)).await });
    while server.row_count(TABLE) < 20 {
        std::thread::yield_now();
    }
    // The tasks of the stream go with it, while another runtime waits for an acknowledgement.
    drop(first);
    assert_eq!(second.block_on(sender).unwrap().successful_count, 10);
    second.block_on(wrapper.shutdown()).unwrap();
    assert!(stored(&server).into_iter().map(|(id, _)| id).eq(0..20));
}

#[tokio::test]
async fn f03_a_wrapper_prints_no_secret() {
    let server = server();
    let wrapper = wrapper(&server).await;
    send(&wrapper, batch(0..1)).await;
    let shown = format!("{wrapper:?}");
    assert!(shown.contains(TABLE) && !shown.contains(server.client_secret()), "{shown}");
    assert!(!shown.contains("Bearer"), "{shown}");
    faults(&server, r#"[{"on": "token", "times": "always", "do": {"http": {"code": 401}}}]"#);
    let other = ZerobusWrapper::new(config(&server)).await.unwrap();
    let result = send(&other, batch(0..1)).await;
    assert!(!format!("{result:?}").contains(server.client_secret()));
}

#[tokio::test]
async fn f37_a_shutdown_that_is_out_of_patience_opens_nothing_more() {
    let server = server();
    faults(&server, r#"[{"on": "ack", "times": "always", "do": "silence"}]"#);
    let config = WrapperConfiguration { flush_timeout_ms: 200, ..config(&server) };
    let wrapper = ZerobusWrapper::new(config).await.unwrap();
    let sending = wrapper.clone();
    let sender = tokio::spawn(async move { send(&sending, batch(0..10)).await });
    until(|| server.row_count(TABLE) == 10).await;
    let error = wrapper.shutdown().await.unwrap_err();
    assert!(error.to_string().contains("not all was acknowledged within 0.2 s"), "{error}");
    let result = sender.await.unwrap();
    let (count, text) = failed_alike(&result);
    assert_eq!((count, result.uncertain_rows.len()), (10, 10));
    assert!(text.contains("shut down"), "{text}");
    assert_eq!((server.log().opens, server.row_count(TABLE)), (1, 10));
}
