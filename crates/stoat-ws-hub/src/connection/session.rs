//! One connection without its socket: what to send next, and what to make of what comes.

mod chunk;
mod shared;

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use stoat_events::{
    EventLog, Filter, Format, Gap, GapReason, LogEntry, ReadLimit, ReadStatus, Timestamp,
};

use self::chunk::{Chunk, Piece};
use super::control::{Control, PONG};
use super::deadlines::{Deadline, Deadlines};
use super::pace::Pace;
use super::protocol::{Answer, Incoming, Protocol};
use crate::close::Close;
use crate::heartbeat::Beat;
use crate::registry::{Member, Order};
use crate::stats::Counters;
use crate::{DisconnectReason, HubConfig};

/// The most chunks and bytes that are lined up for one write.
const MAX_CHUNKS: usize = 512;
/// Room for a control chunk and a gap beside them.
const MAX_SLICES: usize = MAX_CHUNKS + 2;
const MAX_BYTES: usize = 256 << 10;
/// The most events that are looked at in one go when the filter takes none of them.
const MAX_SCANNED: usize = 4096;
/// How long the peer has to answer our Close.
const CLOSE_ANSWER: Duration = Duration::from_secs(2);

/// The state of one connection. Does no I/O, reads no clock, waits for nothing.
pub(super) struct Session {
    protocol: Protocol,
    member: Arc<Member>,
    filter: Arc<Filter>,
    format: Format,
    deadlines: Deadlines,
    controls: Pace,
    max_client_buffer: usize,
    /// Lined up for the socket; only the first chunk may have been begun.
    queue: VecDeque<Piece>,
    /// Bytes of the first chunk that the socket has taken.
    begun: usize,
    /// Sequence number of the last event that was lined up or passed over.
    cursor: u64,
    gap: Option<Gap>,
    beat_seen: u64,
    phase: Phase,
    scratch: Vec<LogEntry>,
    #[cfg(feature = "echo")]
    echo: bool,
    /// What follows the cursor is not in memory.
    wants_fetch: bool,
    /// With the position that they follow.
    fetched: (u64, Vec<LogEntry>),
}

#[derive(Debug)]
enum Phase {
    Open,
    /// Everything up to this position goes out, then the Close.
    Leaving(Close, u64),
    /// A Close is in the output: ours for this reason, or the answer to theirs.
    Closing(DisconnectReason),
}

/// What a session reads of the hub.
pub(super) struct Surroundings<'a> {
    pub(super) log: &'a dyn EventLog,
    pub(super) beat: Option<&'a Arc<Beat>>,
}

/// How a deadline ends a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Throw away what the peer has not taken.
    Abort(DisconnectReason),
    /// Everything is with the kernel; leave the rest to it.
    LetGo(DisconnectReason),
}

impl Session {
    pub(super) fn new(
        member: Arc<Member>,
        gap: Option<Gap>,
        beat_seen: u64,
        config: &HubConfig,
        now: Instant,
    ) -> Self {
        Self {
            protocol: Protocol::new(config.max_client_message),
            filter: member.filter(),
            format: Format::default(),
            cursor: member.cursor.load(Relaxed),
            member,
            deadlines: Deadlines::new(config, now),
            controls: Pace::new(config.max_control_frames, now),
            max_client_buffer: config.max_client_buffer.max(1024),
            queue: VecDeque::new(),
            begun: 0,
            gap,
            beat_seen,
            phase: Phase::Open,
            scratch: Vec::new(),
            #[cfg(feature = "echo")]
            echo: config.echo,
            wants_fetch: false,
            fetched: (0, Vec::new()),
        }
    }

    /// Closes with 1008 at this time, if any.
    pub(super) fn end_at(&mut self, end: Option<Instant>) {
        self.deadlines.end_at(end);
    }

    /// Sends events in this form from now on.
    pub(super) fn set_format(&mut self, format: Format) {
        self.format = format;
    }

