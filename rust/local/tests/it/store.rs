//! The storage origin: signed links, ranges, refusals.

use std::time::Duration;

use seakernel_local::{LocalServer, Origin, Switches};
use serde_json::{Value, json};

use crate::client::{Client, download, request, split};
use crate::rows::{NUMBERS, numbers, small_chunks, start};

fn first_link(server: &LocalServer) -> Value {
    let more = json!({"disposition": "EXTERNAL_LINKS", "format": "ARROW_STREAM"});
    Client { server }.execute(NUMBERS, &more).json()["result"]["external_links"][0].clone()
}

#[test]
fn a_link_opens_with_its_bytes_and_nothing_else() {
    let server = start(small_chunks(), numbers(1000));
    let link = first_link(&server);
    let url = link["external_link"].as_str().unwrap().to_owned();
    assert!(url.starts_with(server.storage_address()) && url.contains("%3A") && url.contains("%2B"), "{url}");
    assert_ne!(server.address(), server.storage_address());
    let body = download(&link, &[]).unwrap();
    assert_eq!((body.status, body.header("content-type")), (200, Some("binary/octet-stream")));
    assert_eq!(body.header("content-length"), Some(body.body.len().to_string().as_str()));
    for changed in
        [url.replace("%3A", ":"), url.replace("results_0", "results_1"), url.replacen("Signature=", "Signature=0", 1)]
    {
        let (address, target) = split(&changed);
        let refused = request(address, "GET", target, &[], b"").unwrap();
        assert!(refused.status == 403 && refused.text().contains("<Code>SignatureDoesNotMatch</Code>"), "{changed}");
    }
    let refused = download(&link, &[("authorization", "Bearer x")]).unwrap();
    assert!(refused.status == 400 && refused.text().contains("Only one auth mechanism allowed"));
    let (address, target) = split(&url);
    assert_eq!(request(address, "HEAD", target, &[], b"").unwrap().status, 403);
    assert_eq!(request(address, "PUT", target, &[], b"x").unwrap().status, 405);
}

#[test]
fn ranges_resume_a_body() {
    let server = start(small_chunks(), numbers(1000));
    let link = first_link(&server);
    let whole = download(&link, &[]).unwrap();
    let part = download(&link, &[("range", "bytes=100-199")]).unwrap();
    assert_eq!((part.status, part.body.as_slice()), (206, &whole.body[100..200]));
    assert_eq!(part.header("content-range"), Some(format!("bytes 100-199/{}", whole.body.len()).as_str()));
    let etag = whole.header("etag").unwrap();
    assert_eq!(download(&link, &[("range", "bytes=100-"), ("if-range", etag)]).unwrap().body, whole.body[100..]);
    assert_eq!(download(&link, &[("range", "bytes=100-"), ("if-range", "\"old\"")]).unwrap().status, 200);
    assert_eq!(download(&link, &[("range", "bytes=99999999-")]).unwrap().status, 416);
    server.set_switches(Switches::from_json(r#"{"ignore_range": true}"#).unwrap());
    let ignored = download(&link, &[("range", "bytes=100-199")]).unwrap();
    assert_eq!((ignored.status, ignored.header("accept-ranges")), (200, None));
}

#[test]
fn links_expire_in_the_words_of_each_cloud_and_are_renewed_by_a_chunk_call() {
    for (cloud, status, code) in
        [("aws", 403, "AccessDenied"), ("azure", 403, "AuthenticationFailed"), ("gcp", 400, "ExpiredToken")]
    {
        let mut options = small_chunks();
        options.switches =
            Switches::from_json(&json!({"cloud": cloud, "link_lifetime_seconds": 0.05}).to_string()).unwrap();
        let server = start(options, numbers(10));
        let client = Client { server: &server };
        let more = json!({"disposition": "EXTERNAL_LINKS", "format": "ARROW_STREAM"});
        let answer = client.execute(NUMBERS, &more).json();
        std::thread::sleep(Duration::from_millis(60));
        let refused = download(&answer["result"]["external_links"][0], &[]).unwrap();
        assert!(refused.status == status && refused.text().contains(code), "{cloud}: {refused:?}");
        server.set_switches(Switches::default());
        let renewed = client.chunk(&answer["statement_id"], 0).json();
        assert_eq!(download(&renewed["external_links"][0], &[]).unwrap().status, 200);
    }
}

#[test]
fn links_can_demand_headers() {
    let mut options = small_chunks();
    options.switches = Switches::from_json(r#"{"link_headers": {"x-amz-key": "k1"}}"#).unwrap();
    let server = start(options, numbers(10));
    let link = first_link(&server);
    assert_eq!(link["http_headers"], json!({"x-amz-key": "k1"}));
    assert_eq!(download(&link, &[]).unwrap().status, 403);
    assert_eq!(download(&link, &[("x-amz-key", "other")]).unwrap().status, 403);
    assert_eq!(download(&link, &[("X-Amz-Key", "k1")]).unwrap().status, 200);
}

#[test]
fn a_closed_statement_takes_its_files_along() {
    let server = start(small_chunks(), numbers(10));
    let client = Client { server: &server };
    let more = json!({"disposition": "EXTERNAL_LINKS", "format": "ARROW_STREAM"});
    let answer = client.execute(NUMBERS, &more).json();
    client.close(&answer["statement_id"]);
    let gone = download(&answer["result"]["external_links"][0], &[]).unwrap();
    assert!(gone.status == 404 && gone.text().contains("NoSuchKey"));
    assert_eq!(server.counters().stored_bytes, 0);
}

#[test]
fn the_log_tells_both_origins_apart_and_keeps_no_secret() {
    let server = start(small_chunks(), numbers(10));
    let link = first_link(&server);
    download(&link, &[("user-agent", "tester/1"), ("range", "bytes=0-9")]).unwrap();
    let records = server.requests();
    let [submission, file] = records.as_slice() else { panic!("two requests: {records:?}") };
    assert_eq!((submission.origin, submission.authorization, submission.status), (Origin::Api, true, Some(200)));
    assert_eq!(submission.body.as_ref().unwrap()["disposition"], "EXTERNAL_LINKS");
    assert_eq!(submission.statement_id, file.statement_id);
    assert_eq!(
        (file.origin, file.authorization, file.status, file.bytes),
        (Origin::Storage, false, Some(206), Some(10))
    );
    assert_eq!((file.user_agent.as_deref(), file.range.as_deref()), (Some("tester/1"), Some("bytes=0-9")));
    assert_eq!((file.chunk_index, file.headers.contains(&"user-agent".to_owned())), (Some(0), true));
    let signature = link["external_link"].as_str().unwrap().rsplit_once('=').unwrap().1;
    let text = serde_json::to_string(&records).unwrap();
    assert!(!text.contains(signature) && !text.contains(server.access_token()));
}

#[test]
fn a_slow_store_keeps_its_pace() {
    let server = start(small_chunks(), numbers(1000));
    let link = first_link(&server);
    let whole = download(&link, &[]).unwrap().body;
    let pace = whole.len() as u32 * 4;
    let slow = json!({"store_bytes_per_second": pace, "store_first_byte_ms": 50});
    server.set_switches(Switches::from_json(&slow.to_string()).unwrap());
    let before = std::time::Instant::now();
    assert_eq!(download(&link, &[]).unwrap().body, whole);
    assert!(before.elapsed() >= Duration::from_millis(290), "{:?}", before.elapsed());
}
