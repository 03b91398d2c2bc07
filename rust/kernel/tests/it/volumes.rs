//! Files of volumes: uploads, downloads, deletions.

use std::io::{self, Cursor, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use seakernel::{DownloadSink, ErrorKind, Result, Session, VolumeAction, VolumeOperation};
use seakernel_local::{
    CannedEngine, Fault, FaultRule, LocalServer, Operation, RequestRecord, ServerOptions, Switches,
    VolumeAction as Asked, VolumeTransfer,
};

use crate::canary;
use crate::warehouse::Warehouse;

const PUT: &str = "PUT '__input_stream__' INTO '/Volumes/main/default/files/a b' OVERWRITE";
const GET: &str = "GET '/Volumes/main/default/files/a b' TO 'local'";
const REMOVE: &str = "REMOVE '/Volumes/main/default/files/a b'";
const SELECT: &str = "SELECT id, name FROM few";

/// A warehouse with one file of a volume, in a folder of its own.
struct Volume {
    warehouse: Warehouse,
    folder: PathBuf,
}

impl Volume {
    fn start() -> Self {
        canary::watch();
        let unique = format!("seakernel-volumes-{}-{:?}", std::process::id(), std::thread::current().id());
        let folder = std::env::temp_dir().join(unique.replace(['(', ')'], "-"));
        std::fs::create_dir_all(&folder).unwrap();
        let asked = |action, local_file: Option<&str>| VolumeTransfer {
            action,
            path: "/Volumes/main/default/files/a b".to_owned(),
            local_file: local_file.map(str::to_owned),
        };
        let engine = CannedEngine::new()
            .transfer(PUT, asked(Asked::Put, Some("__input_stream__")))
            .transfer(GET, asked(Asked::Get, Some("local")))
            .transfer(REMOVE, asked(Asked::Remove, None))
            .table(SELECT, [("id", "BIGINT"), ("name", "STRING")], vec![crate::warehouse::rows(2)]);
        let options = ServerOptions { volume_folder: Some(folder.clone()), ..ServerOptions::default() };
        let engine = Arc::new(engine);
        let server = LocalServer::start(options, Arc::<CannedEngine>::clone(&engine)).unwrap();
        Self { warehouse: Warehouse { server, engine }, folder }
    }

    fn server(&self) -> &LocalServer {
        &self.warehouse.server
    }

    async fn ask(&self, sql: &str) -> (Session, Result<VolumeOperation>) {
        let session = self.warehouse.session().await;
        let asked = VolumeOperation::ask(&session, sql).await;
        canary::look_at(&asked);
        (session, asked)
    }

    async fn put(&self, content: &[u8]) -> Result<u64> {
        let (_session, asked) = self.ask(PUT).await;
        asked?.put(&mut Cursor::new(content), content.len() as u64).await.inspect_err(canary::look_at)
    }

    async fn get(&self) -> Result<Vec<u8>> {
        let (_session, asked) = self.ask(GET).await;
        let mut sink = Vec::new();
        let length = asked?.get(&mut sink).await.inspect_err(canary::look_at)?;
        assert_eq!(length, sink.len() as u64);
        Ok(sink)
    }

    fn stored(&self) -> Option<Vec<u8>> {
        std::fs::read(self.folder.join("main/default/files/a b")).ok()
    }

    fn requests(&self, operation: Operation) -> Vec<RequestRecord> {
        let is_one = |request: &RequestRecord| request.operation == Some(operation);
        self.server().requests().into_iter().filter(is_one).collect()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes as u32).map(|place| (place.wrapping_mul(0x9E37_79B9) >> 24) as u8).collect()
}

#[tokio::test]
async fn files_go_up_and_come_down_whole() {
    let volume = Volume::start();
    for bytes in [0, 1, (256 << 10) - 1, 256 << 10, 5_000_001] {
        let content = content(bytes);
        assert_eq!(volume.put(&content).await.unwrap(), bytes as u64);
        assert_eq!(volume.stored().unwrap(), content);
        assert_eq!(volume.get().await.unwrap(), content);
    }
    for request in [Operation::VolumePut, Operation::VolumeGet].into_iter().flat_map(|one| volume.requests(one)) {
        assert!(!request.authorization && request.headers.contains(&"x-ms-blob-type".to_owned()), "{request:?}");
        assert!(!request.headers.contains(&"transfer-encoding".to_owned()), "{request:?}");
    }
    let (_session, asked) = volume.ask(REMOVE).await;
    let mut asked = asked.unwrap();
    assert_eq!((asked.action(), asked.local_file()), (VolumeAction::Remove, None));
    asked.remove().await.unwrap();
    assert_eq!(volume.stored(), None);
    let error = volume.get().await.unwrap_err();
    assert_eq!((error.kind(), error.http_status(), error.attempts()), (ErrorKind::NotFound, Some(404), 1));
}

#[tokio::test]
async fn a_broken_upload_is_repeated_from_the_first_byte_of_the_source() {
    let volume = Volume::start();
    let content = content(3_000_000);
    let rules = vec![
        FaultRule::new(Operation::VolumePut, Fault::Truncate { bytes: 1_000_000 }),
        FaultRule::new(Operation::VolumePut, Fault::DropBeforeResponse),
    ];
    volume.server().set_faults(rules);
    let (_session, asked) = volume.ask(PUT).await;
    let mut source = Cursor::new(content.clone());
    // What comes before where the source stands is not for the store.
    source.set_position(1000);
    assert_eq!(asked.unwrap().put(&mut source, 2_000_000).await.unwrap(), 2_000_000);
    assert_eq!(volume.stored().unwrap(), &content[1000..2_001_000]);
    assert_eq!(volume.requests(Operation::VolumePut).len(), 3);
    assert_eq!(volume.requests(Operation::Execute).len(), 1);
}

/// Counts how often it was started again.
#[derive(Default)]
struct Sink {
    bytes: Vec<u8>,
    restarts: u32,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DownloadSink for Sink {
    fn restart(&mut self) -> io::Result<()> {
        self.bytes.clear();
        self.restarts += 1;
        Ok(())
    }
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_stopped_unless_the_store_cannot() {
    let content = content(3_000_000);
    for (ignore_range, restarts) in [(false, 0), (true, 1)] {
        let volume = Volume::start();
        volume.put(&content).await.unwrap();
        volume.server().set_switches(Switches { ignore_range, ..Switches::default() });
        volume.server().set_faults(vec![FaultRule::new(Operation::VolumeGet, Fault::Truncate { bytes: 1_000_000 })]);
        let (_session, asked) = volume.ask(GET).await;
        let mut asked = asked.unwrap();
        let (mut sink, progress) = (Sink::default(), asked.progress());
        assert_eq!(asked.get(&mut sink).await.unwrap(), 3_000_000);
        assert_eq!(sink.bytes, content);
        assert_eq!(sink.restarts, restarts);
        assert_eq!((progress.done(), progress.total()), (3_000_000, Some(3_000_000)));
        let range = volume.requests(Operation::VolumeGet).pop().unwrap().range;
        assert_eq!(range.as_deref(), Some("bytes=1000000-"));
    }
}

#[tokio::test]
async fn an_expired_link_is_renewed_by_the_statement() {
    let volume = Volume::start();
    volume.server().set_faults(vec![
        FaultRule::new(Operation::VolumePut, Fault::Expire),
        FaultRule::new(Operation::VolumeGet, Fault::Truncate { bytes: 1_000_000 }),
        FaultRule::new(Operation::VolumeGet, Fault::Expire),
        FaultRule::new(Operation::VolumeRemove, Fault::Expire),
    ]);
    let content = content(2_000_000);
    volume.put(&content).await.unwrap();
    assert_eq!(volume.get().await.unwrap(), content);
    let (_session, asked) = volume.ask(REMOVE).await;
    asked.unwrap().remove().await.unwrap();
    assert_eq!(volume.requests(Operation::Execute).len(), 6);
    // A link that is refused although it is new ends it.
    volume.server().set_faults(vec![FaultRule::new(Operation::VolumePut, Fault::Expire).always()]);
    let error = volume.put(&content).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::LinkExpired, false));
    assert!(error.to_string().contains("/warehouse-volumes/main/default/files/a%20b"), "{error}");
}

#[tokio::test]
async fn a_dropped_transfer_ends_and_stores_nothing() {
    let volume = Volume::start();
    let slow = Fault::Slow { bytes_per_second: 5_000_000.try_into().unwrap() };
    volume.server().set_faults(vec![FaultRule::new(Operation::VolumePut, slow)]);
    let content = content(30_000_000);
    let (session, asked) = volume.ask(PUT).await;
    let (mut asked, mut source) = (asked.unwrap(), Cursor::new(content));
    let progress = asked.progress();
    let upload = asked.put(&mut source, 30_000_000);
    tokio::time::timeout(Duration::from_millis(300), upload).await.unwrap_err();
    assert!(progress.done() > 0 && progress.done() < 30_000_000, "{}", progress.done());
    session.close().await.unwrap();
    assert!(volume.warehouse.eventually(|warehouse| warehouse.server.counters().open_connections <= 1).await);
    assert_eq!(volume.stored(), None);
}

#[tokio::test]
async fn what_asks_for_no_transfer_or_for_another_is_refused() {
    let volume = Volume::start();
    let (_session, asked) = volume.ask(SELECT).await;
    let error = asked.unwrap_err();
    assert_eq!((error.kind(), error.statement_id().is_some()), (ErrorKind::InvalidArgument, true));
    let (_session, asked) = volume.ask(GET).await;
    let error = asked.unwrap().remove().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    for rows in [0, 2] {
        volume.server().set_switches(Switches { volume_rows: rows, ..Switches::default() });
        let (_session, asked) = volume.ask(GET).await;
        assert_eq!(asked.unwrap_err().kind(), ErrorKind::Protocol, "{rows}");
    }
    assert!(volume.requests(Operation::VolumeGet).is_empty() && volume.requests(Operation::VolumeRemove).is_empty());
}
