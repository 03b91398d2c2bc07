//! Files with what was sent, for whoever looks for a fault.
//!
//! ```text
//! <debug_output_dir>/zerobus/arrow/<name>_YYYYMMDD_HHMMSS_micros_<count>.arrows       Arrow IPC streams
//! <debug_output_dir>/zerobus/proto/<name>_YYYYMMDD_HHMMSS_micros_<count>.proto        records, each behind its length
//! <debug_output_dir>/zerobus/descriptors/<name>.pb, <name>.fds                        DescriptorProto, FileDescriptorSet
//! ```
//!
//! The file that is being written ends in `.tmp`. Further descriptors of a table are `<name>.1.pb` and so on, and records of
//! them end in `.1.proto`.

mod descriptors;
mod series;

use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tracing::warn;

use self::series::{Counted, Limits, Series};
use crate::config::WrapperConfiguration;
use crate::convert::{Converter, EncodedRows};
use crate::error::ZerobusError;
use crate::extent::slice_bytes;

/// The debug files of one wrapper; shared by all its clones. Whatever goes wrong with them is logged and fails no send.
///
/// Everything here but `new` waits for the disk and is called on threads that may.
#[derive(Debug)]
pub(crate) struct DebugFiles {
    files: Option<Arc<Files>>,
    timer: Option<AbortHandle>,
}

#[derive(Debug)]
struct Files {
    table: String,
    root: PathBuf,
    limits: Limits,
    newlines: bool,
    /// What the names of files begin with, once the disk was asked for it.
    name: Mutex<Option<Arc<str>>>,
    arrow: Option<Mutex<Batches>>,
    proto: Option<Mutex<Records>>,
    has_warned: AtomicBool,
    has_warned_of_old: AtomicBool,
    is_finished: AtomicBool,
}

/// The Arrow file that is being written.
#[derive(Default)]
struct Batches(Option<(StreamWriter<Counted>, SchemaRef)>);

/// The file of records that is being written.
#[derive(Debug, Default)]
struct Records(Option<(Counted, Bytes)>);

impl fmt::Debug for Batches {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Batches").field(&self.0.as_ref().map(|(writer, _)| writer.get_ref())).finish()
    }
}

impl DebugFiles {
    #[expect(clippy::unnecessary_wraps, reason = "what it checks may come to fail")]
    pub(crate) fn new(config: &WrapperConfiguration) -> Result<Self, ZerobusError> {
        let (Some(directory), true) = (&config.debug_output_dir, config.keeps_arrow() || config.keeps_protobuf())
        else {
            return Ok(Self { files: None, timer: None });
        };
        let files = Arc::new(Files {
            table: config.table_name.clone(),
            root: directory.join("zerobus"),
            limits: Limits {
                rows: config.debug_rotation_rows,
                bytes: config.debug_max_file_size,
                retained: config.debug_max_files_retained,
            },
            newlines: config.debug_protobuf_newlines,
            name: Mutex::default(),
            arrow: config.keeps_arrow().then(Mutex::default),
            proto: config.keeps_protobuf().then(Mutex::default),
            has_warned: AtomicBool::new(false),
            has_warned_of_old: AtomicBool::new(false),
            is_finished: AtomicBool::new(false),
        });
        let interval = Duration::from_secs(config.debug_flush_interval_secs.max(1));
        let weak = Arc::downgrade(&files);
        let flush_now_and_then = async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(files) = weak.upgrade() else { return };
                // Whether it panicked, the next one will tell.
                drop(tokio::task::spawn_blocking(move || files.flush()).await);
            }
        };
        let timer = Handle::try_current().ok().map(|runtime| runtime.spawn(flush_now_and_then).abort_handle());
        Ok(Self { files: Some(files), timer })
    }

    /// Tells whether anything is kept at all, and so whether a batch must come here.
    pub(crate) fn are_on(&self) -> bool {
        self.files.is_some()
    }

    /// Keeps a batch as it was given, before its conversion.
    pub(crate) fn batch(&self, batch: &RecordBatch) {
        if let Some(files) = &self.files
            && let Some(arrow) = &files.arrow
            && batch.num_rows() > 0
        {
            files.guarded(|| files.write_batch(&mut locked(arrow), batch));
        }
    }

    /// Keeps the records of one request, before they are sent.
    pub(crate) fn records(&self, rows: &EncodedRows, converter: &Converter) {
        if let Some(files) = &self.files
            && let Some(proto) = &files.proto
            && !rows.is_empty()
        {
            files.guarded(|| files.write_records(&mut locked(proto), rows, converter));
        }
    }

    /// Brings what there is to the disk.
    pub(crate) fn flush(&self) {
        if let Some(files) = &self.files {
            files.flush();
        }
    }

    /// Ends the files, so that each is whole; nothing comes after.
    pub(crate) fn finish(&self) {
        if let Some(timer) = &self.timer {
            timer.abort();
        }
        if let Some(files) = &self.files {
            files.finish();
        }
    }
}

impl Drop for DebugFiles {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Files {
    /// Does `write`, whose failure is logged: the first one of the wrapper, for the others have the same cause mostly.
    fn guarded(&self, write: impl FnOnce() -> io::Result<()>) {
        if self.is_finished.load(Ordering::SeqCst) {
            return;
        }
        self.logged(write);
    }

