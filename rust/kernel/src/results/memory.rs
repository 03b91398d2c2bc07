//! Memory of decoded chunks, used again once the consumer has let go of it.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arrow_buffer::Buffer;
use bytes::Bytes;

/// Free memory kept for the next chunks of the same result. A page that was written before costs no page fault, and for
/// a 20 MiB chunk those take as long as decoding it (measured: half of the CPU time was the system's).
const MAX_FREE_BYTES: usize = 40 << 20;
/// The same for bodies as they were downloaded.
const MAX_FREE_BODY_BYTES: usize = 16 << 20;

/// Size and alignment of the huge pages of the common processors.
#[cfg(target_os = "linux")]
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Returns zeroed memory whose pages the system provides as they are first written: where it can, 2 MiB at a time, since
/// the 5000 page faults of a 20 MiB chunk would take as long as decoding it.
pub(crate) fn zeroed(bytes: usize) -> Vec<u8> {
    let memory = vec![0; bytes];
    #[cfg(target_os = "linux")]
    advise_huge_pages(&memory);
    memory
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a system call that the standard library lacks")]
fn advise_huge_pages(memory: &[u8]) {
    let skipped = memory.as_ptr().align_offset(HUGE_PAGE_BYTES);
    let whole = memory.len().saturating_sub(skipped) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    if let Some(pages) = memory.get(skipped..).and_then(|inner| inner.get(..whole)).filter(|pages| !pages.is_empty()) {
        // SAFETY: the range is page-aligned and lies within one live allocation of this process, and the advice changes
        // neither its contents nor its protection. A refusal, as where huge pages are off, changes nothing.
        let _ = unsafe { libc::madvise(pages.as_ptr().cast_mut().cast(), pages.len(), libc::MADV_HUGEPAGE) };
    }
}

/// Memory of consumed chunks of one result. Lives as long as the result; what outlives it is simply freed.
#[derive(Debug, Default)]
pub(crate) struct ChunkMemory {
    free: Mutex<Vec<Vec<u8>>>,
    free_bodies: Mutex<Vec<Vec<u8>>>,
}

impl ChunkMemory {
    /// Returns memory with at least `bytes`, and not much more than that, or none.
    pub(crate) fn take(&self, bytes: usize) -> Vec<u8> {
        let mut free = self.free();
        let fits = |memory: &Vec<u8>| memory.len() >= bytes && memory.len() / 2 <= bytes;
        match free.iter().position(fits) {
            Some(position) => free.swap_remove(position),
            None => Vec::new(),
        }
    }

    /// Makes an Arrow buffer of `content`, whose memory comes back here when the last array over it is dropped.
    pub(crate) fn share(self: &Arc<Self>, memory: Vec<u8>, content: Range<usize>) -> Buffer {
        let shared = Bytes::from_owner(Shared { memory, home: Arc::downgrade(self) });
        Buffer::from(shared.slice(content))
    }

    /// Returns an empty vector with room for `bytes` of body.
    pub(crate) fn take_body(&self, bytes: usize) -> Vec<u8> {
        let mut free = self.free_bodies.lock().unwrap_or_else(PoisonError::into_inner);
        match free.iter().position(|body| body.capacity() >= bytes) {
            Some(position) => free.swap_remove(position),
            None => Vec::with_capacity(bytes),
        }
    }

    /// Takes back the memory of a body that was decoded.
    pub(crate) fn give_body(&self, mut body: Vec<u8>) {
        body.clear();
        let mut free = self.free_bodies.lock().unwrap_or_else(PoisonError::into_inner);
        if free.iter().map(Vec::capacity).sum::<usize>() + body.capacity() <= MAX_FREE_BODY_BYTES {
            free.push(body);
        }
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Shared {
    memory: Vec<u8>,
    home: Weak<ChunkMemory>,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let Some(home) = self.home.upgrade() else { return };
        let mut free = home.free();
        if free.iter().map(Vec::len).sum::<usize>() + self.memory.len() <= MAX_FREE_BYTES {
            free.push(std::mem::take(&mut self.memory));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_when_the_last_slice_is_dropped_and_not_before() {
        let home = Arc::new(ChunkMemory::default());
        let memory = vec![7; 1000];
        let address = memory.as_ptr();
        let buffer = home.share(memory, 64..964);
        assert_eq!((buffer.len(), buffer.as_ptr()), (900, address.wrapping_add(64)));
        let slice = buffer.slice(800);
        drop(buffer);
        assert!(home.take(900).is_empty(), "still referred to");
        assert!(slice.iter().all(|byte| *byte == 7));
        drop(slice);
        assert!(home.take(100).is_empty(), "far larger than needed");
        let again = home.take(900);
        assert_eq!(again.as_ptr(), address);
        assert!(home.take(900).is_empty(), "given away");
    }

    #[test]
    fn bodies_are_used_again_where_they_are_large_enough() {
        let home = ChunkMemory::default();
        let mut body = home.take_body(1000);
        body.extend_from_slice(&[7; 1000]);
        let address = body.as_ptr();
        home.give_body(body);
        let other = home.take_body(1001);
        assert_ne!(other.as_ptr(), address);
        let again = home.take_body(500);
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
        home.give_body(Vec::with_capacity(MAX_FREE_BODY_BYTES + 1));
        assert!(home.take_body(1).capacity() < 1000, "one that is too large to be kept");
    }

    #[test]
    fn new_memory_is_zeroed_at_any_size() {
        for bytes in [0, 1, 4096, (2 << 20) - 1, (4 << 20) + 1, 20 << 20] {
            let memory = zeroed(bytes);
            assert_eq!(memory.len(), bytes);
            assert!(memory.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn free_memory_is_bounded_and_ends_with_the_result() {
        let home = Arc::new(ChunkMemory::default());
        let buffers: Vec<Buffer> = (0..5).map(|_| home.share(vec![0; 20 << 20], 0..10)).collect();
        drop(buffers);
        assert_eq!(home.free().len(), 2);
        let buffer = home.share(vec![1; 100], 0..100);
        drop(home);
        assert_eq!(buffer.len(), 100);
    }
}
