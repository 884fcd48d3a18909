//! A session against a simulated socket: no runtime, no sleeping.

use serde_json::Value;
use stoat_events::{Attachment, Event, EventType, MemoryLog, Retention, Topic};

use super::*;
use crate::connection::batch::{Batch, Share};
use crate::connection::follower::{Follower, Need};
use crate::heartbeat::Beats;
use crate::registry::{Membership, Newcomer, Registry};
use crate::stats::Tally;

/// A hub with one connection whose socket takes what the test says.
pub(super) struct Bench {
    pub(super) log: Arc<MemoryLog>,
    pub(super) beats: Beats,
    pub(super) registry: Arc<Registry>,
    pub(super) follower: Follower,
    pub(super) sent: Vec<u8>,
    format: Format,
    /// Up to where the fan-out has offered everything.
    pub(super) position: u64,
    beat_offered: u64,
    pub(super) now: Instant,
    _membership: Membership,
}

impl Bench {
    pub(super) fn new(retained: usize, filter: Filter, gap: Option<Gap>) -> Self {
        let retention = Retention {
            events: retained,
            age: None,
            ..Retention::default()
        };
        let log = MemoryLog::builder().retention(retention).build();
        let attachment = Attachment { cursor: 0, gap };
        let now = Instant::now();
        Self::over(Arc::new(log), Arc::default(), filter, attachment, now)
    }

    /// One of several connections to a hub.
    pub(super) fn over(
        log: Arc<MemoryLog>,
        registry: Arc<Registry>,
        filter: Filter,
        attachment: Attachment,
        now: Instant,
    ) -> Self {
        let config = HubConfig::default();
        let remote_addr = ([127, 0, 0, 1], 1).into();
        let place = registry.admit(remote_addr, &config).unwrap();
        let newcomer = Newcomer {
            remote_addr,
            user_agent: None,
            filter,
            newest: log.bounds().last,
            cursor: attachment.cursor,
        };
        let membership = place.register(newcomer);
        let member = Arc::clone(&membership.member);
        let session = Session::new(member, attachment.gap, 0, &config, now);
        Self {
            position: 0,
            log,
            beats: Beats::new(),
            registry,
            follower: Follower::new(session),
            sent: Vec::new(),
            format: Format::default(),
            beat_offered: 0,
            now,
            _membership: membership,
        }
    }

