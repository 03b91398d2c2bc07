//! Result bodies to Arrow batches: pure functions of the bytes, without I/O, for untrusted input.
//!
//! A body is one or more LZ4 frames (or plain bytes) that hold one Arrow IPC stream. Frames are decoded straight into
//! one 64-byte aligned buffer and the batches are slices of it; nothing is copied per column.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::reader::read_record_batch;
use arrow_ipc::{DictionaryBatch, MessageHeader, MetadataVersion, root_as_message_with_opts};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use flatbuffers::VerifierOptions;
use lz4_flex::block::DecompressError;
use twox_hash::XxHash32;

/// Alignment that Arrow recommends for buffers.
const ALIGNMENT: usize = 64;
/// Most frames of a body: writers start one per batch.
const MAX_FRAMES: usize = 1 << 18;
/// Most blocks of a body; the smallest usual block holds 64 KiB. What is noted of a block is far larger than a hostile one.
const MAX_BLOCKS: usize = 1 << 18;
/// Largest block of a frame; the format knows no larger.
const MAX_BLOCK_BYTES: usize = 4 << 20;
/// Linked blocks refer back this far at most.
const WINDOW_BYTES: usize = 64 << 10;
/// LZ4 cannot expand a block more than this.
pub(super) const MAX_EXPANSION: usize = 255;
/// Room reserved per byte of body before anything is known of it. Results expand two- to threefold.
const USUAL_EXPANSION: usize = 3;
/// Memory is taken in steps of this.
const ROOM_STEP_BYTES: usize = 1 << 20;
/// Largest IPC message header accepted; those of wide tables stay far below.
const MAX_METADATA_BYTES: usize = 16 << 20;

/// Deepest nesting of column types accepted.
const MAX_NESTING: usize = 64;
/// Limits on what an IPC message header unfolds to: parts of it may be referred to many times, and each time counts.
/// A column takes two or three tables.
const HEADER_LIMITS: VerifierOptions = VerifierOptions {
    // Above the field of a column are the message and its schema, below the innermost one is its type.
    max_depth: MAX_NESTING + 3,
    max_tables: 1 << 20,
    max_apparent_size: 4 * MAX_METADATA_BYTES,
    ignore_missing_null_terminator: false,
};

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

/// Decodes every LZ4 frame in `body`, one after the other, into one aligned buffer.
///
/// Writers start a new frame per IPC message, so a body has many, and one may decode to nothing: the input is read to its
/// end. Checksums are verified where present. Skippable frames are skipped.
///
/// # Errors
/// Where a frame is malformed, a checksum differs, or more than `max_bytes` come out.
pub fn lz4_frames(body: &[u8], max_bytes: usize) -> Result<Buffer, DecodeError> {
    let (mut bytes, content) = lz4_frames_into(Vec::new(), None, body, max_bytes)?;
    bytes.truncate(content.end);
    if bytes.capacity() - content.end > content.len() / 4 {
        bytes.shrink_to_fit();
    }
    Ok(Buffer::from_vec(bytes).slice(content.start))
}

/// Does the same into `memory`, whose contents are overwritten and which grows where it is too small. Returns it with the
/// range of the content, whose start is aligned. `expected` is how much is likely to come out: room for that is made at
/// once, and more only when it was wrong.
///
/// Memory that was written before costs no page faults, which take as long as decoding does.
pub fn lz4_frames_into(
    memory: Vec<u8>,
    expected: Option<usize>,
    body: &[u8],
    max_bytes: usize,
) -> Result<(Vec<u8>, Range<usize>), DecodeError> {
    guarded(|| {
        let frames = scan_frames(body)?;
        let bound = frames.iter().map(|frame| frame.decoded_bound).fold(0, usize::saturating_add);
        let room = expected.unwrap_or_else(|| body.len().saturating_mul(USUAL_EXPANSION));
        // In steps, so that the memory of one chunk serves for others of about its size.
        let room = room.checked_next_multiple_of(ROOM_STEP_BYTES).unwrap_or(room);
        let mut output = Output::new(memory, bound.min(room), max_bytes);
        for frame in &frames {
            decode_frame(frame, body, &mut output)?;
        }
        Ok((output.memory, output.start..output.end))
    })
}

/// Initialised memory that fills from an aligned start.
struct Output {
    memory: Vec<u8>,
    start: usize,
    end: usize,
    max_bytes: usize,
}

