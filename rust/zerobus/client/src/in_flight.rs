//! What is on its way: how much may be, and when all of it is done.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::WrapperConfiguration;
use crate::telemetry::Telemetry;

/// Bytes are counted by this many, for permits are counted in 32 bits.
const UNIT: usize = 1024;

/// The room that all requests of a wrapper share, and the calls that are under way.
#[derive(Debug)]
pub(crate) struct InFlight {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    most_units: u32,
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

/// The room of one request.
#[derive(Debug)]
pub(crate) struct Hold {
    _room: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    bytes: usize,
    active: Arc<Active>,
}

impl InFlight {
    pub(crate) fn new(config: &WrapperConfiguration, telemetry: &Arc<Telemetry>) -> Arc<Self> {
        let most_units = u32::try_from(config.max_inflight_bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).max(1);
        Arc::new(Self {
            requests: Arc::new(Semaphore::new(config.max_inflight_requests.clamp(1, Semaphore::MAX_PERMITS))),
            bytes: Arc::new(Semaphore::new(most_units as usize)),
            most_units,
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
    /// Waits for room; one request that is larger than all the room has it for itself.
    pub(crate) async fn room(self: &Arc<Self>, bytes: usize) -> Option<Arc<Hold>> {
        let in_flight = &self.in_flight;
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, in_flight.most_units);
        // Bytes first, and whoever waits for them holds nothing else: a request waits for what is sent already, never for one
        // that waits as well.
        let bytes_permit = Arc::clone(&in_flight.bytes).acquire_many_owned(units).await.ok()?;
        let request_permit = Arc::clone(&in_flight.requests).acquire_owned().await.ok()?;
        in_flight.telemetry.in_flight(1, bytes as i64);
        Some(Arc::new(Hold { _room: (request_permit, bytes_permit), bytes, active: Arc::clone(self) }))
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
        self.active.in_flight.telemetry.in_flight(-1, -(self.bytes as i64));
    }
}
