//! Seeded fault simulation: whatever servers, stores, networks and readers do, a result is whole or a typed error.
//!
//! A schedule is a shape of the server's answers, a few faults, limits of the client and a reader, all drawn from one
//! seed. `SIMULATION_SEEDS` says how many run (1000 by default) and `SIMULATION_FIRST` where they start; a failure names
//! its seed. Timings are real, so a seed replays the plan exactly and its interleaving nearly.

use std::env;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use seakernel::{Credentials, Error, ErrorKind, Session, SessionConfig};
use seakernel_local::{
    Announced, ByteCount, CannedEngine, Fault, FaultRule, LinkCount, LocalServer, Lz4Framing, ManifestChunks,
    NextChunkIndex, Operation, ServerOptions, Switches,
};

use crate::canary;
use crate::warehouse::rows;

const SQL: &str = "SELECT id, name FROM simulated";
const ROWS: i64 = 2000;
/// Servers, each with chunks of its own size; a seed's place in the row of seeds chooses.
const CHUNK_ROWS: [u64; 4] = [37, 250, 999, 5000];
/// Far more than any schedule needs; a schedule that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(20);

struct Plan {
    switches: Switches,
    faults: Vec<FaultRule>,
    memory_budget: usize,
    max_concurrent_downloads: usize,
    /// The reader gives up waiting this often and asks again.
    impatience: Option<Duration>,
    stall: Option<Duration>,
}

impl Plan {
    fn draw(seed: u64) -> Self {
        let random = &mut StdRng::seed_from_u64(seed);
        let switches = switches(random);
        let checksums = switches.lz4_checksums && !switches.lz4_ignored;
        let faults = (0..random.random_range(0..4)).map(|_| rule(random, checksums)).collect();
        Self {
            switches,
            faults,
            memory_budget: 1 << random.random_range(10..24),
            max_concurrent_downloads: random.random_range(1..17),
            impatience: random.random_bool(0.3).then(|| Duration::from_micros(random.random_range(50..5000))),
            stall: random.random_bool(0.2).then(|| Duration::from_millis(random.random_range(1..20))),
        }
    }
}

fn links(random: &mut StdRng) -> LinkCount {
    match random.random_range(0..4) {
        0 => LinkCount::All,
        1 => LinkCount::AtMost(NonZeroUsize::MIN),
        _ => LinkCount::AtMost(NonZeroUsize::new(random.random_range(2..9)).unwrap()),
    }
}

fn switches(random: &mut StdRng) -> Switches {
    let announced = [Announced::Exact, Announced::Absent, Announced::Zero, Announced::TooSmall, Announced::TooLarge];
    let mut switches = Switches {
        external_links_per_response: links(random),
        hybrid_links_per_response: links(random),
        next_chunk_index: *[NextChunkIndex::Link, NextChunkIndex::LinkAndTop, NextChunkIndex::Top]
            .choose(random)
            .unwrap(),
        null_next_chunk_index: random.random(),
        total_chunk_count: *announced.choose(random).unwrap(),
        byte_count: *[ByteCount::Compressed, ByteCount::Uncompressed, ByteCount::Absent, ByteCount::Wrong]
            .choose(random)
            .unwrap(),
        strict_row_offset: true,
        hybrid_supported: random.random_bool(0.8),
        lz4_framing: *[Lz4Framing::PerMessage, Lz4Framing::Single, Lz4Framing::EmptyFrameInside]
            .choose(random)
            .unwrap(),
        lz4_checksums: random.random(),
        lz4_ignored: random.random_bool(0.1),
        ignore_range: random.random_bool(0.2),
        ..Switches::default()
    };
    if random.random_bool(0.1) {
        switches.total_row_count = *announced.choose(random).unwrap();
    }
    if random.random_bool(0.2) {
        switches.manifest_chunks = *[ManifestChunks::Absent, ManifestChunks::Partial].choose(random).unwrap();
    }
    if random.random_bool(0.15) {
        switches.surplus_rows = random.random_range(1..50);
    }
    if random.random_bool(0.2) {
        switches.link_lifetime_seconds = random.random_range(0.01..0.5);
    }
    if random.random_bool(0.2) {
        (switches.pending_answers, switches.running_answers) = (random.random_range(0..2), random.random_range(0..2));
    }
    if random.random_bool(0.2) {
        switches.store_first_byte_ms = random.random_range(1..5);
    }
    switches
}

fn rule(random: &mut StdRng, checksums: bool) -> FaultRule {
    let on = *[
        Operation::Download,
        Operation::Download,
        Operation::Download,
        Operation::Download,
        Operation::Chunk,
        Operation::Chunk,
        Operation::Poll,
        Operation::Execute,
        Operation::CloseStatement,
        Operation::OpenSession,
    ]
    .choose(random)
    .unwrap();
    let status = |code| Fault::Status { code, retry_after: None, error_code: None, body: None };
    let of_any_request = random.random_range(0..6);
    let fault = match of_any_request {
        0 => status(*[429, 500, 502, 503, 504, 408].choose(random).unwrap()),
        1 => status(*[400, 401, 403, 404, 501].choose(random).unwrap()),
        2 => Fault::Delay { ms: random.random_range(1..60) },
        3 => Fault::DropBeforeResponse,
        4 => Fault::DropAfterHeaders,
        _ => match random.random_range(0..8) {
            _ if on != Operation::Download => Fault::Html,
            0 => Fault::Truncate { bytes: random.random_range(0..3000) },
            1 => Fault::ShortBody { bytes: random.random_range(0..3000) },
            // Without checksums a changed byte may be a changed value that nobody can know of.
            2 if checksums => Fault::Corrupt { offset: None, count: random.random_range(1..20), seed: random.random() },
            3 => Fault::MissingRows { rows: random.random_range(1..40) },
            4 => Fault::SurplusRows { rows: random.random_range(1..40) },
            5 => Fault::Expire,
            6 => Fault::Slow { bytes_per_second: NonZeroU32::new(random.random_range(20_000..2_000_000)).unwrap() },
            _ => Fault::Html,
        },
    };
    let rule = FaultRule::new(on, fault).after(random.random_range(0..6));
    let rule = if random.random_bool(0.4) { rule.chunk(random.random_range(0..9)) } else { rule };
    match random.random_range(0..10) {
        0..=5 => rule.times(1),
        6..=8 => rule.times(random.random_range(2..6)),
        _ => rule.always(),
    }
}