impl Output {
    fn new(mut memory: Vec<u8>, room: usize, max_bytes: usize) -> Self {
        if memory.len() < ALIGNMENT + room.min(max_bytes) / 2 {
            // Zeroed by the system page by page as they are first written.
            memory = vec![0; ALIGNMENT + room.min(max_bytes)];
        }
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { memory, start, end: start, max_bytes }
    }

    /// Returns what was written from `from` on (clamped to the content), and the free room behind it.
    fn split(&mut self, from: usize) -> Result<(&[u8], &mut [u8]), DecodeError> {
        let limit = self.start.saturating_add(self.max_bytes).min(self.memory.len());
        let from = from.max(self.start);
        let (before, after) = self.memory.split_at_mut_checked(self.end).ok_or_else(too_large)?;
        let room = after.get_mut(..limit.saturating_sub(self.end)).ok_or_else(too_large)?;
        Ok((before.get(from..).unwrap_or_default(), room))
    }

    fn content(&self, from: usize) -> &[u8] {
        self.memory.get(from..self.end).unwrap_or_default()
    }

    /// Makes room for `more` bytes, by half of the whole at least.
    fn grow(&mut self, more: usize) -> Result<(), DecodeError> {
        let length = self.end - self.start;
        let wanted = length.saturating_add(more.max(length / 2)).min(self.max_bytes);
        if ALIGNMENT + wanted <= self.memory.len() {
            return Err(too_large());
        }
        let mut larger = vec![0; ALIGNMENT + wanted];
        let start = larger.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        larger.get_mut(start..start + length).ok_or_else(too_large)?.copy_from_slice(self.content(self.start));
        (self.memory, self.start, self.end) = (larger, start, start + length);
        Ok(())
    }
}

/// Tells whether `body` starts like an LZ4 frame. Arrow streams start with `FF FF FF FF`.
pub fn looks_like_lz4(body: &[u8]) -> bool {
    body.starts_with(&[0x04, 0x22, 0x4D, 0x18])
}

#[derive(Debug)]
struct Frame {
    blocks: Vec<Block>,
    linked: bool,
    content_checksum: Option<u32>,
    content_size: Option<u64>,
    block_bytes: usize,
    decoded_bound: usize,
}

#[derive(Debug)]
struct Block {
    data: Range<usize>,
    compressed: bool,
    checksum: Option<u32>,
}

impl Block {
    fn decoded_bound(&self, block_bytes: usize) -> usize {
        if self.compressed { (self.data.len() * MAX_EXPANSION).min(block_bytes) } else { self.data.len() }
    }
}

/// Reads the headers of all frames without decoding anything.
fn scan_frames(body: &[u8]) -> Result<Vec<Frame>, DecodeError> {
    let mut frames = Vec::new();
    let (mut at, mut blocks) = (0, 0);
    while at < body.len() {
        let magic = read_u32(body, &mut at)?;
        match magic {
            0x184D_2204 if frames.len() == MAX_FRAMES => {
                return broken("the body has more LZ4 frames than any writer makes");
            }
            0x184D_2204 => frames.push(scan_frame(body, &mut at, &mut blocks)?),
            0x184D_2A50..=0x184D_2A5F => {
                let length = read_u32(body, &mut at)? as usize;
                take(body, &mut at, length)?;
            }
            _ => return broken(format!("byte {} does not start an LZ4 frame", at - 4)),
        }
    }
    Ok(frames)
}

/// Reads the headers of one frame. `all_blocks` counts those of the whole body.
fn scan_frame(body: &[u8], at: &mut usize, all_blocks: &mut usize) -> Result<Frame, DecodeError> {
    let descriptor_start = *at;
    let [flags, block_descriptor] = read_array(body, at)?;
    if flags >> 6 != 1 {
        return broken("an LZ4 frame has an unknown version");
    }
    if flags & 1 != 0 {
        return broken("an LZ4 frame wants a dictionary");
    }
    let block_bytes = match (block_descriptor >> 4) & 7 {
        size @ 4..=7 => 1 << (8 + 2 * usize::from(size)),
        _ => return broken("an LZ4 frame has an unknown block size"),
    };
    let content_size = if flags & 8 != 0 { Some(u64::from_le_bytes(read_array(body, at)?)) } else { None };
    let descriptor = body.get(descriptor_start..*at).unwrap_or_default();
    let [header_checksum] = read_array(body, at)?;
    if !cfg!(fuzzing) && (XxHash32::oneshot(0, descriptor) >> 8) as u8 != header_checksum {
        return broken("the header of an LZ4 frame is damaged");
    }
    let mut blocks = Vec::new();
    let mut decoded_bound = 0_usize;
    loop {
        let word = read_u32(body, at)?;
        if word == 0 {
            break;
        }
        let (length, compressed) = ((word & 0x7FFF_FFFF) as usize, word & 0x8000_0000 == 0);
        if length > MAX_BLOCK_BYTES.min(block_bytes) {
            return broken("a block of an LZ4 frame is larger than the frame allows");
        }
        let start = *at;
        take(body, at, length)?;
        let checksum = if flags & 0x10 != 0 { Some(read_u32(body, at)?) } else { None };
        let block = Block { data: start..start + length, compressed, checksum };
        decoded_bound = decoded_bound.saturating_add(block.decoded_bound(block_bytes));
        if *all_blocks == MAX_BLOCKS {
            return broken("the body has more LZ4 blocks than any writer makes");
        }
        *all_blocks += 1;
        blocks.push(block);
    }
    let content_checksum = if flags & 4 != 0 { Some(read_u32(body, at)?) } else { None };
    Ok(Frame { blocks, linked: flags & 0x20 == 0, content_checksum, content_size, block_bytes, decoded_bound })
}

