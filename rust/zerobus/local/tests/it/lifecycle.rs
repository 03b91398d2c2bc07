//! Streams that go well, and what is refused at their opening.

use std::time::Duration;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use seakernel_zerobus_local::{Code, Column, ServerOptions, Settings, TlsIdentity, ZerobusServer};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{
    CERTIFICATE, Call, Event, KEY, TABLE, batch_message, call, create_message, descriptor, field, ids, message, open,
    open_with, record_message, row, start, stream, token, token_for,
};

#[tokio::test]
async fn a_stream_stores_and_acknowledges_and_ends_well() {
    let server = start();
    let mut stream = stream(&server).await;
    stream.record(0, 1);
    stream.write(&batch_message(1, &[row(2, "b"), row(3, "c")]));
    stream.record(2, 4);
    stream.acked(2).await;
    stream.half_close();
    assert_eq!(stream.event().await.code(), 0);
    assert_eq!(ids(&server), [1, 2, 3, 4]);
    let rows = server.rows(TABLE);
    assert_eq!((rows[2].offset, rows[2].position), (1, 1));
    assert_eq!(json!(rows[2].values), json!({"id": 3, "text": "c"}));
    let log = server.log();
    assert_eq!((log.opens, log.messages, log.records, log.half_closes, log.resets), (1, 3, 4, 1, 0));
    assert_eq!(
        (log.streams[0].acked, log.streams[0].status, log.streams[0].half_closed),
        (Some(2), Some(Code::Ok), true)
    );
    assert_eq!(log.token_fetches.values().sum::<u64>(), 1);
    assert!(log.violations.is_empty(), "{:?}", log.violations);
}

#[tokio::test]
async fn a_half_close_flushes_acknowledgements() {
    let server = start();
    server.set_settings(Settings { ack_delay_ms: 200, ..Settings::default() });
    let mut stream = stream(&server).await;
    for offset in 0..10 {
        stream.record(offset, offset);
    }
    stream.half_close();
    stream.acked(9).await;
    assert_eq!(stream.event().await.code(), 0);
}

#[tokio::test]
async fn acknowledgements_are_delayed_and_coalesced() {
    let server = start();
    server.set_settings(Settings { ack_delay_ms: 100, ack_interval_ms: 50, ..Settings::default() });
    let mut stream = stream(&server).await;
    let sent = std::time::Instant::now();
    for offset in 0..1000 {
        stream.record(offset, offset);
    }
    stream.acked(999).await;
    assert!(sent.elapsed() >= Duration::from_millis(100));
    assert!(server.log().acks < 100, "{}", server.log().acks);
}

#[tokio::test]
async fn offsets_begin_anew_with_each_stream() {
    let server = start();
    for id in 0..2 {
        let mut stream = stream(&server).await;
        stream.record(0, id);
        stream.acked(0).await;
    }
    assert_eq!(ids(&server), [0, 1]);
}

#[tokio::test]
async fn several_streams_share_a_table() {
    let server = start();
    let (mut one, mut other) = (stream(&server).await, stream(&server).await);
    for offset in 0..5 {
        one.record(offset, offset);
        other.record(offset, offset + 5);
    }
    one.acked(4).await;
    other.acked(4).await;
    let keys = server.keys(TABLE, "id");
    assert_eq!((keys.len(), keys.values().max()), (10, Some(&1)));
}

#[tokio::test]
async fn wrong_offsets_are_refused() {
    for offsets in [&[1][..], &[0, 0], &[0, 2], &[-1]] {
        let server = start();
        let mut stream = stream(&server).await;
        for offset in offsets {
            stream.record(*offset, *offset);
        }
        let status = loop {
            match stream.event().await {
                Event::Ack(_) => {}
                event => break event,
            }
        };
        assert_eq!(status.code(), 3, "{offsets:?}");
        assert_eq!(server.log().violations.len(), 1, "{offsets:?}");
    }
}

#[tokio::test]
async fn tokens_are_demanded() {
    let server = start();
    server.create_table("main.default.other", &[Column::new("id", "BIGINT")]).unwrap();
    let other = token_for(&server, "main.default.other");
    for (token, code) in [("made up", 16), (&*other, 7)] {
        assert_eq!(open_with(&server, token).await.create().await.code(), code);
    }
    let mut bare = call(&server, &[("x-databricks-zerobus-table-name", TABLE)]).await.unwrap();
    assert_eq!(bare.create().await.code(), 16);
    server.set_settings(Settings { token_life_s: 0, ..Settings::default() });
    assert_eq!(open(&server).await.create().await.code(), 16);
}

#[tokio::test]
async fn an_open_stream_outlives_its_token() {
    let server = start();
    server.set_settings(Settings { token_life_s: 1, ..Settings::default() });
    let token = token(&server);
    let mut stream = open_with(&server, &token).await;
    stream.create().await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    stream.record(0, 1);
    stream.acked(0).await;
    assert_eq!(open_with(&server, &token).await.create().await.code(), 16);
}

#[tokio::test]
async fn a_table_must_exist_and_be_the_same_everywhere() {
    let server = start();
    let token = token_for(&server, "main.default.missing");
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer), ("x-databricks-zerobus-table-name", "main.default.missing")];
    let mut missing = call(&server, &headers).await.unwrap();
    missing.write(&create_message("main.default.missing", &descriptor().encode_to_vec()));
    assert_eq!(missing.event().await.code(), 5);
    let mut different = open(&server).await;
    different.write(&create_message("main.default.other", &descriptor().encode_to_vec()));
    assert_eq!(different.event().await.code(), 3);
}

