//! The log as its users see it, on real directories and on disks that fail.

mod crashes;
mod damage;
mod disk;
mod faults;
mod life;
mod retention;
mod use_;

use serde_json::json;
use stoat_events::{
    Batch, Event, EventLog, EventType, IdempotencyKey, LogEntry, ReadLimit, ReadStatus, Retention,
};

use crate::{DiskLog, DiskLogBuilder};

const ALL: ReadLimit = ReadLimit {
    events: usize::MAX,
    bytes: usize::MAX,
};

fn event(n: u64) -> Event {
    let payload = json!({ "n": n, "filler": "x".repeat((n % 50) as usize * 7) });
    let builder = Event::builder(EventType::ScanStarted);
    builder.payload(&payload).unwrap().build()
}

fn keyed(n: u64, key: &str, content: u8) -> Batch {
    Batch {
        events: vec![event(n)],
        idempotency_key: Some(IdempotencyKey::new("owner", key, [content; 32]).unwrap()),
    }
}

/// Little memory, so that most reads go to the disk.
fn small_memory(builder: DiskLogBuilder) -> DiskLogBuilder {
    builder.memory(Retention {
        events: 3,
        ..Retention::default()
    })
}

/// Everything after a position, wherever it is, or the first position after a gap.
async fn read_all(log: &DiskLog, after: u64) -> Result<Vec<LogEntry>, u64> {
    let mut all = Vec::new();
    let mut cursor = after;
    loop {
        let mut found = Vec::new();
        match log.read(cursor, ALL, &mut found) {
            ReadStatus::Read if found.is_empty() => return Ok(all),
            ReadStatus::Read => {}
            ReadStatus::Stored => found = log.fetch(cursor, ALL).await,
            ReadStatus::Evicted => return Err(log.bounds().before_oldest()),
        }
        for entry in &found {
            assert_eq!(entry.sequence(), cursor + 1);
            cursor += 1;
        }
        all.append(&mut found);
    }
}

fn texts(entries: &[LogEntry]) -> Vec<String> {
    let text = |entry: &LogEntry| String::from_utf8(entry.encoded().json().to_vec()).unwrap();
    entries.iter().map(text).collect()
}

fn sequences(entries: &[LogEntry]) -> Vec<u64> {
    entries.iter().map(LogEntry::sequence).collect()
}
