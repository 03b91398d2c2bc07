//! The files of volumes: a folder on disk, and what presigned links do to it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::num::NonZeroU32;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_RANGES, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use tokio::time::sleep;

use crate::answer::Answer;
use crate::engine::VolumeAction;
use crate::faults::Fault;
use crate::store::{self, Refusal};
use crate::switches::{Cloud, Switches};
use crate::warehouse::new_id;

/// What the paths of links to volumes begin with, before the path of the file within `/Volumes`.
pub(crate) const FOLDER: &str = "/warehouse-volumes";
/// Files on their way in; no volume can have that name.
const INCOMING: &str = ".incoming";

/// The folder whose `catalog/schema/volume/...` are the files of `/Volumes/catalog/schema/volume/...`.
#[derive(Debug)]
pub(crate) struct Volumes {
    folder: Option<PathBuf>,
    limit_bytes: u64,
}

/// One request to a file of a volume, its link checked.
#[derive(Debug)]
pub(crate) struct VolumeRequest<'request> {
    pub(crate) head: &'request Parts,
    /// Path within `/Volumes`, or why the link does not open.
    pub(crate) path: Result<String, Refusal>,
    pub(crate) switches: &'request Switches,
    pub(crate) fault: Option<&'request Fault>,
}

impl VolumeAction {
    /// The method that a link is signed for.
    pub(crate) fn method(self) -> Method {
        match self {
            Self::Put => Method::PUT,
            Self::Get => Method::GET,
            Self::Remove => Method::DELETE,
        }
    }
}

impl Volumes {
    pub(crate) fn new(folder: Option<PathBuf>, limit_bytes: u64) -> Self {
        Self { folder, limit_bytes }
    }

    /// The path and query parts of a link to `path`, which lies within `/Volumes/`.
    pub(crate) fn link_path(path: &str) -> String {
        let mut escaped = FOLDER.to_owned();
        for segment in path.trim_start_matches("/Volumes").split('/').filter(|segment| !segment.is_empty()) {
            escaped.push('/');
            for byte in segment.bytes() {
                if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                    escaped.push(char::from(byte));
                } else {
                    // Writing to a text cannot fail.
                    let _ = write!(escaped, "%{byte:02X}");
                }
            }
        }
        escaped
    }

    /// Answers one request; `None` drops the connection, as a fault wanted in the middle of an upload.
    pub(crate) async fn serve(&self, request: VolumeRequest<'_>, body: Incoming) -> Option<Answer> {
        let headers = &request.head.headers;
        if headers.contains_key(AUTHORIZATION) {
            return Some(store::authorization_refused(request.switches.cloud));
        }
        let path = match request.path {
            Ok(path) => path,
            Err(refusal) => return Some(store::refused(refusal, request.switches.cloud)),
        };
        if let Some(answer) = store::missing_header(headers, &request.switches.volume_headers) {
            return Some(answer);
        }
        let Some(file) = self.file(&path) else {
            return Some(Answer::xml(StatusCode::BAD_REQUEST, "InvalidURI", "The path cannot be that of a file."));
        };
        Some(match request.head.method {
            Method::PUT => return self.put(&file, headers, body, request.fault).await,
            Method::DELETE => match fs::remove_file(&file) {
                Ok(()) => Answer::bytes(StatusCode::NO_CONTENT, Bytes::new()),
                // That cloud does not tell.
                Err(error) if error.kind() == io::ErrorKind::NotFound && request.switches.cloud == Cloud::Aws => {
                    Answer::bytes(StatusCode::NO_CONTENT, Bytes::new())
                }
                Err(error) => failed(&error),
            },
            _ => get(&file, headers, request.switches.ignore_range).unwrap_or_else(|error| failed(&error)),
        })
    }

    /// The file on disk, unless the path could lead out of the folder.
    fn file(&self, path: &str) -> Option<PathBuf> {
        let relative = Path::new(path);
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        let deep = relative.components().count() >= 4;
        (plain && deep && !path.contains('\\') && !path.contains('\0')).then_some(())?;
        Some(self.folder.as_ref()?.join(relative))
    }

    /// Takes a body in; the file appears whole or not at all.
    async fn put(&self, file: &Path, headers: &HeaderMap, body: Incoming, fault: Option<&Fault>) -> Option<Answer> {
        if headers.contains_key("transfer-encoding") {
            let text = "A header you provided implies functionality that is not implemented: Transfer-Encoding.";
            return Some(Answer::xml(StatusCode::NOT_IMPLEMENTED, "NotImplemented", text));
        }
        let incoming = self.folder.as_ref()?.join(INCOMING).join(new_id());
        let outcome = self.receive(&incoming, body, fault).await;
        let outcome = match outcome {
            Ok(Received::Whole) => publish(&incoming, file),
            Ok(Received::TooMuch) => {
                drop(fs::remove_file(&incoming));
                let text = "Your proposed upload exceeds the maximum allowed size.";
                return Some(Answer::xml(StatusCode::BAD_REQUEST, "EntityTooLarge", text));
            }
            Ok(Received::Cut) => {
                drop(fs::remove_file(&incoming));
                return None;
            }
            Err(error) => Err(error),
        };
        Some(match outcome {
            Ok(etag) => {
                let mut answer = Answer::bytes(StatusCode::CREATED, Bytes::new());
                answer.insert(ETAG, &etag);
                answer
            }
            Err(error) => {
                drop(fs::remove_file(&incoming));
                failed(&error)
            }
        })
    }

    async fn receive(&self, incoming: &Path, mut body: Incoming, fault: Option<&Fault>) -> io::Result<Received> {
        let folder = self.folder.as_deref().unwrap_or(Path::new(""));
        let mut room = self.limit_bytes.saturating_sub(size_of(folder));
        fs::create_dir_all(folder.join(INCOMING))?;
        let mut file = File::create(incoming)?;
        let mut received = 0_u64;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(io::Error::other)?.into_data() else { continue };
            received += data.len() as u64;
            match fault {
                Some(Fault::Truncate { bytes }) if received >= *bytes => return Ok(Received::Cut),
                Some(Fault::Slow { bytes_per_second }) => sleep(pace(data.len(), *bytes_per_second)).await,
                _ => {}
            }
            let Some(left) = room.checked_sub(data.len() as u64) else { return Ok(Received::TooMuch) };
            room = left;
            file.write_all(&data)?;
        }
        Ok(Received::Whole)
    }
}

