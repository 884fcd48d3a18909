//! From the bytes of a published body to events; payloads are carried as text, never interpreted.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use stoat_events::{CorrelationId, Event, EventType, Timestamp, Topic};

use super::super::problem::{
    BATCH_TOO_LARGE, EMPTY_BATCH, INVALID_EVENT, MALFORMED_JSON, Problem, shown,
};
use super::MAX_BATCH;
use super::cloud::{self, Identity};
use super::media::Format;

/// A body that holds valid events.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) events: Vec<Event>,
    pub(super) shape: Shape,
    /// Of CloudEvents, which have names at their source.
    pub(super) identity: Option<Identity>,
}

/// What the answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The body was one object.
    One,
    /// The body was a list, be it of one.
    Many,
}

/// Parses a body. Events without a correlation ID get that of the request being served, and all
/// get the timestamp `now`.
///
/// # Errors
/// 400 where it is not UTF-8 or not JSON, 413 for too many events, 422 for none or where one of
/// them breaks a rule.
pub(super) fn parse(format: Format, body: &[u8], now: Timestamp) -> Result<Parsed, Problem> {
    let text = text(body)?;
    match format {
        Format::Json => parse_json(text, b"{[", |raw| build(raw, now)),
        Format::Ndjson => parse_lines(text, now),
        Format::CloudEvent | Format::CloudEvents => {
            let begin: &[u8] = match format {
                Format::CloudEvent => b"{",
                _ => b"[",
            };
            let mut identity = Identity::default();
            let parsed = parse_json(text, begin, |raw| {
                cloud::build_json(raw, now, &mut identity)
            })?;
            Ok(Parsed {
                identity: Some(identity),
                ..parsed
            })
        }
    }
}

/// The text of a body.
pub(super) fn text(body: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        Problem::new(
            MALFORMED_JSON,
            format!("the body is not UTF-8, from byte {at} on"),
        )
    })
}

/// Parses an object or an array of them, which begins with one of the bytes of `begin`.
fn parse_json(
    text: &str,
    begin: &[u8],
    mut build: impl FnMut(&RawValue) -> Result<Event, Fault>,
) -> Result<Parsed, Problem> {
    let raw: &RawValue =
        serde_json::from_str(text).map_err(|error| malformed(error.line(), &error))?;
    let first = raw.get().as_bytes().first();
    let (objects, shape) = match first.filter(|first| begin.contains(first)) {
        Some(b'{') => (vec![raw], Shape::One),
        Some(_) => (elements(raw)?, Shape::Many),
        None => {
            let wanted = match begin {
                b"{" => "an object",
                b"[" => "an array",
                _ => "an object or an array",
            };
            let detail = format!("the body must be {wanted}, got {}", kind(raw));
            return Err(Problem::new(INVALID_EVENT, detail));
        }
    };
    let events = objects.into_iter().enumerate().map(|(index, object)| {
        let event = build(object);
        event.map_err(|fault| fault.into_problem((shape == Shape::Many).then_some(index)))
    });
    Ok(Parsed {
        events: events.collect::<Result<_, _>>()?,
        shape,
        identity: None,
    })
}

fn parse_lines(text: &str, now: Timestamp) -> Result<Parsed, Problem> {
    let lines = || {
        let numbered = text.split('\n').zip(1..);
        numbered.filter(|(line, _)| !line.trim_matches([' ', '\t', '\r']).is_empty())
    };
    let count = lines().count();
    check_count(count)?;
    let mut events = Vec::with_capacity(count);
    for (index, (line, number)) in lines().enumerate() {
        let raw = serde_json::from_str(line).map_err(|error| malformed(number, &error))?;
        let event =
            build(raw, now).map_err(|fault| fault.into_problem(Some(index)).line(number))?;
        events.push(event);
    }
    Ok(Parsed {
        events,
        shape: Shape::Many,
        identity: None,
    })
}

fn check_count(count: usize) -> Result<(), Problem> {
    match count {
        0 => Err(Problem::new(EMPTY_BATCH, "the batch is empty")),
        1..=MAX_BATCH => Ok(()),
        _ => Err(Problem::new(
            BATCH_TOO_LARGE,
            format!("the batch has {count} events, at most {MAX_BATCH} are allowed"),
        )),
    }
}

pub(super) fn malformed(line: usize, error: &serde_json::Error) -> Problem {
    let column = error.column();
    let text = error.to_string();
    let why = text.rsplit_once(" at line ").map_or(&*text, |(why, _)| why);
    Problem::new(
        MALFORMED_JSON,
        format!("not valid JSON at line {line}, column {column}: {why}"),
    )
    .line(line)
    .column(column)
}

/// The elements of an array: kept up to the limit, counted beyond it.
fn elements(array: &RawValue) -> Result<Vec<&RawValue>, Problem> {
    struct Elements<'a>(Vec<&'a RawValue>, usize);

    impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Collect;

            impl<'de> Visitor<'de> for Collect {
                type Value = (Vec<&'de RawValue>, usize);

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an array")
                }

                fn visit_seq<A: SeqAccess<'de>>(
                    self,
                    mut array: A,
                ) -> Result<Self::Value, A::Error> {
                    let mut kept = Vec::new();
                    while kept.len() < MAX_BATCH {
                        match array.next_element()? {
                            Some(element) => kept.push(element),
                            None => break,
                        }
                    }
                    let mut count = kept.len();
                    while array.next_element::<IgnoredAny>()?.is_some() {
                        count += 1;
                    }
                    Ok((kept, count))
                }
            }

            let (kept, count) = deserializer.deserialize_seq(Collect)?;
            Ok(Self(kept, count))
        }
    }

    let Elements(kept, count) =
        serde_json::from_str(array.get()).map_err(|error| malformed(error.line(), &error))?;
    check_count(count)?;
    Ok(kept)
}

