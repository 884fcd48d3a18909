//! A connection over a stream that is no plain TCP: one task that waits for everything.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use stoat_events::HeadWatch;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::fetch::Fetch;
use super::session::{Due, Session, Surroundings};
use super::{End, LINGER, ROUNDS, SlowGauge, now};
use crate::DisconnectReason;
use crate::close::Close;
use crate::heartbeat::BeatWatch;
use crate::manager::Hub;
use crate::registry::{Member, Order};

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
        End::Abort(reason) | End::Lost(reason) => reason,
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
        if let Poll::Ready(entries) = self.fetch.poll(cx) {
            self.session.fetched(entries);
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

/// Ends our half and reads the other to its end, within bounds.
async fn linger(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    let ended = async {
        io.shutdown().await?;
        let mut discarded = [0; 512];
        while io.read(&mut discarded).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Whatever comes of it, the connection is over.
    let _ = tokio::time::timeout(LINGER, ended).await;
}
