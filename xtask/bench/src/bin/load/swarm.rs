//! All clients and the publisher on one epoll, in one thread.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags};
use stoat_bench::frame::{self, Parsed};
use stoat_bench::marker::{Found, Template};

use crate::client::{self, Arrival, Client, State};
use crate::ledger::Ledger;
use crate::publisher::Publisher;
use crate::silent::Sinks;

/// The publisher among the clients' positions.
const PUBLISHER: u64 = u64::MAX;
/// How many clients connect at the same time.
const CONNECTING: usize = 128;
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) deliveries: u64,
    pub(crate) again: u64,
    pub(crate) late: u64,
    pub(crate) damaged: u64,
    pub(crate) foreign: u64,
    /// Messages that are no event of ours.
    pub(crate) other: u64,
    pub(crate) closed: u64,
    pub(crate) broken: u64,
    pub(crate) frames: u64,
    /// The length of the frames.
    pub(crate) bytes: u64,
    pub(crate) reads: u64,
}

/// What some of the clients subscribe to: with only one, it is what all do.
pub(crate) struct Topic {
    /// The path of its WebSocket.
    pub(crate) path: String,
    /// What is published to it; as long as what is published to the others.
    pub(crate) template: Template,
    /// How many clients of it are open.
    pub(crate) open: usize,
}

pub(crate) struct Swarm {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    start: Instant,
    address: SocketAddrV4,
    /// The client at position p is in the topic p modulo their number; so is event p.
    topics: Vec<Topic>,
    pub(crate) clients: Vec<Client>,
    pub(crate) open: usize,
    connecting: usize,
    buffer: Vec<u8>,
    pub(crate) sinks: Sinks,
    pub(crate) publisher: Option<Publisher>,
    pub(crate) ledger: Ledger,
    pub(crate) counts: Counts,
}

