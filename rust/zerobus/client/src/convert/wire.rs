//! The encoding of Protobuf.

use std::ops::Range;

/// Bytes that must follow the last byte written, for all is written in whole words.
const SLACK: usize = 16;
/// Bytes that are copied without looking at how many there are.
const SHORT: usize = 16;

/// The first bytes of a field: number and wire type, encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tag {
    word: u64,
    len: usize,
}

impl Tag {
    pub(super) fn new(number: i32, wire_type: u32) -> Self {
        let key = u64::from((number.unsigned_abs() << 3) | wire_type);
        Self { word: spread(key), len: varint_len(key) }
    }

    pub(super) fn len(self) -> usize {
        self.len
    }
}

pub(super) fn varint_len(value: u64) -> usize {
    ((64 - (value | 1).leading_zeros() as usize) * 9 + 64) / 64
}

pub(super) fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

/// The bytes of a varint of up to 8 bytes, in order from the lowest.
fn spread(value: u64) -> u64 {
    let x = (value & 0x0fff_ffff) | ((value & 0x00ff_ffff_f000_0000) << 4);
    let x = (x & 0x0000_3fff_0000_3fff) | ((x & 0x0fff_c000_0fff_c000) << 2);
    let x = (x & 0x007f_007f_007f_007f) | ((x & 0x3f80_3f80_3f80_3f80) << 1);
    let continued = (1_u64 << (8 * (varint_len(value) - 1))) - 1;
    x | (0x8080_8080_8080_8080 & continued)
}

/// Memory that is written from the front.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// What is written and zeros.
    bytes: Vec<u8>,
    at: usize,
    /// From there on bytes stay as they are.
    end: usize,
}

impl Writer {
    /// With room for `capacity` bytes.
    pub(super) fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity + SLACK], at: 0, end: usize::MAX }
    }

    /// Bytes written.
    pub(super) fn len(&self) -> usize {
        self.at
    }

    /// Makes room for `more` bytes.
    pub(super) fn reserve(&mut self, more: usize) {
        let needed = self.at + more + SLACK;
        if needed > self.bytes.len() {
            self.bytes.resize(needed.max(self.bytes.len() * 2), 0);
        }
    }

    /// Goes to `at` and leaves what is from `end` on as it is.
    #[inline]
    pub(super) fn seek(&mut self, at: usize, end: usize) {
        (self.at, self.end) = (at, end);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.truncate(self.at);
        // A request waits for its acknowledgement; what it does not need is not to wait with it.
        if self.bytes.capacity() / 2 > self.at {
            self.bytes.shrink_to_fit();
        }
        self.bytes
    }

    /// Writes the lowest `len` bytes of `word`.
    #[inline]
    fn word(&mut self, word: u64, len: usize) {
        if let Some(place) = self.bytes.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut) {
            let word = if self.at + size_of::<u64>() <= self.end {
                word
            } else {
                let behind = u64::MAX.checked_shl(8 * len as u32).unwrap_or(0);
                (word & !behind) | (u64::from_le_bytes(*place) & behind)
            };
            *place = word.to_le_bytes();
        }
        self.at += len;
    }

    #[inline]
    pub(super) fn tag(&mut self, tag: Tag) {
        self.word(tag.word, tag.len);
    }

    #[inline]
    pub(super) fn varint(&mut self, value: u64) {
        if value < 0x80 {
            self.word(value, 1);
        } else if value < 1 << 56 {
            self.word(spread(value), varint_len(value));
        } else {
            self.word(spread(value & ((1 << 56) - 1)) | 0x8080_8080_8080_8080, 8);
            let high = value >> 56;
            if high < 0x80 {
                self.word(high, 1);
            } else {
                self.word((high & 0x7f) | 0x80 | (high >> 7 << 8), 2);
            }
        }
    }

    #[inline]
    pub(super) fn fixed32(&mut self, value: u32) {
        self.word(u64::from(value), 4);
    }

    #[inline]
    pub(super) fn fixed64(&mut self, value: u64) {
        self.word(value, 8);
    }

    /// Writes the bytes of `data` in `range`, with their length before them; none where there are no such.
    #[inline]
    pub(super) fn part(&mut self, data: &[u8], range: Range<usize>) {
        let Some(bytes) = data.get(range.clone()) else { return self.bytes(&[]) };
        self.varint(bytes.len() as u64);
        // What is short is copied as two words, with whatever is behind it.
        if bytes.len() <= SHORT
            && self.at + SHORT <= self.end
            && let Some(short) = data.get(range.start..).and_then(<[u8]>::first_chunk::<SHORT>)
            && let Some(place) = self.bytes.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut)
        {
            *place = *short;
        } else if let Some(place) = self.bytes.get_mut(self.at..self.at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        self.at += bytes.len();
    }

    /// Writes bytes with their length before them.
    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        if let Some(place) = self.bytes.get_mut(self.at..self.at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        self.at += bytes.len();
    }
}
