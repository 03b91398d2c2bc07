//! The official client, unmodified.

use std::sync::Arc;
use std::time::Duration;

use databricks_zerobus_ingest_sdk::{NoTlsConfig, ZerobusError, ZerobusSdk, ZerobusStream};
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto};
use seakernel_zerobus_local::{Code, Column, FaultRule, ServerOptions, ZerobusServer};

const TABLE: &str = "main.default.events";

#[derive(Clone, PartialEq, Message)]
struct Row {
    #[prost(int64, required, tag = "1")]
    id: i64,
    #[prost(string, optional, tag = "2")]
    text: Option<String>,
}

fn row(id: i64) -> Vec<u8> {
    Row { id, text: (id % 2 == 0).then(|| "even".to_owned()) }.encode_to_vec()
}

fn start(faults: &str) -> ZerobusServer {
    let server = ZerobusServer::start(ServerOptions::default()).unwrap();
    server.create_table(TABLE, &[Column::new("id", "BIGINT").not_null(), Column::new("text", "STRING")]).unwrap();
    server.set_faults(FaultRule::list_from_json(faults).unwrap());
    server
}

async fn open(server: &ZerobusServer, id: Type) -> Result<ZerobusStream, ZerobusError> {
    let field = |name: &str, number, kind: Type, label: Label| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(label.into()),
        r#type: Some(kind.into()),
        ..FieldDescriptorProto::default()
    };
    let descriptor = DescriptorProto {
        name: Some("Row".to_owned()),
        field: vec![field("id", 1, id, Label::Required), field("text", 2, Type::String, Label::Optional)],
        ..DescriptorProto::default()
    };
    let sdk = ZerobusSdk::builder()
        .endpoint(server.endpoint())
        .unity_catalog_url(server.unity_catalog_url())
        .tls_config(Arc::new(NoTlsConfig))
        .build()?;
    sdk.stream_builder()
        .table(TABLE)
        .oauth(server.client_id(), server.client_secret())
        .compiled_proto(descriptor)
        .recovery_backoff_ms(10)
        .build()
        .await
}

/// Checks that every id below `count` was stored, and says how often the most frequent was.
fn stored(server: &ZerobusServer, count: usize) -> u64 {
    let keys = server.keys(TABLE, "id");
    assert_eq!(keys.len(), count);
    assert!(server.log().violations.is_empty(), "{:?}", server.log().violations);
    keys.into_values().max().unwrap()
}

#[tokio::test]
async fn f45_records_and_batches_arrive() {
    let server = start("[]");
    let mut stream = open(&server, Type::Int64).await.unwrap();
    for id in 0..10 {
        stream.ingest_record_offset(row(id)).await.unwrap();
    }
    let offset = stream.ingest_records_offset((10..100).map(row).collect::<Vec<_>>()).await.unwrap().unwrap();
    stream.wait_for_offset(offset).await.unwrap();
    assert_eq!(server.row_count(TABLE), 100);
    stream.flush().await.unwrap();
    stream.close().await.unwrap();
    assert_eq!(stored(&server, 100), 1);
    let log = server.log();
    assert!(log.streams[0].user_agent.starts_with("zerobus-sdk-rs/2.12.0"));
    assert_eq!((log.streams.len(), log.streams[0].status, log.streams[0].half_closed), (1, Some(Code::Ok), true));
}

#[tokio::test]
async fn f45_rotations_are_followed() {
    let server = start(r#"[{"on": "open", "times": "always", "do": {"close": {"after_ms": 200, "ms": 200}}}]"#);
    let mut stream = open(&server, Type::Int64).await.unwrap();
    let mut sent = 0;
    while server.log().streams.len() < 4 {
        stream.ingest_record_offset(row(sent)).await.unwrap();
        sent += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stream.flush().await.unwrap();
    stream.close().await.unwrap();
    stored(&server, sent as usize);
}

#[tokio::test]
async fn f45_breaks_are_recovered_from() {
    for fault in [
        r#"{"status": {"code": "UNAVAILABLE"}}"#,
        r#"{"status": {"code": "INTERNAL", "stored": true}}"#,
        r#"{"break": {}}"#,
        r#"{"break": {"by": "ok"}}"#,
        r#"{"close": {"ms": 0}}"#,
        r#"{"go_away": {"abrupt": true}}"#,
    ] {
        let server = start(&format!(r#"[{{"on": "message", "after": 5, "do": {fault}}}]"#));
        let mut stream = open(&server, Type::Int64).await.unwrap();
        for id in 0..20 {
            stream.ingest_record_offset(row(id)).await.unwrap();
        }
        stream.flush().await.unwrap();
        stream.close().await.unwrap();
        stored(&server, 20);
        assert_eq!(server.log().streams.len(), 2, "{fault}");
    }
}

#[tokio::test]
async fn f45_a_schema_that_does_not_fit_is_given_up_on() {
    let server = start("[]");
    let Err(error) = open(&server, Type::String).await else { panic!("a refusal expected") };
    assert!(error.to_string().contains("`id` is TYPE_STRING, its column BIGINT"), "{error}");
    assert_eq!(server.log().streams.len(), 1);
}

#[tokio::test]
async fn f45_a_bad_record_is_given_up_on() {
    let server = start("[]");
    let stream = open(&server, Type::Int64).await.unwrap();
    stream.ingest_record_offset(row(0)).await.unwrap();
    stream.ingest_record_offset(Vec::new()).await.unwrap();
    let error = stream.flush().await.unwrap_err();
    assert!(error.to_string().contains("column `id` is required"), "{error}");
    assert_eq!(server.row_count(TABLE), 1);
}
