//! `GET /api/v1/events`: what is retained, page by page.

use std::borrow::Cow;
use std::time::Duration;

use http::{StatusCode, Uri};
use serde_json::{Value, json};
use stoat_events::{
    EventId, EventLog, Filter, Format, InvalidFilter, InvalidFormat, LogEntry, NotReady, ReadLimit,
    ReadStatus, Resume, Scope,
};
use tokio::time::timeout;

use super::answer::{Answer, text};
use super::problem::{INVALID_QUERY, Problem, shown};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// What is read from the log at a time.
const CHUNK: ReadLimit = ReadLimit {
    events: 256,
    bytes: 1 << 20,
};
/// A page ends after the event that reaches this many bytes.
const MAX_PAGE_BYTES: usize = 4 << 20;
/// The most that a page has with an event of the usual size at its end.
pub(super) const MOST_BYTES: usize = MAX_PAGE_BYTES + (64 << 10) + MAX_LIMIT * FORM_BYTES;
/// What a form other than the usual one adds to an event.
const FORM_BYTES: usize = 256;
/// The most time for one chunk that is not in memory.
const FETCH: Duration = Duration::from_secs(10);
/// A page ends after so many events were looked at, whatever the filters let through.
const MAX_SCANNED: u64 = 100_000;

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    resume: Resume,
    limit: usize,
    filter: Filter,
    format: Format,
}

impl Query {
    /// Reads `after`, `limit`, `types`, `topics` and `format`; other parameters are left to others.
    ///
    /// `after` is an event ID; absent, empty or `earliest` it means the oldest event retained. A
    /// `limit` over 1000 counts as 1000.
    ///
    /// # Errors
    /// 400, naming the parameter that is given twice or is malformed.
    pub(super) fn from_uri(uri: &Uri) -> Result<Self, Problem> {
        let mut after: Option<Cow<'_, str>> = None;
        let mut limit = None;
        let mut types = None;
        let mut topics = None;
        let mut format: Option<Cow<'_, str>> = None;
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let slot = match &*name {
                "after" => &mut after,
                "limit" => &mut limit,
                "types" => &mut types,
                "topics" => &mut topics,
                "format" => &mut format,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                let detail = format!("the parameter `{name}` is given twice");
                return Err(Problem::new(INVALID_QUERY, detail).field(&name));
            }
        }
        Ok(Self {
            resume: match Resume::parse(after.as_deref().unwrap_or_default()) {
                Resume::Live => Resume::Earliest,
                resume => resume,
            },
            limit: limit.map_or(Ok(DEFAULT_LIMIT), |text| parse_limit(&text))?,
            filter: Filter::from_lists(types.as_deref(), topics.as_deref()).map_err(
                |error: InvalidFilter| {
                    Problem::new(INVALID_QUERY, error.to_string()).field(error.field())
                },
            )?,
            format: format
                .map_or(Ok(Format::default()), |name| Format::parse(&name))
                .map_err(|error: InvalidFormat| {
                    Problem::new(INVALID_QUERY, error.to_string()).field("format")
                })?,
        })
    }

    /// In which form the events are asked for.
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Where the page begins.
    pub(super) fn resume(&self) -> &Resume {
        &self.resume
    }

    /// The same for a reader that has a right to this only.
    #[must_use]
    pub(super) fn within(mut self, scope: &Scope) -> Self {
        self.filter = self.filter.within(scope.clone());
        self
    }
}

/// The parameters that a [`Query`] is read from, as the properties of one JSON Schema.
pub(super) fn query_schema() -> Value {
    let mut schema = stoat_ws_hub::query_schema();
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.remove("last_event_id");
    }
    schema["properties"]["after"] = json!({
        "description": "Only events after this one; absent, empty or `earliest`: from the oldest.",
        "type": "string",
    });
    schema["properties"]["limit"] = json!({
        "description": format!("The most events of a page; more than {MAX_LIMIT} counts as that."),
        "type": "integer",
        "minimum": 1,
        "default": DEFAULT_LIMIT,
    });
    schema
}

