//! What is on its way: how much may be, and when all of it is done.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::WrapperConfiguration;
use crate::telemetry::Telemetry;

/// Bytes are counted by this many, for permits are counted in 32 bits.
const UNIT: usize = 1024;

/// Conversions at once beside one for each processor: some may wait for the disk of debug files.
const MORE_CONVERSIONS: usize = 2;

/// The room that all requests of a wrapper share, and the calls that are under way.
#[derive(Debug)]
pub(crate) struct InFlight {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    most_units: u32,
    conversions: Arc<Semaphore>,
    calls: watch::Sender<Calls>,
    telemetry: Arc<Telemetry>,
}

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    under_way: BTreeSet<u64>,
}

/// One call that is under way, until all that belongs to it is done.
#[derive(Debug)]
pub(crate) struct Active {
    in_flight: Arc<InFlight>,
    number: u64,
}

/// Room for a request that is still to be made.
#[derive(Debug)]
pub(crate) struct Room {
    _request: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
    active: Arc<Active>,
}

/// The room of one request.
#[derive(Debug)]
pub(crate) struct Hold {
    room: Room,
    bytes: usize,
}

impl InFlight {
    pub(crate) fn new(config: &WrapperConfiguration, telemetry: &Arc<Telemetry>) -> Arc<Self> {
        let most_units = u32::try_from(config.max_inflight_bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).max(1);
        let processors = available_parallelism().map_or(1, NonZero::get);
        Arc::new(Self {
            requests: Arc::new(Semaphore::new(config.max_inflight_requests.clamp(1, Semaphore::MAX_PERMITS))),
            bytes: Arc::new(Semaphore::new(most_units as usize)),
            most_units,
            conversions: Arc::new(Semaphore::new(processors + MORE_CONVERSIONS)),
            calls: watch::Sender::default(),
            telemetry: Arc::clone(telemetry),
        })
    }

    /// Enters a call.
    pub(crate) fn begin(self: &Arc<Self>) -> Arc<Active> {
        let mut number = 0;
        self.calls.send_modify(|calls| {
            number = calls.next;
            calls.next += 1;
            calls.under_way.insert(number);
        });
        Arc::new(Active { in_flight: Arc::clone(self), number })
    }

    /// Units of room for so many bytes; one request that is larger than all the room has it for itself.
    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.most_units)
    }

    /// Bytes that are free, and conversions that may begin.
    #[cfg(test)]
    pub(crate) fn free(&self) -> (usize, usize) {
        (self.bytes.available_permits() * UNIT, self.conversions.available_permits())
    }

    /// Waits until all calls are done that are under way now.
    pub(crate) async fn done(&self) {
        let mut calls = self.calls.subscribe();
        let next = calls.borrow().next;
        let all = |calls: &Calls| calls.under_way.first().is_none_or(|first| *first >= next);
        // The sender lives as long as we do.
        drop(calls.wait_for(all).await);
    }
}

impl Active {
    /// Waits for room for so many bytes.
    pub(crate) async fn room(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let in_flight = &self.in_flight;
        let units = in_flight.units(bytes);
        // Bytes first, and whoever waits for them holds nothing else: a request waits for what is on its way already, never
        // for one that waits as well.
        let bytes = Arc::clone(&in_flight.bytes).acquire_many_owned(units).await.ok()?;
        let request = Arc::clone(&in_flight.requests).acquire_owned().await.ok()?;
        Some(Room { _request: request, bytes, active: Arc::clone(self) })
    }

    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> &Arc<InFlight> {
        &self.in_flight
    }

    /// Waits until something may be converted. Few may at once, for each takes a thread of those that block, and where these
    /// are used up no name is resolved.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.in_flight.conversions).acquire_owned().await.ok()
    }
}

impl Room {
    /// Keeps what the request needs now that it is made.
    pub(crate) fn hold(mut self, bytes: usize) -> Arc<Hold> {
        let in_flight = &self.active.in_flight;
        let (has, needs) = (self.bytes.num_permits(), in_flight.units(bytes) as usize);
        if let Some(surplus) = has.checked_sub(needs) {
            drop(self.bytes.split(surplus));
        } else if let Ok(more) = Arc::clone(&in_flight.bytes).try_acquire_many_owned((needs - has) as u32) {
            // Not to wait for it is better than to wait with what others wait for.
            self.bytes.merge(more);
        }
        in_flight.telemetry.in_flight(1, bytes as i64);
        Arc::new(Hold { room: self, bytes })
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.in_flight.calls.send_modify(|calls| {
            calls.under_way.remove(&self.number);
        });
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.room.active.in_flight.telemetry.in_flight(-1, -(self.bytes as i64));
    }
}
