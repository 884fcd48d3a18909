//! What each route takes and gives, for OpenAPI.

use http::{Method, StatusCode};
use schemars::SchemaGenerator;
use serde_json::{Value, json};
use stoat_correlation::CorrelationId;
use stoat_events::{EventType, IdempotencyKey, Topic};
use stoat_ws_hub::DeliveryReport;

use super::openapi::{SCHEMAS, VISIBLE, reference};
use crate::serve::connections::List;
use crate::serve::health::Report;
use crate::serve::history;
use crate::serve::problem::{self, Kind};
use crate::serve::publish::{Format, MAX_BATCH, Many, Published};
use crate::serve::router::Route;
use crate::settings::{Settings, format_size};

/// One method of one route.
pub(super) struct Operation {
    pub(super) summary: &'static str,
    pub(super) parameters: Vec<Value>,
    pub(super) body: Option<Value>,
    pub(super) success: (u16, Value),
    /// Answers that are neither the success nor a problem.
    pub(super) more: Vec<(u16, Value)>,
    /// Beside those that every route has.
    pub(super) problems: Vec<Kind>,
}

impl Operation {
    fn new(summary: &'static str, success: (u16, Value)) -> Self {
        Self {
            summary,
            parameters: Vec::new(),
            body: None,
            success,
            more: Vec::new(),
            problems: Vec::new(),
        }
    }
}

/// Describes a method of a route. A route without a description does not compile.
pub(super) fn operation(
    route: &Route,
    method: &Method,
    settings: &Settings,
    generator: &mut SchemaGenerator,
) -> Operation {
    match route {
        Route::WebSocket => web_socket(),
        Route::Sse => server_sent_events(),
        Route::Asset(asset) => Operation {
            more: vec![(304, json!({ "description": "The client has it already" }))],
            ..Operation::new(
                "A file for browsers",
                answer(
                    200,
                    "The file, part of the program",
                    asset.content_type,
                    json!({ "type": "string" }),
                ),
            )
        },
        Route::Events if *method == Method::POST => publish(settings, generator),
        Route::Events => retained(),
        Route::Delivery(_) => Operation {
            problems: vec![problem::INVALID_EVENT_ID, problem::NO_DELIVERY_REPORT],
            ..Operation::new(
                "Who got an event",
                json_answer("The report", &reference::<DeliveryReport>(generator)),
            )
        },
        Route::Connections => Operation {
            problems: vec![Kind::plain(StatusCode::SERVICE_UNAVAILABLE)],
            ..Operation::new(
                "The live connections",
                json_answer("The connections", &reference::<List>(generator)),
            )
        },
        Route::Connection(_) => Operation {
            problems: vec![problem::NOT_FOUND],
            ..Operation::new(
                "Close a connection with 1008",
                (204, json!({ "description": "It is told to close" })),
            )
        },
        Route::Live => Operation::new(
            "Whether the process lives",
            json_answer("It lives", &reference::<Report>(generator)),
        ),
        Route::Ready => {
            let report = reference::<Report>(generator);
            let (_, unready) = json_answer("It is not ready: `checks` says what is wrong", &report);
            Operation {
                more: vec![(503, unready)],
                ..Operation::new(
                    "Whether the server is ready for work",
                    json_answer("It is ready", &report),
                )
            }
        }
        Route::Metrics => metrics(),
        Route::Described(wanted) => Operation::new(
            wanted.about(),
            answer(
                200,
                "Generated from the program's code and its settings",
                wanted.content_type(),
                json!(true),
            ),
        ),
    }
}

fn metrics() -> Operation {
    let text = json!({ "schema": { "type": "string" } });
    let answer = json!({
        "description": "Prometheus text format, or OpenMetrics where `Accept` names it",
        "content": { "text/plain": text, "application/openmetrics-text": text },
    });
    Operation::new("Metrics", (200, answer))
}

/// What says where a reader begins, and what it wants to see.
fn following() -> Vec<Value> {
    let mut parameters = query(&stoat_ws_hub::query_schema());
    parameters.push(json!({
        "name": "Last-Event-ID",
        "in": "header",
        "description": "As `last_event_id`, and wins over it.",
        "schema": { "type": "string" },
    }));
    parameters
}

