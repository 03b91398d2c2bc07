use std::error::Error;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use seakernel::{
    CloudFetch, Credentials, ErrorKind, LinkBroker, Partition, PartitionConfig, PartitionLinks, PartitionStream,
    Result, Session, SessionConfig, ValueForm,
};
use seakernel_local::{
    Announced, ByteCount, Fault, FaultRule, LinkCount, ManifestChunks, Operation, Origin, ServerOptions, Switches,
};

use crate::canary;
use crate::warehouse::{CHUNKS, EMPTY, FEW, NUMBERS, ROWS, Warehouse, all_ids, ids};

/// About three chunks of [`NUMBERS`].
const SOME_CHUNKS: u64 = 60_000;

fn cut_at(bytes: u64) -> PartitionConfig {
    PartitionConfig { target_bytes: NonZeroU64::new(bytes).unwrap(), ordered: true, ..PartitionConfig::default() }
}

async fn cut(session: &Session, sql: &str, config: PartitionConfig) -> (PartitionStream, Vec<Partition>) {
    let executed = session.statement(sql).execute().await.unwrap();
    let mut stream = executed.partitions(config).await.unwrap();
    let mut partitions = Vec::new();
    while let Some(partition) = stream.next().await.unwrap() {
        canary::look_at(&partition);
        partitions.push(partition);
    }
    (stream, partitions)
}

/// The partition as another machine gets it.
fn sent(partition: &Partition) -> Partition {
    let bytes = partition.to_bytes();
    if !partition.has_links() {
        canary::look_at(&String::from_utf8(bytes.clone()).unwrap());
    }
    let received = Partition::from_bytes(&bytes).unwrap();
    assert_eq!(&received, partition);
    received
}

async fn read(partition: &Partition, config: SessionConfig) -> Result<Vec<i64>> {
    let mut results = sent(partition).results(config).await.inspect_err(canary::look_at)?;
    let rows = ids(&mut results).await?;
    assert_eq!(rows.len() as i64, partition.row_count());
    Ok(rows)
}

#[tokio::test]
async fn the_partitions_together_are_the_result_whatever_their_size_and_the_links_of_an_answer() {
    for links in [1, 3, 100] {
        for (bytes, least, most) in [(1, CHUNKS, CHUNKS), (SOME_CHUNKS, 2, CHUNKS - 1), (1 << 40, 1, 1)] {
            let at_most = LinkCount::AtMost(links.try_into().unwrap());
            let switches =
                Switches { strict_row_offset: true, hybrid_links_per_response: at_most, ..Switches::default() };
            let warehouse = Warehouse::with(switches);
            let session = warehouse.session().await;
            let (stream, partitions) = cut(&session, NUMBERS, cut_at(bytes)).await;
            assert_eq!(warehouse.count(Operation::Download), 0, "cutting downloads nothing");
            assert!((least..=most).contains(&(partitions.len() as i64)), "{bytes} bytes: {}", partitions.len());
            let mut all = Vec::new();
            for (place, partition) in partitions.iter().enumerate() {
                assert_eq!((partition.sequence(), partition.row_offset()), (Some(place as u64), all.len() as i64));
                assert_eq!((partition.statement_id(), partition.schema()), (stream.statement_id(), stream.schema()));
                all.extend(read(partition, warehouse.config()).await.unwrap());
            }
            assert_eq!(all, all_ids());
            assert_eq!((stream.rows(), warehouse.count(Operation::Download) as i64), (ROWS, CHUNKS));
        }
    }
}

#[tokio::test]
async fn a_partition_is_read_without_a_session_and_the_statement_is_open_as_long_as_the_stream() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    let (stream, partitions) = cut(&session, NUMBERS, cut_at(SOME_CHUNKS)).await;
    let sessions = warehouse.count(Operation::OpenSession);
    let last = partitions.last().unwrap();
    let rows = read(last, warehouse.config()).await.unwrap();
    assert!(rows.into_iter().eq(last.row_offset()..ROWS));
    assert_eq!(warehouse.count(Operation::OpenSession), sessions);
    let mut results = last.results_in(&session).await.unwrap();
    assert!(ids(&mut results).await.unwrap().into_iter().eq(last.row_offset()..ROWS));
    assert_eq!(warehouse.count(Operation::CloseStatement), 0);

    drop(stream);
    assert!(warehouse.eventually(|w| w.server.counters().statements == 0).await);
    let error = read(last, warehouse.config()).await.unwrap_err();
    assert_eq!((error.kind(), error.statement_id()), (ErrorKind::NotFound, Some(last.statement_id())));
    assert!(error.to_string().contains("the statement is closed"), "{error}");
}