fn parse_limit(text: &str) -> Result<usize, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || text.bytes().all(|byte| byte == b'0') {
        let detail = format!(
            "`limit` must be a number from 1 to {MAX_LIMIT}, got \"{}\"",
            shown(text)
        );
        return Err(Problem::new(INVALID_QUERY, detail).field("limit"));
    }
    // What does not fit is larger than the largest page.
    Ok(text.parse().unwrap_or(MAX_LIMIT).min(MAX_LIMIT))
}

/// Some of the retained events, oldest first.
///
/// A page may have fewer events than were asked for, or none, and still not be the last one: it
/// also ends by its size, and by how much had to be looked at. Only `next` tells.
#[derive(Debug)]
pub(super) struct Page {
    events: Vec<LogEntry>,
    /// The position up to which everything was looked at.
    scanned_to: EventId,
    /// `scanned_to` is where the log ended when the page was begun, or beyond.
    is_last: bool,
    /// Events after the position asked for are gone, or the position is of another log.
    gap: bool,
}

/// Reads one page. The log is never locked for more than a chunk, and never chased: the page
/// ends at the latest where the log ended when it was begun.
///
/// # Errors
/// [`NotReady`] where the log does not bring events that it has.
pub(super) async fn page(log: &dyn EventLog, query: &Query) -> Result<Page, NotReady> {
    let bounds = log.bounds();
    let start = log.attach(&query.resume);
    let mut page = Page {
        events: Vec::new(),
        scanned_to: bounds.id(start.cursor),
        is_last: false,
        gap: start.gap.is_some(),
    };
    let mut cursor = start.cursor;
    let mut bytes = 0;
    let mut scanned = 0;
    let mut chunk = Vec::new();
    'page: while cursor < bounds.last && scanned < MAX_SCANNED {
        if scanned > 0 {
            tokio::task::yield_now().await;
        }
        chunk.clear();
        match log.read(cursor, CHUNK, &mut chunk) {
            ReadStatus::Evicted => {
                // The log moved on between two chunks: what follows is not contiguous.
                page.gap = true;
                cursor = log.bounds().before_oldest().max(cursor + 1);
                continue;
            }
            ReadStatus::Stored => {
                let fetched = timeout(FETCH, log.fetch(cursor, CHUNK)).await;
                chunk = fetched.map_err(|_| NotReady::new("old events do not come"))?;
                if chunk.is_empty() {
                    // Gone by now; the next look says so.
                    tokio::task::yield_now().await;
                    continue;
                }
            }
            ReadStatus::Read if chunk.is_empty() => {
                // The log leaves numbers out; there is nothing in between.
                cursor = cursor.max(bounds.last);
                break;
            }
            ReadStatus::Read => {}
        }
        for entry in chunk.drain(..) {
            let is_full = page.events.len() == query.limit || bytes >= MAX_PAGE_BYTES;
            if is_full || cursor >= bounds.last {
                break 'page;
            }
            cursor = entry.sequence();
            scanned += 1;
            let encoded = entry.encoded();
            if query.filter.matches(encoded.event_type(), encoded.topic()) {
                bytes += encoded.json().len();
                page.events.push(entry);
            }
        }
    }
    page.scanned_to = bounds.id(cursor);
    page.is_last = cursor >= bounds.last;
    Ok(page)
}

impl Page {
    /// `{"events":[…],"next":ID or null,"gap":bool}`: `next` is what to pass as `after` for the
    /// next page, or null where this one reaches the end of the log.
    pub(super) fn to_answer(&self, format: Format) -> Answer {
        let bytes: usize = self
            .events
            .iter()
            .map(|entry| entry.encoded().json().len() + 1)
            .sum();
        let mut body = Vec::with_capacity(bytes + 96);
        body.extend_from_slice(br#"{"events":["#);
        for (index, entry) in self.events.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&format.json(entry.encoded()));
        }
        let next = match self.is_last {
            true => "null".to_owned(),
            false => format!("\"{}\"", self.scanned_to),
        };
        body.extend_from_slice(format!(r#"],"next":{next},"gap":{}}}"#, self.gap).as_bytes());
        text(StatusCode::OK, "application/json", body)
    }

    /// Where a reader that has this page goes on without a hole, where that is the end of the
    /// log: with a page that is not the last, it is `next` that counts.
    pub(super) fn cursor(&self) -> Option<EventId> {
        (self.is_last && self.scanned_to.sequence() > 0).then_some(self.scanned_to)
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
