//! Counting what is inside, closing the way in, and waiting until nothing is left.

use tokio::sync::watch;

/// Lets work in until it is closed, and knows when the last of it has left.
#[derive(Debug)]
pub(super) struct Gate(watch::Sender<State>);

#[derive(Clone, Copy, Debug)]
struct State {
    open: bool,
    cut: bool,
    inside: usize,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(State {
            open: true,
            cut: false,
            inside: 0,
        }))
    }

    /// Enters; nothing once the gate is closed. What is inside leaves when its pass is dropped.
    pub(super) fn enter(&self) -> Option<Pass> {
        let mut entered = false;
        self.0.send_if_modified(|state| {
            entered = state.open;
            state.inside += usize::from(entered);
            // Nobody waits for an arrival.
            false
        });
        entered.then(|| Pass(self.0.clone()))
    }

    /// Lets nothing more in.
    pub(super) fn close(&self) {
        self.0.send_modify(|state| state.open = false);
    }

    /// Closes, and asks what is inside to end without its result.
    pub(super) fn cut(&self) {
        self.0.send_modify(|state| {
            state.open = false;
            state.cut = true;
        });
    }

    /// Waits until nothing is inside; waits for ever where new work keeps coming.
    ///
    /// # Cancel safety
    /// Safe: it only looks.
    pub(super) async fn emptied(&self) {
        // The sender is here, so the channel does not close.
        let _ = self.0.subscribe().wait_for(|state| state.inside == 0).await;
    }
}

/// One that is inside of a [`Gate`].
#[derive(Debug)]
pub(super) struct Pass(watch::Sender<State>);

impl Pass {
    /// Waits until the gate is [cut](Gate::cut).
    ///
    /// # Cancel safety
    /// Safe: it only looks.
    pub(super) async fn cut(&self) {
        let _ = self.0.subscribe().wait_for(|state| state.cut).await;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.send_if_modified(|state| {
            state.inside -= 1;
            // Waking nobody costs, too.
            state.inside == 0 && self.0.receiver_count() > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;

    fn is_ready(future: impl Future<Output = ()>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn it_is_empty_once_every_pass_is_dropped() {
        let gate = Gate::new();
        assert!(is_ready(gate.emptied()));
        let (one, two) = (gate.enter().unwrap(), gate.enter().unwrap());
        gate.close();
        assert!(gate.enter().is_none());
        drop(one);
        assert!(!is_ready(gate.emptied()) && !is_ready(two.cut()));
        gate.cut();
        assert!(is_ready(two.cut()));
        drop(two);
        assert!(is_ready(gate.emptied()));
    }

    #[tokio::test]
    async fn the_last_to_leave_wakes_who_waits_for_it() {
        let gate = Gate::new();
        let (one, two) = (gate.enter().unwrap(), gate.enter().unwrap());
        // The first arm is polled first, so the wait has begun when the passes go.
        let waited = tokio::time::timeout(Duration::from_secs(10), async {
            tokio::join!(biased; gate.emptied(), async { drop((one, two)) })
        });
        assert!(waited.await.is_ok());
    }
}
