//! Files of certificates, keys and tokens, which others name, write and replace: read without waiting and within bounds.
//!
//! What is checked is what was opened, so that nothing can take a file's place in between.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

/// Why a file was not read.
#[derive(Debug)]
pub(crate) enum Unread {
    Absent(io::Error),
    Irregular,
    TooLarge,
    /// Not for us alone to read and write.
    Shared(&'static str),
    Failed(io::Error),
}

impl Unread {
    /// Returns what to say of the file, and what the system said; `limit` is the one it was read with.
    pub(crate) fn words(self, limit: u64) -> (String, Option<io::Error>) {
        match self {
            Self::Absent(error) | Self::Failed(error) => ("cannot be read".to_owned(), Some(error)),
            Self::Irregular => ("is not a regular file".to_owned(), None),
            Self::TooLarge => (format!("is larger than {} MiB", limit >> 20), None),
            Self::Shared(why) => (why.to_owned(), None),
        }
    }
}

/// Reads a regular file of `limit` bytes at most.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, Unread> {
    let (file, metadata) = open(OpenOptions::new().read(true), path, Links::Followed)?;
    content(file, &metadata, limit)
}

/// The same of a file that is ours and that nobody else may read or write.
pub(crate) fn read_private(path: &Path, limit: u64, links: Links) -> Result<Zeroizing<Vec<u8>>, Unread> {
    let (file, metadata) = open(OpenOptions::new().read(true), path, links)?;
    if !is_ours(&metadata) {
        return Err(Unread::Shared("belongs to another user"));
    }
    if is_open_to_others(&metadata) {
        return Err(Unread::Shared("may be read or written by other users (see `chmod 600`)"));
    }
    content(file, &metadata, limit)
}

/// What becomes of a path whose last part is a symbolic link.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Links {
    Followed,
    Refused,
}

/// Opens a regular file; of a pipe, nobody at the other end is waited for.
pub(crate) fn open(options: &mut OpenOptions, path: &Path, links: Links) -> Result<(File, Metadata), Unread> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Unread::Absent(error),
        _ if is_link(&error) => Unread::Irregular,
        _ => Unread::Failed(error),
    };
    let file = without_waiting(options, links).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(Unread::Failed)?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(Unread::Irregular) }
}

fn content(file: File, metadata: &Metadata, limit: u64) -> Result<Zeroizing<Vec<u8>>, Unread> {
    if metadata.len() > limit {
        return Err(Unread::TooLarge);
    }
    // With room for all, so that no buffer that grows leaves a copy behind.
    let mut content = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.take(limit + 1).read_to_end(&mut content).map_err(Unread::Failed)?;
    if content.len() as u64 > limit { Err(Unread::TooLarge) } else { Ok(content) }
}

#[cfg(unix)]
fn without_waiting(options: &mut OpenOptions, links: Links) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;

    let links = if links == Links::Refused { libc::O_NOFOLLOW } else { 0 };
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | links)
}

#[cfg(not(unix))]
fn without_waiting(options: &mut OpenOptions, _: Links) -> &mut OpenOptions {
    options
}

#[cfg(unix)]
fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ELOOP)
}

#[cfg(not(unix))]
fn is_link(_: &io::Error) -> bool {
    false
}

/// Tells whether a file or folder belongs to the user that this process works for.
#[cfg(unix)]
pub(crate) fn is_ours(metadata: &Metadata) -> bool {
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::MetadataExt;

    // A new pipe belongs to whoever makes it; the standard library has no other word on who we are.
    let own = io::pipe().and_then(|(reader, _)| File::from(OwnedFd::from(reader)).metadata());
    own.is_ok_and(|own| own.uid() == metadata.uid())
}

#[cfg(not(unix))]
pub(crate) fn is_ours(_: &Metadata) -> bool {
    true
}

#[cfg(unix)]
fn is_open_to_others(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;

    metadata.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn is_open_to_others(_: &Metadata) -> bool {
    false
}

/// Tells whether users other than the owner may write to a file or folder.
#[cfg(unix)]
pub(crate) fn is_writable_by_others(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;

    metadata.permissions().mode() & 0o022 != 0
}

#[cfg(not(unix))]
pub(crate) fn is_writable_by_others(_: &Metadata) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::process::Command;

    use super::*;

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let folder = std::env::temp_dir().join(format!("seakernel-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name);
        fs::write(path("file"), "content").unwrap();
        fs::write(path("empty"), "").unwrap();
        symlink(path("file"), path("link")).unwrap();
        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        assert_eq!(read(&path("file"), 7).unwrap().as_slice(), b"content");
        assert_eq!(read(&path("link"), 7).unwrap().as_slice(), b"content");
        assert!(read(&path("empty"), 0).unwrap().is_empty());
        assert!(matches!(read(&path("file"), 6), Err(Unread::TooLarge)));
        assert!(matches!(read(&path("nothing"), 6), Err(Unread::Absent(_))));
        for irregular in [path("pipe"), "/dev/zero".into(), "/dev/null".into(), folder.clone()] {
            assert!(matches!(read(&irregular, 7), Err(Unread::Irregular)), "{}", irregular.display());
        }
        // Says 0 of its size.
        assert!(
            matches!(read(Path::new("/proc/self/maps"), 7), Err(Unread::TooLarge)) || cfg!(not(target_os = "linux"))
        );

        assert!(matches!(read_private(&path("file"), 7, Links::Followed), Err(Unread::Shared(_))));
        fs::set_permissions(path("file"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read_private(&path("link"), 7, Links::Followed).unwrap().as_slice(), b"content");
        assert!(matches!(read_private(&path("link"), 7, Links::Refused), Err(Unread::Irregular)));
        assert_eq!(read_private(&path("file"), 7, Links::Refused).unwrap().as_slice(), b"content");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn files_of_others_are_told_from_ours() {
        let file = std::env::temp_dir().join(format!("seakernel-owner-{}", std::process::id()));
        fs::write(&file, "content").unwrap();
        assert!(is_ours(&file.metadata().unwrap()));
        // Only root may give files away, and then those of the system are root's own.
        let of_another = match chown(&file, Some(4242), None) {
            Ok(()) => file.as_path(),
            Err(_) => Path::new("/etc/passwd"),
        };
        assert!(!is_ours(&of_another.metadata().unwrap()));
        fs::remove_file(file).unwrap();
    }
}
