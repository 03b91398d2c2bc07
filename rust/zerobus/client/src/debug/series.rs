//! Files of one kind and table, one after another: their names, their ends, and which of them stay.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use time::OffsetDateTime;

/// What the file that is being written ends in.
const ACTIVE: &str = ".tmp";
/// Of all files of this process, so that no two that begin in the same microsecond have one name.
static COUNT: AtomicU64 = AtomicU64::new(1);

/// When a file is closed, and how many closed ones stay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// 0 is no limit.
    pub(super) rows: u64,
    pub(super) bytes: Option<u64>,
    pub(super) retained: Option<usize>,
}

impl Limits {
    /// Tells whether a file with something in it is too full for this, too. What alone exceeds a limit gets a file of its own.
    pub(super) fn are_exceeded(&self, file: &Counted, rows: u64, bytes: u64) -> bool {
        let too_many = self.rows > 0 && file.rows.saturating_add(rows) > self.rows;
        let too_large = self.bytes.is_some_and(|limit| file.bytes.saturating_add(bytes) > limit);
        file.rows > 0 && (too_many || too_large)
    }
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Counted {
    file: BufWriter<File>,
    path: PathBuf,
    rows: u64,
    bytes: u64,
}

impl Counted {
    pub(super) fn add_rows(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Leaves what was written, if anything was, to whoever can read it.
    pub(super) fn abandon(&mut self) {
        if self.rows == 0 {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[derive(Debug)]
pub(super) struct Series {
    folder: PathBuf,
    name: String,
    extension: String,
    limits: Limits,
}

impl Series {
    pub(super) fn new(folder: PathBuf, name: &str, extension: &str, limits: Limits) -> Self {
        Self { folder, name: name.to_owned(), extension: extension.to_owned(), limits }
    }

    /// Begins a file. No file of that name was there before.
    pub(super) fn create(&self) -> io::Result<Counted> {
        fs::create_dir_all(&self.folder)?;
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let closed = self.folder.join(format!("{}_{}_{count}.{}", self.name, timestamp(), self.extension));
            let mut path = closed.clone().into_os_string();
            path.push(ACTIVE);
            let path = PathBuf::from(path);
            if closed.exists() {
                continue;
            }
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Counted { file: BufWriter::new(file), path, rows: 0, bytes: 0 }),
                Err(failure) if failure.kind() == io::ErrorKind::AlreadyExists => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Gives a file that is whole its name.
    pub(super) fn close(mut file: Counted) -> io::Result<()> {
        file.flush()?;
        if file.path.extension().is_some_and(|extension| extension == "tmp") {
            fs::rename(&file.path, file.path.with_extension(""))?;
        }
        Ok(())
    }

    /// Deletes the oldest closed files beyond those that stay. One that cannot be deleted keeps no other from it, and is tried
    /// again the next time.
    ///
    /// # Errors
    /// What kept the first of them.
    pub(super) fn delete_oldest(&self) -> io::Result<()> {
        let Some(retained) = self.limits.retained else { return Ok(()) };
        let mut closed = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if let Some(age) = path.file_name().and_then(|name| name.to_str()).and_then(|name| self.age(name)) {
                closed.push((age, path));
            }
        }
        closed.sort_unstable();
        let surplus = closed.len().saturating_sub(retained);
        let mut done = Ok(());
        for (_, path) in closed.iter().take(surplus) {
            let named = |failure| io::Error::other(format!("`{}` cannot be deleted: {failure}", path.display()));
            done = done.and(remove(path).map_err(named));
        }
        done
    }

    /// Where a closed file of this series stands among the others; none for whatever else is in the folder.
    fn age(&self, file_name: &str) -> Option<(String, u64)> {
        let rest = file_name.strip_prefix(&self.name)?.strip_prefix('_')?;
        let (stem, extension) = rest.split_once('.')?;
        let kind = self.extension.rsplit('.').next()?;
        let is_kind = match extension.split_once('.') {
            None => extension == kind,
            Some((number, last)) => last == kind && is_number(number),
        };
        let (time, count) = stem.rsplit_once('_')?;
        let parts: Vec<&str> = time.split('_').collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        let is_time = lengths == [8, 6, 6] && parts.into_iter().all(is_number);
        if !is_kind || !is_time || !is_number(count) {
            return None;
        }
        Some((time.to_owned(), count.parse().ok()?))
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Removes a file that another process may remove as well.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(failure) if failure.kind() != io::ErrorKind::NotFound => Err(failure),
        _ => Ok(()),
    }
}

/// Now, in UTC.
fn timestamp() -> String {
    let now = OffsetDateTime::now_utc();
    let (year, month, day) = now.to_calendar_date();
    let (hour, minute, second, microsecond) = now.to_hms_micro();
    format!("{year:04}{:02}{day:02}_{hour:02}{minute:02}{second:02}_{microsecond:06}", u8::from(month))
}
