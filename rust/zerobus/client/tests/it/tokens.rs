//! Tokens: asked for once, renewed, refused.

use seakernel_zerobus::{WrapperConfiguration, ZerobusError, ZerobusWrapper};
use seakernel_zerobus_local::Settings;
use serde_json::json;

use super::*;

fn fetches(server: &ZerobusServer) -> u64 {
    server.log().token_fetches.values().sum()
}

#[tokio::test]
async fn f34_one_token_is_enough_for_a_hundred_streams() {
    let server = server();
    let wrapper = wrapper(&server).await;
    faults(&server, r#"[{"on": "message", "times": "always", "do": {"close": {"ms": 0}}}]"#);
    for round in 0..100 {
        assert_eq!(send(&wrapper, batch(round * 3..round * 3 + 3)).await.successful_count, 3);
    }
    assert_eq!((server.log().opens, fetches(&server)), (100, 1));
    assert_stored_once(&server, 0..300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f34_fifty_senders_ask_once() {
    let server = server();
    faults(&server, r#"[{"on": "token", "do": {"delay": {"ms": 100}}}]"#);
    let wrapper = wrapper(&server).await;
    let senders: Vec<_> = (0..50_i64)
        .map(|sender| {
            let wrapper = wrapper.clone();
            tokio::spawn(async move { send(&wrapper, batch(sender * 10..sender * 10 + 10)).await })
        })
        .collect();
    for sender in senders {
        assert_eq!(sender.await.unwrap().successful_count, 10);
    }
    assert_eq!((server.log().opens, fetches(&server)), (1, 1));
}

#[tokio::test]
async fn f34_a_token_is_renewed_before_its_end_and_one_of_short_life_is_used() {
    let server = server_with(Settings { token_life_s: 2, ..Settings::default() });
    let wrapper = wrapper(&server).await;
    faults(&server, r#"[{"on": "message", "times": "always", "do": {"close": {"ms": 0}}}]"#);
    // New, it is not due.
    for round in 0..5 {
        assert_eq!(send(&wrapper, batch(round..round + 1)).await.attempts, 1);
    }
    assert_eq!(fetches(&server), 1);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(send(&wrapper, batch(5..6)).await.successful_count, 1);
    assert_eq!(fetches(&server), 2);
    assert_stored_once(&server, 0..6);
}

#[tokio::test]
async fn f34_what_may_pass_is_asked_again_and_a_refusal_is_not() {
    for (code, asked, error_type) in [
        (500, 2, None),
        (503, 2, None),
        (408, 2, None),
        (429, 2, None),
        (400, 1, Some("AuthenticationError")),
        (401, 1, Some("AuthenticationError")),
        (403, 1, Some("AuthenticationError")),
    ] {
        let server = server();
        faults(&server, &json!([{"on": "token", "do": {"http": {"code": code}}}]).to_string());
        let wrapper = wrapper(&server).await;
        let result = send(&wrapper, batch(0..2)).await;
        assert_eq!(
            (result.error.as_ref().map(ZerobusError::error_type), fetches(&server)),
            (error_type, asked),
            "{code}: {:?}",
            result.error
        );
    }
}

#[tokio::test]
async fn f34_an_endpoint_that_asks_to_be_left_alone_is() {
    let server = server();
    // Within the time to open a stream it is no try of ours, beyond that it is one.
    for (connect_timeout_ms, attempts) in [(60_000, 1), (500, 2)] {
        server.reset();
        faults(&server, r#"[{"on": "token", "do": {"http": {"code": 429, "retry_after": 2}}}]"#);
        let config = WrapperConfiguration { connect_timeout_ms, ..config(&server) };
        let wrapper = ZerobusWrapper::new(config).await.unwrap();
        let started = Instant::now();
        let result = send(&wrapper, batch(0..2)).await;
        assert_eq!((result.successful_count, result.attempts, fetches(&server)), (2, attempts, 2), "{result:?}");
        assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn f34_an_endpoint_that_asks_for_a_day_is_left_alone_for_minutes() {
    let server = server();
    faults(&server, r#"[{"on": "token", "do": {"http": {"code": 429, "retry_after": 86400}}}]"#);
    let wrapper = wrapper(&server).await;
    let sending = tokio::spawn(async move { wrapper.send_batch(batch(0..2)).await.unwrap() });
    until(|| fetches(&server) == 1).await;
    let mut passed = 0;
    while !sending.is_finished() {
        assert!(passed < 86_400, "it waits for a day");
        tokio::time::sleep(Duration::from_millis(300)).await;
        pass(150).await;
        passed += 150;
    }
    assert_eq!(sending.await.unwrap().successful_count, 2);
}

#[tokio::test]
async fn f34_an_endpoint_that_is_down_is_told_as_such() {
    let server = server();
    let mut config = config(&server).with_retry_config(1, 1, 1);
    config.unity_catalog_url = Some("http://127.0.0.1:1".to_owned());
    let wrapper = ZerobusWrapper::new(WrapperConfiguration { connect_timeout_ms: 500, ..config }).await.unwrap();
    let error = send(&wrapper, batch(0..2)).await.error.unwrap();
    assert!(error.to_string().contains("Token refresh error: "), "{error}");
    assert_eq!((error.error_type(), server.log().opens), ("RetryExhausted", 0));
}

#[tokio::test]
async fn f35_a_refused_token_is_renewed_once() {
    for code in ["UNAUTHENTICATED", "PERMISSION_DENIED"] {
        let server = server();
        let refuse = |times: serde_json::Value| {
            faults(
                &server,
                &json!([{"on": "open", "times": times, "do": {"refuse_token": {"code": code}}}]).to_string(),
            );
        };
        let wrapper = wrapper(&server).await;
        refuse(json!(1));
        let result = send(&wrapper, batch(0..2)).await;
        assert_eq!((result.successful_count, result.attempts, server.log().opens, fetches(&server)), (2, 1, 2, 2));
        let other = ZerobusWrapper::new(config(&server)).await.unwrap();
        refuse(json!("always"));
        let result = send(&other, batch(2..4)).await;
        let error = result.error.clone().unwrap();
        assert_eq!(
            (error.error_type(), error.failure().grpc_code, result.attempts),
            ("AuthenticationError", Some(code), 1)
        );
        assert_eq!((server.log().opens, fetches(&server)), (4, 4));
        let (_, text) = failed_alike(&result);
        assert!(!text.contains(server.client_secret()));
    }
}

#[tokio::test]
async fn f34_a_failed_renewal_keeps_the_token_in_use_and_is_not_repeated_at_once() {
    let server = server();
    let wrapper = wrapper(&server).await;
    let rotate = json!({"on": "message", "times": "always", "do": {"close": {"ms": 0}}});
    faults(
        &server,
        &json!([rotate, {"on": "token", "times": "always", "after": 1, "do": {"http": {"code": 400}}}]).to_string(),
    );
    let send_some = async |first: i64| {
        for id in first..first + 5 {
            assert_eq!(send(&wrapper, batch(id..id + 1)).await.successful_count, 1);
        }
    };
    send_some(0).await;
    assert_eq!(fetches(&server), 1);
    // The last five minutes of an hour.
    pass(3400).await;
    send_some(5).await;
    until(|| fetches(&server) == 2).await;
    send_some(10).await;
    assert_eq!(fetches(&server), 2);
    // It is tried again later, and then it works.
    faults(&server, &json!([rotate]).to_string());
    pass(6).await;
    send_some(15).await;
    until(|| fetches(&server) == 3).await;
    send_some(20).await;
    assert_stored_once(&server, 0..25);
}