fn decode_frame(frame: &Frame, body: &[u8], output: &mut Output) -> Result<(), DecodeError> {
    let frame_offset = output.end - output.start;
    for block in &frame.blocks {
        let data = body.get(block.data.clone()).unwrap_or_default();
        if block.checksum.is_some_and(|expected| differs(data, expected)) {
            return broken("a block of an LZ4 frame does not match its checksum");
        }
        let bound = block.decoded_bound(frame.block_bytes);
        output.end += loop {
            // The length of a decoded block is not written down: try with the room there is, then with all it may take.
            let frame_start = output.start + frame_offset;
            let window =
                if frame.linked { output.end.saturating_sub(WINDOW_BYTES).max(frame_start) } else { output.end };
            let (before, room) = output.split(window)?;
            let roomy = room.len() >= bound;
            let room = room.get_mut(..bound.min(room.len())).unwrap_or_default();
            match decode_block(block.compressed, data, before, room) {
                Ok(written) => break written,
                Err(DecompressError::OutputTooSmall { .. }) if !roomy => output.grow(bound)?,
                Err(error) => return broken(format!("an LZ4 block is damaged: {error}")),
            }
        };
    }
    let content = output.content(output.start + frame_offset);
    if frame.content_size.is_some_and(|expected| expected != content.len() as u64) {
        return broken("an LZ4 frame decodes to another size than it declares");
    }
    if frame.content_checksum.is_some_and(|expected| differs(content, expected)) {
        return broken("the content of an LZ4 frame does not match its checksum");
    }
    Ok(())
}

/// Holds `bytes` against their checksum. A fuzzer would hardly ever get past it.
fn differs(bytes: &[u8], checksum: u32) -> bool {
    !cfg!(fuzzing) && XxHash32::oneshot(0, bytes) != checksum
}

/// Decodes one block into the start of `room` and returns its length. `window` is what a linked block may refer to.
fn decode_block(compressed: bool, data: &[u8], window: &[u8], room: &mut [u8]) -> Result<usize, DecompressError> {
    if !compressed {
        let too_small = DecompressError::OutputTooSmall { expected: data.len(), actual: room.len() };
        room.get_mut(..data.len()).ok_or(too_small)?.copy_from_slice(data);
        return Ok(data.len());
    }
    if window.is_empty() {
        lz4_flex::block::decompress_into(data, room)
    } else {
        lz4_flex::block::decompress_into_with_dict(data, room, window)
    }
}

fn too_large() -> DecodeError {
    DecodeError("the decoded body is larger than allowed".to_owned())
}

/// The batches of an IPC stream, and its schema.
#[derive(Debug)]
pub struct Decoded {
    /// Schema as on the wire.
    pub schema: SchemaRef,
    /// Batches with at least one row, in order.
    pub batches: Vec<RecordBatch>,
}

/// Decodes the one Arrow IPC stream that `body` holds; bytes after its end marker are an error.
///
/// # Errors
/// Where the stream is malformed or truncated. A stream that stops cleanly between two messages without its end marker
/// is accepted, for writers may leave it out: the caller counts rows.
pub fn ipc_stream(body: &Buffer) -> Result<Decoded, DecodeError> {
    guarded(|| {
        let mut rest = body.clone();
        let decoded = next_stream(&mut rest)?;
        if !rest.is_empty() {
            return broken(format!("{} bytes follow the end of the Arrow stream", rest.len()));
        }
        Ok(decoded)
    })
}

