//! What a connection of HTTP/1 is about: whose turn it is, what is owed to the client, and what the
//! library made of it.

use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::ledger::Ledger;
use crate::serve::gate::Pass;
use crate::serve::sse::Flow;

/// How often the library answers more to one client before others have their turn.
const TURNS: usize = 4;

/// What a connection's task, its stream and its service know in common.
#[derive(Debug)]
pub(super) struct Shared<S> {
    state: Mutex<State>,
    /// With what was not sent.
    returned: Mutex<Option<(S, Vec<u8>)>>,
}

#[derive(Debug)]
pub(super) struct State {
    turn: Turn,
    /// Something has come that no request has taken, or it is the first of the connection.
    begun: bool,
    /// While the client has not taken all answers, the server waits with its end.
    owed: Option<Pass>,
    /// Of the stream of events that is the answer.
    flow: Option<Flow>,
    ledger: Ledger,
    ahead: Ahead,
    /// The library has answered on its own; that answer was kept back.
    refused: Option<u16>,
    /// The client speaks HTTP/2, and began with this.
    http2: Option<Vec<u8>>,
}

/// Whether the client sends requests without waiting for the answers to those before (pipelining,
/// RFC 9112, section 9.3.2). Then one call to the system sends several answers.
#[derive(Debug, Default)]
struct Ahead {
    /// It has done so.
    seen: bool,
    /// Something was written since the last piece was read, and the task has not waited.
    wrote: bool,
    /// The library has done what it could: what is kept is to be sent now.
    waits: bool,
    /// Something is kept.
    keeps: bool,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    /// The client's: the head of a request is due.
    Head { since: Instant },
    /// Ours.
    Work,
    /// The client's: there is an answer to take.
    Answer { since: Instant },
    /// Ours, for as long as events come; the client's where there is a piece to take.
    Stream { since: Option<Instant> },
}

impl<S> Shared<S> {
    /// For a connection that was accepted at that time.
    pub(super) fn new(accepted: Instant) -> Self {
        Self {
            state: Mutex::new(State {
                turn: Turn::Head { since: accepted },
                begun: true,
                owed: None,
                flow: None,
                ledger: Ledger::default(),
                ahead: Ahead::default(),
                refused: None,
                http2: None,
            }),
            returned: Mutex::new(None),
        }
    }

    /// For one that the library is not to be watched on: all is written as it comes.
    pub(super) fn passing(accepted: Instant) -> Self {
        let shared = Self::new(accepted);
        shared.state().ledger = Ledger::open();
        shared
    }

    /// A request has come, for which the server waits with its end.
    pub(super) fn request(&self, owed: Option<Pass>) {
        let mut state = self.state();
        state.turn = Turn::Work;
        state.begun = false;
        state.owed = owed;
        state.ahead.seen |= state.ahead.wrote;
    }

    /// Its answer is there, with a body of so many bytes; `None` as [`Ledger::expect`] has it.
    pub(super) fn answer(&self, body: Option<u64>) {
        let mut state = self.state();
        state.expect(body);
        state.turn = Turn::Answer {
            since: Instant::now(),
        };
    }

    /// The answer is a stream of events; it is the last of the connection.
    pub(super) fn stream(&self, flow: Flow) {
        let mut state = self.state();
        state.expect(None);
        state.flow = Some(flow);
    }

    pub(super) fn turn(&self) -> Turn {
        let state = self.state();
        match &state.flow {
            Some(flow) => Turn::Stream {
                since: flow.waits_since(),
            },
            None => state.turn,
        }
    }

    /// A head is due, and it is the first of the connection, or some of it has come.
    pub(super) fn head_has_begun(&self) -> bool {
        let state = self.state();
        state.begun && matches!(state.turn, Turn::Head { .. })
    }

    /// The connection is cut off, since the client does not do its part.
    pub(super) fn give_up(&self) {
        if let Some(flow) = &self.state().flow {
            flow.give_up();
        }
    }

    /// The status with which the library wanted to answer on its own.
    pub(super) fn refused(&self) -> Option<u16> {
        self.state().refused
    }

    /// The first bytes of a client that speaks HTTP/2.
    pub(super) fn take_http2(&self) -> Option<Vec<u8>> {
        self.state().http2.take()
    }

