//! A WebSocket client in Rust.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Response};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

use crate::event::Event;
use crate::server::Server;
use crate::wait::within;

/// A connected client.
#[derive(Debug)]
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    response: Response<Option<Vec<u8>>>,
    newest: Option<String>,
}

impl Client {
    /// Connects to a path of the server.
    pub async fn connect(server: &Server, target: &str) -> Self {
        Self::connect_with(server.address(), target, &[]).await
    }

    /// Connects with further headers.
    pub async fn connect_with(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Self {
        let mut request = format!("ws://{address}{target}")
            .into_client_request()
            .expect("a request");
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a header's name");
            let value: HeaderValue = value.parse().expect("a header's value");
            request.headers_mut().append(name, value);
        }
        let stream = within("a TCP connection", TcpStream::connect(address)).await;
        let stream = stream.expect("the server accepts");
        let handshake = tokio_tungstenite::client_async(request, stream);
        let (socket, response) = within("the handshake", handshake)
            .await
            .unwrap_or_else(|error| panic!("the handshake on {target}: {error:?}"));
        Self {
            socket,
            response,
            newest: None,
        }
    }

    /// A header of the 101.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The next message; pings are answered on the way.
    pub async fn message(&mut self) -> Message {
        loop {
            let message = within("a message", self.socket.next()).await;
            match message.expect("an open connection") {
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(message) => return message,
                Err(error) => panic!("a message, not {error}"),
            }
        }
    }

    /// The next text.
    pub async fn text(&mut self) -> String {
        match self.message().await {
            Message::Text(text) => text.to_string(),
            other => panic!("a text, not {other:?}"),
        }
    }

    /// The next event.
    pub async fn event(&mut self) -> Event {
        let event = Event::parse(&self.text().await);
        self.newest = Some(event.id.clone());
        event
    }

    /// The next so many events.
    pub async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.event().await);
        }
        events
    }

    /// The `event_id` of the newest event it got.
    pub fn newest(&self) -> Option<&str> {
        self.newest.as_deref()
    }

    /// Sends a text.
    pub async fn send(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    /// Sends a message.
    pub async fn send_message(&mut self, message: Message) {
        within("room for a message", self.socket.send(message))
            .await
            .expect("an open connection");
    }

    /// Sends `{"action":"ping"}` and waits for the answer: all that was sent before has been read.
    pub async fn ping(&mut self) {
        self.send(r#"{"action":"ping"}"#).await;
        assert_eq!(self.text().await, r#"{"action":"pong"}"#);
    }

    /// Reads on until the server closes; returns the events that came before, and its Close.
    pub async fn closed(&mut self) -> (Vec<Event>, Option<CloseFrame>) {
        let mut events = Vec::new();
        loop {
            match self.message().await {
                Message::Text(text) => events.push(Event::parse(&text)),
                Message::Close(frame) => {
                    // Reading on lets the answer out, and waits for the end of the connection.
                    while let Some(Ok(_)) = within("the end", self.socket.next()).await {}
                    return (events, frame);
                }
                other => panic!("an event or a Close, not {other:?}"),
            }
        }
    }

    /// Whether the connection, left alone, is still open after so long; pings are answered.
    pub async fn outlives(&mut self, time: Duration) -> bool {
        let end = async { while let Some(Ok(_)) = self.socket.next().await {} };
        tokio::time::timeout(time, end).await.is_err()
    }

    /// Closes as it should be done.
    pub async fn close(mut self) {
        within("a clean end", async {
            let _ = self.socket.close(None).await;
            while let Some(Ok(_)) = self.socket.next().await {}
        })
        .await;
    }

    /// Cuts the connection: the server sees a reset.
    pub fn cut(self) {
        let _ = self.socket.get_ref().set_zero_linger();
    }
}
