//! The current context of a task, and the scopes that set it.

use std::fmt;
use std::pin::Pin;
use std::task::{self, Poll};

use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;

use crate::{Context, CorrelationId};

/// The correlation ID of the scope this is called in; `None` outside of any.
///
/// It never panics: not outside a runtime, nor while a thread is being torn down.
///
/// A bare `tokio::spawn` or `tokio::task::spawn_blocking` starts outside of any
/// scope; [`spawn`](crate::spawn) and [`spawn_blocking`](crate::spawn_blocking) do not.
#[must_use]
pub fn current() -> Option<CorrelationId> {
    CURRENT
        .try_with(|context| context.as_ref().map(|context| context.id().clone()))
        .unwrap_or_default()
}

/// The whole context of the scope this is called in; `None` outside of any.
///
/// Like [`current`] it never panics.
#[must_use]
pub fn current_context() -> Option<Context> {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// Makes `context` the current one whenever `future` is polled, and when it is dropped.
///
/// It is set for each poll and put back after it, on whichever thread that is, so
/// it holds across `.await`, `join!` and `select!`, and never leaks to what else
/// the thread runs, also when `future` panics. Scopes nest: the inner one wins,
/// the outer one is there again after it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use stoat_correlation::{CorrelationId, current, scope};
///
/// let id = CorrelationId::generate();
/// let seen = scope(id.clone(), async { current() }).await;
/// assert_eq!(seen, Some(id));
/// assert_eq!(current(), None);
/// # }
/// ```
///
/// # Cancel safety
///
/// As safe to cancel as `future` is: the scope adds no state of its own.
///
/// # Panics
///
/// The returned future panics when polled after it has completed, or on a thread
/// whose thread-locals are already destroyed.
pub fn scope<F: Future>(context: impl Into<Context>, future: F) -> Scope<F> {
    maybe_scope(Some(context.into()), future)
}

/// Makes `context` the current one while `f` runs; what was current before is
/// there again after it, also when `f` panics.
///
/// For work that has no future. Do not block on a runtime inside `f`: on a
/// current-thread runtime every task it polls would see `context`; give
/// [`scope`] to `block_on` instead.
///
/// # Panics
///
/// On a thread whose thread-locals are already destroyed.
pub fn sync_scope<R>(context: impl Into<Context>, f: impl FnOnce() -> R) -> R {
    maybe_sync_scope(Some(context.into()), f)
}

/// Ties `future` to the context that is current now, or to none when there is none.
///
/// For the ways to start a task that [`spawn`](crate::spawn) does not cover, such
/// as `JoinSet::spawn` or another executor; it does not carry the tracing span
/// (`tracing::Instrument` does).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use stoat_correlation::{CorrelationId, current, in_current_scope, scope};
/// use tokio::task::JoinSet;
///
/// let id = CorrelationId::generate();
/// scope(id.clone(), async {
///     let mut set = JoinSet::new();
///     set.spawn(in_current_scope(async { current() }));
///     assert_eq!(set.join_all().await, [Some(id)]);
/// })
/// .await;
/// # }
/// ```
///
/// # Cancel safety
///
/// As safe to cancel as `future` is.
pub fn in_current_scope<F: Future>(future: F) -> Scope<F> {
    maybe_scope(current_context(), future)
}

pin_project! {
    /// The future of [`scope`], [`in_current_scope`] and [`Context::run`].
    ///
    /// It is not `Unpin`: to poll it by reference, pin it first.
    #[must_use = "futures do nothing unless polled or awaited"]
    pub struct Scope<F> {
        #[pin]
        inner: TaskLocalFuture<Option<Context>, F>,
    }
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(cx)
    }
}

impl<F> fmt::Debug for Scope<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

tokio::task_local! {
    /// `None` where a task runs without a context although the thread is in a
    /// scope: spawned outside of any, polled by a runtime that blocks inside one.
    static CURRENT: Option<Context>;
}

pub(crate) fn maybe_scope<F: Future>(context: Option<Context>, future: F) -> Scope<F> {
    Scope {
        inner: CURRENT.scope(context, future),
    }
}

pub(crate) fn maybe_sync_scope<R>(context: Option<Context>, f: impl FnOnce() -> R) -> R {
    CURRENT.sync_scope(context, f)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Mutex};
    use std::task::Waker;

    use super::*;

    fn id(text: &str) -> CorrelationId {
        CorrelationId::parse(text).unwrap()
    }

    #[test]
    fn a_panic_in_a_sync_scope_puts_the_outer_one_back() {
        sync_scope(id("outer"), || {
            let result = catch_unwind(|| sync_scope(id("inner"), || panic!("expected")));
            assert!(result.is_err());
            assert_eq!(current(), Some(id("outer")));
        });
        assert_eq!(current(), None);
    }

    #[test]
    fn a_panic_in_a_scope_puts_the_outer_one_back() {
        let mut future = Box::pin(scope(id("inner"), async { panic!("expected") }));
        let mut cx = task::Context::from_waker(Waker::noop());
        sync_scope(id("outer"), || {
            let poll = catch_unwind(AssertUnwindSafe(|| {
                future.as_mut().poll(&mut cx).is_ready()
            }));
            assert!(poll.is_err());
            assert_eq!(current(), Some(id("outer")));
        });
        drop(future);
        assert_eq!(current(), None);
    }

    #[test]
    fn a_scope_is_current_on_every_thread_that_polls_it() {
        let mut future = Box::pin(scope(id("r1"), async {
            for _ in 0..3 {
                assert_eq!(current(), Some(id("r1")));
                tokio::task::yield_now().await;
            }
        }));
        let mut pending = 0;
        loop {
            let ready = std::thread::scope(|threads| {
                let poll = threads.spawn(|| {
                    let mut cx = task::Context::from_waker(Waker::noop());
                    let ready = future.as_mut().poll(&mut cx).is_ready();
                    assert_eq!(current(), None);
                    ready
                });
                poll.join().unwrap()
            });
            if ready {
                break;
            }
            pending += 1;
        }
        assert_eq!(pending, 3);
    }

    #[test]
    fn a_dropped_future_is_dropped_in_its_scope() {
        struct Probe(Arc<Mutex<Option<CorrelationId>>>);
        impl Drop for Probe {
            fn drop(&mut self) {
                *self.0.lock().unwrap() = current();
            }
        }
        let seen = Arc::default();
        let probe = Probe(Arc::clone(&seen));
        let mut future = Box::pin(scope(id("r1"), async move {
            let _probe = probe;
            std::future::pending::<()>().await;
        }));
        let mut cx = task::Context::from_waker(Waker::noop());
        assert!(future.as_mut().poll(&mut cx).is_pending());
        drop(future);
        assert_eq!(*seen.lock().unwrap(), Some(id("r1")));
        assert_eq!(current(), None);
    }

    #[test]
    fn current_is_none_and_no_panic_while_a_thread_is_torn_down() {
        struct Probe;
        impl Drop for Probe {
            fn drop(&mut self) {
                // A panic here would abort the test process.
                assert_eq!((current(), current_context()), (None, None));
            }
        }
        thread_local!(static EARLY: Probe = const { Probe });
        thread_local!(static LATE: Probe = const { Probe });
        std::thread::spawn(|| {
            EARLY.with(|_| ());
            sync_scope(id("r1"), || ());
            LATE.with(|_| ());
        })
        .join()
        .unwrap();
    }
}