/// What is wrong with one event.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) field: Option<String>,
    pub(super) detail: String,
}

impl Fault {
    pub(super) fn of(field: &str, detail: impl fmt::Display) -> Self {
        Self {
            field: Some(field.to_owned()),
            detail: detail.to_string(),
        }
    }

    pub(super) fn into_problem(self, index: Option<usize>) -> Problem {
        let detail = match index {
            Some(index) => format!("event {index}: {}", self.detail),
            None => self.detail,
        };
        let mut problem = Problem::new(INVALID_EVENT, detail);
        if let Some(field) = &self.field {
            problem = problem.field(field);
        }
        if let Some(index) = index {
            problem = problem.index(index);
        }
        problem
    }
}

/// Builds one event from valid JSON text.
fn build(raw: &RawValue, now: Timestamp) -> Result<Event, Fault> {
    if !raw.get().starts_with('{') {
        return Err(Fault {
            field: None,
            detail: format!("an event must be an object, got {}", kind(raw)),
        });
    }
    let mut fields = Fields::default();
    each_member(raw, |key, value| fields.take(key, value))?;
    if let Some(fault) = fields.fault {
        return Err(fault);
    }
    let Some(event_type) = fields.event_type else {
        return Err(Fault::of("type", "`type` is missing"));
    };
    let event_type = self::event_type("type", &string("type", event_type)?)?;
    let mut builder = Event::builder(event_type).timestamp(now);
    if let Some(payload) = fields.payload {
        builder = builder
            .payload(payload)
            .map_err(|error| Fault::of("payload", error))?;
    }
    if let Some(topic) = given(fields.topic) {
        let topic =
            Topic::parse(&string("topic", topic)?).map_err(|error| Fault::of("topic", error))?;
        builder = builder.topic(topic);
    }
    if let Some(id) = given(fields.correlation_id) {
        let id = string("correlation_id", id)?;
        if !id.is_empty() {
            let id =
                CorrelationId::parse(&id).map_err(|error| Fault::of("correlation_id", error))?;
            builder = builder.correlation_id(id);
        }
    }
    Ok(builder.build())
}

/// Reads a type that may be published, from the field of this name.
pub(super) fn event_type(field: &str, name: &str) -> Result<EventType, Fault> {
    let event_type = EventType::parse(name).map_err(|error| Fault::of(field, error))?;
    if event_type.is_reserved() {
        let detail = format!("`{field}` must not be `{event_type}`: only the server publishes it");
        return Err(Fault::of(field, detail));
    }
    Ok(event_type)
}

/// Calls `take` with each member of a valid object, in order.
pub(super) fn each_member<'a>(
    object: &'a RawValue,
    take: impl FnMut(&str, &'a RawValue),
) -> Result<(), Fault> {
    struct Each<F>(F);

    impl<'a, F: FnMut(&str, &'a RawValue)> Visitor<'a> for Each<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some(Text(key)) = map.next_key()? {
                (self.0)(&key, map.next_value()?);
            }
            Ok(())
        }
    }

    // It is valid JSON, so all that can be wrong is a key with half of a surrogate pair.
    serde_json::Deserializer::from_str(object.get())
        .deserialize_map(Each(take))
        .map_err(|_| Fault {
            field: None,
            detail: "a key is not valid Unicode".to_owned(),
        })
}

/// The fields of one event as they stand, and the first thing that is wrong with the keys.
#[derive(Default)]
struct Fields<'a> {
    event_type: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
    topic: Option<&'a RawValue>,
    correlation_id: Option<&'a RawValue>,
    fault: Option<Fault>,
}

impl<'a> Fields<'a> {
    fn take(&mut self, key: &str, value: &'a RawValue) {
        let slot = match key {
            "type" => &mut self.event_type,
            "payload" => &mut self.payload,
            "topic" => &mut self.topic,
            "correlation_id" => &mut self.correlation_id,
            _ => {
                let detail = format!(
                    "unknown key \"{}\": an event has `type`, `payload`, `topic` and `correlation_id`",
                    shown(key)
                );
                self.fault.get_or_insert_with(|| Fault::of(key, detail));
                return;
            }
        };
        if slot.replace(value).is_some() {
            self.fault
                .get_or_insert_with(|| Fault::of(key, format_args!("`{key}` is given twice")));
        }
    }
}

/// A value that is there and not null.
pub(super) fn given(value: Option<&RawValue>) -> Option<&RawValue> {
    value.filter(|raw| raw.get() != "null")
}

/// The text of a JSON string, its escapes resolved.
pub(super) fn string<'a>(field: &str, raw: &'a RawValue) -> Result<Cow<'a, str>, Fault> {
    if !raw.get().starts_with('"') {
        let detail = format!("`{field}` must be a string, got {}", kind(raw));
        return Err(Fault::of(field, detail));
    }
    match serde_json::from_str(raw.get()) {
        Ok(Text(text)) => Ok(text),
        Err(_) => Err(Fault::of(
            field,
            format_args!("`{field}` is not valid Unicode"),
        )),
    }
}

/// Text that is borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

pub(super) fn kind(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}
