//! What an event costs, in time and allocations: to build, append, resume from, and filter.
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use divan::{AllocProfiler, Bencher, black_box};
use serde::Serialize;
use stoat_events::{
    Epoch, EventId, EventLog, EventType, Filter, MemoryLog, ReadLimit, ReadStatus, Resume,
    build_event,
};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// How many events the default log retains.
const RETAINED: u64 = 10_000;

/// What the hub reads at once for a connection that catches up.
const PIECE: ReadLimit = ReadLimit {
    events: 512,
    bytes: 256 << 10,
};

#[derive(Serialize)]
struct Payload {
    text: String,
}

/// A payload of 256 bytes as JSON.
fn payload() -> Payload {
    let around = r#"{"text":""}"#.len();
    Payload {
        text: "x".repeat(256 - around),
    }
}

/// A log that has evicted as much as it retains.
fn log() -> MemoryLog {
    let log = MemoryLog::builder().epoch(Epoch::from_u64(1)).build();
    for _ in 0..2 * RETAINED {
        append(&log, &payload());
    }
    log
}

fn append(log: &MemoryLog, payload: &Payload) {
    let event = build_event(EventType::ScanStarted, payload, None).unwrap();
    log.append_now(event.into()).unwrap();
}

#[divan::bench]
fn build_and_encode(bencher: Bencher<'_, '_>) {
    let (payload, id) = (payload(), EventId::new(Epoch::from_u64(1), RETAINED));
    bencher.bench(|| {
        let event = build_event(EventType::ScanStarted, black_box(&payload), None);
        event.unwrap().encode(id)
    });
}

#[divan::bench]
fn build_and_append(bencher: Bencher<'_, '_>) {
    let (payload, log) = (payload(), log());
    bencher.bench(|| append(&log, black_box(&payload)));
}

#[divan::bench]
fn find_position(bencher: Bencher<'_, '_>) {
    let log = log();
    let bounds = log.bounds();
    let resume = Resume::parse(&bounds.id(bounds.last - RETAINED / 2).to_string());
    bencher.bench(|| log.bounds().attach(black_box(&resume)));
}

#[divan::bench]
fn read_10_000_retained(bencher: Bencher<'_, '_>) {
    let log = log();
    let start = log.bounds().before_oldest();
    let mut piece = Vec::with_capacity(PIECE.events);
    bencher.bench_local(|| {
        let (mut cursor, mut bytes) = (start, 0);
        loop {
            piece.clear();
            assert_eq!(log.read(cursor, PIECE, &mut piece), ReadStatus::Read);
            let Some(last) = piece.last() else {
                assert_eq!(cursor - start, RETAINED);
                return bytes;
            };
            cursor = last.sequence();
            let frames = piece.iter().map(|entry| entry.encoded().ws_frame().len());
            bytes += frames.sum::<usize>();
        }
    });
}

#[divan::bench(args = [
    ("", ""),
    ("scan_started", ""),
    ("", "project.*"),
    ("scan_failed,scan_completed,scan_started", "user.*,team.*,project.*"),
])]
fn filter_matches(bencher: Bencher<'_, '_>, (types, topics): (&str, &str)) {
    let given = |text| Some(text).filter(|text: &&str| !text.is_empty());
    let filter = Filter::from_lists(given(types), given(topics)).unwrap();
    bencher.bench(|| {
        let matches = filter.matches(black_box("scan_started"), black_box(Some("project.apollo")));
        assert!(matches);
        matches
    });
}
