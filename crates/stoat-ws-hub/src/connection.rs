//! The task of one connection: drives a session with its socket.

mod control;
mod deadlines;
mod frame_guard;
mod protocol;
mod session;
mod transport;

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::upgrade::Upgraded;
use stoat_events::{Gap, HeadWatch};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::DisconnectReason;
use crate::close::Close;
use crate::heartbeat::BeatWatch;
use crate::manager::Hub;
use crate::registry::{Member, Order};
use crate::stats::Counters;
use session::{Due, MAX_CHUNKS, Session, Surroundings};
use transport::Transport;

/// How often one poll goes round writing and reading before others get their turn.
const ROUNDS: usize = 8;
/// How long the socket is read to its end after a closing handshake, so that the
/// peer gets our last bytes and not a reset.
const LINGER: Duration = Duration::from_secs(2);

/// What a connection begins with; fixed before the 101 is sent, so that whatever is
/// published after the client has its answer reaches it.
pub(crate) struct Beginning {
    pub(crate) member: Arc<Member>,
    pub(crate) gap: Option<Gap>,
    pub(crate) head: HeadWatch,
    pub(crate) beats: BeatWatch,
    /// The number of the last beat before this connection.
    pub(crate) beat_seen: u64,
}

/// Serves an upgraded connection until it ends, and says why it did.
pub(crate) async fn serve(upgraded: Upgraded, beginning: Beginning, hub: &Hub) -> DisconnectReason {
    let (io, read_too_far) = Transport::new(upgraded);
    let Beginning {
        member,
        gap,
        mut head,
        mut beats,
        beat_seen,
    } = beginning;
    let counters = &hub.registry.counters;
    let session = Session::new(Arc::clone(&member), gap, beat_seen, &hub.config, now());
    let slow = SlowGauge {
        counters,
        on: false,
    };
    let mut driver = Driver {
        io,
        session,
        hub,
        beats: beats.clone(),
        slow,
    };
    driver.session.received(&read_too_far, counters, now());

    let mut timer = pin!(tokio::time::sleep_until(driver.session.deadline().into()));
    let mut log_is_gone = false;
    let end = loop {
        let armed = timer.deadline().into_std();
        let slow = driver.session.is_stalled();
        let end = tokio::select! {
            // In this order: an operator's word counts before more work is done; then
            // the socket, whose turn also lines up what there is to send; then what
            // there is to send, which only wakes the task, and not while the socket
            // takes nothing; and last the timer, so that progress made just now is
            // seen before it.
            biased;
            order = member.ordered() => driver.session.obey(order, now()).map(End::Abort),
            end = poll_fn(|cx| driver.poll(cx, armed, slow)) => end,
            moved = head.changed(), if !log_is_gone && !slow => {
                log_is_gone = moved.is_err();
                if log_is_gone {
                    driver.session.obey(Order::Close(Close::log_gone()), now());
                }
                None
            }
            Ok(()) = beats.changed(), if !slow => None,
            () = &mut timer => driver.session.tick(now()).map(|end| match end {
                Due::Abort(reason) => End::Abort(reason),
                Due::LetGo(reason) => End::Lost(reason),
            }),
        };
        if let Some(end) = end {
            break end;
        }
        let deadline = driver.session.deadline();
        if deadline < armed || timer.is_elapsed() {
            timer.as_mut().reset(deadline.into());
        }
    };
    match end {
        End::Finished(reason) => {
            linger(driver.io).await;
            reason
        }
        End::Abort(reason) => {
            driver.io.abort();
            reason
        }
        End::Lost(reason) => reason,
    }
}

/// How a connection ended.
enum End {
    /// With a closing handshake.
    Finished(DisconnectReason),
    /// By our decision, without one.
    Abort(DisconnectReason),
    /// The peer is gone, or has all that it will get.
    Lost(DisconnectReason),
}

/// A session and its socket.
struct Driver<'a> {
    io: Transport,
    session: Session,
    hub: &'a Hub,
    /// To look at the newest beat; the task waits with another.
    beats: BeatWatch,
    slow: SlowGauge<'a>,
}

impl Driver<'_> {
    /// Writes and reads as much as the socket allows. Ready when the connection is
    /// at its end, when the timer, armed for `armed`, must go off earlier, and when
    /// it turned slow or was slow and is not any more.
    fn poll(&mut self, cx: &mut Context<'_>, armed: Instant, slow: bool) -> Poll<Option<End>> {
        let mut went_on = true;
        for _ in 0..ROUNDS {
            if !went_on {
                break;
            }
            let wrote = match self.poll_write(cx) {
                Ok(wrote) => wrote,
                Err(end) => return Poll::Ready(Some(end)),
            };
            if self.session.is_over() {
                return Poll::Ready(Some(End::Finished(self.session.reason())));
            }
            let read = match self.poll_read(cx) {
                Poll::Ready(Err(end)) => return Poll::Ready(Some(end)),
                Poll::Ready(Ok(())) => true,
                Poll::Pending => false,
            };
            went_on = wrote || read;
        }
        self.slow.set(self.session.is_stalled());
        if went_on {
            // There is more to do; others first.
            cx.waker().wake_by_ref();
        }
        if self.session.deadline() < armed || self.session.is_stalled() != slow {
            return Poll::Ready(None);
        }
        Poll::Pending
    }

    /// Lines up and writes once. Says whether there may be more to line up or to write.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut more = false;
        if !self.session.is_stalled() {
            let beat = self.beats.borrow().clone();
            let around = Surroundings {
                log: &*self.hub.log,
                beat: beat.as_ref(),
            };
            more = self.session.fill(&around, now());
        }
        if !self.session.has_output() {
            return Ok(more);
        }
        let mut slices = [IoSlice::new(&[]); MAX_CHUNKS + 2];
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(self.session.output()) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        match Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..count]) {
            Poll::Ready(Ok(0) | Err(_)) => Err(End::Lost(self.session.reason())),
            Poll::Ready(Ok(bytes)) => {
                self.session
                    .written(bytes, &self.hub.registry.counters, now());
                // Errors come back with the next write.
                let _ = Pin::new(&mut self.io).poll_flush(cx);
                Ok(true)
            }
            Poll::Pending => {
                self.session.stalled(now());
                Ok(false)
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if !self.session.wants_input() {
            return Poll::Pending;
        }
        // On the stack, and only while there is something to read.
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut buffer = ReadBuf::uninit(&mut buffer);
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer));
        if read.is_err() || buffer.filled().is_empty() {
            return Poll::Ready(Err(End::Lost(self.session.reason())));
        }
        self.session
            .received(buffer.filled(), &self.hub.registry.counters, now());
        Poll::Ready(Ok(()))
    }
}

/// Counts a connection as slow while it takes no bytes; not for longer than it lives.
struct SlowGauge<'a> {
    counters: &'a Counters,
    on: bool,
}

impl SlowGauge<'_> {
    fn set(&mut self, on: bool) {
        if on != self.on {
            self.on = on;
            if on {
                self.counters.slow.fetch_add(1, Relaxed);
            } else {
                self.counters.slow.fetch_sub(1, Relaxed);
            }
        }
    }
}

impl Drop for SlowGauge<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// Ends our half and reads the other to its end, within bounds.
async fn linger(mut io: Transport) {
    let ended = async {
        io.shutdown().await?;
        let mut discarded = [0; 512];
        while io.read(&mut discarded).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Whatever comes of it, the connection is over.
    let _ = tokio::time::timeout(LINGER, ended).await;
}

/// tokio's clock, which tests can hold still.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
