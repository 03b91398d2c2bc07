use seakernel_local::{Operation, Switches};

use crate::warehouse::{NUMBERS, Warehouse, all_ids, ids};

/// Behaviour 6.
#[tokio::test]
async fn a_budget_smaller_than_any_chunk_lets_one_through_at_a_time() {
    let warehouse = Warehouse::with(Switches::default());
    let mut config = warehouse.config();
    config.results.memory_budget = 1;
    let session = seakernel::Session::open(config).await.unwrap();
    let mut results = session.statement(NUMBERS).execute().await.unwrap().results().await.unwrap();
    // One chunk is held for the reader, so nothing else may be fetched until it is taken.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(warehouse.count(Operation::Download), 1);
    assert_eq!(ids(&mut results).await.unwrap(), all_ids());
}

/// Behaviour 6.
#[tokio::test]
async fn a_stalled_reader_stops_the_downloads_at_the_budget() {
    let warehouse = Warehouse::with(Switches::default());
    let mut config = warehouse.config();
    // A chunk of 1000 rows takes about 22 KiB decoded and is estimated together with its body.
    config.results.memory_budget = 120 << 10;
    config.results.max_concurrent_downloads = 2;
    let session = seakernel::Session::open(config).await.unwrap();
    let mut results = session.statement(NUMBERS).execute().await.unwrap().results().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let ahead = warehouse.count(Operation::Download);
    assert!((2..8).contains(&ahead), "{ahead} chunks were fetched for a reader that takes none");
    assert_eq!(ids(&mut results).await.unwrap(), all_ids());
}
