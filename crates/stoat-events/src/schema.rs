//! JSON Schema of events, from the types that a program declares.

mod flatten;
mod typescript;

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};
use stoat_correlation::CorrelationId;

use crate::name::NAME_RULE;
use crate::notice::GapPayload;
use crate::{EventId, EventType, Timestamp, Topic, TopicPattern, TypedEvent};

/// Visible ASCII characters.
const VISIBLE: &str = "^[!-~]+$";
/// The one form of [`Timestamp`](crate::Timestamp).
const TIMESTAMP: &str = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}\+00:00$";

/// The event types of a program with the schemas of their payloads, for readers in any language.
///
/// The named types are in it from the beginning; any other type stays allowed, with any object as
/// payload.
///
/// ```
/// use schemars::JsonSchema;
/// use serde::Serialize;
/// use stoat_events::{Catalog, TypedEvent};
///
/// /// An invoice was paid in full.
/// #[derive(Serialize, JsonSchema)]
/// struct InvoicePaid {
///     number: u64,
/// }
///
/// impl TypedEvent for InvoicePaid {
///     const TYPE: &'static str = "invoice.paid";
/// }
///
/// let catalog = Catalog::new().with::<InvoicePaid>();
/// let schema = catalog.json_schema();
/// assert_eq!(schema["$defs"]["invoice.paid"]["required"][0], "number");
/// assert!(catalog.typescript().contains("export type InvoicePaid = {"));
/// ```
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Schemas in draft 2020-12 by the name of the type.
    payloads: BTreeMap<String, Value>,
}

impl Catalog {
    /// The named types.
    pub fn new() -> Self {
        let payloads = EventType::NAMED.iter().map(|named| {
            let schema = match named {
                EventType::Gap => schema_of::<GapPayload<'_>>(),
                EventType::Heartbeat => json!({
                    "description": "A sign of life; `event_id` is the newest position.",
                    "type": "object",
                }),
                _ => json!({ "type": "object" }),
            };
            (named.as_str().to_owned(), schema)
        });
        Self {
            payloads: payloads.collect(),
        }
    }

    /// Adds a typed event; one of the same name is replaced.
    #[must_use]
    pub fn with<E: TypedEvent + JsonSchema>(mut self) -> Self {
        self.payloads.insert(E::TYPE.to_owned(), schema_of::<E>());
        self
    }

    /// Adds a type whose payload has this JSON Schema (draft 2020-12); one of the same name is
    /// replaced.
    #[must_use]
    pub fn with_schema(mut self, event_type: &EventType, payload: Value) -> Self {
        self.payloads
            .insert(event_type.as_str().to_owned(), payload);
        self
    }

    /// The names of the types, sorted.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.payloads.keys().map(String::as_str)
    }

    /// The schema of one event as it is sent (draft 2020-12). A payload's schema applies where the
    /// event is of its type.
    pub fn json_schema(&self) -> Value {
        let mut schema = self.any_event_schema("#/$defs/");
        schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        schema["$defs"] = self.definitions("#/$defs/").into();
        schema
    }

    /// The same without the definitions, for a document that has them at `prefix`.
    pub fn any_event_schema(&self, prefix: &str) -> Value {
        let by_type = self.types().map(|name| {
            json!({
                "if": { "properties": { "type": { "const": name } } },
                "then": { "properties": { "payload": { "$ref": format!("{prefix}{name}") } } },
            })
        });
        let mut schema = envelope(json!({ "type": "object" }));
        schema["title"] = json!("Event");
        schema["description"] = json!(
            "One event, as a WebSocket text frame holds it. Keys that are not known are to be skipped."
        );
        schema["allOf"] = by_type.collect();
        schema
    }

    /// The schema of one event as [`CloudEvent`](crate::CloudEvent).
    pub fn cloud_event_schema() -> Value {
        let mut envelope = envelope(json!({ "type": "object" }));
        let mut take = |key: &str| envelope["properties"][key].take();
        let mut correlation_id = take("correlation_id");
        correlation_id["type"] = json!("string");
        json!({
            "title": "CloudEvent",
            "description": "The same event as a CloudEvent 1.0.",
            "type": "object",
            "properties": {
                "specversion": { "const": "1.0" },
                "id": take("event_id"),
                "source": { "type": "string", "pattern": "^urn:stoat:" },
                "type": take("type"),
                "time": take("timestamp"),
                "subject": take("topic"),
                "correlationid": correlation_id,
                "datacontenttype": { "const": "application/json" },
                "data": take("payload"),
            },
            "required": ["specversion", "id", "source", "type", "time", "datacontenttype", "data"],
        })
    }

    /// The schema of events of one type, around a payload of [`definitions`](Self::definitions)
    /// with the same `prefix`.
    pub fn event_schema(&self, event_type: &str, prefix: &str) -> Value {
        let mut schema = envelope(json!({ "$ref": format!("{prefix}{event_type}") }));
        schema["properties"]["type"] = json!({ "const": event_type });
        schema
    }

    /// The schemas of all payloads, and what they refer to, by names that are keys of one object; a
    /// reference is the `prefix` and such a name.
    pub fn definitions(&self, prefix: &str) -> Map<String, Value> {
        let mut definitions = Map::new();
        for (name, schema) in &self.payloads {
            flatten::flatten(name, schema.clone(), prefix, &mut definitions);
        }
        definitions
    }

    /// The events as TypeScript types: one interface for each payload, `KnownEvent` for the events
    /// of the catalogue, told apart by `type`, and `AnyEvent` for all.
    pub fn typescript(&self) -> String {
        typescript::module(self)
    }
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new()
    }
}

