//! The byte budget of one result.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Bytes of chunks that may be held at once: compressed, being decoded, or decoded and not yet taken.
///
/// Chunks are admitted in consumption order by one task, and a chunk is always admitted when no other holds anything:
/// one that is larger than the whole budget passes alone, and the head of the line cannot starve.
#[derive(Debug)]
pub(crate) struct ByteBudget {
    limit: usize,
    used: Mutex<usize>,
    released: Notify,
}

/// A share of the budget, returned when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: Arc<ByteBudget>,
    bytes: usize,
}

impl ByteBudget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: Mutex::new(0), released: Notify::new() })
    }

    /// Waits until `bytes` fit. Called by one task at a time, in the order in which chunks are consumed.
    pub(crate) async fn acquire(self: &Arc<Self>, bytes: usize) -> Permit {
        loop {
            {
                let mut used = self.used();
                if *used == 0 || used.saturating_add(bytes) <= self.limit {
                    *used = used.saturating_add(bytes);
                    return Permit { budget: Arc::clone(self), bytes };
                }
            }
            // A release between the check and this line has stored a permit, so it is not missed.
            self.released.notified().await;
        }
    }

    fn used(&self) -> std::sync::MutexGuard<'_, usize> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Raises the estimate to what is known to be held already.
    pub(crate) fn grow(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.resize(bytes);
        }
    }

    /// Replaces the estimate by what is really held. Never waits: what is in memory is in memory.
    pub(crate) fn resize(&mut self, bytes: usize) {
        let mut used = self.budget.used();
        *used = used.saturating_sub(self.bytes).saturating_add(bytes);
        self.bytes = bytes;
        drop(used);
        self.budget.released.notify_one();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn is_refused(budget: &Arc<ByteBudget>, bytes: usize) -> bool {
        tokio::time::timeout(Duration::from_millis(20), budget.acquire(bytes)).await.is_err()
    }

    #[tokio::test]
    async fn admits_up_to_the_limit_and_after_a_release() {
        let budget = ByteBudget::new(100);
        let first = budget.acquire(60).await;
        assert!(is_refused(&budget, 60).await);
        let mut second = budget.acquire(40).await;
        assert!(is_refused(&budget, 1).await);
        second.resize(10);
        drop(budget.acquire(30).await);
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.acquire(60).await.bytes }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert_eq!(waiting.await.unwrap(), 60);
    }

    #[tokio::test]
    async fn a_chunk_larger_than_the_budget_passes_alone() {
        let budget = ByteBudget::new(100);
        let large = budget.acquire(1000).await;
        assert!(is_refused(&budget, 1).await);
        drop(large);
        drop(budget.acquire(1).await);
        assert_eq!(*budget.used(), 0);
    }
}
