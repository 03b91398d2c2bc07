//! Everything that the two ports share.

use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;

use crate::faults::FaultTable;
use crate::log::LogBook;
use crate::options::{ServerOptions, Settings};
use crate::store::Store;
use crate::tokens::Tokens;

pub(crate) struct Service {
    pub(crate) options: ServerOptions,
    pub(crate) faults: FaultTable,
    pub(crate) log: LogBook,
    pub(crate) store: Store,
    pub(crate) tokens: Tokens,
    pub(crate) tls: Option<TlsAcceptor>,
    settings: RwLock<Arc<Settings>>,
}

impl Service {
    pub(crate) fn new(options: ServerOptions, store: Store, tls: Option<TlsAcceptor>) -> Self {
        let faults = FaultTable::default();
        faults.replace(options.faults.clone());
        Self {
            faults,
            log: LogBook::default(),
            store,
            tokens: Tokens::default(),
            tls,
            settings: RwLock::new(Arc::new(options.settings.clone())),
            options,
        }
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// Forgets rows, log, faults and changed settings. Tables and tokens stay.
    pub(crate) fn reset(&self) {
        self.faults.replace(Vec::new());
        self.set_settings(self.options.settings.clone());
        self.store.clear();
        self.log.clear();
    }
}