/// The schema of a type, as it is serialised.
fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    if schema.get("type") == Some(&json!("null")) {
        // What serialises to null goes as `{}`.
        schema.insert("type".into(), json!("object"));
    }
    schema.to_value()
}

/// The schema of an event of any type.
fn envelope(payload: Value) -> Value {
    json!({
        "type": "object",
        "properties": {
            "type": name("What happened.", EventType::MAX_LEN),
            "payload": payload,
            "correlation_id": {
                "description": "Ties the event to the request that caused it.",
                "type": ["string", "null"],
                "pattern": VISIBLE,
                "maxLength": CorrelationId::MAX_LEN,
            },
            "timestamp": {
                "description": "When the event was built: RFC 3339, UTC.",
                "type": "string",
                "format": "date-time",
                "pattern": TIMESTAMP,
            },
            "event_id": {
                "description": "The position in the log, to resume from. Opaque.",
                "type": "string",
                "pattern": VISIBLE,
                "maxLength": EventId::MAX_OPAQUE_LEN,
            },
            "topic": name("The topic that it was published to; absent without one.", Topic::MAX_LEN),
        },
        "required": ["type", "payload", "correlation_id", "timestamp", "event_id"],
    })
}

fn name(description: &str, max_len: usize) -> Value {
    json!({
        "description": description,
        "type": "string",
        "pattern": format!("^{NAME_RULE}$"),
        "maxLength": max_len,
    })
}

/// What a checked text needs to be part of a schema.
macro_rules! text_schema {
    ($name:ident, $($rule:tt)*) => {
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", $($rule)* })
            }
        }
    };
}

text_schema!(EventId, "pattern": VISIBLE, "maxLength": Self::MAX_OPAQUE_LEN);
text_schema!(EventType, "pattern": format!("^{NAME_RULE}$"), "maxLength": Self::MAX_LEN);
text_schema!(Timestamp, "format": "date-time", "pattern": TIMESTAMP);
text_schema!(Topic, "pattern": format!("^{NAME_RULE}$"), "maxLength": Self::MAX_LEN);
text_schema!(
    TopicPattern,
    "pattern": format!(r"^([*]|{NAME_RULE}([.][*])?)$"),
    "maxLength": Self::MAX_LEN
);

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[derive(Serialize, JsonSchema)]
    struct Line {
        text: String,
        next: Option<Box<Line>>,
    }

    #[derive(Serialize, JsonSchema)]
    struct Paid {
        lines: Vec<Line>,
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    }

    impl TypedEvent for Paid {
        const TYPE: &'static str = "invoice.paid";
    }

    #[test]
    fn a_consumers_event_joins() {
        let schema = Catalog::new().with::<Paid>().json_schema();
        let definitions = &schema["$defs"];
        assert_eq!(
            definitions["invoice.paid"]["properties"]["lines"]["items"]["$ref"],
            "#/$defs/invoice.paid.Line"
        );
        assert_eq!(definitions["invoice.paid"]["required"], json!(["lines"]));
        assert_eq!(
            definitions["invoice.paid.Line"]["properties"]["next"]["anyOf"][0]["$ref"],
            "#/$defs/invoice.paid.Line"
        );
        for named in EventType::NAMED {
            assert!(definitions[named.as_str()].is_object(), "{named}");
        }
    }

    #[test]
    fn what_serialises_to_null_is_an_object() {
        #[derive(Serialize, JsonSchema)]
        struct Nothing;
        impl TypedEvent for Nothing {
            const TYPE: &'static str = "nothing";
        }
        let schema = Catalog::new().with::<Nothing>().json_schema();
        assert_eq!(schema["$defs"]["nothing"]["type"], "object");
    }

    #[test]
    fn limits_and_grammars_are_those_of_the_types() {
        let schema = Catalog::new().json_schema();
        let properties = &schema["properties"];
        assert_eq!(properties["type"]["maxLength"], EventType::MAX_LEN);
        assert_eq!(properties["topic"]["maxLength"], Topic::MAX_LEN);
        assert_eq!(
            properties["correlation_id"]["maxLength"],
            CorrelationId::MAX_LEN
        );
        assert_eq!(properties["topic"]["pattern"], format!("^{NAME_RULE}$"));
    }
}
