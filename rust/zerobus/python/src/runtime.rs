//! The process's tokio runtime: waiting with Ctrl-C, futures of asyncio, and what a fork leaves behind.

use std::future::Future;
use std::mem;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyDict, PyTuple};
use seakernel_zerobus::ZerobusWrapper;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time;

use crate::signals::{interrupt_again, raise_logged, raise_pending};
use crate::visit::{self, Visit};

/// How often a waiting call looks for signals: Ctrl-C then feels immediate and costs 3 ms of CPU per second.
const SIGNAL_TICK: Duration = Duration::from_millis(50);
/// What wrappers still open when the interpreter exits may spend on their end.
const EXIT_GRACE: Duration = Duration::from_secs(2);

/// One runtime per process. The lock is taken by attached threads only and never across a wait, so that no other thread
/// can hold it while this one forks.
static RUNTIME: Mutex<Option<ProcessRuntime>> = Mutex::new(None);
static STOPPED: AtomicBool = AtomicBool::new(false);

struct ProcessRuntime {
    pid: u32,
    runtime: Runtime,
    open: Vec<Weak<ZerobusWrapper>>,
}

fn locked() -> MutexGuard<'static, Option<ProcessRuntime>> {
    RUNTIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the handle of this process's runtime, which is started at the first call and after a fork.
pub(crate) fn current(py: Python<'_>) -> PyResult<Handle> {
    if STOPPED.load(Ordering::Relaxed) {
        return Err(PyRuntimeError::new_err("the interpreter is exiting"));
    }
    let mut slot = locked();
    if let Some(existing) = slot.as_ref()
        && existing.pid == process::id()
    {
        return Ok(existing.runtime.handle().clone());
    }
    // The parent's runtime has no threads here: dropping it would wait for them forever.
    mem::forget(slot.take());
    // Two at least: a thread that waits for the GIL must not stop all I/O.
    let threads = thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(threads).thread_name("seakernel-zerobus").enable_all().build()?;
    let handle = runtime.handle().clone();
    *slot = Some(ProcessRuntime { pid: process::id(), runtime, open: Vec::new() });
    drop(slot);
    // Now and not at import: handlers run in reverse, so what was started before us is still there when we stop.
    py.import("atexit")?.call_method1("register", (wrap_pyfunction!(shutdown, py)?,))?;
    Ok(handle)
}

/// Has `wrapper` shut down when the interpreter exits, should it still be open then.
pub(crate) fn shut_down_at_exit(wrapper: &Arc<ZerobusWrapper>) {
    if let Some(process_runtime) = locked().as_mut() {
        process_runtime.open.retain(|wrapper| wrapper.strong_count() > 0);
        process_runtime.open.push(Arc::downgrade(wrapper));
    }
}

/// Waits for `call` without the GIL. An exception raised by a signal handler drops it, which stops the waiting.
pub(crate) fn block_on<T: Send>(py: Python<'_>, call: impl Future<Output = T> + Send) -> PyResult<T> {
    let handle = current(py)?;
    if Handle::try_current().is_ok_and(|entered| entered.id() == handle.id()) {
        let message = "called from an I/O thread, which would wait for itself; call from another thread";
        return Err(PyRuntimeError::new_err(message));
    }
    let interruptible = async move {
        let mut call = pin!(call);
        loop {
            tokio::select! {
                biased;
                output = &mut call => return Ok(output),
                () = time::sleep(SIGNAL_TICK) => {
                    // No interpreter any more: nobody is left to interrupt us.
                    Python::try_attach(raise_pending).unwrap_or(Ok(()))?;
                }
            }
        }
    };
    let waited = py.detach(|| handle.block_on(interruptible));
    if let Err(raised) = raise_logged(py) {
        interrupt_again(py, &raised);
    }
    waited
}