#[tokio::test]
async fn a_statement_is_closed_by_its_owner_with_the_last_lease() {
    let warehouse = Warehouse::start();
    let (session, other) = (warehouse.session().await, warehouse.session().await);
    let closed = |w: &Warehouse| w.count(Operation::CloseStatement);

    let executed = session.statement(NUMBERS).execute().await.unwrap();
    let first = executed.partitions(cut_at(1)).await.unwrap();
    let mut second = executed.partitions(cut_at(1)).await.unwrap();
    let partition = second.next().await.unwrap().unwrap();
    first.close().await.unwrap();
    first.close().await.unwrap();
    assert_eq!(read(&partition, warehouse.config()).await.unwrap().len() as i64, partition.row_count());
    assert_eq!(closed(&warehouse), 0, "the second lease lasts");
    second.close().await.unwrap();
    assert_eq!(closed(&warehouse), 1);
    assert_eq!(read(&partition, warehouse.config()).await.unwrap_err().kind(), ErrorKind::NotFound);

    // Through another session: it closes nothing, and is not closed under.
    let (owner, partitions) = cut(&session, NUMBERS, cut_at(1)).await;
    let attached = other.attach(owner.statement_id()).await.unwrap();
    attached.keep();
    let brief = attached.partitions(cut_at(1)).await.unwrap();
    brief.close().await.unwrap();
    let mut of_another = attached.partitions(cut_at(1)).await.unwrap();
    of_another.next().await.unwrap();
    drop(owner);
    assert_eq!(read(&partitions[1], warehouse.config()).await.unwrap().len() as i64, partitions[1].row_count());
    assert_eq!(closed(&warehouse), 1, "another lease lasts");
    drop(of_another);
    assert!(warehouse.eventually(|w| closed(w) == 2).await, "the owner's wish comes true");
}

#[tokio::test]
async fn a_statement_that_is_kept_after_the_end_of_another_lease_is_not_closed() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    let executed = session.statement(NUMBERS).execute().await.unwrap();
    let first = executed.partitions(cut_at(1)).await.unwrap();
    let mut second = executed.partitions(cut_at(1)).await.unwrap();
    let partition = second.next().await.unwrap().unwrap();
    first.close().await.unwrap();
    second.keep();
    second.close().await.unwrap();
    assert_eq!(warehouse.count(Operation::CloseStatement), 0);
    assert_eq!(read(&partition, warehouse.config()).await.unwrap().len() as i64, partition.row_count());
}

#[tokio::test]
async fn a_partition_of_another_host_or_warehouse_is_refused_before_anything_is_sent() {
    let (warehouse, other) = (Warehouse::start(), Warehouse::start());
    let (_stream, partitions) = cut(&warehouse.session().await, NUMBERS, cut_at(1)).await;
    let seen = other.server.requests().len();
    let credentials = || Credentials::access_token(other.server.access_token());
    let elsewhere = SessionConfig::new(warehouse.server.address(), "/sql/1.0/warehouses/other", credentials()).unwrap();
    for (config, what) in [(other.config(), "host"), (elsewhere, "warehouse")] {
        let error = read(&partitions[0], config).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.statement_id()),
            (ErrorKind::InvalidArgument, Some(partitions[0].statement_id()))
        );
        assert!(error.to_string().contains(what), "{error}");
    }
    assert_eq!(other.server.requests().len(), seen);
}

#[tokio::test]
async fn whatever_the_manifest_says_of_chunks_and_sizes_the_rows_are_the_same() {
    for manifest_chunks in [ManifestChunks::Absent, ManifestChunks::Partial, ManifestChunks::Wrong] {
        for byte_count in [ByteCount::Uncompressed, ByteCount::Absent, ByteCount::Wrong] {
            let warehouse = Warehouse::with(Switches { manifest_chunks, byte_count, ..Switches::default() });
            let (_stream, partitions) = cut(&warehouse.session().await, NUMBERS, cut_at(SOME_CHUNKS)).await;
            let mut all = Vec::new();
            for partition in &partitions {
                all.extend(read(partition, warehouse.config()).await.unwrap());
            }
            assert_eq!(all, all_ids(), "{manifest_chunks:?} {byte_count:?}");
        }
    }
}