#[tokio::test]
async fn the_first_message_must_create_the_stream() {
    let server = start();
    let mut early = open(&server).await;
    early.record(0, 1);
    assert_eq!(early.event().await.code(), 3);
    let mut twice = stream(&server).await;
    twice.write(&create_message(TABLE, &descriptor().encode_to_vec()));
    assert_eq!(twice.event().await.code(), 3);
    let mut none = open(&server).await;
    none.half_close();
    assert_eq!(none.event().await.code(), 3);
    assert_eq!(server.log().violations.len(), 3);
}

#[tokio::test]
async fn schemas_that_do_not_fit_are_refused_with_details() {
    let server = start();
    let refused = async |descriptor| {
        let mut call: Call = open(&server).await;
        let Event::Status(status) = call.create_with(&descriptor).await else { panic!("a status expected") };
        assert_eq!(status.code, 3);
        assert!(status.details.contains("SCHEMA_VALIDATION_FAILED"), "{}", status.details);
        assert!(status.details.contains("zerobus.databricks.com"), "{}", status.details);
        assert!(status.details.contains("8001"), "{}", status.details);
        status.details
    };
    let id = |kind| field("id", 1, kind, Label::Required);
    let nameless = vec![id(Type::Int64), field("nope", 2, Type::String, Label::Optional)];
    assert!(refused(message("M", nameless)).await.contains("FIELD_NOT_IN_TABLE"));
    assert!(refused(message("M", vec![id(Type::String)])).await.contains("TYPE_INCOMPATIBLE"));
    let lacking = vec![field("text", 1, Type::String, Label::Optional)];
    assert!(refused(message("M", lacking)).await.contains("MISSING_REQUIRED_COLUMN"));
    let mut broken = open(&server).await;
    broken.write(&create_message(TABLE, &[0xff; 10]));
    assert_eq!(broken.event().await.code(), 3);
}

#[tokio::test]
async fn a_bad_record_refuses_its_whole_message_after_those_before_it_are_acknowledged() {
    let server = start();
    server.set_settings(Settings { ack_delay_ms: 10_000, ..Settings::default() });
    let mut stream = stream(&server).await;
    stream.record(0, 1);
    stream.write(&batch_message(1, &[row(2, "b"), Vec::new(), row(3, "c")]));
    assert_eq!(stream.event().await, Event::Ack(Some(0)));
    let Event::Status(status) = stream.event().await else { panic!("a status expected") };
    assert_eq!(status.code, 3);
    assert!(status.message.contains("offset 1, position 1") && status.message.contains("`id`"), "{}", status.message);
    assert_eq!(ids(&server), [1]);
}

#[tokio::test]
async fn calls_and_formats_that_are_not_there_are_refused() {
    let server = start();
    let mut requests = crate::client::connect(&server).await.unwrap();
    let request = http::Request::post(format!("{}/databricks.zerobus.Zerobus/PersistentStream", server.endpoint()))
        .header("content-type", "application/grpc");
    let (response, _) = requests.send_request(request.body(()).unwrap(), false).unwrap();
    assert_eq!(response.await.unwrap().headers()["grpc-status"], "12");
    let mut json = open(&server).await;
    json.write(&crate::client::bytes(
        1,
        &[crate::client::bytes(1, TABLE.as_bytes()), crate::client::int(4, 2)].concat(),
    ));
    assert_eq!(json.event().await.code(), 12);
}

#[tokio::test]
async fn a_reset_forgets_rows_log_faults_and_settings() {
    let server = start();
    let mut stream = stream(&server).await;
    stream.record(0, 1);
    stream.acked(0).await;
    server.reset();
    assert_eq!((server.row_count(TABLE), server.log().opens), (0, 0));
    stream.write(&record_message(1, &row(2, "b")));
    stream.acked(1).await;
    assert_eq!(ids(&server), [2]);
}

#[tokio::test]
async fn both_ports_speak_tls() {
    let tls = TlsIdentity { certificate_pem: CERTIFICATE.to_owned(), key_pem: KEY.to_owned() };
    let server = ZerobusServer::start(ServerOptions { tls: Some(tls), ..ServerOptions::default() }).unwrap();
    let mut unknown = open_with(&server, "made up").await;
    assert_eq!(unknown.create().await.code(), 16);
    let address = server.unity_catalog_url().strip_prefix("https://").unwrap();
    let mut http = crate::client::tls(address, b"http/1.1").await.unwrap();
    http.write_all(b"GET /control/count?table=a HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    // The server may close without a farewell, which TLS minds.
    let _ = http.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with('0'), "{answer}");
}

#[test]
fn a_certificate_that_is_none_is_refused() {
    let tls = TlsIdentity { certificate_pem: "no".to_owned(), key_pem: "no".to_owned() };
    let error = ZerobusServer::start(ServerOptions { tls: Some(tls), ..ServerOptions::default() }).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn a_stopped_server_listens_no_more() {
    let server = start();
    let address = server.endpoint().strip_prefix("http://").unwrap().to_owned();
    server.stop();
    server.stop();
    assert!(std::net::TcpStream::connect(address).is_err());
}
