//! The log as threads meet in it, in many orders; a failure prints the schedule that repeats it.

use shuttle::future::block_on;
use shuttle::thread::{self, JoinHandle};

use super::*;
use crate::{Event, EventType, IdempotencyKey, Resume};

/// How many orders are tried.
const ORDERS: usize = 2000;

fn pair(key: Option<&str>) -> Batch {
    let event = || Event::builder(EventType::ScanStarted).build();
    Batch {
        events: vec![event(), event()],
        idempotency_key: key.map(|key| IdempotencyKey::new("", key, [0; 32]).unwrap()),
    }
}

fn log(events: usize) -> Arc<MemoryLog> {
    let retention = Retention {
        events,
        age: None,
        ..Retention::default()
    };
    Arc::new(MemoryLog::builder().retention(retention).build())
}

/// Appends so many pairs, one after the other.
fn appender(log: &Arc<MemoryLog>, pairs: usize) -> JoinHandle<()> {
    let log = Arc::clone(log);
    thread::spawn(move || {
        for _ in 0..pairs {
            log.append_now(pair(None)).unwrap();
        }
    })
}

/// Attaches as the hub does, and follows the log to `last`; returns where it began, and what it
/// got, one list a read.
fn follow(log: &MemoryLog, last: u64) -> (u64, Vec<Vec<u64>>) {
    let mut head = log.head();
    let begin = log.bounds().attach(&Resume::Live).cursor;
    let (mut cursor, mut reads) = (begin, Vec::new());
    let limit = ReadLimit {
        events: 100,
        bytes: usize::MAX,
    };
    while cursor < last {
        let mut entries = Vec::new();
        if log.read(cursor, limit, &mut entries) == ReadStatus::Evicted {
            cursor = log.bounds().before_oldest();
            continue;
        }
        match entries.last() {
            Some(newest) => cursor = newest.sequence(),
            // One that is never woken is a deadlock, which the scheduler sees.
            None => drop(block_on(head.changed()).unwrap()),
        }
        reads.push(entries.iter().map(LogEntry::sequence).collect());
    }
    (begin, reads)
}

#[test]
fn whoever_attaches_gets_everything_from_there_on_and_is_woken() {
    shuttle::check_random(
        || {
            let log = log(100);
            let appenders = [appender(&log, 2), appender(&log, 2)];
            let readers = [(); 2].map(|()| {
                let log = Arc::clone(&log);
                thread::spawn(move || follow(&log, 8))
            });
            for reader in readers {
                let (begin, reads) = reader.join().unwrap();
                assert_eq!(begin % 2, 0, "half of a batch");
                for read in &reads {
                    assert_eq!(read.len() % 2, 0, "half of a batch");
                }
                let got: Vec<u64> = reads.into_iter().flatten().collect();
                assert_eq!(got, (begin + 1..=8).collect::<Vec<_>>());
            }
            appenders.map(|appender| appender.join().unwrap());
            assert_eq!(log.head().last(), 8, "a late, smaller head won");
        },
        ORDERS,
    );
}

#[test]
fn a_reader_that_is_overtaken_is_told_and_gets_the_rest_in_order() {
    shuttle::check_random(
        || {
            let log = log(3);
            let appenders = [appender(&log, 2), appender(&log, 2)];
            let reader = {
                let log = Arc::clone(&log);
                thread::spawn(move || follow(&log, 8))
            };
            let (_, reads) = reader.join().unwrap();
            for read in &reads {
                assert!(read.windows(2).all(|pair| pair[0] + 1 == pair[1]));
            }
            let got: Vec<u64> = reads.into_iter().flatten().collect();
            assert!(got.is_sorted_by(|a, b| a < b), "{got:?}");
            appenders.map(|appender| appender.join().unwrap());
        },
        ORDERS,
    );
}

#[test]
fn one_key_is_published_once() {
    shuttle::check_random(
        || {
            let log = log(100);
            let publishers = [(); 3].map(|()| {
                let log = Arc::clone(&log);
                thread::spawn(move || log.append_now(pair(Some("k"))).unwrap())
            });
            let answers = publishers.map(|publisher| publisher.join().unwrap());
            assert_eq!(log.bounds().last, 2);
            let first = answers.iter().filter(|answer| !answer.replayed).count();
            assert_eq!(first, 1);
            for answer in &answers {
                let places = answer.receipts.iter().map(|r| r.event_id.sequence());
                assert!(places.eq(1..=2));
            }
        },
        ORDERS,
    );
}