    /// Lines up what is to be sent next, in this order: answers to the peer, since
    /// they are short and it waits; a gap, since it stands before the events that
    /// follow it; events; the heartbeat, at its position among the events; the Close.
    ///
    /// Nothing while the socket takes nothing. Returns whether there is more to look at,
    /// even where nothing was lined up; not where it [has to be fetched](Self::to_fetch).
    pub(super) fn fill(&mut self, hub: &Surroundings<'_>, now: Instant) -> bool {
        self.wants_fetch = false;
        let more = self.fill_up(hub, now);
        self.fetched = (0, Vec::new());
        more
    }

    fn fill_up(&mut self, hub: &Surroundings<'_>, now: Instant) -> bool {
        if self.is_stalled() {
            return false;
        }
        self.line_up_output();
        if matches!(self.phase, Phase::Closing(_)) {
            return false;
        }
        self.line_up_gap(hub);
        let is_served = matches!(&self.phase, Phase::Leaving(_, after) if self.cursor >= *after);
        let caught_up = is_served || self.line_up_events(hub);
        self.tell_position();
        if let Phase::Leaving(close, after) = &self.phase
            && (self.cursor >= *after || caught_up)
        {
            if self.has_output() {
                // Not yet: what the socket does not take goes back, and a Close would overtake it.
                return true;
            }
            let close = close.clone();
            self.close(&close, now);
            self.line_up_output();
            return false;
        }
        !caught_up && !self.wants_fetch
    }

    /// The bytes that are lined up, one slice a chunk.
    pub(super) fn output(&self) -> impl Iterator<Item = &[u8]> {
        let begun = self.begun;
        let first = self.queue.front().map(move |chunk| &chunk.bytes()[begun..]);
        first
            .into_iter()
            .chain(self.queue.iter().skip(1).map(Piece::bytes))
    }