/// Decodes consecutive IPC streams until the bytes run out; all must have the schema of the first.
///
/// An inline result in several chunks is one stream in pieces; a server that sends a whole stream per chunk is read too.
pub fn ipc_streams(body: &Buffer) -> Result<Decoded, DecodeError> {
    guarded(|| {
        let mut rest = body.clone();
        let mut all = next_stream(&mut rest)?;
        while !rest.is_empty() {
            let next = next_stream(&mut rest)?;
            if next.schema != all.schema {
                return broken("the pieces of an inline result have different schemas");
            }
            all.batches.extend(next.batches);
        }
        Ok(all)
    })
}

fn next_stream(rest: &mut Buffer) -> Result<Decoded, DecodeError> {
    let mut schema: Option<SchemaRef> = None;
    let (mut dictionary_types, mut dictionaries) = (HashMap::new(), HashMap::new());
    let mut batches = Vec::new();
    while let Some(header) = next_header(rest)? {
        let message = root_as_message_with_opts(&HEADER_LIMITS, &header)
            .map_err(|error| DecodeError(format!("the header of an Arrow message is damaged: {error}")))?;
        let length = usize::try_from(message.bodyLength());
        let body = split(rest, length.or_else(|_| broken("an Arrow message has a negative length"))?)?;
        let kind = message.header_type();
        if let Some(found) = message.header_as_schema() {
            let found = fb_to_schema(found);
            dictionary_types = check_types(&found)?;
            if schema.replace(Arc::new(found)).is_some() {
                return broken("the Arrow stream has a second schema");
            }
        } else if kind != MessageHeader::NONE {
            let Some(schema) = &schema else { return broken("the Arrow stream does not start with its schema") };
            let version = message.version();
            if let Some(batch) = message.header_as_record_batch() {
                check_buffers(batch, body.len())?;
                let batch = read_record_batch(&body, batch, Arc::clone(schema), &dictionaries, None, &version);
                batches.push(batch.map_err(|error| damaged(&error))?);
            } else if let Some(batch) = message.header_as_dictionary_batch() {
                let values = dictionary_values(&body, batch, &dictionary_types, &dictionaries, version)?;
                dictionaries.insert(batch.id(), values);
            } else {
                return broken(format!("the Arrow stream has a message of kind {kind:?}"));
            }
        }
    }
    let Some(schema) = schema else { return broken("the Arrow stream has no schema") };
    batches.retain(|batch| batch.num_rows() > 0);
    Ok(Decoded { schema, batches })
}

fn damaged(error: &ArrowError) -> DecodeError {
    DecodeError(format!("the Arrow stream is damaged: {error}"))
}

/// Returns the types of the dictionaries by their ids, once every column is of a type that may come.
///
/// Views may all refer to the same bytes, and each is read to check it: a small body could keep a thread busy for hours.
/// No warehouse sends them.
fn check_types(schema: &Schema) -> Result<HashMap<i64, DataType>, DecodeError> {
    let mut dictionaries = HashMap::new();
    for field in schema.flattened_fields() {
        let values = match field.data_type() {
            DataType::Dictionary(_, values) => {
                #[expect(deprecated, reason = "nothing else knows which field a dictionary belongs to")]
                dictionaries.extend(field.dict_id().map(|id| (id, values.as_ref().clone())));
                values.as_ref()
            }
            other => other,
        };
        if matches!(values, DataType::Utf8View | DataType::BinaryView) {
            return broken(format!("a column of the Arrow stream has the type {values}, which no warehouse sends"));
        }
    }
    Ok(dictionaries)
}

/// Checks that the buffers of a batch lie in its body and do not share bytes: one that is not aligned is copied, and a
/// header can name the same megabytes a million times. What is in the buffers is checked by arrow-ipc.
fn check_buffers(batch: arrow_ipc::RecordBatch<'_>, body_bytes: usize) -> Result<(), DecodeError> {
    let mut left = body_bytes;
    for buffer in batch.buffers().into_iter().flatten() {
        let (Ok(offset), Ok(length)) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length())) else {
            return broken("a buffer of an Arrow message has a negative place");
        };
        if offset.checked_add(length).is_none_or(|end| end > body_bytes) {
            return broken("a buffer of an Arrow message lies outside its body");
        }
        left = match left.checked_sub(length) {
            Some(left) => left,
            None => return broken("the buffers of an Arrow message are larger than its body"),
        };
    }
    Ok(())
}

