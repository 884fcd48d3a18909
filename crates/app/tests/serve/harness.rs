//! A server in this process, and a client that sees every byte.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use stoat_app::serve::{ServeError, Server};
use stoat_app::settings::{Flags, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Nothing in these tests takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), ServeError>>,
}

/// Starts a server on a free port; `settings` are environment variables without their prefix.
pub(crate) fn start(settings: &[(&str, &str)]) -> Running {
    let environment = settings
        .iter()
        .map(|(key, value)| (format!("STOAT_{key}"), (*value).to_owned()))
        .chain([("STOAT_LISTEN".to_owned(), "127.0.0.1:0".to_owned())]);
    let loaded = Settings::load(&Flags::default(), environment, |_| unreachable!()).unwrap();
    assert_eq!(loaded.warnings, [""; 0]);
    let server = Server::bind(&loaded.settings).unwrap();
    let address = server.address();
    let (stop, stopped) = oneshot::channel();
    let served = stoat_correlation::spawn(server.run(async {
        let _ = stopped.await;
    }));
    Running {
        address,
        stop: Some(stop),
        served,
    }
}

impl Running {
    pub(crate) async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap(), Vec::new())
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, request: &str) -> Answer {
        let mut client = self.connect().await;
        client.send(request).await;
        client.answer().await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await
    }

    pub(crate) async fn publish(&self, body: &str) -> Answer {
        self.ask(&post("application/json", "", body)).await
    }

    /// Asks the server to stop; [`stopped`](Self::stopped) waits for it.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn stopped(self) {
        timeout(PATIENCE, self.served)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

/// A publish; `headers` end with CRLF each.
pub(crate) fn post(content_type: &str, headers: &str, body: &str) -> String {
    format!(
        "POST /api/v1/events HTTP/1.1\r\nhost: a\r\ncontent-type: {content_type}\r\n{headers}\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// One connection, and what was read of it and not yet used.
pub(crate) struct Client(TcpStream, Vec<u8>);

impl Client {
    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Sends what may be refused halfway.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    /// Says that nothing more will be sent; what is answered can still be read.
    pub(crate) async fn end_sending(&mut self) {
        self.0.shutdown().await.unwrap();
    }

    /// Reads one answer, interim ones included.
    pub(crate) async fn answer(&mut self) -> Answer {
        let head = loop {
            if let Some(end) = self.1.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.1.drain(..end + 4).collect();
                break String::from_utf8(head).unwrap();
            }
            assert!(self.read().await > 0, "closed: {:?}", self.1);
        };
        let mut answer = Answer {
            head,
            body: String::new(),
        };
        let length = match (answer.status(), answer.header("content-length")) {
            (100 | 101 | 204, _) | (_, None) => 0,
            (_, Some(length)) => length.parse().unwrap(),
        };
        let body = self.take(length).await;
        answer.body = String::from_utf8(body).unwrap();
        answer
    }

    /// Reads one answer with a body; nothing where the connection ends before it does.
    pub(crate) async fn try_answer(&mut self) -> Option<Answer> {
        while !self.1.windows(4).any(|four| four == b"\r\n\r\n") {
            if self.read().await == 0 {
                return None;
            }
        }
        let end = self.1.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let answer = Answer {
            head: String::from_utf8(self.1[..end].to_vec()).ok()?,
            body: String::new(),
        };
        let length: usize = answer.header("content-length")?.parse().ok()?;
        while self.1.len() < end + length {
            if self.read().await == 0 {
                return None;
            }
        }
        self.1.drain(..end + length);
        Some(answer)
    }

    pub(crate) async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.1.len() < length {
            assert!(self.read().await > 0, "closed: {:?}", self.1);
        }
        self.1.drain(..length).collect()
    }

    /// The next WebSocket frame of a server: its first byte and its payload.
    pub(crate) async fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.take(2).await;
        let length = match head[1] {
            126 => {
                let length = self.take(2).await;
                u16::from_be_bytes([length[0], length[1]]).into()
            }
            short => usize::from(short),
        };
        (head[0], self.take(length).await)
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> Value {
        let (first, payload) = self.frame().await;
        assert_eq!(first, 0x81, "{payload:?}");
        serde_json::from_slice(&payload).unwrap()
    }

    /// Whether the server has closed or reset the connection, with nothing more to read.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.1.is_empty() && self.read().await == 0
    }

    async fn read(&mut self) -> usize {
        let read = self.0.read_buf(&mut self.1);
        // A reset is an end too.
        timeout(PATIENCE, read).await.unwrap().unwrap_or(0)
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that this is a problem of this status, and returns it.
    pub(crate) fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status(), status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(
            problem["correlation_id"].as_str(),
            self.header("x-correlation-id"),
            "{self:?}"
        );
        for member in ["type", "title", "detail"] {
            assert!(!problem[member].as_str().unwrap().is_empty(), "{self:?}");
        }
        problem
    }
}