#[tokio::test]
async fn a_total_that_the_partitions_do_not_add_up_to_is_data_loss() {
    for total_row_count in [Announced::TooSmall, Announced::TooLarge] {
        let warehouse = Warehouse::with(Switches { total_row_count, ..Switches::default() });
        let session = warehouse.session().await;
        let mut stream = session.statement(NUMBERS).execute().await.unwrap().partitions(cut_at(1)).await.unwrap();
        let error = loop {
            match stream.next().await {
                Ok(partition) => assert!(partition.is_some(), "{total_row_count:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!((error.kind(), error.statement_id()), (ErrorKind::DataLoss, Some(stream.statement_id())));
        assert_eq!(stream.next().await.unwrap_err().kind(), ErrorKind::DataLoss, "the error is final");
    }
}

#[tokio::test]
async fn small_results_travel_in_their_partition_also_where_the_server_has_closed_them() {
    for close_with_result in [false, true] {
        for cloud_fetch in [CloudFetch::On, CloudFetch::Off] {
            let warehouse = Warehouse::inline(Switches { close_with_result, ..Switches::default() });
            let mut config = warehouse.config();
            config.results.cloud_fetch = cloud_fetch;
            let session = Session::open(config).await.unwrap();
            let (stream, partitions) = cut(&session, FEW, cut_at(1)).await;
            assert_eq!((partitions.len(), partitions[0].row_count()), (1, 10));
            drop(stream);
            session.close().await.unwrap();
            drop(session);
            let reads =
                |w: &Warehouse| w.count(Operation::Chunk) + w.count(Operation::Poll) + w.count(Operation::Download);
            let seen = reads(&warehouse);
            let without =
                SessionConfig::new(partitions[0].server_hostname(), &partitions[0].http_path(), Credentials::None);
            assert!(read(&partitions[0], without.unwrap()).await.unwrap().into_iter().eq(0..10));
            assert_eq!(reads(&warehouse), seen, "the rows are in it");
        }
    }
}

#[tokio::test]
async fn an_inline_result_in_several_pieces_is_one_partition() {
    let switches = Switches { inline_chunks: 3.try_into().unwrap(), ..Switches::default() };
    let options = ServerOptions { inline_bytes: 1 << 20, switches, ..ServerOptions::default() };
    let warehouse = Warehouse::configured(options);
    let (_stream, partitions) = cut(&warehouse.session().await, NUMBERS, cut_at(1)).await;
    assert_eq!(partitions.len(), 1);
    assert!(read(&partitions[0], warehouse.config()).await.unwrap() == all_ids());
    assert_eq!(warehouse.count(Operation::Download), 0);
}

#[tokio::test]
async fn an_empty_result_has_one_partition_without_rows_and_with_the_schema() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    let whole = session.statement(EMPTY).execute().await.unwrap().results().await.unwrap();
    let (stream, partitions) = cut(&session, EMPTY, cut_at(1)).await;
    assert_eq!((partitions.len(), partitions[0].row_count()), (1, 0));
    let mut results = sent(&partitions[0]).results(warehouse.config()).await.unwrap();
    assert!(results.next_batch().await.unwrap().is_none());
    for schema in [results.schema(), partitions[0].schema(), stream.schema()] {
        assert_eq!(schema, whole.schema());
    }
    let (_stream, partitions) = cut(&session, "CREATE TABLE u (id INT)", cut_at(1)).await;
    let mut results = sent(&partitions[0]).results(warehouse.config()).await.unwrap();
    assert!(results.next_batch().await.unwrap().is_none() && results.schema().fields().is_empty());
}

#[tokio::test]
async fn values_have_the_forms_that_the_driver_asked_for() {
    let warehouse = Warehouse::start();
    let mut config = warehouse.config();
    config.results.complex_types = ValueForm::Text;
    let session = Session::open(config).await.unwrap();
    let (_stream, partitions) = cut(&session, EMPTY, cut_at(1)).await;
    let results = sent(&partitions[0]).results(warehouse.config()).await.unwrap();
    assert_eq!(results.schema(), partitions[0].schema());
    assert_eq!(results.schema().field(2).data_type(), &arrow_schema::DataType::Utf8);
}

#[tokio::test]
async fn expired_links_throttling_and_broken_bodies_are_the_readers_own_affair() {
    let warehouse = Warehouse::with(Switches { strict_row_offset: true, ..Switches::default() });
    let (_stream, partitions) = cut(&warehouse.session().await, NUMBERS, cut_at(SOME_CHUNKS)).await;
    let throttled = Fault::Status { code: 429, retry_after: None, error_code: None, body: None };
    warehouse.server.set_faults(vec![
        FaultRule::new(Operation::Download, Fault::Expire).times(2),
        FaultRule::new(Operation::Download, Fault::Truncate { bytes: 100 }).after(4).times(2),
        FaultRule::new(Operation::Chunk, throttled).times(2),
    ]);
    let mut all = Vec::new();
    for partition in &partitions {
        all.extend(read(partition, warehouse.config()).await.unwrap());
    }
    assert_eq!(all, all_ids());
    warehouse.server.set_faults(vec![FaultRule::new(Operation::Download, Fault::MissingRows { rows: 1 }).always()]);
    let error = read(&partitions[1], warehouse.config()).await.unwrap_err();
    assert_eq!((error.kind(), error.chunk_index()), (ErrorKind::DataLoss, Some(partitions[1].chunk_index())));
}

#[tokio::test]
async fn links_that_travel_along_need_no_sign_in_and_are_refused_near_their_end() {
    for lifetime in [900.0, 30.0] {
        let warehouse = Warehouse::with(Switches { link_lifetime_seconds: lifetime, ..Switches::default() });
        let config = PartitionConfig { with_links: true, ..cut_at(SOME_CHUNKS) };
        let (_stream, partitions) = cut(&warehouse.session().await, NUMBERS, config).await;
        let api = |w: &Warehouse| w.server.requests().iter().filter(|r| r.origin == Origin::Api).count();
        let seen = api(&warehouse);
        let mut all = Vec::new();
        for partition in &partitions {
            assert!(partition.has_links() && format!("{partition:?}").contains("secret links"));
            let config = SessionConfig::new(warehouse.server.address(), &partition.http_path(), Credentials::None);
            match read(partition, config.unwrap()).await {
                Ok(rows) => all.extend(rows),
                Err(error) => assert_eq!((lifetime, error.kind()), (30.0, ErrorKind::LinkExpired)),
            }
        }
        assert_eq!(all, if lifetime > 60.0 { all_ids() } else { Vec::new() });
        assert_eq!(api(&warehouse), seen);
    }
}

#[tokio::test]
async fn links_that_travel_along_and_are_refused_by_the_store_are_a_link_error() {
    let warehouse = Warehouse::start();
    let config = PartitionConfig { with_links: true, ..cut_at(SOME_CHUNKS) };
    let (_stream, partitions) = cut(&warehouse.session().await, NUMBERS, config).await;
    warehouse.server.set_faults(vec![FaultRule::new(Operation::Download, Fault::Expire).always()]);
    let chunk_calls = warehouse.count(Operation::Chunk);
    let unsigned =
        SessionConfig::new(warehouse.server.address(), &partitions[0].http_path(), Credentials::None).unwrap();
    let error = read(&partitions[0], unsigned).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LinkExpired);
    assert!(error.to_string().contains("came with the partition"), "{error}");
    assert_eq!(warehouse.count(Operation::Chunk), chunk_calls);

    warehouse.server.set_faults(vec![FaultRule::new(Operation::Download, Fault::Expire).times(2)]);
    let rows = read(&partitions[0], warehouse.config()).await.unwrap();
    assert!(rows.into_iter().eq(0..partitions[0].row_count()), "who has a sign-in asks for others");
}

/// Hands out links as a driver would, over bytes.
struct Driver {
    session: Session,
    asked: AtomicUsize,
    /// Gives links to the rows of this one always.
    confused_with: Option<Partition>,
}

impl LinkBroker for Driver {
    fn links(&self, partition: &Partition) -> BoxFuture<'static, Result<PartitionLinks, Box<dyn Error + Send + Sync>>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (session, partition) = (self.session.clone(), self.confused_with.clone().unwrap_or(partition.clone()));
        async move {
            let links = partition.links(&session).await?;
            canary::look_at(&links);
            Ok(PartitionLinks::from_bytes(&links.to_bytes())?)
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_broker_gives_links_and_again_when_they_have_expired() {
    let warehouse = Warehouse::start();
    let session = warehouse.session().await;
    let (_stream, partitions) = cut(&session, NUMBERS, cut_at(SOME_CHUNKS)).await;
    let driver = Arc::new(Driver { session: session.clone(), asked: AtomicUsize::new(0), confused_with: None });
    warehouse.server.set_faults(vec![FaultRule::new(Operation::Download, Fault::Expire).times(2)]);
    let mut all = Vec::new();
    for partition in &partitions {
        let without = Credentials::None;
        let config = SessionConfig::new(warehouse.server.address(), &partition.http_path(), without).unwrap();
        let broker = Arc::<Driver>::clone(&driver);
        let mut results = sent(partition).results_through(broker, config).await.unwrap();
        all.extend(ids(&mut results).await.unwrap());
    }
    assert_eq!(all, all_ids());
    assert!(driver.asked.load(Ordering::Relaxed) > partitions.len(), "expired links are asked for again");

    let confused_with = Some(partitions[1].clone());
    let confused = Arc::new(Driver { session, asked: AtomicUsize::new(0), confused_with });
    let error = partitions[0].results_through(confused, warehouse.config()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("other rows"), "{error}");
}

/// No input makes it panic, and none but a whole descriptor of a known version is taken.
#[tokio::test]
async fn bytes_that_are_no_partition_are_refused_without_repeating_them() {
    let warehouse = Warehouse::start();
    let config = PartitionConfig { with_links: true, ..cut_at(SOME_CHUNKS) };
    let (_stream, partitions) = cut(&warehouse.session().await, NUMBERS, config).await;
    let bytes = partitions[0].to_bytes();
    for length in (0..bytes.len()).step_by(7) {
        let error = Partition::from_bytes(&bytes[..length]).unwrap_err();
        canary::look_at(&error);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    for position in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[position] ^= 0x15;
        if let Err(error) = Partition::from_bytes(&changed) {
            canary::look_at(&error);
        }
    }
    let text = String::from_utf8(bytes).unwrap();
    for (from, to) in [
        (r#""row_offset":0"#, r#""row_offset":-1"#),
        (r#""row_count":"#, r#""row_count":9223372036854775807,"was":"#),
        (r#""statement_id":""#, r#""statement_id":"../"#),
        (r#""server_hostname":"http://"#, r#""server_hostname":"ftp://"#),
        (r#""type_text":"BIGINT""#, r#""type_text":"ARRAY<""#),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        let offset = if from.starts_with(r#""row_count"#) {
            changed.replacen(r#""row_offset":0"#, r#""row_offset":1"#, 1)
        } else {
            changed
        };
        let error = Partition::from_bytes(offset.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{from}");
    }
}

#[tokio::test]
async fn later_versions_are_refused_and_further_fields_passed_over() {
    let warehouse = Warehouse::with(Switches::default());
    let (_stream, partitions) = cut(&warehouse.session().await, NUMBERS, cut_at(SOME_CHUNKS)).await;
    let text = String::from_utf8(partitions[0].to_bytes()).unwrap();
    let further = text.replacen('{', r#"{"later":{"a":[1]},"#, 1);
    assert_eq!(Partition::from_bytes(further.as_bytes()).unwrap(), partitions[0]);
    let later = text.replacen(r#""seakernel_partition":1"#, r#""seakernel_partition":2,"rows":{}"#, 1);
    let error = Partition::from_bytes(later.as_bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("version 2"), "{error}");
}

/// What a descriptor of version 1 holds; a change of it must still read this.
#[test]
fn a_descriptor_of_version_1_is_read() {
    let bytes = include_bytes!("partition-1.json");
    let partition = Partition::from_bytes(bytes).unwrap();
    assert_eq!(partition.statement_id(), "01f0aaab-1c2d-1e3f-9a0b-0123456789ab");
    assert_eq!(partition.server_hostname(), "https://dbc-a1b2.cloud.databricks.com");
    assert_eq!(partition.http_path(), "/sql/1.0/warehouses/a1b2c3d4e5f60718?o=42");
    assert_eq!((partition.sign_in(), partition.sequence()), (Some("etl"), Some(3)));
    assert_eq!((partition.chunk_index(), partition.row_offset(), partition.row_count()), (21, 2_580_480, 245_760));
    assert_eq!(partition.byte_count(), Some(42_035_184));
    let types: Vec<String> = partition.schema().fields().iter().map(|field| field.data_type().to_string()).collect();
    assert_eq!(types, ["Int64", "Decimal128(18, 2)", "Timestamp(µs, \"Europe/Berlin\")", "Utf8"]);
    let again: serde_json::Value = serde_json::from_slice(&partition.to_bytes()).unwrap();
    let first: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    assert_eq!(again, first);
}

#[tokio::test]
async fn unordered_partitions_have_no_number_and_the_default_size_takes_all_of_a_small_result() {
    let warehouse = Warehouse::configured(ServerOptions { inline_bytes: 0, ..ServerOptions::default() });
    let (_stream, partitions) = cut(&warehouse.session().await, NUMBERS, PartitionConfig::default()).await;
    assert_eq!((partitions.len(), partitions[0].sequence()), (1, None));
    assert_eq!(PartitionConfig::default().target_bytes.get(), 128 << 20);
}
