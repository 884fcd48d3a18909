//! The WebSocket channel as AsyncAPI.

use serde_json::{Map, Value, json};
use stoat_events::{Catalog, EventType, Filter, Format, TopicPattern};

/// What references to schemas begin with.
const SCHEMAS: &str = "#/components/schemas/";

/// Describes the WebSocket endpoint at `path` in AsyncAPI 3: what it sends, the events of the
/// catalogue among it, and what it takes. `title` and `version` are those of the service.
///
/// ```
/// use stoat_events::Catalog;
/// use stoat_ws_hub::asyncapi;
///
/// let description = asyncapi(&Catalog::new(), "Projects", "1.0.0", "/ws");
/// assert_eq!(description["channels"]["events"]["address"], "/ws");
/// assert!(description["components"]["messages"]["scan_started"].is_object());
/// ```
pub fn asyncapi(catalog: &Catalog, title: &str, version: &str, path: &str) -> Value {
    let events: Vec<(&str, Value)> = catalog
        .types()
        .map(|name| (name, catalog.event_schema(name, SCHEMAS)))
        .collect();
    let mut schemas = catalog.definitions(SCHEMAS);
    schemas.extend(controls());
    // An event's own name begins with a small letter, so these names are free.
    let other = json!({
        "title": "an event of another type",
        "description": "Types are an open set: skip those that are not known.",
        "payload": any_event(catalog),
    });
    let mut messages: Map<String, Value> = events
        .into_iter()
        .map(|(name, payload)| (name.to_owned(), json!({ "name": name, "payload": payload })))
        .collect();
    messages.insert("Other".to_owned(), other);
    let cloud = json!({
        "title": "any event, where `format=cloudevents` is asked for",
        "contentType": "application/cloudevents+json",
        "payload": Catalog::cloud_event_schema(),
    });
    messages.insert("CloudEvent".to_owned(), cloud);
    let sent: Vec<String> = messages.keys().cloned().collect();
    for name in ["Subscribe", "Ping", "Pong"] {
        let payload = json!({ "$ref": format!("{SCHEMAS}{name}") });
        messages.insert(name.to_owned(), json!({ "payload": payload }));
    }
    let in_channel = |name: &str| json!({ "$ref": format!("#/channels/events/messages/{name}") });
    let refer = |name: &String| {
        let target = format!("#/components/messages/{name}");
        (name.clone(), json!({ "$ref": target }))
    };
    let channel = json!({ "$ref": "#/channels/events" });
    json!({
        "asyncapi": "3.0.0",
        "info": { "title": title, "version": version },
        "defaultContentType": "application/json",
        "channels": {
            "events": {
                "address": path,
                "description": "A WebSocket. Each text frame is one event or one control message.",
                "messages": messages.keys().map(refer).collect::<Map<_, _>>(),
                "bindings": {
                    "ws": { "method": "GET", "query": query_schema(), "bindingVersion": "0.1.0" },
                },
            },
        },
        "operations": {
            "sendEvents": {
                "action": "send",
                "summary": "Every event that the filters let through, in the order of the log",
                "channel": channel,
                "messages": sent.iter().map(|name| in_channel(name)).collect::<Vec<_>>(),
            },
            "subscribe": {
                "action": "receive",
                "summary": "Replaces the filters for what follows",
                "channel": channel,
                "messages": [in_channel("Subscribe")],
            },
            "ping": {
                "action": "receive",
                "summary": "Asks for a pong",
                "channel": channel,
                "messages": [in_channel("Ping")],
                "reply": { "channel": channel, "messages": [in_channel("Pong")] },
            },
        },
        "components": { "messages": messages, "schemas": schemas },
    })
}

/// The query parameters that a [`Subscription`](crate::Subscription) is read from, as the
/// properties of one JSON Schema.
pub fn query_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "last_event_id": {
                "description": "Resume after this event; `earliest`: from the oldest that is retained. The header Last-Event-ID wins over it; empty counts as not given.",
                "type": "string",
            },
            "types": list("Only events of these types, separated by commas.", EventType::MAX_LEN),
            "topics": list(
                "Only events of these topics, separated by commas; `x.*`: all below `x`; `*`: all, those without a topic too.",
                TopicPattern::MAX_LEN,
            ),
            "format": {
                "description": "The form of the events: as they are, or as CloudEvents 1.0.",
                "type": "string",
                "enum": Format::ALL.iter().map(|format| format.as_str()).collect::<Vec<_>>(),
                "default": Format::default().as_str(),
            },
        },
    })
}

/// A list in one text; each entry and its comma count.
fn list(description: &str, longest: usize) -> Value {
    json!({
        "description": description,
        "type": "string",
        "maxLength": Filter::MAX_ENTRIES * (longest + 1) - 1,
    })
}

/// The messages of `control.rs`.
pub(crate) fn controls() -> [(String, Value); 3] {
    let action = |name: &str| {
        json!({
            "type": "object",
            "properties": { "action": { "const": name } },
            "required": ["action"],
        })
    };
    let entries = |description: &str, item: Value| {
        json!({
            "description": description,
            "type": ["array", "null"],
            "items": item,
            "maxItems": Filter::MAX_ENTRIES,
        })
    };
    let mut subscribe = action("subscribe");
    let name = |longest: usize| json!({ "type": "string", "maxLength": longest });
    subscribe["properties"]["types"] = entries(
        "The types to see; null or absent: all.",
        name(EventType::MAX_LEN),
    );
    subscribe["properties"]["topics"] = entries(
        "Patterns of the topics to see; null or absent: all.",
        name(TopicPattern::MAX_LEN),
    );
    [
        ("Subscribe".to_owned(), subscribe),
        ("Ping".to_owned(), action("ping")),
        ("Pong".to_owned(), action("pong")),
    ]
}

/// The schema of an event whatever its type; what it says of payloads is with their messages.
fn any_event(catalog: &Catalog) -> Value {
    let mut schema = catalog.json_schema();
    if let Some(schema) = schema.as_object_mut() {
        for keyword in ["$schema", "$defs", "allOf", "title", "description"] {
            schema.remove(keyword);
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Subscription;

    #[test]
    fn every_reference_leads_somewhere() {
        let description = asyncapi(&Catalog::new(), "t", "1", "/ws");
        let mut left = vec![&description];
        let mut seen = 0;
        while let Some(value) = left.pop() {
            if let Some(target) = value.get("$ref").and_then(Value::as_str) {
                let pointer = target.strip_prefix('#').unwrap();
                assert!(description.pointer(pointer).is_some(), "{target}");
                seen += 1;
            }
            match value {
                Value::Object(members) => left.extend(members.values()),
                Value::Array(items) => left.extend(items),
                _ => {}
            }
        }
        assert!(seen > 20, "{seen}");
    }

    #[test]
    fn every_parameter_is_read() {
        let schema = query_schema();
        for name in schema["properties"].as_object().unwrap().keys() {
            let twice = format!("/ws?{name}=a&{name}=a").parse().unwrap();
            let refused = Subscription::from_request(&twice, &Default::default());
            assert_eq!(refused.unwrap_err().field(), name);
        }
    }
}
