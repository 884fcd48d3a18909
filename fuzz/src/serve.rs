//! The part of the server that reads a published body and refuses it.

#[path = "../../crates/app/src/serve/answer.rs"]
#[allow(dead_code, reason = "its other users are not here")]
mod answer;
#[path = "../../crates/app/src/serve/problem.rs"]
#[allow(dead_code, reason = "its other users are not here")]
mod problem;
pub(crate) mod publish;

/// Nothing is streamed here.
mod sse {
    use std::task::{Context, Poll};

    use bytes::Bytes;

    #[derive(Debug)]
    pub(crate) enum EventStream {}

    impl EventStream {
        pub(crate) fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Option<Bytes>> {
            match *self {}
        }
    }
}
