//! Which rounds of the fan-out brought a traced publish to the clients.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use stoat_ws_hub::Round;

use super::Tracer;
use super::span::{Ended, Place};

/// How many rounds are remembered: one may have ended before its publish was acknowledged.
const ROUNDS: usize = 256;
/// The most publishes that are followed at a time; beyond it the oldest has no span.
pub(super) const MOST: usize = 1024;
/// How long a publish is followed: without connections nothing comes.
pub(super) const LONGEST: Duration = Duration::from_secs(30);

/// The publishes that are followed.
#[derive(Debug, Default)]
pub(super) struct FanOut {
    /// Watches that there are; without any, rounds are not looked at.
    pub(super) watches: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rounds: VecDeque<Seen>,
    followed: VecDeque<Followed>,
}

/// What is kept of a round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) rows: usize,
    pub(super) after: u64,
    pub(super) to: u64,
    pub(super) started: Instant,
    pub(super) ended: Instant,
    pub(super) offered: usize,
}

impl From<&Round> for Seen {
    fn from(round: &Round) -> Self {
        Self {
            rows: round.rows,
            after: round.after,
            to: round.to,
            started: round.started,
            ended: round.ended,
            offered: round.offered,
        }
    }
}

/// Has rounds remembered as long as it is there.
#[derive(Debug)]
pub(in crate::serve) struct Watch(Tracer);

/// A publish that is on its way to the clients.
#[derive(Debug)]
struct Followed {
    parent: Place,
    last: u64,
    since: Instant,
    /// Tasks of the fan-out that have had it.
    rows: usize,
    of_rows: usize,
    started: Instant,
    ended: Instant,
    connections: usize,
    _watch: Watch,
}

impl FanOut {
    /// Takes note of a round, and gives the spans that it completes.
    pub(super) fn observe(&self, round: &Seen) -> Vec<Ended> {
        if self.watches.load(SeqCst) == 0 {
            return Vec::new();
        }
        let mut state = self.state();
        if state.rounds.len() == ROUNDS {
            state.rounds.pop_front();
        }
        state.rounds.push_back(*round);
        for publish in &mut state.followed {
            publish.see(round);
        }
        let is_recent =
            |publish: &Followed| round.ended.saturating_duration_since(publish.since) < LONGEST;
        let (complete, others): (VecDeque<_>, VecDeque<_>) = {
            let followed = std::mem::take(&mut state.followed).into_iter();
            followed.filter(is_recent).partition(Followed::is_complete)
        };
        state.followed = others;
        drop(state);
        complete.into_iter().map(Followed::into_span).collect()
    }

    fn follow(&self, mut publish: Followed) -> Option<Ended> {
        let mut state = self.state();
        for round in &state.rounds {
            publish.see(round);
        }
        if publish.is_complete() {
            drop(state);
            return Some(publish.into_span());
        }
        let over = (state.followed.len() >= MOST).then(|| state.followed.pop_front());
        state.followed.push_back(publish);
        drop(state);
        drop(over);
        None
    }

    /// Follows nothing any more: what is followed holds the tracer.
    pub(super) fn clear(&self) {
        let followed = std::mem::take(&mut self.state().followed);
        drop(followed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    pub(super) fn new(tracer: &Tracer) -> Self {
        tracer.0.fan_out.watches.fetch_add(1, SeqCst);
        Self(tracer.clone())
    }

    /// Follows the events up to the sequence number `last`, acknowledged at `appended`; gives the
    /// span if they are with the clients already, else the round that completes it does.
    pub(super) fn follow(self, parent: Place, last: u64, appended: Instant) -> Option<Ended> {
        let tracer = self.0.clone();
        let publish = Followed {
            parent,
            last,
            since: appended,
            rows: 0,
            of_rows: usize::MAX,
            started: appended,
            ended: appended,
            connections: 0,
            _watch: self,
        };
        tracer.0.fan_out.follow(publish)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.0.fan_out.watches.fetch_sub(1, SeqCst);
    }
}

impl Followed {
    /// Each task has the last event in exactly one round.
    fn see(&mut self, round: &Seen) {
        if round.after < self.last && self.last <= round.to {
            self.rows += 1;
            self.of_rows = round.rows;
            self.started = self.started.min(round.started);
            self.ended = self.ended.max(round.ended);
            self.connections += round.offered;
        }
    }

    fn is_complete(&self) -> bool {
        self.rows >= self.of_rows
    }

    fn into_span(self) -> Ended {
        let attributes = vec![("stoat.fan_out.connections", self.connections.into())];
        let times = (self.started, self.ended);
        Ended::below(&self.parent, "fan-out", times, attributes)
    }
}
