//! Result bodies like those a warehouse sends, for the benchmarks.

use std::io::Write;
use std::sync::Arc;

use arrow_array::{
    BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

/// Returns `rows` rows of about 70 bytes: bigint, int, double, string, decimal, timestamp and boolean.
pub fn rows(rows: i64) -> Result<RecordBatch, ArrowError> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let values: Vec<u64> = (0..rows).map(|_| random()).collect();
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("quantity", DataType::Int32, true),
        Field::new("ratio", DataType::Float64, true),
        Field::new("comment", DataType::Utf8, true),
        Field::new("price", DataType::Decimal128(15, 2), true),
        Field::new("shipped", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("returned", DataType::Boolean, true),
    ]);
    let words = ["carefully", "final", "deposits", "sleep", "quickly", "above", "ironic", "requests"];
    let word = |value: u64| words.get((value % 8) as usize).copied().unwrap_or_default();
    let comments = values.iter().map(|v| Some(format!("{} {} {}", word(*v), word(v >> 8), word(v >> 16))));
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(Int64Array::from_iter_values(0..rows)),
            Arc::new(Int32Array::from_iter_values(values.iter().map(|v| (v % 50) as i32))),
            Arc::new(Float64Array::from_iter_values(values.iter().map(|v| (v % 1000) as f64 / 7.0))),
            Arc::new(comments.collect::<StringArray>()),
            Arc::new(
                Decimal128Array::from_iter_values(values.iter().map(|v| i128::from(v % 1_000_000)))
                    .with_precision_and_scale(15, 2)?,
            ),
            Arc::new(TimestampMicrosecondArray::from_iter_values(
                values.iter().map(|v| 1_600_000_000_000_000 + (v % 86_400_000) as i64 * 1_000),
            )),
            Arc::new(values.iter().map(|v| Some(v % 3 == 0)).collect::<BooleanArray>()),
        ],
    )
}

/// Wraps batches as one body: schema, each batch and the end marker in LZ4 frames of their own.
pub fn body(batches: &[RecordBatch]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let schema = batches.first().ok_or("no batches")?.schema();
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    let mut pieces = vec![std::mem::take(writer.get_mut())];
    for batch in batches {
        writer.write(batch)?;
        pieces.push(std::mem::take(writer.get_mut()));
    }
    writer.finish()?;
    pieces.push(std::mem::take(writer.get_mut()));
    let mut body = Vec::new();
    for piece in pieces {
        let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max4MB);
        let mut encoder = FrameEncoder::with_frame_info(info, &mut body);
        encoder.write_all(&piece)?;
        encoder.finish()?;
    }
    Ok(body)
}
