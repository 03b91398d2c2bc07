//! When to leave a table alone.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;
use tracing::warn;

use crate::error::ZerobusError;

/// Pause after the service refused new streams into the table, and what is added at random.
const BLOCKED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(30));
/// Pause after too many rows failed, and what is added at random.
const FAILING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15));
/// How far back rows count.
const WINDOW: Duration = Duration::from_secs(300);
/// Rows below which no share says anything.
const LEAST_ROWS: usize = 100;

/// The pauses of one table.
#[derive(Debug)]
pub(crate) struct Breaker {
    counts_failures: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pause: Option<Pause>,
    /// Rows and failed rows of each call.
    calls: VecDeque<(Instant, usize, usize)>,
    /// Their sums.
    rows: usize,
    failed: usize,
}

#[derive(Debug)]
struct Pause {
    until: Instant,
    why: &'static str,
}

impl Breaker {
    pub(crate) fn new(counts_failures: bool) -> Self {
        Self { counts_failures, state: Mutex::default() }
    }

    /// # Errors
    /// `ConnectionError` with the seconds that are left of a pause.
    pub(crate) fn check(&self) -> Result<(), ZerobusError> {
        let mut state = self.state();
        let Some(pause) = &state.pause else { return Ok(()) };
        let left = pause.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            state.pause = None;
            return Ok(());
        }
        let seconds = left.as_millis().div_ceil(1000);
        Err(ZerobusError::connection(format!("{}: writes pause for another {seconds} s", pause.why)))
    }

    /// The service refuses new streams into the table.
    pub(crate) fn block(&self) {
        self.state().pause(BLOCKED, "the service refuses new streams into this table (6006)");
    }

    /// Counts the rows of a call that were to be sent, and those of them that were not stored.
    pub(crate) fn count(&self, rows: usize, failed: usize) {
        if !self.counts_failures || rows == 0 {
            return;
        }
        let mut state = self.state();
        let now = Instant::now();
        // Of a call that began before: its rows failed for what the pause is for.
        if state.pause.as_ref().is_some_and(|pause| now < pause.until) {
            return;
        }
        state.calls.push_back((now, rows, failed));
        state.rows += rows;
        state.failed += failed;
        while let Some((moment, rows, failed)) = state.calls.front().copied()
            && now - moment > WINDOW
        {
            state.calls.pop_front();
            state.rows -= rows;
            state.failed -= failed;
        }
        if state.rows >= LEAST_ROWS && state.failed * 100 > state.rows {
            state.calls.clear();
            (state.rows, state.failed) = (0, 0);
            state.pause(FAILING, "more than 1 % of the rows failed");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pause(&mut self, (least, random): (Duration, Duration), why: &'static str) {
        let pause = least + rand::rng().random_range(Duration::ZERO..=random);
        let until = Instant::now() + pause;
        // One that is under way is not cut short.
        if self.pause.as_ref().is_none_or(|pause| pause.until < until) {
            warn!(seconds = pause.as_secs(), why, "writes pause");
            self.pause = Some(Pause { until, why });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until it lets through again.
    async fn pause(breaker: &Breaker) -> u64 {
        for second in 0.. {
            if breaker.check().is_ok() {
                return second;
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        unreachable!()
    }

    #[tokio::test(start_paused = true)]
    async fn f29_a_blocked_table_pauses_for_a_minute_and_up_to_a_half() {
        let pauses: Vec<u64> = {
            let mut pauses = Vec::new();
            for _ in 0..100 {
                let breaker = Breaker::new(false);
                breaker.block();
                pauses.push(pause(&breaker).await);
            }
            pauses
        };
        assert!(pauses.iter().all(|pause| (60..=91).contains(pause)), "{pauses:?}");
        assert!(pauses.iter().max().unwrap() - pauses.iter().min().unwrap() > 15, "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn f30_more_than_one_per_cent_of_a_hundred_rows_pause() {
        let breaker = Breaker::new(true);
        breaker.count(99, 99);
        breaker.check().unwrap();
        breaker.count(10_000, 1);
        breaker.check().unwrap();
        breaker.count(10, 10);
        let text = breaker.check().unwrap_err().to_string();
        assert!(
            text.starts_with("Connection error: more than 1 % of the rows failed: writes pause for another "),
            "{text}"
        );
        let seconds = pause(&breaker).await;
        assert!((30..=46).contains(&seconds), "{seconds}");
        // It counts from nothing.
        breaker.count(99, 99);
        breaker.check().unwrap();
        // What is older than five minutes is forgotten.
        tokio::time::advance(WINDOW + Duration::from_secs(1)).await;
        breaker.count(1, 1);
        breaker.check().unwrap();
        breaker.count(99, 0);
        breaker.check().unwrap();
    }
}
