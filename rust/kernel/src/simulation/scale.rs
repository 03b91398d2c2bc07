//! A large result, cut into partitions on the simulated network: what it costs in calls, time and bytes.
//!
//! `SIMULATION_CHUNKS` says how large; 60,000, a terabyte, gives the figures of the documentation and takes minutes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use super::network::{Delivery, Ending, Network, Outcome, Place, Reply, Request};
use super::server::TOKEN;
use crate::auth::Credentials;
use crate::config::SessionConfig;
use crate::partition::PartitionConfig;
use crate::session::Session;

/// Chunks of the size that warehouses make: 60,000 of them are a terabyte.
static CHUNKS: LazyLock<i64> = LazyLock::new(|| super::number("SIMULATION_CHUNKS", 3000) as i64);
const CHUNK_ROWS: i64 = 122_880;
const CHUNK_BYTES: i64 = 17_500_000;
/// Of a request to the workspace, there and back.
const ROUND_TRIP: Duration = Duration::from_millis(60);

/// A workspace that gives `links` links an answer.
struct Workspace {
    links: i64,
    lists_chunks: bool,
    chunk_calls: Arc<AtomicUsize>,
}

impl Workspace {
    fn respond(&self, request: &Request) -> Delivery {
        assert_eq!(request.place, Place::Api, "nothing is downloaded");
        let path: Vec<&str> = request.url.path().trim_matches('/').split('/').collect();
        let answer = match (&request.method, path.last().copied().unwrap(), path.len()) {
            (&Method::POST, "sessions", _) => json!({"session_id": "simulated"}),
            (&Method::POST, "statements", _) => self.first_answer(),
            (&Method::GET, index, 8) => {
                self.chunk_calls.fetch_add(1, Ordering::Relaxed);
                self.answer(index.parse().unwrap())
            }
            _ => json!({}),
        };
        let body = bytes::Bytes::from(answer.to_string());
        let reply = Reply {
            status: 200,
            headers: HeaderMap::new(),
            content_length: Some(body.len() as u64),
            pieces: [(Duration::ZERO, body)].into(),
            ending: Ending::End,
        };
        Delivery { after: ROUND_TRIP / 2, outcome: Outcome::Reply(reply) }
    }

    fn first_answer(&self) -> Value {
        let chunk = |index: i64| {
            json!({"chunk_index": index, "row_offset": index * CHUNK_ROWS, "row_count": CHUNK_ROWS,
                "byte_count": CHUNK_BYTES})
        };
        let mut manifest = json!({"format": "ARROW_STREAM", "result_compression": "LZ4_FRAME",
            "schema": {"columns": [{"name": "id", "type_text": "BIGINT", "type_name": "LONG"}]},
            "total_row_count": *CHUNKS * CHUNK_ROWS});
        if self.lists_chunks {
            manifest["chunks"] = (0..*CHUNKS).map(chunk).collect();
        }
        json!({"statement_id": "01ef-scale", "status": {"state": "SUCCEEDED"}, "manifest": manifest,
            "result": self.answer(0)})
    }

    fn answer(&self, first: i64) -> Value {
        let end = (first + self.links).min(*CHUNKS);
        let now = Network::server_time(super::network::current().unwrap().elapsed());
        let expiration = (OffsetDateTime::from(now) + Duration::from_secs(900)).format(&Rfc3339).unwrap();
        let link = |index: i64| {
            let next = (index + 1 < *CHUNKS).then_some(index + 1);
            json!({"external_link": format!("https://store.example/{index}?sig={}", "canary".repeat(60)),
                "expiration": expiration, "chunk_index": index, "row_offset": index * CHUNK_ROWS,
                "row_count": CHUNK_ROWS, "byte_count": CHUNK_BYTES / 4, "next_chunk_index": next})
        };
        json!({"external_links": (first..end).map(link).collect::<Vec<_>>()})
    }
}

struct Cost {
    chunk_calls: usize,
    simulated: Duration,
    partitions: usize,
    /// Of all descriptors together.
    descriptor_bytes: usize,
}

/// Cuts the whole result at 128 MiB and looks at every descriptor.
fn cut(links: i64, lists_chunks: bool) -> Cost {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let chunk_calls = Arc::new(AtomicUsize::new(0));
        let workspace = Mutex::new(Workspace { links, lists_chunks, chunk_calls: Arc::clone(&chunk_calls) });
        let network = Network::new(1, 0, (ROUND_TRIP / 2, ROUND_TRIP / 2), move |request| {
            workspace.lock().unwrap().respond(request)
        });
        let _installed = network.install();
        let credentials = Credentials::access_token(TOKEN);
        let config = SessionConfig::new("https://workspace.example", "/sql/1.0/warehouses/w", credentials).unwrap();
        let session = Session::open(config).await.unwrap();
        let executed = session.statement("SELECT id FROM scale").execute().await.unwrap();
        let start = Instant::now();
        // One link after the other takes as long as a result is kept.
        let config = PartitionConfig { lease: Duration::from_secs(7200), ..PartitionConfig::default() };
        let mut stream = executed.partitions(config).await.unwrap();
        let (mut partitions, mut descriptor_bytes, mut rows) = (0, 0, 0);
        while let Some(partition) = stream.next().await.unwrap() {
            let bytes = partition.to_bytes();
            assert!(!String::from_utf8_lossy(&bytes).contains("canary"));
            partitions += 1;
            descriptor_bytes += bytes.len();
            rows += partition.row_count();
        }
        assert_eq!(rows, *CHUNKS * CHUNK_ROWS);
        let simulated = start.elapsed();
        Cost { chunk_calls: chunk_calls.load(Ordering::Relaxed), simulated, partitions, descriptor_bytes }
    })
}

#[test]
fn a_large_result_is_cut_with_each_link_asked_for_once_and_small_descriptors() {
    // Links of an answer, whether the manifest lists the chunks, and calls that may be under way at once.
    for (links, lists_chunks, at_once) in [(1, true, 8), (1, false, 1), (16, false, 1), (100, true, 1)] {
        let cost = cut(links, lists_chunks);
        let calls = (*CHUNKS as usize - 1) / links as usize;
        eprintln!(
            "{links} links an answer, chunks listed: {lists_chunks}: {} chunk calls, {:.0} s, {} partitions, {} bytes each",
            cost.chunk_calls,
            cost.simulated.as_secs_f64(),
            cost.partitions,
            cost.descriptor_bytes / cost.partitions
        );
        assert_eq!(cost.chunk_calls, calls);
        let expected = ROUND_TRIP * (calls / at_once) as u32;
        assert!(cost.simulated <= expected * 2, "{:?} for {expected:?}", cost.simulated);
        assert!(cost.descriptor_bytes / cost.partitions < 2000, "{}", cost.descriptor_bytes);
    }
}
