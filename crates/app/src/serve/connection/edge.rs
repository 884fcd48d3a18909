//! The stream below HTTP/1: knows whose turn it is, keeps back answers that are not ours, and sends
//! those together that a client did not wait for.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use stoat_ws_hub::Taken;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::ledger::Ledger;
use crate::serve::sse::Flow;

/// What a client of HTTP/2 begins with.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is read ahead of a client that is sent a stream, and has nothing to say.
const READ_AHEAD: usize = 4 << 10;

/// The most that is kept to be sent together.
const MOST_UNSENT: usize = 16 << 10;

/// A stream in the hands of the HTTP library; it comes back to [`Shared`] when it is dropped.
#[derive(Debug)]
pub(super) struct Edge<S> {
    /// Gone only while this is dropped.
    stream: Option<S>,
    shared: Arc<Shared<S>>,
    /// What was read and not handed on.
    held: Vec<u8>,
    /// Nothing was handed on yet: it may turn out to be HTTP/2.
    sniffs: bool,
    /// What the library has written and the stream has not taken.
    unsent: Vec<u8>,
}

/// What a connection's task, its stream and its service know in common.
#[derive(Debug)]
pub(super) struct Shared<S> {
    state: Mutex<State>,
    /// With what was not sent.
    returned: Mutex<Option<(S, Vec<u8>)>>,
}

