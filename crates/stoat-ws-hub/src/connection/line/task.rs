//! The task of one connection over plain TCP.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio::task::yield_now;
use tokio::time::sleep_until;

use super::Left;
use crate::DisconnectReason;
use crate::connection::fetch::Fetch;
use crate::connection::session::Due;
use crate::connection::{End, SlowGauge, guarded, now};
use crate::fan_out::Seat;
use crate::manager::Hub;
use crate::registry::{Member, Order};

/// Serves a connection until it ends, and says why it did. It has its seat before it first
/// looks at the log: what is published in between is seen by one of both.
#[expect(
    clippy::manual_async_fn,
    reason = "it would keep its arguments twice, and this is what each connection holds"
)]
pub(crate) fn serve<'a>(
    mut seat: Seat,
    member: &'a Member,
    hub: &'a Hub,
) -> impl Future<Output = DisconnectReason> + 'a {
    async move {
        let mut slow = SlowGauge::new(&hub.registry);
        let deadline = seat.with(|line, position| line.follower.session(position).deadline());
        let mut timer = pin!(sleep_until(deadline.into()));
        let mut fetch = Fetch::default();
        let end = loop {
            // An operator's order comes first, and the timer before the turn, so that its
            // ping goes out with it.
            let due = timer.is_elapsed();
            let turn = guarded(|| turn(&mut seat, member.take_order(), due, hub));
            let left = match turn.and_then(|left| left) {
                Ok(left) => left,
                Err(end) => break end,
            };
            slow.set(left.stalled);
            if left.deadline < timer.deadline().into_std() || timer.is_elapsed() {
                timer.as_mut().reset(left.deadline.into());
            }
            if left.more {
                yield_now().await;
                continue;
            }
            fetch.set(&*hub.log, left.to_fetch);
            // Each only says that there is something to do.
            poll_fn(|cx| {
                let is_due = member.poll_woken(cx).is_ready()
                    | seat.with(|line, _| line.poll_ready(cx, &left)).is_ready()
                    | timer.as_mut().poll(cx).is_ready()
                    | fetch
                        .poll(cx)
                        .map(|(after, entries)| {
                            seat.with(|line, position| {
                                line.follower.session(position).fetched(after, entries);
                            });
                        })
                        .is_ready();
                if is_due {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
        };
        let Some(line) = seat.leave() else {
            return DisconnectReason::ConnectionLost;
        };
        match end {
            End::Finished(reason) => {
                // Boxed, so that those who stay do not hold room for it.
                Box::pin(line.linger()).await;
                reason
            }
            End::Abort(reason) => {
                line.abort();
                reason
            }
            End::Lost(reason) => reason,
            End::Fault => {
                line.say_fault();
                Box::pin(line.linger()).await;
                DisconnectReason::Panic
            }
        }
    }
}

/// Obeys an order, looks at the deadlines where one is due, then writes and reads.
fn turn(seat: &mut Seat, order: Option<Order>, due: bool, hub: &Hub) -> Result<Left, End> {
    let obey =
        |order| seat.with(|line, position| line.follower.session(position).obey(order, now()));
    if let Some(reason) = order.and_then(obey) {
        return Err(End::Abort(reason));
    }
    if due {
        match seat.with(|line, position| line.follower.session(position).tick(now())) {
            Some(Due::Abort(reason)) => return Err(End::Abort(reason)),
            Some(Due::LetGo(reason)) => return Err(End::Lost(reason)),
            None => {}
        }
    }
    seat.with_filter(|line, position| line.turn(position, hub))
}
