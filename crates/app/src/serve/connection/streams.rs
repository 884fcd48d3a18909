//! What goes on in one HTTP/2 connection: requests that are worked on, answers that wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::time::Instant;

use crate::serve::answer::{Answer, AnswerBody};
use crate::serve::app::Limits;
use crate::serve::sse::Flow;

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Streams(Mutex<State>);

#[derive(Debug)]
struct State {
    working: usize,
    /// Answers that are not taken yet, by number, with the time since when.
    answers: Vec<(u64, Instant)>,
    given: u64,
    /// Streams of events.
    flows: Vec<Flow>,
    /// Since when there is neither.
    idle_since: Instant,
    /// There was a request.
    begun: bool,
}

/// What is to happen to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// It is cut off.
    Drop,
    /// It is told to end when its last stream does.
    GoAway,
}

impl Streams {
    /// For a connection that was accepted at that time.
    pub(super) fn new(accepted: Instant) -> Self {
        Self(Mutex::new(State {
            working: 0,
            answers: Vec::new(),
            given: 0,
            flows: Vec::new(),
            idle_since: accepted,
            begun: false,
        }))
    }

    /// A request is worked on, or a WebSocket lives, until what this returns is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        let mut state = self.state();
        state.working += 1;
        state.begun = true;
        Busy(Arc::clone(self), None)
    }

    /// The answer, which counts as waiting until its last byte is handed on or thrown away; of a
    /// stream of events this goes for each piece.
    pub(super) async fn give(self: &Arc<Self>, mut answer: Answer) -> Answer {
        if answer.body().is_end_stream() {
            return answer;
        }
        if let AnswerBody::Events(stream) = answer.body_mut() {
            stream.hold(Box::new(self.begin()));
            self.state().flows.push(stream.flow());
            return answer;
        }
        let (head, body) = answer.into_parts();
        let Ok(body) = body.collect().await;
        let number = {
            let mut state = self.state();
            state.given += 1;
            let number = state.given;
            state.answers.push((number, Instant::now()));
            number
        };
        let waiting = Bytes::from_owner(Waiting {
            bytes: body.to_bytes(),
            _busy: Busy(Arc::clone(self), Some(number)),
        });
        Answer::from_parts(head, AnswerBody::whole(waiting))
    }

    /// What is to happen if nothing else does, and when.
    pub(super) fn due(&self, limits: &Limits) -> Option<(Instant, Due)> {
        let mut state = self.state();
        state.flows.retain(Flow::is_in_use);
        let waiting = state.flows.iter().filter_map(Flow::waits_since);
        let answers = state.answers.iter().map(|(_, since)| *since);
        let oldest = answers.chain(waiting).min();
        if let Some(since) = oldest {
            return Some((since + limits.answer_timeout, Due::Drop));
        }
        match (state.working, state.begun) {
            (0, false) => Some((state.idle_since + limits.head_timeout, Due::Drop)),
            (0, true) => Some((state.idle_since + limits.pong_timeout, Due::GoAway)),
            _ => None,
        }
    }

    /// The connection is cut off, since the client does not do its part.
    pub(super) fn give_up(&self) {
        self.state().flows.iter().for_each(Flow::give_up);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work on a request, or with a number the answer to one.
#[derive(Debug)]
pub(super) struct Busy(Arc<Streams>, Option<u64>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        match self.1 {
            None => state.working -= 1,
            Some(number) => state.answers.retain(|(other, _)| *other != number),
        }
        if state.working == 0 && state.answers.is_empty() {
            state.idle_since = Instant::now();
        }
    }
}

/// The bytes of an answer.
struct Waiting {
    bytes: Bytes,
    _busy: Busy,
}

impl AsRef<[u8]> for Waiting {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;
    use tokio::time::advance;

    use super::*;
    use crate::serve::answer::text;

    const LIMITS: Limits = Limits {
        max_body: 0,
        body_timeout: Duration::ZERO,
        head_timeout: Duration::from_secs(1),
        answer_timeout: Duration::from_secs(10),
        piece_bytes: 0,
        ping_interval: Duration::from_secs(50),
        pong_timeout: Duration::from_secs(100),
    };

    fn due(streams: &Streams) -> Option<(u64, Due)> {
        let (deadline, due) = streams.due(&LIMITS)?;
        Some((deadline.duration_since(Instant::now()).as_secs(), due))
    }

    #[tokio::test(start_paused = true)]
    async fn whose_turn_it_is() {
        let streams = Arc::new(Streams::new(Instant::now()));
        assert_eq!(due(&streams), Some((1, Due::Drop)));
        let working = streams.begin();
        advance(Duration::from_secs(60)).await;
        assert_eq!(due(&streams), None);
        let answer = streams
            .give(text(StatusCode::OK, "text/plain", "one"))
            .await;
        advance(Duration::from_secs(4)).await;
        let later = streams
            .give(text(StatusCode::OK, "text/plain", "two"))
            .await;
        drop(working);
        assert_eq!(due(&streams), Some((6, Due::Drop)));
        // hyper takes the bytes out and lets go of the body before they are written.
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(due(&streams), Some((6, Due::Drop)));
        drop(bytes);
        assert_eq!(due(&streams), Some((10, Due::Drop)));
        drop(later);
        assert_eq!(due(&streams), Some((100, Due::GoAway)));
        streams.give(Answer::default()).await;
        assert_eq!(due(&streams), Some((100, Due::GoAway)));
    }
}
