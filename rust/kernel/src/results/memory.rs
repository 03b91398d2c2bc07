//! Memory of decoded chunks, used again once the consumer has let go of it.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arrow_buffer::Buffer;
use bytes::Bytes;

/// Free memory kept for the next chunks of the same result. A page that was written before costs no page fault, and for
/// a 20 MiB chunk those take as long as decoding it (measured: half of the CPU time was the system's).
const MAX_FREE_BYTES: usize = 48 << 20;

/// Memory of consumed chunks of one result. Lives as long as the result; what outlives it is simply freed.
#[derive(Debug, Default)]
pub(crate) struct ChunkMemory {
    free: Mutex<Vec<Vec<u8>>>,
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
