//! The hub mounted in plain hyper.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use stoat_events::{
    AppendFuture, Batch, Event, EventLog, EventType, HeadWatch, LogBounds, LogEntry, MemoryLog,
    ReadLimit, ReadStatus, Retention,
};
use stoat_ws_hub::{ConnectionManager, DisconnectReason, HubConfig, RejectReason};
use support::{Client, numbered, serve, serve_one, until, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn disconnects(hub: &ConnectionManager, wanted: DisconnectReason) -> u64 {
    let stats = hub.stats();
    stats
        .disconnects
        .into_iter()
        .find(|(reason, _)| *reason == wanted)
        .unwrap()
        .1
}

/// A client whose own system takes little for it.
async fn connect_and_never_read(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stuck = within(socket.connect(address)).await.unwrap();
    stuck.write_all(HANDSHAKE.as_bytes()).await.unwrap();
    stuck
}

/// As [`numbered`], and long.
fn padded(n: u64, filler: &str) -> Event {
    Event::builder(EventType::ScanStarted)
        .payload(&serde_json::json!({ "n": n, "filler": filler }))
        .unwrap()
        .build()
}

#[tokio::test]
async fn every_client_gets_every_event_in_order() {
    let hub = ConnectionManager::in_memory();
    let address = serve(&hub).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(Client::connect(address, "").await);
    }
    assert_eq!(hub.active_connections(), 10);
    for n in 0..500 {
        hub.broadcast(numbered(n)).await.unwrap();
    }
    for client in &mut clients {
        for n in 0..500 {
            assert_eq!(client.number().await, n);
        }
    }
    until(|| hub.stats().delivered == 5000).await;
    drop(clients);
    until(|| hub.active_connections() == 0).await;
    assert!(hub.list().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_after_the_answer_arrives() {
    let hub = ConnectionManager::in_memory();
    let address = serve(&hub).await;
    for n in 0..100 {
        let mut client = Client::connect(address, "").await;
        hub.broadcast(numbered(n)).await.unwrap();
        assert_eq!(client.number().await, n);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_delays_nobody_and_is_dropped() {
    let mut config = HubConfig::default();
    config.write_timeout = Duration::from_millis(300);
    let hub = ConnectionManager::new(Arc::new(MemoryLog::default()), config);
    let address = serve(&hub).await;

    let stuck = connect_and_never_read(address).await;
    until(|| hub.active_connections() == 1).await;

    let mut healthy = Client::connect(address, "").await;
    let filler = "x".repeat(32 << 10);
    let mut sent = 0;
    while hub.active_connections() == 2 {
        hub.broadcast(padded(sent, &filler)).await.unwrap();
        assert_eq!(healthy.number().await, sent);
        sent += 1;
    }
    assert_eq!(disconnects(&hub, DisconnectReason::WriteTimeout), 1);
    assert_eq!(hub.stats().slow, 0);
    drop(stuck);
}

/// Beside what the client's own system takes, which its narrow window keeps small.
#[cfg(any(target_os = "android", target_os = "linux"))]
#[tokio::test]
async fn a_client_that_does_not_read_pins_little_of_the_kernels_memory() {
    const MAX_UNSENT: usize = 64 << 10;
    let mut config = HubConfig::default();
    config.max_unsent = MAX_UNSENT;
    let hub = ConnectionManager::new(Arc::new(MemoryLog::default()), config);
    let address = serve(&hub).await;
    let stuck = connect_and_never_read(address).await;
    until(|| hub.active_connections() == 1).await;
    let mut healthy = Client::connect(address, "").await;

    let filler = "x".repeat(16 << 10);
    for n in 0..512 {
        hub.broadcast(padded(n, &filler)).await.unwrap();
        assert_eq!(healthy.number().await, n);
    }
    assert_eq!(hub.stats().slow, 1);
    let taken = hub.list()[0].bytes_sent;
    // One piece may be under way when the bound is reached.
    let allowed = 2 * MAX_UNSENT as u64 + (64 << 10);
    assert!(taken < allowed, "{taken} bytes, {allowed} allowed");
    drop(stuck);
}

#[tokio::test]
async fn a_client_that_was_slow_is_woken_again() {
    let mut config = HubConfig::default();
    // Nothing else wakes the connection.
    config.heartbeat_interval = None;
    config.ping_interval = Duration::from_secs(3600);
    config.write_timeout = Duration::from_secs(3600);
    config.pong_timeout = Duration::from_secs(7200);
    let hub = ConnectionManager::new(Arc::new(MemoryLog::default()), config);
    let address = serve(&hub).await;
    let mut client = Client::connect(address, "").await;
    let filler = "x".repeat(32 << 10);
    let mut sent = 0;
    while hub.stats().slow == 0 {
        hub.broadcast(padded(sent, &filler)).await.unwrap();
        sent += 1;
        tokio::task::yield_now().await;
    }
    for n in 0..sent {
        assert_eq!(client.number().await, n);
    }
    until(|| hub.stats().slow == 0).await;
    hub.broadcast(numbered(sent)).await.unwrap();
    assert_eq!(client.number().await, sent);
}

#[tokio::test]
async fn silence_ends_a_connection_and_pongs_keep_it() {
    let mut config = HubConfig::default();
    config.ping_interval = Duration::from_millis(50);
    config.pong_timeout = Duration::from_secs(2);
    let hub = ConnectionManager::new(Arc::new(MemoryLog::default()), config);
    let address = serve(&hub).await;
    // Answers pings as long as it is polled.
    let mut alive = Client::connect(address, "").await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    silent.write_all(HANDSHAKE.as_bytes()).await.unwrap();
    let mut everything = Vec::new();
    let reading = silent.read_to_end(&mut everything);
    tokio::select! {
        ended = within(reading) => { ended.unwrap(); }
        event = alive.json() => panic!("nothing was published, got {event}"),
    }
    until(|| hub.active_connections() == 1).await;
    assert_eq!(disconnects(&hub, DisconnectReason::PongTimeout), 1);
    let close = [&1011u16.to_be_bytes()[..], b"no frame"].concat();
    assert!(everything.windows(close.len()).any(|bytes| bytes == close));
    hub.broadcast(numbered(1)).await.unwrap();
    assert_eq!(alive.number().await, 1);
}

/// A log of which one read for a single connection panics.
struct Faulty {
    log: MemoryLog,
    armed: AtomicBool,
}

impl EventLog for Faulty {
    fn append(&self, batch: Batch) -> AppendFuture<'_> {
        self.log.append(batch)
    }

    fn read(&self, after: u64, limit: ReadLimit, out: &mut Vec<LogEntry>) -> ReadStatus {
        // The fan-out reads more at a time than a connection does.
        if limit.events <= 512 && self.armed.swap(false, Ordering::SeqCst) {
            panic!("a fault in one connection, part of the test");
        }
        self.log.read(after, limit, out)
    }

    fn bounds(&self) -> LogBounds {
        self.log.bounds()
    }

    fn head(&self) -> HeadWatch {
        self.log.head()
    }
}

#[tokio::test]
async fn a_panic_in_one_connection_is_the_end_of_that_one_only() {
    let log = Arc::new(Faulty {
        log: MemoryLog::default(),
        armed: AtomicBool::new(false),
    });
    let hub = ConnectionManager::new(log.clone(), HubConfig::default());
    let address = serve(&hub).await;
    // What sees only a part is read for by itself.
    let mut picky = Client::connect(address, "?types=scan_completed").await;
    let mut other = Client::connect(address, "").await;
    // By then its first look at the log is done.
    other.send(Message::text(r#"{"action":"ping"}"#)).await;
    assert_eq!(other.json().await["action"], "pong");
    log.armed.store(true, Ordering::SeqCst);
    for n in 0..10 {
        let both = vec![numbered(n), padded(n, "")];
        hub.broadcast(both).await.unwrap();
        assert_eq!((other.number().await, other.number().await), (n, n));
    }
    assert_eq!(picky.last_frame().await.code, CloseCode::Error);
    drop(picky);
    until(|| hub.active_connections() == 1).await;
    assert_eq!(disconnects(&hub, DisconnectReason::Panic), 1);
    assert_eq!(hub.stats().slow, 0);
}

/// Here the connection's own task reads, over TCP and over another stream.
#[tokio::test]
async fn a_panic_is_told_to_the_client() {
    let log = Arc::new(Faulty {
        log: MemoryLog::default(),
        armed: AtomicBool::new(false),
    });
    let hub = ConnectionManager::new(log.clone(), HubConfig::default());
    let address = serve(&hub).await;
    hub.broadcast(numbered(1)).await.unwrap();

    log.armed.store(true, Ordering::SeqCst);
    let mut over_tcp = Client::connect(address, "?last_event_id=earliest").await;
    assert_eq!(over_tcp.close_frame().await.code, CloseCode::Error);

    log.armed.store(true, Ordering::SeqCst);
    let (near, far) = tokio::io::duplex(1 << 10);
    serve_one(TokioIo::new(far), hub.clone(), ([127, 0, 0, 1], 9).into());
    let url = "ws://hub.example.com/ws?last_event_id=earliest";
    let opened = within(tokio_tungstenite::client_async(url, near)).await;
    let mut over_duplex = Client(opened.unwrap().0);
    assert_eq!(over_duplex.close_frame().await.code, CloseCode::Error);

    drop((over_tcp, over_duplex));
    until(|| hub.active_connections() == 0).await;
    assert_eq!(disconnects(&hub, DisconnectReason::Panic), 2);
}

#[tokio::test]
async fn one_heartbeat_for_all() {
    let mut config = HubConfig::default();
    config.heartbeat_interval = Some(Duration::from_millis(100));
    let hub = ConnectionManager::new(Arc::new(MemoryLog::default()), config);
    let address = serve(&hub).await;
    let mut first = Client::connect(address, "?types=").await;
    let mut second = Client::connect(address, "").await;
    let beat = second.json().await;
    assert_eq!(beat["type"], "heartbeat");
    assert!(beat["event_id"].as_str().unwrap().ends_with("-0"));
    let mut seen = first.json().await;
    while seen["timestamp"] != beat["timestamp"] {
        seen = first.json().await;
    }
    assert_eq!(seen, beat);
}

#[tokio::test]
async fn disconnecting_one() {
    let hub = ConnectionManager::in_memory();
    let address = serve(&hub).await;
    let mut client = Client::connect(address, "?topics=a.*").await;
    let _other = Client::connect(address, "").await;
    let list = serde_json::to_value(hub.list()).unwrap();
    assert_eq!(list[0]["filters"]["topics"][0], "a.*");
    assert_eq!(list[0]["lag_events"], 0);
    let id = hub.list()[0].id;
    assert!(hub.disconnect(id));
    assert_eq!(client.close_frame().await.code, CloseCode::Policy);
    drop(client);
    until(|| hub.active_connections() == 1).await;
    assert!(!hub.disconnect(id));
    assert_eq!(disconnects(&hub, DisconnectReason::Operator), 1);
}

#[tokio::test]
async fn draining_sends_all_and_then_1001_with_a_time_to_return() {
    let hub = ConnectionManager::in_memory();
    let address = serve(&hub).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Client::connect(address, "").await);
    }
    for n in 0..100 {
        hub.broadcast(numbered(n)).await.unwrap();
    }
    let drain = tokio::spawn({
        let hub = hub.clone();
        async move { hub.drain(Duration::from_secs(30)).await }
    });
    let mut returns = Vec::new();
    for client in &mut clients {
        for n in 0..100 {
            assert_eq!(client.number().await, n);
        }
        let frame = client.close_frame().await;
        assert_eq!(frame.code, CloseCode::Away);
        returns.push(
            frame
                .reason
                .strip_prefix("retry_ms=")
                .unwrap()
                .parse::<u64>()
                .unwrap(),
        );
        let _ = within(futures_util::StreamExt::next(&mut client.0)).await;
    }
    returns.dedup();
    assert_eq!(returns.len(), 5, "{returns:?}");
    assert!(within(drain).await.unwrap());
    assert_eq!(hub.active_connections(), 0);

    let refused = tokio_tungstenite::connect_async(format!("ws://{address}/ws"))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("503"), "{refused}");
    assert!(hub.stats().rejects.contains(&(RejectReason::Draining, 1)));
}

#[tokio::test]
async fn a_drain_does_not_wait_longer_than_told() {
    let hub = ConnectionManager::in_memory();
    let address = serve(&hub).await;
    let mut client = Client::connect(address, "").await;
    // Nobody reads here, so nobody answers the Close.
    assert!(!within(hub.drain(Duration::from_millis(50))).await);
    assert_eq!(hub.active_connections(), 0);
    assert_eq!(client.close_frame().await.code, CloseCode::Away);
}

#[tokio::test]
async fn the_log_moves_past_a_client_that_comes_late() {
    let retention = Retention {
        events: 3,
        ..Retention::default()
    };
    let log = Arc::new(MemoryLog::builder().retention(retention).build());
    let hub = ConnectionManager::new(log.clone(), HubConfig::default());
    let address = serve(&hub).await;
    for n in 1..=5 {
        hub.broadcast(numbered(n)).await.unwrap();
    }
    let epoch = log.bounds().epoch;
    let mut client = Client::connect(address, &format!("?last_event_id={epoch}-1")).await;
    let gap = client.json().await;
    assert_eq!(
        (&gap["type"], &gap["payload"]["reason"]),
        (&"gap".into(), &"evicted".into())
    );
    assert_eq!(gap["event_id"], format!("{epoch}-2"));
    for n in 3..=5 {
        assert_eq!(client.number().await, n);
    }
}

#[tokio::test]
async fn many_events_that_the_filter_leaves_out_do_not_hold_up_the_next() {
    let log = Arc::new(
        MemoryLog::builder()
            .retention(Retention {
                events: 20_000,
                ..Retention::default()
            })
            .build(),
    );
    let mut config = HubConfig::default();
    // Nothing else wakes the connection.
    config.heartbeat_interval = None;
    config.ping_interval = Duration::from_secs(3600);
    config.pong_timeout = Duration::from_secs(7200);
    let hub = ConnectionManager::new(log, config);
    let address = serve(&hub).await;
    for n in 0..15_000 {
        hub.broadcast(numbered(n)).await.unwrap();
    }
    let wanted =
        stoat_events::build_event(stoat_events::EventType::ScanStarted, &(), None).unwrap();
    hub.broadcast(wanted).await.unwrap();
    let mut client = Client::connect(address, "?last_event_id=earliest&types=scan_started").await;
    assert_eq!(client.json().await["type"], "scan_started");
}

#[tokio::test]
async fn a_stream_that_is_no_tcp_works_the_same() {
    let hub = ConnectionManager::in_memory();
    let (near, far) = tokio::io::duplex(1 << 10);
    serve_one(TokioIo::new(far), hub.clone(), ([127, 0, 0, 1], 9).into());
    let (stream, response) = within(tokio_tungstenite::client_async(
        "ws://hub.example.com/ws",
        near,
    ))
    .await
    .unwrap();
    assert_eq!(response.status(), 101);
    let mut client = Client(stream);
    for n in 0..200 {
        hub.broadcast(numbered(n)).await.unwrap();
    }
    for n in 0..200 {
        assert_eq!(client.number().await, n);
    }
    client.send(Message::text(r#"{"action":"ping"}"#)).await;
    assert_eq!(client.json().await["action"], "pong");
    client.send(Message::Close(None)).await;
    until(|| hub.active_connections() == 0).await;
    assert_eq!(disconnects(&hub, DisconnectReason::ClientClosed), 1);
}

#[tokio::test]
async fn input_that_came_with_the_handshake_is_not_lost() {
    let hub = ConnectionManager::in_memory();
    let address = serve(&hub).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut bytes = HANDSHAKE.as_bytes().to_vec();
    bytes.extend([0x89, 0x82, 0, 0, 0, 0, b'h', b'i']);
    socket.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    within(async {
        while !answer.ends_with(b"\x8a\x02hi") {
            let mut piece = [0; 512];
            let read = socket.read(&mut piece).await.unwrap();
            assert!(read > 0, "{answer:?}");
            answer.extend_from_slice(&piece[..read]);
        }
    })
    .await;
}

#[tokio::test]
async fn no_setting_of_time_is_too_long_or_too_short() {
    let log: Arc<dyn EventLog> = Arc::new(MemoryLog::default());
    let mut longest = HubConfig::default();
    longest.heartbeat_interval = Some(Duration::MAX);
    longest.ping_interval = Duration::MAX;
    longest.pong_timeout = Duration::MAX;
    longest.write_timeout = Duration::MAX;
    longest.handshake_timeout = Duration::MAX;
    let hub = ConnectionManager::new(Arc::clone(&log), longest);
    let address = serve(&hub).await;
    let mut client = Client::connect(address, "").await;
    hub.broadcast(numbered(1)).await.unwrap();
    assert_eq!(client.number().await, 1);
    assert_eq!(disconnects(&hub, DisconnectReason::Panic), 0);

    let mut shortest = HubConfig::default();
    shortest.heartbeat_interval = None;
    shortest.ping_interval = Duration::ZERO;
    let hub = ConnectionManager::new(log, shortest);
    let address = serve(&hub).await;
    let _client = Client::connect(address, "").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    // A ping is two bytes.
    let sent = hub.stats().sent_bytes;
    assert!(sent <= 2 * 500, "{sent} bytes of pings in half a second");
}
