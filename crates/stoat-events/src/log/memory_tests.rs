//! The ring against a naive model, and its promises one by one.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::{Event, EventType, IdempotencyKey};

const ALL: ReadLimit = ReadLimit {
    events: usize::MAX,
    bytes: usize::MAX,
};

fn event(filler: usize) -> Event {
    Event::builder(EventType::ScanStarted)
        .payload(&serde_json::json!({ "f": "x".repeat(filler) }))
        .unwrap()
        .build()
}

fn events(count: usize) -> Vec<Event> {
    (0..count).map(|_| event(0)).collect()
}

fn read(log: &MemoryLog, after: u64, limit: ReadLimit) -> Option<Vec<u64>> {
    let mut out = Vec::new();
    match log.read(after, limit, &mut out) {
        ReadStatus::Read => Some(out.iter().map(LogEntry::sequence).collect()),
        ReadStatus::Evicted => None,
        ReadStatus::Stored => unreachable!("all of it is in memory"),
    }
}

/// A log whose clock stands still until it is moved.
fn log_with_clock(retention: Retention) -> (MemoryLog, Arc<AtomicU64>) {
    let millis = Arc::new(AtomicU64::new(0));
    let (start, hand) = (Instant::now(), Arc::clone(&millis));
    let clock = move || start + Duration::from_millis(hand.load(Ordering::SeqCst));
    (
        MemoryLog::builder()
            .retention(retention)
            .clock(clock)
            .build(),
        millis,
    )
}

