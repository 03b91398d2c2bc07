//! Clients that do what none should.

use bytes::Bytes;
use prost_types::field_descriptor_proto::{Label, Type};
use seakernel_zerobus_local::{Column, ServerOptions, ZerobusServer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::client::{
    Event, TABLE, batch_message, bytes, create_message, field, http, ids, int, message, open, open_with,
    record_message, row, start, stream, token,
};

#[tokio::test]
async fn messages_beyond_the_limits_are_refused_before_they_are_read() {
    let server = start();
    let mut huge = stream(&server).await;
    huge.write_raw([&[0][..], &u32::MAX.to_be_bytes()].concat());
    assert_eq!(huge.event().await.code(), 11);
    let mut large = stream(&server).await;
    large.write(&record_message(0, &row(1, &"x".repeat(10 << 20))));
    assert_eq!(large.event().await.code(), 11);
    let mut fitting = stream(&server).await;
    fitting.write(&record_message(0, &row(1, &"x".repeat((10 << 20) - 100))));
    fitting.acked(0).await;
    assert_eq!(ids(&server), [1]);
}

#[tokio::test]
async fn records_of_nothing_have_a_limit_as_well() {
    let server = start();
    server.create_table(TABLE, &[Column::new("id", "BIGINT")]).unwrap();
    let descriptor = message("M", vec![field("id", 1, Type::Int64, Label::Optional)]);
    let mut stream = open(&server).await;
    assert!(matches!(stream.create_with(&descriptor).await, Event::Created(Some(_))));
    stream.write(&batch_message(0, &vec![Vec::new(); 1000]));
    stream.acked(0).await;
    stream.write(&batch_message(1, &vec![Vec::new(); 2_000_001]));
    let Event::Status(status) = stream.event().await else { panic!("a status expected") };
    assert_eq!(status.code, 11);
    assert!(status.message.contains("2000001 records; the limit is 2000000"), "{}", status.message);
    assert_eq!(server.row_count(TABLE), 1000);
}

#[tokio::test]
async fn bytes_that_are_no_messages_end_the_call() {
    for frame in [
        &[1, 0, 0, 0, 0][..],
        &[0, 0, 0, 0, 1, 0xff],
        &[0, 0, 0, 0, 0],
        &[0, 0, 0, 0, 4, 0x1a, 0x02, 0x08, 0x00],
        &[0, 0, 0, 0, 2, 0x12, 0x00],
    ] {
        let server = start();
        let mut stream = stream(&server).await;
        stream.write_raw(Bytes::copy_from_slice(frame));
        assert!([3, 12].contains(&stream.event().await.code()), "{frame:?}");
        assert!(!server.log().violations.is_empty());
    }
    let server = start();
    let mut cut = stream(&server).await;
    cut.write_raw(&[0, 0, 0, 0, 9, 1][..]);
    cut.half_close();
    assert_eq!(cut.event().await.code(), 3);
}

#[tokio::test]
async fn random_records_do_no_harm() {
    let server = start();
    let token = token(&server);
    for _ in 0..200 {
        let mut stream = open_with(&server, &token).await;
        stream.create().await;
        let length = rand::random_range(0..60);
        let record: Vec<u8> = (0..length).map(|_| rand::random()).collect();
        stream.write(&batch_message(0, &[record]));
        match stream.event().await {
            Event::Ack(Some(0)) => {}
            event => assert_eq!(event.code(), 3),
        }
    }
    let mut healthy = stream(&server).await;
    healthy.record(0, 1);
    healthy.acked(0).await;
}

#[tokio::test]
async fn descriptors_of_any_bytes_and_depth_are_refused() {
    let server = start();
    let token = token(&server);
    // Each type within the one before: 1000 of them.
    let deep = (0..1000).fold(Vec::new(), |inner, _| bytes(3, &inner));
    let itself =
        [bytes(1, b"M"), bytes(2, &[bytes(1, b"id"), int(3, 1), int(5, 11), bytes(6, b".M")].concat())].concat();
    let random = (0..100).map(|length| (0..length).map(|_| rand::random()).collect());
    for descriptor in random.chain([deep, itself]) {
        let descriptor: Vec<u8> = descriptor;
        let mut call = open_with(&server, &token).await;
        call.write(&create_message(TABLE, &descriptor));
        assert_eq!(call.event().await.code(), 3, "{descriptor:?}");
    }
    stream(&server).await;
}

#[test]
fn a_body_without_end_is_refused() {
    let server = start();
    assert_eq!(http(&server, "PUT", "/control/faults", "", &"[".repeat(5 << 20)).0, 400);
    assert_eq!(http(&server, "PUT", "/control/faults", "", &"[".repeat(1 << 20)).0, 400);
}

#[tokio::test]
async fn connections_that_speak_something_else_do_no_harm() {
    let server = start();
    let address = server.endpoint().strip_prefix("http://").unwrap().to_owned();
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 100], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff"]
    {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
    }
    let mut healthy = stream(&server).await;
    healthy.record(0, 1);
    healthy.acked(0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_is_noticed() {
    let server = start();
    let mut gone = stream(&server).await;
    gone.record(0, 1);
    gone.acked(0).await;
    gone.send.send_reset(h2::Reason::CANCEL);
    drop(stream(&server).await);
    while server.log().resets < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(ids(&server), [1]);
}

#[test]
fn unknown_options_are_named() {
    let error = ServerOptions::from_json(r#"{"settings": {"ack_delay_ms": -1}}"#).unwrap_err();
    assert_eq!(error.key, "settings.ack_delay_ms");
    let options = ServerOptions::from_json(r#"{"client_id": "a", "client_secret": "hidden"}"#).unwrap();
    assert!(!format!("{options:?}").contains("hidden"));
    assert!(!format!("{:?}", ZerobusServer::start(options).unwrap()).contains("hidden"));
}
