//! Storage hosts that cannot be reached from here, so that new sessions of a process need not find that out again.

use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use crate::config::SessionConfig;

static OUT_OF_REACH: Mutex<Vec<Known>> = Mutex::new(Vec::new());
/// How long that is remembered: networks change, and results inside the answers are small.
const MEMORY: Duration = Duration::from_secs(600);
/// Ways remembered so; the oldest go first.
const MAX_KNOWN: usize = 64;

/// The way to the storage of a warehouse.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Way {
    workspace: String,
    warehouse_id: String,
    /// Through which proxies it leads.
    proxies: String,
}

struct Known {
    way: Way,
    since: Instant,
    storage_host: String,
}

impl Way {
    pub(super) fn new(config: &SessionConfig, proxies: String) -> Self {
        Self { workspace: config.host.as_str().to_owned(), warehouse_id: config.warehouse_id.clone(), proxies }
    }

    /// Remembers that `storage_host` cannot be reached by this way.
    pub(super) fn is_blocked(&self, storage_host: &str) {
        let Some(mut known) = unless_held(&OUT_OF_REACH) else { return };
        known.retain(|known| known.way != *self);
        if known.len() >= MAX_KNOWN {
            known.remove(0);
        }
        known.push(Known { way: self.clone(), since: Instant::now(), storage_host: storage_host.to_owned() });
    }

    /// Forgets that, for a storage host has answered.
    pub(super) fn is_open(&self) {
        if let Some(mut known) = unless_held(&OUT_OF_REACH) {
            known.retain(|known| known.way != *self);
        }
    }

    /// Returns the storage host that could not be reached by this way lately.
    pub(super) fn blocked_at(&self) -> Option<String> {
        let known = unless_held(&OUT_OF_REACH)?;
        let known = known.iter().find(|known| known.way == *self && known.since.elapsed() < MEMORY)?;
        Some(known.storage_host.clone())
    }
}

/// Returns what is remembered, unless somebody has hold of it: never waits, for in a forked child that may be a thread that
/// does not exist there. What is not remembered is found out again.
pub(crate) fn unless_held<T>(memory: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match memory.try_lock() {
        Ok(known) => Some(known),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}
