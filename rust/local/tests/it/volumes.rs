//! Volumes at the storage origin: links good for one method, ranges, refusals, nothing outside of the folder.

use std::path::{Path, PathBuf};

use seakernel_local::{CannedEngine, LocalServer, ServerOptions, Switches, VolumeAction, VolumeTransfer};
use serde_json::{Value, json};

use crate::client::{Client, Reply, request, split};
use crate::rows::start;

const HEADERS: [(&str, &str); 1] = [("x-ms-blob-type", "BlockBlob")];
const PATH: &str = "/Volumes/main/default/files/a b/%2e%2e+é";

struct Volume {
    server: LocalServer,
    folder: PathBuf,
}

impl Volume {
    fn start(name: &str, volume_bytes: u64) -> Self {
        let folder = std::env::temp_dir().join(format!("seakernel-local-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let transfer = |action, path: &str, local_file: Option<&str>| VolumeTransfer {
            action,
            path: path.to_owned(),
            local_file: local_file.map(str::to_owned),
        };
        let engine = CannedEngine::new()
            .transfer("PUT", transfer(VolumeAction::Put, PATH, Some("in")))
            .transfer("GET", transfer(VolumeAction::Get, PATH, Some("out")))
            .transfer("REMOVE", transfer(VolumeAction::Remove, PATH, None))
            // An engine that does not look at paths.
            .transfer("UP", transfer(VolumeAction::Put, "/Volumes/main/default/files/../../../../up", None))
            .transfer("SHORT", transfer(VolumeAction::Put, "/Volumes/main/default/files", None));
        let options = ServerOptions { volume_folder: Some(folder.clone()), volume_bytes, ..ServerOptions::default() };
        Self { server: start(options, engine), folder }
    }

    fn row(&self, sql: &str) -> Vec<Value> {
        let answer = Client { server: &self.server }.execute(sql, &json!({})).json();
        assert_eq!(answer["manifest"]["is_volume_operation"], json!(true), "{answer}");
        let rows = answer["result"]["data_array"].as_array().unwrap();
        assert_eq!(rows.len(), 1);
        rows[0].as_array().unwrap().clone()
    }

    fn send(&self, sql: &str, method: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let url = self.row(sql)[1].as_str().unwrap().to_owned();
        let (address, target) = split(&url);
        request(address, method, target, headers, body).unwrap()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

#[test]
fn files_are_put_got_and_removed() {
    let volume = Volume::start("whole", 1 << 30);
    let row = volume.row("PUT");
    assert_eq!((&row[0], &row[2], &row[3]), (&json!("PUT"), &json!(r#"{"x-ms-blob-type":"BlockBlob"}"#), &json!("in")));
    assert!(row[1].as_str().unwrap().starts_with(volume.server.storage_address()));
    assert_eq!(volume.row("REMOVE").len(), 3, "no local file");
    assert_eq!(volume.send("PUT", "PUT", &HEADERS, b"0123456789").status, 201);
    assert_eq!(std::fs::read(volume.folder.join("main/default/files/a b/%2e%2e+é")).unwrap(), b"0123456789");
    let whole = volume.send("GET", "GET", &HEADERS, b"");
    assert_eq!((whole.status, whole.body.as_slice()), (200, b"0123456789".as_slice()));
    let etag = whole.header("etag").unwrap().to_owned();
    let part = volume.send("GET", "GET", &[HEADERS[0], ("range", "bytes=4-"), ("if-range", &etag)], b"");
    assert_eq!(
        (part.status, part.body.as_slice(), part.header("content-range")),
        (206, b"456789".as_slice(), Some("bytes 4-9/10"))
    );
    assert_eq!(volume.send("GET", "GET", &[HEADERS[0], ("range", "bytes=10-")], b"").status, 416);
    assert_eq!(volume.send("PUT", "PUT", &HEADERS, b"new").status, 201);
    let changed = volume.send("GET", "GET", &[HEADERS[0], ("range", "bytes=1-"), ("if-range", &etag)], b"");
    assert_eq!((changed.status, changed.body.as_slice()), (200, b"new".as_slice()));
    assert_eq!(volume.send("REMOVE", "DELETE", &HEADERS, b"").status, 204);
    assert_eq!(volume.send("GET", "GET", &HEADERS, b"").status, 404);
    assert_eq!(volume.send("REMOVE", "DELETE", &HEADERS, b"").status, 204, "that cloud does not tell");
    volume.server.set_switches(Switches::from_json(r#"{"cloud": "gcp"}"#).unwrap());
    assert_eq!(volume.send("REMOVE", "DELETE", &HEADERS, b"").status, 404);
}

#[test]
fn links_are_good_for_one_method_and_not_without_their_headers() {
    let volume = Volume::start("methods", 1 << 30);
    for (sql, method) in [("GET", "PUT"), ("PUT", "GET"), ("GET", "DELETE"), ("GET", "HEAD"), ("REMOVE", "PUT")] {
        assert_eq!(volume.send(sql, method, &HEADERS, b"").status, 403, "{sql} {method}");
    }
    let refused = volume.send("PUT", "PUT", &[], b"x");
    assert!(refused.status == 403 && refused.text().contains("x-ms-blob-type"), "{refused:?}");
    let refused = volume.send("PUT", "PUT", &[HEADERS[0], ("authorization", "Bearer x")], b"x");
    assert!(refused.status == 400 && refused.text().contains("Only one auth mechanism allowed"));
    let url = volume.row("GET")[1].as_str().unwrap().replace("files/a%20b", "files/c");
    let (address, target) = split(&url);
    assert_eq!(request(address, "GET", target, &HEADERS, b"").unwrap().status, 403);
    volume.server.set_switches(Switches::from_json(r#"{"link_lifetime_seconds": 0}"#).unwrap());
    let expired = volume.send("PUT", "PUT", &HEADERS, b"x");
    assert!(expired.status == 403 && expired.text().contains("expired"));
    assert!(!volume.folder.join("main").exists());
}

#[test]
fn nothing_is_written_outside_of_the_folder_nor_beyond_its_limit() {
    let volume = Volume::start("limits", 1000);
    for sql in ["UP", "SHORT"] {
        assert_eq!(volume.send(sql, "PUT", &HEADERS, b"x").status, 400, "{sql}");
    }
    assert!(!volume.folder.join("../up").exists() && !Path::new("/up").exists());
    assert_eq!(volume.send("PUT", "PUT", &HEADERS, &[0; 900]).status, 201);
    let full = volume.send("PUT", "PUT", &HEADERS, &[0; 900]);
    assert!(full.status == 400 && full.text().contains("EntityTooLarge"), "{full:?}");
    // What did not fit has left nothing behind.
    assert_eq!(std::fs::read_dir(volume.folder.join(".incoming")).unwrap().count(), 0);
    let chunked = volume.send("PUT", "PUT", &[HEADERS[0], ("transfer-encoding", "chunked")], b"");
    assert_eq!(chunked.status, 501, "as stores answer");
}
