//! What the fan-out did in a session's place, and what it must know of it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use stoat_events::{EncodedEvent, Filter, Format, LogEntry};

use super::{Chunk, Phase, Session, age};
use crate::stats::Tally;

impl Session {
    /// Whether there is nothing to send but what is new in the log.
    pub(in crate::connection) fn is_idle(&self) -> bool {
        self.queue.is_empty()
            && self.gap.is_none()
            && matches!(self.phase, Phase::Open)
            && self.protocol.output_len() == 0
            && !self.is_stalled()
            && !self.wants_fetch
    }

    /// The cursor, where what follows it has to be fetched from the log before there is
    /// more to send. Whoever drives the session waits for that outside of its lock.
    pub(in crate::connection) fn to_fetch(&self) -> Option<u64> {
        (self.wants_fetch && !self.is_stalled()).then_some(self.cursor)
    }

    /// What was fetched after a position; kept for the next fill only.
    pub(in crate::connection) fn fetched(&mut self, after: u64, entries: Vec<LogEntry>) {
        self.fetched = (after, entries);
    }

    /// Moves what was fetched to where the log would have put it. Says whether it was what
    /// follows the cursor.
    pub(super) fn take_fetched(&mut self) -> bool {
        let (after, entries) = std::mem::take(&mut self.fetched);
        // The cursor may have gone back or ahead meanwhile.
        let fits = after == self.cursor && !entries.is_empty();
        if fits {
            self.scratch = entries;
        }
        fits
    }

    /// Whether the socket has taken a part of a piece only: a frame must not follow.
    pub(in crate::connection) fn is_within_a_frame(&self) -> bool {
        self.begun > 0
    }

    /// Whether the frames that all share are right for this client.
    pub(in crate::connection) fn takes_shared_frames(&self) -> bool {
        self.format == Format::Stoat
    }

    pub(in crate::connection) fn filter(&self) -> &Arc<Filter> {
        &self.filter
    }

    pub(in crate::connection) fn cursor(&self) -> u64 {
        self.cursor
    }

    pub(in crate::connection) fn beat_seen(&self) -> u64 {
        self.beat_seen
    }

    /// Tells others how far the client is: up to the first that the kernel does not have yet.
    pub(super) fn tell_position(&self) {
        let next = self.queue.iter().find_map(|piece| piece.chunk.position());
        let position = next.unwrap_or(self.cursor);
        self.member.cursor.store(position, Relaxed);
    }

    /// Everything up to here was written or passed over, with this many bytes.
    pub(in crate::connection) fn moved_to(&mut self, cursor: u64, bytes: u32) {
        self.cursor = cursor;
        self.member.cursor.store(cursor, Relaxed);
        self.member.bytes_sent.fetch_add(bytes.into(), Relaxed);
    }

    /// A beat was written.
    pub(in crate::connection) fn saw_beat(&mut self, number: u64) {
        self.beat_seen = number;
    }

    /// The socket took only the first bytes of these events: the one that was begun is
    /// lined up.
    pub(in crate::connection) fn took_part(
        &mut self,
        entries: &[LogEntry],
        bytes: usize,
        tally: &mut Tally,
        now: Instant,
    ) {
        let mut rest = bytes;
        let before = self.cursor;
        let mut whole = None;
        for entry in entries {
            let len = entry.encoded().ws_frame().len();
            if rest == 0 {
                break;
            }
            self.cursor = entry.sequence();
            if rest < len {
                self.begun = rest;
                self.line_up(Chunk::Entry(entry.clone()));
                break;
            }
            rest -= len;
            let age = age(entry, now);
            tally.delivered(1, (age, age, age), std::iter::once(age));
            whole = Some(entry.sequence());
        }
        if let Some(to) = whole {
            tally.wrote(before, to, 1, now);
        }
        self.tell_position();
    }

    /// The socket took only the first bytes of a beat.
    pub(in crate::connection) fn took_part_of_beat(
        &mut self,
        event: &Arc<EncodedEvent>,
        number: u64,
        bytes: usize,
    ) {
        self.begun = bytes;
        let seen_before = std::mem::replace(&mut self.beat_seen, number);
        let event = Arc::clone(event);
        self.line_up(Chunk::Beat { event, seen_before });
    }
}
