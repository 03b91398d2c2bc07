//! Bodies of every type and framing that servers send: they decode to what was written, and the fuzzer starts from them.
//!
//! With `FUZZ_CORPUS` set to a folder, the bodies are also written there.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::types::Int8Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, DurationMicrosecondArray,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, IntervalYearMonthArray, ListArray,
    MapArray, NullArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Fields};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use seakernel::decode::{ipc_stream, lz4_frames};

const LIMIT: usize = 64 << 20;
const DEPTH: usize = 8;

/// Three values, the second of them null, of every type a warehouse has.
fn columns() -> Vec<(&'static str, ArrayRef)> {
    let nulls = || Some(NullBuffer::from(vec![true, false, true]));
    let offsets = || OffsetBuffer::new(vec![0, 2, 2, 3].into());
    let texts = || Arc::new(StringArray::from(vec![Some("a"), None, Some("\u{20ac} uro")])) as ArrayRef;
    let entries =
        Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)]);
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["k", "l", "m"]));
    let entries = StructArray::new(entries, vec![keys, texts()], None);
    let pair = Fields::from(vec![Field::new("a", DataType::Utf8, true), Field::new("b", DataType::Null, true)]);
    let item = Arc::new(Field::new("element", DataType::Utf8, true));
    let entry = Arc::new(Field::new("entries", DataType::Struct(entries.fields().clone()), false));
    let dictionary: DictionaryArray<Int8Type> = [Some("x"), None, Some("y")].into_iter().collect();
    let micros = [Some(1_700_000_000_000_000), None, Some(-1)];
    vec![
        ("boolean", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("tinyint", Arc::new(Int8Array::from(vec![Some(1), None, Some(-128)]))),
        ("smallint", Arc::new(Int16Array::from(vec![Some(1), None, Some(-1)]))),
        ("int", Arc::new(Int32Array::from(vec![Some(1), None, Some(-1)]))),
        ("bigint", Arc::new(Int64Array::from(vec![Some(i64::MAX), None, Some(-1)]))),
        ("float", Arc::new(Float32Array::from(vec![Some(1.5), None, Some(f32::INFINITY)]))),
        ("double", Arc::new(Float64Array::from(vec![Some(1.5), None, Some(-0.0)]))),
        (
            "decimal",
            Arc::new(
                Decimal128Array::from(vec![Some(10_i128.pow(38) - 1), None, Some(-1)])
                    .with_precision_and_scale(38, 10)
                    .unwrap(),
            ),
        ),
        ("string", texts()),
        ("binary", Arc::new(BinaryArray::from(vec![Some(&b"\xff"[..]), None, Some(b"")]))),
        ("date", Arc::new(Date32Array::from(vec![Some(19_000), None, Some(-1)]))),
        ("timestamp", Arc::new(TimestampMicrosecondArray::from(micros.to_vec()).with_timezone("Etc/UTC"))),
        ("timestamp_ntz", Arc::new(TimestampMicrosecondArray::from(micros.to_vec()))),
        ("months", Arc::new(IntervalYearMonthArray::from(vec![Some(14), None, Some(-1)]))),
        ("duration", Arc::new(DurationMicrosecondArray::from(micros.to_vec()))),
        ("void", Arc::new(NullArray::new(3))),
        ("array", Arc::new(ListArray::new(item, offsets(), texts(), nulls()))),
        ("map", Arc::new(MapArray::new(entry, offsets(), entries, nulls(), false))),
        ("struct", Arc::new(StructArray::new(pair, vec![texts(), Arc::new(NullArray::new(3))], nulls()))),
        ("dictionary", Arc::new(dictionary)),
        ("nested", nested(DEPTH)),
    ]
}

/// Arrays in arrays, three rows.
fn nested(depth: usize) -> ArrayRef {
    if depth == 0 {
        return Arc::new(Int32Array::from(vec![Some(7), None, Some(9)]));
    }
    let inner = nested(depth - 1);
    let field = Arc::new(Field::new("element", inner.data_type().clone(), true));
    Arc::new(ListArray::new(field, OffsetBuffer::new(vec![0, 1, 1, 3].into()), inner, None))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

fn frame(content: &[u8], info: FrameInfo) -> Vec<u8> {
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// The framings of one content, by name.
fn framings(content: &[u8]) -> Vec<(String, Vec<u8>)> {
    let usual = || FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max4MB);
    let middle = content.len() / 2;
    let halves = [frame(&content[..middle], usual()), frame(&[], usual()), frame(&content[middle..], usual())].concat();
    let skippable = [&[0x53, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1, 2, 3], frame(content, usual()).as_slice()].concat();
    let mut framings = vec![
        ("plain".to_owned(), content.to_vec()),
        ("usual".to_owned(), frame(content, usual())),
        ("halves and an empty frame".to_owned(), halves),
        ("skippable".to_owned(), skippable),
    ];
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max1MB] {
            let info = FrameInfo::new().block_mode(mode).block_size(size).block_checksums(true).content_checksum(true);
            let info = info.content_size(Some(content.len() as u64));
            framings.push((format!("{mode:?} {size:?} with checksums"), frame(content, info)));
        }
    }
    framings
}

fn seed(name: &str, bytes: &[u8]) {
    if let Some(folder) = std::env::var_os("FUZZ_CORPUS").map(PathBuf::from) {
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name.replace(' ', "_")), bytes).unwrap();
    }
}

fn assert_decodes(name: &str, batches: &[RecordBatch], framings: &[(String, Vec<u8>)]) {
    for (framing, body) in framings {
        let content = if framing == "plain" { body.as_slice().into() } else { lz4_frames(body, LIMIT).unwrap() };
        let decoded = ipc_stream(&content).unwrap();
        assert_eq!(decoded.batches, batches, "{name} {framing}");
        if body.len() <= 64 << 10 {
            seed(&format!("{name} {framing}"), body);
        }
    }
}

#[test]
fn bodies_of_every_type_decode_to_what_was_written() {
    for (name, column) in columns() {
        let whole = batch(vec![(name, column)]);
        let batches = [whole.clone(), whole.slice(1, 2)];
        let content = stream(&batches);
        assert_decodes(name, &batches, &[("plain".to_owned(), content)]);
    }
}

#[test]
fn bodies_of_every_framing_decode_to_what_was_written() {
    let wide = batch(columns());
    let batches = [wide.clone(), wide.slice(0, 1), wide];
    assert_decodes("all", &batches, &framings(&stream(&batches)));
    // Several blocks, the later of which refer to the earlier where they may.
    let numbers: ArrayRef = Arc::new((0..40_000_i64).map(|number| number % 1000).collect::<Int64Array>());
    let long = [batch(vec![("n", numbers)])];
    assert_decodes("long", &long, &framings(&stream(&long)));
}
