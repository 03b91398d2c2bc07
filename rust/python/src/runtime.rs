//! The process's tokio runtime: waiting with Ctrl-C, and what a fork leaves behind.

use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;
use seakernel::{SignIns, WeakSession};
use tokio::runtime::{Builder, EnterGuard, Handle, Runtime};
use tokio::task::JoinSet;
use tokio::time;

use crate::future::Outbox;
use crate::signals::{interrupt_again, raise_logged, raise_pending};
use crate::{error, visit};

/// How often a waiting call looks for signals: Ctrl-C then feels immediate and costs 3 ms of CPU per second.
const SIGNAL_TICK: Duration = Duration::from_millis(50);
/// What sessions still open when the interpreter exits may spend on saying goodbye.
const EXIT_GRACE: Duration = Duration::from_secs(2);

/// One runtime per process. The lock is taken by attached threads only and never across a wait, so that no other thread
/// can hold it while this one forks.
static RUNTIME: Mutex<Option<ProcessRuntime>> = Mutex::new(None);
static STOPPED: AtomicBool = AtomicBool::new(false);

struct ProcessRuntime {
    pid: u32,
    runtime: Runtime,
    outbox: Outbox,
    sign_ins: SignIns,
    sessions: Vec<WeakSession>,
}

fn locked() -> MutexGuard<'static, Option<ProcessRuntime>> {
    RUNTIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process and runtime that a handle belongs to.
#[derive(Clone)]
pub(crate) struct Home {
    pid: u32,
    handle: Handle,
    outbox: Outbox,
    sign_ins: SignIns,
}

impl Home {
    /// Returns this process's home, starting the runtime at the first call and after a fork.
    pub(crate) fn current(py: Python<'_>) -> PyResult<Self> {
        if STOPPED.load(Ordering::Relaxed) {
            return Err(stopped(py));
        }
        let (home, started) = Self::running(process::id()).map_err(|cause| {
            error::raise(py, "InterfaceError", "Internal", &format!("could not start the I/O threads: {cause}"))
        })?;
        if started {
            // Now and not at import: handlers run in reverse, so what was started before us is still there when we stop.
            py.import("atexit")?.call_method1("register", (wrap_pyfunction!(shutdown, py)?,))?;
        }
        Ok(home)
    }

    /// Returns the home, and whether its runtime was started for it.
    fn running(pid: u32) -> io::Result<(Self, bool)> {
        let mut slot = locked();
        if let Some(existing) = slot.as_ref()
            && existing.pid == pid
        {
            let (handle, outbox) = (existing.runtime.handle().clone(), Arc::clone(&existing.outbox));
            return Ok((Self { pid, handle, outbox, sign_ins: existing.sign_ins.clone() }, false));
        }
        // The parent's runtime has no threads here: dropping it would wait for them forever.
        if let Some(parents) = slot.take() {
            mem::forget(parents);
        }
        // Two at least: a thread that waits for the GIL to write a log line must not stop all I/O.
        let threads = thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
        let runtime =
            Builder::new_multi_thread().worker_threads(threads).thread_name("seakernel").enable_all().build()?;
        let (handle, outbox, sign_ins) = (runtime.handle().clone(), Outbox::default(), SignIns::default());
        let started = ProcessRuntime {
            pid,
            runtime,
            outbox: Arc::clone(&outbox),
            sign_ins: sign_ins.clone(),
            sessions: Vec::new(),
        };
        *slot = Some(started);
        Ok((Self { pid, handle, outbox, sign_ins }, true))
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The sign-ins that the sessions of this process share.
    pub(crate) fn sign_ins(&self) -> &SignIns {
        &self.sign_ins
    }

    /// Tells whether this is still the process in which the handle was made.
    pub(crate) fn is_here(&self) -> bool {
        self.pid == process::id()
    }

    /// Tells whether nothing is left to close: the handle is the parent's, or the exit of the interpreter has closed it.
    pub(crate) fn is_gone(&self) -> bool {
        !self.is_here() || STOPPED.load(Ordering::Relaxed)
    }

    /// Fails in any other process than the one that made the handle, and while the interpreter exits.
    pub(crate) fn check(&self, py: Python<'_>) -> PyResult<()> {
        if !self.is_here() {
            let message = "opened in the parent process: sockets and threads do not survive a fork; \
                           connect again in the child";
            return Err(error::raise(py, "InterfaceError", "Closed", message));
        }
        if STOPPED.load(Ordering::Relaxed) {
            return Err(stopped(py));
        }
        Ok(())
    }

    /// Waits for a call of the kernel as [`Home::block_on`] does; its failure is raised.
    pub(crate) fn call<T: Send>(
        &self,
        py: Python<'_>,
        call: impl Future<Output = seakernel::Result<T>> + Send,
    ) -> PyResult<T> {
        self.block_on(py, call)?.map_err(|failure| error::from_kernel(py, failure))
    }

    /// Makes the runtime that of this thread, in which nothing may wait meanwhile.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.handle.enter()
    }

    /// Tells whether this thread is one of the runtime's, or inside a call that waits for it.
    pub(crate) fn is_entered(&self) -> bool {
        Handle::try_current().is_ok_and(|current| current.id() == self.handle.id())
    }

