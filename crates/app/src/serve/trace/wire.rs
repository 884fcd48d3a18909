//! The messages of the OTLP trace service, as far as they are sent or read
//! ([opentelemetry-proto](https://github.com/open-telemetry/opentelemetry-proto), version 1).

use prost::Message;

use super::clock::Clock;
use super::span::{Ended, Kind, Value};

/// Writes the request that exports spans.
pub(super) fn encode(spans: &[Ended], instance: &str, clock: Clock) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let resource = [
        ("service.name", "stoat"),
        ("service.version", version),
        ("service.instance.id", instance),
    ];
    let request = ExportRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: resource
                    .map(|(key, value)| attribute(key, &value.into()))
                    .into(),
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(Scope {
                    name: "stoat".to_owned(),
                    version: version.to_owned(),
                }),
                spans: spans.iter().map(|span| Span::new(span, clock)).collect(),
            }],
        }],
    };
    request.encode_to_vec()
}

/// How many spans the receiver says that it did not take; 0 where its answer cannot be read.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    let answer = ExportResponse::decode(answer).unwrap_or_default();
    let rejected = answer.partial_success.unwrap_or_default().rejected_spans;
    u64::try_from(rejected).unwrap_or(0)
}

#[derive(Clone, PartialEq, Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3, 5")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Any {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Flag(bool),
    #[prost(int64, tag = "3")]
    Number(i64),
    #[prost(message, tag = "5")]
    List(List),
}

#[derive(Clone, PartialEq, Message)]
struct List {
    #[prost(message, repeated, tag = "1")]
    values: Vec<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
}

const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const ERROR: i32 = 2;

const SAMPLED: u32 = 0x1;
/// The next bit says whether the parent is another program's.
const KNOWS_ITS_PARENT: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;

impl Span {
    fn new(span: &Ended, clock: Clock) -> Self {
        let (kind, remote) = match span.kind {
            Kind::Server {
                has_remote_parent: true,
            } => (SERVER, PARENT_IS_REMOTE),
            Kind::Server { .. } => (SERVER, 0),
            Kind::Internal => (INTERNAL, 0),
        };
        let attributes = span.attributes.iter();
        Self {
            trace_id: span.trace.to_vec(),
            span_id: span.span.to_vec(),
            parent_span_id: span.parent.map(Into::into).unwrap_or_default(),
            name: span.name.clone(),
            kind,
            start_time_unix_nano: clock.unix_nanos(span.started),
            end_time_unix_nano: clock.unix_nanos(span.ended),
            attributes: attributes
                .map(|(key, value)| attribute(key, value))
                .collect(),
            status: span.error.as_ref().map(|error| Status {
                message: error.clone(),
                code: ERROR,
            }),
            flags: SAMPLED | KNOWS_ITS_PARENT | remote,
        }
    }
}

fn attribute(key: &str, value: &Value) -> KeyValue {
    let text = |text: &String| Any::Text(text.clone());
    let any = |value| AnyValue { value: Some(value) };
    let value = match value {
        Value::Text(value) => text(value),
        Value::Number(number) => Any::Number(*number),
        Value::Flag(flag) => Any::Flag(*flag),
        Value::Texts(texts) => Any::List(List {
            values: texts.iter().map(text).map(any).collect(),
        }),
    };
    KeyValue {
        key: key.to_owned(),
        value: Some(any(value)),
    }
}
