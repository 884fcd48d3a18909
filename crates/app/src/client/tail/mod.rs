//! `stoat tail`: prints events, reconnects and resumes.

mod handshake;
mod position;
mod state;

#[cfg(test)]
mod tests;

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

pub(super) use self::handshake::{Refusal, Socket, open};
use self::position::{Envelope, Position};
use self::state::State;
use super::backoff::Backoff;
use super::http::RequestError;
use super::output::Lines;
use super::{ClientError, unreachable};
use crate::cli::{Since, Tail};
use crate::settings::text::shorten;

/// No frame for so long (pings of the server count) means that the connection is dead.
const SILENCE: Duration = Duration::from_secs(90);

/// Longest wait that a server can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// So many bytes of lines are printed even if more has arrived.
const MOST_GATHERED: usize = 64 << 10;

/// How long a close handshake may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// Prints events until there were enough or the reader of `out` has gone away.
pub(super) async fn run<W: AsyncWrite + Unpin>(
    tail: &Tail,
    out: W,
    colour: bool,
    mut random: impl FnMut() -> u64,
) -> Result<(), ClientError> {
    let state = tail.state.as_deref().map(State::load).transpose()?;
    let mut stream = Stream::new(tail, Lines::new(out).coloured(colour), state);
    // Whether a server was ever there: before that, waiting for one helps nobody.
    let mut is_known = false;
    loop {
        let wait = match open(tail, stream.position.as_str()).await {
            Ok((socket, cursor)) => {
                stream.position.connected(cursor.as_deref());
                if is_known {
                    tracing::info!(url = %tail.url, "connected again");
                }
                is_known = true;
                match stream.follow(socket).await? {
                    End::Done => return Ok(()),
                    End::Lost { why, wait } => {
                        tracing::warn!(url = %tail.url, "connection lost: {why}; reconnecting");
                        wait
                    }
                }
            }
            Err(Refusal::Busy(problem, wait)) => {
                tracing::warn!(url = %tail.url, "the server is busy: {problem}; trying again");
                is_known = true;
                wait
            }
            Err(Refusal::Unreachable(error)) if !is_known => {
                return Err(unreachable(&tail.url, &error));
            }
            Err(Refusal::Unreachable(error)) => {
                tracing::debug!(url = %tail.url, "cannot reconnect: {error}");
                None
            }
            Err(Refusal::Fatal(error)) => return Err(error),
        };
        let wait = wait.unwrap_or_default().min(LONGEST_WAIT);
        sleep(wait + stream.backoff.next(random())).await;
    }
}

/// How following one connection ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// There is nothing left to print, or nobody to print for.
    Done,
    /// The connection is gone; the server may have said how long to wait.
    Lost { why: String, wait: Option<Duration> },
}

impl End {
    fn lost(why: impl Into<String>) -> Self {
        Self::Lost {
            why: why.into(),
            wait: None,
        }
    }
}

/// What outlives a connection.
struct Stream<W> {
    lines: Lines<W>,
    position: Position,
    /// Where the position is kept over restarts.
    state: Option<State>,
    backoff: Backoff,
    /// How many events are still to be printed; nothing means without end.
    left: Option<u64>,
}

impl<W: AsyncWrite + Unpin> Stream<W> {
    fn new(tail: &Tail, lines: Lines<W>, state: Option<State>) -> Self {
        let saved = state.as_ref().and_then(State::position);
        let since = saved.map(|id| Since::After(id.to_owned()));
        Self {
            lines,
            position: Position::new(since.as_ref().or(tail.since.as_ref())),
            state,
            backoff: Backoff::default(),
            left: tail.count.map(u64::from),
        }
    }

    /// Prints what one connection brings, until it is lost.
    async fn follow<S>(&mut self, socket: WebSocketStream<S>) -> Result<End, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let end = self.read(socket).await?;
        let is_read = self.flush().await?;
        Ok(if is_read { end } else { End::Done })
    }

    /// Takes in what one connection brings; what arrived together is printed together.
    async fn read<S>(&mut self, mut socket: WebSocketStream<S>) -> Result<End, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let ready = match socket.next().now_or_never() {
                Some(message) if self.lines.gathered() < MOST_GATHERED => Ok(message),
                ready => {
                    if !self.flush().await? {
                        return Ok(End::Done);
                    }
                    match ready {
                        Some(message) => Ok(message),
                        None => timeout(SILENCE, socket.next()).await,
                    }
                }
            };
            let message = match ready {
                Err(_) => {
                    let limit = RequestError::TimedOut(SILENCE);
                    return Ok(End::lost(format!("nothing was heard: {limit}")));
                }
                Ok(None) => return Ok(End::lost("the server hung up")),
                Ok(Some(Err(error))) => return Ok(End::lost(error.to_string())),
                Ok(Some(Ok(message))) => message,
            };
            match message {
                Message::Text(text) => {
                    self.backoff.reset();
                    if !self.take(&text) {
                        self.flush().await?;
                        let _ = timeout(FAREWELL, socket.close(None)).await;
                        return Ok(End::Done);
                    }
                }
                Message::Close(frame) => {
                    // Sends the answer to the Close frame.
                    let _ = timeout(FAREWELL, socket.next()).await;
                    return Ok(closed(frame));
                }
                // Pings are answered by the protocol; binary messages are not of this version.
                _ => self.backoff.reset(),
            }
        }
    }

    /// Writes the lines, and then keeps the position: what was kept was printed. `false` says that
    /// the reader has gone away.
    async fn flush(&mut self) -> Result<bool, ClientError> {
        let is_read = self.lines.flush().await?;
        if let Some(state) = self.state.as_mut().filter(|_| is_read) {
            state.save(self.position.as_str())?;
        }
        Ok(is_read)
    }

    /// Takes in one message; `false` says that it was the last.
    fn take(&mut self, text: &str) -> bool {
        let Some(envelope) = Envelope::read(text) else {
            tracing::warn!("skipped a message that is no event: {}", shorten(text));
            return true;
        };
        if !envelope.is_heartbeat() {
            self.lines.add(text);
            self.left = self.left.map(|left| left.saturating_sub(1));
        }
        self.position.saw(&envelope.event_id);
        self.left != Some(0)
    }
}

/// What a Close frame says.
fn closed(frame: Option<CloseFrame>) -> End {
    let Some(frame) = frame else {
        return End::lost("closed by the server");
    };
    let code = u16::from(frame.code);
    let wait = match frame.code {
        CloseCode::Away => retry_ms(&frame.reason),
        _ => None,
    };
    let reason = match shorten(&frame.reason) {
        reason if reason.is_empty() => reason,
        reason => format!(" ({reason})"),
    };
    End::Lost {
        why: format!("closed by the server with {code}{reason}"),
        wait,
    }
}

/// The wait of a reason such as `retry_ms=1500`.
fn retry_ms(reason: &str) -> Option<Duration> {
    let text = reason.split_once("retry_ms=")?.1;
    let end = text.find(|c: char| !c.is_ascii_digit());
    let number = &text[..end.unwrap_or(text.len())];
    number.parse().ok().map(Duration::from_millis)
}
