//! A connection over plain TCP. The fan-out writes what is new to it; its own task reads,
//! keeps the deadlines, and writes when the socket was full.

mod task;

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use socket2::SockRef;
use stoat_events::EncodedEvent;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::batch::Batch;
use super::follower::{Follower, GivenUp, Need};
use super::session::{Session, Surroundings};
use super::{End, LINGER, LINGER_BYTES, ROUNDS, now};
use crate::close::Close;
use crate::heartbeat::Beat;
use crate::manager::Hub;
use crate::registry::Order;
use crate::stats::Tally;

pub(crate) use task::serve;

/// A session and its socket. It lives behind the lock of its seat in the fan-out; whoever
/// holds that writes, so a frame is never broken into.
pub(crate) struct Line {
    stream: TcpStream,
    follower: Follower,
}

/// A beat as the fan-out sends it to all who have everything up to `position`.
pub(crate) struct SharedBeat {
    pub(crate) event: Arc<EncodedEvent>,
    pub(crate) number: u64,
    pub(crate) position: u64,
}

/// What a turn of the task left to be done.
struct Left {
    more: bool,
    wants_input: bool,
    stalled: bool,
    to_fetch: Option<u64>,
    deadline: Instant,
}

impl Line {
    pub(super) fn new(stream: TcpStream, session: Session) -> Self {
        let follower = Follower::new(session);
        Self { stream, follower }
    }

    /// What it wants to see.
    pub(crate) fn filter(&self) -> &Arc<stoat_events::Filter> {
        self.follower.filter()
    }

    /// Writes a batch that follows `position`, as far as the client needs it. Leaves to the
    /// connection's task whatever takes longer.
    pub(crate) fn offer(&mut self, batch: &Batch, position: u64, hub: &Hub, tally: &mut Tally) {
        let need = self.follower.need(batch, position);
        let send = |stream: &TcpStream| {
            let shared = batch.pages().send(stream);
            shared.map_or_else(|| send(stream, batch.bytes()), Ok)
        };
        self.meet(need, send, position, hub, |follower, bytes| {
            follower.took(batch, bytes, tally, now)
        });
    }

    /// Writes a beat, as [`offer`](Self::offer).
    pub(crate) fn offer_beat(&mut self, beat: &SharedBeat, hub: &Hub, tally: &mut Tally) {
        let SharedBeat {
            event,
            number,
            position,
        } = beat;
        let need = self.follower.need_of_beat(*number, *position);
        let send = |stream: &TcpStream| send(stream, event.ws_frame());
        self.meet(need, send, *position, hub, |follower, bytes| {
            follower.took_beat(event, *number, *position, bytes, tally)
        });
    }

    /// Does what is needed about bytes that are new: `send` hands them to the kernel past the
    /// runtime, which would first look up whether it believes the socket to be writable; `took`
    /// learns how many the socket took, and says whether they were all. Where it is full the
    /// connection's task finds that out in the runtime's way, and waits.
    fn meet(
        &mut self,
        need: Need,
        send: impl FnOnce(&TcpStream) -> io::Result<usize>,
        position: u64,
        hub: &Hub,
        took: impl FnOnce(&mut Follower, usize) -> bool,
    ) {
        let done = match need {
            Need::Nothing => return,
            Need::Look => self.look(position, hub),
            Need::Whole => match send(&self.stream) {
                Ok(bytes @ 1..) => took(&mut self.follower, bytes),
                Err(error) if is_full(error.kind()) => false,
                Ok(0) | Err(_) => return self.give_up(GivenUp::Lost, position),
            },
        };
        if !done {
            self.leave_to_task(position);
        }
    }

    /// Ends the connection after a panic, since its state can no longer be relied on.
    pub(crate) fn fault(&mut self) {
        self.give_up(GivenUp::Fault, 0);
    }

    fn give_up(&mut self, why: GivenUp, position: u64) {
        self.follower.give_up(why, position);
        self.leave_to_task(position);
    }

    /// Ends the connection since there is nothing more to follow.
    pub(crate) fn log_is_gone(&mut self, position: u64) {
        let order = Order::Close(Close::log_gone());
        // Closing does not abort.
        let _ = self.follower.session(position).obey(order, now());
        self.leave_to_task(position);
    }

    /// Tells the registry's member what the fan-out did.
    pub(crate) fn report(&mut self, position: u64) {
        self.follower.report(position);
    }

    fn leave_to_task(&mut self, position: u64) {
        self.follower.session(position).member().wake();
    }

