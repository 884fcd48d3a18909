//! A log that keeps most of its events on a disk, which hangs for as long as the test likes.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::sync::Arc;

use hyper_util::rt::TokioIo;
use stoat_events::{
    AppendFuture, Batch, EventLog, FetchFuture, HeadWatch, LogBounds, LogEntry, MemoryLog,
    ReadLimit, ReadStatus,
};
use stoat_ws_hub::{ConnectionManager, HubConfig};
use support::{Client, numbered, serve, serve_one, until, within};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Has the newest five events in memory, and reads another from disk for each permit.
struct Slow {
    log: MemoryLog,
    reads: Semaphore,
}

impl Slow {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            log: MemoryLog::default(),
            reads: Semaphore::new(0),
        })
    }
}

impl EventLog for Slow {
    fn append(&self, batch: Batch) -> AppendFuture<'_> {
        self.log.append(batch)
    }

    fn read(&self, after: u64, limit: ReadLimit, out: &mut Vec<LogEntry>) -> ReadStatus {
        if after + 5 < self.log.bounds().last {
            return ReadStatus::Stored;
        }
        self.log.read(after, limit, out)
    }

    fn fetch(&self, after: u64, _limit: ReadLimit) -> FetchFuture<'_> {
        Box::pin(async move {
            self.reads.acquire().await.unwrap().forget();
            let one = ReadLimit {
                events: 1,
                bytes: 1,
            };
            let mut entries = Vec::new();
            let _ = self.log.read(after, one, &mut entries);
            entries
        })
    }

    fn bounds(&self) -> LogBounds {
        self.log.bounds()
    }

    fn head(&self) -> HeadWatch {
        self.log.head()
    }
}

async fn publish(hub: &ConnectionManager, numbers: std::ops::Range<u64>) {
    for n in numbers {
        hub.broadcast(numbered(n)).await.unwrap();
    }
}

async fn answers_a_ping<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<S>) {
    client.send(Message::text(r#"{"action":"ping"}"#)).await;
    assert_eq!(client.json().await["action"], "pong");
}

/// What a reader that begins on the disk sees, and what it does not cost others.
async fn a_disk_that_hangs_holds_up_its_reader_only<S>(
    hub: ConnectionManager,
    log: Arc<Slow>,
    mut reader: Client<S>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let address = serve(&hub).await;
    let mut live = Client::connect(address, "").await;
    answers_a_ping(&mut reader).await;
    for n in 20..30 {
        publish(&hub, n..n + 1).await;
        assert_eq!(live.number().await, n);
    }
    answers_a_ping(&mut reader).await;

    log.reads.add_permits(3);
    for n in 0..3 {
        assert_eq!(reader.number().await, n);
    }
    answers_a_ping(&mut reader).await;
    publish(&hub, 30..31).await;
    assert_eq!(live.number().await, 30);

    log.reads.add_permits(1000);
    for n in 3..31 {
        assert_eq!(reader.number().await, n);
    }
    publish(&hub, 31..33).await;
    for n in 31..33 {
        assert_eq!((reader.number().await, live.number().await), (n, n));
    }
}

#[tokio::test]
async fn a_disk_that_hangs_holds_up_its_reader_only_over_tcp() {
    let log = Slow::new();
    let hub = ConnectionManager::new(log.clone(), HubConfig::default());
    publish(&hub, 0..20).await;
    let address = serve(&hub).await;
    let reader = Client::connect(address, "?last_event_id=earliest").await;
    a_disk_that_hangs_holds_up_its_reader_only(hub, log, reader).await;
}

#[tokio::test]
async fn a_disk_that_hangs_holds_up_its_reader_only_over_any_stream() {
    let log = Slow::new();
    let hub = ConnectionManager::new(log.clone(), HubConfig::default());
    publish(&hub, 0..20).await;
    let (near, far) = tokio::io::duplex(4096);
    serve_one(
        TokioIo::new(far),
        hub.clone(),
        "127.0.0.1:1".parse().unwrap(),
    );
    let url = "ws://hub/ws?last_event_id=earliest";
    let (reader, _) = within(client_async(url, near)).await.unwrap();
    a_disk_that_hangs_holds_up_its_reader_only(hub, log, Client(reader)).await;
}

#[tokio::test]
async fn a_drain_waits_for_what_is_on_disk() {
    let log = Slow::new();
    let hub = ConnectionManager::new(log.clone(), HubConfig::default());
    publish(&hub, 0..20).await;
    let address = serve(&hub).await;
    let mut reader = Client::connect(address, "?last_event_id=earliest").await;
    let draining = {
        let hub = hub.clone();
        tokio::spawn(async move { hub.drain(support::DEADLINE).await })
    };
    until(|| hub.is_draining()).await;
    answers_a_ping(&mut reader).await;
    log.reads.add_permits(1000);
    for n in 0..20 {
        assert_eq!(reader.number().await, n);
    }
    assert_eq!(reader.close_frame().await.code, CloseCode::Away);
    drop(reader);
    assert!(draining.await.unwrap());
}

#[tokio::test]
async fn a_burst_that_is_larger_than_the_memory_of_the_log_is_brought_to_all() {
    let log = Slow::new();
    log.reads.add_permits(1000);
    let hub = ConnectionManager::new(log, HubConfig::default());
    let address = serve(&hub).await;
    let mut live = Client::connect(address, "").await;
    let mut picky = Client::connect(address, "?types=scan_completed").await;
    until(|| hub.active_connections() == 2).await;
    let burst: Vec<_> = (0..40).map(numbered).collect();
    hub.broadcast(burst).await.unwrap();
    for n in 0..40 {
        assert_eq!((live.number().await, picky.number().await), (n, n));
    }
}
