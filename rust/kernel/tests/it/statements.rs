use std::time::{Duration, Instant};

use arrow_schema::{DataType, TimeUnit};
use seakernel::{ErrorKind, Parameter, Session, StatementState};
use seakernel_local::{EmptyResult, Fault, FaultRule, Operation, SqlStatePlace, Switches};

use crate::canary;
use crate::warehouse::{BROKEN, EMPTY, FEW, NUMBERS, ROWS, SLOW, Warehouse, all_ids, ids};

#[tokio::test]
async fn a_result_in_files_arrives_whole_and_the_statement_is_closed_in_the_background() {
    let warehouse = Warehouse::start();
    let mut results = warehouse.results(NUMBERS).await.unwrap();
    assert_eq!(results.total_row_count(), Some(ROWS));
    assert_eq!(ids(&mut results).await.unwrap(), all_ids());
    assert!(results.next_batch().await.unwrap().is_none(), "the end stays the end");
    let statistics = results.statistics();
    assert_eq!((statistics.rows, statistics.chunks, statistics.retries), (10_000, 10, 0));
    assert!(statistics.decoded_bytes > statistics.wire_bytes && statistics.wire_bytes > 0);
    assert!(warehouse.eventually(|w| w.server.counters().statements == 0).await);
    assert_eq!(warehouse.count(Operation::CloseStatement), 1);
}

#[tokio::test]
async fn a_small_result_comes_with_the_first_answer() {
    for inline_chunks in [1, 3] {
        for lz4_ignored in [false, true] {
            let switches =
                Switches { inline_chunks: inline_chunks.try_into().unwrap(), lz4_ignored, ..Switches::default() };
            let warehouse = Warehouse::inline(switches);
            let mut results = warehouse.results(FEW).await.unwrap();
            assert_eq!(ids(&mut results).await.unwrap(), (0..10).collect::<Vec<i64>>());
            assert_eq!(warehouse.count(Operation::Poll), 0);
            assert_eq!(warehouse.count(Operation::Download), 0);
            assert_eq!(warehouse.count(Operation::Chunk), inline_chunks - 1);
        }
    }
}

#[tokio::test]
async fn closed_with_a_result_is_success_and_is_not_closed_again() {
    let warehouse = Warehouse::inline(Switches { close_with_result: true, ..Switches::default() });
    let mut results = warehouse.results(FEW).await.unwrap();
    assert_eq!(ids(&mut results).await.unwrap().len(), 10);
    drop(results);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(warehouse.count(Operation::CloseStatement), 0);
}

#[tokio::test]
async fn an_empty_result_has_its_types_either_way() {
    for empty_result in [EmptyResult::NoChunk, EmptyResult::SchemaOnly] {
        for inline in [false, true] {
            let switches = Switches { empty_result, ..Switches::default() };
            let warehouse = if inline { Warehouse::inline(switches) } else { Warehouse::with(switches) };
            let mut results = warehouse.results(EMPTY).await.unwrap();
            let schema = results.schema();
            assert_eq!(schema.field(0).data_type(), &DataType::Decimal128(10, 2));
            let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("Etc/UTC".into()));
            assert_eq!(schema.field(1).data_type(), &timestamp);
            assert!(schema.fields().iter().all(|field| field.is_nullable()));
            assert!(results.next_batch().await.unwrap().is_none());
        }
    }
}

#[tokio::test]
async fn a_statement_without_result_has_no_columns() {
    let warehouse = Warehouse::start();
    let mut results = warehouse.results("CREATE TABLE u (id INT)").await.unwrap();
    assert!(results.columns().is_empty());
    assert!(results.next_batch().await.unwrap().is_none());
}

#[tokio::test]
async fn a_failed_statement_names_its_sql_state_wherever_the_server_puts_it() {
    for sql_state in [SqlStatePlace::Status, SqlStatePlace::Error, SqlStatePlace::MessageOnly] {
        let warehouse = Warehouse::with(Switches { sql_state, ..Switches::default() });
        let session = warehouse.session().await;
        let error = session.statement(BROKEN).execute().await.unwrap_err();
        assert_eq!((error.kind(), error.sql_state()), (ErrorKind::Sql, Some("42601")));
        assert_eq!(error.error_code(), Some("BAD_REQUEST"));
        assert!(error.statement_id().is_some() && !error.is_retryable());
        let mut results = session.statement(FEW).execute().await.unwrap().results().await.unwrap();
        assert_eq!(ids(&mut results).await.unwrap().len(), 10, "the session works on");
        assert_eq!(warehouse.count(Operation::Cancel), 0, "a failed statement is not cancelled");
    }
}

