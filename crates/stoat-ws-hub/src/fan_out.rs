//! Writing what is new to all connections, one after the other, in a few tasks.
//!
//! Waking a task for each connection costs more than the write itself as long as
//! events are few.

mod index;
#[cfg(all(test, shuttle))]
mod model;
mod pause;
mod round;
mod row;

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use stoat_events::HeadWatch;
use tokio::time::Instant;

use crate::connection::{Batch, Line, SharedBeat};
use crate::heartbeat::{Beat, BeatWatch, number};
use crate::manager::Hub;
use crate::stats::Tally;
use pause::Pause;
pub use round::Round;
use row::Row;
pub(crate) use row::Seat;

/// So many events at once tell that they come faster than they can be written one by one.
/// With fewer, a pause would be felt in their latency and save little.
const A_BACKLOG: usize = 8;
/// The longest time that is left between two rounds for events to gather.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// The connections, spread over as many rows as there are tasks to serve them.
#[derive(Default)]
pub(crate) struct FanOut {
    rows: OnceLock<Vec<Arc<Row>>>,
    observer: OnceLock<Box<Observer>>,
}

type Observer = dyn Fn(&Round) + Send + Sync;

impl FanOut {
    /// Has every round told to `observer`; only the first one given is.
    pub(crate) fn observe(&self, observer: impl Fn(&Round) + Send + Sync + 'static) {
        let _ = self.observer.set(Box::new(observer));
    }

    /// Gives a connection a place in the row with the fewest. O(1) but for the rows, and
    /// the topics of its filter.
    pub(crate) fn seat(&self, line: Line, hub: &Arc<Hub>) -> Seat {
        let rows = self.rows.get_or_init(|| start(hub));
        #[expect(clippy::expect_used, reason = "a runtime has a thread at least")]
        let row = rows.iter().min_by_key(|row| row.taken()).expect("a row");
        Seat::take(row, line)
    }

    /// Brings what the registry tells of each connection up to date.
    pub(crate) fn report(&self) {
        for row in self.rows.get().into_iter().flatten() {
            row.for_all(|line, position| line.report(position));
        }
    }
}

/// Starts as many tasks as the runtime has threads.
fn start(hub: &Arc<Hub>) -> Vec<Arc<Row>> {
    let count = tokio::runtime::Handle::current().metrics().num_workers();
    let count = count.max(1);
    let row = |place| {
        let (head, beats) = (hub.log.head(), hub.beats.watch());
        let row = Arc::new(Row::new(hub.log.bounds().last));
        #[expect(
            clippy::disallowed_methods,
            reason = "the hub's own task, behind it is no request"
        )]
        tokio::spawn(serve(
            (place, count),
            Arc::clone(&row),
            Pause::new(),
            Arc::downgrade(hub),
            head,
            beats,
        ));
        row
    };
    (0..count).map(row).collect()
}

/// Serves a row until the hub or its log is gone; `place` is its number, and how many there are.
async fn serve(
    place: (usize, usize),
    row: Arc<Row>,
    pause: Pause,
    hub: Weak<Hub>,
    mut head: HeadWatch,
    mut beats: BeatWatch,
) {
    let mut rounds = Rounds {
        row,
        place,
        batch: Batch::default(),
        marks: Vec::new(),
        pause,
        beat_seen: number(beats.borrow_and_update().as_ref()),
    };
    loop {
        let is_gone = tokio::select! {
            moved = head.changed() => moved.is_err(),
            changed = beats.changed() => changed.is_err(),
        };
        let Some(hub) = hub.upgrade() else { return };
        if is_gone {
            let row = rounds.row;
            row.for_all(|line, position| line.log_is_gone(position));
            return;
        }
        loop {
            let had_events = rounds.events(&hub).await;
            let newest = beats.borrow_and_update().clone();
            let had_beat = rounds.beat(newest, &hub).await;
            if !had_events && !had_beat {
                break;
            }
        }
    }
}

/// What one task keeps from round to round.
struct Rounds {
    row: Arc<Row>,
    /// The number of the row, and how many there are.
    place: (usize, usize),
    batch: Batch,
    marks: Vec<u64>,
    pause: Pause,
    beat_seen: u64,
}

impl Rounds {
    /// Brings what is new to all who may want it. Says whether there was anything.
    async fn events(&mut self, hub: &Hub) -> bool {
        let Self {
            row,
            place,
            batch,
            marks,
            pause,
            ..
        } = self;
        let position = row.position();
        let found = batch.read(&*hub.log, position)
            || (batch.is_stored()
                // Where that brings nothing, the log has moved on.
                && (batch.fetch(&*hub.log).await || batch.read(&*hub.log, position)));
        if !found {
            return false;
        }
        let deliveries = &hub.registry.counters.deliveries;
        deliveries.begin(batch.from(), batch.entries());
        let started = Instant::now();
        // After the batch was read: who takes a place from now on has read the log since.
        row.mark(batch, marks);
        batch.prepare(marks.iter().map(|block| block.count_ones() as usize).sum());
        let ready = &*batch;
        let offer = |line: &mut Line, tally: &mut Tally| line.offer(ready, position, hub, tally);
        let mut written = None;
        let settle = |tally: &mut Tally, now| {
            if ready.settle(tally, now) {
                written = Some(now);
            }
        };
        let counters = &hub.registry.counters;
        let offered = row.visit(marks, counters, offer, settle).await;
        batch.done();
        row.set_position(batch.to());

        let round = started.elapsed();
        if let Some(observe) = hub.fan_out.observer.get() {
            observe(&Round {
                row: place.0,
                rows: place.1,
                after: batch.from(),
                to: batch.to(),
                started: started.into_std(),
                ended: (started + round).into_std(),
                offered,
                written,
            });
        }
        let fell_behind = hub.log.bounds().last > batch.to() && !batch.is_full();
        if fell_behind && batch.entries().len() >= A_BACKLOG {
            // A moment later more goes out with each write.
            pause.wait((round / 4).min(LONGEST_PAUSE)).await;
        }
        true
    }

    /// Brings a beat that is new to everyone. Says whether it was.
    async fn beat(&mut self, newest: Option<Arc<Beat>>, hub: &Hub) -> bool {
        let Some(beat) = newest.filter(|beat| beat.number > self.beat_seen) else {
            return false;
        };
        self.beat_seen = beat.number;
        let position = self.row.position();
        let beat = SharedBeat {
            event: beat.at(position, &*hub.log),
            number: beat.number,
            position,
        };
        self.row.mark_all(&mut self.marks);
        let offer = |line: &mut Line, tally: &mut Tally| line.offer_beat(&beat, hub, tally);
        let counters = &hub.registry.counters;
        self.row
            .visit(&self.marks, counters, offer, |_, _| ())
            .await;
        true
    }
}
