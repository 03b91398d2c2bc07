use std::time::Duration;

use seakernel::{ErrorKind, StatementState};
use seakernel_local::{Operation, Switches};

use crate::warehouse::{BROKEN, FEW, NUMBERS, SLOW, Warehouse, all_ids, ids};

#[tokio::test]
async fn a_result_is_read_again_and_by_readers_at_once_and_the_statement_closed_once_at_the_end() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    let owner = session.statement(NUMBERS).submit().await.unwrap();
    let reader = owner.reader();
    let (mut first, mut second, mut third) =
        tokio::try_join!(owner.results(), owner.results(), reader.results()).unwrap();
    let (one, two, three) = tokio::join!(ids(&mut first), ids(&mut second), ids(&mut third));
    for rows in [one, two, three] {
        assert_eq!(rows.unwrap(), all_ids());
    }
    reader.close().await.unwrap();
    drop((reader, first, second, third));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(warehouse.count(Operation::CloseStatement), 0, "the owner is there");
    assert_eq!(ids(&mut owner.results().await.unwrap()).await.unwrap(), all_ids());
    drop(owner);
    assert!(warehouse.eventually(|w| w.server.counters().statements == 0).await);
    assert_eq!(warehouse.count(Operation::CloseStatement), 1);
}

#[tokio::test]
async fn a_result_outlives_the_handle_it_was_opened_through() {
    let warehouse = Warehouse::start();
    let owner = warehouse.session().await.statement(NUMBERS).submit().await.unwrap();
    let mut results = owner.results().await.unwrap();
    drop(owner);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(ids(&mut results).await.unwrap(), all_ids());
    assert!(warehouse.eventually(|w| w.count(Operation::CloseStatement) == 1).await);
}

#[tokio::test]
async fn an_attached_handle_reads_and_leaves_the_statement_alone() {
    let warehouse = Warehouse::start();
    let owner = warehouse.session().await.statement(NUMBERS).submit().await.unwrap();
    owner.wait().await.unwrap();
    let attached = warehouse.session().await.attach(owner.statement_id()).await.unwrap();
    assert_eq!(attached.state().await.unwrap(), StatementState::Succeeded);
    let error = attached.cancel().await.unwrap_err();
    assert_eq!((error.kind(), error.statement_id()), (ErrorKind::InvalidArgument, Some(owner.statement_id())));
    assert_eq!(ids(&mut attached.results().await.unwrap()).await.unwrap(), all_ids());
    attached.close().await.unwrap();
    drop(attached);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((warehouse.count(Operation::CloseStatement), warehouse.count(Operation::Cancel)), (0, 0));
    assert_eq!(ids(&mut owner.results().await.unwrap()).await.unwrap(), all_ids());
}

#[tokio::test]
async fn a_kept_statement_outlives_its_handle_and_its_session_until_it_is_closed() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    let owner = session.statement(NUMBERS).submit().await.unwrap();
    owner.keep();
    let statement_id = owner.statement_id().to_owned();
    assert_eq!(ids(&mut owner.results().await.unwrap()).await.unwrap(), all_ids());
    session.close().await.unwrap();
    drop((owner, session));

    let elsewhere = warehouse.session().await;
    let attached = elsewhere.attach(&statement_id).await.unwrap();
    assert_eq!(ids(&mut attached.results().await.unwrap()).await.unwrap(), all_ids());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((warehouse.count(Operation::CloseStatement), warehouse.count(Operation::CloseSession)), (0, 0));
    attached.keep();
    attached.cancel().await.unwrap();
    attached.close().await.unwrap();
    elsewhere.close().await.unwrap();
    assert_eq!((warehouse.count(Operation::CloseStatement), warehouse.count(Operation::CloseSession)), (1, 1));
}

#[tokio::test]
async fn the_close_of_the_last_kept_statement_closes_a_session_closed_before() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    let kept = [session.statement(NUMBERS).submit().await.unwrap(), session.statement(NUMBERS).submit().await.unwrap()];
    for statement in &kept {
        statement.keep();
        statement.keep();
    }
    session.close().await.unwrap();
    kept[0].close().await.unwrap();
    kept[0].close().await.unwrap();
    assert_eq!(warehouse.count(Operation::CloseSession), 0);
    kept[1].close().await.unwrap();
    assert_eq!((warehouse.count(Operation::CloseStatement), warehouse.count(Operation::CloseSession)), (2, 1));
}

#[tokio::test]
async fn attaching_to_what_is_not_there_names_the_id() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    for (id, status) in [("01ef-unknown", Some(404)), ("../sessions", None), ("", None)] {
        let error = session.attach(id).await.unwrap_err();
        assert_eq!((error.kind(), error.statement_id()), (ErrorKind::NotFound, Some(id)));
        assert_eq!(error.http_status(), status);
    }
}

#[tokio::test]
async fn a_failed_statement_is_no_error_until_it_is_waited_for() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    let owner = session.statement(BROKEN).submit().await.unwrap();
    while !owner.state().await.unwrap().is_terminal() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let attached = session.attach(owner.statement_id()).await.unwrap();
    for handle in [&owner, &attached, &owner.reader()] {
        assert_eq!(handle.state().await.unwrap(), StatementState::Failed);
        let error = handle.results().await.unwrap_err();
        assert_eq!((error.kind(), error.sql_state()), (ErrorKind::Sql, Some("42601")));
    }
}

#[tokio::test]
async fn a_closed_statement_has_no_further_result() {
    let warehouse = Warehouse::start();
    let owner = warehouse.session().await.statement(NUMBERS).submit().await.unwrap();
    drop(owner.results().await.unwrap());
    owner.close().await.unwrap();
    owner.close().await.unwrap();
    let error = owner.results().await.unwrap_err();
    assert_eq!((error.kind(), error.statement_id()), (ErrorKind::Closed, Some(owner.statement_id())));
    assert_eq!(warehouse.count(Operation::CloseStatement), 1);
    // An inline result whose answer closed the statement is there once.
    let warehouse = Warehouse::inline(Switches { close_with_result: true, ..Switches::default() });
    let executed = warehouse.session().await.statement(FEW).execute().await.unwrap();
    assert_eq!(ids(&mut executed.results().await.unwrap()).await.unwrap().len(), 10);
    executed.wait().await.unwrap();
    assert_eq!(executed.results().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn dropping_a_running_owner_closes_the_statement_and_not_its_session() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    let owner = session.statement(SLOW).submit().await.unwrap();
    drop(owner.reader());
    drop(owner);
    assert!(warehouse.eventually(|w| w.count(Operation::CloseStatement) == 1).await);
    let mut results = session.statement(FEW).execute().await.unwrap().results().await.unwrap();
    assert_eq!(ids(&mut results).await.unwrap().len(), 10);
}
