//! A small HTTP/1.1 client that hides nothing: what it sends is what the test wrote.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::Server;
use crate::wait::within;

/// A request; `Host` and `Content-Length` are added unless they are given.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// Any method, on a path with its query.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// A `GET`.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A publish of JSON: one event, or an array.
    pub fn publish(body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", "/api/v1/events").body("application/json", body)
    }

    /// A publish of NDJSON.
    pub fn publish_lines(body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", "/api/v1/events").body("application/x-ndjson", body)
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a body with its content type.
    pub fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut request = self.header("Content-Type", content_type);
        request.body = Some(body.into());
        request
    }

    /// Sends it over a new connection.
    pub async fn send(&self, server: &Server) -> Response {
        self.send_to(server.address()).await
    }

    /// Sends it to an address over a new connection.
    pub async fn send_to(&self, address: SocketAddr) -> Response {
        Connection::open(address).await.send(self).await
    }

    fn bytes(&self, address: SocketAddr) -> Vec<u8> {
        let given = |name: &str| {
            self.headers
                .iter()
                .any(|(n, _)| n.eq_ignore_ascii_case(name))
        };
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !given("Host") {
            head += &format!("Host: {address}\r\n");
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = &self.body
            && !given("Content-Length")
            && !given("Transfer-Encoding")
        {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// A connection that stays open from request to request.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    unread: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = within("a TCP connection", TcpStream::connect(address)).await;
        Self::over(stream.expect("the server accepts"))
    }

    /// Uses a socket that is connected already.
    pub fn over(stream: TcpStream) -> Self {
        // The server may have ended it by now.
        let _ = stream.set_nodelay(true);
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let address = stream.peer_addr().unwrap_or(nowhere);
        Self {
            stream,
            address,
            unread: Vec::new(),
        }
    }

    /// Sends a request and reads its response.
    pub async fn send(&mut self, request: &Request) -> Response {
        let head_only = request.method == "HEAD";
        self.write(&request.bytes(self.address)).await;
        self.response(head_only).await
    }

    /// Ends our half.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.expect("an open socket");
    }

    /// Sends bytes as they are; a server that has hung up already is no error here.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _ = within("room for a request", self.stream.write_all(bytes)).await;
    }

    /// Sends a request and waits for nothing.
    pub async fn start(&mut self, request: &Request) {
        self.write(&request.bytes(self.address)).await;
    }

    /// As [`Connection::send`], unless the other side ends the connection instead.
    pub async fn try_send(&mut self, request: &Request) -> Option<Response> {
        self.write(&request.bytes(self.address)).await;
        if !self.fill().await {
            return None;
        }
        Some(self.response(false).await)
    }

    /// Reads a response.
    pub async fn response(&mut self, head_only: bool) -> Response {
        let head = loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                break self.take(end + 4);
            }
            assert!(
                self.fill().await,
                "closed within a response's head: {self:?}"
            );
        };
        let mut response = Response::from_head(&head);
        let empty = head_only || matches!(response.status, 100 | 101 | 204 | 304);
        if empty {
        } else if response.header("transfer-encoding") == Some("chunked") {
            response.body = self.chunks().await;
        } else if let Some(length) = response.header("content-length") {
            let length: usize = length.parse().expect("a length");
            self.want(length).await;
            response.body = self.take(length);
        } else {
            while self.fill().await {}
            response.body = std::mem::take(&mut self.unread);
        }
        response
    }

    /// Waits until the other side has closed the connection; returns what came before.
    pub async fn rest(mut self) -> Vec<u8> {
        while self.fill().await {}
        self.unread
    }

    /// The socket, and what was read of it beyond the last response.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.unread)
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(end) = find(&self.unread, b"\r\n") {
                    break self.take(end + 2);
                }
                assert!(self.fill().await, "closed within a chunk's head");
            };
            let size = String::from_utf8(line).expect("a chunk's head");
            let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
            self.want(size + 2).await;
            body.extend(self.take(size));
            assert_eq!(self.take(2), b"\r\n");
            if size == 0 {
                return body;
            }
        }
    }

    async fn want(&mut self, length: usize) {
        while self.unread.len() < length {
            assert!(self.fill().await, "closed within a body: {self:?}");
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.unread.split_off(length);
        std::mem::replace(&mut self.unread, rest)
    }

    async fn fill(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.unread);
        matches!(within("a response", read).await, Ok(1..))
    }
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The protocol version as it was sent.
    pub version: String,
    /// All headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
}

impl Response {
    fn from_head(head: &[u8]) -> Self {
        let head = String::from_utf8(head.to_vec()).expect("a head in ASCII");
        let mut lines = head.trim_end().split("\r\n");
        let mut status = lines.next().unwrap_or_default().splitn(3, ' ');
        let version = status.next().unwrap_or_default().to_owned();
        let status = status.next().and_then(|code| code.parse().ok());
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').expect("a header");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        Self {
            status: status.expect("a status line"),
            version,
            headers: headers.collect(),
            body: Vec::new(),
        }
    }

    /// The one header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let value = values.next();
        assert!(values.next().is_none(), "{name} twice: {self:?}");
        value.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text in UTF-8")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of an error, checked for what all errors have in common.
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?} {:?}", self.text());
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        for field in ["type", "title", "detail", "correlation_id"] {
            let text = problem[field].as_str();
            assert!(text.is_some_and(|t| !t.is_empty()), "{field} in {problem}");
        }
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(
            problem["correlation_id"].as_str(),
            self.header("x-correlation-id"),
            "{problem}"
        );
        problem
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
