//! What is carried along with a request: its correlation ID and its place in a trace.

use crate::scope::{Scope, current_context, scope, sync_scope};
use crate::{CorrelationId, TraceParent};

/// The correlation ID of a request together with the `traceparent` it came with.
///
/// This is what crosses a job queue: write it into the job's row where the job is
/// made ([`Context::capture`]), and [`run`](Context::run) the job's work in it
/// where the row is read. With the feature `serde` it is the object
///
/// ```json
/// {"correlation_id":"order-4711","traceparent":"00-4bf9…-01"}
/// ```
///
/// Both fields are checked on the way in; `traceparent` may be absent or null,
/// and is written as null when there is none; other keys are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Context {
    #[cfg_attr(feature = "serde", serde(rename = "correlation_id"))]
    id: CorrelationId,
    #[cfg_attr(feature = "serde", serde(default))]
    traceparent: Option<TraceParent>,
}

impl Context {
    /// The context of the scope this is called in, `None` outside of any: the
    /// same as [`current_context`].
    #[must_use]
    pub fn capture() -> Option<Self> {
        current_context()
    }

    /// The same context with this `traceparent` in place of the one it had.
    #[must_use]
    pub fn with_traceparent(self, traceparent: TraceParent) -> Self {
        Self {
            traceparent: Some(traceparent),
            ..self
        }
    }

    /// The correlation ID.
    #[must_use]
    pub fn id(&self) -> &CorrelationId {
        &self.id
    }

    /// The `traceparent` the request came with, if it had a valid one.
    #[must_use]
    pub fn traceparent(&self) -> Option<TraceParent> {
        self.traceparent
    }

    /// Runs `future` with this as the current context: [`scope`] by another name.
    pub fn run<F: Future>(self, future: F) -> Scope<F> {
        scope(self, future)
    }

    /// Runs `f` with this as the current context: [`sync_scope`] by another name.
    ///
    /// # Panics
    ///
    /// Where `sync_scope` does.
    pub fn run_sync<R>(self, f: impl FnOnce() -> R) -> R {
        sync_scope(self, f)
    }
}

impl From<CorrelationId> for Context {
    fn from(id: CorrelationId) -> Self {
        Self {
            id,
            traceparent: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::current;

    #[test]
    fn carries_id_and_traceparent() {
        let id = CorrelationId::generate();
        let context = Context::from(id.clone());
        assert_eq!((context.id(), context.traceparent()), (&id, None));

        let parent =
            TraceParent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").unwrap();
        let context = context.with_traceparent(parent);
        assert_eq!((context.id(), context.traceparent()), (&id, Some(parent)));
    }

    #[test]
    fn captures_what_run_sync_restores() {
        assert_eq!(Context::capture(), None);
        let context = Context::from(CorrelationId::generate());
        context.clone().run_sync(|| {
            assert_eq!(Context::capture(), Some(context.clone()));
            assert_eq!(current().as_ref(), Some(context.id()));
        });
        assert_eq!(Context::capture(), None);
    }
}
