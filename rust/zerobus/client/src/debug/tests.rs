use std::fs;
use std::path::Path;

use arrow_array::Int64Array;
use arrow_ipc::reader::StreamReader;

use super::*;
use crate::config::NullListElement;
use crate::convert::RequestLimits;

/// A folder that is there as long as the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("zerobus-debug-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn names(&self, format: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.join("zerobus").join(format)).into_iter().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    fn rows(&self) -> Vec<usize> {
        let rows = |name: &String| {
            let file = fs::File::open(self.0.join("zerobus/arrow").join(name)).unwrap();
            StreamReader::try_new(file, None).unwrap().map(|batch| batch.unwrap().num_rows()).sum()
        };
        self.names("arrow").iter().map(rows).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn config(folder: &Path, table: &str) -> WrapperConfiguration {
    WrapperConfiguration::new("https://h", table).with_debug_output(folder).with_debug_max_files_retained(None)
}

fn batch(rows: i64) -> RecordBatch {
    RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from_iter_values(0..rows)) as _)]).unwrap()
}

fn keep(files: &DebugFiles, batch: &RecordBatch) {
    files.batch(batch);
    let converter = Arc::new(Converter::new(&batch.schema(), None, NullListElement::Error).unwrap());
    let limits = RequestLimits { record_bytes: 1000, request_bytes: 1 << 20, request_rows: 10_000 };
    for rows in converter.requests(batch.clone(), limits).unwrap() {
        files.records(&rows, &converter);
    }
}

#[test]
fn f38_rows_of_one_second_are_all_there() {
    let folder = Folder::new("rows");
    let files = DebugFiles::new(&config(&folder.0, "c.s.t")).unwrap();
    for _ in 0..14 {
        keep(&files, &batch(400));
    }
    keep(&files, &batch(3000));
    files.finish();
    assert_eq!(folder.rows().iter().sum::<usize>(), 14 * 400 + 3000);
    assert_eq!(folder.rows().len(), 8, "two batches a file, and one of its own");
    for (format, extension) in [("arrow", ".arrows"), ("proto", ".proto")] {
        let names = folder.names(format);
        assert_eq!(names.len(), 8);
        assert!(names.iter().all(|name| name.starts_with("c_s_t_2") && name.ends_with(extension)), "{names:?}");
    }
    keep(&files, &batch(1));
    assert_eq!(folder.names("arrow").len(), 8, "nothing comes after the end");
}

#[test]
fn f38_a_file_is_closed_by_size_and_the_oldest_go() {
    let folder = Folder::new("size");
    let options = WrapperConfiguration { debug_rotation_rows: 0, ..config(&folder.0, "t") };
    let options = options.with_debug_max_file_size(Some(2000)).with_debug_max_files_retained(Some(2));
    let files = DebugFiles::new(&options).unwrap();
    for rows in [201, 202, 203, 204, 205] {
        keep(&files, &batch(rows));
    }
    // The last one is being written and does not count.
    assert_eq!(folder.names("arrow").len(), 3);
    assert!(folder.names("arrow")[2].ends_with(".arrows.tmp"));
    files.finish();
    assert_eq!(folder.rows(), [204, 205]);
}

#[test]
fn f39_what_was_flushed_can_be_read() {
    let folder = Folder::new("flush");
    let files = DebugFiles::new(&config(&folder.0, "t")).unwrap();
    keep(&files, &batch(10));
    files.flush();
    assert_eq!(folder.rows(), [10]);
    let name = folder.names("proto").remove(0);
    let bytes = fs::read(folder.0.join("zerobus/proto").join(&name)).unwrap();
    let (mut rest, mut records) = (&bytes[..], 0);
    while !rest.is_empty() {
        let length = prost::decode_length_delimiter(&mut rest).unwrap();
        rest = &rest[length..];
        records += 1;
    }
    assert_eq!(records, 10);
}

#[tokio::test]
async fn f39_a_timer_flushes() {
    let folder = Folder::new("timer");
    let files = DebugFiles::new(&config(&folder.0, "t").with_debug_flush_interval_secs(1)).unwrap();
    keep(&files, &batch(10));
    let path = folder.0.join("zerobus/arrow").join(&folder.names("arrow")[0]);
    let mut waited = Duration::ZERO;
    while fs::metadata(&path).unwrap().len() == 0 {
        assert!(waited < Duration::from_secs(60), "nothing was flushed");
        tokio::time::sleep(Duration::from_millis(50)).await;
        waited += Duration::from_millis(50);
    }
    assert_eq!(folder.rows(), [10]);
}