    /// The bytes that are lined up, for one vectored write, and how many slices of the
    /// array they are.
    pub(super) fn slices(&self) -> ([IoSlice<'_>; MAX_SLICES], usize) {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(self.output()) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        (slices, count)
    }

    pub(super) fn has_output(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The socket took this many bytes.
    pub(super) fn written(&mut self, bytes: usize, counters: &Counters, now: Instant) {
        self.deadlines.write_progressed();
        self.member.bytes_sent.fetch_add(bytes as u64, Relaxed);
        counters.sent_bytes.fetch_add(bytes as u64, Relaxed);
        self.begun += bytes;
        let mut from_end = self.queue.iter().rev();
        let to = from_end.find_map(|piece| piece.chunk.leads_to());
        let mut deliveries = counters.deliveries.of_one(to);
        while let Some(chunk) = self.queue.front() {
            let len = chunk.bytes().len();
            if self.begun < len {
                break;
            }
            self.begun -= len;
            match self.queue.pop_front().map(|piece| piece.chunk) {
                Some(Chunk::Entry(entry)) => {
                    let age = self.member.age_of(&entry, now);
                    counters.delivered(age);
                    deliveries.written(entry.sequence(), age);
                }
                Some(Chunk::Gap(_, gap, skipped)) => {
                    counters.gap(gap.reason);
                    deliveries.missed(skipped, &self.filter);
                }
                _ => {}
            }
        }
        drop(deliveries);
        self.tell_position();
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    /// The socket takes no more: all but the first chunk goes back to where it came
    /// from, so that a client that does not read holds one event at most.
    pub(super) fn stalled(&mut self, now: Instant) {
        self.deadlines.write_stalled(now);
        while self.queue.len() > 1 {
            match self.queue.pop_back().map(|piece| piece.chunk) {
                Some(Chunk::Control(bytes)) => self.protocol.put_back(bytes),
                Some(Chunk::Entry(entry)) => self.cursor = entry.sequence() - 1,
                Some(Chunk::Gap(_, gap, (after, _))) => {
                    self.gap = Some(gap);
                    self.cursor = after;
                }
                Some(Chunk::Beat { seen_before, .. }) => self.beat_seen = seen_before,
                None => break,
            }
        }
        self.queue.shrink_to(1);
        self.tell_position();
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.deadlines.is_stalled()
    }

    /// Whether more input is welcome: not while the answers to earlier input pile up.
    pub(super) fn wants_input(&self) -> bool {
        let begun = self.queue.iter().map(|piece| match &piece.chunk {
            Chunk::Control(bytes) => bytes.len(),
            _ => 0,
        });
        self.protocol.output_len() + begun.sum::<usize>() < self.max_client_buffer
    }

    /// Takes bytes from the peer.
    pub(super) fn received(&mut self, input: &[u8], counters: &Counters, now: Instant) {
        let (filter, member) = (&mut self.filter, &self.member);
        let mut controls = 0;
        let result = self.protocol.receive(input, |message| {
            #[cfg(feature = "echo")]
            if self.echo {
                return Some(message.into());
            }
            let control = match message {
                Incoming::Text(text) => Control::parse(&text),
                Incoming::Binary(_) => None,
            };
            controls += usize::from(control.is_some());
            obey(control, filter, member, counters)
        });
        match result {
            // Who answers each ping of a flood is kept busy by one client.
            Ok(frames) if !self.controls.allows(frames.controls + controls, now) => {
                self.fail(&Close::too_many_control_frames(), now);
            }
            Ok(frames) if frames.ended > 0 => self.deadlines.frame_received(now),
            Ok(_) => {}
            Err(close) => self.fail(&close, now),
        }
        if self.protocol.is_closed() {
            self.closing(DisconnectReason::ClientClosed, now);
        }
    }

    /// Obeys an order. Says what to count where the socket is to be let go at once.
    pub(super) fn obey(&mut self, order: Order, now: Instant) -> Option<DisconnectReason> {
        match (order, &self.phase) {
            (Order::Abort(reason), _) => return Some(reason),
            (_, Phase::Closing(_)) => {}
            (Order::Close(close), _) => self.close(&close, now),
            (Order::CloseAfter(close, after), _) => self.phase = Phase::Leaving(close, after),
        }
        None
    }

    /// The connection's part that others see.
    pub(super) fn member(&self) -> &Member {
        &self.member
    }

    /// When to call [`tick`](Self::tick) at the latest.
    pub(super) fn deadline(&self) -> Instant {
        self.deadlines.next()
    }

    /// Looks at the deadlines; says whether and how the connection ends.
    pub(super) fn tick(&mut self, now: Instant) -> Option<Due> {
        match self.deadlines.due(now)? {
            // A ping that the peer has not taken yet is enough.
            Deadline::Ping if self.protocol.output_len() == 0 => self.protocol.send_ping(),
            Deadline::Ping => {}
            Deadline::AuthorizationEnded => self.close(&Close::authorization_ended(), now),
            Deadline::NoPong => self.close(&Close::no_pong(), now),
            Deadline::WriteStalled => return Some(Due::Abort(DisconnectReason::WriteTimeout)),
            Deadline::CloseUnanswered if self.has_output() => {
                return Some(Due::Abort(self.reason()));
            }
            Deadline::CloseUnanswered => return Some(Due::LetGo(self.reason())),
        }
        None
    }

    /// The closing handshake is done and everything is written.
    pub(super) fn is_over(&self) -> bool {
        self.protocol.is_closed() && self.queue.is_empty() && self.protocol.output_len() == 0
    }

    /// What to count for a connection that ends as things are now.
    pub(super) fn reason(&self) -> DisconnectReason {
        match &self.phase {
            Phase::Closing(reason) => *reason,
            Phase::Leaving(close, _) => close.reason,
            Phase::Open => DisconnectReason::ConnectionLost,
        }
    }

    fn close(&mut self, close: &Close, now: Instant) {
        self.protocol.close(close);
        self.closing(close.reason, now);
    }

    /// From now on only the end counts; the first reason does.
    fn closing(&mut self, reason: DisconnectReason, now: Instant) {
        if !matches!(self.phase, Phase::Closing(_)) {
            self.phase = Phase::Closing(reason);
            self.deadlines.closing(now + CLOSE_ANSWER);
        }
    }

    /// Closes, and listens no more.
    fn fail(&mut self, close: &Close, now: Instant) {
        self.protocol.fail(close);
        self.closing(close.reason, now);
    }

    fn line_up(&mut self, chunk: Chunk) {
        self.queue.push_back(Piece::new(chunk, self.format));
    }

    fn line_up_output(&mut self) {
        if self.protocol.output_len() > 0 {
            let output = Chunk::Control(self.protocol.take_output());
            self.line_up(output);
        }
    }

    fn line_up_gap(&mut self, hub: &Surroundings<'_>) {
        if let Some(gap) = self.gap.take() {
            let bounds = hub.log.bounds();
            let after = self.cursor;
            // More may have been evicted since the gap was found.
            self.cursor = self.cursor.max(bounds.before_oldest());
            let event = gap.encode(&bounds, Timestamp::now());
            self.line_up(Chunk::Gap(event, gap, (after, self.cursor)));
        }
    }

    /// Returns whether the cursor reached the end of the log.
    fn line_up_events(&mut self, hub: &Surroundings<'_>) -> bool {
        let mut bytes = 0;
        let mut scanned = 0;
        loop {
            let beat = hub.beat.filter(|beat| beat.number > self.beat_seen);
            if let Some(beat) = beat
                && beat.sequence <= self.cursor
            {
                self.line_up_beat(beat, hub);
                continue;
            }
            if self.queue.len() >= MAX_CHUNKS || bytes >= MAX_BYTES || scanned >= MAX_SCANNED {
                return false;
            }
            let limit = ReadLimit {
                events: MAX_CHUNKS - self.queue.len(),
                bytes: MAX_BYTES - bytes,
            };
            self.scratch.clear();
            match hub.log.read(self.cursor, limit, &mut self.scratch) {
                ReadStatus::Evicted => {
                    let reached = hub.log.bounds().id(self.cursor).to_string();
                    self.gap = Some(Gap::new(GapReason::Lagged, &reached));
                    self.line_up_gap(hub);
                }
                ReadStatus::Stored if !self.take_fetched() => {
                    self.wants_fetch = true;
                    return false;
                }
                ReadStatus::Read if self.scratch.is_empty() => {
                    if let Some(beat) = beat {
                        // Its position is beyond the last event, where the log leaves
                        // numbers out; there is nothing in between.
                        self.line_up_beat(beat, hub);
                        continue;
                    }
                    self.scratch = Vec::new();
                    return true;
                }
                ReadStatus::Read | ReadStatus::Stored => {
                    // Events after the beat's position wait until the beat is lined up.
                    let last = beat.map_or(u64::MAX, |beat| beat.sequence);
                    for entry in self.scratch.drain(..) {
                        if entry.sequence() > last {
                            break;
                        }
                        self.cursor = entry.sequence();
                        scanned += 1;
                        let encoded = entry.encoded();
                        if self.filter.matches(encoded.event_type(), encoded.topic()) {
                            let piece = Piece::new(Chunk::Entry(entry), self.format);
                            bytes += piece.bytes().len();
                            self.queue.push_back(piece);
                        }
                    }
                }
            }
        }
    }

    /// Lines up a beat for a reader at its position or beyond.
    fn line_up_beat(&mut self, beat: &Arc<Beat>, hub: &Surroundings<'_>) {
        let event = beat.at(self.cursor, hub.log);
        let seen_before = std::mem::replace(&mut self.beat_seen, beat.number);
        self.line_up(Chunk::Beat { event, seen_before });
    }
}

/// Does what a message asks for, and returns the answer to it.
fn obey(
    control: Option<Control>,
    filter: &mut Arc<Filter>,
    member: &Member,
    counters: &Counters,
) -> Option<Answer> {
    match control {
        Some(Control::Subscribe(wanted)) => {
            let scope = filter.scope().clone();
            *filter = Arc::new(wanted.within(scope));
            member.set_filter(Arc::clone(filter));
            None
        }
        Some(Control::Ping) => Some(Answer::Text(PONG.into())),
        None => {
            counters.ignored_messages.fetch_add(1, Relaxed);
            None
        }
    }
}

fn age(entry: &LogEntry, now: Instant) -> Duration {
    now.saturating_duration_since(entry.accepted_at())
}

#[cfg(test)]
#[path = "session_access_tests.rs"]
mod access_tests;
#[cfg(any(test, fuzzing))]
#[path = "session_bench.rs"]
#[allow(clippy::unwrap_used, reason = "for tests and the fuzzer alone")]
mod bench;
#[cfg(test)]
#[path = "session_delivery_tests.rs"]
mod delivery_tests;
#[cfg(fuzzing)]
#[path = "session_fuzz.rs"]
pub(super) mod fuzz;
#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
