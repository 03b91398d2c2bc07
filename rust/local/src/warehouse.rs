//! The warehouse behind both origins: its state, and running statements on the engine.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arrow_array::builder::{MapBuilder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::ArrowError;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::arrow_body::Lz4;
use crate::chunking::ChunkLimits;
use crate::engine::{Engine, EngineColumn, EngineOutput, EngineStatement, SqlError, VolumeTransfer};
use crate::faults::FaultTable;
use crate::identity::{Identity, Tally};
use crate::options::ServerOptions;
use crate::request_log::RequestLog;
use crate::result::{self, ResultPlan, StatementResult};
use crate::result_cache::{ResultCache, is_read};
use crate::session::{Session, Sessions};
use crate::statement::{Progress, Retention, Statement, Statements};
use crate::store::LinkSigner;
use crate::submission::{Refused, Submission};
use crate::switches::{EmptyResult, Switches, VolumeHeaders};
use crate::tls::Tls;
use crate::volumes::Volumes;

/// Everything the two origins share.
pub(crate) struct Warehouse {
    pub(crate) options: ServerOptions,
    pub(crate) faults: FaultTable,
    pub(crate) log: Arc<RequestLog>,
    pub(crate) statements: Statements,
    pub(crate) sessions: Sessions,
    pub(crate) signer: LinkSigner,
    pub(crate) volumes: Volumes,
    pub(crate) identity: Identity,
    pub(crate) api_address: String,
    pub(crate) storage_address: String,
    pub(crate) tls: Option<Tls>,
    pub(crate) open_connections: AtomicUsize,
    pub(crate) failed_handshakes: AtomicU64,
    pub(crate) next_connection: AtomicU64,
    switches: RwLock<Arc<Switches>>,
    cache: ResultCache,
    engine: Arc<dyn Engine>,
    /// One permit per running statement; those without one are `PENDING`.
    gate: Arc<Semaphore>,
}

/// What the server has done and what it holds at the moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Requests to both origins since the start.
    pub requests: u64,
    /// Bytes of bodies answered since the start, as announced.
    pub bytes_sent: u64,
    /// Sessions opened and not closed.
    pub open_sessions: usize,
    /// Statements known: live, or finished and neither closed nor forgotten.
    pub statements: usize,
    /// Those of them that are pending or running.
    pub live_statements: usize,
    /// Connections of clients to either origin.
    pub open_connections: usize,
    /// Connections that came to nothing since no TLS could be agreed on.
    pub failed_handshakes: u64,
    /// Bytes of the results kept.
    pub stored_bytes: u64,
    /// Access tokens issued since the start, by what they were asked for: a grant of OAuth, `azure_client_credentials` or
    /// `managed_identity`.
    pub issued_tokens: BTreeMap<&'static str, u64>,
    /// Authorization codes that came a second time.
    pub reused_codes: u64,
    /// Refresh tokens that came after a newer one had taken their place.
    pub reused_refresh_tokens: u64,
}

impl Warehouse {
    pub(crate) fn new(
        options: ServerOptions,
        engine: Arc<dyn Engine>,
        api_address: String,
        storage_address: String,
        tls: Option<Tls>,
    ) -> io::Result<Self> {
        let retention = Retention { statements: options.retained_statements, bytes: options.retained_bytes };
        Ok(Self {
            faults: FaultTable::new(options.faults.clone()),
            log: Arc::new(RequestLog::new(options.logged_requests)),
            statements: Statements::new(retention),
            sessions: Sessions::default(),
            signer: LinkSigner::default(),
            volumes: Volumes::new(options.volume_folder.clone(), options.volume_bytes),
            identity: Identity::new(&options, &api_address)?,
            api_address,
            storage_address,
            tls,
            open_connections: AtomicUsize::new(0),
            failed_handshakes: AtomicU64::new(0),
            next_connection: AtomicU64::new(0),
            switches: RwLock::new(Arc::new(options.switches.clone())),
            cache: ResultCache::default(),
            engine,
            gate: Arc::new(Semaphore::new(options.running_limit().into())),
            options,
        })
    }

