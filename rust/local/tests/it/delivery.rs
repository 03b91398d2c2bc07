//! How results travel, by disposition and switch.

use arrow_array::RecordBatch;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use seakernel_local::{CannedEngine, ServerOptions, Switches};
use serde_json::{Value, json};

use crate::client::{Client, download};
use crate::rows::{NUMBERS, decompress, fetch_ids, ids, numbers, read_stream, small_chunks, start};

fn switches(json: &Value) -> Switches {
    Switches::from_json(&json.to_string()).unwrap()
}

fn external() -> Value {
    json!({"disposition": "EXTERNAL_LINKS", "format": "ARROW_STREAM", "result_compression": "LZ4_FRAME"})
}

fn hybrid() -> Value {
    json!({"disposition": "INLINE_OR_EXTERNAL_LINKS", "format": "ARROW_STREAM", "result_compression": "LZ4_FRAME"})
}

#[test]
fn external_links_come_one_at_a_time_and_hybrid_links_all_at_once() {
    let server = start(small_chunks(), numbers(3500));
    let client = Client { server: &server };
    for (more, links) in [(external(), 1), (hybrid(), 4)] {
        let answer = client.execute(NUMBERS, &more).json();
        let result = &answer["result"];
        assert_eq!(result["external_links"].as_array().unwrap().len(), links);
        assert_eq!(result.get("next_chunk_index"), None, "it stands on the links");
        assert_eq!(fetch_ids(&client, &answer), (0..3500).collect::<Vec<i64>>());
        let manifest = &answer["manifest"];
        assert_eq!((&manifest["total_chunk_count"], &manifest["total_row_count"]), (&json!(4), &json!(3500)));
        assert_eq!(manifest["chunks"][3]["row_offset"], 3000);
        let last = client.chunk(&answer["statement_id"], 3).json()["external_links"][0].clone();
        assert_eq!(last.get("next_chunk_index"), None, "left out on the last chunk, never 0 or null");
        assert_eq!(last["row_count"], 500);
    }
}

#[test]
fn byte_counts_of_links_are_compressed_and_of_the_manifest_not() {
    let server = start(small_chunks(), numbers(1000));
    let client = Client { server: &server };
    let answer = client.execute(NUMBERS, &external()).json();
    let link = &answer["result"]["external_links"][0];
    let body = download(link, &[]).unwrap().body;
    assert_eq!(link["byte_count"], body.len());
    assert_eq!(answer["manifest"]["chunks"][0]["byte_count"], decompress(&body).len());
    assert_eq!(answer["manifest"]["total_byte_count"], decompress(&body).len());
    for (kind, expected) in [("uncompressed", Some(decompress(&body).len())), ("absent", None)] {
        server.set_switches(switches(&json!({"byte_count": kind})));
        let link = &client.chunk(&answer["statement_id"], 0).json()["external_links"][0];
        assert_eq!(link.get("byte_count").and_then(Value::as_u64), expected.map(|bytes| bytes as u64));
    }
}

#[test]
fn small_hybrid_results_ride_in_the_answer() {
    let server = start(ServerOptions::default(), numbers(10));
    let client = Client { server: &server };
    let answer = client.execute(NUMBERS, &hybrid()).json();
    let result = &answer["result"];
    let body = BASE64_STANDARD.decode(result["attachment"].as_str().unwrap()).unwrap();
    assert_eq!((&result["row_count"], &result["byte_count"]), (&json!(10), &json!(body.len())));
    assert_eq!(ids(&read_stream(&decompress(&body))), (0..10).collect::<Vec<i64>>());
    assert_eq!(client.chunk(&answer["statement_id"], 0).json(), *result, "chunk 0 is there again");
}

#[test]
fn inline_results_can_come_in_pieces_of_one_stream() {
    let options = ServerOptions { switches: switches(&json!({"inline_chunks": 3})), ..ServerOptions::default() };
    let server = start(options, numbers(10));
    let client = Client { server: &server };
    let answer = client.execute(NUMBERS, &hybrid()).json();
    let mut result = answer["result"].clone();
    let mut raw = Vec::new();
    let mut row_counts = Vec::new();
    loop {
        let body = BASE64_STANDARD.decode(result["attachment"].as_str().unwrap()).unwrap();
        raw.extend(decompress(&body));
        row_counts.push(result["row_count"].as_u64().unwrap());
        match result["next_chunk_index"].as_u64() {
            Some(next) => result = client.chunk(&answer["statement_id"], next).json(),
            None => break,
        }
    }
    assert_eq!(row_counts, [3, 3, 4]);
    assert_eq!(ids(&read_stream(&raw)), (0..10).collect::<Vec<i64>>());
    let json = client.execute(NUMBERS, &json!({})).json();
    assert_eq!(json["result"]["data_array"], json!([["0", "name 0"], ["1", "name 1"], ["2", "name 2"]]));
    assert_eq!(json["result"]["next_chunk_index"], 1);
    let last = client.chunk(&json["statement_id"], 2).json();
    assert_eq!((&last["row_offset"], last["data_array"].as_array().unwrap().len()), (&json!(6), 4));
}

