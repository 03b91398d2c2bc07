//! Arrow IPC streams, and the LZ4 frames around them.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::reader::read_record_batch;
use arrow_ipc::root_as_message;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, SchemaRef};
use bytes::Bytes;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use crate::switches::Lz4Framing;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lz4 {
    pub(crate) framing: Lz4Framing,
    pub(crate) checksums: bool,
}

/// One body and the bytes of Arrow in it.
#[derive(Clone, Debug)]
pub(crate) struct ArrowBody {
    pub(crate) body: Bytes,
    pub(crate) uncompressed_bytes: u64,
}

/// Writes one IPC stream, cut into a body after each group of batches.
///
/// With one group the body is a whole stream. With several they are consecutive pieces of one stream, each compressed
/// by itself, which is how the service cuts inline results.
pub(crate) fn encode(
    schema: &SchemaRef,
    groups: &[Vec<RecordBatch>],
    lz4: Option<Lz4>,
) -> Result<Vec<ArrowBody>, ArrowError> {
    let mut writer = StreamWriter::try_new(BodySink::new(lz4), schema)?;
    writer.get_mut().end_message()?;
    if lz4.is_some_and(|lz4| lz4.framing == Lz4Framing::EmptyFrameInside) {
        writer.get_mut().empty_frame()?;
    }
    let mut bodies = Vec::with_capacity(groups.len());
    for (position, group) in groups.iter().enumerate() {
        for batch in group {
            writer.write(batch)?;
            writer.get_mut().end_message()?;
        }
        if position + 1 == groups.len() {
            writer.finish()?;
            writer.get_mut().end_message()?;
        }
        bodies.push(writer.get_mut().take_body()?);
    }
    Ok(bodies)
}

/// Reads a body that [`encode`] wrote back into its batches, however many LZ4 frames it has.
pub(crate) fn decode(body: &[u8], compressed: bool) -> Result<(SchemaRef, Vec<RecordBatch>), ArrowError> {
    let mut raw = Vec::new();
    if compressed {
        let mut decoder = FrameDecoder::new(body);
        while !decoder.get_ref().is_empty() {
            decoder.read_to_end(&mut raw)?;
        }
    } else {
        raw.extend_from_slice(body);
    }
    let mut rest = Buffer::from_vec(raw);
    let mut schema = None;
    let mut batches = Vec::new();
    while let Some((header, body)) = next_message(&mut rest)? {
        let message = root_as_message(&header).map_err(|error| ArrowError::ParseError(error.to_string()))?;
        match (&schema, message.header_as_schema(), message.header_as_record_batch()) {
            (None, Some(found), _) => schema = Some(SchemaRef::new(fb_to_schema(found))),
            (Some(schema), _, Some(batch)) => {
                let schema = SchemaRef::clone(schema);
                batches.push(read_record_batch(&body, batch, schema, &HashMap::new(), None, &message.version())?);
            }
            _ => return Err(ArrowError::IpcError("no stream that was written here".to_owned())),
        }
    }
    schema.map(|schema| (schema, batches)).ok_or_else(|| ArrowError::IpcError("no schema".to_owned()))
}

/// Cuts header and body of the next message off `rest`; `None` at the end.
fn next_message(rest: &mut Buffer) -> Result<Option<(Buffer, Buffer)>, ArrowError> {
    let early = || ArrowError::IpcError("the body ends early".to_owned());
    let split = |rest: &mut Buffer, length: usize| {
        let start = (length <= rest.len()).then(|| rest.slice_with_length(0, length)).ok_or_else(early)?;
        rest.advance(length);
        Ok::<Buffer, ArrowError>(start)
    };
    if rest.is_empty() {
        return Ok(None);
    }
    // The marker of a message, then its header's length; 0 ends the stream.
    split(rest, 4)?;
    let length = split(rest, 4)?.first_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
    if length == 0 {
        return Ok(None);
    }
    let header = split(rest, length)?;
    let message = root_as_message(&header).map_err(|error| ArrowError::ParseError(error.to_string()))?;
    let length = usize::try_from(message.bodyLength()).map_err(|_| early())?;
    let body = split(rest, length)?;
    Ok(Some((header, body)))
}

/// Where the IPC writer writes: it knows where messages end, and so where LZ4 frames end.
struct BodySink {
    uncompressed_bytes: u64,
    output: Output,
}

enum Output {
    Plain(Vec<u8>),
    Lz4 { encoder: Box<FrameEncoder<Vec<u8>>>, lz4: Lz4, frame_open: bool },
}

impl BodySink {
    fn new(lz4: Option<Lz4>) -> Self {
        let output = match lz4 {
            None => Output::Plain(Vec::new()),
            Some(lz4) => Output::Lz4 {
                encoder: Box::new(FrameEncoder::with_frame_info(frame_info(lz4), Vec::new())),
                lz4,
                frame_open: false,
            },
        };
        Self { uncompressed_bytes: 0, output }
    }

