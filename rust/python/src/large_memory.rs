//! Large blocks straight from the system, so that they go back to it.
//!
//! glibc raises the size from which it maps memory block by block with each large block that is freed, to 32 MiB at most,
//! and then keeps up to 64 MiB free at the top of each arena, of which there are many. After 26 results of 60 MB, six at a
//! time, 500 MB stayed with the process (measured). Here each block of a megabyte or more is a mapping of its own; a few
//! freed ones are kept for the next result, for a page that was written before costs no page fault.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::Mutex;

/// Blocks from this size on are mapped. Also the step in which lengths grow, so that blocks of about one size fit each
/// other; what is not written takes no memory.
const STEP: usize = 1 << 20;
/// Most blocks kept when they are freed.
const MAX_FREE_BLOCKS: usize = 8;
/// Most bytes kept in them.
const MAX_FREE_BYTES: usize = 24 << 20;
const PAGE: usize = 4096;

/// The allocator of this extension module; that of Python and of other modules is not touched.
pub(crate) struct LargeMemory {
    free: Mutex<FreeBlocks>,
}

struct FreeBlocks {
    /// Address and length; 0 where there is none.
    blocks: [(usize, usize); MAX_FREE_BLOCKS],
    bytes: usize,
}

impl FreeBlocks {
    fn take(&mut self, length: usize) -> Option<usize> {
        let place = self.blocks.iter_mut().find(|(_, free)| *free == length)?;
        self.bytes -= length;
        Some(std::mem::take(place).0)
    }

    fn keep(&mut self, address: usize, length: usize) -> bool {
        let Some(place) = self.blocks.iter_mut().find(|(_, free)| *free == 0) else { return false };
        if self.bytes + length > MAX_FREE_BYTES {
            return false;
        }
        *place = (address, length);
        self.bytes += length;
        true
    }
}

impl LargeMemory {
    pub(crate) const fn new() -> Self {
        Self { free: Mutex::new(FreeBlocks { blocks: [(0, 0); MAX_FREE_BLOCKS], bytes: 0 }) }
    }
}

/// Length of the mapping for `size` bytes; it follows from the size alone, for that is all that is known when they are freed.
fn mapped(size: usize, align: usize) -> Option<usize> {
    (size >= STEP && align <= PAGE).then(|| size.checked_next_multiple_of(STEP)).flatten()
}

fn map(length: usize) -> *mut u8 {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new anonymous mapping concerns no memory that exists.
    let address = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED { ptr::null_mut() } else { address.cast() }
}

// SAFETY: a block is a mapping or one of `System`, which `mapped` tells from the layout alone, the same for every call. A
// mapping is private to its block until it is freed; while it is kept it belongs to `free`, and only to that.
unsafe impl GlobalAlloc for LargeMemory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(length) = mapped(layout.size(), layout.align()) else {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        };
        // Never waits: in a forked child the lock may be held by a thread that does not exist there.
        match self.free.try_lock().ok().and_then(|mut free| free.take(length)) {
            Some(address) => ptr::with_exposed_provenance_mut(address),
            None => map(length),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match mapped(layout.size(), layout.align()) {
            // New pages are zero.
            Some(length) => map(length),
            // SAFETY: the caller's promise.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(length) = mapped(layout.size(), layout.align()) else {
            // SAFETY: the caller's promise, and the block is one of `System`.
            return unsafe { System.dealloc(block, layout) };
        };
        if self.free.try_lock().is_ok_and(|mut free| free.keep(block.expose_provenance(), length)) {
            return;
        }
        // SAFETY: the block is a mapping of this length, and nobody uses it any more.
        unsafe { libc::munmap(block.cast(), length) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match (mapped(layout.size(), layout.align()), mapped(size, layout.align())) {
            // SAFETY: the caller's promise, and both blocks are those of `System`.
            (None, None) => unsafe { System.realloc(block, layout, size) },
            (Some(old), Some(new)) if old == new => block,
            (Some(old), Some(new)) => {
                // SAFETY: the block is a mapping of length `old`, and the caller uses only what is returned.
                let moved = unsafe { libc::mremap(block.cast(), old, new, libc::MREMAP_MAYMOVE) };
                if moved == libc::MAP_FAILED { ptr::null_mut() } else { moved.cast() }
            }
            _ => {
                // SAFETY: the caller promises that `size` is not 0 and does not overflow with this alignment.
                let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
                // SAFETY: as above.
                let moved = unsafe { self.alloc(wanted) };
                if !moved.is_null() {
                    // SAFETY: both blocks are that long, and the new one overlaps nothing.
                    unsafe { ptr::copy_nonoverlapping(block, moved, layout.size().min(size)) };
                    // SAFETY: the caller's promise.
                    unsafe { self.dealloc(block, layout) };
                }
                moved
            }
        }
    }
}
