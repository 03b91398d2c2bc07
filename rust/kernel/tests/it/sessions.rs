//! Sessions that the server has ended.

use std::time::{Duration, Instant};

use seakernel::{ErrorKind, Session};
use seakernel_local::{Fault, FaultRule, Operation, SqlError};

use crate::canary;
use crate::warehouse::{FEW, SLOW, Warehouse, ids};

/// Refuses the next statement as a server does that has ended the session.
fn ended(status: u16) -> FaultRule {
    let body = r#"{"error_code":"BAD_REQUEST","message":"Invalid SessionHandle: SessionHandle [01f0] is closed"}"#;
    let fault = Fault::Status { code: status, retry_after: None, error_code: None, body: Some(body.to_owned()) };
    FaultRule::new(Operation::Execute, fault)
}

async fn few(session: &Session) -> seakernel::Result<Vec<i64>> {
    ids(&mut session.statement(FEW).execute().await?.results().await?).await
}

#[tokio::test]
async fn a_statement_refused_for_its_session_runs_in_a_new_one() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    let first = session.session_id();
    warehouse.server.set_faults(vec![ended(400)]);
    assert_eq!(few(&session).await.unwrap().len(), 10);
    assert_ne!(session.session_id(), first);
    assert_eq!((warehouse.count(Operation::OpenSession), warehouse.count(Operation::Execute)), (2, 2));
    session.close().await.unwrap();
    // The first one too, which the server had only pretended to end.
    assert!(warehouse.eventually(|w| w.server.counters().open_sessions == 0).await);
}

#[tokio::test]
async fn a_session_that_nobody_waits_for_any_more_is_closed() {
    let warehouse = Warehouse::start();
    warehouse.server.set_faults(vec![FaultRule::new(Operation::OpenSession, Fault::Delay { ms: 300 })]);
    let opening = tokio::time::timeout(Duration::from_millis(100), warehouse.session()).await;
    assert!(opening.is_err());
    assert!(warehouse.eventually(|w| w.count(Operation::CloseSession) == 1).await);
    assert_eq!(warehouse.server.counters().open_sessions, 0);
}

#[tokio::test]
async fn statements_side_by_side_share_the_new_session() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    warehouse.server.set_faults(vec![ended(404).times(6)]);
    let runs = (0..6).map(|_| {
        let session = session.clone();
        tokio::spawn(async move { few(&session).await.map(|rows| rows.len()) })
    });
    for run in runs.collect::<Vec<_>>() {
        assert_eq!(run.await.unwrap().unwrap(), 10);
    }
    assert_eq!(warehouse.count(Operation::OpenSession), 2);
}

#[tokio::test]
async fn a_new_session_that_is_refused_too_is_an_error() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    warehouse.server.set_faults(vec![ended(400).always()]);
    let error = few(&session).await.unwrap_err();
    assert_eq!(error.http_status(), Some(400));
    assert_eq!((warehouse.count(Operation::OpenSession), warehouse.count(Operation::Execute)), (2, 2));
}

#[tokio::test]
async fn a_statement_that_may_have_run_is_not_sent_again_but_the_next_one_finds_a_new_session() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    warehouse.server.set_faults(vec![ended(500)]);
    let error = few(&session).await.unwrap_err();
    assert_eq!(error.http_status(), Some(500));
    assert_eq!((warehouse.count(Operation::OpenSession), warehouse.count(Operation::Execute)), (1, 1));
    assert_eq!(few(&session).await.unwrap().len(), 10);
    assert_eq!((warehouse.count(Operation::OpenSession), warehouse.count(Operation::Execute)), (2, 2));
}

#[tokio::test]
async fn a_session_in_which_something_was_set_is_not_replaced() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    session.statement("USE elsewhere").execute().await.unwrap_err();
    warehouse.server.set_faults(vec![ended(400)]);
    for _ in 0..2 {
        let error = few(&session).await.unwrap_err();
        canary::look_at(&error);
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert!(error.to_string().contains("temporary views"), "{error}");
    }
    assert_eq!((warehouse.count(Operation::OpenSession), warehouse.count(Operation::Execute)), (1, 2));
}

#[tokio::test]
async fn nor_is_one_in_which_something_is_just_being_set() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    warehouse.server.set_faults(vec![
        FaultRule::new(Operation::Execute, Fault::Delay { ms: 700 }).containing("USE elsewhere"),
        ended(400),
    ]);
    let setting = tokio::spawn({
        let session = session.clone();
        async move { session.statement("USE elsewhere").execute().await.map(drop) }
    });
    assert!(warehouse.eventually(|w| w.count(Operation::Execute) == 1).await);
    assert_eq!(few(&session).await.unwrap_err().kind(), ErrorKind::Closed);
    setting.await.unwrap().unwrap_err();
    assert_eq!(warehouse.count(Operation::OpenSession), 1);
}

#[tokio::test]
async fn a_refused_setting_has_set_nothing() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    warehouse.server.set_faults(vec![ended(400)]);
    session.statement("USE elsewhere").execute().await.unwrap_err();
    assert_eq!((warehouse.count(Operation::OpenSession), warehouse.count(Operation::Execute)), (2, 2));
}

#[tokio::test]
async fn a_failed_statement_says_nothing_of_its_session_whatever_it_quotes() {
    let failure = SqlError::bad_request("22018", "The value 'Invalid SessionHandle: x is closed' cannot be cast.");
    let warehouse = Warehouse::failing("SELECT quoted", failure);
    let session = warehouse.session().await;
    let first = session.session_id();
    assert_eq!(session.statement("SELECT quoted").execute().await.unwrap_err().kind(), ErrorKind::Sql);
    session.statement("SELECT quoted").execute().await.unwrap_err();
    assert_eq!((session.session_id(), warehouse.count(Operation::OpenSession)), (first, 1));
}

#[tokio::test]
async fn a_statement_over_its_time_limit_is_cancelled() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    let began = Instant::now();
    let statement = session.statement(SLOW).timeout(Duration::from_millis(300));
    let error = statement.execute().await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!((error.kind(), error.sql_state()), (ErrorKind::Timeout, Some("HYT00")));
    assert!(!error.is_retryable() && error.to_string().contains("300ms"), "{error}");
    // The server names the statement in its first answer, when it stops waiting: after ten seconds.
    let mut ended = false;
    for _ in 0..4 {
        ended = ended || warehouse.eventually(|w| w.count(Operation::CloseStatement) == 1).await;
    }
    assert!(ended && warehouse.count(Operation::Cancel) == 1);
    let fast = session.statement(FEW).timeout(Duration::from_secs(60)).execute().await.unwrap();
    assert_eq!(ids(&mut fast.results().await.unwrap()).await.unwrap().len(), 10);
}
