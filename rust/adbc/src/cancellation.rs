//! What ends an execution from another thread.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adbc_core::CancelHandle;
use adbc_core::error::{Result, Status};
use seakernel::StatementCanceller;
use tokio::sync::Notify;

use crate::error;
use crate::runtime::{Home, Owned};

/// How long a cancel waits for the server to take it; the waiting call ends then in any case.
const CANCEL_LIMIT: Duration = Duration::from_secs(10);

/// One execution, from its start to the end of its rows.
pub(crate) struct Execution {
    home: Home,
    cancelled: AtomicBool,
    ended: AtomicBool,
    notify: Notify,
    /// Of the statement that is being waited for.
    canceller: Mutex<Option<Owned<StatementCanceller>>>,
    /// The server's, of the last statement that was executed.
    statement_id: Mutex<Option<String>>,
}

impl Execution {
    fn new(home: &Home) -> Arc<Self> {
        Arc::new(Self {
            home: home.clone(),
            cancelled: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            notify: Notify::new(),
            canceller: Mutex::default(),
            statement_id: Mutex::default(),
        })
    }

    /// Has a cancel ask the server to end this statement.
    pub(crate) fn runs(&self, canceller: StatementCanceller) {
        let canceller = Owned::new(&self.home, canceller);
        *self.canceller.lock().unwrap_or_else(PoisonError::into_inner) = Some(canceller);
    }

    /// Takes note of a statement that was executed.
    pub(crate) fn executed(&self, statement_id: &str) {
        *self.statement_id.lock().unwrap_or_else(PoisonError::into_inner) = Some(statement_id.to_owned());
    }

    /// Has nothing to cancel any more.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.canceller.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Waits for `call`, or for a cancel. Dropping a call of the kernel cancels what it was doing on the server.
    pub(crate) fn wait<T: Send>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.home.wait(async {
            let woken = self.notify.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            if self.cancelled.load(Ordering::Acquire) {
                return Err(error::cancelled());
            }
            tokio::select! {
                biased;
                output = call => output,
                () = woken => Err(error::cancelled()),
            }
        })
    }

    fn cancel(&self) -> Result<()> {
        self.home.check()?;
        let canceller = {
            let slot = self.canceller.lock().unwrap_or_else(PoisonError::into_inner);
            slot.as_ref().and_then(Owned::get).cloned()
        };
        // First the server, so that a process that exits right away has told it.
        let told = match canceller {
            Some(canceller) => self.home.wait(async {
                match tokio::time::timeout(CANCEL_LIMIT, canceller.cancel()).await {
                    Ok(answer) => answer.map_err(|failure| error::from_kernel(&failure)),
                    Err(_) => Err(error::error(Status::Timeout, "the server did not take the cancel within 10 s")),
                }
            }),
            None => Ok(()),
        };
        self.cancelled.store(true, Ordering::Release);
        self.notify.notify_waiters();
        told
    }
}

/// The execution that a statement or connection is at.
#[derive(Clone, Default)]
pub(crate) struct Current(Arc<Mutex<Option<Arc<Execution>>>>);

impl Current {
    /// Begins another execution. The one before goes on and can be cancelled no more.
    pub(crate) fn begin(&self, home: &Home) -> Arc<Execution> {
        let execution = Execution::new(home);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&execution));
        execution
    }

    /// Returns the server's id of the last statement of the execution, if one was executed.
    pub(crate) fn statement_id(&self) -> Option<String> {
        let execution = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        execution.statement_id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl CancelHandle for Current {
    fn try_cancel(&self) -> Result<()> {
        let execution = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match execution.filter(|execution| !execution.ended.load(Ordering::Acquire)) {
            Some(execution) => execution.cancel(),
            None => Err(error::error(Status::InvalidState, "nothing is being executed")),
        }
    }
}
