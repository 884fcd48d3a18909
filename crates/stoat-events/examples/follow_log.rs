//! A log, a publisher and two readers: `cargo run -p stoat-events --example follow_log`.

use std::sync::Arc;

use serde::Serialize;
use stoat_events::{Event, EventLog, MemoryLog, ReadLimit, ReadStatus, TypedEvent};

#[derive(Serialize)]
struct InvoicePaid {
    number: u64,
}

impl TypedEvent for InvoicePaid {
    const TYPE: &'static str = "invoice.paid";
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let log = Arc::new(MemoryLog::default());
    let publish = async {
        for number in 1..=3 {
            log.append(Event::typed(&InvoicePaid { number })?.into())
                .await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    let (published, (), ()) = tokio::join!(
        publish,
        follow("early", &log, 0),
        follow("resumed at 2", &log, 2)
    );
    published
}

/// Prints the events after `cursor` until the third.
async fn follow(name: &str, log: &MemoryLog, mut cursor: u64) {
    let limit = ReadLimit {
        events: 100,
        bytes: 64 << 10,
    };
    let mut head = log.head();
    let mut events = Vec::new();
    while cursor < 3 {
        match log.read(cursor, limit, &mut events) {
            ReadStatus::Read if events.is_empty() => {
                if head.changed().await.is_err() {
                    return;
                }
            }
            ReadStatus::Read => {
                for event in events.drain(..) {
                    cursor = event.sequence();
                    print(name, &String::from_utf8_lossy(event.encoded().json()));
                }
            }
            // Of a log on disk.
            ReadStatus::Stored => {
                for event in log.fetch(cursor, limit).await {
                    cursor = event.sequence();
                    print(name, &String::from_utf8_lossy(event.encoded().json()));
                }
            }
            // Too slow, or too late: go on with the oldest event that is left.
            ReadStatus::Evicted => cursor = log.bounds().before_oldest(),
        }
    }
}

#[expect(clippy::print_stdout, reason = "the example's output")]
fn print(name: &str, event: &str) {
    println!("{name}: {event}");
}
