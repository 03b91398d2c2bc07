//! Acknowledgements that wait to be sent.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::faults::Fault;

/// What is to be done with the next acknowledgement.
#[derive(Debug)]
pub(crate) struct Decision(pub(crate) Option<Fault>);

/// The offsets stored and not yet acknowledged, with the time from which on they are durable.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    waiting: VecDeque<(Instant, i64)>,
    /// Nothing is sent before.
    held_until: Option<Instant>,
    pub(crate) decision: Option<Decision>,
}

impl Acks {
    /// Adds the next offset. It is durable no sooner than those before it, for an acknowledgement covers them all.
    pub(crate) fn push(&mut self, durable: Instant, offset: i64) {
        let last = self.waiting.back().map_or(durable, |(instant, _)| *instant);
        self.waiting.push_back((durable.max(last), offset));
    }

    /// When there is something to be sent.
    pub(crate) fn due(&self) -> Option<Instant> {
        let (durable, _) = self.waiting.front()?;
        Some(self.held_until.map_or(*durable, |held| held.max(*durable)))
    }

    /// Puts off the next acknowledgement, of which has been decided already.
    pub(crate) fn hold(&mut self, until: Instant, fault: Option<Fault>) {
        self.held_until = Some(until);
        self.decision = Some(Decision(fault));
    }

    /// Ends the wait for an idle client, and the interval.
    pub(crate) fn release(&mut self) {
        if matches!(self.decision, Some(Decision(None))) {
            return;
        }
        self.held_until = None;
    }

    /// Takes what is durable: the last such offset. The next acknowledgement follows no sooner than after `interval`.
    pub(crate) fn take(&mut self, now: Instant, interval: Duration) -> Option<i64> {
        let mut last = None;
        while let Some((_, offset)) = self.waiting.pop_front_if(|(durable, _)| *durable <= now) {
            last = Some(offset);
        }
        self.held_until = Some(now + interval);
        last
    }

    /// Puts back what was acknowledged in part.
    pub(crate) fn put_back(&mut self, now: Instant, offset: i64) {
        self.waiting.push_front((now, offset));
    }

    /// Takes all there is.
    pub(crate) fn take_all(&mut self) -> Option<i64> {
        self.waiting.drain(..).next_back().map(|(_, offset)| offset)
    }
}