    fn logged(&self, write: impl FnOnce() -> io::Result<()>) {
        let done = catch_unwind(AssertUnwindSafe(write));
        let failure = match done {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => "writing it panicked".to_owned(),
        };
        if !self.has_warned.swap(true, Ordering::SeqCst) {
            let (table, folder) = (&self.table, self.root.display());
            warn!(%table, %folder, cause = %failure, "a debug file could not be written; rows are sent all the same");
        }
    }

    fn flush(&self) {
        if let Some(arrow) = &self.arrow {
            self.guarded(|| {
                locked(arrow).0.as_mut().map_or(Ok(()), |(writer, _)| writer.flush().map_err(io::Error::other))
            });
        }
        if let Some(proto) = &self.proto {
            self.guarded(|| locked(proto).0.as_mut().map_or(Ok(()), |(writer, _)| writer.flush()));
        }
    }

    fn finish(&self) {
        if self.is_finished.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(arrow) = &self.arrow {
            self.logged(|| self.close_batches(&mut locked(arrow)));
        }
        if let Some(proto) = &self.proto {
            self.logged(|| self.close_records(&mut locked(proto)));
        }
    }

    fn write_batch(&self, batches: &mut Batches, batch: &RecordBatch) -> io::Result<()> {
        let (rows, bytes) = (batch.num_rows() as u64, slice_bytes(batch) as u64);
        let is_full = batches.0.as_ref().is_some_and(|(writer, schema)| {
            *schema != batch.schema() || self.limits.are_exceeded(writer.get_ref(), rows, bytes)
        });
        if is_full {
            // What comes next has a file of its own, whatever became of the last.
            self.logged(|| self.close_batches(batches));
        }
        let (mut writer, schema) = if let Some(open) = batches.0.take() {
            open
        } else {
            let file = self.series("arrow", "arrows")?.create()?;
            (StreamWriter::try_new(file, &batch.schema()).map_err(io::Error::other)?, batch.schema())
        };
        match writer.write(batch) {
            Ok(()) => {
                writer.get_mut().add_rows(rows);
                batches.0 = Some((writer, schema));
                Ok(())
            }
            Err(failure) => {
                // Half a message ends what can be read: the next batch begins another file.
                writer.get_mut().abandon();
                Err(io::Error::other(failure))
            }
        }
    }

    fn close_batches(&self, batches: &mut Batches) -> io::Result<()> {
        let Some((writer, _)) = batches.0.take() else { return Ok(()) };
        let file = writer.into_inner().map_err(io::Error::other)?;
        self.closed(&self.series("arrow", "arrows")?, file)
    }

    fn write_records(&self, records: &mut Records, rows: &EncodedRows, converter: &Converter) -> io::Result<()> {
        let descriptor = converter.descriptor_bytes();
        let is_full = records.0.as_ref().is_some_and(|(writer, of)| {
            of != descriptor || self.limits.are_exceeded(writer, rows.len() as u64, rows.byte_count() as u64)
        });
        if is_full {
            self.logged(|| self.close_records(records));
        }
        let (mut writer, of) = if let Some(open) = records.0.take() {
            open
        } else {
            let name = self.name()?;
            let extension = match descriptors::write(&self.root.join("descriptors"), &name, converter)? {
                0 => "proto".to_owned(),
                number => format!("{number}.proto"),
            };
            (self.series("proto", &extension)?.create()?, descriptor.clone())
        };
        let written = (0..rows.len()).try_for_each(|index| self.write_record(&mut writer, rows.record(index)));
        if written.is_ok() {
            writer.add_rows(rows.len() as u64);
            records.0 = Some((writer, of));
        } else {
            writer.abandon();
        }
        written
    }

    fn write_record(&self, writer: &mut Counted, record: &[u8]) -> io::Result<()> {
        if self.newlines {
            writer.write_all(record)?;
            return writer.write_all(b"\n");
        }
        let mut length = Vec::with_capacity(10);
        prost::encode_length_delimiter(record.len(), &mut length)?;
        writer.write_all(&length)?;
        writer.write_all(record)
    }

    fn close_records(&self, records: &mut Records) -> io::Result<()> {
        let Some((mut writer, _)) = records.0.take() else { return Ok(()) };
        writer.flush()?;
        self.closed(&self.series("proto", "proto")?, writer)
    }

    /// Gives a file its name, and makes room for it among the others.
    fn closed(&self, series: &Series, file: Counted) -> io::Result<()> {
        let closed = Series::close(file);
        if let Err(failure) = series.delete_oldest()
            && !self.has_warned_of_old.swap(true, Ordering::SeqCst)
        {
            warn!(table = %self.table, cause = %failure, "more debug files stay than should");
        }
        closed
    }

    fn series(&self, format: &str, extension: &str) -> io::Result<Series> {
        let name = self.name()?;
        Ok(Series::new(self.root.join(format), &name, extension, self.limits))
    }

    fn name(&self) -> io::Result<Arc<str>> {
        let mut known = locked(&self.name);
        if let Some(name) = &*known {
            return Ok(Arc::clone(name));
        }
        let name: Arc<str> = descriptors::name_of(&self.root.join("descriptors"), &self.table)?.into();
        *known = Some(Arc::clone(&name));
        Ok(name)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whatever panicked has taken the file out.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
