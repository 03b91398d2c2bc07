//! Files with keys and tokens, which others replace now and then.

use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use crate::auth::Secret;
use crate::error::{Error, ErrorKind, Result};

const MAX_BYTES: u64 = 1 << 20;

/// Reads a small file of text; `option` is what named it.
pub(super) async fn read(option: &'static str, path: &Path) -> Result<Secret> {
    let path = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || read_now(option, &path));
    reading.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "a file could not be read")))
}

fn read_now(option: &str, path: &Path) -> Result<Secret> {
    let invalid =
        |why: &str| Error::new(ErrorKind::InvalidArgument, format!("`{option}`: the file `{}` {why}", path.display()));
    let unreadable = |error| invalid("cannot be read").with_source(error);
    // Opening a pipe would wait for whoever writes to it.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(invalid("is not a regular file"));
    }
    let mut text = Zeroizing::new(Vec::new());
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(invalid("is larger than 1 MiB"));
    }
    let text = std::str::from_utf8(&text).map_err(|_| invalid("is no text"))?.trim();
    if text.is_empty() {
        return Err(invalid("is empty"));
    }
    Ok(Secret::new(text))
}
