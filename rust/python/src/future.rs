//! Kernel calls as asyncio futures: a task on our runtime works, and the event loop's own thread takes the outcome.
//!
//! No thread waits. An I/O thread needs the GIL only to wake a loop, and outcomes that come meanwhile share that visit.

use std::future::{self, Future};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyDict, PyTuple};
use tokio::sync::oneshot;
use tokio::time;

use crate::error;
use crate::runtime::{Home, Owned};
use crate::visit::Visit;

/// How long what a cancelled call began goes on in the background, where its end matters to the server.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// How often a call looks whether its loop was closed, which nobody is told of.
const LOOP_TICK: Duration = Duration::from_secs(5);

type Outcome = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;
type Call = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Outcomes on their way, to all loops of the process.
pub(crate) type Outbox = Arc<Mutex<Vec<Delivery>>>;

/// An outcome, and who waits for it.
pub(crate) struct Delivery {
    event_loop: Py<PyAny>,
    future: Py<PyAny>,
    outcome: Outcome,
}

/// A future of a loop that a task of ours owes an outcome.
struct Owed {
    addressee: Option<(Py<PyAny>, Py<PyAny>)>,
    outbox: Outbox,
}

impl Home {
    /// Starts `call` and returns the asyncio future of what `convert` makes of it, in the loop's thread.
    ///
    /// Cancelling the future drops `call` after `grace`. What a call brings after that, or too late for a loop that was
    /// closed, is dropped.
    pub(crate) fn future<'py, T: Send + 'static>(
        &self,
        py: Python<'py>,
        grace: Duration,
        call: impl Future<Output = seakernel::Result<T>> + Send + 'static,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.check(py)?;
        let event_loop = running_loop(py)?;
        let future = event_loop.call_method0(intern!(py, "create_future"))?;
        let (abandon, abandoned) = oneshot::channel::<()>();
        let abandon = Mutex::new(Some(abandon));
        // Called when the future is done, and dropped uncalled where its loop is closed before.
        let abandon = PyCFunction::new_closure(py, None, None, move |_, _| {
            abandon.lock().unwrap_or_else(PoisonError::into_inner).take();
        })?;
        future.call_method1(intern!(py, "add_done_callback"), (abandon,))?;
        let addressee = Some((event_loop.unbind(), future.clone().unbind()));
        let (owed, home) = (Owed { addressee, outbox: Arc::clone(self.outbox()) }, self.clone());
        let call = async move {
            // Where nobody takes it, it is dropped in a thread without a runtime.
            let output = call.await.map(|value| Owned::new(&home, value));
            let outcome: Outcome = Box::new(move |py| match output.map(Owned::into_inner) {
                Ok(Some(value)) => convert(py, value),
                Ok(None) => Ok(py.None()),
                Err(failure) => Err(error::from_kernel(py, failure)),
            });
            outcome
        };
        self.handle().spawn(owed.settle(grace, Box::pin(call), abandoned));
        Ok(future)
    }
}

/// Returns the event loop that runs in this thread.
pub(crate) fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static GET_RUNNING_LOOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    GET_RUNNING_LOOP.import(py, "asyncio", "get_running_loop")?.call0().map_err(|_| {
        let message = "no asyncio event loop runs in this thread: `seakernel.aio` works under asyncio, uvloop and anyio's \
                       asyncio backend, and not under trio";
        error::raise(py, "InterfaceError", "InvalidArgument", message)
    })
}

impl Owed {
    /// Delivers the outcome of `call`. Boxed, so that this task is compiled once and not for every kind of call.
    async fn settle(self, grace: Duration, mut call: Call, abandoned: oneshot::Receiver<()>) {
        let outcome = tokio::select! {
            biased;
            outcome = &mut call => Some(outcome),
            _ = abandoned => time::timeout(grace, call).await.ok(),
            () = self.loop_closed() => time::timeout(grace, call).await.ok(),
        };
        match outcome {
            Some(outcome) => self.deliver(outcome),
            None => self.forget(),
        }
    }

    fn deliver(mut self, outcome: Outcome) {
        self.post(outcome);
    }

    /// For a future that is done already.
    fn forget(mut self) {
        self.addressee = None;
    }

    /// Ends when the loop was closed.
    async fn loop_closed(&self) {
        let is_closed = |py: Python<'_>| -> PyResult<bool> {
            let Some((event_loop, _)) = &self.addressee else { return Ok(true) };
            event_loop.call_method0(py, intern!(py, "is_closed"))?.is_truthy(py)
        };
        loop {
            time::sleep(LOOP_TICK).await;
            let Some(_visit) = Visit::begin() else { return future::pending().await };
            if Python::try_attach(is_closed).is_some_and(|closed| closed.unwrap_or(true)) {
                return;
            }
        }
    }

    /// Puts the outcome into the outbox, and empties that unless another thread is about to.
    fn post(&mut self, outcome: Outcome) {
        let Some((event_loop, future)) = self.addressee.take() else { return };
        let is_first = {
            let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
            outbox.push(Delivery { event_loop, future, outcome });
            outbox.len() == 1
        };
        if !is_first {
            return;
        }
        let visit = Visit::begin();
        let take = || mem::take(&mut *self.outbox.lock().unwrap_or_else(PoisonError::into_inner));
        // Where there is no interpreter any more, nobody waits.
        let visited = visit.and_then(|_visit| Python::try_attach(|py| hand_over(py, take())));
        if visited.is_none() {
            drop(take());
        }
    }
}

impl Drop for Owed {
    /// A task that panicked still ends the wait.
    fn drop(&mut self) {
        if thread::panicking() {
            self.post(Box::new(|py| {
                Err(error::raise(py, "InternalError", "Internal", "the task of this call panicked"))
            }));
        }
    }
}

/// Passes deliveries to the threads of their loops.
fn hand_over(py: Python<'_>, mut deliveries: Vec<Delivery>) {
    while let Some(last) = deliveries.last() {
        let event_loop = last.event_loop.clone_ref(py);
        let (mine, others) = deliveries.into_iter().partition(|delivery| delivery.event_loop.is(&event_loop));
        deliveries = others;
        let mine = Mutex::new(mine);
        let resolve = move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            resolve(arguments.py(), mem::take(&mut *mine.lock().unwrap_or_else(PoisonError::into_inner)));
        };
        // A loop that was closed meanwhile refuses, and nobody waits there.
        let _ = PyCFunction::new_closure(py, None, None, resolve)
            .and_then(|resolve| event_loop.call_method1(py, intern!(py, "call_soon_threadsafe"), (resolve,)));
    }
}

/// Resolves futures, in the thread of their loop.
fn resolve(py: Python<'_>, arrived: Vec<Delivery>) {
    for Delivery { future, outcome, .. } in arrived {
        let future = future.bind(py);
        if let Err(raised) = resolve_one(future, outcome) {
            // Not passed on: the others wait, too.
            raised.write_unraisable(py, Some(future));
        }
    }
}

fn resolve_one(future: &Bound<'_, PyAny>, outcome: Outcome) -> PyResult<()> {
    let py = future.py();
    // A cancelled call's outcome came too late; it is dropped, which closes what it has opened.
    if future.call_method0(intern!(py, "done"))?.is_truthy()? {
        return Ok(());
    }
    match outcome(py) {
        Ok(value) => future.call_method1(intern!(py, "set_result"), (value,))?,
        Err(raised) => future.call_method1(intern!(py, "set_exception"), (raised.into_value(py),))?,
    };
    Ok(())
}