    /// The client asks for this form.
    #[cfg(test)]
    pub(super) fn in_format(mut self, format: Format) -> Self {
        self.format = format;
        self.session().set_format(format);
        self
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

    /// The session, as the connection's task has it.
    pub(super) fn session(&mut self) -> &mut Session {
        self.follower.session(self.position)
    }

    /// Lines up, as the driver does before each write.
    pub(super) fn fill(&mut self) -> bool {
        let beats = self.beats.watch();
        let beat = beats.borrow().clone();
        let around = Surroundings {
            log: &*self.log,
            beat: beat.as_ref(),
        };
        self.follower.session(self.position).fill(&around, self.now)
    }

    /// The socket takes up to `room` bytes in one write.
    pub(super) fn write(&mut self, room: usize) -> bool {
        self.fill();
        let output: Vec<u8> = self.session().output().flatten().copied().collect();
        let taken = self.take(&output, room);
        if taken > 0 {
            let (registry, now) = (Arc::clone(&self.registry), self.now);
            self.session().written(taken, &registry.counters, now);
        }
        taken > 0
    }

    /// The fan-out comes by with what is new, and the socket takes up to `room` bytes at a
    /// time.
    pub(super) fn offer(&mut self, room: usize) {
        let mut tally = Tally::default();
        let mut batch = Batch::default();
        if batch.read(&*self.log, self.position) {
            let deliveries = &self.registry.counters.deliveries;
            deliveries.begin(batch.from(), batch.entries());
            let filter = self.follower.filter();
            let by_topic = filter.topics().is_some();
            let unmarked = by_topic && batch.share(filter) == Share::None;
            match self.follower.need(&batch, self.position) {
                _ if unmarked => {}
                Need::Nothing => {}
                Need::Look => self.turn(room),
                Need::Whole => {
                    let taken = self.take(batch.bytes(), room);
                    if taken == 0 {
                        self.session();
                    } else {
                        let now = self.now;
                        self.follower.took(&batch, taken, &mut tally, || now);
                        batch.settle(&mut tally, now);
                    }
                }
            }
            self.position = batch.to();
        }
        let newest = self.beats.newest();
        if let Some(beat) = newest.filter(|beat| beat.number > self.beat_offered) {
            self.beat_offered = beat.number;
            match self.follower.need_of_beat(beat.number, self.position) {
                Need::Nothing => {}
                Need::Look => self.turn(room),
                Need::Whole => {
                    let id = self.log.bounds().id(self.position);
                    let event = Arc::new(stoat_events::heartbeat(id, beat.built_at));
                    let taken = self.take(event.ws_frame(), room);
                    if taken == 0 {
                        self.session();
                    } else {
                        let (number, position) = (beat.number, self.position);
                        self.follower
                            .took_beat(&event, number, position, taken, &mut tally);
                    }
                }
            }
        }
        self.registry.counters.add(&tally);
    }

    /// The session looks at the log itself; or the connection's task takes its turn.
    pub(super) fn turn(&mut self, room: usize) {
        let more = self.fill();
        let output: Vec<u8> = self.session().output().flatten().copied().collect();
        let taken = self.take(&output, room);
        let (registry, now) = (Arc::clone(&self.registry), self.now);
        match (output.len(), taken) {
            (0, _) if !more => self.follower.settle(),
            (0, _) => {}
            (_, 0) => self.session().stalled(now),
            _ => self.session().written(taken, &registry.counters, now),
        }
    }

    fn take(&mut self, bytes: &[u8], room: usize) -> usize {
        let taken = room.min(bytes.len());
        self.sent.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// The socket takes nothing.
    pub(super) fn stall(&mut self) {
        self.fill();
        let now = self.now;
        if self.session().has_output() {
            self.session().stalled(now);
        }
    }

    pub(super) fn write_all(&mut self) {
        while self.write(usize::MAX) {}
    }

    pub(super) fn receive(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        self.receive_bytes(&frame);
    }

    pub(super) fn receive_bytes(&mut self, bytes: &[u8]) {
        let (registry, now) = (Arc::clone(&self.registry), self.now);
        self.session().received(bytes, &registry.counters, now);
    }

    pub(super) fn tick(&mut self) -> Option<Due> {
        let now = self.now;
        self.session().tick(now)
    }

    pub(super) fn obey(&mut self, order: Order) {
        let now = self.now;
        assert_eq!(self.session().obey(order, now), None);
    }

    /// Everything sent so far, as opcode and payload.
    pub(super) fn frames(&self) -> Vec<(u8, Vec<u8>)> {
        let (frames, rest) = self.whole_frames();
        assert!(rest.is_empty(), "half a frame at the end");
        frames
    }

    /// The same, and what was sent of a frame that has not ended.
    fn whole_frames(&self) -> (Vec<(u8, Vec<u8>)>, &[u8]) {
        let mut rest = &self.sent[..];
        let mut frames = Vec::new();
        while let Some((first, body, after)) = split_frame(rest) {
            frames.push((first & 0x0f, body.to_vec()));
            rest = after;
        }
        (frames, rest)
    }

    /// The events sent so far: type and position.
    pub(super) fn events(&self) -> Vec<(String, u64)> {
        self.events_of(self.frames())
    }

    /// Those of which all was sent.
    #[cfg(test)]
    pub(super) fn whole_events(&self) -> Vec<(String, u64)> {
        self.events_of(self.whole_frames().0)
    }

    fn events_of(&self, frames: Vec<(u8, Vec<u8>)>) -> Vec<(String, u64)> {
        let texts = frames.into_iter().filter(|(opcode, _)| *opcode == 1);
        texts
            .filter_map(|(_, text)| {
                let value: Value = serde_json::from_slice(&text).unwrap();
                // The answer to a ping is of no form.
                value.get("type")?;
                let key = match self.format {
                    Format::Stoat => "event_id",
                    _ => "id",
                };
                let id: stoat_events::EventId = value[key].as_str().unwrap().parse().unwrap();
                Some((value["type"].as_str().unwrap().to_owned(), id.sequence()))
            })
            .collect()
    }
}

/// The first byte of a frame, its payload, and what follows it, where all of it is there.
fn split_frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [first, short, rest @ ..] = bytes else {
        return None;
    };
    let (len, rest) = match (short, rest) {
        (126, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        (126, _) => return None,
        (127, _) => panic!("no event here is that long"),
        (len, rest) => (usize::from(*len), rest),
    };
    let (body, rest) = rest.split_at_checked(len)?;
    Some((*first, body, rest))
}
