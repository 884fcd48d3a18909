//! The connections and the log that they all send from.

use base64::Engine as _;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags};
use sha1::{Digest as _, Sha1};
use stoat_bench::{frame, http};

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// How far behind a client may be before it is dropped.
const BACKLOG: usize = 4 << 20;

#[derive(Default)]
pub(crate) struct Connections {
    all: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Positions of the WebSocket clients.
    clients: Vec<usize>,
    /// Frames that some client has not sent yet.
    log: Vec<u8>,
    /// How many bytes of the log are gone.
    base: u64,
    /// Whether the log holds frames that nobody has sent yet.
    news: bool,
    /// Clients whose socket is full.
    blocked: usize,
}

struct Connection {
    socket: OwnedFd,
    /// What has come of a request that is not whole yet.
    request: Vec<u8>,
    client: Option<Client>,
}

struct Client {
    /// Its position among the clients.
    seat: usize,
    /// The byte of the log that it sends next.
    cursor: u64,
    blocked: bool,
}

impl Connections {
    /// Takes a new connection; its position.
    pub(crate) fn add(&mut self, socket: OwnedFd) -> usize {
        let connection = Some(Connection {
            socket,
            request: Vec::new(),
            client: None,
        });
        match self.free.pop() {
            Some(position) => {
                self.all[position] = connection;
                position
            }
            None => {
                self.all.push(connection);
                self.all.len() - 1
            }
        }
    }

    pub(crate) fn socket(&self, position: usize) -> Option<&OwnedFd> {
        self.all[position].as_ref().map(|one| &one.socket)
    }

    pub(crate) fn close(&mut self, position: usize) {
        let Some(connection) = self.all[position].take() else {
            return;
        };
        self.free.push(position);
        let Some(client) = connection.client else {
            return;
        };
        self.blocked -= usize::from(client.blocked);
        self.clients.swap_remove(client.seat);
        if let Some(moved) = self.clients.get(client.seat)
            && let Some(moved) = &mut self.all[*moved]
            && let Some(moved) = &mut moved.client
        {
            moved.seat = client.seat;
        }
    }

    /// The socket has room again.
    pub(crate) fn writable(&mut self, position: usize) {
        if self.is_blocked(position) {
            self.send(position);
        }
    }

    fn is_blocked(&self, position: usize) -> bool {
        let connection = self.all[position].as_ref();
        let client = connection.and_then(|connection| connection.client.as_ref());
        client.is_some_and(|client| client.blocked)
    }

    /// Reads what is there, and up to the end where that has come.
    pub(crate) fn readable(&mut self, position: usize, buffer: &mut [u8], ended: bool) {
        loop {
            let Some(connection) = &mut self.all[position] else {
                return;
            };
            let count = match net::recv(&connection.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => return self.close(position),
                Ok((count, _)) => count,
                Err(Errno::AGAIN) => return,
                Err(_) => return self.close(position),
            };
            // Clients have nothing to say here: pongs and the like are not looked at.
            if connection.client.is_none() {
                let mut request = std::mem::take(&mut connection.request);
                request.extend_from_slice(&buffer[..count]);
                match self.requests(position, &request) {
                    Some(used) => {
                        request.drain(..used);
                        if let Some(connection) = &mut self.all[position] {
                            connection.request = if connection.client.is_some() {
                                Vec::new()
                            } else {
                                request
                            };
                        }
                    }
                    None => return self.close(position),
                }
            }
            if count < buffer.len() && !ended {
                return;
            }
        }
    }

    /// Answers whole requests; how many bytes they are, none when there is no sense in them.
    fn requests(&mut self, position: usize, bytes: &[u8]) -> Option<usize> {
        let mut used = 0;
        let mut answers = Vec::new();
        while let Some(head) = http::head(&bytes[used..]) {
            let start = used + head.len() + 4;
            if !head.starts_with("POST ") {
                let key = http::header(head, "sec-websocket-key")?;
                answers.extend_from_slice(switch(key).as_bytes());
                self.attach(position);
                used = start;
                break;
            }
            let end = start + http::body_length(head).ok()?;
            let Some(body) = bytes.get(start..end) else {
                break;
            };
            frame::write_header_of_server(&mut self.log, 1, body.len());
            self.log.extend_from_slice(body);
            self.news = true;
            answers.extend_from_slice(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
            used = end;
        }
        let socket = self.socket(position)?;
        if !answers.is_empty() {
            // A publisher that reads its answers leaves room for them.
            net::send(socket, &answers, SendFlags::NOSIGNAL).ok()?;
        }
        Some(used)
    }

    fn attach(&mut self, position: usize) {
        if let Some(connection) = &mut self.all[position] {
            connection.client = Some(Client {
                seat: self.clients.len(),
                cursor: self.base + self.log.len() as u64,
                blocked: false,
            });
            self.clients.push(position);
        }
    }

    /// Sends each client what it has not got.
    pub(crate) fn fan_out(&mut self) {
        if self.log.is_empty() {
            return;
        }
        let mut seat = 0;
        while self.news
            && let Some(position) = self.clients.get(seat).copied()
        {
            // One that is closed leaves its seat to another.
            seat += usize::from(self.is_blocked(position) || self.send(position));
        }
        self.news = false;
        self.trim();
    }

    /// Sends one client what it has not got, in one call; whether it is still there.
    fn send(&mut self, position: usize) -> bool {
        let Some(connection) = &mut self.all[position] else {
            return false;
        };
        let Some(client) = &mut connection.client else {
            return true;
        };
        let from = (client.cursor - self.base) as usize;
        let unsent = &self.log[from..];
        if unsent.is_empty() {
            return true;
        }
        match net::send(&connection.socket, unsent, SendFlags::NOSIGNAL) {
            Ok(count) => client.cursor += count as u64,
            Err(Errno::AGAIN) => {}
            Err(_) => {
                self.close(position);
                return false;
            }
        }
        let behind = client.cursor < self.base + self.log.len() as u64;
        if behind != client.blocked {
            client.blocked = behind;
            if behind {
                self.blocked += 1;
            } else {
                self.blocked -= 1;
            }
        }
        true
    }

    /// Forgets what all have sent, and drops those who are too far behind.
    fn trim(&mut self) {
        if self.blocked == 0 {
            self.base += self.log.len() as u64;
            self.log.clear();
        } else if self.log.len() > 2 * BACKLOG {
            let cut = self.log.len() - BACKLOG;
            let base = self.base + cut as u64;
            for position in self.clients.clone() {
                let connection = self.all[position].as_ref();
                let client = connection.and_then(|connection| connection.client.as_ref());
                if client.is_some_and(|client| client.cursor < base) {
                    self.close(position);
                }
            }
            self.log.drain(..cut);
            self.base = base;
        }
    }
}

fn switch(key: &str) -> String {
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let accept = base64::engine::general_purpose::STANDARD.encode(hash);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_key_of_the_standard_gets_its_answer() {
        let answer = super::switch("dGhlIHNhbXBsZSBub25jZQ==");
        assert!(answer.contains("Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"));
    }
}