type Outcome = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// Starts `call` and returns the asyncio future of what `convert` makes of it, in the loop's thread.
///
/// No thread waits. Cancelling the future drops `call`.
pub(crate) fn future<T: Send + 'static>(
    py: Python<'_>,
    call: impl Future<Output = T> + Send + 'static,
    convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
) -> PyResult<Bound<'_, PyAny>> {
    static GET_RUNNING_LOOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let handle = current(py)?;
    let event_loop = GET_RUNNING_LOOP.import(py, "asyncio", "get_running_loop")?.call0()?;
    let future = event_loop.call_method0(intern!(py, "create_future"))?;
    let (abandon, abandoned) = oneshot::channel::<()>();
    let abandon = Mutex::new(Some(abandon));
    // Called when the future is done, and dropped uncalled where its loop is closed before.
    let abandon = PyCFunction::new_closure(py, None, None, move |_, _| {
        abandon.lock().unwrap_or_else(PoisonError::into_inner).take();
    })?;
    future.call_method1(intern!(py, "add_done_callback"), (abandon,))?;
    let addressee = (event_loop.unbind(), future.clone().unbind());
    let call: Pin<Box<dyn Future<Output = Outcome> + Send>> = Box::pin(async move {
        // A panic, too, ends the wait.
        let output = AssertUnwindSafe(call).catch_unwind().await;
        let outcome: Outcome = Box::new(move |py| match output {
            Ok(output) => convert(py, output),
            Err(_) => Err(PyRuntimeError::new_err("the task of this call panicked")),
        });
        outcome
    });
    handle.spawn(async move {
        let outcome = tokio::select! {
            biased;
            outcome = call => outcome,
            // The future is done already.
            _ = abandoned => return,
        };
        // Where there is no interpreter any more, nobody waits.
        if let Some(_visit) = Visit::begin() {
            Python::try_attach(|py| deliver(py, addressee, outcome));
        }
    });
    Ok(future)
}

/// Passes an outcome to the thread of its loop.
fn deliver(py: Python<'_>, (event_loop, future): (Py<PyAny>, Py<PyAny>), outcome: Outcome) {
    let outcome = Mutex::new(Some(outcome));
    let resolve = move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| -> PyResult<()> {
        let py = arguments.py();
        let future = future.bind(py);
        let Some(outcome) = outcome.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        if future.call_method0(intern!(py, "done"))?.is_truthy()? {
            return Ok(());
        }
        match outcome(py) {
            Ok(value) => future.call_method1(intern!(py, "set_result"), (value,))?,
            Err(raised) => future.call_method1(intern!(py, "set_exception"), (raised.into_value(py),))?,
        };
        Ok(())
    };
    // A loop that was closed meanwhile refuses, and nobody waits there.
    let _ = PyCFunction::new_closure(py, None, None, resolve)
        .and_then(|resolve| event_loop.call_method1(py, intern!(py, "call_soon_threadsafe"), (resolve,)));
}

/// Shuts down what is open, briefly, and stops the runtime; registered with `atexit`.
#[pyfunction]
fn shutdown(py: Python<'_>) {
    let Some(process_runtime) = locked().take_if(|process_runtime| process_runtime.pid == process::id()) else {
        return;
    };
    STOPPED.store(true, Ordering::Relaxed);
    py.detach(move || {
        let ProcessRuntime { runtime, open, .. } = process_runtime;
        runtime.block_on(async {
            let mut ending = JoinSet::new();
            for wrapper in open.iter().filter_map(Weak::upgrade) {
                ending.spawn(async move { wrapper.shutdown().await });
            }
            // A server that does not answer must not keep the interpreter from exiting.
            let _ = time::timeout(EXIT_GRACE, ending.join_all()).await;
            visit::close(EXIT_GRACE).await;
        });
        // Not shut down: a daemon thread that waits would find its timer gone, and panic. The threads end with the process.
        mem::forget(runtime);
    });
}

/// Returns how many tasks the I/O threads have, waiting ones included; tests look for forgotten ones.
#[pyfunction]
pub(crate) fn _alive_tasks() -> usize {
    locked().as_ref().map_or(0, |process_runtime| process_runtime.runtime.metrics().num_alive_tasks())
}