#[tokio::test]
async fn submit_returns_at_once_and_polls_until_done() {
    let warehouse = Warehouse::with(Switches { pending_answers: 2, running_answers: 2, ..Switches::default() });
    let session = warehouse.session().await;
    let executed = session.statement(NUMBERS).submit().await.unwrap();
    assert!(matches!(executed.state().await.unwrap(), StatementState::Pending | StatementState::Running));
    let mut results = executed.results().await.unwrap();
    assert_eq!(ids(&mut results).await.unwrap(), all_ids());
    assert!(warehouse.count(Operation::Poll) >= 3);
}

#[tokio::test]
async fn the_canceller_tells_the_state_while_execute_waits() {
    let warehouse = Warehouse::with(Switches { pending_answers: 2, running_answers: 2, ..Switches::default() });
    let session = warehouse.session().await;
    let statement = session.statement(NUMBERS);
    let canceller = statement.canceller();
    assert_eq!(canceller.state(), None);
    let executing = tokio::spawn(async move { statement.execute().await?.results().await });
    let mut seen = vec![];
    while !executing.is_finished() {
        let state = canceller.state();
        if seen.last() != Some(&state) {
            seen.push(state);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let told: Vec<_> = seen.into_iter().flatten().take(2).collect();
    assert_eq!(told, [StatementState::Pending, StatementState::Running]);
    drop(executing.await.unwrap().unwrap());
    assert_eq!(canceller.state(), None);
}

#[tokio::test]
async fn parameters_travel_typed_by_name_or_by_position() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    let named = Parameter::named("lo", "BIGINT", Some("10"));
    drop(session.statement(FEW).bind(named).execute().await.unwrap());
    let statement = session.statement(FEW).bind(Parameter::positional("INT", Some("4")));
    drop(statement.bind(Parameter::positional("STRING", None)).execute().await.unwrap());
    let statements = warehouse.engine.statements();
    let seen = |statement: usize, parameter: usize| {
        let parameter = &statements[statement].parameters[parameter];
        (parameter.name.clone(), parameter.ordinal, parameter.value.clone())
    };
    assert_eq!(seen(0, 0), (Some("lo".to_owned()), None, Some("10".to_owned())));
    assert_eq!(seen(1, 0), (None, Some(1), Some("4".to_owned())));
    assert_eq!(seen(1, 1), (None, Some(2), None));
}

#[tokio::test]
async fn statements_that_cannot_work_are_refused_before_they_are_sent() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    let mixed =
        session.statement(FEW).bind(Parameter::named("a", "INT", None)).bind(Parameter::positional("INT", None));
    for statement in [
        session.statement("  "),
        session.statement("x".repeat((16 << 20) + 1)),
        session.statement(FEW).row_limit(0),
        session.statement(FEW).bind(Parameter::named("", "INT", None)),
        mixed,
    ] {
        let error = statement.execute().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(warehouse.count(Operation::Execute), 0);
}

#[tokio::test]
async fn a_row_limit_truncates_and_says_so() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    let mut results = session.statement(NUMBERS).row_limit(1500).execute().await.unwrap().results().await.unwrap();
    assert!(results.truncated());
    assert_eq!(ids(&mut results).await.unwrap(), (0..1500).collect::<Vec<i64>>());
}

/// Behaviour 7.
#[tokio::test]
async fn dropping_execute_cancels_on_the_server() {
    let warehouse = Warehouse::with(Switches::default());
    let session = warehouse.session().await;
    let started = Instant::now();
    let outcome = tokio::time::timeout(Duration::from_millis(200), session.statement(SLOW).execute()).await;
    assert!(outcome.is_err() && started.elapsed() < Duration::from_secs(2));
    // The first answer, and with it the id, comes when the server stops waiting: after ten seconds.
    let mut ended = false;
    for _ in 0..4 {
        ended = ended || warehouse.eventually(|w| w.count(Operation::CloseStatement) == 1).await;
    }
    assert!(ended && warehouse.count(Operation::Cancel) == 1);
    assert!(warehouse.eventually(|w| !w.engine.cancelled().is_empty()).await);
}

