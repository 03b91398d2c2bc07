//! Tokens and control over HTTP.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{TABLE, ask_for_token, http, start, start_with, stream};

#[test]
fn tokens_are_given_and_counted() {
    let server = start();
    let (status, _, body) = ask_for_token(&server, TABLE);
    assert_eq!(status, 200);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["expires_in"], &body["token_type"]), (&json!(3600), &json!("Bearer")));
    let key = format!("{} {TABLE}", server.client_id());
    assert_eq!(server.log().token_fetches[&key], 1);
}

#[test]
fn a_token_request_out_of_order_is_a_violation() {
    let server = start();
    assert_eq!(http(&server, "POST", "/oidc/v1/token", "", "grant_type=client_credentials").0, 401);
    assert_eq!(http(&server, "GET", "/oidc/v1/token", "", "").0, 405);
    assert_eq!(server.log().violations.len(), 1);
    assert!(!server.log().violations[0].contains(server.client_secret()));
}

/// Fault 21.
#[test]
fn f21_tokens_go_wrong_in_many_ways() {
    let fault = |fault: Value| {
        let server = start_with(&json!([{"on": "token", "do": fault}]));
        let answer = ask_for_token(&server, TABLE);
        assert_eq!(ask_for_token(&server, TABLE).0, 200, "the next is in order");
        answer
    };
    for code in [400, 401, 403, 429, 500] {
        assert_eq!(fault(json!({"http": {"code": code}})).0, code);
    }
    assert!(fault(json!({"http": {"code": 429, "retry_after": 7}})).1.contains("retry-after: 7"));
    assert!(serde_json::from_str::<Value>(&fault(json!("bad_json")).2).is_err());
    let expires_in = |value: Value| {
        let body: Value = serde_json::from_str(&fault(json!({"expires_in": value})).2).unwrap();
        body.get("expires_in").cloned()
    };
    assert_eq!(expires_in(json!({})), None);
    assert_eq!(expires_in(json!({"value": "3600"})), Some(json!("3600")));
    assert_eq!(expires_in(json!({"value": 0})), Some(json!(0)));
    assert_eq!(expires_in(json!({"value": 2})), Some(json!(2)));
    let started = std::time::Instant::now();
    assert_eq!(fault(json!({"delay": {"ms": 100}})).0, 200);
    assert!(started.elapsed().as_millis() >= 100);
}

#[test]
fn f21_a_token_never_comes() {
    let server = Arc::new(start_with(&json!([{"on": "token", "do": "silence"}])));
    let asked = Arc::clone(&server);
    let asking = thread::spawn(move || ask_for_token(&asked, TABLE).0);
    while server.log().token_fetches.is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(Duration::from_millis(200));
    assert!(!asking.is_finished());
    server.stop();
    assert_eq!(asking.join().unwrap(), 0);
}

#[tokio::test]
async fn the_server_is_controlled_over_http() {
    let server = start();
    let table = json!({"name": "a.b.c", "columns": [{"name": "id", "type": "BIGINT", "nullable": false}]});
    assert_eq!(http(&server, "POST", "/control/tables", "", &table.to_string()).0, 200);
    let (status, _, body) =
        http(&server, "POST", "/control/tables", "", r#"{"name": "a", "columns": [{"name": "x"}]}"#);
    assert_eq!(status, 400);
    assert!(body.contains("columns[0]"), "{body}");
    let (status, _, body) = http(&server, "PUT", "/control/settings", "", r#"{"ack_delay": 5}"#);
    assert_eq!(status, 400);
    assert!(body.contains("unknown field `ack_delay`"), "{body}");
    assert_eq!(http(&server, "PUT", "/control/settings", "", r#"{"ack_delay_ms": 5}"#).0, 200);
    let (status, _, body) = http(&server, "PUT", "/control/faults", "", r#"[{"on": "nowhere", "do": "silence"}]"#);
    assert_eq!(status, 400);
    assert!(body.contains("[0].on"), "{body}");
    assert_eq!(http(&server, "PUT", "/control/faults", "", "[]").0, 200);

    let mut stream = stream(&server).await;
    stream.record(0, 7);
    stream.record(1, 7);
    stream.acked(1).await;
    let get = |path: &str| serde_json::from_str::<Value>(&http(&server, "GET", path, "", "").2).unwrap();
    assert_eq!(get(&format!("/control/count?table={TABLE}")), json!(2));
    assert_eq!(get(&format!("/control/keys?table={TABLE}&column=id")), json!({"7": 2}));
    assert_eq!(get(&format!("/control/rows?table={TABLE}"))[1]["values"]["id"], json!(7));
    assert_eq!(get("/control/log")["streams"][0]["acked"], json!(1));
    assert_eq!(http(&server, "POST", "/control/reset", "", "").0, 200);
    assert_eq!(get(&format!("/control/count?table={TABLE}")), json!(0));
    assert_eq!(http(&server, "GET", "/control/nothing", "", "").0, 404);
}
