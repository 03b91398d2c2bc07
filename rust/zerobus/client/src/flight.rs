//! Work that is done once, however many wait for it.

use std::future::Future;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

/// Work under way, or its outcome; each clone waits for the same.
pub(crate) type Flight<T> = Shared<BoxFuture<'static, T>>;

/// Begins `work`, which goes on where nobody waits for it any more; `lost` is its outcome where its task dies.
pub(crate) fn launch<T: Clone + Send + Sync + 'static>(
    work: impl Future<Output = T> + Send + 'static,
    lost: fn() -> T,
) -> Flight<T> {
    let task = tokio::spawn(work);
    async move { task.await.unwrap_or_else(|_| lost()) }.boxed().shared()
}
