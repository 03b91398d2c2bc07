//! Sessions, states and refusals.

use std::time::{Duration, Instant};

use seakernel_local::{CannedEngine, ServerOptions, SqlError, Switches};
use serde_json::{Value, json};

use crate::client::{Client, id, request};
use crate::rows::{NUMBERS, numbers, start};

const SLOW: &str = "SELECT slow";

fn slow() -> CannedEngine {
    numbers(1).table(SLOW, [("id", "BIGINT")], Vec::new()).delay(SLOW, Duration::from_secs(30))
}

#[test]
fn sessions_open_on_both_paths_and_close_with_the_warehouse_id() {
    let server = start(ServerOptions::default(), numbers(1));
    let client = Client { server: &server };
    let warehouse_id = server.warehouse_id();
    let first = client.open_session();
    let jdbc = format!("/api/2.0/sql/warehouses/{warehouse_id}/sessions/");
    let body = json!({"catalog": "main", "session_confs": {"timezone": "UTC"}, "execution_mode": "FAST"});
    let second = client.api("POST", &jdbc, &body).json()["session_id"].as_str().unwrap().to_owned();
    assert_eq!(server.counters().open_sessions, 2);

    let without = client.api("DELETE", &format!("/api/2.0/sql/sessions/{first}"), &Value::Null);
    assert_eq!((without.status, &without.json()["error_code"]), (400, &json!("INVALID_PARAMETER_VALUE")));
    let query = format!("/api/2.0/sql/sessions/{first}?warehouse_id={warehouse_id}");
    assert_eq!(client.api("DELETE", &query, &Value::Null).json(), json!({}));
    assert_eq!(client.api("DELETE", &query, &Value::Null).status, 404);
    let in_body = json!({"warehouse_id": warehouse_id});
    assert_eq!(client.api("DELETE", &format!("/api/2.0/sql/sessions/{second}"), &in_body).status, 200);
    assert_eq!(server.counters().open_sessions, 0);
}

#[test]
fn credentials_are_demanded_as_recorded() {
    let server = start(ServerOptions::default(), numbers(1));
    let target = "/api/2.0/sql/statements/x";
    let none = request(server.address(), "GET", target, &[], b"").unwrap();
    assert_eq!((none.status, &none.json()["error_code"]), (401, &json!(401)));
    let wrong = request(server.address(), "GET", target, &[("authorization", "Bearer no")], b"").unwrap();
    assert_eq!(wrong.json(), json!({"error_code": 403, "message": "Invalid access token."}));
    assert_eq!(wrong.header("x-databricks-reason-phrase"), Some("Invalid access token."));
    assert_eq!(request(server.address(), "GET", "/.well-known/databricks-config", &[], b"").unwrap().status, 200);
}

#[test]
fn what_is_unknown_is_404_with_a_reason() {
    let server = start(ServerOptions::default(), numbers(1));
    let client = Client { server: &server };
    for (method, target, body) in [
        ("GET", "/api/2.0/sql/statements/01f0-none", Value::Null),
        ("DELETE", "/api/2.0/sql/statements/01f0-none", Value::Null),
        ("GET", "/api/2.0/sql/statements/01f0-none/result/chunks/0", Value::Null),
        ("POST", "/api/2.0/sql/sessions", json!({"warehouse_id": "other"})),
        ("GET", "/api/2.0/sql/warehouses/other", Value::Null),
        ("POST", "/api/2.0/sql/statements", client.body(NUMBERS, &json!({"session_id": "gone"}))),
    ] {
        let reply = client.api(method, target, &body);
        assert_eq!((reply.status, &reply.json()["error_code"]), (404, &json!("RESOURCE_DOES_NOT_EXIST")), "{target}");
    }
    assert_eq!(client.api("GET", "/api/2.0/other", &Value::Null).status, 404);
}

#[test]
fn a_thrift_client_is_told_which_switch_to_use() {
    let server = start(ServerOptions::default(), numbers(1));
    let reply = request(
        server.address(),
        "POST",
        &server.http_path(),
        &[("authorization", "Bearer local-access-token")],
        b"\x80\x01",
    )
    .unwrap();
    assert_eq!(reply.status, 400);
    for switch in ["UseThriftClient=0", "useKernel", "use_sea", "use_kernel"] {
        assert!(
            reply.text().contains(switch) && reply.header("x-thriftserver-error-message").unwrap().contains(switch)
        );
    }
}

