//! Writing what is new to all connections, one after the other, in a few tasks.
//!
//! Waking a task for each connection costs more than the write itself as long as
//! events are few.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use stoat_events::HeadWatch;
use tokio::task::yield_now;

use crate::connection::{Batch, Line};
use crate::heartbeat::{BeatWatch, number};
use crate::manager::Hub;
use crate::stats::Tally;

/// How many connections are served before others get a turn.
const AT_A_TIME: usize = 64;

/// The connections, spread over as many rows as there are tasks to serve them.
#[derive(Default)]
pub(crate) struct FanOut {
    rows: Mutex<Vec<Arc<Row>>>,
}

/// The connections of one task.
#[derive(Default)]
struct Row {
    seats: Mutex<Seats>,
}

/// Seats keep their numbers; one that is given up is taken by the next to come.
#[derive(Default)]
struct Seats {
    taken: Vec<Option<Arc<Line>>>,
    free: Vec<usize>,
}

/// A connection's place; given up when dropped.
pub(crate) struct Seat {
    row: Arc<Row>,
    number: usize,
}

impl FanOut {
    /// Starts as many tasks as the runtime has threads.
    pub(crate) fn start(&self, hub: &Arc<Hub>) {
        let count = tokio::runtime::Handle::current().metrics().num_workers();
        for _ in 0..count.max(1) {
            let row = Arc::new(Row::default());
            lock(&self.rows).push(Arc::clone(&row));
            let (head, beats) = (hub.log.head(), hub.beats.watch());
            let from = hub.log.bounds().last;
            #[expect(
                clippy::disallowed_methods,
                reason = "the hub's own task, behind it is no request"
            )]
            tokio::spawn(serve(row, Arc::downgrade(hub), head, beats, from));
        }
    }

    /// Gives a connection a place in the row with the fewest. O(1) but for the rows.
    pub(crate) fn seat(&self, line: &Arc<Line>) -> Option<Seat> {
        let emptiest = |row: &&Arc<Row>| lock(&row.seats).occupied();
        let row = Arc::clone(lock(&self.rows).iter().min_by_key(emptiest)?);
        let number = lock(&row.seats).take(Arc::clone(line));
        Some(Seat { row, number })
    }
}

impl Seats {
    fn occupied(&self) -> usize {
        self.taken.len() - self.free.len()
    }

    fn take(&mut self, line: Arc<Line>) -> usize {
        match self.free.pop() {
            Some(number) => {
                self.taken[number] = Some(line);
                number
            }
            None => {
                self.taken.push(Some(line));
                self.taken.len() - 1
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = lock(&self.row.seats);
        seats.taken[self.number] = None;
        seats.free.push(self.number);
        if seats.occupied() == 0 {
            // The memory of a peak goes back.
            *seats = Seats::default();
        }
    }
}

/// Serves a row until the hub or its log is gone.
async fn serve(
    row: Arc<Row>,
    hub: Weak<Hub>,
    mut head: HeadWatch,
    mut beats: BeatWatch,
    mut from: u64,
) {
    let mut batch = Batch::default();
    let mut beat_seen = 0;
    loop {
        let is_gone = tokio::select! {
            moved = head.changed() => moved.is_err(),
            changed = beats.changed() => changed.is_err(),
        };
        let Some(hub) = hub.upgrade() else { return };
        if is_gone {
            row.for_some(|lines| lines.iter().for_each(|line| line.log_is_gone()))
                .await;
            return;
        }
        let beat = beats.borrow_and_update().clone();
        while batch.read(&*hub.log, from) || number(beat.as_ref()) > beat_seen {
            (from, beat_seen) = (batch.to(), number(beat.as_ref()));
            row.for_some(|lines| {
                let mut tally = Tally::default();
                for line in lines {
                    let offer = || line.offer(&batch, beat.as_ref(), &hub, &mut tally);
                    // A fault in one connection must not end the others of the row.
                    if catch_unwind(AssertUnwindSafe(offer)).is_err() {
                        line.give_up();
                    }
                }
                hub.registry.counters.add(&tally);
            })
            .await;
        }
    }
}

impl Row {
    /// Goes over all connections, a few at a time; who comes meanwhile is met or not.
    async fn for_some(&self, mut act: impl FnMut(&[Arc<Line>])) {
        let mut next = 0;
        let mut few: Vec<Arc<Line>> = Vec::with_capacity(AT_A_TIME);
        loop {
            {
                let seats = lock(&self.seats);
                let rest = seats.taken.get(next..).unwrap_or_default();
                few.extend(rest.iter().take(AT_A_TIME).flatten().cloned());
                if rest.is_empty() {
                    return;
                }
            }
            next += AT_A_TIME;
            act(&few);
            few.clear();
            yield_now().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these locks is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