    /// Lets the session write what it makes of the log. Says whether all is written.
    fn look(&mut self, position: u64, hub: &Hub) -> bool {
        let beat = hub.beats.newest();
        let session = self.follower.session(position);
        for _ in 0..ROUNDS {
            match write(&self.stream, session, beat.as_ref(), hub) {
                Ok(true) => {}
                Ok(false) if session.is_stalled() || session.to_fetch().is_some() => {
                    return false;
                }
                Ok(false) => {
                    self.follower.settle();
                    return true;
                }
                Err(_) => {
                    self.follower.give_up(GivenUp::Lost, position);
                    return false;
                }
            }
        }
        false
    }

    /// Ready when the socket has what the last turn was lacking.
    fn poll_ready(&self, cx: &mut Context<'_>, left: &Left) -> Poll<()> {
        let readable = left.wants_input && self.stream.poll_read_ready(cx).is_ready();
        let writable = left.stalled && self.stream.poll_write_ready(cx).is_ready();
        if readable || writable {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Writes and reads as much as the socket allows, within bounds. Ends when the filter
    /// changes: the fan-out must know of it before the log is read to its end.
    fn turn(&mut self, position: u64, hub: &Hub) -> Result<Left, End> {
        let beat = hub.beats.newest();
        let given_up = self.follower.given_up();
        let session = self.follower.session(position);
        let mut more = true;
        match given_up {
            None => {}
            Some(GivenUp::Lost) => return Err(End::Lost(session.reason())),
            Some(GivenUp::Fault) => return Err(End::Fault),
        }
        for _ in 0..ROUNDS {
            let wrote = write(&self.stream, session, beat.as_ref(), hub);
            let wrote = wrote.map_err(|_| End::Lost(session.reason()))?;
            if session.is_over() {
                return Err(End::Finished(session.reason()));
            }
            let filter = Arc::as_ptr(session.filter());
            let read = read(&self.stream, session, hub);
            more = wrote || read.map_err(|_| End::Lost(session.reason()))?;
            if !more || filter != Arc::as_ptr(session.filter()) {
                break;
            }
        }
        let left = Left {
            more,
            wants_input: session.wants_input(),
            stalled: session.is_stalled(),
            to_fetch: session.to_fetch(),
            deadline: session.deadline(),
        };
        if !more {
            self.follower.settle();
        }
        Ok(left)
    }

    /// Says that the fault is ours, where that can be said.
    fn say_fault(&self) {
        if !self.follower.is_within_a_frame() {
            // Where there is no room for it, the client sees the end alone.
            let _ = send(&self.stream, &Close::fault().frame());
        }
    }

    /// Throws away what the kernel still holds: for a peer that does not read that can be
    /// megabytes.
    fn abort(self) {
        let _ = self.stream.set_zero_linger();
    }

    /// Ends our half and reads the other to its end, within bounds.
    async fn linger(self) {
        if SockRef::from(&self.stream)
            .shutdown(Shutdown::Write)
            .is_err()
        {
            return;
        }
        let mut left = LINGER_BYTES;
        let end =
            async { while self.discard(&mut left) && self.stream.readable().await.is_ok() {} };
        // Whatever comes of it, the connection is over.
        let _ = timeout(LINGER, end).await;
    }

    /// Throws away what there is to read, as far as there is `left` for it. Says whether to
    /// wait for more.
    fn discard(&self, left: &mut usize) -> bool {
        let mut discarded = [0; 2048];
        while *left > 0 {
            match self.stream.try_read(&mut discarded) {
                Ok(0) => return false,
                Ok(count) => *left = left.saturating_sub(count),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        false
    }
}

/// Lines up and writes once. Says whether there may be more to line up or to write.
fn write(
    stream: &TcpStream,
    session: &mut Session,
    beat: Option<&Arc<Beat>>,
    hub: &Hub,
) -> io::Result<bool> {
    let around = Surroundings {
        log: &*hub.log,
        beat,
    };
    let more = session.fill(&around, now());
    if !session.has_output() {
        return Ok(more);
    }
    let (slices, count) = session.slices();
    match stream.try_write_vectored(&slices[..count]) {
        Ok(0) => Err(ErrorKind::WriteZero.into()),
        Ok(bytes) => {
            session.written(bytes, &hub.registry.counters, now());
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            session.stalled(now());
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Reads once. Says whether there may be more to read.
fn read(stream: &TcpStream, session: &mut Session, hub: &Hub) -> io::Result<bool> {
    if !session.wants_input() {
        return Ok(false);
    }
    let mut buffer = [0; 2048];
    match stream.try_read(&mut buffer) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(len) => {
            session.received(&buffer[..len], &hub.registry.counters, now());
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(any(target_os = "android", target_os = "linux"))]
fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    use rustix::net::SendFlags;
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(rustix::net::send(stream, bytes, flags)?)
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    stream.try_write(bytes)
}

/// Interrupted counts too: the connection's task tries again.
fn is_full(error: ErrorKind) -> bool {
    matches!(error, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
