//! The connections of one fan-out task, each in a place of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use stoat_events::Filter;
use tokio::task::yield_now;

use super::index::{Index, PER_BLOCK};
use crate::connection::{Batch, Line, now};
use crate::stats::{Counters, Tally};

/// How long connections are served before others get a turn: each turn costs as much as a
/// write or two, and those who wait for theirs wait so long.
const TURN: Duration = Duration::from_millis(1);
/// How many are served in a turn at the most, should the clock stand still.
const A_TURN: usize = 1024;
/// How many are served between two looks at the clock, which costs as much as all else that
/// is not the write itself.
const BY_ONE_CLOCK: usize = 8;

/// What is looked at for each event lies side by side, a cache line for each connection.
#[derive(Default)]
#[repr(align(64))]
struct Slot(Mutex<Option<Line>>);

type Block = [Slot; PER_BLOCK];

/// The connections of one task. No slot is locked while the seats are.
pub(super) struct Row {
    /// Everything up to here was offered to all who may want it.
    position: AtomicU64,
    seats: Mutex<Seats>,
}

#[derive(Default)]
struct Seats {
    blocks: Vec<Arc<Block>>,
    index: Index,
}

/// A connection's place; given up when dropped.
pub(crate) struct Seat {
    row: Arc<Row>,
    block: Arc<Block>,
    number: usize,
    filter: Arc<Filter>,
}

impl Row {
    pub(super) fn new(position: u64) -> Self {
        Self {
            position: AtomicU64::new(position),
            seats: Mutex::default(),
        }
    }

    /// How many places are taken.
    pub(super) fn taken(&self) -> usize {
        lock(&self.seats).index.taken()
    }

    pub(super) fn position(&self) -> u64 {
        self.position.load(Acquire)
    }

    /// Only after everything up to there was offered.
    pub(super) fn set_position(&self, position: u64) {
        self.position.store(position, Release);
    }

    /// Marks the places of those who may want something of a batch.
    pub(super) fn mark(&self, batch: &Batch, marks: &mut Vec<u64>) {
        let seats = lock(&self.seats);
        if batch.is_after_a_hole() || batch.passes_every_filter() {
            seats.index.mark_all(marks);
        } else {
            let topics = batch.entries().iter().map(|entry| entry.encoded().topic());
            seats.index.mark(topics.flatten(), marks);
        }
    }

    pub(super) fn mark_all(&self, marks: &mut Vec<u64>) {
        lock(&self.seats).index.mark_all(marks);
    }

    /// Visits the marked places, a few at a time, and says how many they were. After every
    /// few, `settle` is told what the clock says, for them all.
    pub(super) async fn visit(
        &self,
        marks: &[u64],
        counters: &Counters,
        mut act: impl FnMut(&mut Line, &mut Tally),
        mut settle: impl FnMut(&mut Tally, Instant),
    ) -> usize {
        let mut tally = Tally::default();
        let (mut visited, mut turn, mut now) = (0, 0, now());
        let mut turn_ends = now + TURN;
        for (number, mut marked) in marks.iter().copied().enumerate() {
            if marked == 0 {
                continue;
            }
            let Some(block) = self.block(number) else {
                continue;
            };
            while marked != 0 {
                block[marked.trailing_zeros() as usize].visit(|line| act(line, &mut tally));
                marked &= marked - 1;
                turn += 1;
                if marked == 0 || turn % BY_ONE_CLOCK == 0 {
                    now = self::now();
                    settle(&mut tally, now);
                }
            }
            counters.add(&tally);
            tally.clear();
            if now >= turn_ends || turn >= A_TURN {
                visited += std::mem::take(&mut turn);
                yield_now().await;
                turn_ends = self::now() + TURN;
            }
        }
        yield_now().await;
        visited + turn
    }

    /// Visits all places at once.
    pub(super) fn for_all(&self, mut act: impl FnMut(&mut Line, u64)) {
        for number in 0.. {
            let Some(block) = self.block(number) else {
                return;
            };
            for slot in &*block {
                slot.visit(|line| act(line, self.position()));
            }
        }
    }

    fn block(&self, number: usize) -> Option<Arc<Block>> {
        lock(&self.seats).blocks.get(number).map(Arc::clone)
    }
}

impl Slot {
    fn visit(&self, act: impl FnOnce(&mut Line)) {
        let mut line = lock(&self.0);
        let Some(line) = &mut *line else { return };
        // A fault in one connection must not end the others of the row.
        if catch_unwind(AssertUnwindSafe(|| act(line))).is_err() {
            line.fault();
        }
    }
}

impl Seat {
    pub(super) fn take(row: &Arc<Row>, line: Line) -> Self {
        let filter = Arc::clone(line.filter());
        let (number, block) = {
            let mut seats = lock(&row.seats);
            let number = seats.index.take(&filter);
            let at = number / PER_BLOCK;
            if at == seats.blocks.len() {
                seats
                    .blocks
                    .push(Arc::new(std::array::from_fn(|_| Slot::default())));
            }
            (number, Arc::clone(&seats.blocks[at]))
        };
        *lock(&block[number % PER_BLOCK].0) = Some(line);
        Self {
            row: Arc::clone(row),
            block,
            number,
            filter,
        }
    }

    /// Does something with the line, and with the position up to which the fan-out has
    /// offered it everything.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Line, u64) -> R) -> R {
        self.locked(|line| act(line, self.row.position()))
    }

    /// As [`with`](Self::with), where the filter may change. The fan-out knows it before
    /// anything else happens to the line.
    pub(crate) fn with_filter<R>(&mut self, act: impl FnOnce(&mut Line, u64) -> R) -> R {
        let (done, changed) = self.locked(|line| {
            let done = act(line, self.row.position());
            let filter = line.filter();
            if Arc::ptr_eq(filter, &self.filter) {
                return (done, None);
            }
            let index = &mut lock(&self.row.seats).index;
            index.change(self.number, &self.filter, filter);
            (done, Some(Arc::clone(filter)))
        });
        if let Some(filter) = changed {
            self.filter = filter;
        }
        done
    }

    /// Gives up the place.
    pub(crate) fn leave(self) -> Option<Line> {
        self.empty()
    }

    /// Takes the line out, after it told others how far it is.
    fn empty(&self) -> Option<Line> {
        let mut slot = lock(&self.slot().0);
        if let Some(line) = &mut *slot {
            // Under the lock: the fan-out passes it by only afterwards.
            line.report(self.row.position());
        }
        slot.take()
    }

    fn locked<R>(&self, act: impl FnOnce(&mut Line) -> R) -> R {
        match &mut *lock(&self.slot().0) {
            Some(line) => act(line),
            None => unreachable!("a seat is empty only once it is left"),
        }
    }

    fn slot(&self) -> &Slot {
        &self.block[self.number % PER_BLOCK]
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let line = self.empty();
        let mut seats = lock(&self.row.seats);
        seats.index.give_back(self.number, &self.filter);
        // The memory of a peak goes back.
        let blocks = seats.index.blocks();
        seats.blocks.truncate(blocks);
        drop(seats);
        drop(line);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in between is the end of the one connection that is behind the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
