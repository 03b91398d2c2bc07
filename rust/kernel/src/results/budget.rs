//! The byte budget of one result, and who may decode next.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::Notify;

/// Chunks that decode at once: more than there are cores would only take turns.
static DECODERS: LazyLock<usize> =
    LazyLock::new(|| thread::available_parallelism().map_or(2, |cores| cores.get().max(2)));

/// Bytes of chunks that may be held at once: compressed, being decoded, or decoded and not yet taken.
///
/// A chunk takes room for its body when it is admitted to download, and room for its content when its body is there.
/// Content is several times as large, so that far more files can be on their way than could be held decoded.
///
/// The budget cannot lock up: bodies are admitted in the order of consumption by one task, and one is always admitted when
/// nothing else is held; the chunk that the reader asks for may always decode. The budget is exceeded by the content of
/// that one chunk at most, by a body larger than the whole budget, which passes alone, and by what is larger than was told:
/// that is booked when it is there, and nothing more is admitted until there is room again.
#[derive(Debug)]
pub(crate) struct ByteBudget {
    limit: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    /// Chunks the reader has asked for so far; the last of them is the one it waits for.
    asked: u64,
    decoding: usize,
    /// Places of the chunks that wait to be decoded.
    waiting: BTreeSet<u64>,
}

/// One chunk's share of the budget, returned when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: Arc<ByteBudget>,
    /// Place of the chunk in the order of consumption.
    place: u64,
    bytes: usize,
    /// Those of them that the body takes, also one that is still to come.
    body: usize,
    decoding: bool,
}