#[derive(Debug)]
struct State {
    turn: Turn,
    /// Some of the next head has come, or it is the first of the connection.
    begun: bool,
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
#[derive(Clone, Copy, Debug, Default)]
struct Ahead {
    /// It has done so.
    seen: bool,
    /// Something was written since the task of the connection last waited.
    wrote: bool,
    /// The task is about to wait: nothing is kept any more.
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
                flow: None,
                ledger: Ledger::default(),
                ahead: Ahead::default(),
                refused: None,
                http2: None,
            }),
            returned: Mutex::new(None),
        }
    }

    /// A request has come.
    pub(super) fn request(&self) {
        let mut state = self.state();
        state.turn = Turn::Work;
        state.begun = false;
        state.ahead.seen |= state.ahead.wrote;
    }

    /// Its answer is there, with a body of so many bytes; `None` as [`Ledger::expect`] has it.
    pub(super) fn answer(&self, body: Option<u64>) {
        let mut state = self.state();
        state.ledger.expect(body);
        state.turn = Turn::Answer {
            since: Instant::now(),
        };
    }

    /// The answer is a stream of events; it is the last of the connection.
    pub(super) fn stream(&self, flow: Flow) {
        let mut state = self.state();
        state.ledger.expect(None);
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
        if polled.is_pending() && self.state().ahead.keeps {
            self.state().ahead.waits = true;
            // It flushes the stream each time.
            polled = connection.poll(cx);
        }
        let mut state = self.state();
        (state.ahead.waits, state.ahead.wrote) = (false, false);
        polled
    }

    /// The stream, once the library has let go of it, and what is to be sent before all else.
    pub(super) fn take_stream(&self) -> Option<(S, Vec<u8>)> {
        lock(&self.returned).take()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S> Edge<S> {
    pub(super) fn new(stream: S, shared: Arc<Shared<S>>) -> Self {
        Self {
            stream: Some(stream),
            shared,
            held: Vec::new(),
            sniffs: true,
            unsent: Vec::new(),
        }
    }

    /// A stream of which these bytes were read already, and that is not looked at any more.
    pub(super) fn passing(stream: S, held: Vec<u8>) -> Self {
        let shared = Shared::new(Instant::now());
        shared.state().ledger = Ledger::open();
        Self {
            stream: Some(stream),
            shared: Arc::new(shared),
            held,
            sniffs: false,
            unsent: Vec::new(),
        }
    }
}

/// Takes the plain TCP stream out of an upgrade, with what was read of it.
pub(super) fn take_tcp(upgraded: Upgraded) -> Taken {
    let parts = match upgraded.downcast::<TokioIo<Edge<TcpStream>>>() {
        Ok(parts) => parts,
        Err(upgraded) => return Taken::Other(upgraded),
    };
    let mut edge = parts.io.into_inner();
    let read = match edge.held.is_empty() {
        true => parts.read_buf,
        false => [&parts.read_buf[..], &edge.held].concat().into(),
    };
    match edge.stream.take() {
        Some(stream) => Taken::Tcp(stream, read),
        None => Taken::Gone,
    }
}

impl<S> Drop for Edge<S> {
    fn drop(&mut self) {
        let unsent = std::mem::take(&mut self.unsent);
        *lock(&self.shared.returned) = self.stream.take().map(|stream| (stream, unsent));
    }
}

impl<S: AsyncRead + Unpin> Edge<S> {
    /// Reads the first bytes; keeps them as long as they may be the beginning of HTTP/2.
    fn poll_sniff(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = self.stream.as_mut().ok_or_else(gone)?;
        loop {
            let before = buf.filled().len();
            ready!(Pin::new(&mut *stream).poll_read(cx, buf))?;
            let fresh = &buf.filled()[before..];
            let ended = fresh.is_empty();
            if self.held.is_empty() && !may_be_http2(fresh) {
                self.sniffs = false;
                return Poll::Ready(Ok(()));
            }
            self.held.extend_from_slice(fresh);
            buf.set_filled(before);
            if self.held.starts_with(PREFACE) {
                self.shared.state().http2 = Some(std::mem::take(&mut self.held));
                return Poll::Ready(Err(io::Error::other("this is HTTP/2")));
            }
            if ended || !may_be_http2(&self.held) {
                self.sniffs = false;
                self.hand_on(buf);
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let part = buf.remaining().min(self.held.len());
        buf.put_slice(&self.held[..part]);
        self.held.drain(..part);
    }
}

impl<S: AsyncRead + Unpin> Edge<S> {
    /// Fails once a client that is sent a stream has ended the connection: the library does not
    /// read meanwhile, and would not notice before it writes.
    fn look_for_the_end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.shared.state().flow.is_none() {
            return Ok(());
        }
        let mut bytes = [0; 512];
        while self.held.len() < READ_AHEAD {
            let stream = self.stream.as_mut().ok_or_else(gone)?;
            let mut buf = ReadBuf::new(&mut bytes);
            match Pin::new(stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                Poll::Ready(Ok(())) => self.held.extend_from_slice(buf.filled()),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        Ok(())
    }
}

impl<S: AsyncWrite + Unpin> Edge<S> {
    /// Sends what was kept.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let stream = self.stream.as_mut().ok_or_else(gone)?;
        while !self.unsent.is_empty() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, &self.unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => drop(self.unsent.drain(..written)),
            }
        }
        self.unsent = Vec::new();
        let mut state = self.shared.state();
        state.ahead.keeps = false;
        state.next_turn();
        Poll::Ready(Ok(()))
    }
}

fn may_be_http2(bytes: &[u8]) -> bool {
    !bytes.is_empty() && (PREFACE.starts_with(bytes) || bytes.starts_with(PREFACE))
}

impl<S: AsyncRead + Unpin> AsyncRead for Edge<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let edge = self.get_mut();
        let before = buf.filled().len();
        if edge.sniffs {
            ready!(edge.poll_sniff(cx, buf))?;
        } else if !edge.held.is_empty() {
            edge.hand_on(buf);
        } else {
            let stream = edge.stream.as_mut().ok_or_else(gone)?;
            ready!(Pin::new(stream).poll_read(cx, buf))?;
        }
        if buf.filled().len() > before {
            edge.shared.state().begun = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Edge<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let edge = self.get_mut();
        let all = bytes.iter().map(|piece| piece.len()).sum();
        let (ours, keeps) = edge.shared.state().ours(bytes);
        if ours == 0 {
            return Poll::Ready(Ok(all));
        }
        if keeps && edge.unsent.len() + all <= MOST_UNSENT {
            let before = edge.unsent.len();
            bytes
                .iter()
                .for_each(|piece| edge.unsent.extend_from_slice(piece));
            edge.unsent.truncate(before + ours);
            edge.shared.state().kept(ours);
            return Poll::Ready(Ok(ours));
        }
        ready!(edge.poll_send(cx))?;
        let stream = edge.stream.as_mut().ok_or_else(gone)?;
        let written = if ours == all {
            ready!(Pin::new(stream).poll_write_vectored(cx, bytes))?
        } else {
            // Up to where the library's own answer begins.
            let piece = bytes.iter().find(|piece| !piece.is_empty());
            let piece = piece.map_or(&[][..], |piece| &piece[..ours.min(piece.len())]);
            ready!(Pin::new(stream).poll_write(cx, piece))?
        };
        edge.shared.state().written(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream
            .as_ref()
            .is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let edge = self.get_mut();
        edge.look_for_the_end(cx)?;
        if edge.shared.state().keeps() {
            return Poll::Ready(Ok(()));
        }
        ready!(edge.poll_send(cx))?;
        let stream = edge.stream.as_mut().ok_or_else(gone)?;
        Pin::new(stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let edge = self.get_mut();
        ready!(edge.poll_send(cx))?;
        if edge.shared.state().goes_on() {
            return Poll::Ready(Ok(()));
        }
        let stream = edge.stream.as_mut().ok_or_else(gone)?;
        Pin::new(stream).poll_shutdown(cx)
    }
}

impl State {
    /// The stream is needed when the library is done with it.
    fn goes_on(&self) -> bool {
        self.refused.is_some() || self.http2.is_some()
    }

    /// How many of the bytes to write are ours, and whether they are kept. Of those that are not
    /// it only takes the status.
    fn ours(&mut self, bytes: &[IoSlice<'_>]) -> (usize, bool) {
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
    fn keeps(&self) -> bool {
        self.ahead.seen && !self.ahead.waits && !self.ledger.is_open()
    }

    fn kept(&mut self, bytes: usize) {
        self.ledger.written(bytes);
        (self.ahead.wrote, self.ahead.keeps) = (true, true);
    }

    fn written(&mut self, bytes: usize) {
        self.ledger.written(bytes);
        self.ahead.wrote = true;
        self.next_turn();
    }

    /// Once all is sent it is the client's turn.
    fn next_turn(&mut self) {
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

fn gone() -> io::Error {
    io::Error::other("the stream is gone")
}

#[cfg(test)]
#[path = "edge_tests.rs"]
mod tests;
