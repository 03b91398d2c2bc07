use std::time::{Duration, Instant};

use seakernel::{ErrorKind, Parameter, Secret, Session};
use seakernel_local::{Fault, FaultRule, Operation, Origin};
use serde_json::json;

use crate::warehouse::{FEW, NUMBERS, Warehouse, all_ids, ids};

#[tokio::test]
async fn own_headers_reach_the_api_and_never_the_store() {
    let warehouse = Warehouse::start();
    let mut config = warehouse.config();
    let header = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
    config.requests.headers =
        vec![header("X-Trace", "1"), header("User-Agent", "mine/1"), header("Authorization", "Bearer other")];
    let session = Session::open(config).await.unwrap();
    let mut results = session.statement(NUMBERS).execute().await.unwrap().results().await.unwrap();
    assert_eq!(ids(&mut results).await.unwrap(), all_ids());
    let requests = warehouse.server.requests();
    assert!(requests.iter().any(|request| request.origin == Origin::Storage));
    for request in requests {
        let is_api = request.origin == Origin::Api;
        assert_eq!(request.headers.iter().any(|name| name == "x-trace"), is_api, "{}", request.path);
        assert_eq!(request.user_agent.as_deref() == Some("mine/1"), is_api, "{}", request.path);
        assert_eq!(request.authorization, is_api);
    }
}

#[tokio::test]
async fn query_tags_and_the_sessions_version_are_sent_along() {
    let warehouse = Warehouse::start();
    let body = r#"{"session_id":"01ef-session","session_version":{"version_id":7}}"#;
    warehouse.server.set_faults(vec![
        FaultRule::new(
            Operation::OpenSession,
            Fault::Status { code: 200, retry_after: None, error_code: None, body: Some(body.to_owned()) },
        ),
        FaultRule::new(
            Operation::Execute,
            Fault::Status { code: 400, retry_after: None, error_code: None, body: None },
        ),
    ]);
    let statement = warehouse.session().await.statement(FEW).query_tag("team", Some("x")).query_tag("bare", None);
    statement.execute().await.unwrap_err();
    let requests = warehouse.server.requests();
    let sent = requests.iter().find(|request| request.operation == Some(Operation::Execute)).unwrap();
    let sent = sent.body.as_ref().unwrap();
    assert_eq!(sent["query_tags"], json!([{"key": "team", "value": "x"}, {"key": "bare"}]));
    assert_eq!(sent["session_version"], json!({"version_id": 7}));
    assert_eq!(sent["session_id"], "01ef-session");
}

#[tokio::test]
async fn results_come_inside_the_answers_where_no_store_can_be_reached() {
    let warehouse = Warehouse::start();
    let mut config = warehouse.config();
    config.session_configuration.insert("CloudFetch_Enabled".to_owned(), "false".to_owned());
    config.session_configuration.insert("ANSI_MODE".to_owned(), "true".to_owned());
    let session = Session::open(config).await.unwrap();
    let mut results = session.statement(NUMBERS).execute().await.unwrap().results().await.unwrap();
    assert_eq!(ids(&mut results).await.unwrap(), all_ids());
    assert_eq!(warehouse.count(Operation::Download), 0);
    let configuration = warehouse.engine.sessions().remove(0).configuration;
    assert_eq!(configuration.keys().collect::<Vec<_>>(), ["ANSI_MODE"]);
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_a_timeout_and_a_statement_is_not_sent_again() {
    let warehouse = Warehouse::start();
    let mut config = warehouse.config();
    config.requests.timeout = Some(Duration::from_millis(200));
    let session = Session::open(config).await.unwrap();
    warehouse.server.set_faults(vec![FaultRule::new(Operation::Execute, Fault::Delay { ms: 5000 })]);
    let started = Instant::now();
    let error = session.statement(FEW).execute().await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!((error.kind(), error.attempts(), error.is_retryable()), (ErrorKind::Timeout, 1, false));
    assert_eq!(warehouse.count(Operation::Execute), 1);
}

#[tokio::test]
async fn checked_parameters_travel_as_the_server_reads_them() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    let null = Parameter::named("n", "decimal(5,2)", None).checked().unwrap();
    let when = Parameter::named("t", "timestamp", Some("2024-02-29 12:34:56+05:00")).checked().unwrap();
    drop(session.statement(FEW).bind(null).bind(when).execute().await.unwrap());
    let seen = warehouse.engine.statements().remove(0).parameters;
    assert_eq!((seen[0].type_text.as_deref(), seen[0].value.as_deref()), (Some("DECIMAL(5,2)"), None));
    assert_eq!(seen[1].value.as_deref(), Some("2024-02-29 07:34:56+00:00"));
    let error = Parameter::named("d", "DATE", Some("value-canary")).checked().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("`d`") && !error.to_string().contains("canary"), "{error}");
}
