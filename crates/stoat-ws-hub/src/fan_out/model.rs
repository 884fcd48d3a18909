//! How the fan-out and a connection's task meet, as a model: it has the index, the log, the locks
//! and the steps of the real ones, and no socket. Decision 6 says which order the steps need.

use std::sync::Arc;

use shuttle::scheduler::PctScheduler;
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::{Config, Runner, thread};
use stoat_events::{Event, EventLog, EventType, Filter, LogEntry, MemoryLog, ReadLimit, Topic};

use super::index::Index;

/// How many orders are tried.
const ORDERS: usize = 3000;
/// Finds each wrong order of the steps within so many.
const SEED: u64 = 1;
/// How many events there are, of the topics `x` and `y` in turn.
const EVENTS: u64 = 6;

const LIMIT: ReadLimit = ReadLimit {
    events: 100,
    bytes: usize::MAX,
};

/// In which order the steps are taken.
#[derive(Clone, Copy, PartialEq)]
enum Steps {
    AsDecided,
    MarkBeforeRead,
    ReadToTheEndBeforeIndex,
    MoveOnBeforeVisit,
}

struct Row {
    log: MemoryLog,
    steps: Steps,
    position: AtomicU64,
    index: Mutex<Index>,
    slot: Mutex<Option<Client>>,
}

/// A follower with its session.
struct Client {
    filter: Arc<Filter>,
    cursor: u64,
    level: bool,
    got: Vec<u64>,
}

impl Client {
    fn take(&mut self, entries: &[LogEntry]) {
        for entry in entries
            .iter()
            .filter(|entry| entry.sequence() > self.cursor)
        {
            let event = entry.encoded();
            if self.filter.matches(event.event_type(), event.topic()) {
                self.got.push(entry.sequence());
            }
        }
        let last = entries.last().map_or(0, LogEntry::sequence);
        self.cursor = self.cursor.max(last);
    }

    /// Told of what the fan-out did, as `Follower::session`.
    fn awake(&mut self, position: u64) {
        if self.level {
            self.cursor = self.cursor.max(position);
        }
        self.level = false;
    }
}

impl Row {
    fn read(&self, after: u64) -> Vec<LogEntry> {
        let mut entries = Vec::new();
        let _ = self.log.read(after, LIMIT, &mut entries);
        entries
    }

    fn mark(&self, entries: &[LogEntry]) -> bool {
        let mut marks = Vec::new();
        let topics = entries.iter().map(|entry| entry.encoded().topic());
        self.index
            .lock()
            .unwrap()
            .mark(topics.flatten(), &mut marks);
        marks.first().is_some_and(|marked| marked & 1 == 1)
    }

    /// As `Rounds::events`.
    fn round(&self) {
        let position = self.position.load(Ordering::Acquire);
        let (entries, is_marked) = if self.steps == Steps::MarkBeforeRead {
            let is_marked = self.mark(&self.read(position));
            (self.read(position), is_marked)
        } else {
            let entries = self.read(position);
            let is_marked = self.mark(&entries);
            (entries, is_marked)
        };
        let Some(to) = entries.last().map(LogEntry::sequence) else {
            return thread::yield_now();
        };
        if self.steps == Steps::MoveOnBeforeVisit {
            self.position.store(to, Ordering::Release);
        }
        if is_marked
            && let Some(client) = &mut *self.slot.lock().unwrap()
            && client.level
        {
            client.cursor = client.cursor.max(position);
            client.take(&entries);
        }
        self.position.store(to, Ordering::Release);
    }

    /// As `Seat::take`.
    fn seat(&self, filter: &Arc<Filter>, cursor: u64) {
        assert_eq!(self.index.lock().unwrap().take(filter), 0);
        *self.slot.lock().unwrap() = Some(Client {
            filter: Arc::clone(filter),
            cursor,
            level: false,
            got: Vec::new(),
        });
    }

    /// As `Line::turn` within `Seat::with_filter`: reads the log to its end, unless the filter
    /// changes; that is in the index before the next turn. Returns where it changed.
    fn turn(&self, new: Option<&Arc<Filter>>) -> u64 {
        let mut slot = self.slot.lock().unwrap();
        let client = slot.as_mut().unwrap();
        client.awake(self.position.load(Ordering::Acquire));
        let cursor = client.cursor;
        if let Some(new) = new {
            let old = std::mem::replace(&mut client.filter, Arc::clone(new));
            if self.steps == Steps::ReadToTheEndBeforeIndex {
                client.take(&self.read(cursor));
                client.level = true;
                drop(slot);
                thread::yield_now();
                self.index.lock().unwrap().change(0, &old, new);
            } else {
                self.index.lock().unwrap().change(0, &old, new);
            }
        } else {
            client.take(&self.read(cursor));
            client.level = true;
        }
        cursor
    }
}

/// A client follows `x`, then `y`, while events come; it gets each of them once.
fn meet(steps: Steps) {
    let row = Arc::new(Row {
        log: MemoryLog::default(),
        steps,
        position: AtomicU64::new(0),
        index: Mutex::new(Index::default()),
        slot: Mutex::new(None),
    });
    let publisher = {
        let row = Arc::clone(&row);
        thread::spawn(move || {
            for topic in ["x", "y"].into_iter().cycle().take(EVENTS as usize) {
                let event = Event::builder(EventType::ScanStarted)
                    .topic(Topic::parse(topic).unwrap())
                    .build();
                row.log.append_now(event.into()).unwrap();
            }
        })
    };
    let fan_out = {
        let row = Arc::clone(&row);
        thread::spawn(move || {
            while row.position.load(Ordering::Acquire) < EVENTS {
                row.round();
            }
        })
    };
    let filter = |topic| Arc::new(Filter::from_lists(None, Some(topic)).unwrap());
    let [x, y] = [filter("x"), filter("y")];
    let began = row.log.bounds().last;
    row.seat(&x, began);
    row.turn(None);
    thread::yield_now();
    let changed = row.turn(Some(&y));
    if steps != Steps::ReadToTheEndBeforeIndex {
        row.turn(None);
    }
    publisher.join().unwrap();
    fan_out.join().unwrap();

    let slot = row.slot.lock().unwrap();
    let wanted = (began + 1..=EVENTS).filter(|at| (at % 2 == 1) == (*at <= changed));
    assert_eq!(slot.as_ref().unwrap().got, wanted.collect::<Vec<_>>());
}

/// The same orders each time; a few threads that are held up at a bad moment find most faults.
fn find(steps: Steps) {
    let scheduler = PctScheduler::new_from_seed(SEED, 3, ORDERS);
    Runner::new(scheduler, Config::default()).run(move || meet(steps));
}

#[test]
fn in_the_order_that_was_decided_nothing_is_lost_or_repeated() {
    shuttle::check_random(|| meet(Steps::AsDecided), ORDERS);
    shuttle::check_pct(|| meet(Steps::AsDecided), ORDERS, 3);
}

#[test]
#[should_panic(expected = "left == right")]
fn marking_before_reading_loses_events() {
    find(Steps::MarkBeforeRead);
}

#[test]
#[should_panic(expected = "left == right")]
fn reading_to_the_end_before_the_index_knows_loses_events() {
    find(Steps::ReadToTheEndBeforeIndex);
}

#[test]
#[should_panic(expected = "left == right")]
fn moving_on_before_the_visit_loses_events() {
    find(Steps::MoveOnBeforeVisit);
}
