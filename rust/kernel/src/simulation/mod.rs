//! Seeded fault simulation: whatever servers, stores, networks and readers do, a result is whole or a typed error.
//!
//! A schedule runs everything of a query (links, downloads, ranges, renewals, decoding, reader) in one thread, with
//! simulated time and a network of its own. All of it follows from one number, so a failure is replayed exactly:
//! `SIMULATION_SEEDS` says how many schedules run (1000 by default) and `SIMULATION_FIRST` where they start.

pub(crate) mod network;
mod plan;
mod scale;
mod server;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch};
use tokio::time::{Instant, sleep, timeout};

use crate::auth::Credentials;
use crate::config::{CloudFetch, SessionConfig};
use crate::error::{Error, ErrorKind};
use crate::results::ResultStream;
use crate::session::Session;
use network::Network;
use plan::{Fault, Hints, Leave, Operation, Plan, Total};
use server::{Book, ID_STEP, STATEMENT_ID, Server, TABLE, TOKEN};

/// How a schedule ended for the reader.
#[derive(Debug)]
enum End {
    Whole,
    Failed(Error),
    /// The reader left by itself.
    Left,
}

impl End {
    fn name(&self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Failed(error) => error.kind().name(),
            Self::Left => "left",
        }
    }
}

/// What is left of a schedule.
struct Outcome {
    end: End,
    book: Book,
    simulated: Duration,
}

/// One who reads a result, and checks every row against the table.
struct Reader {
    server: Arc<Mutex<Server>>,
    plan: Arc<Plan>,
    rows: usize,
    batches: usize,
    /// Which version of its file each row came from.
    versions: Vec<i64>,
    complaints: Vec<String>,
}

impl Reader {
    async fn read(&mut self, config: SessionConfig) -> End {
        let opening = async {
            let session = Session::open(config).await?;
            session.statement("SELECT id, name FROM simulated").execute().await?.results().await
        };
        let opened = match self.plan.reader.leave {
            Some(Leave::WhileOpening { after }) => match timeout(after, opening).await {
                Ok(opened) => opened,
                Err(_) => return End::Left,
            },
            _ => opening.await,
        };
        let mut results = match opened {
            Ok(results) => results,
            Err(error) => return End::Failed(error),
        };
        loop {
            match self.plan.reader.leave {
                Some(Leave::Drop { after_batches }) if self.batches >= after_batches => return End::Left,
                Some(Leave::Close { after_batches }) if self.batches >= after_batches => {
                    results.close().await;
                    self.check_quiet("after close");
                    if !matches!(results.next_batch().await, Ok(None)) {
                        self.complaints.push("a closed stream does not end".to_owned());
                    }
                    return End::Left;
                }
                _ => {}
            }
            match self.next(&mut results).await {
                Ok(Some(batch)) => self.check(&batch),
                Ok(None) => {
                    if !matches!(results.next_batch().await, Ok(None)) {
                        self.complaints.push("the end does not stay the end".to_owned());
                    }
                    return End::Whole;
                }
                Err(error) => {
                    match results.next_batch().await {
                        Err(again) if again.kind() == error.kind() => {}
                        other => self.complaints.push(format!("after an error comes {other:?}")),
                    }
                    return End::Failed(error);
                }
            }
            if let Some((_, pause)) = self.plan.reader.stall.filter(|(every, _)| self.batches.is_multiple_of(*every)) {
                sleep(pause).await;
            }
        }
    }

    async fn next(&mut self, results: &mut ResultStream) -> Result<Option<RecordBatch>, Error> {
        let Some(mut patience) = self.plan.reader.patience else { return results.next_batch().await };
        loop {
            // Ever longer, for what hangs until the deadline shall not take long to be seen.
            patience = patience * 9 / 8 + Duration::from_millis(1);
            if let Ok(next) = timeout(patience, results.next_batch()).await {
                return next;
            }
        }
    }

    fn check(&mut self, batch: &RecordBatch) {
        let rows = batch.num_rows();
        let at = self.rows;
        self.rows += rows;
        self.batches += 1;
        let mut server = self.server.lock().unwrap();
        server.note(&format!("batch of {rows} rows from {at}"));
        server.taken(self.rows);
        if rows == 0 || self.rows > TABLE.num_rows() {
            self.complaints.push(format!("a batch of {rows} rows from {at}"));
            return;
        }
        let ids = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
        self.versions.extend(ids.values().iter().zip(at as i64..).map(|(id, row)| id - row * ID_STEP));
        if *batch.column(1) != TABLE.column(1).slice(at, rows) {
            self.complaints.push(format!("other names from row {at}"));
        }
    }

    /// Nothing of the stream may be at work any more; the statement's close may.
    fn check_quiet(&mut self, when: &str) {
        let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        if alive > 2 {
            self.complaints.push(format!("{alive} tasks are alive {when}"));
        }
    }

    /// Every row is there, and those of a file come from one version of it.
    fn check_versions(&mut self) {
        for (number, file) in self.plan.files.iter().enumerate() {
            let end = (file.offset + file.rows).min(self.versions.len());
            let Some(versions) = self.versions.get(file.offset..end) else { continue };
            if versions.iter().any(|version| !(0..ID_STEP / 2).contains(version) || Some(version) != versions.first()) {
                self.complaints.push(format!("other rows in file {number}"));
            }
        }
    }
}