/// How an upload ended.
enum Received {
    Whole,
    TooMuch,
    Cut,
}

fn pace(bytes: usize, bytes_per_second: NonZeroU32) -> Duration {
    Duration::from_secs_f64(bytes as f64 / f64::from(bytes_per_second.get()))
}

/// Moves a file that has arrived to its place and returns its entity tag.
fn publish(incoming: &Path, file: &Path) -> io::Result<String> {
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::rename(incoming, file)?;
    entity_tag(&fs::metadata(file)?)
}

fn entity_tag(metadata: &fs::Metadata) -> io::Result<String> {
    let modified = metadata.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(format!("\"{:x}-{:x}\"", metadata.len(), modified.as_nanos()))
}

fn get(file: &Path, headers: &HeaderMap, ignore_range: bool) -> io::Result<Answer> {
    let mut content = File::open(file)?;
    let metadata = content.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let (length, etag) = (metadata.len(), entity_tag(&metadata)?);
    let wanted = if ignore_range { None } else { store::wanted_range(headers, &etag) };
    let mut answer = match store::bounds(length, wanted) {
        None => store::unsatisfiable(length),
        Some((first, end)) => {
            content.seek(SeekFrom::Start(first))?;
            let mut bytes = Vec::new();
            content.take(end - first).read_to_end(&mut bytes)?;
            let status = if wanted.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
            let mut answer = Answer::bytes(status, Bytes::from(bytes));
            if wanted.is_some() {
                answer.insert(CONTENT_RANGE, &format!("bytes {first}-{}/{length}", end - 1));
            }
            answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static("binary/octet-stream"));
            answer
        }
    };
    if !ignore_range {
        answer.headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    answer.insert(ETAG, &etag);
    Ok(answer)
}

fn failed(error: &io::Error) -> Answer {
    match error.kind() {
        io::ErrorKind::NotFound => Answer::xml(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist."),
        _ => Answer::xml(
            StatusCode::CONFLICT,
            "OperationAborted",
            "The path is that of a folder, or leads through a file.",
        ),
    }
}

/// The bytes of all files below a folder.
fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}
