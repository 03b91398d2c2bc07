//! Shaping a finished result into answers, as the switches want them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::value::RawValue;
use time::OffsetDateTime;

use crate::clock::expiration_stamp;
use crate::result::{Chunk, Disposition, Format, StatementResult};
use crate::store::LinkSigner;
use crate::submission::Refused;
use crate::switches::{ByteCount, LinkCount, ManifestChunks, NextChunkIndex, Switches};
use crate::wire::{ChunkInfo, ExternalLink, Manifest, ManifestSchema, NextChunk, ResultData};

/// One result on its way to a client.
#[derive(Debug)]
pub(crate) struct Delivery<'result> {
    pub(crate) statement_id: &'result str,
    pub(crate) disposition: Disposition,
    pub(crate) result: &'result StatementResult,
    pub(crate) switches: &'result Switches,
    pub(crate) signer: &'result LinkSigner,
    pub(crate) storage_address: &'result str,
}

impl<'result> Delivery<'result> {
    pub(crate) fn manifest(&self) -> Manifest<'result> {
        let result = self.result;
        let external = !result.inline;
        let total_bytes: u64 = result.chunks.iter().map(|chunk| chunk.uncompressed_bytes).sum();
        let shown = match self.switches.manifest_chunks {
            ManifestChunks::Exact | ManifestChunks::Wrong => Some(result.chunks.len()),
            ManifestChunks::Partial => Some(result.chunks.len().div_ceil(2)),
            ManifestChunks::Absent => None,
        };
        let chunks = shown.filter(|_| !result.chunks.is_empty()).map(|shown| {
            let info = |(chunk_index, chunk): (usize, &Chunk)| ChunkInfo {
                chunk_index,
                row_offset: chunk.row_offset,
                row_count: chunk.row_count,
                byte_count: self.bytes_of(chunk).is_some().then_some(chunk.uncompressed_bytes),
            };
            let mut chunks: Vec<ChunkInfo> = result.chunks.iter().enumerate().take(shown).map(info).collect();
            let middle = chunks.len() / 2;
            if self.switches.manifest_chunks == ManifestChunks::Wrong && middle > 0 {
                let hidden = chunks.remove(middle).row_count;
                chunks.iter_mut().take(middle).last().into_iter().for_each(|before| before.row_count += hidden);
            }
            chunks
        });
        Manifest {
            format: result.format.name(),
            schema: ManifestSchema { column_count: result.columns.len(), columns: &result.columns },
            total_chunk_count: self.switches.total_chunk_count.announce(result.chunks.len() as u64),
            chunks,
            total_row_count: self.switches.total_row_count.announce(result.row_count),
            total_byte_count: (external || result.format == Format::ArrowStream || result.chunks.is_empty())
                .then_some(total_bytes),
            truncated: result.truncated,
            result_compression: result.compressed.then_some("LZ4_FRAME"),
            is_volume_operation: result.volume_operation.then_some(true),
        }
    }

    /// The `result` object that opens with chunk `first`; empty for a result without chunks.
    pub(crate) fn data(&self, first: usize) -> ResultData<'result> {
        let Some(chunk) = self.result.chunks.get(first) else { return ResultData::default() };
        if !self.result.inline {
            return self.links(first);
        }
        let next = self.next_after(first);
        let json = self.result.format == Format::JsonArray;
        ResultData {
            chunk_index: Some(first),
            row_offset: Some(chunk.row_offset),
            row_count: Some(chunk.row_count),
            byte_count: (!json).then_some(chunk.body.len() as u64),
            next_chunk_index: next,
            next_chunk_internal_link: self.internal_link(next),
            data_array: if json { raw_json(&chunk.body) } else { None },
            attachment: (!json).then(|| BASE64_STANDARD.encode(&chunk.body)),
            external_links: None,
        }
    }

    /// Answers a chunk call.
    pub(crate) fn chunk(&self, chunk_index: u64, row_offset: Option<i64>) -> Result<ResultData<'result>, Refused> {
        let place = usize::try_from(chunk_index).ok();
        let Some((place, chunk)) = place.and_then(|place| Some((place, self.result.chunks.get(place)?))) else {
            return Err(Refused::invalid(format!(
                "chunk_index {chunk_index} is out of range, the result has {} chunks",
                self.result.chunks.len()
            )));
        };
        match row_offset {
            None if self.switches.strict_row_offset => {
                Err(Refused::invalid("the query parameter row_offset is missing"))
            }
            Some(offset) if u64::try_from(offset).ok() != Some(chunk.row_offset) => Err(Refused::invalid(format!(
                "row_offset {offset} does not match chunk {chunk_index}, which starts at {}",
                chunk.row_offset
            ))),
            _ => Ok(self.data(place)),
        }
    }

    /// Whether this answer holds the last chunk, inline.
    pub(crate) fn is_complete_inline(&self) -> bool {
        self.result.inline && self.result.chunks.len() <= 1
    }

    fn links(&self, first: usize) -> ResultData<'result> {
        let count = match self.disposition {
            Disposition::Hybrid => self.switches.hybrid_links_per_response,
            _ => self.switches.external_links_per_response,
        };
        let count = match count {
            LinkCount::AtMost(count) => count.get(),
            LinkCount::All => usize::MAX,
        };
        let chunks = self.result.chunks.iter().enumerate().skip(first).take(count);
        let links: Vec<ExternalLink> = chunks.map(|(chunk_index, chunk)| self.link(chunk_index, chunk)).collect();
        let place = self.switches.next_chunk_index;
        let top = if place == NextChunkIndex::Link {
            NextChunk::LeftOut
        } else {
            self.next_after(first + links.len().max(1) - 1)
        };
        ResultData {
            next_chunk_index: top,
            next_chunk_internal_link: self.internal_link(top),
            external_links: Some(links),
            ..ResultData::default()
        }
    }

    /// Every call signs anew, which is what makes a chunk call the way to refresh.
    fn link(&self, chunk_index: usize, chunk: &Chunk) -> ExternalLink {
        let now = OffsetDateTime::now_utc();
        let lifetime = self.switches.link_lifetime_seconds;
        let next = if self.switches.next_chunk_index == NextChunkIndex::Top {
            NextChunk::LeftOut
        } else {
            self.next_after(chunk_index)
        };
        let path = self.signer.link(self.statement_id, chunk_index, now, lifetime);
        let expires = now.checked_add(time::Duration::seconds_f64(lifetime.clamp(0.0, 1e9))).unwrap_or(now);
        ExternalLink {
            chunk_index,
            row_offset: chunk.row_offset,
            row_count: chunk.row_count,
            byte_count: self.bytes_of(chunk),
            next_chunk_index: next,
            next_chunk_internal_link: self.internal_link(next),
            external_link: format!("{}{path}", self.storage_address),
            expiration: expiration_stamp(expires),
            http_headers: self.switches.link_headers.clone(),
        }
    }

    fn bytes_of(&self, chunk: &Chunk) -> Option<u64> {
        let json_inline = self.result.inline && self.result.format == Format::JsonArray;
        match self.switches.byte_count {
            _ if json_inline => None,
            ByteCount::Compressed => Some(chunk.body.len() as u64),
            ByteCount::Uncompressed => Some(chunk.uncompressed_bytes),
            ByteCount::Wrong => Some(chunk.uncompressed_bytes.saturating_mul(3) / 2 + 17),
            ByteCount::Absent => None,
        }
    }

    fn next_after(&self, chunk_index: usize) -> NextChunk {
        match chunk_index + 1 {
            next if next < self.result.chunks.len() => NextChunk::Index(next),
            _ if self.switches.null_next_chunk_index => NextChunk::Null,
            _ => NextChunk::LeftOut,
        }
    }

    fn internal_link(&self, next: NextChunk) -> Option<String> {
        let NextChunk::Index(next) = next else { return None };
        Some(format!("/api/2.0/sql/statements/{}/result/chunks/{next}", self.statement_id))
    }
}

/// The body of a JSON chunk is the array itself.
fn raw_json(body: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(body).ok()
}
