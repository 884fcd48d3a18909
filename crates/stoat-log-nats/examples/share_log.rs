//! Appends an event to a shared log and prints what it and others append:
//! `cargo run -p stoat-log-nats --example share_log nats://127.0.0.1:4222`, several times at once.

use std::error::Error;

use stoat_events::{EventLog, EventType, LogEntry, ReadLimit, ReadStatus, Resume, build_event};
use stoat_log_nats::{NatsLog, Servers};

const PIECE: ReadLimit = ReadLimit {
    events: 100,
    bytes: 64 << 10,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let servers = std::env::args().nth(1).ok_or("which servers?")?;
    let log = NatsLog::builder(Servers::parse(&servers)?).open()?;
    if let Err(ended) = log.opened().await {
        return Err(ended.to_string().into());
    }
    let mut head = log.head();
    let mut cursor = log.attach(&Resume::Earliest).cursor;
    let payload = serde_json::json!({ "process": std::process::id() });
    let event = build_event(EventType::ScanStarted, &payload, None)?;
    log.append(event.into()).await?;

    let mut events = Vec::new();
    loop {
        match log.read(cursor, PIECE, &mut events) {
            ReadStatus::Read if events.is_empty() => {
                head.changed().await?;
            }
            ReadStatus::Read => {}
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