#[test]
fn json_comes_inline_by_default_and_as_files_on_request() {
    let server = start(small_chunks(), numbers(1500));
    let client = Client { server: &server };
    let answer = client.execute(NUMBERS, &json!({})).json();
    assert_eq!(answer["result"]["data_array"].as_array().unwrap().len(), 1500, "INLINE is one chunk");
    assert_eq!(answer["manifest"].get("total_byte_count"), None);
    assert_eq!(answer["manifest"]["chunks"], json!([{"chunk_index": 0, "row_offset": 0, "row_count": 1500}]));
    let answer = client.execute(NUMBERS, &json!({"disposition": "EXTERNAL_LINKS"})).json();
    let body = download(&answer["result"]["external_links"][0], &[]).unwrap();
    assert_eq!(body.json()[999], json!(["999", "name 999"]));
    let answer = client.execute(NUMBERS, &json!({"disposition": "EXTERNAL_LINKS", "format": "CSV"})).json();
    let first = download(&answer["result"]["external_links"][0], &[]).unwrap().text();
    assert!(first.starts_with("id,name\r\n0,name 0\r\n"), "{first}");
    let second = client.chunk(&answer["statement_id"], 1).json();
    assert!(download(&second["external_links"][0], &[]).unwrap().text().starts_with("1000,name 1000\r\n"));
}

#[test]
fn an_inline_result_beyond_the_limit_fails() {
    let options = ServerOptions { inline_limit_bytes: 1000, ..ServerOptions::default() };
    let server = start(options, numbers(5000));
    let client = Client { server: &server };
    let status = client.execute(NUMBERS, &json!({})).json()["status"].clone();
    assert_eq!((&status["state"], &status["error"]["error_code"]), (&json!("FAILED"), &json!("BAD_REQUEST")));
    assert!(status["error"]["message"].as_str().unwrap().contains("EXTERNAL_LINKS"));
}

#[test]
fn limits_cut_the_result_and_say_so() {
    let server = start(small_chunks(), numbers(3500));
    let client = Client { server: &server };
    let limited = |limit: Value| {
        let mut more = external();
        for (key, value) in limit.as_object().unwrap() {
            more[key] = value.clone();
        }
        client.execute(NUMBERS, &more).json()
    };
    for (limit, truncated) in [(1200, true), (3500, false), (9000, false)] {
        let answer = limited(json!({"row_limit": limit}));
        assert_eq!(answer["manifest"]["truncated"], truncated);
        assert_eq!(fetch_ids(&client, &answer), (0..limit.min(3500)).collect::<Vec<i64>>());
    }
    let answer = limited(json!({"byte_limit": 20000}));
    let rows = answer["manifest"]["total_row_count"].as_u64().unwrap();
    assert!(answer["manifest"]["truncated"] == true && (1..3500).contains(&rows), "{rows}");
}

