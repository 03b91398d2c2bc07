//! Canned tables, and reading what came back.

use std::io::Read;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_ipc::reader::StreamReader;
use lz4_flex::frame::FrameDecoder;
use seakernel_local::{CannedEngine, LocalServer, ServerOptions};

use crate::client::{Client, download};

pub(crate) const NUMBERS: &str = "SELECT id, name FROM numbers";

/// `count` numbered rows in batches of 1,000, and the SQL that selects them.
pub(crate) fn numbers(count: i64) -> CannedEngine {
    let batch = |start: i64| {
        let ids: Int64Array = (start..count.min(start + 1000)).collect();
        let names: StringArray = ids.values().iter().map(|id| Some(format!("name {id}"))).collect();
        RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef), ("name", Arc::new(names))]).unwrap()
    };
    let batches = (0..count).step_by(1000).map(batch).collect();
    CannedEngine::new().table(NUMBERS, [("id", "BIGINT"), ("name", "STRING")], batches)
}

pub(crate) fn start(options: ServerOptions, engine: CannedEngine) -> LocalServer {
    LocalServer::start(options, Arc::new(engine)).unwrap()
}

/// Options that cut `NUMBERS` into chunks of 1,000 rows and never put it inline.
pub(crate) fn small_chunks() -> ServerOptions {
    ServerOptions { chunk_rows: Some(1000), inline_bytes: 0, ..ServerOptions::default() }
}

pub(crate) fn decompress(body: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    let mut decoder = FrameDecoder::new(body);
    while !decoder.get_ref().is_empty() {
        decoder.read_to_end(&mut raw).unwrap();
    }
    raw
}

pub(crate) fn read_stream(raw: &[u8]) -> Vec<RecordBatch> {
    StreamReader::try_new(raw, None).unwrap().map(Result::unwrap).collect()
}

pub(crate) fn ids(batches: &[RecordBatch]) -> Vec<i64> {
    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

/// Follows the links of an answer to its end, one chunk call after the other, and reads all ids.
pub(crate) fn fetch_ids(client: &Client<'_>, answer: &serde_json::Value) -> Vec<i64> {
    let mut found = Vec::new();
    let mut result = answer["result"].clone();
    loop {
        let links = result["external_links"].as_array().unwrap().clone();
        for link in &links {
            let body = download(link, &[]).unwrap().body;
            let raw = if answer["manifest"]["result_compression"] == "LZ4_FRAME" { decompress(&body) } else { body };
            found.extend(ids(&read_stream(&raw)));
        }
        match links.last().unwrap()["next_chunk_index"].as_u64() {
            Some(next) => result = client.chunk(&answer["statement_id"], next).json(),
            None => return found,
        }
    }
}
