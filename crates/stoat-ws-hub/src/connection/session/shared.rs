//! What the fan-out writes to many connections at once, as one session sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use stoat_events::LogEntry;

use super::{Chunk, Phase, Session, age};
use crate::connection::batch::Batch;
use crate::heartbeat::Beat;
use crate::stats::Tally;

impl Session {
    /// Whether a batch, as it is, is what is to be sent next. The common case: the
    /// client sees everything, has everything before it, and nothing else is due.
    pub(in crate::connection) fn wants_all_of(
        &self,
        batch: &Batch,
        beat: Option<&Arc<Beat>>,
    ) -> bool {
        self.is_next(batch, beat)
            && self.filter.is_all()
            && batch.oldest() >= Some(self.attached_at)
    }

    /// Goes past a batch that follows next and holds nothing for this client; `false`
    /// where it does not, or something else is due. Costs no look at the log.
    pub(in crate::connection) fn pass_over(
        &mut self,
        batch: &Batch,
        beat: Option<&Arc<Beat>>,
    ) -> bool {
        let sees = |entry: &LogEntry| {
            let event = entry.encoded();
            self.filter.matches(event.event_type(), event.topic())
        };
        let passes = self.is_next(batch, beat) && !batch.entries().iter().any(sees);
        if passes {
            self.cursor = batch.to();
            self.member.cursor.store(self.cursor, Relaxed);
        }
        passes
    }

    /// Whether a batch follows what the client has had, and nothing else is due.
    fn is_next(&self, batch: &Batch, beat: Option<&Arc<Beat>>) -> bool {
        self.cursor == batch.from()
            && batch.to() > batch.from()
            && self.queue.is_empty()
            && self.gap.is_none()
            && self.beat_seen == crate::heartbeat::number(beat)
            && matches!(self.phase, Phase::Open)
            && self.protocol.output_len() == 0
    }

    /// The socket took this many bytes of a batch that was [wanted](Self::wants_all_of).
    /// Returns whether that was all; else the event that was begun is lined up.
    pub(in crate::connection) fn took(
        &mut self,
        batch: &Batch,
        bytes: usize,
        tally: &mut Tally,
        now: Instant,
    ) -> bool {
        self.deadlines.write_progressed();
        tally.sent(bytes);
        self.member.bytes_sent.fetch_add(bytes as u64, Relaxed);
        let entries = batch.entries();
        let all = bytes == batch.bytes().len();
        if all {
            self.cursor = batch.to();
            let each = entries.iter().map(|entry| age(entry, now));
            tally.delivered(entries.len(), batch.ages(now), each);
        } else {
            self.took_part(entries, bytes, tally, now);
        }
        self.member.cursor.store(self.cursor, Relaxed);
        all
    }

    fn took_part(&mut self, entries: &[LogEntry], bytes: usize, tally: &mut Tally, now: Instant) {
        let mut rest = bytes;
        for entry in entries {
            let len = entry.encoded().ws_frame().len();
            if rest == 0 {
                return;
            }
            self.cursor = entry.sequence();
            if rest < len {
                self.begun = rest;
                self.queue.push_back(Chunk::Entry(entry.clone()));
                return;
            }
            rest -= len;
            let age = age(entry, now);
            tally.delivered(1, (age, age, age), std::iter::empty());
        }
    }
}