    fn end_message(&mut self) -> io::Result<()> {
        match &mut self.output {
            Output::Lz4 { lz4: Lz4 { framing: Lz4Framing::Single, .. }, .. } | Output::Plain(_) => Ok(()),
            Output::Lz4 { .. } => self.end_frame(),
        }
    }

    fn end_frame(&mut self) -> io::Result<()> {
        if let Output::Lz4 { encoder, frame_open, .. } = &mut self.output
            && std::mem::take(frame_open)
        {
            encoder.try_finish()?;
        }
        Ok(())
    }

    fn empty_frame(&mut self) -> io::Result<()> {
        if let Output::Lz4 { encoder, lz4, .. } = &mut self.output {
            let frame = FrameEncoder::with_frame_info(frame_info(*lz4), Vec::new()).finish()?;
            encoder.get_mut().extend_from_slice(&frame);
        }
        Ok(())
    }

    fn take_body(&mut self) -> io::Result<ArrowBody> {
        self.end_frame()?;
        let body = match &mut self.output {
            Output::Plain(bytes) => std::mem::take(bytes),
            Output::Lz4 { encoder, .. } => std::mem::take(encoder.get_mut()),
        };
        let uncompressed_bytes = std::mem::take(&mut self.uncompressed_bytes);
        Ok(ArrowBody { body: Bytes::from(body), uncompressed_bytes })
    }
}

impl Write for BodySink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.output {
            Output::Plain(body) => body.write(bytes)?,
            Output::Lz4 { encoder, frame_open, .. } => {
                *frame_open |= !bytes.is_empty();
                encoder.write(bytes)?
            }
        };
        self.uncompressed_bytes += written as u64;
        Ok(written)
    }

    /// Does nothing: flushing an LZ4 encoder would end its block early.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Independent blocks of 4 MiB at most: header `60 70`, with checksums `74 70`, as recorded.
fn frame_info(lz4: Lz4) -> FrameInfo {
    FrameInfo::new()
        .block_mode(BlockMode::Independent)
        .block_size(BlockSize::Max4MB)
        .block_checksums(lz4.checksums)
        .content_checksum(lz4.checksums)
}

#[cfg(test)]
mod tests {
    use arrow_array::record_batch;

    use super::*;

    const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

    fn batches() -> Vec<RecordBatch> {
        (0..3).map(|first| record_batch!(("id", Int64, [first, first + 1])).unwrap()).collect()
    }

    fn body(groups: &[Vec<RecordBatch>], framing: Lz4Framing, checksums: bool) -> Vec<ArrowBody> {
        encode(&batches()[0].schema(), groups, Some(Lz4 { framing, checksums })).unwrap()
    }

    fn frames(body: &[u8]) -> usize {
        body.windows(4).filter(|window| *window == MAGIC).count()
    }

    #[test]
    fn frames_follow_the_messages_and_read_back() {
        for (framing, checksums, expected) in [
            (Lz4Framing::PerMessage, false, 5),
            (Lz4Framing::PerMessage, true, 5),
            (Lz4Framing::Single, false, 1),
            (Lz4Framing::EmptyFrameInside, false, 6),
        ] {
            let bodies = body(&[batches()], framing, checksums);
            let [only] = bodies.as_slice() else { panic!("one body") };
            assert_eq!(frames(&only.body), expected, "{framing:?}");
            let flags = if checksums { 0x74 } else { 0x60 };
            assert_eq!(only.body[4..6], [flags, 0x70], "{framing:?}");
            assert_eq!(decode(&only.body, true).unwrap().1, batches());
        }
    }

    #[test]
    fn without_lz4_the_body_is_the_stream() {
        let bodies = encode(&batches()[0].schema(), &[batches()], None).unwrap();
        assert_eq!(bodies[0].body.len() as u64, bodies[0].uncompressed_bytes);
        assert_eq!(bodies[0].body[bodies[0].body.len() - 8..], [255, 255, 255, 255, 0, 0, 0, 0]);
        assert_eq!(decode(&bodies[0].body, false).unwrap().1, batches());
    }

    #[test]
    fn several_groups_are_pieces_of_one_stream() {
        let groups: Vec<Vec<RecordBatch>> = batches().into_iter().map(|batch| vec![batch]).collect();
        for framing in [Lz4Framing::PerMessage, Lz4Framing::Single] {
            let bodies = body(&groups, framing, false);
            assert_eq!(bodies.len(), 3);
            assert!(decode(&bodies[1].body, true).is_err(), "a later piece is no stream by itself");
            let whole: Vec<u8> = bodies.iter().flat_map(|body| body.body.to_vec()).collect();
            assert_eq!(decode(&whole, true).unwrap().1, batches());
        }
    }

    #[test]
    fn no_batches_still_make_a_schema() {
        let bodies = body(&[Vec::new()], Lz4Framing::PerMessage, false);
        let (schema, none) = decode(&bodies[0].body, true).unwrap();
        assert_eq!((schema, none.len()), (batches()[0].schema(), 0));
    }
}
