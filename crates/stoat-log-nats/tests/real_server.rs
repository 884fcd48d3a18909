//! The log as its users see it, on a real NATS server.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

use std::collections::{HashMap, HashSet};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stoat_events::{
    AppendError, Batch, Event, EventLog, EventType, LogEntry, ReadLimit, ReadStatus, Resume,
    Retention, Topic,
};
use stoat_log_nats::{Condition, NatsLog, NatsLogBuilder, NatsRetention, Servers};
use tokio::time::timeout;

const PROGRAMS: [&str; 2] = ["nats-server", "/usr/sbin/nats-server"];
const PIECE: ReadLimit = ReadLimit {
    events: 7,
    bytes: usize::MAX,
};
/// Long enough for a busy machine, short enough to end a hang.
const DEADLINE: Duration = Duration::from_secs(60);

/// A NATS server that can be killed and started again; ends when dropped.
struct Server {
    port: u16,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut server = Self {
            port: listener.local_addr().unwrap().port(),
            folder: tempfile::tempdir().unwrap(),
            child: None,
        };
        drop(listener);
        server.run();
        server
    }

    fn run(&mut self) {
        let spawn = |program: &str| {
            let mut command = Command::new(program);
            let port = self.port.to_string();
            command.args(["-a", "127.0.0.1", "-js", "-p", &port, "-sd"]);
            command.arg(self.folder.path()).stderr(Stdio::null());
            command.spawn().ok()
        };
        let child = PROGRAMS.into_iter().find_map(spawn);
        self.child = Some(child.expect("nats-server; `cargo xtask setup` installs it"));
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn builder(&self) -> NatsLogBuilder {
        let url = format!("nats://127.0.0.1:{}", self.port);
        // JetStream takes no stream that is to retain more than there is room for.
        let little = NatsRetention {
            bytes: Some(64 << 20),
            ..NatsRetention::default()
        };
        NatsLog::builder(Servers::parse(&url).unwrap()).retention(little)
    }

    async fn open(&self) -> NatsLog {
        open(self.builder()).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

async fn open(builder: NatsLogBuilder) -> NatsLog {
    let log = builder.open().unwrap();
    match timeout(DEADLINE, log.opened()).await {
        Ok(opened) => opened.unwrap(),
        Err(_) => panic!("it is not open: {:?}", *log.condition().borrow()),
    }
    log
}

fn event(n: u64) -> Event {
    let builder = Event::builder(EventType::ScanStarted);
    builder.payload(&json!({ "n": n })).unwrap().build()
}

/// Everything after a position, as texts.
async fn read_all(log: &NatsLog, after: u64) -> Vec<String> {
    let mut all = Vec::new();
    let mut cursor = after;
    loop {
        let mut found = Vec::new();
        match log.read(cursor, PIECE, &mut found) {
            ReadStatus::Read if found.is_empty() => return all,
            ReadStatus::Read => {}
            ReadStatus::Stored => {
                found = timeout(DEADLINE, log.fetch(cursor, PIECE)).await.unwrap();
            }
            ReadStatus::Evicted => panic!("{cursor} is gone"),
        }
        for entry in found {
            assert!(entry.sequence() > cursor, "{entry:?} after {cursor}");
            cursor = entry.sequence();
            all.push(text(&entry));
        }
    }
}

fn text(entry: &LogEntry) -> String {
    String::from_utf8(entry.encoded().json().to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_append_at_once_is_the_same_for_all_and_after_restarts() {
    let mut server = Server::start();
    let few = Retention {
        events: 5,
        ..Retention::default()
    };
    let (one, two) = (
        server.open().await,
        open(server.builder().memory(few)).await,
    );
    let (one, two) = (Arc::new(one), Arc::new(two));
    let appends = (0..64).map(|n| {
        let log = Arc::clone(if n % 2 == 0 { &one } else { &two });
        async move {
            let events = (0..n % 5 + 1)
                .map(|i| event(n * 10 + i))
                .collect::<Vec<_>>();
            let count = events.len();
            let appended = timeout(DEADLINE, log.append(events.into())).await;
            let receipts = appended.unwrap().unwrap().receipts;
            assert_eq!(receipts.len(), count);
            // What was acknowledged can be read here.
            assert!(log.bounds().last >= receipts[count - 1].event_id.sequence());
            receipts
                .iter()
                .map(|receipt| receipt.event_id)
                .collect::<Vec<_>>()
        }
    });
    let ids = futures_util::future::join_all(appends).await.concat();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    // Each has its own appends by now, and those of the other once it has got so far.
    let newest = ids.iter().max_by_key(|id| id.sequence()).unwrap();
    let newest = Resume::After(newest.to_string());
    for log in [&one, &two] {
        let prepared = timeout(DEADLINE, log.prepare(&newest)).await;
        prepared.unwrap().unwrap();
    }
    let all = read_all(&one, 0).await;
    assert_eq!(all.len(), ids.len());
    assert_eq!(read_all(&two, 0).await, all);

    // The broker and the servers begin again: all is where it was.
    let epoch = one.bounds().epoch;
    drop((one, two));
    server.kill();
    server.run();
    let three = open(server.builder().memory(few)).await;
    assert_eq!(three.bounds().epoch, epoch);
    assert_eq!(read_all(&three, 0).await, all);
    assert_eq!(three.stats().skipped_messages, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_ends_in_time_and_says_what_is_known() {
    let mut server = Server::start();
    let soon = Duration::from_millis(700);
    let log = open(server.builder().publish_timeout(soon)).await;
    log.append(event(0).into()).await.unwrap();
    server.kill();
    let mut condition = log.condition();
    let away = condition.wait_for(|condition| matches!(condition, Condition::Away(_)));
    timeout(DEADLINE, away).await.unwrap().unwrap();
    let refused = timeout(DEADLINE, log.append(event(1).into()))
        .await
        .unwrap();
    let refused = refused.unwrap_err();
    assert!(
        matches!(refused, AppendError::Unavailable { .. }),
        "{refused:?}"
    );
    // What is this server's own is told all the same, to its readers.
    let status = Event::builder(EventType::HealthStatus).build();
    let told = log.append(Batch::from(status)).await.unwrap();
    assert_eq!(Some(told.receipts[0].event_id), log.bounds().newest());

    server.run();
    let mut condition = log.condition();
    let good = condition.wait_for(|condition| *condition == Condition::Good);
    timeout(DEADLINE, good).await.unwrap().unwrap();
    log.append(event(2).into()).await.unwrap();
    let other = server.open().await;
    assert_eq!(read_all(&other, 0).await.len(), 2);
    assert_eq!(read_all(&log, 0).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_events_and_wrong_names_are_refused() {
    let server = Server::start();
    let log = server.open().await;
    let many: Vec<_> = (0..1001).map(event).collect();
    let refused = log.append(many.into()).await.unwrap_err();
    assert!(
        matches!(refused, AppendError::BatchTooLarge { len: 1001, .. }),
        "{refused:?}"
    );
    assert!(
        log.append(Batch::default())
            .await
            .unwrap()
            .receipts
            .is_empty()
    );
    for builder in [
        server.builder().stream("a.b"),
        server.builder().subject("a.>"),
        server.builder().credentials("/no/such/file"),
    ] {
        assert!(builder.open().is_err());
    }
}

/// Each publisher gets the ID of its own event, whoever it travelled with.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_wait_travel_together_by_topic() {
    const COUNT: u64 = 300;
    for packs in [true, false] {
        let server = Server::start();
        let log = Arc::new(open(server.builder().pack(packs)).await);
        let appends = (0..COUNT).map(|n| {
            let log = Arc::clone(&log);
            let topic = ["a", "b.c", ""][n as usize % 3];
            let topic = (!topic.is_empty()).then(|| Topic::parse(topic).unwrap());
            stoat_correlation::spawn(async move {
                let builder = Event::builder(EventType::ScanStarted).topic(topic);
                let event = builder.payload(&json!({ "n": n })).unwrap().build();
                let appended = timeout(DEADLINE, log.append(event.into())).await;
                let appended = appended.unwrap().unwrap();
                assert!(!appended.replayed && appended.receipts.len() == 1);
                (appended.receipts[0].event_id.to_string(), n)
            })
        });
        let appends = futures_util::future::join_all(appends).await;
        let ids: HashMap<_, _> = appends.into_iter().map(Result::unwrap).collect();
        assert_eq!(ids.len() as u64, COUNT);
        let mut entries = Vec::new();
        let limit = ReadLimit {
            events: usize::MAX,
            bytes: usize::MAX,
        };
        assert_eq!(log.read(0, limit, &mut entries), ReadStatus::Read);
        assert_eq!(entries.len() as u64, COUNT);
        for entry in &entries {
            let n = ids[entry.encoded().id()];
            assert!(text(entry).contains(&format!(r#""payload":{{"n":{n}}}"#)));
        }
        // The positions of a message's events end at a multiple of 1024.
        let messages = entries.iter().map(|entry| entry.sequence().div_ceil(1024));
        let messages = messages.collect::<HashSet<_>>().len() as u64;
        match packs {
            true => assert!(messages < COUNT / 2, "{messages}"),
            false => assert_eq!(messages, COUNT),
        }
    }
}

/// One after the other waits for nobody, so each is a message of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_alone_waits_for_nobody() {
    let server = Server::start();
    let log = server.open().await;
    for n in 1..=20 {
        let appended = timeout(DEADLINE, log.append(event(n).into())).await;
        let id = appended.unwrap().unwrap().receipts[0].event_id;
        assert_eq!(id.sequence(), n * 1024);
    }
}