#[test]
fn f40_a_file_that_cannot_be_deleted_costs_no_other() {
    let folder = Folder::new("stuck");
    // No file at all, and so nothing that can be removed as one.
    let stuck = |format, extension| format!("zerobus/{format}/t_20200101_101010_000001_1.{extension}");
    for (format, extension) in [("arrow", "arrows"), ("proto", "proto")] {
        fs::create_dir_all(folder.0.join(stuck(format, extension))).unwrap();
    }
    let options = WrapperConfiguration { debug_rotation_rows: 1, ..config(&folder.0, "t") };
    let files = DebugFiles::new(&options.with_debug_max_files_retained(Some(2))).unwrap();
    for rows in 1..=5 {
        keep(&files, &batch(rows));
    }
    files.finish();
    for (format, extension) in [("arrow", "arrows"), ("proto", "proto")] {
        assert_eq!(folder.names(format).len(), 3, "{:?}", folder.names(format));
        fs::remove_dir(folder.0.join(stuck(format, extension))).unwrap();
    }
    assert_eq!(folder.rows(), [4, 5]);
    let files = files.files.as_ref().unwrap();
    let warned = |flag: &AtomicBool| flag.load(Ordering::SeqCst);
    assert_eq!((warned(&files.has_warned), warned(&files.has_warned_of_old)), (false, true));
}

#[test]
fn f40_retention_leaves_other_tables_alone() {
    let folder = Folder::new("retention");
    for table in ["t_other", "t_2024", "t", "t_20240101_101010_000001"] {
        let options = WrapperConfiguration { debug_rotation_rows: 1, ..config(&folder.0, table) };
        let files = DebugFiles::new(&options.with_debug_max_files_retained(Some(1))).unwrap();
        for _ in 0..3 {
            keep(&files, &batch(1));
        }
        files.finish();
    }
    for format in ["arrow", "proto"] {
        assert_eq!(folder.names(format).len(), 4, "{:?}", folder.names(format));
    }
}

#[test]
fn f38_names_that_collide_are_kept_apart() {
    let folder = Folder::new("collide");
    for table in ["a.b_c", "a_b.c", "a.b_c"] {
        let files = DebugFiles::new(&config(&folder.0, table)).unwrap();
        keep(&files, &batch(1));
        files.finish();
    }
    let names = folder.names("arrow");
    let plain = names.iter().filter(|name| name.starts_with("a_b_c_2")).count();
    assert_eq!((names.len(), plain), (3, 2), "{names:?}");
    let long = "x".repeat(400);
    let files = DebugFiles::new(&config(&folder.0, &long)).unwrap();
    keep(&files, &batch(1));
    files.finish();
    assert_eq!(folder.names("arrow").len(), 4);
}

#[test]
fn f39_another_schema_has_a_file_and_a_descriptor_of_its_own() {
    let folder = Folder::new("schema");
    let files = DebugFiles::new(&config(&folder.0, "t")).unwrap();
    let other = RecordBatch::try_from_iter([("other", Arc::new(Int64Array::from(vec![1])) as _)]).unwrap();
    keep(&files, &batch(1));
    keep(&files, &other);
    keep(&files, &batch(1));
    files.finish();
    assert_eq!(folder.names("arrow").len(), 3);
    let expected = ["t.1.fds", "t.1.pb", "t.fds", "t.pb", "t.table"];
    assert_eq!(folder.names("descriptors"), expected);
    assert_eq!(folder.names("proto").iter().filter(|name| name.ends_with(".1.proto")).count(), 1);
}

#[test]
fn f42_a_folder_that_cannot_be_written_fails_nothing() {
    let folder = Folder::new("full");
    fs::write(&folder.0, "a file").unwrap();
    let files = DebugFiles::new(&config(&folder.0, "t")).unwrap();
    keep(&files, &batch(1));
    keep(&files, &batch(1));
    files.flush();
    files.finish();
    assert!(files.files.as_ref().unwrap().has_warned.load(Ordering::SeqCst));
    fs::remove_file(&folder.0).unwrap();
}
