//! A WebSocket client that waits for events, and says what came instead.

use std::fmt;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::de::DeserializeOwned;
use stoat_events::{EventType, ReceivedEvent, TypedEvent};
use stoat_ws_hub::ConnectionManager;
use tokio::io::DuplexStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Message;

use crate::pipe;

/// Far longer than anything in memory takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a test shows of what came before.
const SHOWN: usize = 20;

/// One client of a hub.
///
/// It takes what the hub sends only while it is asked for an event, as a slow browser would.
/// Dropping it ends the connection.
///
/// ```
/// # use serde_json::json;
/// # use stoat_events::{EventType, build_event};
/// use stoat_test_kit::TestClient;
/// use stoat_ws_hub::ConnectionManager;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let hub = ConnectionManager::in_memory();
/// let mut client = TestClient::connect(&hub, "/ws").await;
/// # for name in [EventType::ScanStarted, EventType::ScanCompleted] {
/// #     hub.broadcast(build_event(name, &json!({}), None).unwrap()).await.unwrap();
/// # }
/// // … the service under test scans …
/// let done = client.event_of("scan_completed").await;
/// assert_eq!(done.correlation_id, None);
/// client.nothing_more().await;
/// # }
/// ```
pub struct TestClient {
    socket: WebSocketStream<DuplexStream>,
    /// What came, for messages.
    seen: Vec<String>,
}

impl TestClient {
    /// Connects; `target` is a path with its query, such as `/ws?types=scan_started`.
    ///
    /// # Panics
    /// Where the hub refuses the handshake.
    pub async fn connect(hub: &ConnectionManager, target: &str) -> Self {
        let request = format!("ws://hub.test{target}");
        let request = request.into_client_request().expect("a path and its query");
        let handshake = tokio_tungstenite::client_async(request, pipe::open(hub));
        match within("the handshake", handshake).await {
            Ok((socket, _)) => Self {
                socket,
                seen: Vec::new(),
            },
            Err(error) => panic!("the hub refuses {target}: {error}"),
        }
    }

    /// The next event that is no heartbeat.
    ///
    /// # Panics
    /// Where none comes within five seconds, or the connection ends.
    pub async fn event(&mut self) -> ReceivedEvent {
        let waited = timeout(PATIENCE, self.next()).await;
        match waited {
            Ok(Some(event)) => event,
            Ok(None) => panic!("the hub closed the connection; {}", self.seen()),
            Err(_) => panic!("no event within {PATIENCE:?}; {}", self.seen()),
        }
    }

    /// The next event of this type; others before it are passed over.
    ///
    /// # Panics
    /// As [`event`](Self::event).
    pub async fn event_of(&mut self, event_type: &str) -> ReceivedEvent {
        loop {
            let event = self.event().await;
            if event.event_type.as_str() == event_type {
                return event;
            }
        }
    }

    /// The payload of the next event of this type of your own.
    ///
    /// # Panics
    /// As [`event`](Self::event), and where the payload is not of that shape.
    pub async fn typed<E: TypedEvent + DeserializeOwned>(&mut self) -> E {
        let event = self.event_of(E::TYPE).await;
        match event.typed() {
            Some(Ok(typed)) => typed,
            _ => panic!(
                "not the payload of a {}: {}",
                E::TYPE,
                event.payload.as_json()
            ),
        }
    }

    /// Checks that all that was published until now has been looked at, as far as the client's
    /// filters let it through.
    ///
    /// # Panics
    /// Where there is another event.
    pub async fn nothing_more(&mut self) {
        // The answer comes after all that was published before.
        self.send(r#"{"action":"ping"}"#).await;
        let waited = timeout(PATIENCE, self.message()).await;
        match waited {
            Ok(Some(text)) if ReceivedEvent::decode(&text).is_err() => {}
            Ok(Some(text)) => panic!("one event more: {text}"),
            Ok(None) => panic!("the hub closed the connection; {}", self.seen()),
            Err(_) => panic!("no answer within {PATIENCE:?}; {}", self.seen()),
        }
    }

    /// Sends a control message, such as `{"action":"subscribe","topics":["a.*"]}`.
    ///
    /// # Panics
    /// Where the connection has ended.
    pub async fn send(&mut self, text: &str) {
        let sent = self.socket.send(Message::text(text)).await;
        sent.expect("an open connection");
    }

    /// Waits for the end of the connection; the code of the Close, where there was one.
    ///
    /// # Panics
    /// Where it does not end within five seconds.
    pub async fn closed(mut self) -> Option<u16> {
        within("the end of the connection", async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return None,
                }
            }
        })
        .await
    }

    async fn next(&mut self) -> Option<ReceivedEvent> {
        loop {
            let text = self.message().await?;
            // What is no event answers a control message.
            if let Ok(event) = ReceivedEvent::decode(&text) {
                return Some(event);
            }
        }
    }

    /// The next text that is no heartbeat.
    async fn message(&mut self) -> Option<String> {
        loop {
            let Message::Text(text) = self.socket.next().await?.ok()? else {
                continue;
            };
            let event = ReceivedEvent::decode(&text);
            if !event.is_ok_and(|event| event.event_type == EventType::Heartbeat) {
                self.seen.push(text.to_string());
                return Some(text.to_string());
            }
        }
    }

    fn seen(&self) -> String {
        match self.seen.len() {
            0 => "none came before".to_owned(),
            count => format!(
                "{count} came before, at last:\n{}",
                self.seen[count.saturating_sub(SHOWN)..].join("\n")
            ),
        }
    }
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what} did not come within {PATIENCE:?}"),
    }
}

impl fmt::Debug for TestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestClient")
            .field("seen", &self.seen.len())
            .finish_non_exhaustive()
    }
}
