//! Clients that look at nothing they get: some never read, some throw away what they read.

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use stoat_bench::machine;

use crate::client;

/// Small, so that the server has to keep the rest soon.
const STUCK: usize = 4096;
/// Nanoseconds between two looks at the sinks: rarely, so that each takes much at once.
const PERIOD: u64 = 10_000_000;

/// Clients that never read: what they are sent fills the buffers below them.
#[derive(Default)]
pub(crate) struct Stuck {
    sockets: Vec<OwnedFd>,
    /// How many descriptors the server had before them.
    descriptors: usize,
}

impl Stuck {
    pub(crate) fn open(
        address: SocketAddrV4,
        path: &str,
        count: usize,
        server: u32,
    ) -> Result<Self, String> {
        let descriptors = machine::descriptors(server);
        let sockets: Result<_, String> = (0..count)
            .map(|_| open(address, path, Some(STUCK)))
            .collect();
        Ok(Self {
            sockets: sockets?,
            descriptors,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.sockets.len()
    }

    /// How many the server has not dropped; they themselves would never see it.
    pub(crate) fn left(&self, server: u32) -> usize {
        machine::descriptors(server).saturating_sub(self.descriptors)
    }
}

/// Clients that cost next to nothing: what they got is counted and thrown away, not even copied.
pub(crate) struct Sinks {
    sockets: Vec<OwnedFd>,
    /// Never written to: it says how much to take at once.
    buffer: Vec<u8>,
    pub(crate) bytes: u64,
    /// How many the server has closed.
    pub(crate) closed: u64,
    /// When they are next.
    pub(crate) due: u64,
}

impl Sinks {
    pub(crate) fn open(address: SocketAddrV4, path: &str, count: usize) -> Result<Self, String> {
        let sockets: Result<_, String> = (0..count).map(|_| open(address, path, None)).collect();
        Ok(Self {
            sockets: sockets?,
            buffer: vec![0; 4 << 20],
            bytes: 0,
            closed: 0,
            due: if count > 0 { 0 } else { u64::MAX },
        })
    }

    /// Takes what each has got.
    pub(crate) fn take(&mut self, now: u64) {
        self.due = now + PERIOD;
        let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
        self.sockets
            .retain(|socket| match net::recv(socket, &mut *self.buffer, flags) {
                Ok((_, count)) if count > 0 => {
                    self.bytes += count as u64;
                    true
                }
                Err(Errno::AGAIN | Errno::INTR) => true,
                _ => {
                    self.closed += 1;
                    false
                }
            });
    }
}

/// Opens a WebSocket and reads the answer to its handshake.
fn open(address: SocketAddrV4, path: &str, buffer: Option<usize>) -> Result<OwnedFd, String> {
    let fault = |error| format!("a client that looks at nothing: {error}");
    let flags = SocketFlags::CLOEXEC;
    let socket =
        net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).map_err(fault)?;
    if let Some(size) = buffer {
        net::sockopt::set_socket_recv_buffer_size(&socket, size).map_err(fault)?;
    }
    net::connect(&socket, &address).map_err(fault)?;
    let request = client::upgrade(address, path);
    net::send(&socket, request.as_bytes(), SendFlags::NOSIGNAL).map_err(fault)?;
    let mut answer = Vec::new();
    let mut buffer = [0_u8; 1024];
    while client::upgraded(&answer)?.is_none() {
        let (count, _) = net::recv(&socket, &mut buffer, RecvFlags::empty()).map_err(fault)?;
        if count == 0 {
            return Err("the server closes a client at its handshake".to_owned());
        }
        answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    Ok(socket)
}