    pub(crate) fn switches(&self) -> Arc<Switches> {
        Arc::clone(&self.switches.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_switches(&self, switches: Switches) {
        *self.switches.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(switches);
    }

    pub(crate) fn counters(&self) -> Counters {
        let statements = self.statements.all();
        let stored = |statement: &Arc<Statement>| match statement.progress() {
            Progress::Succeeded(result) => result.stored_bytes(),
            _ => 0,
        };
        let (requests, bytes_sent) = self.log.totals();
        let Tally { issued, reused_codes, reused_refresh_tokens } = self.identity.ledger.tally();
        Counters {
            requests,
            bytes_sent,
            open_sessions: self.sessions.count(),
            statements: statements.len(),
            live_statements: statements.iter().filter(|statement| !statement.progress().is_terminal()).count(),
            open_connections: self.open_connections.load(Ordering::Relaxed),
            failed_handshakes: self.failed_handshakes.load(Ordering::Relaxed),
            stored_bytes: statements.iter().map(stored).sum(),
            issued_tokens: issued,
            reused_codes,
            reused_refresh_tokens,
        }
    }

    pub(crate) async fn open_session(
        self: &Arc<Self>,
        catalog: Option<String>,
        schema: Option<String>,
        configuration: BTreeMap<String, String>,
    ) -> Result<String, SqlError> {
        let warehouse = Arc::clone(self);
        let opened = spawn_blocking(move || {
            let id = new_id();
            let (catalog, schema) = (catalog.as_deref(), schema.as_deref());
            warehouse.engine.open_session(&id, catalog, schema, &configuration)?;
            warehouse.sessions.insert(&id, Session::new(catalog, schema, &configuration));
            Ok(id)
        });
        opened.await.unwrap_or_else(|_| Err(died()))
    }

    /// Closes a session and everything in it; false when there is none.
    pub(crate) async fn close_session(self: &Arc<Self>, session_id: &str) -> bool {
        if self.sessions.remove(session_id).is_none() {
            return false;
        }
        for statement_id in self.statements.of_session(session_id) {
            self.close_statement(&statement_id);
        }
        let (warehouse, session_id) = (Arc::clone(self), session_id.to_owned());
        // An engine that panics here has lost its own session only.
        drop(spawn_blocking(move || warehouse.engine.close_session(&session_id)).await);
        true
    }

    /// Takes a statement on and starts it; it runs whether or not the client stays.
    pub(crate) fn submit(self: &Arc<Self>, submission: Submission) -> Result<Arc<Statement>, Refused> {
        let session = match &submission.session_id {
            Some(id) => {
                let missing = || Refused::missing(format!("Session {id} does not exist or was closed."));
                Some(self.sessions.get(id).ok_or_else(missing)?)
            }
            None => None,
        };
        let switches = self.switches();
        let statement = Arc::new(Statement::new(
            new_id(),
            submission.session_id.clone(),
            submission.sql.clone(),
            submission.disposition,
            (switches.pending_answers, switches.running_answers),
        ));
        self.statements.insert(Arc::clone(&statement));
        let plan = self.plan(&submission, session.as_deref(), &switches);
        let run = Run { warehouse: Arc::clone(self), statement: Arc::clone(&statement), submission, session, plan };
        tokio::spawn(run.run(switches.result_cache));
        Ok(statement)
    }

    /// Forgets a statement, cancelled first if it is under way; false when there is none.
    pub(crate) fn close_statement(&self, statement_id: &str) -> bool {
        let Some(statement) = self.statements.remove(statement_id) else { return false };
        statement.cancel();
        true
    }

    /// Cancels everything under way and waits until the engine is left alone, for the server's own end.
    pub(crate) async fn cancel_all(&self) {
        for statement in self.statements.all() {
            statement.cancel();
        }
        drop(self.gate.acquire_many(self.options.running_limit().into()).await);
    }

    /// Interrupts the engine until the statement's run is over: an engine that has yet to begin forgets an interruption.
    async fn interrupt<T>(self: &Arc<Self>, statement_id: &str, run: &JoinHandle<T>) {
        let mut pause = Duration::from_millis(5);
        while !run.is_finished() {
            let (warehouse, id) = (Arc::clone(self), statement_id.to_owned());
            drop(spawn_blocking(move || warehouse.engine.cancel(&id)).await);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    /// The one row that tells a client which file to transfer, and where.
    fn volume_row(&self, volume: &VolumeTransfer) -> Result<EngineOutput, ArrowError> {
        let (switches, now) = (self.switches(), OffsetDateTime::now_utc());
        let path = Volumes::link_path(&volume.path);
        let link = self.signer.sign(&path, &volume.action.method(), now, switches.link_lifetime_seconds);
        let rows = switches.volume_rows.min(10);
        let text = |text: String| Arc::new(StringArray::from(vec![text; rows])) as ArrayRef;
        let (form, headers): (_, ArrayRef) = match switches.volume_headers_form {
            VolumeHeaders::Json => {
                ("STRING", text(serde_json::to_string(&switches.volume_headers).unwrap_or_default()))
            }
            VolumeHeaders::Map => {
                let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
                for _ in 0..rows {
                    for (name, value) in &switches.volume_headers {
                        map.keys().append_value(name);
                        map.values().append_value(value);
                    }
                    map.append(true)?;
                }
                ("MAP<STRING, STRING>", Arc::new(map.finish()))
            }
        };
        let mut columns = vec![
            ("operation", "STRING", text(volume.action.name().to_owned())),
            ("presignedUrl", "STRING", text(format!("{}{link}", self.storage_address))),
            ("headers", form, headers),
        ];
        columns.extend(volume.local_file.clone().map(|file| ("localFile", "STRING", text(file))));
        let batch = RecordBatch::try_from_iter(columns.iter().map(|(name, _, array)| (*name, Arc::clone(array))))?;
        let declared = columns.iter().map(|(name, kind, _)| EngineColumn::new(*name, *kind)).collect();
        Ok(EngineOutput::from_batches(declared, batch.schema(), vec![batch]))
    }

    fn plan(&self, submission: &Submission, session: Option<&Session>, switches: &Switches) -> ResultPlan {
        let lz4 = Lz4 { framing: switches.lz4_framing, checksums: switches.lz4_checksums };
        ResultPlan {
            format: submission.format,
            disposition: submission.disposition,
            lz4: (submission.lz4 && !switches.lz4_ignored).then_some(lz4),
            limits: ChunkLimits {
                bytes: self.options.chunk_bytes,
                rows: self.options.chunk_rows.unwrap_or(u64::MAX),
                batch_rows: self.options.batch_rows,
            },
            row_limit: submission.row_limit,
            byte_limit: submission.byte_limit,
            inline_bytes: self.options.inline_bytes,
            inline_limit_bytes: self.options.inline_limit_bytes,
            inline_chunks: switches.inline_chunks.get(),
            surplus_rows: switches.surplus_rows,
            schema_only: switches.empty_result == EmptyResult::SchemaOnly,
            encoder_threads: self.options.encoder_threads,
            zone: session.and_then(|session| session.zone.clone()),
            default_zone: Arc::from(self.options.time_zone.as_str()),
        }
    }
}

/// One statement on its way through the engine.
struct Run {
    warehouse: Arc<Warehouse>,
    statement: Arc<Statement>,
    submission: Submission,
    session: Option<Arc<Session>>,
    plan: ResultPlan,
}

impl Run {
    async fn run(self, cached: bool) {
        let (warehouse, statement) = (Arc::clone(&self.warehouse), Arc::clone(&self.statement));
        // The gate is never closed, so a failure to pass it cannot be.
        let permit = Arc::clone(&warehouse.gate).acquire_owned().await;
        if statement.start() {
            let mut outcome = spawn_blocking(move || if cached { self.through_cache() } else { self.execute() });
            let outcome = tokio::select! {
                outcome = &mut outcome => outcome,
                () = statement.canceled() => {
                    warehouse.interrupt(&statement.id, &outcome).await;
                    outcome.await
                }
            };
            statement.finish(outcome.unwrap_or_else(|_| Err(died())));
        }
        drop(permit);
        warehouse.statements.ended(&statement.id);
    }

    fn through_cache(self) -> Result<Arc<StatementResult>, SqlError> {
        let warehouse = Arc::clone(&self.warehouse);
        if !is_read(&self.submission.sql) {
            if let Some(session) = &self.session {
                session.mark_changed();
            }
            warehouse.cache.clear();
            let outcome = self.execute();
            warehouse.cache.clear();
            return outcome;
        }
        if self.session.as_deref().is_some_and(Session::is_changed) {
            return self.execute();
        }
        let generation = warehouse.cache.generation();
        let key = self.cache_key();
        if let Some(result) = warehouse.cache.get(&key) {
            return Ok(result);
        }
        let result = self.execute()?;
        warehouse.cache.put(key, Arc::clone(&result), generation);
        Ok(result)
    }

    fn cache_key(&self) -> String {
        let identity = self.session.as_ref().map_or("", |session| &session.identity);
        let Submission { sql, parameters, catalog, schema, .. } = &self.submission;
        format!("{sql:?} {parameters:?} {catalog:?} {schema:?} {identity} {:?}", self.plan)
    }

    fn execute(self) -> Result<Arc<StatementResult>, SqlError> {
        let submission = self.submission;
        let output = self.warehouse.engine.execute(EngineStatement {
            statement_id: self.statement.id.clone(),
            session_id: submission.session_id,
            sql: submission.sql,
            parameters: submission.parameters,
            catalog: submission.catalog,
            schema: submission.schema,
        })?;
        let Some(volume) = &output.volume else {
            return result::encode(output, &self.plan, &self.statement.cancelled).map(Arc::new);
        };
        let row = self.warehouse.volume_row(volume).map_err(result::internal)?;
        let mut encoded = result::encode(row, &self.plan, &self.statement.cancelled)?;
        encoded.volume_operation = true;
        Ok(Arc::new(encoded))
    }
}

fn died() -> SqlError {
    SqlError::new("INTERNAL_ERROR", "the engine or the encoder panicked")
}

/// An id in the shape of the service's own, which look like UUIDs.
pub(crate) fn new_id() -> String {
    let [high, low]: [u64; 2] = rand::random();
    format!(
        "01f0{:04x}-{:04x}-1{:03x}-8{:03x}-{:012x}",
        high & 0xffff,
        high >> 16 & 0xffff,
        high >> 32 & 0xfff,
        high >> 48 & 0xfff,
        low & 0xffff_ffff_ffff
    )
}
