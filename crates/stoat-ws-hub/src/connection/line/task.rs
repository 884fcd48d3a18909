//! The task of one connection over plain TCP.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use tokio::task::yield_now;
use tokio::time::sleep_until;

use super::Line;
use crate::DisconnectReason;
use crate::connection::session::Due;
use crate::connection::{End, SlowGauge, now};
use crate::manager::Hub;
use crate::registry::Member;

/// Serves a connection until it ends, and says why it did.
pub(in crate::connection) async fn serve(
    line: Line,
    member: &Member,
    hub: &Arc<Hub>,
) -> DisconnectReason {
    let mut slow = SlowGauge::new(&hub.registry);
    // Seated first, looked at second: what is published in between is seen by one of both.
    let mut seat = hub.fan_out.seat(line, hub);
    let deadline = seat.with(|line, position| line.follower.session(position).deadline());
    let mut timer = pin!(sleep_until(deadline.into()));
    let end = loop {
        // An operator's order comes first, and the timer before the turn, so that its
        // ping goes out with it.
        let order = member.take_order();
        let obey =
            |order| seat.with(|line, position| line.follower.session(position).obey(order, now()));
        if let Some(reason) = order.and_then(obey) {
            break End::Abort(reason);
        }
        if timer.is_elapsed() {
            match seat.with(|line, position| line.follower.session(position).tick(now())) {
                Some(Due::Abort(reason)) => break End::Abort(reason),
                Some(Due::LetGo(reason)) => break End::Lost(reason),
                None => {}
            }
        }
        let left = match seat.with_filter(|line, position| line.turn(position, hub)) {
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
        // Each branch only says that there is something to do.
        tokio::select! {
            () = member.woken() => {}
            () = poll_fn(|cx| seat.with(|line, _| line.poll_ready(cx, &left))) => {}
            () = &mut timer => {}
        }
    };
    let Some(line) = seat.leave() else {
        return DisconnectReason::ConnectionLost;
    };
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
