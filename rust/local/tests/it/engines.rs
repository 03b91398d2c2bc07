//! What an engine can do to the server, and what a client can.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, RecordBatchIterator, TimestampMicrosecondArray};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use seakernel_local::{
    CannedEngine, Engine, EngineColumn, EngineOutput, EngineStatement, LocalServer, ServerOptions, SqlError,
};
use serde_json::{Value, json};

use crate::client::{Client, download, id};
use crate::rows::{NUMBERS, fetch_ids, numbers, read_stream, small_chunks, start};

/// Misbehaves as its SQL says.
struct Odd;

impl Engine for Odd {
    fn open_session(
        &self,
        _session_id: &str,
        catalog: Option<&str>,
        _schema: Option<&str>,
        _configuration: &BTreeMap<String, String>,
    ) -> Result<(), SqlError> {
        match catalog {
            Some("missing") => Err(SqlError::bad_request("42704", "[CATALOG_NOT_FOUND] no catalog `missing`")),
            _ => Ok(()),
        }
    }

    fn close_session(&self, _session_id: &str) {
        panic!("on close");
    }

    fn execute(&self, statement: EngineStatement) -> Result<EngineOutput, SqlError> {
        let good = |start: i64| {
            let ids: Int64Array = (start..start + 1000).collect();
            RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef)]).unwrap()
        };
        let schema = good(0).schema();
        let column = EngineColumn::new("id", "BIGINT");
        let failing: Vec<Result<RecordBatch, ArrowError>> = match statement.sql.as_str() {
            "panic" => panic!("in execute"),
            "fails while read" => {
                let error = SqlError::bad_request("22012", "[DIVIDE_BY_ZERO] Division by zero.");
                vec![Ok(good(0)), Ok(good(1000)), Err(ArrowError::ExternalError(Box::new(error)))]
            }
            "breaks while read" => vec![Ok(good(0)), Err(ArrowError::ComputeError("out of luck".to_owned()))],
            _ => vec![Ok(good(0))],
        };
        let columns = match statement.sql.as_str() {
            "odd type" => vec![EngineColumn::new("id", "HUGEINT")],
            "too many columns" => vec![column.clone(), column],
            "not that type" => vec![EngineColumn::new("id", "DATE")],
            _ => vec![column],
        };
        Ok(EngineOutput { columns, batches: Box::new(RecordBatchIterator::new(failing, schema)), volume: None })
    }

    fn cancel(&self, _statement_id: &str) {}
}

#[test]
fn an_engine_that_fails_or_panics_fails_the_statement_and_not_the_server() {
    let server = LocalServer::start(small_chunks(), Arc::new(Odd)).unwrap();
    let client = Client { server: &server };
    let more = json!({"disposition": "EXTERNAL_LINKS", "format": "ARROW_STREAM"});
    for (sql, code, sql_state, message) in [
        ("panic", "INTERNAL_ERROR", Value::Null, "panicked"),
        ("fails while read", "BAD_REQUEST", json!("22012"), "[DIVIDE_BY_ZERO] Division by zero. SQLSTATE: 22012"),
        ("breaks while read", "INTERNAL_ERROR", Value::Null, "out of luck"),
        ("odd type", "INTERNAL_ERROR", Value::Null, "`HUGEINT`"),
        ("too many columns", "INTERNAL_ERROR", Value::Null, "declared 2 columns and delivered 1"),
        ("not that type", "INTERNAL_ERROR", json!("22003"), "column `id` declared as DATE"),
    ] {
        let status = client.execute(sql, &more).json()["status"].clone();
        assert_eq!((&status["state"], &status["error"]["error_code"]), (&json!("FAILED"), &json!(code)), "{sql}");
        assert_eq!(status["sql_state"], sql_state, "{sql}");
        assert!(status["error"]["message"].as_str().unwrap().contains(message), "{status}");
    }
    assert_eq!(client.execute("fine", &more).json()["status"]["state"], "SUCCEEDED");
    let session_id = client.open_session();
    let close = format!("/api/2.0/sql/sessions/{session_id}?warehouse_id={}", server.warehouse_id());
    assert_eq!(client.api("DELETE", &close, &Value::Null).status, 200);
}

