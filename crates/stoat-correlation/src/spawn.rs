//! Tasks that keep the context and the tracing span of where they were spawned.

use tokio::task::JoinHandle;
use tracing::{Instrument, Span};

use crate::scope::{current_context, in_current_scope, maybe_sync_scope};

/// `tokio::spawn` that carries the current context and the current tracing span
/// into the new task; where there is none, the task runs with none.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use stoat_correlation::{CorrelationId, current, scope, spawn};
///
/// let id = CorrelationId::generate();
/// let seen = scope(id.clone(), async {
///     spawn(async { current() }).await.unwrap()
/// })
/// .await;
/// assert_eq!(seen, Some(id));
/// # }
/// ```
///
/// # Cancel safety
///
/// The task runs on when its handle is dropped, as with `tokio::spawn`.
///
/// # Panics
///
/// Outside a tokio runtime, as `tokio::spawn` does.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let future = in_current_scope(future.in_current_span());
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the helper that the ban points to"
    )]
    tokio::spawn(future)
}

/// `tokio::task::spawn_blocking` that carries the current context and the current
/// tracing span to the thread that runs `f`; where there is none, it runs with none.
///
/// # Cancel safety
///
/// `f` runs to its end once it has begun, as with `tokio::task::spawn_blocking`.
///
/// # Panics
///
/// Outside a tokio runtime, as `tokio::task::spawn_blocking` does.
#[track_caller]
pub fn spawn_blocking<F, R>(f: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    let context = current_context();
    let span = Span::current();
    let f = move || maybe_sync_scope(context, move || span.in_scope(f));
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the helper that the ban points to"
    )]
    tokio::task::spawn_blocking(f)
}
