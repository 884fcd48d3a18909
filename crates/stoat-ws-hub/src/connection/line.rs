//! A connection over plain TCP. The hub's fan-out writes what is new to it; its own
//! task reads, keeps the deadlines, and writes when the socket was full.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::{sleep_until, timeout};

use super::batch::Batch;
use super::session::{Due, Session, Surroundings};
use super::{End, LINGER, ROUNDS, SlowGauge, now};
use crate::DisconnectReason;
use crate::close::Close;
use crate::heartbeat::Beat;
use crate::manager::Hub;
use crate::registry::{Member, Order};
use crate::stats::Tally;

/// A session and its socket, shared by the connection's task and the fan-out. Whoever
/// holds the lock writes, so a frame is never broken into.
pub(crate) struct Line {
    stream: TcpStream,
    state: Mutex<State>,
}

struct State {
    session: Session,
    slow: SlowGauge,
    /// A write failed; nothing more is to be tried.
    lost: bool,
}

/// What a turn of the task left to be done.
struct Left {
    more: bool,
    wants_input: bool,
    stalled: bool,
    deadline: Instant,
}

/// Serves a connection until it ends, and says why it did.
pub(super) async fn serve(line: Arc<Line>, member: &Member, hub: &Hub) -> DisconnectReason {
    // Seated first, looked at second: what is published in between is seen by one of both.
    let seat = hub.fan_out.seat(&line);
    let deadline = line.lock().session.deadline();
    let mut timer = pin!(sleep_until(deadline.into()));
    let end = loop {
        // An operator's order comes first, and the timer before the turn, so that its
        // ping goes out with it.
        let order = member.take_order();
        if let Some(reason) = order.and_then(|order| line.lock().session.obey(order, now())) {
            break End::Abort(reason);
        }
        if timer.is_elapsed() {
            match line.lock().session.tick(now()) {
                Some(Due::Abort(reason)) => break End::Abort(reason),
                Some(Due::LetGo(reason)) => break End::Lost(reason),
                None => {}
            }
        }
        let left = match line.turn(hub) {
            Ok(left) => left,
            Err(end) => break end,
        };
        if left.deadline < timer.deadline().into_std() || timer.is_elapsed() {
            timer.as_mut().reset(left.deadline.into());
        }
        if left.more {
            yield_now().await;
            continue;
        }
        // Each branch only says that there is something to do.
        tokio::select! {
            () = member.woken() => {}
            () = poll_fn(|cx| line.poll_ready(cx, &left)) => {}
            () = &mut timer => {}
        }
    };
    drop(seat);
    match end {
        End::Finished(reason) => {
            line.linger().await;
            reason
        }
        End::Abort(reason) => {
            // What the kernel still holds for a peer that does not read can be megabytes.
            let _ = line.stream.set_zero_linger();
            reason
        }
        End::Lost(reason) => reason,
    }
}

impl Line {
    pub(super) fn new(stream: TcpStream, session: Session, hub: &Hub) -> Self {
        Self {
            stream,
            state: Mutex::new(State {
                session,
                slow: SlowGauge::new(&hub.registry),
                lost: false,
            }),
        }
    }

    /// Writes what is new. Leaves to the connection's task whatever takes longer.
    pub(crate) fn offer(
        &self,
        batch: &Batch,
        beat: Option<&Arc<Beat>>,
        hub: &Hub,
        tally: &mut Tally,
    ) {
        let mut state = self.lock();
        let State {
            session,
            slow,
            lost,
        } = &mut *state;
        if *lost || session.is_stalled() {
            return;
        }
        let mut done = false;
        if session.wants_all_of(batch, beat) {
            match self.stream.try_write(batch.bytes()) {
                Ok(0) => *lost = true,
                Ok(taken) => done = session.took(batch, taken, tally, now()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => *lost = true,
            }
        } else {
            done = session.pass_over(batch, beat);
        }
        for _ in 0..ROUNDS {
            if done || *lost {
                break;
            }
            match self.write(session, beat, hub) {
                Ok(wrote) => done = !wrote,
                Err(_) => *lost = true,
            }
        }
        slow.set(session.is_stalled());
        if *lost || !done || session.is_stalled() || session.is_over() {
            session.member().wake();
        }
    }

    /// Ends the connection since its state can no longer be relied on.
    pub(crate) fn give_up(&self) {
        let mut state = self.lock();
        state.lost = true;
        state.session.member().wake();
    }

    /// Ends the connection since there is nothing more to follow.
    pub(crate) fn log_is_gone(&self) {
        let order = Order::Close(Close::log_gone());
        // Closing does not abort.
        let session = &mut self.lock().session;
        let _ = session.obey(order, now());
        session.member().wake();
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

    /// Writes and reads as much as the socket allows, within bounds.
    fn turn(&self, hub: &Hub) -> Result<Left, End> {
        let beat = hub.beats.newest();
        let mut state = self.lock();
        let State {
            session,
            slow,
            lost,
        } = &mut *state;
        let mut more = true;
        for _ in 0..ROUNDS {
            if *lost {
                return Err(End::Lost(session.reason()));
            }
            let wrote = self.write(session, beat.as_ref(), hub);
            let wrote = wrote.map_err(|_| End::Lost(session.reason()))?;
            if session.is_over() {
                return Err(End::Finished(session.reason()));
            }
            let read = self.read(session, hub);
            more = wrote || read.map_err(|_| End::Lost(session.reason()))?;
            if !more {
                break;
            }
        }
        slow.set(session.is_stalled());
        Ok(Left {
            more,
            wants_input: session.wants_input(),
            stalled: session.is_stalled(),
            deadline: session.deadline(),
        })
    }

    /// Lines up and writes once. Says whether there may be more to line up or to write.
    fn write(
        &self,
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
        match self.stream.try_write_vectored(&slices[..count]) {
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
    fn read(&self, session: &mut Session, hub: &Hub) -> io::Result<bool> {
        if !session.wants_input() {
            return Ok(false);
        }
        let mut buffer = [0; 2048];
        match self.stream.try_read(&mut buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => {
                session.received(&buffer[..len], &hub.registry.counters, now());
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends our half and reads the other to its end, within bounds.
    async fn linger(&self) {
        if SockRef::from(&self.stream)
            .shutdown(Shutdown::Write)
            .is_err()
        {
            return;
        }
        let end = async { while self.discard() && self.stream.readable().await.is_ok() {} };
        // Whatever comes of it, the connection is over.
        let _ = timeout(LINGER, end).await;
    }

    /// Throws away what there is to read. Says whether more may come.
    fn discard(&self) -> bool {
        let mut discarded = [0; 2048];
        loop {
            match self.stream.try_read(&mut discarded) {
                Ok(1..) => {}
                Ok(0) => return false,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in between is the end of the connection's task or of the fan-out's turn.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
