//! The stream below HTTP/2: ends a connection whose client keeps the server busy with nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::edge::PREFACE;

/// What the frames of one second may cost. A client that reads may tell so for each frame that
/// it got; all else that carries nothing a client has to say now and then.
const BUDGET: u32 = 10_000;
const WINDOW: u32 = 1;
const CONTROL: u32 = 100;
const SECOND: Duration = Duration::from_secs(1);

/// Frame types and flags of RFC 9113, section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The length of what each frame begins with.
const HEAD: usize = 9;

/// A stream that fails to be read once its frames cost too much.
#[derive(Debug)]
pub(super) struct Calm<S> {
    stream: S,
    frames: Frames,
    spent: u32,
    since: Instant,
}

impl<S> Calm<S> {
    /// For a stream of which nothing was read.
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            frames: Frames::default(),
            spent: 0,
            since: Instant::now(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Calm<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let calm = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut calm.stream).poll_read(cx, buf))?;
        let cost = calm.frames.cost(&buf.filled()[before..]);
        if cost > 0 {
            let now = Instant::now();
            if now - calm.since >= SECOND {
                (calm.since, calm.spent) = (now, 0);
            }
            calm.spent = calm.spent.saturating_add(cost);
            if calm.spent > BUDGET {
                return Poll::Ready(Err(io::Error::other("too many control frames")));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Calm<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Where one frame ends and the next begins.
#[derive(Debug)]
struct Frames {
    /// Bytes that belong to what came before.
    skip: usize,
    head: [u8; HEAD],
    /// How much of `head` is there.
    filled: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            skip: PREFACE.len(),
            head: [0; HEAD],
            filled: 0,
        }
    }
}

impl Frames {
    /// What the frames cost that begin in these bytes.
    fn cost(&mut self, mut bytes: &[u8]) -> u32 {
        let mut sum = 0_u32;
        while !bytes.is_empty() {
            let part = self.skip.min(bytes.len());
            self.skip -= part;
            bytes = &bytes[part..];
            let part = (HEAD - self.filled).min(bytes.len());
            self.head[self.filled..][..part].copy_from_slice(&bytes[..part]);
            self.filled += part;
            bytes = &bytes[part..];
            if self.filled == HEAD {
                sum = sum.saturating_add(cost(&self.head));
                let [a, b, c, ..] = self.head;
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                self.filled = 0;
            }
        }
        sum
    }
}

fn cost(head: &[u8; HEAD]) -> u32 {
    let [a, b, c, kind, flags, ..] = *head;
    let is_empty = [a, b, c] == [0; 3];
    match kind {
        DATA if is_empty && flags & END_STREAM == 0 => CONTROL,
        CONTINUATION if is_empty && flags & END_HEADERS == 0 => CONTROL,
        DATA | HEADERS | CONTINUATION => 0,
        WINDOW_UPDATE => WINDOW,
        _ => CONTROL,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 0]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn what_carries_nothing_costs() {
        for (kind, flags, payload, expected) in [
            (DATA, 0, &b"x"[..], 0),
            (DATA, 0, b"", CONTROL),
            (DATA, END_STREAM, b"", 0),
            (HEADERS, END_HEADERS, b"x", 0),
            (CONTINUATION, 0, b"", CONTROL),
            (CONTINUATION, END_HEADERS, b"", 0),
            (WINDOW_UPDATE, 0, b"1234", WINDOW),
            (PING, 0, b"12345678", CONTROL),
            (0xfa, 0, b"", CONTROL),
        ] {
            let mut frames = Frames::default();
            let bytes = [PREFACE, &frame(kind, flags, payload)].concat();
            assert_eq!(frames.cost(&bytes), expected, "{kind} {flags}");
        }
    }

    proptest! {
        #[test]
        fn frames_are_found_however_they_are_cut(
            lengths in prop::collection::vec(0_usize..40, 0..20),
            cuts in prop::collection::vec(1_usize..30, 1..20),
        ) {
            let mut bytes = PREFACE.to_vec();
            for length in &lengths {
                bytes.extend(frame(PING, 0, &vec![PING; *length]));
            }
            let (mut frames, mut cost, mut rest) = (Frames::default(), 0, &bytes[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                cost += frames.cost(piece);
                rest = after;
            }
            prop_assert_eq!(cost, CONTROL * lengths.len() as u32);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_ends_it_and_the_same_over_time_does_not() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut calm = Calm::new(server);
        let most = (BUDGET / CONTROL) as usize;
        let second = frame(PING, 0, b"12345678").repeat(most);
        client.write_all(PREFACE).await.unwrap();
        for _ in 0..3 {
            client.write_all(&second).await.unwrap();
            let mut taken = vec![0; second.len()];
            calm.read_exact(&mut taken).await.unwrap();
            tokio::time::advance(SECOND).await;
        }
        client.write_all(&second.repeat(2)).await.unwrap();
        let mut taken = vec![0; second.len() * 2];
        assert!(calm.read_exact(&mut taken).await.is_err());
    }
}
