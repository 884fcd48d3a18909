//! A session as the fan-out sees it: whether it has everything before what is new.

use std::sync::Arc;
use std::time::Instant;

use stoat_events::{EncodedEvent, Filter};

use super::batch::{Batch, Share};
use super::session::Session;
use crate::stats::Tally;

/// The few bytes of a connection that are looked at for each event; the session behind
/// them stays untouched as long as the socket takes everything.
///
/// It is *level* while the session has nothing to send and had read the log to its end.
/// From then on the fan-out brings what is new, and only that moves the cursor. Events
/// that a filter leaves out are not even brought: the fan-out's own position tells that
/// they are past. While it is not level, the connection's task is awake, or waits for the
/// socket, and reads the log by itself.
pub(super) struct Follower {
    session: Box<Session>,
    /// While level: the last event that was written or passed over.
    cursor: u64,
    /// Bytes that the session was not told of yet.
    sent: u32,
    level: bool,
    /// It sees everything, in the frames that all share.
    sees_all: bool,
    /// Its events are in a form of its own: the session makes them.
    own_form: bool,
    /// Why nothing more is to be tried: a write failed, or we did.
    given_up: Option<GivenUp>,
}

/// Why nothing more is tried.
#[derive(Debug, Clone, Copy)]
pub(super) enum GivenUp {
    /// A write failed.
    Lost,
    /// A panic.
    Fault,
}

/// What a follower needs of what is new.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// All of it, as it is.
    Whole,
    /// The session has to look.
    Look,
}

impl Follower {
    pub(super) fn new(session: Session) -> Self {
        Self {
            session: Box::new(session),
            cursor: 0,
            sent: 0,
            level: false,
            sees_all: false,
            own_form: false,
            given_up: None,
        }
    }

    /// The session, told of all that the fan-out did. It is not level any more until it is
    /// [settled](Self::settle).
    pub(super) fn session(&mut self, position: u64) -> &mut Session {
        self.report(position);
        self.level = false;
        &mut self.session
    }

    /// Tells the session what the fan-out did, so that others see it.
    pub(super) fn report(&mut self, position: u64) {
        if self.level {
            self.session.moved_to(self.cursor.max(position), self.sent);
            self.sent = 0;
        }
    }

    /// Leaves what comes to the fan-out, where the session, which has just read the log to
    /// its end, has nothing to do.
    pub(super) fn settle(&mut self) {
        self.level = self.session.is_idle() && self.given_up.is_none();
        self.cursor = self.session.cursor();
        self.own_form = !self.session.takes_shared_frames();
        self.sees_all = self.session.filter().is_all() && !self.own_form;
    }

    pub(super) fn filter(&self) -> &Arc<Filter> {
        self.session.filter()
    }

    pub(super) fn given_up(&self) -> Option<GivenUp> {
        self.given_up
    }

    pub(super) fn give_up(&mut self, why: GivenUp, position: u64) {
        self.report(position);
        self.given_up = Some(why);
        self.level = false;
    }

    /// Whether a frame was begun and not ended.
    pub(super) fn is_within_a_frame(&self) -> bool {
        self.session.is_within_a_frame()
    }

    /// What is to be done about a batch that follows `position`; passes over what is not
    /// for this client.
    pub(super) fn need(&mut self, batch: &Batch, position: u64) -> Need {
        let cursor = self.cursor.max(position);
        if !self.level || cursor >= batch.to() {
            return Need::Nothing;
        }
        if cursor != batch.from() {
            return Need::Look;
        }
        if self.sees_all {
            return Need::Whole;
        }
        match batch.share(self.session.filter()) {
            Share::All if !self.own_form => Need::Whole,
            Share::All | Share::Some => Need::Look,
            Share::None => {
                self.cursor = batch.to();
                Need::Nothing
            }
        }
    }

    /// The socket took this many bytes of a batch that was needed whole. Says whether that
    /// was all; else the session goes on with the event that was begun.
    pub(super) fn took(
        &mut self,
        batch: &Batch,
        bytes: usize,
        tally: &mut Tally,
        now: impl FnOnce() -> Instant,
    ) -> bool {
        tally.sent(bytes);
        if bytes == batch.bytes().len() {
            self.cursor = batch.to();
            self.count(bytes);
            tally.took_whole();
            return true;
        }
        // It was needed whole, so its beginning is where this follower was.
        let session = self.session(batch.from());
        session.moved_to(batch.from(), as_count(bytes));
        session.took_part(batch.entries(), bytes, tally, now());
        false
    }

    /// What is to be done about a beat at `position`.
    pub(super) fn need_of_beat(&self, number: u64, position: u64) -> Need {
        if !self.level || self.session.beat_seen() >= number {
            Need::Nothing
        } else if self.own_form || self.cursor > position {
            Need::Look
        } else {
            Need::Whole
        }
    }

    /// The socket took this many bytes of a beat that was needed whole, as
    /// [`took`](Self::took).
    pub(super) fn took_beat(
        &mut self,
        event: &Arc<EncodedEvent>,
        number: u64,
        position: u64,
        bytes: usize,
        tally: &mut Tally,
    ) -> bool {
        tally.sent(bytes);
        if bytes == event.ws_frame().len() {
            self.count(bytes);
            self.session.saw_beat(number);
            return true;
        }
        let session = self.session(position);
        session.moved_to(position, as_count(bytes));
        session.took_part_of_beat(event, number, bytes);
        false
    }

    fn count(&mut self, bytes: usize) {
        let sent = self.sent.checked_add(as_count(bytes));
        self.sent = sent.unwrap_or_else(|| {
            self.session.moved_to(self.cursor, self.sent);
            as_count(bytes)
        });
    }
}

/// One piece of what is new is far smaller.
fn as_count(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
