//! A local warehouse with one prepared table, and a session on it.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use seakernel::{Credentials, Parameter, Result, ResultStream, RetryConfig, Session, SessionConfig, Statistics};
use seakernel_local::{
    CannedEngine, FaultRule, LocalServer, Operation, RequestRecord, ServerOptions, SqlError, Switches,
};

use crate::canary;

/// The statement that answers with [`ROWS`] rows in [`CHUNKS`] chunks.
pub(crate) const NUMBERS: &str = "SELECT id, name FROM numbers";
pub(crate) const ROWS: i64 = 10_000;
pub(crate) const CHUNKS: i64 = 10;
/// A statement with a result of one small chunk.
pub(crate) const FEW: &str = "SELECT id, name FROM few";
pub(crate) const EMPTY: &str = "SELECT * FROM nothing";
pub(crate) const SLOW: &str = "SELECT slow";
pub(crate) const BROKEN: &str = "SELEC";

pub(crate) struct Warehouse {
    pub(crate) server: LocalServer,
    pub(crate) engine: Arc<CannedEngine>,
}

impl Warehouse {
    pub(crate) fn start() -> Self {
        Self::with(Switches::default())
    }

    /// A warehouse whose results are always files, unless they are empty.
    pub(crate) fn with(switches: Switches) -> Self {
        Self::in_chunks_of((ROWS / CHUNKS) as u64, switches)
    }

    /// The same with files of another size.
    pub(crate) fn in_chunks_of(rows: u64, switches: Switches) -> Self {
        Self::configured(ServerOptions {
            chunk_rows: Some(rows),
            inline_bytes: 0,
            switches,
            ..ServerOptions::default()
        })
    }

    /// A warehouse where [`NUMBERS`] has `count` rows, in files of `chunk_rows`.
    pub(crate) fn sized(count: i64, chunk_rows: u64, switches: Switches) -> Self {
        let options =
            ServerOptions { chunk_rows: Some(chunk_rows), inline_bytes: 0, switches, ..ServerOptions::default() };
        let engine = CannedEngine::new().table(NUMBERS, [("id", "BIGINT"), ("name", "STRING")], vec![rows(count)]);
        Self::serve(options, engine)
    }

    pub(crate) fn inline(switches: Switches) -> Self {
        let chunk_rows = Some((ROWS / CHUNKS) as u64);
        Self::configured(ServerOptions { chunk_rows, switches, ..ServerOptions::default() })
    }

    pub(crate) fn configured(options: ServerOptions) -> Self {
        let columns = [("id", "BIGINT"), ("name", "STRING")];
        let engine = CannedEngine::new()
            .table(NUMBERS, columns, vec![rows(ROWS)])
            .table(FEW, columns, vec![rows(10)])
            .table(EMPTY, [("d", "DECIMAL(10,2)"), ("t", "TIMESTAMP"), ("a", "ARRAY<INT>")], vec![])
            .table(SLOW, columns, vec![rows(1)])
            .delay(SLOW, Duration::from_secs(60))
            .without_result("CREATE TABLE u (id INT)")
            .failure(BROKEN, SqlError::bad_request("42601", "[PARSE_SYNTAX_ERROR] Syntax error at or near 'SELEC'."));
        Self::serve(ServerOptions { batch_rows: 300, ..options }, engine)
    }

    /// A warehouse where one statement fails.
    pub(crate) fn failing(sql: &str, failure: SqlError) -> Self {
        Self::serve(ServerOptions::default(), CannedEngine::new().failure(sql, failure))
    }

    fn serve(options: ServerOptions, engine: CannedEngine) -> Self {
        canary::watch();
        let engine = Arc::new(engine);
        let server = LocalServer::start(options, Arc::<CannedEngine>::clone(&engine)).unwrap();
        Self { server, engine }
    }

    pub(crate) fn config(&self) -> SessionConfig {
        let credentials = Credentials::access_token(self.server.access_token());
        let mut config = SessionConfig::new(self.server.address(), &self.server.http_path(), credentials).unwrap();
        config.retry = RetryConfig {
            min_wait: Duration::from_millis(1),
            max_wait: Duration::from_millis(20),
            max_attempts: 4,
            ..RetryConfig::default()
        };
        config
    }

    pub(crate) async fn session(&self) -> Session {
        Session::open(self.config()).await.unwrap()
    }