#[tokio::test]
async fn a_canceller_works_from_another_task_once_the_statement_is_known() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    let executed = session.statement(SLOW).submit().await.unwrap();
    let id = executed.statement_id().to_owned();
    assert!(warehouse.eventually(|w| !w.engine.statements().is_empty()).await, "it runs");
    executed.cancel().await.unwrap();
    let error = executed.wait().await.unwrap_err();
    assert_eq!((error.kind(), error.statement_id()), (ErrorKind::Cancelled, Some(id.as_str())));
    assert!(warehouse.eventually(|w| w.engine.cancelled().first() == Some(&id)).await);
}

/// Behaviour 7.
#[tokio::test]
async fn dropping_an_unread_result_closes_the_statement() {
    let warehouse = Warehouse::start();
    let mut results = warehouse.results(NUMBERS).await.unwrap();
    results.next_batch().await.unwrap().unwrap();
    drop(results);
    assert!(warehouse.eventually(|w| w.server.counters().statements == 0).await);
}

#[tokio::test]
async fn closing_a_result_ends_it_and_may_be_repeated() {
    let warehouse = Warehouse::start();
    let mut results = warehouse.results(NUMBERS).await.unwrap();
    results.next_batch().await.unwrap().unwrap();
    results.close().await;
    results.close().await;
    assert!(results.next_batch().await.unwrap().is_none());
    assert!(warehouse.eventually(|w| w.server.counters().statements == 0).await);
}

#[tokio::test]
async fn a_closed_session_refuses_statements_and_is_closed_once() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    session.close().await.unwrap();
    session.close().await.unwrap();
    let error = session.statement(FEW).execute().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    drop(session);
    assert_eq!(warehouse.count(Operation::CloseSession), 1);
    drop(warehouse.session().await);
    assert!(warehouse.eventually(|w| w.server.counters().open_sessions == 0).await, "closed by drop");
}

#[tokio::test]
async fn a_refused_hybrid_disposition_costs_one_request_and_is_remembered() {
    let warehouse = Warehouse::with(Switches { hybrid_supported: false, ..Switches::default() });
    for _ in 0..3 {
        let mut results = warehouse.results(NUMBERS).await.unwrap();
        assert_eq!(ids(&mut results).await.unwrap(), all_ids());
    }
    assert_eq!(warehouse.count(Operation::Execute), 4);
    assert_eq!(warehouse.engine.statements().len(), 3);
}

#[tokio::test]
async fn session_options_reach_the_server() {
    let warehouse = Warehouse::start();
    let mut config = warehouse.config();
    config.catalog = Some("main".to_owned());
    config.schema = Some("default".to_owned());
    config.session_configuration.insert("TIMEZONE".to_owned(), "UTC".to_owned());
    config.user_agent_entry = Some("my-app".to_owned());
    drop(Session::open(config).await.unwrap());
    let opened = warehouse.engine.sessions().remove(0);
    assert_eq!((opened.catalog.as_deref(), opened.schema.as_deref()), (Some("main"), Some("default")));
    assert_eq!(opened.configuration.get("TIMEZONE").map(String::as_str), Some("UTC"));
    let agent = warehouse.server.requests().remove(0).user_agent.unwrap();
    assert!(agent.starts_with("seakernel/") && agent.ends_with(" (my-app)"), "{agent}");
}

/// Behaviour 8.
#[tokio::test]
async fn a_statement_is_not_resent_after_502_or_a_lost_answer() {
    for fault in [
        Fault::Status { code: 502, retry_after: None, error_code: None, body: None },
        Fault::DropBeforeResponse,
        Fault::DropAfterHeaders,
    ] {
        let warehouse = Warehouse::start();
        warehouse.server.set_faults(vec![FaultRule::new(Operation::Execute, fault)]);
        let error = warehouse.results(NUMBERS).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Network), "{error:?}");
        assert_eq!((error.attempts(), error.is_retryable()), (1, false));
        assert_eq!(warehouse.count(Operation::Execute), 1);
    }
}

/// Behaviour 8.
#[tokio::test]
async fn a_statement_is_resent_after_429() {
    let warehouse = Warehouse::start();
    let busy = Fault::Status { code: 429, retry_after: None, error_code: None, body: None };
    let rows = warehouse.numbers_under(vec![FaultRule::new(Operation::Execute, busy).times(2)]).await.unwrap();
    assert_eq!(rows, all_ids());
    assert_eq!(warehouse.count(Operation::Execute), 3);
}

