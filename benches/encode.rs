//! Batches of about 10 MB as Protobuf requests: narrow, wide, long strings, nested.
#![allow(missing_docs, reason = "criterion's macros write undocumented items")]

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, ListArray, MapArray, RecordBatch,
    StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema};
use criterion::{Criterion, Throughput};
use seakernel_zerobus::{Converter, NullListElement, RequestLimits};

const LIMITS: RequestLimits = RequestLimits { record_bytes: 4_194_285, request_bytes: 4 << 20, request_rows: 10_000 };

/// Numbers that look random.
fn noise(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

fn texts(seed: u64, rows: usize, length: usize) -> StringArray {
    StringArray::from_iter_values(noise(seed).take(rows).map(|value| format!("{value:0length$x}")))
}

fn ids(rows: usize) -> Int64Array {
    Int64Array::from_iter_values(0..rows as i64)
}

fn doubles(seed: u64, rows: usize) -> Float64Array {
    Float64Array::from_iter_values(noise(seed).take(rows).map(|value| value as f64 / 1e9))
}

fn batch(columns: Vec<ArrayRef>) -> Result<RecordBatch, ArrowError> {
    let fields: Fields = columns
        .iter()
        .enumerate()
        .map(|(index, column)| Field::new(format!("c{index}"), column.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// A bigint, a string of 16 bytes and a double.
fn narrow(rows: usize) -> Result<RecordBatch, ArrowError> {
    batch(vec![Arc::new(ids(rows)), Arc::new(texts(1, rows, 16)), Arc::new(doubles(2, rows))])
}

/// 200 columns of seven types, a tenth of the values null.
fn wide(rows: usize) -> Result<RecordBatch, ArrowError> {
    let column = |seed: u64| -> ArrayRef {
        let values = || noise(seed).take(rows).map(|value| (value % 10 > 0).then_some(value));
        match seed % 7 {
            0 => Arc::new(values().map(|value| value.map(|v| v as i64 >> 20)).collect::<Int64Array>()),
            1 => Arc::new(values().map(|value| value.map(|v| v as i32 >> 8)).collect::<Int32Array>()),
            2 => Arc::new(values().map(|value| value.map(|v| v as f64)).collect::<Float64Array>()),
            3 => Arc::new(values().map(|value| value.map(|v| format!("{:x}", v >> 20))).collect::<StringArray>()),
            4 => Arc::new(values().map(|value| value.map(|v| v % 2 == 0)).collect::<BooleanArray>()),
            5 => Arc::new(values().map(|value| value.map(|v| (v % 20_000) as i32)).collect::<Date32Array>()),
            _ => Arc::new(values().map(|value| value.map(|v| (v >> 14) as i64)).collect::<TimestampMicrosecondArray>()),
        }
    };
    batch((0..200).map(column).collect())
}

/// A bigint and a string of 1 kB.
fn strings(rows: usize) -> Result<RecordBatch, ArrowError> {
    batch(vec![Arc::new(ids(rows)), Arc::new(texts(3, rows, 1000))])
}

/// A struct, a list of structs of up to four elements, a map of up to three entries.
fn nested(rows: usize) -> Result<RecordBatch, ArrowError> {
    let pair = |seed: u64, rows: usize, names: [&str; 2]| {
        let columns: Vec<ArrayRef> = vec![Arc::new(texts(seed, rows, 16)), Arc::new(doubles(seed, rows))];
        let fields: Fields = names
            .iter()
            .zip(&columns)
            .map(|(name, column)| Field::new(*name, column.data_type().clone(), *name != "keys"))
            .collect();
        (fields, columns)
    };
    let spans = |seed: u64, most: u64| {
        OffsetBuffer::<i32>::from_lengths(noise(seed).take(rows).map(|value| (value % (most + 1)) as usize))
    };
    let (fields, columns) = pair(4, rows, ["name", "weight"]);
    let nulls: NullBuffer = noise(5).take(rows).map(|value| value % 10 > 0).collect();
    let one = StructArray::try_new(fields, columns, Some(nulls))?;
    let offsets = spans(6, 4);
    let (fields, columns) = pair(7, offsets.last().map_or(0, |last| *last as usize), ["name", "weight"]);
    let many = StructArray::try_new(fields.clone(), columns, None)?;
    let item = Arc::new(Field::new("item", DataType::Struct(fields), true));
    let many = ListArray::try_new(item, offsets, Arc::new(many), None)?;
    let offsets = spans(8, 3);
    let (fields, columns) = pair(9, offsets.last().map_or(0, |last| *last as usize), ["keys", "values"]);
    let entries = Arc::new(Field::new("entries", DataType::Struct(fields.clone()), false));
    let map = MapArray::try_new(entries, offsets, StructArray::try_new(fields, columns, None)?, None, false)?;
    batch(vec![Arc::new(ids(rows)), Arc::new(one), Arc::new(many), Arc::new(map)])
}

fn main() -> Result<(), Box<dyn Error>> {
    let shapes = [
        ("narrow", narrow(280_000)?),
        ("wide", wide(7500)?),
        ("strings", strings(10_000)?),
        ("nested", nested(80_000)?),
    ];
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("encode");
    for (shape, batch) in shapes {
        let converter = Arc::new(Converter::new(batch.schema_ref(), None, NullListElement::Error)?);
        let mut rows = 0;
        let mut encode = || -> Result<usize, Box<dyn Error>> {
            let mut requests = converter.requests(batch.clone(), LIMITS)?;
            rows = requests.by_ref().map(|request| black_box(request).len()).sum();
            Ok(rows)
        };
        assert!(encode()? == batch.num_rows(), "a row failed");
        let sizes = batch.columns().iter().map(|column| column.to_data().get_slice_memory_size());
        let bytes = sizes.sum::<Result<usize, _>>()?;
        group.throughput(Throughput::Bytes(bytes as u64)).sample_size(20);
        group.bench_function(shape, |bencher| bencher.iter(|| black_box(encode())));
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
