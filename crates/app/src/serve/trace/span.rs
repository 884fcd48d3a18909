//! A span from its begin to its end.

use std::fmt;
use std::time::Instant;

use http::{Extensions, StatusCode};
use stoat_events::{Appended, CorrelationId, EventLog, ReadLimit};
use uuid::Uuid;

use super::{Published, Tracer, Watch};

/// The most correlation IDs that the span of a batch names.
const MOST_IDS: usize = 64;

/// A trace, and a span in it below which others are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    tracer: Tracer,
    trace: [u8; 16],
    span: [u8; 8],
}

impl Place {
    /// A new span in a trace.
    pub(super) fn new(tracer: Tracer, trace: [u8; 16]) -> Self {
        let mut span = [0; 8];
        // The half that is random but for two bits, which keep it from being zero.
        span.copy_from_slice(&Uuid::new_v4().as_bytes()[8..]);
        Self {
            tracer,
            trace,
            span,
        }
    }

    pub(super) fn trace_id(&self) -> TraceId {
        TraceId(self.trace)
    }

    fn below(&self) -> Self {
        Self::new(self.tracer.clone(), self.trace)
    }
}

/// Shown as 32 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) struct TraceId(pub(in crate::serve) [u8; 16]);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Whose work a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An answer to a request.
    Server { has_remote_parent: bool },
    /// A part of that.
    Internal,
}

/// What is said of a span.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
    Texts(Vec<String>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// A span that has ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) started: Instant,
    pub(super) ended: Instant,
    pub(super) attributes: Vec<(&'static str, Value)>,
    /// What went wrong, if anything did.
    pub(super) error: Option<String>,
}

impl Ended {
    /// A span of ours below another, from its begin to its end.
    pub(super) fn below(
        parent: &Place,
        name: &str,
        (started, ended): (Instant, Instant),
        attributes: Vec<(&'static str, Value)>,
    ) -> Self {
        Self {
            trace: parent.trace,
            span: parent.below().span,
            parent: Some(parent.span),
            name: name.to_owned(),
            kind: Kind::Internal,
            started,
            ended,
            attributes,
            error: None,
        }
    }
}

/// A span that is open, or none where nothing is recorded; it ends when it is dropped.
#[derive(Debug)]
pub(in crate::serve) struct Span(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    place: Place,
    span: Ended,
}

impl Span {
    /// Records nothing.
    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn begin(
        place: Place,
        parent: Option<[u8; 8]>,
        name: String,
        kind: Kind,
        started: Instant,
    ) -> Self {
        let span = Ended {
            trace: place.trace,
            span: place.span,
            parent,
            name,
            kind,
            started,
            ended: started,
            attributes: Vec::with_capacity(8),
            error: None,
        };
        Self(Some(Box::new(Open { place, span })))
    }

    /// A part of the work on the request with these extensions.
    pub(in crate::serve) fn part_of(request: &Extensions, name: &str) -> Self {
        let place = request.get::<Place>();
        place.map_or_else(Self::none, |place| Self::below(place, name))
    }

    /// A part of the work of this span.
    pub(in crate::serve) fn part(&self, name: &str) -> Self {
        let place = self.place();
        place.map_or_else(Self::none, |place| Self::below(place, name))
    }

    fn below(parent: &Place, name: &str) -> Self {
        let (place, name) = (parent.below(), name.to_owned());
        Self::begin(
            place,
            Some(parent.span),
            name,
            Kind::Internal,
            Instant::now(),
        )
    }

    pub(super) fn place(&self) -> Option<&Place> {
        self.0.as_ref().map(|open| &open.place)
    }

    /// The ID of the trace that it is part of.
    pub(in crate::serve) fn trace_id(&self) -> Option<TraceId> {
        self.place().map(Place::trace_id)
    }

    pub(super) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(open) = &mut self.0 {
            open.span.attributes.push((key, value.into()));
        }
    }

    /// Says that the work failed, and why.
    pub(in crate::serve) fn fail(&mut self, why: &dyn fmt::Display) {
        if let Some(open) = &mut self.0 {
            open.span.error = Some(why.to_string());
        }
    }

    /// Says how the request was answered.
    pub(in crate::serve) fn answered(&mut self, status: StatusCode) {
        self.set("http.response.status_code", usize::from(status.as_u16()));
        if status.is_server_error() {
            self.set("error.type", status.as_str());
            self.fail(&"");
        }
    }

    /// Looks out for the rounds in which the fan-out brings what is about to be appended to the
    /// clients; to be called before it is appended.
    pub(in crate::serve) fn watch_fan_out(&self) -> Option<Watch> {
        Some(Watch::new(&self.place()?.tracer))
    }

    /// Says what was published to this log, and follows it through the fan-out.
    pub(in crate::serve) fn published(
        &mut self,
        appended: &Appended,
        log: &dyn EventLog,
        watch: Option<Watch>,
    ) {
        let Some(open) = &self.0 else { return };
        let place = open.place.clone();
        let receipts = &appended.receipts;
        let (Some(first), Some(last)) = (receipts.first(), receipts.last()) else {
            return;
        };
        self.set("stoat.event.count", receipts.len());
        self.set("stoat.event.first_id", first.event_id.to_string());
        self.set("stoat.event.last_id", last.event_id.to_string());
        let ids = receipts.iter().filter_map(|r| r.correlation_id.as_ref());
        self.set("stoat.correlation_id", of_events(ids));
        if appended.replayed {
            self.set("stoat.replayed", Value::Flag(true));
        } else if let Some(watch) = watch {
            let last = last.event_id.sequence();
            let done = watch.follow(Published {
                parent: place.clone(),
                last,
                accepted: accepted(log, last),
                appended: Instant::now(),
            });
            if let Some(done) = done {
                place.tracer.ended(done);
            }
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            let Open { place, mut span } = *open;
            span.ended = Instant::now();
            place.tracer.ended(span);
        }
    }
}

/// When the log accepted an event; nothing where it is no longer in memory.
fn accepted(log: &dyn EventLog, sequence: u64) -> Option<Instant> {
    let limit = ReadLimit {
        events: 1,
        bytes: 1,
    };
    let mut entries = Vec::new();
    // Whatever the answer, what is there is what counts.
    let _ = log.read(sequence.saturating_sub(1), limit, &mut entries);
    let entry = entries.pop()?;
    (entry.sequence() == sequence).then(|| entry.accepted_at())
}

/// The ID that all events have, or a list of those that there are.
fn of_events<'a>(ids: impl Iterator<Item = &'a CorrelationId>) -> Value {
    let mut all: Vec<String> = Vec::new();
    for id in ids {
        if all.len() < MOST_IDS && !all.iter().any(|other| other == id.as_str()) {
            all.push(id.to_string());
        }
    }
    match <[String; 1]>::try_from(all) {
        Ok([only]) => Value::Text(only),
        Err(several) => Value::Texts(several),
    }
}
