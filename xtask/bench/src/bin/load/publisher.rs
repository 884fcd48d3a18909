//! The publisher: one HTTP connection that is kept, with requests sent before the last is answered.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use stoat_bench::histogram::Histogram;
use stoat_bench::http;
use stoat_bench::marker::Template;

pub(crate) struct Publisher {
    pub(crate) socket: OwnedFd,
    head: String,
    out: Vec<u8>,
    written: usize,
    answers: Vec<u8>,
    /// When the requests without an answer were due.
    open: VecDeque<u64>,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) answer: Histogram,
}

impl Publisher {
    pub(crate) fn connect(
        address: SocketAddrV4,
        path: &str,
        size: usize,
    ) -> Result<Self, std::io::Error> {
        let flags = SocketFlags::CLOEXEC;
        let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        net::sockopt::set_tcp_nodelay(&socket, true)?;
        net::connect(&socket, &address)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self {
            socket,
            head: format!(
                "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
                 Content-Length: {size}\r\n\r\n"
            ),
            out: Vec::new(),
            written: 0,
            answers: Vec::new(),
            open: VecDeque::new(),
            accepted: 0,
            refused: 0,
            answer: Histogram::default(),
        })
    }

    pub(crate) fn publish(
        &mut self,
        template: &Template,
        number: u64,
        due: u64,
    ) -> Result<(), Errno> {
        self.out.extend_from_slice(self.head.as_bytes());
        template.write(&mut self.out, number, due);
        self.open.push_back(due);
        self.write()
    }

    /// Writes what the socket takes.
    pub(crate) fn write(&mut self) -> Result<(), Errno> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match net::send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(count) => self.written += count,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads the answers that are there.
    pub(crate) fn read(&mut self, now: u64) -> Result<(), String> {
        let mut buffer = [0_u8; 16 << 10];
        loop {
            match net::recv(&self.socket, &mut buffer, RecvFlags::empty()) {
                Ok((0, _)) => return Err("the server closed the publisher's connection".into()),
                Ok((count, _)) => {
                    let new = buffer.get(..count).unwrap_or_default();
                    self.answers.extend_from_slice(new);
                    self.take_answers(now)?;
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(format!("the publisher's connection: {error}")),
            }
        }
    }

    fn take_answers(&mut self, now: u64) -> Result<(), String> {
        while let Some(head) = http::head(&self.answers) {
            let whole = head.len() + 4 + http::body_length(head)?;
            if self.answers.len() < whole {
                break;
            }
            if head.starts_with("HTTP/1.1 2") {
                self.accepted += 1;
            } else {
                if self.refused == 0 {
                    eprintln!(
                        "load: the server refuses an event: {}",
                        head.lines().next().unwrap_or_default()
                    );
                }
                self.refused += 1;
            }
            if let Some(due) = self.open.pop_front() {
                self.answer.record(now.saturating_sub(due));
            }
            self.answers.drain(..whole);
        }
        Ok(())
    }
}