#[test]
fn a_batch_is_contiguous_and_all_or_nothing() {
    let log = MemoryLog::builder().max_event(400).build();
    let mut batch = events(3);
    batch.push(event(400));
    let error = log.append_now(batch.into()).unwrap_err();
    assert!(
        matches!(
            error,
            AppendError::TooLarge {
                index: 3,
                max: 400,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(log.bounds().last, 0);

    let appended = log.append_now(events(3).into()).unwrap();
    let ids: Vec<u64> = appended
        .receipts
        .iter()
        .map(|r| r.event_id.sequence())
        .collect();
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn the_size_limit_is_exact() {
    let id = EventId::new(Epoch::from_u64(0), 1);
    let len = event(100).encoded_len(id);
    let append = |max| {
        MemoryLog::builder()
            .max_event(max)
            .build()
            .append_now(event(100).into())
    };
    assert!(append(len).is_ok());
    assert_eq!(
        append(len - 1),
        Err(AppendError::TooLarge {
            index: 0,
            len,
            max: len - 1
        })
    );
}

#[test]
fn age_evicts_without_an_append() {
    let age = Some(Duration::from_secs(1));
    let (log, millis) = log_with_clock(Retention {
        age,
        ..Retention::default()
    });
    log.append_now(events(2).into()).unwrap();
    millis.store(999, Ordering::SeqCst);
    assert_eq!(read(&log, 0, ALL), Some(vec![1, 2]));
    millis.store(1000, Ordering::SeqCst);
    assert_eq!(read(&log, 0, ALL), None);
    assert_eq!(read(&log, 2, ALL), Some(vec![]));
    let bounds = log.bounds();
    assert_eq!(
        (bounds.first, bounds.last, bounds.events(), bounds.bytes),
        (3, 2, 0, 0)
    );
    assert_eq!(bounds.newest(), Some(bounds.id(2)));
}

#[test]
fn the_newest_event_is_retained_even_if_over_the_byte_bound() {
    let log = MemoryLog::builder()
        .retention(Retention {
            bytes: 1,
            ..Retention::default()
        })
        .build();
    log.append_now(events(3).into()).unwrap();
    assert_eq!(read(&log, 2, ALL), Some(vec![3]));
    assert_eq!(read(&log, 1, ALL), None);
}

#[test]
fn reads_respect_their_limits_and_always_progress() {
    let log = MemoryLog::default();
    log.append_now(events(10).into()).unwrap();
    assert_eq!(
        read(
            &log,
            0,
            ReadLimit {
                events: 3,
                bytes: usize::MAX
            }
        ),
        Some(vec![1, 2, 3])
    );
    assert_eq!(
        read(
            &log,
            4,
            ReadLimit {
                events: 0,
                bytes: 0
            }
        ),
        Some(vec![5])
    );
    assert_eq!(read(&log, 10, ALL), Some(vec![]));
    // A cursor beyond the head, which no attachment gives, reads nothing.
    assert_eq!(read(&log, 99, ALL), Some(vec![]));
}

#[test]
fn a_repeat_appends_nothing_and_gets_the_first_answer() {
    let log = MemoryLog::default();
    let key = |content| IdempotencyKey::new("", "k", [content; 32]).unwrap();
    let append = |key| {
        log.append_now(Batch {
            events: events(2),
            idempotency_key: Some(key),
        })
    };
    let first = append(key(1)).unwrap();
    let second = append(key(1)).unwrap();
    assert_eq!((first.replayed, second.replayed), (false, true));
    assert_eq!(first.receipts, second.receipts);
    assert_eq!(append(key(2)), Err(AppendError::KeyReused));
    assert_eq!(log.bounds().last, 2);
}

#[test]
fn concurrent_repeats_append_once() {
    let log = MemoryLog::default();
    let key = IdempotencyKey::new("", "k", [1; 32]).unwrap();
    let answers: Vec<Appended> = std::thread::scope(|scope| {
        let append = || {
            log.append_now(Batch {
                events: events(1),
                idempotency_key: Some(key.clone()),
            })
            .unwrap()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(append)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert!(
        answers
            .iter()
            .all(|answer| answer.receipts == answers[0].receipts)
    );
    assert_eq!(log.bounds().last, 1);
}

#[tokio::test]
async fn concurrent_appends_are_seen_in_one_order_by_a_follower() {
    const EACH: u64 = 500;
    let log = Arc::new(MemoryLog::default());
    let mut head = log.head();
    let publishers: Vec<_> = (0..4)
        .map(|_| {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for _ in 0..EACH {
                    log.append_now(event(0).into()).unwrap();
                }
            })
        })
        .collect();
    let mut seen = Vec::new();
    while (seen.len() as u64) < 4 * EACH {
        head.changed().await.unwrap();
        let after = seen.len() as u64;
        seen.extend(read(&log, after, ALL).unwrap());
    }
    for publisher in publishers {
        publisher.join().unwrap();
    }
    assert!(seen.iter().copied().eq(1..=4 * EACH));
}

#[test]
fn epochs_of_two_logs_differ() {
    assert_ne!(
        MemoryLog::default().bounds().epoch,
        MemoryLog::default().bounds().epoch
    );
}

/// One step against both the ring and the model.
#[derive(Debug, Clone)]
enum Step {
    Append {
        fillers: Vec<usize>,
        key: Option<u8>,
    },
    Wait {
        millis: u64,
    },
    Read {
        back: u64,
        events: usize,
        bytes: usize,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    let append = (
        proptest::collection::vec(0usize..300, 1..5),
        proptest::option::of(0u8..4),
    )
        .prop_map(|(fillers, key)| Step::Append { fillers, key });
    let wait = (0u64..400).prop_map(|millis| Step::Wait { millis });
    let read = (0u64..30, 0usize..10, 0usize..2000).prop_map(|(back, events, bytes)| Step::Read {
        back,
        events,
        bytes,
    });
    prop_oneof![4 => append, 2 => wait, 3 => read]
}

/// What a log is, said as simply as possible: all events for ever, with the time
/// and size of each, and the retention applied anew at each look.
struct Model {
    retention: Retention,
    all: Vec<(u64, u64)>,
    first: u64,
    keys: Vec<(u8, Vec<usize>, u64, Vec<u64>)>,
    now: u64,
}

impl Model {
    const KEY_TTL: u64 = 1000;

    fn append(&mut self, size: u64) -> u64 {
        self.all.push((self.now, size));
        self.settle();
        self.all.len() as u64
    }

    fn retained(&self) -> &[(u64, u64)] {
        &self.all[self.first as usize - 1..]
    }

    fn settle(&mut self) {
        loop {
            let retained = self.retained();
            let bytes: u64 = retained.iter().map(|(_, size)| size).sum();
            let age = self.retention.age.map(|age| age.as_millis() as u64);
            let over = retained.len() > self.retention.events
                || (bytes > self.retention.bytes && retained.len() > 1)
                || retained
                    .first()
                    .zip(age)
                    .is_some_and(|((at, _), age)| self.now - at >= age);
            if !over || retained.is_empty() {
                return;
            }
            self.first += 1;
        }
    }

    fn read(&self, after: u64, events: usize, bytes: usize) -> Option<Vec<u64>> {
        if after + 1 < self.first {
            return None;
        }
        let mut found = Vec::new();
        let mut sum = 0;
        for sequence in after + 1..=self.all.len() as u64 {
            if found.len() >= events.max(1) || (!found.is_empty() && sum >= bytes) {
                break;
            }
            sum += self.all[sequence as usize - 1].1 as usize;
            found.push(sequence);
        }
        Some(found)
    }
}

proptest! {
    #[test]
    fn the_ring_behaves_as_the_model(
        max_events in 1usize..12,
        max_bytes in 1u64..4000,
        age in proptest::option::of(1u64..1500),
        steps in proptest::collection::vec(any_step(), 1..60),
    ) {
        let retention = Retention {
            events: max_events,
            bytes: max_bytes,
            age: age.map(Duration::from_millis),
        };
        let (start, millis) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let hand = Arc::clone(&millis);
        let log = MemoryLog::builder()
            .retention(retention)
            .idempotency_ttl(Duration::from_millis(Model::KEY_TTL))
            .clock(move || start + Duration::from_millis(hand.load(Ordering::SeqCst)))
            .build();
        let mut model = Model { retention, all: Vec::new(), first: 1, keys: Vec::new(), now: 0 };

        for step in steps {
            match step {
                Step::Append { fillers, key } => {
                    model.keys.retain(|(_, _, at, _)| model.now - at < Model::KEY_TTL);
                    let idempotency_key = key.map(|key| {
                        let content = fillers.iter().fold(fillers.len() as u8, |sum, f| sum.wrapping_mul(31).wrapping_add(*f as u8));
                        IdempotencyKey::new("", &key.to_string(), [content; 32]).unwrap()
                    });
                    let known = key.and_then(|key| model.keys.iter().find(|known| known.0 == key));
                    let batch = Batch {
                        events: fillers.iter().map(|filler| event(*filler)).collect(),
                        idempotency_key: idempotency_key.clone(),
                    };
                    let appended = log.append_now(batch);
                    if let Some((_, first_fillers, _, sequences)) = known {
                        if *first_fillers == fillers {
                            let appended = appended.unwrap();
                            prop_assert!(appended.replayed);
                            prop_assert!(appended.receipts.iter().map(|r| r.event_id.sequence()).eq(sequences.iter().copied()));
                        } else if let Ok(appended) = appended {
                            // The model's digest of one byte met its double.
                            prop_assert!(appended.replayed);
                        } else {
                            prop_assert_eq!(appended, Err(AppendError::KeyReused));
                        }
                        continue;
                    }
                    let appended = appended.unwrap();
                    prop_assert!(!appended.replayed);
                    let mut sequences = Vec::new();
                    for (receipt, filler) in appended.receipts.iter().zip(&fillers) {
                        let json = event(*filler).encoded_len(receipt.event_id);
                        let size = json + if json > 125 { 4 } else { 2 };
                        let sequence = model.append(size as u64);
                        prop_assert_eq!(receipt.event_id.sequence(), sequence);
                        sequences.push(sequence);
                    }
                    if let Some(key) = key {
                        model.keys.push((key, fillers, model.now, sequences));
                    }
                }
                Step::Wait { millis: more } => {
                    model.now += more;
                    millis.store(model.now, Ordering::SeqCst);
                    model.settle();
                }
                Step::Read { back, events, bytes } => {
                    let after = (model.all.len() as u64).saturating_sub(back);
                    prop_assert_eq!(read(&log, after, ReadLimit { events, bytes }), model.read(after, events, bytes));
                }
            }
            let bounds = log.bounds();
            prop_assert_eq!(bounds.first, model.first);
            prop_assert_eq!(bounds.last, model.all.len() as u64);
            prop_assert_eq!(bounds.bytes, model.retained().iter().map(|(_, size)| size).sum::<u64>());
            prop_assert_eq!(log.head().last(), bounds.last);
        }
    }
}

#[test]
fn a_cursor_beyond_the_end_reads_nothing() {
    let log = MemoryLog::default();
    log.append_now(events(2).into()).unwrap();
    for after in [2, 3, u64::MAX - 1, u64::MAX] {
        assert_eq!(read(&log, after, ALL), Some(vec![]), "{after}");
    }
}