fn server_sent_events() -> Operation {
    let refusals = [
        StatusCode::BAD_REQUEST,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    Operation {
        parameters: following(),
        problems: refusals.map(Kind::plain).to_vec(),
        ..Operation::new(
            "Follow events as Server-Sent Events",
            answer(
                200,
                "`id:` is the event's ID, `event:` its type, `data:` its JSON",
                "text/event-stream",
                json!({ "type": "string" }),
            ),
        )
    }
}

fn web_socket() -> Operation {
    let refusals = [
        StatusCode::BAD_REQUEST,
        StatusCode::UPGRADE_REQUIRED,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    Operation {
        parameters: following(),
        problems: refusals.map(Kind::plain).to_vec(),
        ..Operation::new(
            "Follow events over a WebSocket; /asyncapi.json describes it",
            (
                101,
                json!({ "description": "The connection is a WebSocket now" }),
            ),
        )
    }
}

fn publish(settings: &Settings, generator: &mut SchemaGenerator) -> Operation {
    let one = new_event();
    let batch = json!({ "type": "array", "items": one, "minItems": 1, "maxItems": MAX_BATCH });
    let data = json!({
        "description": "The payload, where the headers `ce-…` say the rest.",
        "type": "object",
    });
    let cloud = json!({ "$ref": format!("{SCHEMAS}NewCloudEvent") });
    let content = |format: Format| {
        let schema = match format {
            Format::Json => json!({ "anyOf": [one, batch, data] }),
            Format::Ndjson => json!({
                "description": "One event a line.",
                "type": "string",
            }),
            Format::CloudEvent => cloud.clone(),
            Format::CloudEvents => json!({
                "type": "array",
                "items": cloud,
                "minItems": 1,
                "maxItems": MAX_BATCH,
            }),
        };
        (format.essence().to_owned(), json!({ "schema": schema }))
    };
    let (_, mut published) = json_answer("Published", &Value::Null);
    published["content"]["application/json"]["schema"] = json!({
        "oneOf": [
            { "$ref": reference::<Published<'_>>(generator) },
            { "$ref": reference::<Many<'_>>(generator) },
        ],
    });
    published["headers"]["Idempotency-Replayed"] =
        json!({ "$ref": "#/components/headers/Idempotency-Replayed" });
    let mut parameters = vec![json!({
        "name": "Idempotency-Key",
        "in": "header",
        "description": format!(
            "A repeat with the same key within {} gets the first answer and publishes nothing.",
            crate::settings::format_duration(settings.idempotency_ttl)
        ),
        "schema": { "type": "string", "pattern": VISIBLE, "maxLength": IdempotencyKey::MAX_LEN },
    })];
    parameters.extend(cloud_event_headers());
    Operation {
        parameters,
        body: Some(json!({
            "description": format!(
                "At most {} in all, and {} for each event as it is sent to clients.",
                format_size(settings.max_body as u64),
                format_size(settings.max_event as u64),
            ),
            "required": true,
            "content": Format::ALL.into_iter().map(content).collect::<serde_json::Map<_, _>>(),
        })),
        problems: vec![
            problem::MALFORMED_JSON,
            problem::INVALID_IDEMPOTENCY_KEY,
            problem::INCOMPLETE_BODY,
            problem::TOPIC_FORBIDDEN,
            problem::BODY_TIMEOUT,
            problem::BODY_TOO_LARGE,
            problem::BATCH_TOO_LARGE,
            problem::EVENT_TOO_LARGE,
            problem::UNSUPPORTED_MEDIA_TYPE,
            problem::INVALID_EVENT,
            problem::PAYLOAD_MISMATCH,
            problem::EMPTY_BATCH,
            problem::IDEMPOTENCY_KEY_REUSED,
            problem::RATE_EXCEEDED,
            problem::UNAVAILABLE,
            problem::OUTCOME_UNKNOWN,
            problem::DRAINING,
            problem::DISK_FULL,
            Kind::plain(StatusCode::SERVICE_UNAVAILABLE),
        ],
        ..Operation::new(
            "Publish one event, or a batch: all or nothing, and together in the log",
            (201, published),
        )
    }
}

/// The attributes of a CloudEvent in the binary mode.
fn cloud_event_headers() -> impl Iterator<Item = Value> {
    let headers = [
        (
            "specversion",
            "Of a CloudEvent in the binary mode: `1.0`. `ce-id`, `ce-source` and `ce-type` are needed beside it, the body is the data.",
        ),
        ("id", "Names the event, together with `ce-source`."),
        ("source", "A URI reference."),
        ("type", "The type."),
        (
            "time",
            "The timestamp, as RFC 3339 says it; without it the server's clock.",
        ),
        ("subject", "The topic."),
        (
            "correlationid",
            "The correlation ID; without it that of the request.",
        ),
    ];
    headers.into_iter().map(|(name, about)| {
        json!({
            "name": format!("ce-{name}"),
            "in": "header",
            "description": about,
            "schema": { "type": "string" },
        })
    })
}

/// What is published; the server adds the rest.
fn new_event() -> Value {
    let name = |longest: usize| json!({ "type": ["string", "null"], "maxLength": longest });
    json!({
        "type": "object",
        "properties": {
            "type": {
                "type": "string",
                "maxLength": EventType::MAX_LEN,
                "not": {
                    "description": "Only the server publishes these.",
                    "enum": EventType::NAMED.iter().filter(|named| named.is_reserved()).collect::<Vec<_>>(),
                },
            },
            "payload": { "type": ["object", "null"] },
            "topic": name(Topic::MAX_LEN),
            "correlation_id": name(CorrelationId::MAX_LEN),
        },
        "required": ["type"],
        "additionalProperties": false,
    })
}

/// A CloudEvent that is published.
pub(super) fn new_cloud_event() -> Value {
    let text = json!({ "type": "string", "minLength": 1 });
    json!({
        "description": "Extensions other than `correlationid`, and `dataschema`, are left behind.",
        "type": "object",
        "properties": {
            "specversion": { "const": "1.0" },
            "id": text,
            "source": { "type": "string", "format": "uri-reference", "minLength": 1 },
            "type": { "type": "string", "maxLength": EventType::MAX_LEN },
            "time": { "type": ["string", "null"], "format": "date-time" },
            "subject": { "description": "The topic.", "type": ["string", "null"], "maxLength": Topic::MAX_LEN },
            "correlationid": { "type": ["string", "null"], "maxLength": CorrelationId::MAX_LEN },
            "datacontenttype": { "description": "JSON, or absent.", "type": ["string", "null"] },
            "data": { "description": "The payload.", "type": ["object", "null"] },
        },
        "required": ["specversion", "id", "source", "type"],
    })
}

fn retained() -> Operation {
    let page = json!({
        "type": "object",
        "properties": {
            "events": { "type": "array", "items": { "anyOf": [
                { "$ref": format!("{SCHEMAS}Event") },
                { "$ref": format!("{SCHEMAS}CloudEvent") },
            ] } },
            "next": {
                "description": "What to pass as `after` for the next page; null where this one reached the end.",
                "type": ["string", "null"],
            },
            "gap": {
                "description": "Events after the position asked for are gone, or it is of another log.",
                "type": "boolean",
            },
        },
        "required": ["events", "next", "gap"],
    });
    Operation {
        parameters: query(&history::query_schema()),
        problems: vec![
            problem::INVALID_QUERY,
            problem::LOG_NOT_READY,
            Kind::plain(StatusCode::SERVICE_UNAVAILABLE),
        ],
        ..Operation::new(
            "Retained events, oldest first",
            answer(200, "One page", "application/json", page),
        )
    }
}

/// The properties of a schema as query parameters.
fn query(schema: &Value) -> Vec<Value> {
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, property)| {
            let mut schema = property.clone();
            let description = schema.as_object_mut().and_then(|s| s.remove("description"));
            json!({
                "name": name,
                "in": "query",
                "description": description,
                "schema": schema,
            })
        })
        .collect()
}

fn json_answer(description: &str, reference: &Value) -> (u16, Value) {
    answer(
        200,
        description,
        "application/json",
        json!({ "$ref": reference }),
    )
}

fn answer(status: u16, description: &str, content_type: &str, schema: Value) -> (u16, Value) {
    let content = json!({ content_type: { "schema": schema } });
    (
        status,
        json!({ "description": description, "content": content }),
    )
}
