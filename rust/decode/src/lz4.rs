//! LZ4 frames.

use std::ops::Range;

use arrow_buffer::Buffer;
use lz4_flex::block::DecompressError;
use twox_hash::XxHash32;

use super::{DecodeError, broken, guarded, read_array, read_u32, take};

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
pub const MAX_EXPANSION: usize = 255;
/// Room reserved per byte of body before anything is known of it. Results expand two- to threefold.
const USUAL_EXPANSION: usize = 3;
/// Memory is taken in steps of this.
const ROOM_STEP_BYTES: usize = 1 << 20;

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

#[cfg(test)]
mod tests {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameInfo};

    use super::super::bodies::{MAX, batch, frame, frames, plain_frame, stream};
    use super::*;

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

    /// Behaviour 10.
    #[test]
    fn a_body_larger_than_allowed_is_refused() {
        let body = plain_frame(&vec![7; 1 << 20]);
        assert!(lz4_frames(&body, (1 << 20) - 1).is_err());
        assert_eq!(lz4_frames(&body, 1 << 20).unwrap().len(), 1 << 20);
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

    /// Behaviour 10.
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
}
