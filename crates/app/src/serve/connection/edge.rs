//! The stream below HTTP/1: knows whose turn it is, keeps back answers that are not ours, and sends
//! those together that a client did not wait for.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use stoat_ws_hub::Taken;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::shared::Shared;

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
        Self {
            stream: Some(stream),
            shared: Arc::new(Shared::passing(Instant::now())),
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
        let returned = self.stream.take().map(|stream| (stream, unsent));
        self.shared.give_back(returned);
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
                let held = std::mem::take(&mut self.held);
                self.shared.state().speaks_http2(held);
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
        if !self.shared.state().is_a_stream() {
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
        self.shared.state().sent();
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
            edge.shared.state().read();
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
        if !edge.unsent.is_empty() && edge.shared.state().keeps() {
            return Poll::Ready(Ok(()));
        }
        ready!(edge.poll_send(cx))?;
        let stream = edge.stream.as_mut().ok_or_else(gone)?;
        ready!(Pin::new(stream).poll_flush(cx))?;
        edge.shared.state().flushed();
        Poll::Ready(Ok(()))
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

fn gone() -> io::Error {
    io::Error::other("the stream is gone")
}

#[cfg(test)]
#[path = "edge_tests.rs"]
mod tests;
