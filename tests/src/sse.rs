//! A reader of Server-Sent Events by hand: it shows what comes, line by line.

use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::event::Event;
use crate::http::{Connection, Request, Response};
use crate::server::Server;
use crate::wait::within;

/// What stands between two empty lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// An event.
    Event(Event),
    /// `retry:`, in milliseconds.
    Retry(u64),
    /// A comment.
    Comment,
}

/// A connection after the head of the answer.
#[derive(Debug)]
pub struct Sse {
    /// The head of the answer.
    pub head: Response,
    stream: TcpStream,
    unread: Vec<u8>,
    body: Body,
    retries: Vec<u64>,
}

/// The body of an answer as it comes in.
#[derive(Debug, Default)]
struct Body {
    text: Vec<u8>,
    ended: bool,
}

impl Sse {
    /// Asks for a stream, which there must be.
    pub async fn open(server: &Server, target: &str) -> Self {
        Self::ask(server, &Request::get(target)).await
    }

    /// As [`Sse::open`], with a request that may have further headers.
    pub async fn ask(server: &Server, request: &Request) -> Self {
        let connection = Connection::open(server.address()).await;
        Self::over(connection, request).await
    }

    /// As [`Sse::open`], with a receive buffer as small as the system allows.
    pub async fn open_narrow(address: SocketAddr, target: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(2048).expect("a small buffer");
        let stream = within("a TCP connection", socket.connect(address)).await;
        let connection = Connection::over(stream.expect("the server accepts"));
        Self::over(connection, &Request::get(target)).await
    }

    async fn over(mut connection: Connection, request: &Request) -> Self {
        connection.start(request).await;
        let head = connection.response(true).await;
        assert_eq!(head.status, 200, "{head:?}");
        let (stream, unread) = connection.into_parts();
        Self {
            head,
            stream,
            unread,
            body: Body::default(),
            retries: Vec::new(),
        }
    }

    /// The next block, or none where the stream has ended as it should.
    pub async fn block(&mut self) -> Option<Block> {
        loop {
            if let Some(block) = self.body.block() {
                return Some(block);
            }
            if self.body.ended {
                assert!(self.body.text.is_empty(), "cut within a block: {self:?}");
                return None;
            }
            if !self.body.take_chunks(&mut self.unread) {
                let read = self.stream.read_buf(&mut self.unread);
                let read = within("a part of a stream", read).await;
                assert!(matches!(read, Ok(1..)), "cut off: {read:?}");
            }
        }
    }

    /// The next event; none at the end of the stream.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.block().await? {
                Block::Event(event) => return Some(event),
                Block::Retry(after) => self.retries.push(after),
                Block::Comment => {}
            }
        }
    }

    /// The next event.
    pub async fn event(&mut self) -> Event {
        self.next().await.expect("an event before the end")
    }

    /// The next so many events.
    pub async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.event().await);
        }
        events
    }

    /// The times of `retry:` so far.
    pub fn retries(&self) -> &[u64] {
        &self.retries
    }

    /// Waits until the connection is gone, however it ends; what comes is thrown away.
    pub async fn gone(mut self) {
        let mut piece = [0; 4096];
        let all = async { while let Ok(1..) = self.stream.read(&mut piece).await {} };
        within("the end of a stream", all).await;
    }
}

impl Body {
    /// Takes the chunks that are complete; says whether there was one.
    fn take_chunks(&mut self, unread: &mut Vec<u8>) -> bool {
        let mut took = false;
        while let Some(line) = unread.windows(2).position(|two| two == b"\r\n") {
            let size = std::str::from_utf8(&unread[..line]).expect("a chunk's size");
            let size = usize::from_str_radix(size, 16).expect("a chunk's size");
            let end = line + 2 + size;
            if unread.len() < end + 2 {
                break;
            }
            self.text.extend(&unread[line + 2..end]);
            self.ended = size == 0;
            unread.drain(..end + 2);
            took = true;
        }
        took
    }

    fn block(&mut self) -> Option<Block> {
        let end = self.text.windows(2).position(|two| two == b"\n\n")?;
        let block: Vec<u8> = self.text.drain(..end + 2).collect();
        Some(Block::parse(std::str::from_utf8(&block).expect("text")))
    }
}

impl Block {
    /// Reads a block with its empty line; the test fails where it is not as the server writes it.
    pub fn parse(text: &str) -> Self {
        if text == ":\n\n" {
            return Self::Comment;
        }
        if let Some(after) = text.strip_prefix("retry: ") {
            return Self::Retry(after.trim_end().parse().expect("milliseconds"));
        }
        let mut lines = text.split('\n');
        let mut field = |name: &str| {
            let line = lines.next().and_then(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name}… in {text:?}"))
        };
        let (id, name, data) = (field("id: "), field("event: "), field("data: "));
        assert_eq!(lines.collect::<String>(), "", "{text:?}");
        let event = Event::parse(data);
        assert_eq!((event.id.as_str(), event.event_type.as_str()), (id, name));
        Self::Event(event)
    }
}