    /// Polls what drives the stream, so that nothing is kept while that waits.
    pub(super) fn poll<F: Future>(
        &self,
        mut connection: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        let mut polled = connection.as_mut().poll(cx);
        // The library answers a number of requests, then lets others run. Each time it flushes the
        // stream first.
        for _ in 0..TURNS {
            if polled.is_ready() || !self.state().ahead.keeps {
                break;
            }
            self.state().ahead.waits = true;
            polled = connection.as_mut().poll(cx);
            if self.state().ahead.waits {
                // The client does not take it now.
                break;
            }
        }
        let mut state = self.state();
        if polled.is_pending() && state.ahead.keeps && !state.ahead.waits {
            cx.waker().wake_by_ref();
        }
        (state.ahead.waits, state.ahead.wrote) = (false, false);
        if polled.is_pending() && matches!(state.turn, Turn::Head { .. }) && !state.ahead.seen {
            // Whoever sends ahead is waited for at the end of the connection.
            state.owed = None;
        }
        polled
    }

    /// The client has sent requests without waiting for the answers to those before.
    pub(super) fn is_ahead(&self) -> bool {
        self.state().ahead.seen
    }

    /// The library lets go of the stream, with what was not sent.
    pub(super) fn give_back(&self, stream: Option<(S, Vec<u8>)>) {
        *lock(&self.returned) = stream;
    }

    /// The stream, once the library has let go of it, and what is to be sent before all else.
    pub(super) fn take_stream(&self) -> Option<(S, Vec<u8>)> {
        lock(&self.returned).take()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn expect(&mut self, body: Option<u64>) {
        self.ledger.expect(body);
        if body.is_none() {
            // Streams and WebSockets are ended in their own way.
            self.owed = None;
        }
    }

    /// The answer is a stream of events.
    pub(super) fn is_a_stream(&self) -> bool {
        self.flow.is_some()
    }

    /// The client began with these bytes, which are HTTP/2.
    pub(super) fn speaks_http2(&mut self, bytes: Vec<u8>) {
        self.http2 = Some(bytes);
    }

    /// Something was read.
    pub(super) fn read(&mut self) {
        // In our turn it may be the body of the request.
        self.begun |= !matches!(self.turn, Turn::Work);
        // It may have been sent when the answer was there. What was sent ahead comes in one piece
        // with others.
        self.ahead.wrote = false;
    }

    /// The stream is needed when the library is done with it.
    pub(super) fn goes_on(&self) -> bool {
        self.refused.is_some() || self.http2.is_some()
    }

    /// How many of the bytes to write are ours, and whether they are kept. Of those that are not
    /// it only takes the status.
    pub(super) fn ours(&mut self, bytes: &[IoSlice<'_>]) -> (usize, bool) {
        if self.refused.is_some() {
            return (0, false);
        }
        let ours = self.ledger.ours(bytes);
        if ours == 0 {
            let head = bytes.iter().find(|piece| !piece.is_empty());
            self.refused = head.map(|head| status(head));
        }
        (ours, self.keeps())
    }

    /// What is written now waits for what comes after it.
    pub(super) fn keeps(&self) -> bool {
        self.ahead.seen && !self.ahead.waits && !self.ledger.is_open()
    }

    pub(super) fn kept(&mut self, bytes: usize) {
        self.ledger.written(bytes);
        (self.ahead.wrote, self.ahead.keeps) = (true, true);
    }

    pub(super) fn written(&mut self, bytes: usize) {
        self.ledger.written(bytes);
        self.ahead.wrote = true;
    }

    /// All that was kept is written.
    pub(super) fn sent(&mut self) {
        (self.ahead.keeps, self.ahead.waits) = (false, false);
    }

    /// All that was written has left. With the last of all answers it is the client's turn.
    pub(super) fn flushed(&mut self) {
        if self.ledger.is_even() && matches!(self.turn, Turn::Answer { .. }) {
            self.turn = Turn::Head {
                since: Instant::now(),
            };
        }
    }
}

/// The status in a head that the library wrote: `HTTP/1.1 NNN …`.
fn status(head: &[u8]) -> u16 {
    let digits = head
        .get(9..12)
        .and_then(|code| std::str::from_utf8(code).ok());
    digits.and_then(|code| code.parse().ok()).unwrap_or(400)
}
