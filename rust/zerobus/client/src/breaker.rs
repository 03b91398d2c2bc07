//! When to leave a table alone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;
use tracing::warn;

use crate::config::WrapperConfiguration;
use crate::error::ZerobusError;

/// Pause after the service refused new streams into the table, and what is added at random.
const BLOCKED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(30));
/// Pause after too many rows failed, and what is added at random.
const FAILING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15));
/// How far back rows count.
const WINDOW: Duration = Duration::from_secs(300);
/// Rows below which no share says anything.
const LEAST_ROWS: usize = 100;

/// What wrappers share that ask for it. It holds nothing that no wrapper holds.
static SHARED: Mutex<Vec<Shared>> = Mutex::new(Vec::new());

/// Endpoint, table, and what is shared there.
type Shared = (String, String, Weak<Mutex<State>>);

/// The pauses of one table.
#[derive(Debug)]
pub(crate) struct Breaker {
    counts_failures: bool,
    state: Arc<Mutex<State>>,
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
    /// Returns that of a wrapper: its own, or the one it shares with the others of this process.
    pub(crate) fn of(config: &WrapperConfiguration) -> Self {
        let state = if config.failure_backoff_shared {
            shared(config.zerobus_endpoint.trim_end_matches('/'), &config.table_name)
        } else {
            Arc::default()
        };
        Self { counts_failures: config.failure_backoff_enabled, state }
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

fn shared(endpoint: &str, table: &str) -> Arc<Mutex<State>> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.retain(|(.., state)| state.strong_count() > 0);
    let found = shared.iter().find(|(of, name, _)| of == endpoint && name == table);
    if let Some(state) = found.and_then(|(.., state)| state.upgrade()) {
        return state;
    }
    let state = Arc::default();
    shared.push((endpoint.to_owned(), table.to_owned(), Arc::downgrade(&state)));
    state
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

    fn breaker(counts_failures: bool) -> Breaker {
        Breaker { counts_failures, state: Arc::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_are_shared_by_the_wrappers_of_a_table_that_ask_for_it() {
        let of = |endpoint, table, failure_backoff_shared| {
            let config = WrapperConfiguration::new(endpoint, table);
            Breaker::of(&WrapperConfiguration { failure_backoff_shared, ..config })
        };
        let first = of("http://one", "a.b.shared", true);
        let second = of("http://one/", "a.b.shared", true);
        let others = [
            of("http://one", "a.b.shared", false),
            of("http://one", "a.b.other", true),
            of("http://two", "a.b.shared", true),
        ];
        first.count(60, 30);
        second.count(60, 30);
        for breaker in [&first, &second, &of("http://one", "a.b.shared", true)] {
            assert!(breaker.check().unwrap_err().to_string().contains("more than 1 % of the rows failed"));
        }
        assert!(others.iter().all(|breaker| breaker.check().is_ok()));
        drop((first, second));
        let third = of("http://one", "a.b.shared", true);
        assert!(third.check().is_ok(), "nobody was left who remembered");
        let known = |table: &str| {
            let shared = SHARED.lock().unwrap();
            shared.iter().filter(|(_, name, state)| name == table && state.strong_count() > 0).count()
        };
        assert_eq!((known("a.b.shared"), known("a.b.other")), (2, 1));
    }

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
                let breaker = breaker(false);
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
        let breaker = breaker(true);
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
