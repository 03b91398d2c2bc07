//! Files with keys and tokens, which others replace now and then.

use std::path::Path;

use crate::auth::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::local_file;

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
    let content = local_file::read(path, MAX_BYTES).map_err(|unread| match unread.words(MAX_BYTES) {
        (why, Some(cause)) => invalid(&why).with_source(cause),
        (why, None) => invalid(&why),
    })?;
    let text = std::str::from_utf8(&content).map_err(|_| invalid("is no text"))?.trim();
    if text.is_empty() {
        return Err(invalid("is empty"));
    }
    Ok(Secret::new(text))
}
