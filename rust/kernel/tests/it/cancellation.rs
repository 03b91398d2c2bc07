//! What is left when a result ends early, and what its end waits for.

use std::time::{Duration, Instant};

use seakernel_local::{Fault, FaultRule, Operation, Switches};
use tokio::runtime::Handle;

use crate::links::at_most;
use crate::warehouse::{CHUNKS, NUMBERS, Warehouse, all_ids, ids};

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Everything a result does is under way when it ends: link calls, downloads, a retry's wait, a renewal.
///
/// Behaviour 7.
#[tokio::test]
async fn a_closed_result_has_ended_every_task_and_a_dropped_one_ends_them_soon() {
    let late = |operation, chunk| FaultRule::new(operation, Fault::Delay { ms: 30_000 }).chunk(chunk).always();
    let busy = Fault::Status { code: 503, retry_after: Some(30.into()), error_code: None, body: None };
    for closed in [true, false] {
        for faults in [
            vec![late(Operation::Download, 2), late(Operation::Chunk, 8)],
            vec![FaultRule::new(Operation::Download, busy.clone()).chunk(1).always()],
            vec![FaultRule::new(Operation::Download, Fault::Expire).chunk(1), late(Operation::Chunk, 1)],
            vec![FaultRule::new(Operation::Download, Fault::Stall { bytes: 1000 }).chunk(1).always()],
        ] {
            let warehouse = Warehouse::with(Switches { hybrid_links_per_response: at_most(4), ..Switches::default() });
            warehouse.server.set_faults(faults);
            let session = warehouse.session().await;
            let before = tasks();
            let mut results = session.statement(NUMBERS).execute().await.unwrap().results().await.unwrap();
            results.next_batch().await.unwrap().unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            let running = tasks();
            assert!(running > before, "nothing runs ahead: {running}");
            if closed {
                let started = Instant::now();
                results.close().await;
                assert!(started.elapsed() < Duration::from_secs(5), "close waited for what it aborts");
                // The close call, and connections that are being put away, are all that may be left.
                assert!(tasks() < running, "{} tasks, {running} before the close", tasks());
            }
            drop(results);
            assert!(warehouse.eventually(|w| w.server.counters().statements == 0).await);
            drop(session);
            assert!(warehouse.eventually(|w| w.server.counters().open_sessions == 0).await);
            assert!(warehouse.eventually(|_| tasks() <= before).await, "{} tasks, {before} at first", tasks());
        }
    }
}

/// Behaviour 9.
#[tokio::test]
async fn the_end_does_not_wait_for_the_close_which_comes_once_and_last() {
    let warehouse = Warehouse::start();
    warehouse.server.set_faults(vec![FaultRule::new(Operation::CloseStatement, Fault::Delay { ms: 3000 }).always()]);
    let mut results = warehouse.results(NUMBERS).await.unwrap();
    let started = Instant::now();
    assert_eq!(ids(&mut results).await.unwrap(), all_ids());
    assert!(results.next_batch().await.unwrap().is_none());
    assert!(started.elapsed() < Duration::from_secs(3), "the end waited for the close");
    results.close().await;
    drop(results);
    assert!(warehouse.eventually(|w| w.count(Operation::CloseStatement) == 1).await);
    let requests = warehouse.server.requests();
    let sequence = |operation| {
        let of_operation = requests.iter().filter(move |request| request.operation == Some(operation));
        of_operation.map(|request| request.sequence).collect::<Vec<u64>>()
    };
    let (downloads, closes) = (sequence(Operation::Download), sequence(Operation::CloseStatement));
    assert_eq!((downloads.len(), closes.len()), (CHUNKS as usize, 1));
    assert!(downloads.iter().all(|download| *download < closes[0]), "closed before the last chunk was in");
}