#[test]
fn a_refused_session_is_http_400_with_the_engines_words() {
    let server = LocalServer::start(ServerOptions::default(), Arc::new(Odd)).unwrap();
    let client = Client { server: &server };
    let body = json!({"warehouse_id": server.warehouse_id(), "catalog": "missing"});
    let reply = client.api("POST", "/api/2.0/sql/sessions", &body);
    assert_eq!(reply.status, 400);
    let message = "[CATALOG_NOT_FOUND] no catalog `missing` SQLSTATE: 42704";
    assert_eq!(reply.json(), json!({"error_code": "BAD_REQUEST", "message": message}));
    assert_eq!(server.counters().open_sessions, 0);
}

#[test]
fn engines_get_the_session_the_parameters_and_the_text_as_sent() {
    let engine = Arc::new(numbers(1));
    let server = LocalServer::start(ServerOptions::default(), Arc::clone(&engine) as _).unwrap();
    let client = Client { server: &server };
    let confs = json!({"warehouse_id": server.warehouse_id(), "catalog": "main", "schema": "",
                       "session_confs": {"QUERY_TAGS": "a:b", "ANSI_MODE": true}, "session_configuration": {"x": "y"}});
    let session_id =
        client.api("POST", "/api/2.0/sql/sessions", &confs).json()["session_id"].as_str().unwrap().to_owned();
    let opened = engine.sessions().pop().unwrap();
    assert_eq!(
        (opened.session_id.as_str(), opened.catalog.as_deref(), opened.schema),
        (session_id.as_str(), Some("main"), None)
    );
    let expected =
        [("ANSI_MODE", "true"), ("QUERY_TAGS", "a:b")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(opened.configuration, BTreeMap::from(expected));

    let text = format!("  {NUMBERS}\n");
    let parameters =
        json!([{"ordinal": 1, "type": "SHORT", "value": "4"}, {"ordinal": 2, "type": "VOID", "value": null}]);
    let answer = client.execute(&text, &json!({"session_id": session_id, "parameters": parameters})).json();
    let statement = engine.statements().pop().unwrap();
    assert_eq!(statement.statement_id, id(&answer["statement_id"]));
    assert_eq!((statement.sql, statement.session_id), (text, Some(session_id)));
    assert_eq!(statement.parameters[0].type_text.as_deref(), Some("SHORT"));
    assert_eq!((statement.parameters[1].ordinal, statement.parameters[1].value.as_deref()), (Some(2), None));
    let sessionless = json!({"catalog": "c", "schema": "s"});
    client.execute(NUMBERS, &sessionless);
    let statement = engine.statements().pop().unwrap();
    assert_eq!((statement.catalog.as_deref(), statement.schema.as_deref()), (Some("c"), Some("s")));
}

#[test]
fn manifest_columns_spell_types_as_the_service_does() {
    let columns = [
        ("a", "bigint", json!({"type_text": "BIGINT", "type_name": "LONG"})),
        (
            "a",
            "decimal(12,3)",
            json!({"type_text": "DECIMAL(12,3)", "type_name": "DECIMAL", "type_precision": 12, "type_scale": 3}),
        ),
        ("c", "tinyint", json!({"type_text": "TINYINT", "type_name": "BYTE"})),
        ("d", "void", json!({"type_text": "VOID", "type_name": "NULL"})),
        (
            "e",
            "interval year to month",
            json!({"type_text": "INTERVAL YEAR TO MONTH", "type_name": "INTERVAL", "type_interval_type": "YEAR TO MONTH"}),
        ),
        ("f", "struct<x:int>", json!({"type_text": "STRUCT<x: INT>", "type_name": "STRUCT"})),
        ("CAST(1 AS CHAR)", "char(3)", json!({"type_text": "CHAR(3)", "type_name": "CHAR"})),
    ];
    let declared = columns.iter().map(|(name, type_text, _)| (*name, *type_text));
    let server = start(ServerOptions::default(), CannedEngine::new().table("SELECT t", declared, Vec::new()));
    let schema = Client { server: &server }.execute("SELECT t", &json!({})).json()["manifest"]["schema"].clone();
    assert_eq!(schema["column_count"], columns.len());
    for (position, (name, _, expected)) in columns.into_iter().enumerate() {
        let mut column = expected;
        column["name"] = json!(name);
        column["position"] = json!(position);
        assert_eq!(schema["columns"][position], column);
    }
}

#[test]
fn timestamps_carry_the_zone_of_the_session_or_of_an_engine_that_changed_it() {
    let rows = |zone: Option<&str>| {
        let times = TimestampMicrosecondArray::from(vec![0]).with_timezone_opt(zone);
        vec![RecordBatch::try_from_iter([("t", Arc::new(times) as ArrayRef)]).unwrap()]
    };
    let engine = CannedEngine::new()
        .table("utc", [("t", "TIMESTAMP")], rows(Some("UTC")))
        .table("tokyo", [("t", "TIMESTAMP")], rows(Some("Asia/Tokyo")))
        .table("naive", [("t", "TIMESTAMP_NTZ")], rows(None));
    let server = start(ServerOptions { inline_bytes: 0, ..ServerOptions::default() }, engine);
    let client = Client { server: &server };
    let zone = |sql: &str, session: Option<&str>| {
        let mut more = json!({"disposition": "EXTERNAL_LINKS", "format": "ARROW_STREAM"});
        if let Some(zone) = session {
            let body = json!({"warehouse_id": server.warehouse_id(), "session_confs": {"TimeZone": zone}});
            more["session_id"] = client.api("POST", "/api/2.0/sql/sessions", &body).json()["session_id"].clone();
        }
        let answer = client.execute(sql, &more).json();
        let body = download(&answer["result"]["external_links"][0], &[]).unwrap().body;
        match read_stream(&body)[0].schema().field(0).data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, zone) => zone.as_deref().map(str::to_owned),
            other => panic!("{other}"),
        }
    };
    assert_eq!(zone("utc", None).as_deref(), Some("Etc/UTC"));
    assert_eq!(zone("utc", Some("America/Los_Angeles")).as_deref(), Some("America/Los_Angeles"));
    assert_eq!(zone("tokyo", Some("America/Los_Angeles")).as_deref(), Some("Asia/Tokyo"));
    assert_eq!(zone("naive", Some("America/Los_Angeles")), None);
}