    pub(crate) async fn results(&self, sql: &str) -> Result<ResultStream> {
        self.results_with(self.config(), sql).await
    }

    pub(crate) async fn results_with(&self, config: SessionConfig, sql: &str) -> Result<ResultStream> {
        let session = Session::open(config).await.unwrap();
        let statement = session.statement(sql).bind(Parameter::named("unused", "STRING", Some(canary::PARAMETER)));
        canary::look_at(&(&session, &statement));
        let results = async { statement.execute().await?.results().await }.await;
        canary::look_at(&results);
        results
    }

    /// Runs [`NUMBERS`] under `faults` and returns its rows.
    pub(crate) async fn numbers_under(&self, faults: Vec<FaultRule>) -> Result<Vec<i64>> {
        self.server.set_faults(faults);
        ids(&mut self.results(NUMBERS).await?).await
    }

    /// How many requests of a kind were received.
    pub(crate) fn count(&self, operation: Operation) -> usize {
        self.server.requests().iter().filter(|request| request.operation == Some(operation)).count()
    }

    /// Waits until `condition` holds, a few seconds at most.
    pub(crate) async fn eventually(&self, condition: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..200 {
            if condition(self) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

/// A warehouse with one large result of numbers that do not compress: 8 MB.
pub(crate) struct Large(LocalServer);

impl Large {
    pub(crate) const ROWS: u64 = 1_000_000;
    const STATEMENT: &str = "SELECT id FROM large";

    pub(crate) fn in_chunks(chunks: u64, switches: Switches) -> Self {
        canary::watch();
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
        let batch =
            RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(Self::numbers()))]).unwrap();
        let engine = CannedEngine::new().table(Self::STATEMENT, [("id", "BIGINT")], vec![batch]);
        let chunk_rows = Some(Self::ROWS / chunks);
        let options = ServerOptions { chunk_rows, inline_bytes: 0, switches, ..ServerOptions::default() };
        Self(LocalServer::start(options, Arc::new(engine)).unwrap())
    }

    pub(crate) fn server(&self) -> &LocalServer {
        &self.0
    }

    pub(crate) async fn session(&self) -> Session {
        Session::open(self.config()).await.unwrap()
    }

    pub(crate) fn config(&self) -> SessionConfig {
        let credentials = Credentials::access_token(self.0.access_token());
        let mut config = SessionConfig::new(self.0.address(), &self.0.http_path(), credentials).unwrap();
        config.retry.min_wait = Duration::from_millis(1);
        config.retry.max_wait = Duration::from_millis(10);
        config
    }

    /// Reads the whole result and checks every row of it.
    pub(crate) async fn fetch(&self, session: &Session) -> Result<Statistics> {
        let mut results = session.statement(Self::STATEMENT).execute().await?.results().await?;
        let rows = ids(&mut results).await?;
        assert!(rows.into_iter().eq(Self::numbers()), "other rows");
        Ok(results.statistics())
    }

    pub(crate) fn downloads(&self) -> Vec<RequestRecord> {
        let is_download = |request: &RequestRecord| request.operation == Some(Operation::Download);
        self.0.requests().into_iter().filter(is_download).collect()
    }

    fn numbers() -> impl Iterator<Item = i64> {
        (0..Self::ROWS).map(|row| (row.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (row << 31)) as i64)
    }
}

pub(crate) fn rows(count: i64) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("name", DataType::Utf8, true)]);
    let ids = Int64Array::from_iter_values(0..count);
    let names: StringArray = (0..count).map(|row| (row % 5 != 0).then(|| format!("name {row}"))).collect();
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(names)]).unwrap()
}

pub(crate) fn all_ids() -> Vec<i64> {
    (0..ROWS).collect()
}

pub(crate) fn batch_ids(batch: &RecordBatch) -> &[i64] {
    batch.column(0).as_primitive::<Int64Type>().values()
}

pub(crate) async fn ids(results: &mut ResultStream) -> Result<Vec<i64>> {
    let mut all = Vec::new();
    while let Some(batch) = results.next_batch().await.inspect_err(canary::look_at)? {
        assert!(batch.num_rows() > 0, "an empty batch was handed over");
        assert_eq!(batch.schema(), results.schema());
        all.extend(batch_ids(&batch));
    }
    Ok(all)
}