/// Runs one schedule to its end and returns what was read.
async fn fetch(server: &LocalServer, plan: &Plan) -> Result<Vec<RecordBatch>, Error> {
    let credentials = Credentials::access_token(server.access_token());
    let mut config = SessionConfig::new(server.address(), &server.http_path(), credentials)?;
    config.retry.max_attempts = 4;
    config.retry.min_wait = Duration::from_millis(1);
    config.retry.max_wait = Duration::from_millis(10);
    config.results.memory_budget = plan.memory_budget;
    config.results.max_concurrent_downloads = plan.max_concurrent_downloads;
    let session = Session::open(config).await?;
    let mut results = session.statement(SQL).execute().await?.results().await?;
    let mut batches = Vec::new();
    loop {
        let next = match plan.impatience {
            Some(patience) => match tokio::time::timeout(patience, results.next_batch()).await {
                Ok(next) => next,
                Err(_) => continue,
            },
            None => results.next_batch().await,
        };
        match next? {
            Some(batch) => batches.push(batch),
            None => break,
        }
        if let Some(stall) = plan.stall.filter(|_| batches.len() % 5 == 1) {
            tokio::time::sleep(stall).await;
        }
    }
    assert!(results.next_batch().await?.is_none(), "the end stays the end");
    Ok(batches)
}

#[derive(Default)]
struct Outcomes {
    whole: u64,
    failed: u64,
}

async fn run_seeds(chunk_rows: u64, seeds: Vec<u64>) -> Outcomes {
    canary::watch();
    let expected = rows(ROWS);
    let engine = CannedEngine::new().table(SQL, [("id", "BIGINT"), ("name", "STRING")], vec![expected.clone()]);
    let options =
        ServerOptions { chunk_rows: Some(chunk_rows), batch_rows: 100, inline_bytes: 0, ..ServerOptions::default() };
    let server = LocalServer::start(options, Arc::new(engine)).unwrap();
    let mut outcomes = Outcomes::default();
    for seed in seeds {
        let plan = Plan::draw(seed);
        server.set_switches(plan.switches.clone());
        server.set_faults(plan.faults.clone());
        let described = || format!("seed {seed}: {:?} {:?}", plan.faults, plan.switches);
        let Ok(fetched) = tokio::time::timeout(DEADLINE, fetch(&server, &plan)).await else {
            panic!("no end after {DEADLINE:?}: {}", described());
        };
        match fetched {
            Ok(batches) => {
                let mut at = 0;
                for batch in batches {
                    let same = expected.slice(at, batch.num_rows().min(expected.num_rows() - at));
                    assert_eq!(batch.columns(), same.columns(), "other rows from {at}: {}", described());
                    at += batch.num_rows();
                }
                assert_eq!(at, expected.num_rows(), "rows are missing: {}", described());
                outcomes.whole += 1;
            }
            Err(error) => {
                canary::look_at(&error);
                assert_ne!(error.kind(), ErrorKind::Internal, "{error}: {}", described());
                assert!(!plan.faults.is_empty() || is_odd(&plan.switches), "{error} for no reason: {}", described());
                outcomes.failed += 1;
            }
        }
    }
    outcomes
}

/// Tells whether the answers alone may make a result fail.
fn is_odd(switches: &Switches) -> bool {
    switches.total_row_count != Announced::Exact || switches.link_lifetime_seconds < 1.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_schedule_ends_whole_or_in_a_typed_error() {
    let number = |name: &str, default: u64| env::var(name).map_or(default, |text| text.parse().unwrap());
    let first = number("SIMULATION_FIRST", 0);
    let seeds = first..first + number("SIMULATION_SEEDS", 1000);
    let runs: Vec<_> = (0_u64..)
        .zip(CHUNK_ROWS)
        .map(|(place, chunk_rows)| {
            let seeds = seeds.clone().filter(|seed| seed % CHUNK_ROWS.len() as u64 == place).collect();
            tokio::spawn(run_seeds(chunk_rows, seeds))
        })
        .collect();
    let mut all = Outcomes::default();
    for run in runs {
        let outcomes = run.await.unwrap();
        all.whole += outcomes.whole;
        all.failed += outcomes.failed;
    }
    println!("{} schedules were whole, {} failed with a typed error", all.whole, all.failed);
    assert_eq!(all.whole + all.failed, seeds.end - seeds.start);
    if seeds.end - seeds.start >= 100 {
        assert!(all.whole > all.failed / 4 && all.failed > all.whole / 20, "the plans say nothing any more");
    }
}