/// Reads a whole dictionary; no warehouse sends one in pieces.
fn dictionary_values(
    body: &Buffer,
    batch: DictionaryBatch<'_>,
    types: &HashMap<i64, DataType>,
    dictionaries: &HashMap<i64, ArrayRef>,
    version: MetadataVersion,
) -> Result<ArrayRef, DecodeError> {
    if batch.isDelta() {
        return broken("the Arrow stream adds to a dictionary");
    }
    let (Some(values), Some(data)) = (types.get(&batch.id()), batch.data()) else {
        return broken("the Arrow stream has a dictionary that no column uses");
    };
    check_buffers(data, body.len())?;
    let schema = Arc::new(Schema::new(vec![Field::new("", values.clone(), true)]));
    let batch = read_record_batch(body, data, schema, dictionaries, None, &version).map_err(|error| damaged(&error))?;
    match batch.columns() {
        [values] => Ok(Arc::clone(values)),
        _ => broken("the Arrow stream has a dictionary without values"),
    }
}

/// Cuts the header of the next message off `rest`; `None` at the end of the stream, with or without its marker.
fn next_header(rest: &mut Buffer) -> Result<Option<Buffer>, DecodeError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let mut at = 0;
    let mut size = read_u32(rest, &mut at)?;
    if size == u32::MAX {
        size = read_u32(rest, &mut at)?;
    }
    rest.advance(at);
    match size as usize {
        0 => Ok(None),
        size if size > MAX_METADATA_BYTES => broken("the header of an Arrow message is larger than allowed"),
        size => split(rest, size).map(Some),
    }
}

