//! Publishers and readers of several servers that share one log, through whatever happens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use crate::checker::{Attempt, Checker, Publisher, Report};
use crate::event::Event;
use crate::http::{Connection, Request};
use crate::wait::{eventually, within};

/// Between two events of one publisher: so that a run of half a minute is no flood.
const PACE: Duration = Duration::from_millis(5);
/// The type of the event that ends a run.
const END: &str = "the_end";

/// Publishers that publish until they are told to stop.
#[derive(Debug)]
pub struct Publishers {
    tasks: Vec<JoinHandle<(Publisher, Duration)>>,
    stop: Arc<AtomicUsize>,
    acknowledged: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl Publishers {
    /// Starts so many for each address.
    pub fn start(addresses: &[SocketAddr], each: usize) -> Self {
        let mut publishers = Self {
            tasks: Vec::new(),
            stop: Arc::default(),
            acknowledged: Arc::default(),
            refused: Arc::default(),
        };
        for (number, address) in (0..addresses.len() * each).zip(addresses.iter().cycle()) {
            publishers.tasks.push(tokio::spawn(publish(
                Publisher::new(number),
                *address,
                Arc::clone(&publishers.stop),
                Arc::clone(&publishers.acknowledged),
                Arc::clone(&publishers.refused),
            )));
        }
        publishers
    }

    /// Waits until so many more were acknowledged.
    pub async fn acknowledge(&self, more: usize) {
        let goal = self.acknowledged.load(Ordering::SeqCst) + more;
        eventually(&format!("{more} more acknowledgements"), async || {
            (self.acknowledged.load(Ordering::SeqCst) >= goal).then_some(())
        })
        .await;
    }

    /// Waits until one more was not acknowledged.
    pub async fn refuse(&self) {
        let goal = self.refused.load(Ordering::SeqCst) + 1;
        eventually("a refusal", async || {
            (self.refused.load(Ordering::SeqCst) >= goal).then_some(())
        })
        .await;
    }

    /// Stops them; what became of their events, and the longest time that an answer took.
    pub async fn stop(self) -> (Vec<Publisher>, Duration) {
        self.stop.store(1, Ordering::SeqCst);
        let mut publishers = Vec::new();
        let mut longest = Duration::ZERO;
        for task in self.tasks {
            let (publisher, took) = within("a publisher ends", task).await.unwrap();
            publishers.push(publisher);
            longest = longest.max(took);
        }
        (publishers, longest)
    }
}

async fn publish(
    mut publisher: Publisher,
    address: SocketAddr,
    stop: Arc<AtomicUsize>,
    acknowledged: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
) -> (Publisher, Duration) {
    let mut longest = Duration::ZERO;
    let mut connection = Connection::open(address).await;
    while stop.load(Ordering::SeqCst) == 0 {
        let start = Instant::now();
        match publisher.publish(&mut connection).await {
            Attempt::Acknowledged(_) => acknowledged.fetch_add(1, Ordering::SeqCst),
            Attempt::Refused(503) | Attempt::Unknown => refused.fetch_add(1, Ordering::SeqCst),
            Attempt::Refused(status) => panic!("refused with {status}"),
        };
        longest = longest.max(start.elapsed());
        if stop.load(Ordering::SeqCst) == 0 && TcpStream::connect(address).await.is_err() {
            // Its server is gone for good.
            break;
        }
        tokio::time::sleep(PACE).await;
    }
    (publisher, longest)
}

/// A reader that goes to the next server, and resumes there, when its own is gone.
#[derive(Debug)]
pub struct Reader {
    task: JoinHandle<Vec<Event>>,
}

impl Reader {
    /// Connects to the first address.
    pub async fn start(addresses: &[SocketAddr]) -> Self {
        let (connected, is_connected) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(read(addresses.to_vec(), connected));
        within("a reader connects", is_connected)
            .await
            .expect("a reader");
        Self { task }
    }

    /// All that it saw up to the event that ended the run.
    pub async fn events(self) -> Vec<Event> {
        within("a reader sees the end", self.task).await.unwrap()
    }
}

async fn read(
    addresses: Vec<SocketAddr>,
    connected: tokio::sync::oneshot::Sender<()>,
) -> Vec<Event> {
    let mut connected = Some(connected);
    let mut seen: Vec<Event> = Vec::new();
    for address in addresses.iter().cycle() {
        let after = seen.last().map_or("earliest", |event| &event.id);
        let url = format!("ws://{address}/ws?last_event_id={after}");
        let Ok(stream) = TcpStream::connect(address).await else {
            tokio::time::sleep(PACE).await;
            continue;
        };
        // A server that is not ready refuses the handshake.
        let Ok((mut socket, _)) = tokio_tungstenite::client_async(url, stream).await else {
            tokio::time::sleep(PACE).await;
            continue;
        };
        if let Some(connected) = connected.take() {
            let _ = connected.send(());
        }
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else {
                continue;
            };
            let event = Event::parse(&text);
            if event.event_type == END {
                return seen;
            }
            seen.push(event);
        }
    }
    seen
}

/// Ends a run: every reader must have seen what was acknowledged, in one order, once.
pub async fn check(publishers: &[Publisher], readers: Vec<Reader>, server: SocketAddr) {
    let body = format!(r#"{{"type":"{END}"}}"#);
    eventually("the last event is published", async || {
        let answer = Request::publish(body.clone()).send_to(server).await;
        (answer.status == 201).then_some(())
    })
    .await;
    let mut all = Vec::new();
    for reader in readers {
        all.push(reader.events().await);
    }
    let reference = history(server).await;
    for (n, seen) in all.iter().enumerate() {
        let mut checker = Checker::sparse();
        for event in seen {
            assert_ne!(event.event_type, "gap", "reader {n}: {event:?}");
            checker.saw(event, publishers);
        }
        let report = checker.end_against(publishers, &reference);
        assert_eq!(report, Report::default(), "reader {n} of {}", all.len());
    }
    let acknowledged: usize = publishers.iter().map(Publisher::acknowledged).sum();
    assert!(acknowledged > 0, "nothing was acknowledged");
}

/// All that is retained, page by page.
pub async fn history(server: SocketAddr) -> Vec<Event> {
    let mut events = Vec::new();
    let mut after = "earliest".to_owned();
    loop {
        let target = format!("/api/v1/events?limit=1000&after={after}");
        let page = Request::get(&target).send_to(server).await;
        assert_eq!(page.status, 200, "{page:?}");
        let text = page.text();
        let fields: std::collections::HashMap<&str, &serde_json::value::RawValue> =
            serde_json::from_str(&text).expect("a page");
        let raw: Vec<&serde_json::value::RawValue> =
            serde_json::from_str(fields["events"].get()).expect("events");
        events.extend(raw.iter().map(|raw| Event::parse(raw.get())));
        match serde_json::from_str(fields["next"].get()).expect("next") {
            Some(next) => after = next,
            None => return events,
        }
    }
}
