//! A WebSocket connection by hand: for frames and handshakes that no library would send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::http::{Connection, Response};
use crate::server::Server;
use crate::wait::within;

/// A key that RFC 6455 gives as an example.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The answer to [`KEY`].
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A frame as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The first byte: FIN, the reserved bits and the opcode.
    pub head: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a Close frame; the test fails for any other frame.
    pub fn close_code(&self) -> u16 {
        assert_eq!(self.head, 0x88, "a Close frame, not {self:?}");
        let code = self.payload.first_chunk().expect("a code");
        u16::from_be_bytes(*code)
    }

    /// The payload as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("text")
    }
}

/// A connection after the 101.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Raw {
    /// The request of a correct handshake on `target`, with further header lines.
    pub fn handshake(server: &Server, target: &str, headers: &str) -> String {
        Self::handshake_to(server.address(), target, headers)
    }

    fn handshake_to(address: SocketAddr, target: &str, headers: &str) -> String {
        format!(
            "GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {KEY}\r\n{headers}\r\n"
        )
    }

    /// Upgrades a new connection to `target`.
    pub async fn open(server: &Server, target: &str) -> Self {
        Self::open_to(server.address(), target).await
    }

    /// As [`Raw::open`], for an address.
    pub async fn open_to(address: SocketAddr, target: &str) -> Self {
        Self::over(Connection::open(address).await, address, target).await
    }

    /// As [`Raw::open`], with a receive buffer as small as the system allows.
    pub async fn open_narrow(server: &Server, target: &str) -> Self {
        Self::open_narrow_to(server.address(), target).await
    }

    /// As [`Raw::open_narrow`], for an address.
    pub async fn open_narrow_to(address: SocketAddr, target: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(2048).expect("a small buffer");
        let stream = within("a TCP connection", socket.connect(address)).await;
        let connection = Connection::over(stream.expect("the server accepts"));
        Self::over(connection, address, target).await
    }

    async fn over(connection: Connection, address: SocketAddr, target: &str) -> Self {
        let request = Self::handshake_to(address, target, "");
        let (raw, response) = Self::upgrade(connection, &request).await;
        raw.unwrap_or_else(|| panic!("an upgrade, not {response:?}"))
    }

    /// Sends a handshake as it is given; there is a connection if the answer is 101.
    pub async fn upgrade(mut connection: Connection, request: &str) -> (Option<Self>, Response) {
        connection.write(request.as_bytes()).await;
        let response = connection.response(false).await;
        let raw = (response.status == 101).then(|| {
            let (stream, unread) = connection.into_parts();
            Self { stream, unread }
        });
        (raw, response)
    }

    /// Sends bytes as they are; a server that has hung up already is no error here.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _ = within("room for bytes", self.stream.write_all(bytes)).await;
    }

    /// Sends a masked frame that starts with this byte.
    pub async fn send(&mut self, head: u8, payload: &[u8]) {
        let mut frame = header(head, payload.len());
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        self.write(&frame).await;
    }

    /// The next frame, or none if the connection ends before one.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, length)) = parse(&self.unread) {
                self.unread.drain(..length);
                return Some(frame);
            }
            let read = self.stream.read_buf(&mut self.unread);
            if !matches!(within("a frame", read).await, Ok(1..)) {
                return None;
            }
        }
    }

    /// Makes its end a reset.
    pub fn cut(&self) {
        let _ = self.stream.set_zero_linger();
    }

    /// Waits until the connection has ended; the test fails if a frame comes before.
    pub async fn ended(&mut self) {
        assert_eq!(self.frame().await, None);
    }

    /// The code of the Close that must come next; then the connection must end.
    pub async fn close_code(&mut self) -> u16 {
        let frame = self.frame().await.expect("a Close before the end");
        self.send(0x88, &frame.payload).await;
        self.ended().await;
        frame.close_code()
    }
}

/// The header of a masked frame, up to the mask.
pub fn header(head: u8, length: usize) -> Vec<u8> {
    let mut header = vec![head];
    match u16::try_from(length) {
        Ok(short @ 0..=125) => header.push(0x80 | short as u8),
        Ok(medium) => {
            header.push(0x80 | 126);
            header.extend(medium.to_be_bytes());
        }
        Err(_) => {
            header.push(0x80 | 127);
            header.extend((length as u64).to_be_bytes());
        }
    }
    header
}

fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&head, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    assert!(length < 0x80, "a server's frames are not masked");
    let (length, rest) = match length {
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*length) as usize, rest)
        }
        short => (usize::from(short), rest),
    };
    let payload = rest.get(..length)?.to_vec();
    let used = bytes.len() - rest.len() + length;
    Some((Frame { head, payload }, used))
}
