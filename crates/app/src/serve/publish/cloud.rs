//! CloudEvents 1.0 in JSON: what of one becomes an event.

use serde_json::value::RawValue;
use stoat_events::{CorrelationId, Event, Timestamp, Topic};

use super::parse::{Fault, each_member, event_type, given, kind, string};
use crate::serve::problem::shown;

/// Builds an event from a CloudEvent, and adds its `source` and `id`, which name it, to `names`.
///
/// `data` is the payload, `subject` the topic, `time` the timestamp (`now` without one), and the
/// extension `correlationid` the correlation ID. Other extensions and `dataschema` are left behind:
/// an event has no place for them.
pub(super) fn build(raw: &RawValue, now: Timestamp, names: &mut Vec<u8>) -> Result<Event, Fault> {
    if !raw.get().starts_with('{') {
        return Err(Fault {
            field: None,
            detail: format!("a CloudEvent must be an object, got {}", kind(raw)),
        });
    }
    let mut attributes = Attributes::default();
    each_member(raw, |name, value| attributes.take(name, value))?;
    if let Some(fault) = attributes.fault {
        return Err(fault);
    }
    let required = |name: &str, value: Option<&RawValue>| match given(value) {
        Some(raw) => Ok(string(name, raw)?.into_owned()),
        None => Err(Fault::of(name, format_args!("`{name}` is missing"))),
    };
    if required("specversion", attributes.specversion)? != "1.0" {
        return Err(Fault::of("specversion", "`specversion` must be 1.0"));
    }
    let id = required("id", attributes.id)?;
    let source = required("source", attributes.source)?;
    if id.is_empty() {
        return Err(Fault::of("id", "`id` is empty"));
    }
    if source.is_empty() || !source.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Fault::of("source", "`source` must be a URI reference"));
    }
    let event_type = event_type(&required("type", attributes.event_type)?)?;
    check_data(&attributes)?;

    let mut builder = Event::builder(event_type).timestamp(now);
    if let Some(data) = attributes.data {
        let built = builder.payload(data);
        builder = built
            .map_err(|error| Fault::of("data", format_args!("`data` is the payload: {error}")))?;
    }
    if let Some(time) = given(attributes.time) {
        let time = string("time", time)?.parse::<Timestamp>();
        builder = builder.timestamp(
            time.map_err(|_| Fault::of("time", "`time` must be an RFC 3339 date and time"))?,
        );
    }
    if let Some(subject) = given(attributes.subject) {
        let topic = Topic::parse(&string("subject", subject)?).map_err(|error| {
            Fault::of("subject", format_args!("`subject` is the topic: {error}"))
        })?;
        builder = builder.topic(topic);
    }
    if let Some(correlation_id) = given(attributes.correlation_id) {
        let text = string("correlationid", correlation_id)?;
        let id = CorrelationId::parse(&text).map_err(|error| Fault::of("correlationid", error))?;
        builder = builder.correlation_id(id);
    }
    for part in [&source, &id] {
        names.extend_from_slice(&(part.len() as u64).to_le_bytes());
        names.extend_from_slice(part.as_bytes());
    }
    Ok(builder.build())
}

fn check_data(attributes: &Attributes<'_>) -> Result<(), Fault> {
    if given(attributes.data_base64).is_some() {
        let detail = "`data_base64` cannot be carried: `data` must be a JSON object";
        return Err(Fault::of("data_base64", detail));
    }
    let Some(content_type) = given(attributes.datacontenttype) else {
        return Ok(());
    };
    let text = string("datacontenttype", content_type)?.to_ascii_lowercase();
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence == "application/json" || essence.ends_with("+json") {
        return Ok(());
    }
    let detail = format!(
        "`datacontenttype` must be of JSON, got \"{}\"",
        shown(&text)
    );
    Err(Fault::of("datacontenttype", detail))
}

/// The attributes as they stand, and the first thing that is wrong with their names.
#[derive(Default)]
struct Attributes<'a> {
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

impl<'a> Attributes<'a> {
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
                let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
                if name.is_empty() || !name.bytes().all(letters) {
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
