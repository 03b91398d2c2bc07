//! The driver's I/O threads, one set for each process.

use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::{mem, thread};

use adbc_core::error::{Error, Result, Status};
use seakernel::SignIns;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::error;

struct ProcessRuntime {
    pid: u32,
    runtime: Runtime,
    sign_ins: SignIns,
}

/// The newest one. Never freed: a forked child must not touch what the threads of its parent may hold, and no lock could
/// be taken there for the same reason.
static RUNTIME: AtomicPtr<ProcessRuntime> = AtomicPtr::new(ptr::null_mut());

/// The process and I/O threads that a handle belongs to.
#[derive(Clone)]
pub(crate) struct Home {
    pid: u32,
    handle: Handle,
    sign_ins: SignIns,
}

impl Home {
    /// Returns this process's home, starting the threads at the first call and after a fork.
    pub(crate) fn current() -> Result<Self> {
        let pid = process::id();
        let known = RUNTIME.load(Ordering::Acquire);
        // SAFETY: the pointer is null or that of a box that was leaked below, and nobody changes what is in it.
        if let Some(here) = unsafe { known.as_ref() }.filter(|runtime| runtime.pid == pid) {
            return Ok(Self::of(here));
        }
        let threads = thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(threads).thread_name("seakernel-adbc").enable_all();
        let runtime = builder.build().map_err(|cause| {
            Error::with_message_and_status(format!("could not start the I/O threads: {cause}"), Status::Internal)
        })?;
        let started = Box::into_raw(Box::new(ProcessRuntime { pid, runtime, sign_ins: SignIns::default() }));
        let raced = RUNTIME.compare_exchange(known, started, Ordering::AcqRel, Ordering::Acquire);
        // Of two threads that start one, the first one's is taken; the other's threads idle.
        let winner = raced.err().unwrap_or(started);
        // SAFETY: as above; it is not null, for it differs from or replaces `known`, which may have been.
        unsafe { winner.as_ref() }
            .map(Self::of)
            .ok_or_else(|| Error::with_message_and_status("the I/O threads are gone", Status::Internal))
    }

    fn of(runtime: &ProcessRuntime) -> Self {
        Self { pid: runtime.pid, handle: runtime.runtime.handle().clone(), sign_ins: runtime.sign_ins.clone() }
    }

    /// The sign-ins that the connections of this process share.
    pub(crate) fn sign_ins(&self) -> &SignIns {
        &self.sign_ins
    }

    pub(crate) fn is_here(&self) -> bool {
        self.pid == process::id()
    }

    /// Fails in any other process than the one that made the handle.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_here() {
            return Ok(());
        }
        let message = "opened in the parent process: sockets and threads do not survive a fork; open a database and a \
                       connection in the child";
        Err(Error::with_message_and_status(message, Status::InvalidState))
    }

    /// Waits for a call of the kernel. A panic in it is an error here: it must not unwind into the host.
    pub(crate) fn wait<T: Send>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.check()?;
        // Boxed, so that the waiting itself is built once for each `T`.
        self.wait_boxed(Box::pin(call))
    }

    fn wait_boxed<T: Send>(&self, call: Pin<Box<dyn Future<Output = Result<T>> + Send + '_>>) -> Result<T> {
        let outcome = if Handle::try_current().is_err() {
            panic::catch_unwind(AssertUnwindSafe(|| self.handle.block_on(call)))
        } else {
            // Called from a thread that drives other futures, where waiting is refused.
            thread::scope(|scope| scope.spawn(|| self.handle.block_on(call)).join())
        };
        outcome.unwrap_or_else(|cause| Err(error::panicked(&*cause)))
    }
}

/// A kernel handle at home: dropped where the I/O threads are, forgotten in a forked child.
pub(crate) struct Owned<T> {
    home: Home,
    value: Option<T>,
}

impl<T> Owned<T> {
    pub(crate) fn new(home: &Home, value: T) -> Self {
        Self { home: home.clone(), value: Some(value) }
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.value.as_mut()
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        let Some(value) = self.value.take() else { return };
        if self.home.is_here() {
            // The kernel cancels and closes in the background; nothing waits here, for the host may hold a lock that a
            // log line needs.
            let _runtime = self.home.handle.enter();
            drop(value);
        } else {
            mem::forget(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_later_calls_go_on() {
        let home = Home::current().unwrap();
        let error = home.wait::<()>(async { panic!("boom") }).unwrap_err();
        assert_eq!((error.status, error.message.as_str()), (Status::Internal, "a defect of the driver: boom"));
        assert_eq!(home.wait(async { Ok(7) }).unwrap(), 7);
    }

    #[test]
    fn a_host_may_call_from_within_its_own_runtime() {
        let home = Home::current().unwrap();
        let own = Builder::new_current_thread().build().unwrap();
        assert_eq!(own.block_on(async { home.wait(async { Ok(7) }) }).unwrap(), 7);
        assert!(own.block_on(async { home.wait::<()>(async { panic!("boom") }) }).is_err());
    }

    #[test]
    fn a_handle_of_another_process_is_refused() {
        let here = Home::current().unwrap();
        let elsewhere = Home { pid: here.pid.wrapping_add(1), ..here.clone() };
        let error = elsewhere.wait(async { Ok(()) }).unwrap_err();
        assert_eq!(error.status, Status::InvalidState);
        assert!(error.message.contains("fork"), "{}", error.message);
    }
}
