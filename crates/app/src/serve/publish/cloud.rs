//! CloudEvents 1.0: what of one becomes an event, in whichever mode it came.

use std::borrow::Cow;

use serde_json::value::RawValue;
use stoat_events::{CorrelationId, Event, Timestamp, Topic};

use super::parse::{Fault, each_member, event_type, given, kind, string};
use crate::serve::problem::shown;

/// What an event is made from; other attributes are left behind.
#[derive(Debug, Default)]
pub(super) struct Attributes<'a> {
    pub(super) specversion: Option<Cow<'a, str>>,
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) source: Option<Cow<'a, str>>,
    pub(super) event_type: Option<Cow<'a, str>>,
    pub(super) time: Option<Cow<'a, str>>,
    pub(super) subject: Option<Cow<'a, str>>,
    pub(super) correlation_id: Option<Cow<'a, str>>,
    pub(super) data: Option<&'a RawValue>,
}

/// What tells whether events are the same, each part with its length before it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// What names them at their source: `source` and `id`.
    pub(super) names: Vec<u8>,
    /// What becomes of them. It is the same in all modes, and however the JSON is written.
    pub(super) content: Vec<u8>,
}

/// Builds an event, and adds to `identity` what tells it from others.
///
/// `data` is the payload, `subject` the topic, `time` the timestamp (`now` without one), and the
/// extension `correlationid` the correlation ID. `place` says how an attribute is called where it
/// stands.
pub(super) fn build(
    attributes: &Attributes<'_>,
    now: Timestamp,
    place: fn(&str) -> String,
    identity: &mut Identity,
) -> Result<Event, Fault> {
    let fault = |name: &str, why: &str| {
        let name = place(name);
        Fault::of(&name, format_args!("`{name}` {why}"))
    };
    let required = |name: &str, value: &Option<Cow<'_, str>>| match value {
        Some(text) => Ok(text.to_string()),
        None => Err(fault(name, "is missing")),
    };
    if required("specversion", &attributes.specversion)? != "1.0" {
        return Err(fault("specversion", "must be 1.0"));
    }
    let id = required("id", &attributes.id)?;
    let source = required("source", &attributes.source)?;
    if id.is_empty() {
        return Err(fault("id", "is empty"));
    }
    if source.is_empty() || !source.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(fault("source", "must be a URI reference"));
    }
    let event_type = event_type(&place("type"), &required("type", &attributes.event_type)?)?;

    let mut builder = Event::builder(event_type).timestamp(now);
    if let Some(data) = attributes.data {
        let built = builder.payload(data);
        builder = built.map_err(|error| fault("data", &format!("is the payload: {error}")))?;
    }
    if let Some(time) = &attributes.time {
        let time = time.parse::<Timestamp>();
        let time = time.map_err(|_| fault("time", "must be an RFC 3339 date and time"))?;
        builder = builder.timestamp(time);
    }
    if let Some(subject) = &attributes.subject {
        let topic = Topic::parse(subject);
        let topic = topic.map_err(|error| fault("subject", &format!("is the topic: {error}")))?;
        builder = builder.topic(topic);
    }
    if let Some(correlation_id) = &attributes.correlation_id {
        let id = CorrelationId::parse(correlation_id);
        let id = id.map_err(|error| Fault::of(&place("correlationid"), error))?;
        builder = builder.correlation_id(id);
    }
    let event = builder.build();
    for part in [&source, &id] {
        put(&mut identity.names, Some(part));
    }
    // What the server adds is not the publisher's.
    let time = attributes
        .time
        .as_ref()
        .map(|_| event.timestamp().to_string());
    for part in [
        Some(event.event_type().as_str()),
        event.topic().map(Topic::as_str),
        time.as_deref(),
        attributes.correlation_id.as_deref(),
        Some(event.payload_json()),
    ] {
        put(&mut identity.content, part);
    }
    Ok(event)
}

fn put(bytes: &mut Vec<u8>, part: Option<&str>) {
    let len = part.map_or(u64::MAX, |part| part.len() as u64);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(part.unwrap_or_default().as_bytes());
}

/// Builds an event from a CloudEvent in JSON.
pub(super) fn build_json(
    raw: &RawValue,
    now: Timestamp,
    identity: &mut Identity,
) -> Result<Event, Fault> {
    if !raw.get().starts_with('{') {
        return Err(Fault {
            field: None,
            detail: format!("a CloudEvent must be an object, got {}", kind(raw)),
        });
    }
    let mut members = Members::default();
    each_member(raw, |name, value| members.take(name, value))?;
    if let Some(fault) = members.fault {
        return Err(fault);
    }
    if given(members.data_base64).is_some() {
        let detail = "`data_base64` cannot be carried: `data` must be a JSON object";
        return Err(Fault::of("data_base64", detail));
    }
    let text = |name: &str, value| given(value).map(|raw| string(name, raw)).transpose();
    if let Some(text) = text("datacontenttype", members.datacontenttype)? {
        check_content_type("datacontenttype", &text)?;
    }
    let attributes = Attributes {
        specversion: text("specversion", members.specversion)?,
        id: text("id", members.id)?,
        source: text("source", members.source)?,
        event_type: text("type", members.event_type)?,
        time: text("time", members.time)?,
        subject: text("subject", members.subject)?,
        correlation_id: text("correlationid", members.correlation_id)?,
        data: members.data,
    };
    build(&attributes, now, str::to_owned, identity)
}

/// Checks that data of this type is JSON.
pub(super) fn check_content_type(place: &str, text: &str) -> Result<(), Fault> {
    let text = text.to_ascii_lowercase();
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence == "application/json" || essence.ends_with("+json") {
        return Ok(());
    }
    let detail = format!("`{place}` must be of JSON, got \"{}\"", shown(&text));
    Err(Fault::of(place, detail))
}

/// Whether an attribute may have this name.
pub(super) fn is_name(name: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !name.is_empty() && name.bytes().all(letters)
}

/// The members as they stand, and the first thing that is wrong with their names.
#[derive(Default)]
struct Members<'a> {
    specversion: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    source: Option<&'a RawValue>,
    event_type: Option<&'a RawValue>,
    time: Option<&'a RawValue>,
    subject: Option<&'a RawValue>,
    correlation_id: Option<&'a RawValue>,
    datacontenttype: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    data_base64: Option<&'a RawValue>,
    fault: Option<Fault>,
}

impl<'a> Members<'a> {
    fn take(&mut self, name: &str, value: &'a RawValue) {
        let slot = match name {
            "specversion" => &mut self.specversion,
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.event_type,
            "time" => &mut self.time,
            "subject" => &mut self.subject,
            "correlationid" => &mut self.correlation_id,
            "datacontenttype" => &mut self.datacontenttype,
            "data" => &mut self.data,
            "data_base64" => &mut self.data_base64,
            _ => {
                if !is_name(name) {
                    let detail = format!(
                        "\"{}\" is no attribute: these have lower-case letters and digits only",
                        shown(name)
                    );
                    self.fault.get_or_insert_with(|| Fault::of(name, detail));
                }
                return;
            }
        };
        if slot.replace(value).is_some() {
            let fault = || Fault::of(name, format_args!("`{name}` is given twice"));
            self.fault.get_or_insert_with(fault);
        }
    }
}
