//! Appends an event to the log in a directory and prints all that it has kept:
//! `cargo run -p stoat-log-disk --example keep_log DIR`, again and again.

use std::error::Error;

use stoat_events::{EventLog, EventType, LogEntry, ReadLimit, ReadStatus, build_event};
use stoat_log_disk::DiskLog;

const PIECE: ReadLimit = ReadLimit {
    events: 100,
    bytes: 64 << 10,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).ok_or("which directory?")?;
    let log = DiskLog::open(dir)?;
    let payload = serde_json::json!({ "process": std::process::id() });
    // When this is done the event is on disk.
    log.append(build_event(EventType::ScanStarted, &payload, None)?.into())
        .await?;

    let mut cursor = log.bounds().before_oldest();
    let mut events = Vec::new();
    loop {
        match log.read(cursor, PIECE, &mut events) {
            ReadStatus::Read if events.is_empty() => return Ok(()),
            ReadStatus::Read => {}
            // Kept by an earlier run, so not in memory.
            ReadStatus::Stored => events = log.fetch(cursor, PIECE).await,
            ReadStatus::Evicted => cursor = log.bounds().before_oldest(),
        }
        for event in events.drain(..) {
            cursor = event.sequence();
            print(&event);
        }
    }
}

#[expect(clippy::print_stdout, reason = "the example's output")]
fn print(event: &LogEntry) {
    println!("{}", String::from_utf8_lossy(event.encoded().json()));
}