fn config(plan: &Plan) -> SessionConfig {
    let credentials = Credentials::access_token(TOKEN);
    let mut config =
        SessionConfig::new("https://workspace.example", "/sql/1.0/warehouses/simulated", credentials).unwrap();
    config.read_timeout = plan.silence;
    config.retry.max_attempts = plan.max_attempts;
    config.retry.min_wait = plan.min_wait;
    config.retry.max_wait = plan.max_wait;
    config.retry.max_elapsed = plan.max_elapsed;
    config.results.download_idle_timeout = plan.silence;
    config.results.memory_budget = plan.memory_budget;
    // A schedule in which no storage host answers at first is one of retries here.
    config.results.cloud_fetch = CloudFetch::On;
    config.results.max_concurrent_downloads = plan.max_concurrent_downloads;
    config
}

/// Runs one schedule; the error says which promise was broken.
fn run(plan: Plan) -> Result<Outcome, (String, Vec<String>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(simulate(Arc::new(plan)))
}

async fn simulate(plan: Arc<Plan>) -> Result<Outcome, (String, Vec<String>)> {
    let server = Arc::new(Mutex::new(Server::new(Arc::clone(&plan))));
    let network = Network::new(plan.seed, plan.skew_ms, plan.latency, {
        let server = Arc::clone(&server);
        move |request| server.lock().unwrap().respond(request)
    });
    let _installed = network.install();
    let (start, deadline) = (Instant::now(), plan.deadline());
    let mut reader = Reader {
        server: Arc::clone(&server),
        plan: Arc::clone(&plan),
        rows: 0,
        batches: 0,
        versions: Vec::new(),
        complaints: Vec::new(),
    };
    let end = timeout(deadline, reader.read(config(&plan))).await;
    let simulated = start.elapsed();
    server.lock().unwrap().reader_is_done();
    // What was aborted ends as soon as it is its turn.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    if network.downloads() > 0 {
        reader.complaints.push(format!("{} downloads go on after the end", network.downloads()));
    }
    reader.check_quiet("after the end");
    // Statement and session are closed in the background, with the repetitions that may take.
    let patience = plan.deadline();
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let quiet = async {
        let mut pause = Duration::from_millis(500);
        while alive() > 0 {
            sleep(pause).await;
            pause = pause * 9 / 8;
        }
    };
    if timeout(patience, quiet).await.is_err() {
        reader.complaints.push(format!("{} tasks never end", alive()));
    }
    reader.check_versions();
    let mut complaints = std::mem::take(&mut reader.complaints);
    let book = std::mem::take(&mut server.lock().unwrap().book);
    complaints.extend(book.violations.iter().cloned());
    if network.most_downloads() > plan.max_concurrent_downloads {
        complaints.push(format!("{} downloads at once", network.most_downloads()));
    }
    let Ok(end) = end else {
        complaints.push(format!("no end after {deadline:?}"));
        return Err((complaints.join("; "), book.trace));
    };
    judge(&plan, &end, &reader, &book, simulated, &mut complaints);
    if complaints.is_empty() { Ok(Outcome { end, book, simulated }) } else { Err((complaints.join("; "), book.trace)) }
}

