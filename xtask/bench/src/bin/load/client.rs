//! One WebSocket client: its handshake, and which events it got.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use stoat_bench::http;

/// The key of every handshake and the answer to it, from RFC 6455.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// How many clients have the same address: it takes the kernel long to find the last free ports.
const PER_SOURCE: usize = 10_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Connecting,
    Handshake,
    Open,
    Closed,
}

pub(crate) struct Client {
    pub(crate) socket: Option<OwnedFd>,
    pub(crate) state: State,
    /// What has come of a frame that is not whole yet.
    pub(crate) rest: Vec<u8>,
    /// Where the marker was in the last message.
    pub(crate) place: usize,
    pub(crate) got: Got,
}

/// How an event compares with those before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Next,
    Late,
    Again,
}

/// The events that one client got.
#[derive(Default)]
pub(crate) struct Got {
    pub(crate) count: u64,
    /// One more than the highest number.
    next: u64,
    /// Bit k stands for the event `next - 1 - k`.
    recent: u128,
}

impl Got {
    pub(crate) fn add(&mut self, number: u64) -> Arrival {
        if let Some(skipped) = number.checked_sub(self.next) {
            self.recent = match skipped {
                0..127 => (self.recent << (skipped + 1)) | 1,
                _ => 1,
            };
            self.next = number + 1;
            self.count += 1;
            return Arrival::Next;
        }
        let age = self.next - 1 - number;
        // One that is older than what we remember can only be told by the total.
        if age >= 128 || self.recent >> age & 1 == 1 {
            return Arrival::Again;
        }
        self.recent |= 1 << age;
        self.count += 1;
        Arrival::Late
    }

    /// Whether it got an event of the last 128.
    pub(crate) fn has(&self, number: u64) -> bool {
        let age = self.next.checked_sub(number + 1);
        age.is_some_and(|age| age < 128 && self.recent >> age & 1 == 1)
    }
}

impl Client {
    /// Begins to connect the client of a number.
    pub(crate) fn connect(address: SocketAddrV4, number: usize) -> Result<Self, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        net::sockopt::set_tcp_nodelay(&socket, true)?;
        let source = number / PER_SOURCE;
        if source > 0 && address.ip().is_loopback() {
            // Another one for each server.
            let [.., server] = address.ip().octets();
            let source = Ipv4Addr::new(127, 1, server, source as u8);
            net::bind(&socket, &SocketAddrV4::new(source, 0))?;
        }
        match net::connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        Ok(Self {
            socket: Some(socket),
            state: State::Connecting,
            rest: Vec::new(),
            place: 0,
            got: Got::default(),
        })
    }
}

/// The request that opens a WebSocket.
pub(crate) fn upgrade(address: SocketAddrV4, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

/// The length of the answer to the request, once it is there.
pub(crate) fn upgraded(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(head) = http::head(bytes) else {
        return Ok(None);
    };
    let accepted = http::header(head, "sec-websocket-accept") == Some(ACCEPT);
    if head.starts_with("HTTP/1.1 101") && accepted {
        Ok(Some(head.len() + 4))
    } else {
        let line = head.lines().next().unwrap_or_default();
        Err(format!("the server refuses to upgrade: {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_and_repeated_events_are_told_apart() {
        let mut got = Got::default();
        for (number, arrival) in [
            (0, Arrival::Next),
            (0, Arrival::Again),
            (3, Arrival::Next),
            (2, Arrival::Late),
            (2, Arrival::Again),
            (500, Arrival::Next),
            (3, Arrival::Again),
            (499, Arrival::Late),
        ] {
            assert_eq!(got.add(number), arrival, "{number}");
        }
        assert_eq!(got.count, 5);
        assert!(got.has(500) && got.has(499));
        assert!(!got.has(498) && !got.has(501));
    }

    #[test]
    fn only_the_right_answer_opens() {
        let good = format!("HTTP/1.1 101 X\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n\x01");
        assert_eq!(upgraded(good.as_bytes()), Ok(Some(good.len() - 1)));
        assert_eq!(upgraded(&good.as_bytes()[..30]), Ok(None));
        assert!(upgraded(b"HTTP/1.1 101 X\r\n\r\n").is_err());
        assert!(upgraded(b"HTTP/1.1 503 X\r\n\r\n").is_err());
    }
}