#[test]
fn the_small_endpoints_answer() {
    let server = start(ServerOptions::default(), numbers(1));
    let client = Client { server: &server };
    let warehouse = client.api("GET", &format!("/api/2.0/sql/warehouses/{}", server.warehouse_id()), &Value::Null);
    assert_eq!(warehouse.json()["state"], "RUNNING");
    assert_eq!(client.api("GET", "/api/2.0/sql/warehouses", &Value::Null).json()["warehouses"][0], warehouse.json());
    let flags = client.api("GET", "/api/2.0/connector-service/feature-flags/PYTHON/4.9.0", &Value::Null);
    assert_eq!(flags.json(), json!({"flags": [], "ttl_seconds": 3600}));
    assert_eq!(client.api("POST", "/telemetry-ext", &json!({"items": []})).status, 200);
}

#[test]
fn a_failed_statement_is_http_200_with_its_sqlstate_in_two_places() {
    let error = SqlError::bad_request("42601", "[PARSE_SYNTAX_ERROR] Syntax error at or near 'SELEC'.");
    let server = start(ServerOptions::default(), CannedEngine::new().failure("SELEC", error));
    let client = Client { server: &server };
    let reply = client.execute("SELEC", &json!({}));
    assert_eq!(reply.status, 200);
    let message = "[PARSE_SYNTAX_ERROR] Syntax error at or near 'SELEC'. SQLSTATE: 42601";
    let status = json!({"state": "FAILED", "sql_state": "42601",
                        "error": {"error_code": "BAD_REQUEST", "message": message}});
    assert_eq!(reply.json()["status"], status);
    assert_eq!(reply.json().get("manifest"), None);
    server.set_switches(Switches::from_json(r#"{"sql_state": "message_only"}"#).unwrap());
    assert_eq!(client.poll(&reply.json()["statement_id"])["status"].get("sql_state"), None);
    server.set_switches(Switches::from_json(r#"{"sql_state": "error"}"#).unwrap());
    assert_eq!(client.poll(&reply.json()["statement_id"])["status"]["error"]["sql_state"], "42601");
}

#[test]
fn a_statement_without_result_has_no_columns_key() {
    let server = start(ServerOptions::default(), CannedEngine::new().without_result("CREATE TABLE t (id INT)"));
    let answer = Client { server: &server }.execute("CREATE TABLE t (id INT)", &json!({})).json();
    assert_eq!(answer["status"], json!({"state": "SUCCEEDED"}));
    assert_eq!(answer["result"], json!({}));
    assert_eq!(
        answer["manifest"],
        json!({"format": "JSON_ARRAY", "schema": {"column_count": 0}, "total_chunk_count": 0, "total_row_count": 0,
               "total_byte_count": 0, "truncated": false})
    );
}

#[test]
fn zero_wait_answers_at_once_and_cancel_is_seen_in_the_next_poll() {
    let server = start(ServerOptions::default(), slow());
    let client = Client { server: &server };
    let before = Instant::now();
    let answer = client.execute(SLOW, &json!({"wait_timeout": "0s"})).json();
    assert!(matches!(answer["status"]["state"].as_str(), Some("PENDING" | "RUNNING")), "{answer}");
    let statement_id = &answer["statement_id"];
    let cancel = format!("/api/2.0/sql/statements/{}/cancel", id(statement_id));
    assert_eq!(client.api("POST", &cancel, &json!({})).json(), json!({}));
    assert_eq!(client.poll(statement_id)["status"]["state"], "CANCELED");
    assert_eq!(client.api("POST", &cancel, &Value::Null).status, 200, "cancel is idempotent");
    assert_eq!(client.close(statement_id).status, 200);
    assert_eq!(client.close(statement_id).status, 404);
    assert_eq!(client.api("POST", &cancel, &Value::Null).status, 200, "even after the close");
    assert!(before.elapsed() < Duration::from_secs(5));
    assert_eq!((server.counters().statements, server.counters().live_statements), (0, 0));
}

#[test]
fn closing_a_session_ends_what_runs_in_it() {
    let server = start(ServerOptions::default(), slow());
    let client = Client { server: &server };
    let session_id = client.open_session();
    let answer = client.execute(SLOW, &json!({"wait_timeout": "0s", "session_id": session_id})).json();
    let target = format!("/api/2.0/sql/sessions/{session_id}?warehouse_id={}", server.warehouse_id());
    assert_eq!(client.api("DELETE", &target, &Value::Null).status, 200);
    let gone = format!("/api/2.0/sql/statements/{}", id(&answer["statement_id"]));
    assert_eq!(client.api("GET", &gone, &Value::Null).status, 404);
    assert_eq!(server.counters().live_statements, 0);
}

#[test]
fn a_waiting_submission_can_end_in_a_cancel() {
    let server = start(ServerOptions::default(), slow());
    let client = Client { server: &server };
    let answer = client.execute(SLOW, &json!({"wait_timeout": "5.0s", "on_wait_timeout": "CANCEL"})).json();
    assert_eq!(answer["status"]["state"], "CANCELED");
}

#[test]
fn a_scripted_statement_says_pending_and_running_first() {
    let mut options = ServerOptions::default();
    options.switches.pending_answers = 1;
    options.switches.running_answers = 2;
    let server = start(options, numbers(1));
    let client = Client { server: &server };
    let answer = client.execute(NUMBERS, &json!({})).json();
    let mut states = vec![answer["status"]["state"].clone()];
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(30));
        states.push(client.poll(&answer["statement_id"])["status"]["state"].clone());
    }
    assert_eq!(states, ["PENDING", "RUNNING", "RUNNING", "SUCCEEDED"]);
}

#[test]
fn bodies_that_are_no_requests_are_refused() {
    let server = start(ServerOptions::default(), numbers(1));
    let token = [("authorization", "Bearer local-access-token")];
    let send = |body: &[u8]| request(server.address(), "POST", "/api/2.0/sql/statements", &token, body).unwrap();
    assert_eq!(send(b"{\"statement\": 1}").status, 400);
    assert_eq!(send(b"\xff\xfe").json()["error_code"], "MALFORMED_REQUEST");
    assert_eq!(send(&vec![b' '; 18 << 20]).status, 413);
    let long = json!({"warehouse_id": server.warehouse_id(), "statement": "x".repeat((16 << 20) + 1)});
    let refused = send(long.to_string().as_bytes());
    assert!(refused.status == 400 && refused.json()["message"].as_str().unwrap().contains("16 MiB"));
}

#[test]
fn the_oldest_finished_statements_are_forgotten() {
    let options = ServerOptions { retained_statements: 3, ..ServerOptions::default() };
    let server = start(options, numbers(1));
    let client = Client { server: &server };
    let answers: Vec<Value> = (0..5).map(|_| client.execute(NUMBERS, &json!({})).json()).collect();
    let found = |answer: &Value| {
        let target = format!("/api/2.0/sql/statements/{}", id(&answer["statement_id"]));
        client.api("GET", &target, &Value::Null).status
    };
    assert_eq!(answers.iter().map(found).collect::<Vec<u16>>(), [404, 404, 200, 200, 200]);
}

#[test]
fn stopping_is_quick_while_a_statement_runs_and_a_client_waits() {
    let server = start(ServerOptions::default(), slow());
    let client = Client { server: &server };
    client.execute(SLOW, &json!({"wait_timeout": "0s"}));
    let before = Instant::now();
    server.stop();
    assert!(before.elapsed() < Duration::from_secs(2), "{:?}", before.elapsed());
    server.stop();
}

#[test]
fn oauth_tokens_are_issued_used_and_expire() {
    let mut options = ServerOptions::default();
    let client = json!({"client_id": "app", "client_secret": "s e"});
    options.oauth_client = serde_json::from_value(client).unwrap();
    let server = start(options, numbers(1));
    let ask = |headers: &[(&str, &str)], form: &str| {
        request(server.address(), "POST", "/oidc/v1/token", headers, form.as_bytes()).unwrap()
    };
    let form = "grant_type=client_credentials&scope=all-apis";
    assert_eq!(ask(&[], &format!("{form}&client_id=app&client_secret=no")).status, 401);
    assert_eq!(ask(&[], "grant_type=password").status, 400);
    let issued = ask(&[("authorization", "Basic YXBwOnMgZQ==")], form).json();
    assert_eq!((&issued["token_type"], &issued["expires_in"]), (&json!("Bearer"), &json!(3600)));
    let bearer = format!("Bearer {}", issued["access_token"].as_str().unwrap());
    let list = |bearer: &str| {
        request(server.address(), "GET", "/api/2.0/sql/warehouses", &[("authorization", bearer)], b"").unwrap().status
    };
    assert_eq!(list(&bearer), 200);
    server.set_switches(Switches::from_json(r#"{"oauth_lifetime_seconds": 0}"#).unwrap());
    let short = ask(&[], &format!("{form}&client_id=app&client_secret=s+e")).json();
    assert_eq!(list(&format!("Bearer {}", short["access_token"].as_str().unwrap())), 401);
    let log = serde_json::to_string(&server.requests()).unwrap();
    assert!(!log.contains("s+e") && !log.contains("local-oauth"), "no credential in the log");
}
