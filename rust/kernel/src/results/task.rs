//! Background tasks that end with their owner.

use tokio::task::JoinHandle;

use crate::error::{Error, ErrorKind, Result};

/// A task that is aborted when dropped.
#[derive(Debug)]
pub(crate) struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    pub(crate) fn spawn(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Tells whether it has come to its end.
    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Aborts the task and waits until it has stopped.
    pub(crate) async fn stop(mut self) {
        self.0.abort();
        drop((&mut self.0).await);
    }
}

impl<T> Task<Result<T>> {
    /// Waits for the outcome. Cancel-safe, and may be called once to its end.
    pub(crate) async fn outcome(&mut self) -> Result<T> {
        (&mut self.0).await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Internal, "a background task ended without a result").with_source(error))
        })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