#[test]
fn statements_beyond_the_threads_are_pending_and_a_cancelled_one_never_runs() {
    let engine = Arc::new(numbers(1).without_result("slow").delay("slow", Duration::from_secs(30)));
    let options = ServerOptions { statement_threads: 1, ..ServerOptions::default() };
    let server = LocalServer::start(options, Arc::clone(&engine) as _).unwrap();
    let client = Client { server: &server };
    let first = client.execute("slow", &json!({"wait_timeout": "0s"})).json();
    while engine.statements().is_empty() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let second = client.execute(NUMBERS, &json!({"wait_timeout": "0s"})).json();
    let third = client.execute(NUMBERS, &json!({"wait_timeout": "0s"})).json();
    assert_eq!(client.poll(&first["statement_id"])["status"]["state"], "RUNNING");
    assert_eq!(client.poll(&second["statement_id"])["status"]["state"], "PENDING");
    client.close(&second["statement_id"]);
    client.close(&first["statement_id"]);
    let state = || client.poll(&third["statement_id"])["status"]["state"].clone();
    while state() != "SUCCEEDED" {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(engine.statements().len(), 2, "the one closed while it waited was not run");
    assert!(engine.cancelled().iter().all(|id| *id == first["statement_id"]), "{:?}", engine.cancelled());
}

/// Listens to the third interruption only, as an engine does that forgets those which come before it has begun.
#[derive(Default)]
struct HardOfHearing {
    interruptions: AtomicUsize,
    runs: AtomicUsize,
}

impl Engine for HardOfHearing {
    fn open_session(
        &self,
        _session_id: &str,
        _catalog: Option<&str>,
        _schema: Option<&str>,
        _configuration: &BTreeMap<String, String>,
    ) -> Result<(), SqlError> {
        Ok(())
    }

    fn close_session(&self, _session_id: &str) {}

    fn execute(&self, _statement: EngineStatement) -> Result<EngineOutput, SqlError> {
        let enough = 3 * (1 + self.runs.fetch_add(1, Ordering::SeqCst));
        while self.interruptions.load(Ordering::SeqCst) < enough {
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(SqlError::new("CANCELLED", "interrupted"))
    }

    fn cancel(&self, _statement_id: &str) {
        self.interruptions.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn the_engine_is_interrupted_until_it_lets_go_also_when_the_server_stops() {
    let engine = Arc::new(HardOfHearing::default());
    let options = ServerOptions { statement_threads: 1, ..ServerOptions::default() };
    let server = LocalServer::start(options, Arc::clone(&engine) as _).unwrap();
    let client = Client { server: &server };
    let first = client.execute("SELECT 1", &json!({"wait_timeout": "0s"})).json();
    while engine.runs.load(Ordering::SeqCst) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    client.close(&first["statement_id"]);
    client.execute("SELECT 1", &json!({"wait_timeout": "0s"}));
    while engine.runs.load(Ordering::SeqCst) == 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    server.stop();
    assert!(engine.interruptions.load(Ordering::SeqCst) >= 6);
    assert_eq!(Arc::strong_count(&engine), 2, "the test and the stopped server hold it; no thread does");
}

#[test]
fn a_statement_outlives_the_client_that_submitted_it() {
    let engine = Arc::new(numbers(1).delay(NUMBERS, Duration::from_millis(100)));
    let server = LocalServer::start(ServerOptions::default(), Arc::clone(&engine) as _).unwrap();
    let body = Client { server: &server }.body(NUMBERS, &json!({})).to_string();
    let mut stream = TcpStream::connect(server.address().trim_start_matches("http://")).unwrap();
    let token = server.access_token();
    let length = body.len();
    write!(stream, "POST /api/2.0/sql/statements HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n{body}")
        .unwrap();
    while engine.statements().is_empty() {
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(stream);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!((server.counters().statements, server.counters().live_statements), (1, 0));
    assert_eq!(server.requests()[0].status, None, "nobody was there to be answered");
}

#[test]
fn a_connection_serves_many_requests_and_is_counted_once() {
    let server = start(ServerOptions::default(), numbers(1));
    let mut stream = TcpStream::connect(server.address().trim_start_matches("http://")).unwrap();
    for _ in 0..3 {
        write!(stream, "GET /.well-known/databricks-config HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut some = [0; 4096];
        assert!(stream.read(&mut some).unwrap() > 0);
    }
    assert_eq!(server.counters().open_connections, 1);
    drop(stream);
    let connections: Vec<u64> = server.requests().iter().map(|record| record.connection).collect();
    assert_eq!(connections, [0, 0, 0]);
}

#[test]
fn noise_on_either_port_hurts_nobody() {
    let server = start(small_chunks(), numbers(10));
    for address in [server.address(), server.storage_address()] {
        for noise in [
            b"\x16\x03\x01\x02\x00\x01\x00".as_slice(),
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET /%zz/%/../..//results_99999999999999999999%2Bpart?&&=&%=%00 HTTP/1.1\r\nhost: x\r\n\r\n",
            b"GET /warehouse-results/a/b/results_0%2Bpart?X-Amz-Signature= HTTP/1.1\r\nhost: x\r\nrange: bytes=9-1\r\n\r\n",
            b"POST /api/2.0/sql/statements HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n{",
            b"GET /api/2.0/sql/statements/\xff/result/chunks/18446744073709551616?row_offset=-9 HTTP/1.1\r\nhost: x\r\n\r\n",
            &vec![b'A'; 100_000],
        ] {
            let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let _ = stream.write_all(noise);
            let _ = stream.read(&mut [0; 1024]);
        }
    }
    let client = Client { server: &server };
    let more = json!({"disposition": "EXTERNAL_LINKS", "format": "ARROW_STREAM"});
    assert_eq!(fetch_ids(&client, &client.execute(NUMBERS, &more).json()).len(), 10);
}
