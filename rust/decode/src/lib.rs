//! Result bodies to Arrow batches: pure functions of the bytes, without I/O, for untrusted input.
//!
//! A body is one or more LZ4 frames (or plain bytes) that hold one Arrow IPC stream. Frames are decoded straight into
//! one 64-byte aligned buffer and the batches are slices of it; nothing is copied per column.
//!
//! A crate of its own because it is built for speed where most of the wheel is built for size.

mod ipc;
mod lz4;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use ipc::{Decoded, ipc_stream, ipc_streams};
pub use lz4::{MAX_EXPANSION, looks_like_lz4, lz4_frames, lz4_frames_into};

/// Why a body could not be decoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DecodeError(String);

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for DecodeError {}

fn broken<T>(why: impl Into<String>) -> Result<T, DecodeError> {
    Err(DecodeError(why.into()))
}

/// Runs a decoder of other people's bytes; a panic inside (arrow-ipc has an `assert!` on this path) becomes an error.
fn guarded<T>(decode: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| broken("the decoder gave up on malformed bytes"))
}

fn take<'a>(bytes: &'a [u8], at: &mut usize, length: usize) -> Result<&'a [u8], DecodeError> {
    let end = at.checked_add(length).filter(|end| *end <= bytes.len());
    match end.and_then(|end| bytes.get(*at..end)) {
        Some(taken) => {
            *at += length;
            Ok(taken)
        }
        None => broken("the body ends early"),
    }
}

fn read_array<const N: usize>(bytes: &[u8], at: &mut usize) -> Result<[u8; N], DecodeError> {
    take(bytes, at, N)?.try_into().or_else(|_| broken("the body ends early"))
}

fn read_u32(bytes: &[u8], at: &mut usize) -> Result<u32, DecodeError> {
    Ok(u32::from_le_bytes(read_array(bytes, at)?))
}

/// Bodies as warehouses send them.
#[cfg(test)]
mod bodies {
    use std::io::Write;
    use std::sync::Arc;

    use arrow_array::{Int64Array, RecordBatch, StringArray};
    use arrow_ipc::writer::StreamWriter;
    use arrow_schema::{DataType, Field, Schema};
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

    pub(super) const MAX: usize = 64 << 20;

    pub(super) fn batch(rows: i64) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("s", DataType::Utf8, true)]);
        let ids = Int64Array::from_iter_values(0..rows);
        let texts = (0..rows).map(|row| (row % 7 != 0).then(|| format!("text {row}"))).collect::<StringArray>();
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(texts)]).unwrap()
    }

    pub(super) fn stream(batches: &[RecordBatch]) -> Vec<u8> {
        let mut writer = StreamWriter::try_new(Vec::new(), &batch(0).schema()).unwrap();
        for batch in batches {
            writer.write(batch).unwrap();
        }
        writer.into_inner().unwrap()
    }

    pub(super) fn frame(content: &[u8], info: FrameInfo) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    pub(super) fn plain_frame(content: &[u8]) -> Vec<u8> {
        frame(content, FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max4MB))
    }

    /// Frame boundaries as recorded: one per piece, with an empty frame in the middle.
    pub(super) fn frames(content: &[u8], count: usize) -> Vec<u8> {
        let mut body = Vec::new();
        for (number, piece) in content.chunks(content.len().div_ceil(count)).enumerate() {
            if count > 1 && number == count / 2 {
                body.extend(plain_frame(&[]));
            }
            body.extend(plain_frame(piece));
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Array, RecordBatch};
    use arrow_buffer::Buffer;

    use super::bodies::{MAX, batch, frames, stream};
    use super::*;

    #[test]
    fn bodies_of_1_3_and_18_frames_with_an_empty_one_in_the_middle() {
        let batches = [batch(1000), batch(1), batch(50_000)];
        let content = stream(&batches);
        for count in [1, 3, 18] {
            let decoded = ipc_stream(&lz4_frames(&frames(&content, count), MAX).unwrap()).unwrap();
            assert_eq!(decoded.batches, batches, "{count} frames");
        }
    }

    #[test]
    fn batches_are_slices_of_one_aligned_buffer() {
        let body = lz4_frames(&frames(&stream(&[batch(1000), batch(500)]), 3), MAX).unwrap();
        assert_eq!(body.as_ptr().align_offset(64), 0);
        let range = body.as_ptr() as usize..body.as_ptr() as usize + body.len();
        let decoded = ipc_stream(&body).unwrap();
        let mut buffers = 0;
        for column in decoded.batches.iter().flat_map(RecordBatch::columns) {
            for buffer in column.to_data().buffers() {
                assert!(range.contains(&(buffer.as_ptr() as usize)), "a column was copied");
                buffers += 1;
            }
        }
        assert_eq!(buffers, 6);
    }

    #[test]
    fn every_truncation_of_a_body_is_noticed() {
        let content = stream(&[batch(10), batch(20)]);
        // Cut between two messages the stream is well formed: there the row count of the link decides.
        let whole = ipc_stream(&Buffer::from(content.as_slice())).unwrap();
        assert_eq!(whole.batches.len(), 2);
        let mut clean_cuts = 0;
        for length in 0..content.len() {
            if let Ok(decoded) = ipc_stream(&Buffer::from(&content[..length])) {
                let rows: usize = decoded.batches.iter().map(RecordBatch::num_rows).sum();
                assert!(rows < 30 || length >= content.len() - 8, "{length}");
                assert!(decoded.batches == whole.batches[..decoded.batches.len()], "{length}");
                clean_cuts += 1;
            }
        }
        assert_eq!(clean_cuts, 3, "after the schema, the first and the second batch");
        let body = frames(&content, 1);
        for length in 1..body.len() {
            assert!(lz4_frames(&body[..length], MAX).is_err(), "{length}");
        }
    }

    #[test]
    fn flipped_bits_never_panic() {
        let content = stream(&[batch(2000)]);
        let body = frames(&content, 3);
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut step = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        let (mut refused, mut rounds) = (0, 0);
        for source in [&body, &content] {
            for _ in 0..1500 {
                let mut damaged = source.clone();
                for _ in 0..=step() % 8 {
                    let at = step() % damaged.len();
                    damaged[at] ^= 1 << (step() % 8);
                }
                let decoded = if looks_like_lz4(&damaged) {
                    lz4_frames(&damaged, MAX).and_then(|buffer| ipc_stream(&buffer))
                } else {
                    ipc_stream(&Buffer::from(damaged.as_slice()))
                };
                refused += usize::from(decoded.is_err());
                rounds += 1;
            }
        }
        assert!(refused > 0 && refused < rounds, "{refused} of {rounds}");
    }
}