#[test]
fn a_result_without_rows_has_columns_and_no_chunks_unless_switched() {
    let engine = CannedEngine::new().table("SELECT none", [("id", "BIGINT"), ("v", "VARIANT")], Vec::new());
    let server = start(ServerOptions::default(), engine);
    let client = Client { server: &server };
    let answer = client.execute("SELECT none", &hybrid()).json();
    assert_eq!((&answer["result"], &answer["manifest"]["total_chunk_count"]), (&json!({}), &json!(0)));
    assert_eq!(answer["manifest"]["schema"]["columns"][1]["type_name"], "VARIANT");
    server.set_switches(switches(&json!({"empty_result": "schema_only"})));
    let answer = client.execute("SELECT none", &external()).json();
    let body = download(&answer["result"]["external_links"][0], &[]).unwrap().body;
    assert_eq!(read_stream(&decompress(&body)).iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
}

#[test]
fn row_offset_is_checked_when_sent_and_demanded_when_strict() {
    let server = start(small_chunks(), numbers(2500));
    let client = Client { server: &server };
    let answer = client.execute(NUMBERS, &external()).json();
    let chunk = |query: &str| {
        let id = answer["statement_id"].as_str().unwrap();
        client.api("GET", &format!("/api/2.0/sql/statements/{id}/result/chunks/{query}"), &Value::Null).status
    };
    let ask = || ["1", "1?row_offset=1000", "1?row_offset=999", "1?row_offset=x", "3", "x"].map(chunk);
    assert_eq!(ask(), [200, 200, 400, 400, 400, 400]);
    server.set_switches(switches(&json!({"strict_row_offset": true})));
    assert_eq!(ask(), [400, 200, 400, 400, 400, 400]);
    let seen: Vec<Option<i64>> = server.requests().iter().rev().take(6).map(|record| record.row_offset).collect();
    assert_eq!(seen, [None, None, None, Some(999), Some(1000), None]);
}

#[test]
fn the_manifest_lies_on_request() {
    let server = start(small_chunks(), numbers(3500));
    let client = Client { server: &server };
    let answer = client.execute(NUMBERS, &external()).json();
    for (switch, key, expected) in [
        (json!({"total_chunk_count": "absent"}), "total_chunk_count", Value::Null),
        (json!({"total_chunk_count": "zero"}), "total_chunk_count", json!(0)),
        (json!({"total_chunk_count": "too_small"}), "total_chunk_count", json!(3)),
        (json!({"total_row_count": "too_large"}), "total_row_count", json!(3507)),
        (json!({"manifest_chunks": "absent"}), "chunks", Value::Null),
    ] {
        server.set_switches(switches(&switch));
        let manifest = client.poll(&answer["statement_id"])["manifest"].clone();
        assert_eq!(manifest.get(key).cloned().unwrap_or_default(), expected, "{switch}");
    }
    server.set_switches(switches(&json!({"manifest_chunks": "partial"})));
    assert_eq!(client.poll(&answer["statement_id"])["manifest"]["chunks"].as_array().unwrap().len(), 2);
    server.set_switches(switches(&json!({"manifest_chunks": "wrong"})));
    let manifest = client.poll(&answer["statement_id"])["manifest"].clone();
    let chunks = manifest["chunks"].as_array().unwrap().iter();
    let listed: Vec<_> = chunks.map(|chunk| [&chunk["chunk_index"], &chunk["row_count"]].map(Value::as_u64)).collect();
    assert_eq!(listed, [[Some(0), Some(1000)], [Some(1), Some(2000)], [Some(3), Some(500)]]);
    let next = |switch: Value, chunk_index: u64| {
        server.set_switches(switches(&switch));
        let data = client.chunk(&answer["statement_id"], chunk_index).json();
        (data.get("next_chunk_index").cloned(), data["external_links"][0].get("next_chunk_index").cloned())
    };
    assert_eq!(next(json!({"next_chunk_index": "link_and_top"}), 0), (Some(json!(1)), Some(json!(1))));
    assert_eq!(next(json!({"next_chunk_index": "top"}), 0), (Some(json!(1)), None));
    assert_eq!(next(json!({"null_next_chunk_index": true}), 3), (None, Some(Value::Null)));
    server.set_switches(switches(&json!({"external_links_per_response": 3, "next_chunk_index": "top"})));
    assert_eq!(client.chunk(&answer["statement_id"], 0).json()["next_chunk_index"], 3);
}

#[test]
fn a_complete_inline_result_can_close_its_statement() {
    let options = ServerOptions { switches: switches(&json!({"close_with_result": true})), ..ServerOptions::default() };
    let server = start(options, numbers(10));
    let client = Client { server: &server };
    let answer = client.execute(NUMBERS, &hybrid()).json();
    assert_eq!(answer["status"]["state"], "CLOSED");
    assert!(answer["result"]["attachment"].is_string() && answer["manifest"].is_object());
    assert_eq!(client.close(&answer["statement_id"]).status, 404);
}

#[test]
fn the_hybrid_disposition_can_be_missing() {
    let options = ServerOptions { switches: switches(&json!({"hybrid_supported": false})), ..ServerOptions::default() };
    let server = start(options, numbers(10));
    let reply = Client { server: &server }.execute(NUMBERS, &hybrid());
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["message"], "INLINE_OR_EXTERNAL_LINKS is not a supported disposition");
}

#[test]
fn surplus_rows_and_ignored_compression_change_the_bodies() {
    let mut options = small_chunks();
    options.switches = switches(&json!({"surplus_rows": 7, "lz4_ignored": true}));
    let server = start(options, numbers(1000));
    let answer = Client { server: &server }.execute(NUMBERS, &external()).json();
    assert_eq!(answer["manifest"].get("result_compression"), None);
    let link = &answer["result"]["external_links"][0];
    let rows = ids(&read_stream(&download(link, &[]).unwrap().body));
    assert_eq!((link["row_count"].as_u64(), rows.len(), rows[1000]), (Some(1000), 1007, 0));
}

#[test]
fn the_cache_serves_reads_again_until_something_is_written() {
    let options = ServerOptions { switches: switches(&json!({"result_cache": true})), ..ServerOptions::default() };
    let engine = std::sync::Arc::new(numbers(10).without_result("INSERT INTO numbers VALUES (1)"));
    let server = seakernel_local::LocalServer::start(options, std::sync::Arc::clone(&engine) as _).unwrap();
    let client = Client { server: &server };
    let run = |sql: &str, more: &Value| {
        let answer = client.execute(sql, more).json();
        assert_eq!(answer["status"]["state"], "SUCCEEDED", "{answer}");
        engine.statements().len()
    };
    assert_eq!(run(NUMBERS, &hybrid()), 1);
    assert_eq!(run(NUMBERS, &hybrid()), 1);
    assert_eq!(run(NUMBERS, &external()), 2, "another disposition is another body");
    assert_eq!(run(NUMBERS, &json!({"parameters": [{"name": "a", "value": "1"}]})), 3);
    assert_eq!(run("INSERT INTO numbers VALUES (1)", &json!({})), 4);
    assert_eq!(run(NUMBERS, &hybrid()), 5);
}
