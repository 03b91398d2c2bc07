//! Who may open connections to storage hosts: one slot for each request under way.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most requests at once, whatever is configured.
const MAX_SLOTS: usize = 1024;

/// Requests at once until the first chunk is ready: about half of them for its ranges.
const FIRST_SLOTS: usize = 12;

/// The slots of one result.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    /// Slots that there are only when the first chunk is ready. The reader waits for just that one, and where the network
    /// or the processor is the limit, each of the others takes its share of it.
    later: usize,
    at_first: usize,
}

impl Slots {
    pub(crate) fn new(max_concurrent_downloads: usize) -> Self {
        let most = max_concurrent_downloads.clamp(1, MAX_SLOTS);
        let at_first = most.min(FIRST_SLOTS);
        Self { free: Arc::new(Semaphore::new(at_first)), later: most - at_first, at_first }
    }

    /// Waits for a slot for the chunk at `place`, of which up to `useful_ranges` may be fetched at once; `followers` is how
    /// many come behind it, where that is known.
    pub(crate) async fn connections(
        &self,
        place: u64,
        followers: Option<usize>,
        useful_ranges: usize,
    ) -> Option<Connections> {
        let slot = Arc::clone(&self.free).acquire_owned().await.ok()?;
        let mut later = None;
        if place == 0 {
            let rest = Later { free: Arc::clone(&self.free), count: self.later };
            // Where all are few, nobody has to wait.
            later = followers.is_none_or(|followers| followers >= self.at_first).then_some(rest);
        }
        let spare = match (place, followers) {
            (0, None) => self.free.available_permits().div_ceil(2),
            // Slots that no chunk behind this one will need.
            (_, Some(followers)) => self.free.available_permits() / (followers + 1),
            (_, None) => 0,
        };
        let spare = u32::try_from(spare.min(useful_ranges.saturating_sub(1))).unwrap_or(0);
        let spare = Arc::clone(&self.free).try_acquire_many_owned(spare).ok();
        Some(Connections { free: Arc::clone(&self.free), held: Some(Held { slot, spare }), later })
    }
}

/// What one chunk may open connections with.
pub(crate) struct Connections {
    free: Arc<Semaphore>,
    held: Option<Held>,
    #[expect(dead_code, reason = "held")]
    later: Option<Later>,
}

struct Held {
    #[expect(dead_code, reason = "held")]
    slot: OwnedSemaphorePermit,
    /// With these it is fetched in ranges.
    spare: Option<OwnedSemaphorePermit>,
}

/// Slots that there are only when this is dropped.
struct Later {
    free: Arc<Semaphore>,
    count: usize,
}

impl Drop for Later {
    fn drop(&mut self) {
        self.free.add_permits(self.count);
    }
}

impl Connections {
    /// How many may be opened, after waiting for one where none is held.
    pub(crate) async fn count(&mut self) -> usize {
        if self.held.is_none() {
            self.held = self.another().await.map(|slot| Held { slot, spare: None });
        }
        let spare = self.held.as_ref().and_then(|held| held.spare.as_ref());
        1 + spare.map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Waits for one more.
    pub(crate) async fn another(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// Gives all back, for the body is there.
    pub(crate) fn release(&mut self) {
        self.held = None;
    }
}