    /// Waits for `future` without the GIL. An exception raised by a signal handler drops the future, which cancels it.
    pub(crate) fn block_on<F>(&self, py: Python<'_>, future: F) -> PyResult<F::Output>
    where
        F: Future + Send,
        F::Output: Send,
    {
        self.block_on_watched(py, future, |_| Ok(()))
    }

    /// Like [`Home::block_on`], with `look` called 20 times a second; its exceptions are those of a signal handler.
    pub(crate) fn block_on_watched<F>(
        &self,
        py: Python<'_>,
        future: F,
        mut look: impl FnMut(Python<'_>) -> PyResult<()> + Send,
    ) -> PyResult<F::Output>
    where
        F: Future + Send,
        F::Output: Send,
    {
        let mut output = None;
        let call = async { output = Some(future.await) };
        self.wait(py, Box::pin(call), &mut look)?;
        output.ok_or_else(|| error::raise(py, "InternalError", "Internal", "a call ended without an outcome"))
    }

    /// Waits for `call`. Boxed, so that this is compiled once and not for every kind of call.
    fn wait(
        &self,
        py: Python<'_>,
        mut call: Pin<Box<dyn Future<Output = ()> + Send + '_>>,
        look: &mut (dyn FnMut(Python<'_>) -> PyResult<()> + Send),
    ) -> PyResult<()> {
        self.check(py)?;
        if self.is_entered() {
            let message = "called from a log handler in an I/O thread or from a progress callback: it would wait for \
                           itself; put a `logging.handlers.QueueHandler` in between, or call from another thread";
            return Err(error::raise(py, "InterfaceError", "InvalidArgument", message));
        }
        let interruptible = async move {
            loop {
                tokio::select! {
                    biased;
                    () = &mut call => return Ok(()),
                    () = time::sleep(SIGNAL_TICK) => {
                        // No interpreter any more: nobody is left to interrupt us.
                        Python::try_attach(|py| raise_pending(py).and_then(|()| look(py))).unwrap_or(Ok(()))?;
                    }
                }
            }
        };
        let waited = py.detach(|| self.handle.block_on(interruptible));
        if let Err(raised) = raise_logged(py) {
            interrupt_again(py, &raised);
        }
        waited
    }
}

/// A kernel handle at home: dropped where the runtime is, forgotten in a forked child.
pub(crate) struct Owned<T> {
    home: Home,
    value: Option<T>,
}

impl<T> Owned<T> {
    pub(crate) fn new(home: &Home, value: T) -> Self {
        Self { home: home.clone(), value: Some(value) }
    }

    /// Returns the handle; `None` only while it is being dropped.
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.value.as_mut()
    }

    pub(crate) fn into_inner(mut self) -> Option<T> {
        self.value.take()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        let Some(value) = self.value.take() else { return };
        if self.home.is_here() {
            // The kernel cancels and closes in the background, for which it needs a runtime.
            let _runtime = self.home.handle.enter();
            drop(value);
        } else {
            mem::forget(value);
        }
    }
}

/// Has `session` closed when the interpreter exits, should it still be open then.
pub(crate) fn close_at_exit(session: &Arc<seakernel::Session>) {
    if let Some(process_runtime) = locked().as_mut() {
        process_runtime.sessions.retain(|session| !session.is_gone());
        process_runtime.sessions.push(session.downgrade());
    }
}

/// Tells whether the interpreter exits.
pub(crate) fn is_stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

/// Returns how many tasks the I/O threads have, waiting ones included; tests look for forgotten ones.
#[pyfunction]
pub(crate) fn _alive_tasks() -> usize {
    locked().as_ref().map_or(0, |process_runtime| process_runtime.runtime.metrics().num_alive_tasks())
}

/// Has the exit wait for log handlers, whichever threads they run in: those of the ADBC driver are not started from here.
#[pyfunction]
pub(crate) fn _guard_exit(py: Python<'_>) -> PyResult<()> {
    Home::current(py).map(drop)
}

/// Closes what is open, briefly, and stops the runtime; registered with `atexit`.
#[pyfunction]
fn shutdown(py: Python<'_>) {
    STOPPED.store(true, Ordering::Relaxed);
    let Some(process_runtime) = locked().take() else { return };
    if process_runtime.pid != process::id() {
        mem::forget(process_runtime);
        return;
    }
    py.detach(move || {
        let ProcessRuntime { runtime, sessions, .. } = process_runtime;
        runtime.block_on(async {
            let mut closing = JoinSet::new();
            for session in sessions.iter().filter_map(WeakSession::upgrade) {
                closing.spawn(async move { session.close().await });
            }
            // A server that does not answer must not keep the interpreter from exiting.
            let _ = time::timeout(EXIT_GRACE, closing.join_all()).await;
            visit::close(EXIT_GRACE).await;
        });
        // Not shut down: a daemon thread that waits for a statement would find its timer gone, and panic. The I/O threads
        // end with the process.
        mem::forget(runtime);
    });
}

fn stopped(py: Python<'_>) -> PyErr {
    error::raise(py, "InterfaceError", "Closed", "the interpreter is exiting")
}