impl ByteBudget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, state: Mutex::default(), changed: Notify::new() })
    }

    /// Waits until a body of `body` bytes fits, beside what it takes to keep the decoders busy with chunks of `content`
    /// bytes: bodies that fill the whole budget would have to be decoded one by one.
    ///
    /// Called by one task, with places that count up in the order in which chunks are consumed.
    pub(crate) async fn admit(self: &Arc<Self>, place: u64, body: usize, content: usize) -> Permit {
        let spare = content.saturating_mul(*DECODERS).min(self.limit / 2);
        self.when(|state| {
            let admitted = state.used == 0 || state.used.saturating_add(body).saturating_add(spare) <= self.limit;
            if admitted {
                state.used = state.used.saturating_add(body);
            }
            admitted
        })
        .await;
        Permit { budget: Arc::clone(self), place, bytes: body, body, decoding: false }
    }

    /// The reader asks for the next chunk, having done with all before it.
    pub(crate) fn ask_for(&self, place: u64) {
        let mut state = self.state();
        if state.asked <= place {
            state.asked = place + 1;
            drop(state);
            self.changed.notify_waiters();
        }
    }

    /// Waits until `take` agrees, looking again after each change.
    async fn when(&self, mut take: impl FnMut(&mut State) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Before looking, so that no change between looking and waiting is missed.
            changed.as_mut().enable();
            if take(&mut self.state()) {
                return;
            }
            changed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Waits until the body may be decoded to about `content` bytes, and takes room for them.
    ///
    /// Of those that wait the first in the order of consumption goes first, and none that the reader is far from: decoding
    /// is faster than reading, content is larger than bodies, and memory that was just used is faster than new one.
    pub(crate) async fn decode(&mut self, content: usize) {
        let budget = Arc::clone(&self.budget);
        let decoding = &mut self.decoding;
        budget
            .when(|state| {
                state.waiting.insert(self.place);
                let near = self.place <= state.asked + *DECODERS as u64;
                let fits = state.used.saturating_add(content) <= budget.limit && state.decoding < *DECODERS && near;
                let turn = state.asked > self.place || (fits && state.waiting.first() == Some(&self.place));
                if turn {
                    state.waiting.remove(&self.place);
                    state.used = state.used.saturating_add(content);
                    state.decoding += 1;
                    *decoding = true;
                }
                turn
            })
            .await;
        self.bytes = self.bytes.saturating_add(content);
        // The next in line may fit as well.
        budget.changed.notify_waiters();
    }

    /// The body was of no use; it keeps its room, for it is fetched again.
    pub(crate) fn fetch_again(&mut self) {
        self.settle(self.body);
    }

    /// Decoding has ended, and `bytes` are what is held now.
    pub(crate) fn settle(&mut self, bytes: usize) {
        let mut state = self.budget.state();
        state.decoding -= usize::from(std::mem::take(&mut self.decoding));
        state.used = state.used.saturating_sub(self.bytes).saturating_add(bytes);
        self.bytes = bytes;
        drop(state);
        self.budget.changed.notify_waiters();
    }

    /// Raises the estimate of the body to what has arrived. Never waits: what is in memory is in memory.
    pub(crate) fn grow(&mut self, body: usize) {
        self.body = self.body.max(body);
        if body > self.bytes {
            let mut state = self.budget.state();
            state.used = state.used.saturating_add(body - self.bytes);
            self.bytes = body;
        }
    }

    /// Takes `bytes` more if they fit just now.
    pub(crate) fn try_grow(&mut self, bytes: usize) -> bool {
        let mut state = self.budget.state();
        let fits = state.used.saturating_add(bytes) <= self.budget.limit;
        if fits {
            state.used = state.used.saturating_add(bytes);
            self.bytes = self.bytes.saturating_add(bytes);
        }
        fits
    }

    /// Waits until the reader asks for this chunk.
    pub(crate) async fn asked_for(&self) {
        self.budget.when(|state| state.asked > self.place).await;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.state().waiting.remove(&self.place);
        self.settle(0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn waits(future: impl Future) -> bool {
        timeout(Duration::from_millis(20), future).await.is_err()
    }

    #[tokio::test]
    async fn admits_bodies_up_to_the_limit_and_after_a_release() {
        let budget = ByteBudget::new(100);
        let first = budget.admit(0, 60, 0).await;
        assert!(waits(budget.admit(1, 60, 0)).await);
        let mut second = budget.admit(1, 40, 0).await;
        assert!(waits(budget.admit(2, 1, 0)).await);
        second.settle(10);
        drop(budget.admit(2, 30, 0).await);
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.admit(2, 60, 0).await.bytes }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert_eq!(waiting.await.unwrap(), 60);
    }

    #[tokio::test]
    async fn a_body_larger_than_the_budget_passes_alone() {
        let budget = ByteBudget::new(100);
        let large = budget.admit(0, 1000, 4000).await;
        assert!(waits(budget.admit(1, 1, 0)).await);
        drop(large);
        drop(budget.admit(1, 1, 0).await);
        assert_eq!(budget.state().used, 0);
    }

    #[tokio::test]
    async fn bodies_leave_room_for_the_decoders() {
        let budget = ByteBudget::new(100);
        let _first = budget.admit(0, 10, 20).await;
        assert!(waits(budget.admit(1, 70, 50)).await, "half of the budget is kept for content");
        drop(budget.admit(1, 40, 50).await);
    }

    #[tokio::test]
    async fn the_chunk_asked_for_is_decoded_even_where_nothing_fits() {
        let budget = ByteBudget::new(100);
        let mut first = budget.admit(0, 45, 10).await;
        let mut second = budget.admit(1, 40, 0).await;
        assert!(waits(first.decode(80)).await);
        assert!(waits(second.decode(80)).await);
        budget.ask_for(0);
        first.decode(80).await;
        assert!(waits(second.asked_for()).await);
        assert_eq!(budget.state().used, 165);
        first.settle(80);
        drop(first);
        assert!(waits(second.decode(80)).await, "still does not fit");
        budget.ask_for(1);
        second.asked_for().await;
        second.decode(80).await;
        drop(second);
        let state = budget.state();
        assert_eq!((state.used, state.decoding, state.waiting.len()), (0, 0, 0));
    }

    #[tokio::test]
    async fn of_the_waiting_the_first_in_order_is_decoded_first() {
        let budget = ByteBudget::new(100);
        let mut permits = Vec::new();
        for place in 0..2 {
            permits.push(budget.admit(place, 10, 0).await);
        }
        let mut blocker = budget.admit(2, 0, 0).await;
        blocker.decode(60).await;
        let (done, mut order) = tokio::sync::mpsc::unbounded_channel();
        for mut permit in permits.into_iter().rev() {
            let done = done.clone();
            tokio::spawn(async move {
                permit.decode(60).await;
                done.send(permit.place).unwrap();
                permit.settle(0);
            });
            tokio::task::yield_now().await;
        }
        blocker.settle(0);
        for expected in 0..2 {
            assert_eq!(order.recv().await, Some(expected));
        }
    }

    #[tokio::test]
    async fn a_chunk_that_the_reader_is_far_from_is_not_decoded_yet() {
        let budget = ByteBudget::new(100);
        let far = *DECODERS as u64 + 1;
        let mut near = budget.admit(far - 1, 10, 0).await;
        near.decode(10).await;
        let mut chunk = budget.admit(far, 10, 0).await;
        assert!(waits(chunk.decode(10)).await, "although it fits");
        near.settle(10);
        budget.ask_for(0);
        chunk.decode(10).await;
    }

    #[tokio::test]
    async fn a_chunk_that_gives_up_waiting_lets_the_next_one_pass() {
        let budget = ByteBudget::new(100);
        let mut first = budget.admit(0, 30, 0).await;
        let mut second = budget.admit(1, 30, 0).await;
        assert!(waits(first.decode(60)).await);
        drop(first);
        second.decode(60).await;
    }

    #[tokio::test]
    async fn a_second_download_takes_only_what_is_free() {
        let budget = ByteBudget::new(100);
        let mut permit = budget.admit(0, 40, 0).await;
        assert!(permit.try_grow(60));
        assert!(!permit.try_grow(1));
        drop(permit);
        assert_eq!(budget.state().used, 0);
    }
}
