//! Visits of I/O threads to the interpreter, which its exit waits for: a thread that the exit finds inside is unwound
//! through frames that cannot be unwound, which ends the process.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::time;

static INSIDE: AtomicUsize = AtomicUsize::new(0);
static CLOSED: AtomicBool = AtomicBool::new(false);

/// A thread on its way into the interpreter or out of it.
pub(crate) struct Visit;

impl Visit {
    /// Begins a visit; `None` where the interpreter is exiting.
    pub(crate) fn begin() -> Option<Self> {
        INSIDE.fetch_add(1, Ordering::SeqCst);
        let visit = Self;
        (!CLOSED.load(Ordering::SeqCst)).then_some(visit)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // Not below zero, should this thread have been forked inside.
        let _ = INSIDE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |inside| inside.checked_sub(1));
    }
}

/// Lets nobody in any more and waits for those inside, for `patience` at most.
pub(crate) async fn close(patience: Duration) {
    CLOSED.store(true, Ordering::SeqCst);
    let deadline = Instant::now() + patience;
    while INSIDE.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
        time::sleep(Duration::from_millis(1)).await;
    }
}

/// Forgets threads that were inside when this process was forked off: they do not exist here.
pub(crate) fn forget() {
    INSIDE.store(0, Ordering::SeqCst);
}
