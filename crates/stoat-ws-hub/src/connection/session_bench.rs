//! A session against a simulated socket: no runtime, no sleeping.

use serde_json::Value;
use stoat_events::{Event, EventType, MemoryLog, Retention, Topic};

use super::*;
use crate::connection::batch::Batch;
use crate::heartbeat::Beats;
use crate::registry::{Membership, Newcomer, Registry};
use crate::stats::Tally;

/// A hub with one connection whose socket takes what the test says.
pub(super) struct Bench {
    pub(super) log: MemoryLog,
    pub(super) beats: Beats,
    pub(super) registry: Arc<Registry>,
    pub(super) session: Session,
    pub(super) sent: Vec<u8>,
    /// Where the next batch of the fan-out begins.
    from: u64,
    pub(super) now: Instant,
    _membership: Membership,
}

impl Bench {
    pub(super) fn new(retained: usize, filter: Filter, gap: Option<Gap>) -> Self {
        let config = HubConfig::default();
        let registry = Arc::new(Registry::default());
        let remote_addr = ([127, 0, 0, 1], 1).into();
        let place = registry.admit(remote_addr, &config).unwrap();
        let newcomer = Newcomer {
            remote_addr,
            user_agent: None,
            filter,
            cursor: 0,
        };
        let membership = place.register(newcomer);
        let now = Instant::now();
        let session = Session::new(Arc::clone(&membership.member), gap, 0, &config, now);
        let retention = Retention {
            events: retained,
            age: None,
            ..Retention::default()
        };
        Self {
            log: MemoryLog::builder().retention(retention).build(),
            beats: Beats::new(),
            registry,
            session,
            sent: Vec::new(),
            from: 0,
            now,
            _membership: membership,
        }
    }

    pub(super) fn publish(&self, event_type: &str, topic: Option<&str>, count: usize) {
        for _ in 0..count {
            let event = Event::builder(EventType::parse(event_type).unwrap())
                .topic(topic.map(|topic| Topic::parse(topic).unwrap()))
                .build();
            self.log.append_now(event.into()).unwrap();
        }
    }

    pub(super) fn beat(&self) {
        self.beats
            .beat(&self.log.bounds(), Timestamp::from_unix_micros(0));
    }

    /// Lines up, as the driver does before each write.
    pub(super) fn fill(&mut self) -> bool {
        let beats = self.beats.watch();
        let beat = beats.borrow().clone();
        let around = Surroundings {
            log: &self.log,
            beat: beat.as_ref(),
        };
        self.session.fill(&around, self.now)
    }

    /// The socket takes up to `room` bytes in one write.
    pub(super) fn write(&mut self, room: usize) -> bool {
        self.fill();
        let output: Vec<u8> = self.session.output().flatten().copied().collect();
        let taken = room.min(output.len());
        if taken > 0 {
            self.sent.extend_from_slice(&output[..taken]);
            self.session
                .written(taken, &self.registry.counters, self.now);
        }
        taken > 0
    }

    /// The fan-out comes by, and the socket takes up to `room` bytes.
    pub(super) fn offer(&mut self, room: usize) {
        let mut batch = Batch::default();
        batch.read(&self.log, self.from);
        self.from = batch.to();
        let beats = self.beats.watch();
        let beat = beats.borrow().clone();
        if self.session.is_stalled() || self.session.pass_over(&batch, beat.as_ref()) {
            return;
        }
        if !self.session.wants_all_of(&batch, beat.as_ref()) {
            self.write(room);
            return;
        }
        let taken = room.min(batch.bytes().len());
        self.sent.extend_from_slice(&batch.bytes()[..taken]);
        let mut tally = Tally::default();
        let all = self.session.took(&batch, taken, &mut tally, self.now);
        assert_eq!(all, taken == batch.bytes().len());
        self.registry.counters.add(&tally);
    }

    /// The socket takes nothing.
    pub(super) fn stall(&mut self) {
        self.fill();
        if self.session.has_output() {
            self.session.stalled(self.now);
        }
    }

    pub(super) fn write_all(&mut self) {
        while self.write(usize::MAX) {}
    }

    pub(super) fn receive(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        self.session
            .received(&frame, &self.registry.counters, self.now);
    }

    pub(super) fn obey(&mut self, order: Order) {
        assert_eq!(self.session.obey(order, self.now), None);
    }

    /// Everything sent so far, as opcode and payload.
    pub(super) fn frames(&self) -> Vec<(u8, Vec<u8>)> {
        let mut rest = &self.sent[..];
        let mut frames = Vec::new();
        while let [first, short, tail @ ..] = rest {
            let (len, body) = match short {
                126 => (
                    usize::from(u16::from_be_bytes([tail[0], tail[1]])),
                    &tail[2..],
                ),
                127 => panic!("no event here is that long"),
                len => (usize::from(*len), tail),
            };
            frames.push((first & 0x0f, body[..len].to_vec()));
            rest = &body[len..];
        }
        assert!(rest.is_empty(), "half a frame at the end");
        frames
    }

    /// The events sent so far: type and position.
    pub(super) fn events(&self) -> Vec<(String, u64)> {
        let texts = self.frames().into_iter().filter(|(opcode, _)| *opcode == 1);
        texts
            .filter_map(|(_, text)| {
                let value: Value = serde_json::from_slice(&text).unwrap();
                let id: stoat_events::EventId = value.get("event_id")?.as_str()?.parse().unwrap();
                Some((value["type"].as_str().unwrap().to_owned(), id.sequence()))
            })
            .collect()
    }
}