/// Holds the end of a schedule against what was promised.
fn judge(plan: &Plan, end: &End, reader: &Reader, book: &Book, simulated: Duration, complaints: &mut Vec<String>) {
    let breaks = |on| plan.rules.iter().any(|rule| rule.on == on);
    // Then the id of the statement may never have arrived.
    let answer_may_be_lost = breaks(Operation::Execute) || breaks(Operation::OpenSession);
    match end {
        End::Whole if reader.rows != plan.rows() => {
            complaints.push(format!("{} of {} rows are taken for the whole", reader.rows, plan.rows()));
        }
        End::Whole if plan.announces_other_rows() => {
            complaints.push("a total that is not that of the rows was not noticed".to_owned());
        }
        End::Whole | End::Left => {}
        End::Failed(error) => {
            let text = format!("{error} {error:?}");
            if error.kind() == ErrorKind::Internal {
                complaints.push(format!("a defect of our own: {text}"));
            }
            if book.statement_told && error.statement_id() != Some(STATEMENT_ID) && !answer_may_be_lost {
                complaints.push(format!("the error does not name the statement: {text}"));
            }
            if error.message().starts_with("chunk ")
                && error.message() != "chunk links"
                && error.chunk_index().is_none()
            {
                let is_request = error.message().starts_with("chunk links");
                if !is_request || error.chunk_index().is_none() {
                    complaints.push(format!("the error does not name the chunk: {text}"));
                }
            }
            if text.contains("canary") {
                complaints.push(format!("a secret in an error: {text}"));
            }
            if plan.must_succeed() {
                complaints.push(format!("failed without need: {text}"));
            }
        }
    }
    if plan.must_succeed() && simulated > plan.usual_time() {
        complaints.push(format!("took {simulated:?}, and {:?} would be enough", plan.usual_time()));
    }
    if !breaks(Operation::CloseStatement) {
        let owed = u32::from(book.statement_told);
        // A statement that is given up before its result is open is closed by the one and by the other.
        let most = if matches!(plan.reader.leave, Some(Leave::WhileOpening { .. })) { owed * 2 } else { owed };
        if book.closed > most || (book.closed < owed && !answer_may_be_lost) {
            complaints.push(format!("the statement was closed {} times", book.closed));
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// What many schedules have shown.
#[derive(Debug, Default)]
struct Tally {
    ends: BTreeMap<&'static str, u64>,
    /// Schedules in which each fault was met.
    faults: BTreeMap<String, u64>,
    must_succeed: u64,
    ranges: u64,
    renewals: u64,
    requests: usize,
    simulated: Duration,
    /// What was wrong with which seed.
    broken: BTreeMap<u64, String>,
}

impl Tally {
    fn add(&mut self, seed: u64) {
        let plan = Plan::draw(seed);
        self.must_succeed += u64::from(plan.must_succeed());
        let outcome = match run(plan.clone()) {
            Ok(outcome) => outcome,
            Err((complaint, trace)) => {
                let from = trace.len().saturating_sub(number("SIMULATION_TRACE", 60) as usize);
                let trace = trace[from..].join("\n");
                self.broken.insert(seed, format!("{trace}\n{plan:?}\nseed {seed}: {complaint}"));
                return;
            }
        };
        *self.ends.entry(outcome.end.name()).or_default() += 1;
        for fault in outcome.book.faults.into_keys() {
            *self.faults.entry(fault).or_default() += 1;
        }
        self.ranges += u64::from(outcome.book.ranges > 0);
        self.renewals += u64::from(outcome.book.renewals > 0);
        self.requests += outcome.book.requests;
        self.simulated += outcome.simulated;
    }

    fn join(&mut self, other: Self) {
        for (end, count) in other.ends {
            *self.ends.entry(end).or_default() += count;
        }
        for (fault, count) in other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        self.must_succeed += other.must_succeed;
        self.ranges += other.ranges;
        self.renewals += other.renewals;
        self.requests += other.requests;
        self.simulated += other.simulated;
        self.broken.extend(other.broken);
    }
}

/// Runs schedules in as many threads as there are cores; each is alone in its thread.
fn run_seeds(seeds: Range<u64>) -> Tally {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = Tally::default();
    std::thread::scope(|scope| {
        let share = |thread: usize| {
            let mut tally = Tally::default();
            seeds.clone().skip(thread).step_by(threads).for_each(|seed| tally.add(seed));
            tally
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        for thread in running {
            all.join(thread.join().unwrap());
        }
    });
    all
}

#[test]
fn every_schedule_ends_whole_or_in_a_typed_error() {
    let first = number("SIMULATION_FIRST", 0);
    let count = number("SIMULATION_SEEDS", 1000);
    let mut tally = run_seeds(first..first + count);
    if let Some((seed, text)) = tally.broken.pop_first() {
        let more: Vec<u64> = tally.broken.into_keys().collect();
        panic!(
            "{text}\nreplay: SIMULATION_FIRST={seed} SIMULATION_SEEDS=1 SIMULATION_TRACE=100000 \
             cargo test -p seakernel --lib simulation::every\n{} of {count} schedules failed, the others are {:?}",
            more.len() + 1,
            more.iter().take(50).collect::<Vec<_>>()
        );
    }
    println!("{count} schedules, {} simulated hours: {tally:?}", tally.simulated.as_secs() / 3600);
    if count >= 1000 {
        // A twentieth of the schedules at least, or they say nothing.
        let many = |part: u64| part * 20 > count;
        let whole = tally.ends.get("whole").copied().unwrap_or(0);
        assert!(many(whole) && many(count - whole) && many(tally.must_succeed), "{tally:?}");
        assert!(many(tally.ranges) && many(tally.renewals), "{tally:?}");
        assert!(tally.faults.len() == Fault::KINDS && tally.ends.contains_key("DataLoss"), "{tally:?}");
    }
}

/// Regression, found by seed 27: the result was taken for an empty one.
#[test]
fn rows_that_only_the_list_of_chunks_names_are_fetched() {
    let mut plan =
        Plan { total: Total::Absent, hints: Hints::Exact, links_first: 0, rules: Vec::new(), ..Plan::draw(27) };
    assert!(plan.must_succeed() && plan.rows() > 0);
    assert!(matches!(run(plan.clone()), Ok(Outcome { end: End::Whole, .. })));
    plan.total = Total::Zero;
    let Ok(Outcome { end: End::Failed(error), .. }) = run(plan) else { panic!("rows and a total of 0 fit together") };
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
}

#[test]
fn a_seed_replays_to_the_last_event() {
    for seed in 0..50 {
        let trace = || match run(Plan::draw(seed)) {
            Ok(Outcome { book: Book { trace, .. }, .. }) | Err((_, trace)) => trace,
        };
        let first = trace();
        assert!(!first.is_empty() && first == trace(), "seed {seed}");
    }
}
