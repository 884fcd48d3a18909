//! Which rounds of the fan-out brought a traced publish to the clients, and at what age.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use stoat_ws_hub::Round;

use super::Tracer;
use super::span::{Ended, Place, TraceId};
use crate::serve::metrics::Exemplars;

/// How many rounds are remembered: one may have ended before its publish was acknowledged.
const ROUNDS: usize = 256;
/// The most publishes that are followed at a time; beyond it the oldest has no span.
pub(super) const MOST: usize = 1024;
/// How long a publish is followed: without connections nothing comes.
pub(super) const LONGEST: Duration = Duration::from_secs(30);

/// The publishes that are followed.
#[derive(Debug)]
pub(super) struct FanOut {
    /// Watches that there are; without any, rounds are not looked at.
    pub(super) watches: AtomicUsize,
    /// For the ages at which events were written.
    deliveries: Arc<Exemplars>,
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
    pub(super) written: Option<Instant>,
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
            written: round.written,
        }
    }
}

/// An event that was written, at this age and moment.
struct Written(TraceId, Duration, Instant);

/// Has rounds remembered as long as it is there.
#[derive(Debug)]
pub(in crate::serve) struct Watch(Tracer);

/// A publish that the log has accepted.
#[derive(Debug)]
pub(super) struct Published {
    /// Its span.
    pub(super) parent: Place,
    /// The sequence number of its last event.
    pub(super) last: u64,
    /// When the log accepted that, where it can be told.
    pub(super) accepted: Option<Instant>,
    /// When it was acknowledged.
    pub(super) appended: Instant,
}

/// A publish that is on its way to the clients.
#[derive(Debug)]
struct Followed {
    publish: Published,
    /// Tasks of the fan-out that have had it.
    rows: usize,
    of_rows: usize,
    started: Instant,
    ended: Instant,
    connections: usize,
    _watch: Watch,
}

impl FanOut {
    pub(super) fn new(deliveries: Arc<Exemplars>) -> Self {
        Self {
            watches: AtomicUsize::new(0),
            deliveries,
            state: Mutex::default(),
        }
    }

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
        let followed = state.followed.iter_mut();
        let written: Vec<_> = followed.filter_map(|publish| publish.see(round)).collect();
        let is_recent = |followed: &Followed| {
            let since = followed.publish.appended;
            round.ended.saturating_duration_since(since) < LONGEST
        };
        let (complete, others): (VecDeque<_>, VecDeque<_>) = {
            let followed = std::mem::take(&mut state.followed).into_iter();
            followed.filter(is_recent).partition(Followed::is_complete)
        };
        state.followed = others;
        drop(state);
        self.keep(written);
        complete.into_iter().map(Followed::into_span).collect()
    }

    fn follow(&self, mut publish: Followed) -> Option<Ended> {
        let mut state = self.state();
        let rounds = state.rounds.iter();
        let written: Vec<_> = rounds.filter_map(|round| publish.see(round)).collect();
        if publish.is_complete() {
            drop(state);
            self.keep(written);
            return Some(publish.into_span());
        }
        let over = (state.followed.len() >= MOST).then(|| state.followed.pop_front());
        state.followed.push_back(publish);
        drop(state);
        drop(over);
        self.keep(written);
        None
    }

    fn keep(&self, written: Vec<Written>) {
        for Written(trace, age, at) in written {
            self.deliveries.put(&[], age, at, trace);
        }
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

    /// Follows a publish; gives the span if it is with the clients already, else the round that
    /// completes it does.
    pub(super) fn follow(self, publish: Published) -> Option<Ended> {
        let tracer = self.0.clone();
        tracer.0.fan_out.follow(Followed {
            rows: 0,
            of_rows: usize::MAX,
            started: publish.appended,
            ended: publish.appended,
            connections: 0,
            publish,
            _watch: self,
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.0.fan_out.watches.fetch_sub(1, SeqCst);
    }
}

impl Followed {
    /// Each task has the last event in exactly one round. Says how old that was when it was
    /// written.
    fn see(&mut self, round: &Seen) -> Option<Written> {
        let last = self.publish.last;
        if last <= round.after || round.to < last {
            return None;
        }
        self.rows += 1;
        self.of_rows = round.rows;
        self.started = self.started.min(round.started);
        self.ended = self.ended.max(round.ended);
        self.connections += round.offered;
        let (accepted, at) = (self.publish.accepted?, round.written?);
        let age = at.saturating_duration_since(accepted);
        Some(Written(self.publish.parent.trace_id(), age, at))
    }

    fn is_complete(&self) -> bool {
        self.rows >= self.of_rows
    }

    fn into_span(self) -> Ended {
        let attributes = vec![("stoat.fan_out.connections", self.connections.into())];
        let times = (self.started, self.ended);
        Ended::below(&self.publish.parent, "fan-out", times, attributes)
    }
}