impl Swarm {
    pub(crate) fn new(address: SocketAddrV4, topics: Vec<Topic>) -> Result<Self, String> {
        let epoll =
            epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| format!("epoll: {e}"))?;
        Ok(Self {
            epoll,
            events: Vec::with_capacity(512),
            start: Instant::now(),
            address,
            topics,
            clients: Vec::new(),
            open: 0,
            connecting: 0,
            buffer: vec![0; 256 << 10],
            sinks: Sinks::open(address, "", 0)?,
            publisher: None,
            ledger: Ledger::new(),
            counts: Counts::default(),
        })
    }

    /// Nanoseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Opens the clients, some at a time; how long that took.
    pub(crate) fn connect(&mut self, clients: usize) -> Result<Duration, String> {
        let start = Instant::now();
        let mut progress = (self.open, Instant::now());
        while self.connecting > 0 || self.clients.len() < clients {
            while self.connecting < CONNECTING && self.clients.len() < clients {
                let number = self.clients.len();
                let client = Client::connect(self.address, number)
                    .map_err(|error| format!("connect: {error}"))?;
                let socket = client.socket.as_ref();
                self.watch(socket.ok_or("no socket")?, number as u64)?;
                self.clients.push(client);
                self.connecting += 1;
            }
            self.poll(self.now() + 2_000_000)?;
            if progress.0 != self.open {
                progress = (self.open, Instant::now());
            } else if progress.1.elapsed() > PATIENCE {
                return Err(format!("only {} of {clients} clients are open", self.open));
            }
        }
        Ok(start.elapsed())
    }

    pub(crate) fn connect_publisher(&mut self, path: &str) -> Result<(), String> {
        let publisher = Publisher::connect(self.address, path, self.topics[0].template.size())
            .map_err(|error| format!("the publisher: {error}"))?;
        self.watch(&publisher.socket, PUBLISHER)?;
        self.publisher = Some(publisher);
        Ok(())
    }

    /// Publishes the event that was due at a time.
    pub(crate) fn publish(&mut self, due: u64) -> Result<(), String> {
        let topic = self.topic(self.ledger.next);
        let number = self.ledger.enter(due, self.topics[topic].open);
        let publisher = self.publisher.as_mut().ok_or("there is no publisher")?;
        publisher
            .publish(&self.topics[topic].template, number, due)
            .map_err(|error| format!("the publisher's connection: {error}"))
    }

    /// Which topic an event, or the client at a position, is in.
    fn topic(&self, number: u64) -> usize {
        number as usize % self.topics.len()
    }

    /// How many of the events published so far are for the client at a position.
    pub(crate) fn due_to(&self, position: usize) -> u64 {
        let topics = self.topics.len() as u64;
        let before = self.topic(position as u64) as u64;
        self.ledger.next.saturating_sub(before).div_ceil(topics)
    }

    fn watch(&self, socket: &OwnedFd, position: u64) -> Result<(), String> {
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        epoll::add(
            &self.epoll,
            socket,
            epoll::EventData::new_u64(position),
            flags,
        )
        .map_err(|error| format!("epoll: {error}"))
    }

    /// Handles what is ready; waits for it until a time at the most.
    pub(crate) fn poll(&mut self, until: u64) -> Result<(), String> {
        let wait = until.min(self.sinks.due).saturating_sub(self.now());
        let wait = Timespec {
            tv_sec: (wait / 1_000_000_000) as i64,
            tv_nsec: (wait % 1_000_000_000) as i64,
        };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(format!("epoll: {error}")),
        }
        for event in &events {
            let (position, flags) = (event.data.u64(), event.flags);
            if position == PUBLISHER {
                let now = self.now();
                if let Some(publisher) = &mut self.publisher {
                    publisher.read(now)?;
                    publisher.write().map_err(|error| error.to_string())?;
                }
            } else {
                self.ready(position as usize, flags)?;
            }
        }
        self.events = events;
        let now = self.now();
        if now >= self.sinks.due {
            self.sinks.take(now);
        }
        Ok(())
    }

    /// Handles what comes for so long.
    pub(crate) fn rest(&mut self, secs: f64) -> Result<(), String> {
        let end = self.now() + (secs * 1e9) as u64;
        while self.now() < end {
            self.poll(end)?;
        }
        Ok(())
    }

    fn ready(&mut self, position: usize, flags: epoll::EventFlags) -> Result<(), String> {
        let failed = epoll::EventFlags::ERR | epoll::EventFlags::HUP;
        let readable = failed | epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        let topic = self.topic(position as u64);
        let client = &mut self.clients[position];
        match (client.state, &client.socket) {
            (State::Connecting, Some(socket)) => {
                if flags.intersects(failed) {
                    self.close(position);
                } else if flags.contains(epoll::EventFlags::OUT) {
                    let request = client::upgrade(self.address, &self.topics[topic].path);
                    // A fresh socket takes it whole.
                    let sent = net::send(socket, request.as_bytes(), SendFlags::NOSIGNAL);
                    client.state = State::Handshake;
                    if sent.is_err() {
                        self.close(position);
                    }
                }
                Ok(())
            }
            (State::Handshake | State::Open, _) if flags.intersects(readable) => {
                let mut buffer = std::mem::take(&mut self.buffer);
                let outcome = self.read(position, &mut buffer);
                self.buffer = buffer;
                if !outcome? {
                    self.close(position);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Reads what is there; whether the connection goes on.
    fn read(&mut self, position: usize, buffer: &mut Vec<u8>) -> Result<bool, String> {
        loop {
            let client = &mut self.clients[position];
            let Some(socket) = &client.socket else {
                return Ok(false);
            };
            let kept = client.rest.len();
            if kept * 2 > buffer.len() {
                buffer.resize(kept * 4, 0);
            }
            let (before, free) = buffer.split_at_mut(kept);
            before.copy_from_slice(&client.rest);
            let room = free.len();
            self.counts.reads += 1;
            let count = match net::recv(socket, free, RecvFlags::empty()) {
                Ok((0, _)) => return Ok(false),
                Ok((count, _)) => count,
                Err(Errno::AGAIN) => return Ok(true),
                Err(_) => return Ok(false),
            };
            client.rest.clear();
            let now = self.start.elapsed().as_nanos() as u64;
            let bytes = &buffer[..kept + count];
            let Some(used) = self.take(position, bytes, now)? else {
                return Ok(false);
            };
            self.clients[position]
                .rest
                .extend_from_slice(&bytes[used..]);
            if count < room {
                return Ok(true);
            }
        }
    }

    /// Takes the answer to the handshake and whole frames; how many bytes they are, none at the end.
    fn take(&mut self, position: usize, bytes: &[u8], now: u64) -> Result<Option<usize>, String> {
        let mut used = 0;
        if self.clients[position].state == State::Handshake {
            match client::upgraded(bytes)? {
                None => return Ok(Some(0)),
                Some(length) => used = length,
            }
            self.clients[position].state = State::Open;
            let topic = self.topic(position as u64);
            self.topics[topic].open += 1;
            self.open += 1;
            self.connecting -= 1;
        }
        loop {
            match frame::parse_of_server(&bytes[used..]) {
                Parsed::Partial => return Ok(Some(used)),
                Parsed::Broken => {
                    self.counts.broken += 1;
                    return Ok(None);
                }
                Parsed::Frame {
                    opcode,
                    payload,
                    length,
                } => {
                    used += length;
                    self.counts.frames += 1;
                    self.counts.bytes += length as u64;
                    match opcode {
                        1 | 2 => self.message(position, payload, now),
                        8 => return Ok(None),
                        9 => self.pong(position, payload),
                        _ => {}
                    }
                }
            }
        }
    }

    fn message(&mut self, position: usize, payload: &[u8], now: u64) {
        let topics = self.topics.len() as u64;
        let mine = |number| number % topics == position as u64 % topics;
        let client = &mut self.clients[position];
        // All look for the same marker.
        let template = &self.topics[0].template;
        match template.read(payload, &mut client.place) {
            Found::Event { number, due } if number < self.ledger.next && mine(number) => {
                match client.got.add(number / topics) {
                    Arrival::Next => {}
                    Arrival::Late => self.counts.late += 1,
                    Arrival::Again => {
                        self.counts.again += 1;
                        return;
                    }
                }
                self.counts.deliveries += 1;
                self.ledger.delivered(number, due, now);
            }
            Found::Event { .. } | Found::Damaged => self.counts.damaged += 1,
            Found::Foreign => self.counts.foreign += 1,
            Found::Nothing => self.counts.other += 1,
        }
    }

    fn pong(&mut self, position: usize, payload: &[u8]) {
        if let Some(socket) = &self.clients[position].socket {
            let pong = frame::short_of_client(10, payload);
            // A client that has sent nothing else has room for it.
            let _ = net::send(socket, &pong, SendFlags::NOSIGNAL);
        }
    }

    fn close(&mut self, position: usize) {
        let topic = self.topic(position as u64);
        let topics = self.topics.len() as u64;
        let client = &mut self.clients[position];
        match client.state {
            State::Closed => return,
            State::Open => {
                self.open -= 1;
                self.topics[topic].open -= 1;
                let mine = |number| number % topics == topic as u64;
                self.ledger
                    .gone(|number| !mine(number) || client.got.has(number / topics));
            }
            State::Connecting | State::Handshake => self.connecting -= 1,
        }
        self.counts.closed += 1;
        client.state = State::Closed;
        client.socket = None;
        client.rest = Vec::new();
    }
}
