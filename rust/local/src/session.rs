//! The sessions the server knows.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One open session, as far as the server itself cares.
#[derive(Debug)]
pub(crate) struct Session {
    /// The time zone it was opened with.
    pub(crate) zone: Option<Arc<str>>,
    /// What it was opened with, as text: equal texts see the same data until a session changes something of its own.
    pub(crate) identity: String,
    changed: AtomicBool,
}

impl Session {
    pub(crate) fn new(catalog: Option<&str>, schema: Option<&str>, configuration: &BTreeMap<String, String>) -> Self {
        let zone = configuration
            .iter()
            .find(|(name, value)| name.eq_ignore_ascii_case("timezone") && !value.is_empty())
            .map(|(_, value)| Arc::from(value.as_str()));
        Self { zone, identity: format!("{catalog:?} {schema:?} {configuration:?}"), changed: AtomicBool::new(false) }
    }

    /// Notes that a statement may have changed the session itself, as `USE` and `SET` do.
    pub(crate) fn mark_changed(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }
}

/// The open sessions by id.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<String, Arc<Session>>>,
}

impl Sessions {
    pub(crate) fn insert(&self, id: &str, session: Session) {
        self.lock().insert(id.to_owned(), Arc::new(session));
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.lock().get(id).cloned()
    }

    pub(crate) fn remove(&self, id: &str) -> Option<Arc<Session>> {
        self.lock().remove(id)
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
