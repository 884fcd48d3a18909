//! A connection over a stream that is no plain TCP: one task that waits for everything.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use stoat_events::HeadWatch;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::fetch::Fetch;
use super::session::{Due, Session, Surroundings};
use super::{End, LINGER, LINGER_BYTES, ROUNDS, SlowGauge, guarded, now};
use crate::DisconnectReason;
use crate::close::Close;
use crate::heartbeat::BeatWatch;
use crate::manager::Hub;
use crate::registry::{Member, Order};

/// The most that is written at a time to a stream that copies: one of HTTP/2 takes several such
/// pieces without a look at its client, and they are beyond the bounds of the session.
const PIECE: usize = 16 << 10;

/// Serves a connection until it ends, and says why it did.
pub(super) async fn serve<S>(
    io: S,
    session: Session,
    member: Arc<Member>,
    mut head: HeadWatch,
    mut beats: BeatWatch,
    hub: Arc<Hub>,
) -> DisconnectReason
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let slow = SlowGauge::new(&hub.registry);
    let mut driver = Driver {
        io,
        session,
        hub: &hub,
        beats: beats.clone(),
        fetch: Fetch::default(),
        slow,
    };
    let end = {
        let mut served = pin!(follow(&mut driver, &member, &mut head, &mut beats));
        poll_fn(|cx| {
            let polled = guarded(|| served.as_mut().poll(cx));
            polled.unwrap_or_else(Poll::Ready)
        })
        .await
    };
    match end {
        End::Finished(reason) => {
            linger(driver.io).await;
            reason
        }
        End::Abort(reason) | End::Lost(reason) => reason,
        End::Fault => {
            if !driver.session.is_within_a_frame() {
                let close = Close::fault().frame();
                // Where there is no room for it, the client sees the end alone.
                let _ = tokio::time::timeout(LINGER, driver.io.write_all(&close)).await;
            }
            linger(driver.io).await;
            DisconnectReason::Panic
        }
    }
}

/// Follows the log and the peer until the connection ends.
async fn follow<S>(
    driver: &mut Driver<'_, S>,
    member: &Member,
    head: &mut HeadWatch,
    beats: &mut BeatWatch,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut timer = pin!(tokio::time::sleep_until(driver.session.deadline().into()));
    let mut log_is_gone = false;
    loop {
        let armed = timer.deadline().into_std();
        let slow = driver.session.is_stalled();
        let end = tokio::select! {
            // In this order: an operator's word counts before more work is done; then
            // the socket, whose turn also lines up what there is to send; then what
            // there is to send, which only wakes the task, and not while the socket
            // takes nothing; and last the timer, so that progress made just now is
            // seen before it.
            biased;
            () = poll_fn(|cx| member.poll_woken(cx)) => member
                .take_order()
                .and_then(|order| driver.session.obey(order, now()))
                .map(End::Abort),
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
            return end;
        }
        let deadline = driver.session.deadline();
        if deadline < armed || timer.is_elapsed() {
            timer.as_mut().reset(deadline.into());
        }
    }
}

/// A session and its socket.
struct Driver<'a, S> {
    io: S,
    session: Session,
    hub: &'a Hub,
    /// To look at the newest beat; the task waits with another.
    beats: BeatWatch,
    fetch: Fetch<'a>,
    slow: SlowGauge,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<'_, S> {
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
        self.fetch.set(&*self.hub.log, self.session.to_fetch());
        if let Poll::Ready((after, entries)) = self.fetch.poll(cx) {
            self.session.fetched(after, entries);
            went_on = true;
        }
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
        let beat = self.beats.borrow().clone();
        let around = Surroundings {
            log: &*self.hub.log,
            beat: beat.as_ref(),
        };
        let more = self.session.fill(&around, now());
        if !self.session.has_output() {
            return Ok(more);
        }
        let (slices, count) = self.session.slices();
        match poll_write(&mut self.io, cx, &slices[..count]) {
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

/// Writes all that a vectored stream takes, else a piece of the first slice.
fn poll_write<S: AsyncWrite + Unpin>(
    io: &mut S,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<std::io::Result<usize>> {
    let io = Pin::new(io);
    if io.is_write_vectored() {
        return io.poll_write_vectored(cx, slices);
    }
    let first = slices.iter().find(|slice| !slice.is_empty());
    let first = first.map_or(&[][..], |slice| slice);
    io.poll_write(cx, &first[..first.len().min(PIECE)])
}

/// Ends our half and reads the other to its end, within bounds.
async fn linger(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    let ended = async {
        io.shutdown().await?;
        let mut discarded = [0; 512];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match io.read(&mut discarded).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        std::io::Result::Ok(())
    };
    // Whatever comes of it, the connection is over.
    let _ = tokio::time::timeout(LINGER, ended).await;
}