#[tokio::test]
async fn json_rows_are_read_to_their_last_piece_where_a_server_sends_them() {
    let warehouse = Warehouse::start();
    let answer =
        |body: &str| Fault::Status { code: 200, retry_after: None, error_code: None, body: Some(body.to_owned()) };
    let first = r#"{"statement_id":"01ef-json","status":{"state":"SUCCEEDED"},
        "manifest":{"format":"JSON_ARRAY","schema":{"column_count":2,"columns":[
            {"name":"id","type_text":"BIGINT","type_name":"LONG","position":0},
            {"name":"id","type_text":"DECIMAL(5,2)","type_name":"DECIMAL","position":1}]},
            "total_row_count":3,"truncated":false},
        "result":{"chunk_index":0,"row_offset":0,"row_count":2,"next_chunk_index":1,
            "data_array":[["0","1.50"],["1",null]]}}"#;
    let rest = r#"{"chunk_index":1,"row_offset":2,"row_count":1,"data_array":[["2","-0.25"]]}"#;
    warehouse.server.set_faults(vec![
        FaultRule::new(Operation::Execute, answer(first)),
        FaultRule::new(Operation::Chunk, answer(rest)),
    ]);
    let mut results = warehouse.results(FEW).await.unwrap();
    assert_eq!(results.schema().field(1).data_type(), &DataType::Decimal128(5, 2));
    assert_eq!(ids(&mut results).await.unwrap(), [0, 1, 2]);
    let requests = warehouse.server.requests();
    let call = requests.iter().find(|request| request.operation == Some(Operation::Chunk)).unwrap();
    assert_eq!((call.chunk_index, call.row_offset), (Some(1), Some(2)));

    // The same with a lost piece must not pass for a complete result.
    let short = first.replace(r#""next_chunk_index":1,"#, "");
    warehouse.server.set_faults(vec![FaultRule::new(Operation::Execute, answer(&short))]);
    let mut results = warehouse.results(FEW).await.unwrap();
    assert_eq!(ids(&mut results).await.unwrap_err().kind(), ErrorKind::DataLoss);

    // An id that is none is neither asked for nor repeated.
    for id in ["", "../01ef-json", r"01ef\u0000json"] {
        let answered = first.replace("01ef-json", id);
        warehouse.server.set_faults(vec![FaultRule::new(Operation::Execute, answer(&answered))]);
        let Err(error) = warehouse.results(FEW).await else { panic!("{id:?} was taken") };
        assert_eq!((error.kind(), error.statement_id()), (ErrorKind::Protocol, None), "{id:?}");
    }
}

#[tokio::test]
async fn an_inline_result_that_lacks_announced_chunks_is_data_loss() {
    // With a positive wait_timeout one path of the service announced N chunks and delivered the first (JDBC issue 1476).
    let warehouse =
        Warehouse::inline(Switches { total_row_count: seakernel_local::Announced::TooLarge, ..Switches::default() });
    let mut results = warehouse.results(FEW).await.unwrap();
    assert_eq!(ids(&mut results).await.unwrap_err().kind(), ErrorKind::DataLoss);
}

/// B15.
#[tokio::test]
async fn log_lines_of_chunks_name_the_statement_and_tell_how_long_each_took() {
    let warehouse = Warehouse::start();
    warehouse.server.set_faults(vec![
        FaultRule::new(Operation::Download, Fault::Delay { ms: 120 }).chunk(3),
        FaultRule::new(Operation::Download, Fault::Truncate { bytes: 100 }).chunk(4),
    ]);
    let mut results = warehouse.results(NUMBERS).await.unwrap();
    assert_eq!(ids(&mut results).await.unwrap(), all_ids());
    let log = canary::log_of(results.statement_id());
    let field = |line: &str, name: &str| -> Option<u64> {
        line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    };
    let ready = |chunk: u64| {
        let line = log.iter().find(|line| line.contains("chunk ready") && field(line, "chunk") == Some(chunk)).unwrap();
        (field(line, "elapsed_ms").unwrap(), field(line, "failed_attempts").unwrap())
    };
    assert!((0..10).all(|chunk| ready(chunk).1 == u64::from(chunk == 4)), "{log:?}");
    assert!(ready(3).0 >= 120, "{log:?}");
    assert!(log.iter().any(|line| line.contains("INFO") && line.contains("result read")), "{log:?}");
}