/// Cuts `length` bytes off the start of `rest`.
fn split(rest: &mut Buffer, length: usize) -> Result<Buffer, DecodeError> {
    if length > rest.len() {
        return broken("the body ends early");
    }
    let start = rest.slice_with_length(0, length);
    rest.advance(length);
    Ok(start)
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use arrow_array::types::Int8Type;
    use arrow_array::{Array, DictionaryArray, Int64Array, StringArray};
    use arrow_ipc::root_as_message;
    use arrow_ipc::writer::{DictionaryHandling, IpcWriteOptions, StreamWriter};
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

    use super::*;

    const MAX: usize = 64 << 20;

    fn batch(rows: i64) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("s", DataType::Utf8, true)]);
        let ids = Int64Array::from_iter_values(0..rows);
        let texts = (0..rows).map(|row| (row % 7 != 0).then(|| format!("text {row}"))).collect::<StringArray>();
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(texts)]).unwrap()
    }

    fn stream(batches: &[RecordBatch]) -> Vec<u8> {
        let mut writer = StreamWriter::try_new(Vec::new(), &batch(0).schema()).unwrap();
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

    fn plain_frame(content: &[u8]) -> Vec<u8> {
        frame(content, FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max4MB))
    }

    /// Frame boundaries as recorded: one per piece, with an empty frame in the middle.
    fn frames(content: &[u8], count: usize) -> Vec<u8> {
        let mut body = Vec::new();
        for (number, piece) in content.chunks(content.len().div_ceil(count)).enumerate() {
            if count > 1 && number == count / 2 {
                body.extend(plain_frame(&[]));
            }
            body.extend(plain_frame(piece));
        }
        body
    }

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
    fn every_frame_variant() {
        let content = stream(&[batch(300_000)]);
        for mode in [BlockMode::Independent, BlockMode::Linked] {
            for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
                for checksums in [false, true] {
                    let info = FrameInfo::new()
                        .block_mode(mode)
                        .block_size(size)
                        .block_checksums(checksums)
                        .content_checksum(checksums)
                        .content_size(checksums.then_some(content.len() as u64));
                    let decoded = lz4_frames(&frame(&content, info), MAX).unwrap();
                    assert!(decoded.as_slice() == content, "{mode:?} {size:?} {checksums}");
                }
            }
        }
    }

    #[test]
    fn memory_is_reused_or_grown_as_needed() {
        let content = stream(&[batch(100_000)]);
        let body = frames(&content, 3);
        let (memory, range) = lz4_frames_into(vec![0xAA; 10], None, &body, MAX).unwrap();
        assert!(memory[range.clone()] == content, "too small");
        let address = memory.as_ptr();
        let (memory, range) = lz4_frames_into(memory, Some(1), &body, MAX).unwrap();
        assert!(memory[range] == content && memory.as_ptr() == address, "large enough");
        let zeros = vec![0; 9 << 20];
        let (memory, range) = lz4_frames_into(Vec::new(), Some(usize::MAX), &plain_frame(&zeros), MAX).unwrap();
        assert!(memory[range] == zeros, "expands far more than usual");
    }

    #[test]
    fn skippable_frames_are_skipped() {
        let mut body = vec![0x53, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1, 2, 3];
        body.extend(plain_frame(b"abc"));
        assert_eq!(lz4_frames(&body, MAX).unwrap().as_slice(), b"abc");
    }

    #[test]
    fn batches_are_slices_of_one_aligned_buffer() {
        let body = lz4_frames(&frames(&stream(&[batch(1000), batch(500)]), 3), MAX).unwrap();
        assert_eq!(body.as_ptr().align_offset(ALIGNMENT), 0);
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

    /// Behaviour 10.
    #[test]
    fn a_body_larger_than_allowed_is_refused() {
        let body = plain_frame(&vec![7; 1 << 20]);
        assert!(lz4_frames(&body, (1 << 20) - 1).is_err());
        assert_eq!(lz4_frames(&body, 1 << 20).unwrap().len(), 1 << 20);
    }

    /// Behaviour 10.
    #[test]
    fn frames_headers_and_nesting_are_bounded() {
        let empty = plain_frame(&[]);
        let most = empty.repeat(MAX_FRAMES);
        assert!(lz4_frames(&most, MAX).unwrap().is_empty());
        assert!(lz4_frames(&[most, empty].concat(), MAX).is_err(), "one frame more");
        let header = |size: usize| [&u32::MAX.to_le_bytes()[..], &(size as u32).to_le_bytes()].concat();
        let error = ipc_stream(&Buffer::from(header(MAX_METADATA_BYTES + 1))).unwrap_err();
        assert!(error.to_string().contains("larger than allowed"), "{error}");
        let error = ipc_stream(&Buffer::from(header(MAX_METADATA_BYTES))).unwrap_err();
        assert!(error.to_string().contains("ends early"), "{error}");
        let nested = |depth| {
            let wrap = |inner, _| DataType::List(Arc::new(Field::new("item", inner, true)));
            let schema = Schema::new(vec![Field::new("a", (0..depth).fold(DataType::Int64, wrap), true)]);
            let content = StreamWriter::try_new(Vec::new(), &schema).unwrap().into_inner().unwrap();
            ipc_stream(&Buffer::from(content))
        };
        assert!(nested(20).is_ok());
        assert!(nested(65).is_err(), "the flatbuffer verifier goes 64 deep");
    }

    #[test]
    fn a_body_that_expands_without_end_stops_at_the_limit() {
        // 255-fold: a few hundred kilobytes ask for 16 MiB each, and memory is taken only up to the limit.
        let body = plain_frame(&vec![0; 16 << 20]).repeat(8);
        for limit in [1 << 10, 1 << 20, 5 << 20] {
            assert!(lz4_frames(&body, limit).is_err(), "{limit}");
            assert!(lz4_frames_into(Vec::new(), Some(usize::MAX), &body, limit).is_err(), "{limit}");
        }
        // What a writer declares is a promise that is checked, not a size that is trusted.
        let info = FrameInfo::new().block_size(BlockSize::Max64KB).content_size(Some(1000));
        let mut declared = frame(&[7; 1000], info);
        declared[6..14].copy_from_slice(&u64::MAX.to_le_bytes());
        declared[14] = (XxHash32::oneshot(0, &declared[4..14]) >> 8) as u8;
        let error = lz4_frames(&declared, MAX).unwrap_err();
        assert_eq!(error, DecodeError("an LZ4 frame decodes to another size than it declares".to_owned()));
    }

    #[test]
    fn more_frames_than_any_writer_makes_are_refused() {
        let empty = plain_frame(&[]);
        assert!(lz4_frames(&empty.repeat(MAX_FRAMES), MAX).unwrap().is_empty());
        let error = lz4_frames(&empty.repeat(MAX_FRAMES + 1), MAX).unwrap_err();
        assert_eq!(error, DecodeError("the body has more LZ4 frames than any writer makes".to_owned()));
    }

    #[test]
    fn more_blocks_than_any_writer_makes_are_refused_in_one_frame_or_in_many() {
        let empty = plain_frame(&[]);
        let (header, end) = empty.split_at(empty.len() - 4);
        let frame = |blocks: usize| [header, &[0, 0, 0, 0x80].repeat(blocks), end].concat();
        assert!(lz4_frames(&frame(MAX_BLOCKS), MAX).unwrap().is_empty());
        for body in [frame(MAX_BLOCKS + 1), [frame(MAX_BLOCKS / 2), frame(MAX_BLOCKS / 2), frame(1)].concat()] {
            let error = lz4_frames(&body, MAX).unwrap_err();
            assert_eq!(error, DecodeError("the body has more LZ4 blocks than any writer makes".to_owned()));
        }
    }

    #[test]
    fn a_message_header_larger_than_16_mib_is_refused() {
        let head = |size: u32| [u32::MAX.to_le_bytes(), size.to_le_bytes()].concat();
        for (size, expected) in [
            (MAX_METADATA_BYTES as u32 + 1, "the header of an Arrow message is larger than allowed"),
            (u32::MAX, "the header of an Arrow message is larger than allowed"),
            (MAX_METADATA_BYTES as u32, "the body ends early"),
        ] {
            let error = ipc_stream(&Buffer::from(head(size))).unwrap_err();
            assert_eq!(error, DecodeError(expected.to_owned()), "{size}");
        }
        // The same within the limit: a column whose name fills the header is read.
        let schema = |bytes: usize| Schema::new(vec![Field::new("n".repeat(bytes), DataType::Int8, true)]);
        let content = |bytes: usize| StreamWriter::try_new(Vec::new(), &schema(bytes)).unwrap().into_inner().unwrap();
        assert!(ipc_stream(&Buffer::from(content(MAX_METADATA_BYTES - 1024))).is_ok());
        assert!(ipc_stream(&Buffer::from(content(MAX_METADATA_BYTES))).is_err());
    }

    #[test]
    fn nesting_deeper_than_64_is_refused() {
        let content = |levels: usize| {
            let nested =
                (0..levels).fold(DataType::Int32, |inner, _| DataType::List(Arc::new(Field::new("e", inner, true))));
            let schema = Schema::new(vec![Field::new("deep", nested, true)]);
            StreamWriter::try_new(Vec::new(), &schema).unwrap().into_inner().unwrap()
        };
        assert!(ipc_stream(&Buffer::from(content(MAX_NESTING - 1))).is_ok(), "64 types in each other");
        for levels in [MAX_NESTING, 1000] {
            let error = ipc_stream(&Buffer::from(content(levels))).unwrap_err();
            assert!(error.to_string().starts_with("the header of an Arrow message is damaged"), "{levels}: {error}");
        }
    }

    /// Writes one batch, and lets `edit` change the places of its buffers: offset and length, 16 bytes each.
    fn with_buffers(edit: impl Fn(&mut [u8], usize)) -> Vec<u8> {
        let mut content = stream(&[batch(100)]);
        let mut rest = Buffer::from(content.as_slice());
        next_header(&mut rest).unwrap();
        let header = next_header(&mut rest).unwrap().unwrap();
        let message = root_as_message(&header).unwrap();
        let buffers = message.header_as_record_batch().unwrap().buffers().unwrap();
        let header_at = content.len() - rest.len() - header.len();
        let at = header_at + (buffers.bytes().as_ptr() as usize - header.as_ptr() as usize);
        edit(&mut content[at..at + 16 * buffers.len()], message.bodyLength() as usize);
        content
    }

    #[test]
    fn buffers_outside_their_message_or_over_each_other_are_refused() {
        let place = |bytes: &mut [u8], position: usize, offset: i64, length: i64| {
            bytes[16 * position..16 * position + 8].copy_from_slice(&offset.to_le_bytes());
            bytes[16 * position + 8..16 * position + 16].copy_from_slice(&length.to_le_bytes());
        };
        assert!(ipc_stream(&Buffer::from(with_buffers(|_, _| ()))).is_ok());
        for (what, offset, length, expected) in [
            ("negative offset", -8, 8, "a negative place"),
            ("negative length", 0, -8, "a negative place"),
            ("too far", i64::MAX, 8, "outside its body"),
            ("too long", 8, i64::MAX, "outside its body"),
        ] {
            let content = with_buffers(|bytes, _| place(bytes, 1, offset, length));
            let error = ipc_stream(&Buffer::from(content)).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{what}: {error}");
        }
        // Each alone would be right; together they could make a small body need any amount of memory.
        let content = with_buffers(|bytes, body| {
            for position in 0..bytes.len() / 16 {
                place(bytes, position, 0, body as i64);
            }
        });
        let error = ipc_stream(&Buffer::from(content)).unwrap_err().to_string();
        assert_eq!(error, "the buffers of an Arrow message are larger than its body");
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
    fn dictionaries_are_read_and_replaced() {
        let batch = |texts: &[Option<&str>]| {
            let column: DictionaryArray<Int8Type> = texts.iter().copied().collect();
            RecordBatch::try_from_iter_with_nullable([("s", Arc::new(column) as ArrayRef, true)]).unwrap()
        };
        let batches = [batch(&[Some("a"), None, Some("b"), Some("a")]), batch(&[Some("c"), Some("b"), None])];
        let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
        for batch in &batches {
            writer.write(batch).unwrap();
        }
        let content = writer.into_inner().unwrap();
        assert_eq!(ipc_stream(&Buffer::from(content.as_slice())).unwrap().batches, batches);

        let options = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
        writer.write(&batch(&[Some("a")])).unwrap();
        writer.write(&batch(&[Some("a"), Some("b")])).unwrap();
        let content = writer.into_inner().unwrap();
        let error = ipc_stream(&Buffer::from(content.as_slice())).unwrap_err();
        assert_eq!(error, DecodeError("the Arrow stream adds to a dictionary".to_owned()));
    }

    #[test]
    fn views_are_refused_wherever_they_are() {
        for views in [DataType::Utf8View, DataType::BinaryView] {
            let item = Arc::new(Field::new("e", views.clone(), true));
            for column in [
                views.clone(),
                DataType::List(Arc::clone(&item)),
                DataType::Struct(vec![Arc::clone(&item)].into()),
                DataType::Dictionary(Box::new(DataType::Int8), Box::new(views.clone())),
                DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::List(Arc::clone(&item)))),
            ] {
                let schema = Schema::new(vec![Field::new("v", column.clone(), true)]);
                let content = StreamWriter::try_new(Vec::new(), &schema).unwrap().into_inner().unwrap();
                let error = ipc_stream(&Buffer::from(content)).unwrap_err().to_string();
                assert!(
                    error.ends_with(&format!("has the type {views}, which no warehouse sends")),
                    "{column}: {error}"
                );
            }
        }
    }

    #[test]
    fn messages_out_of_order_are_errors() {
        let content = stream(&[batch(10)]);
        let mut rest = Buffer::from(content.as_slice());
        let header = next_header(&mut rest).unwrap().unwrap();
        assert_eq!(root_as_message(&header).unwrap().header_type(), MessageHeader::Schema);
        let error = ipc_stream(&rest).unwrap_err();
        assert_eq!(error, DecodeError("the Arrow stream does not start with its schema".to_owned()));
        let twice = [&content[..content.len() - rest.len()], &content].concat();
        let error = ipc_stream(&Buffer::from(twice.as_slice())).unwrap_err();
        assert_eq!(error, DecodeError("the Arrow stream has a second schema".to_owned()));
    }

    #[test]
    fn bytes_after_the_end_marker_are_an_error() {
        let mut content = stream(&[batch(10)]);
        content.extend([0; 8]);
        assert!(ipc_stream(&Buffer::from(content.as_slice())).is_err());
    }

    #[test]
    fn a_schema_without_batches_is_an_empty_result_and_an_empty_body_is_not() {
        let content = stream(&[]);
        for length in [content.len(), content.len() - 8] {
            let decoded = ipc_stream(&Buffer::from(&content[..length])).unwrap();
            assert_eq!((decoded.schema.fields().len(), decoded.batches.len()), (2, 0));
        }
        assert!(ipc_stream(&Buffer::from(&[] as &[u8])).is_err());
    }

    #[test]
    fn batches_without_columns_keep_their_rows_also_at_the_end() {
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(5));
        let schema = Arc::new(Schema::empty());
        let empty = RecordBatch::try_new_with_options(Arc::clone(&schema), vec![], &options).unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
        writer.write(&empty).unwrap();
        writer.write(&empty).unwrap();
        let content = writer.into_inner().unwrap();
        for length in [content.len(), content.len() - 8] {
            let decoded = ipc_stream(&Buffer::from(&content[..length])).unwrap();
            assert_eq!(decoded.batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 10, "{length}");
        }
    }

    #[test]
    fn inline_pieces_are_one_stream_or_one_each() {
        let one = stream(&[batch(10), batch(20)]);
        let each = [stream(&[batch(10)]), stream(&[batch(20)])].concat();
        for content in [one, each] {
            let decoded = ipc_streams(&Buffer::from(content.as_slice())).unwrap();
            assert_eq!(decoded.batches, [batch(10), batch(20)]);
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
