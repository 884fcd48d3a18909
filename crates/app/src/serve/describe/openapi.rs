//! OpenAPI 3.1: every route of the router with its methods, parameters, answers and errors.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use stoat_correlation::CorrelationId;
use stoat_events::{Catalog, EventId};

use super::operations::{Operation, new_cloud_event, operation};
use crate::serve::problem::{HEAD_TIMEOUT, INTERNAL, Kind, Wire};
use crate::serve::router::Route;
use crate::settings::Settings;

/// What references to schemas begin with.
pub(super) const SCHEMAS: &str = "#/components/schemas/";

/// Visible ASCII characters.
pub(super) const VISIBLE: &str = "^[!-~]+$";

/// The document for a server with these settings.
pub(super) fn document(settings: &Settings, catalog: &Catalog) -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .for_serialize()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let paths: Map<String, Value> = Route::described()
        .iter()
        .map(|route| {
            (
                route.name().to_owned(),
                path(route, settings, &mut generator),
            )
        })
        .collect();
    let mut schemas = generator.take_definitions(true);
    schemas.extend(catalog.definitions(SCHEMAS));
    for (name, schema) in [
        ("Event", catalog.any_event_schema(SCHEMAS)),
        ("CloudEvent", Catalog::cloud_event_schema()),
        ("NewCloudEvent", new_cloud_event()),
    ] {
        schemas.insert(name.to_owned(), schema);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "stoat",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "An event hub. A method that a path does not name is answered with 405 and `Allow`, a path that is not named with 404; every error is a problem document.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "headers": headers(),
            "parameters": parameters(),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of the setting `tokens`, or a JSON Web Token.",
                },
                "query": {
                    "type": "apiKey",
                    "in": "query",
                    "name": "token",
                    "description": "The same; what stands in a query is often logged on the way.",
                },
            },
        },
    })
}

/// All methods of one route, those of `Allow`.
fn path(route: &Route, settings: &Settings, generator: &mut SchemaGenerator) -> Value {
    let mut item: Map<String, Value> = methods(route)
        .iter()
        .map(|method| {
            let described = operation(route, method, settings, generator);
            let name = method.as_str().to_ascii_lowercase();
            (name, to_value(route, method, described, generator))
        })
        .collect();
    let in_path = route.name().contains("{id}");
    if in_path {
        let id = json!({
            "name": "id",
            "in": "path",
            "required": true,
            "schema": { "type": "string" },
        });
        item.insert("parameters".to_owned(), json!([id]));
    }
    item.into()
}

fn methods(route: &Route) -> Vec<Method> {
    let names = route.allowed().split(", ");
    names.filter_map(|name| name.parse().ok()).collect()
}

fn to_value(
    route: &Route,
    method: &Method,
    operation: Operation,
    generator: &mut SchemaGenerator,
) -> Value {
    let is_head = method == Method::HEAD;
    let mut responses = Map::new();
    let needs = route.needs(method);
    let (status, mut success) = operation.success;
    if is_head && let Some(success) = success.as_object_mut() {
        success.remove("content");
    }
    responses.insert(status.to_string(), with_headers(success, status));
    let mut kinds = operation.problems;
    kinds.extend([HEAD_TIMEOUT, INTERNAL]);
    kinds.push(Kind::plain(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    if needs.is_some() {
        kinds.push(Kind::plain(StatusCode::UNAUTHORIZED));
        kinds.push(Kind::plain(StatusCode::FORBIDDEN));
    }
    let mut by_status: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    for kind in kinds {
        let same = by_status.entry(kind.status().as_u16()).or_default();
        if !same.contains(&kind) {
            same.push(kind);
        }
    }
    for (status, kinds) in by_status {
        // `/health/ready` says 503 in a form of its own.
        if !responses.contains_key(&status.to_string()) {
            let problem = problem(status, &kinds, is_head, generator);
            responses.insert(status.to_string(), with_headers(problem, status));
        }
    }
    for (status, answer) in operation.more {
        responses.insert(status.to_string(), with_headers(answer, status));
    }
    let any = json!({
        "description": "Any other error",
        "content": problem_content(json!({ "$ref": reference::<Wire<'_>>(generator) })),
    });
    responses.insert("default".to_owned(), any);

    let mut parameters = operation.parameters;
    parameters.extend(
        ["CorrelationId", "TraceParent"]
            .map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })),
    );
    let mut value = json!({
        "operationId": operation_id(route, method),
        "summary": operation.summary,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(right) = needs {
        // Without tokens in the settings nobody needs one.
        value["security"] = json!([{ "bearer": [] }, { "query": [] }, {}]);
        value["description"] = json!(format!(
            "Where tokens are configured, needs one with the right `{}`.",
            right.as_str()
        ));
    }
    if let Some(body) = operation.body {
        value["requestBody"] = body;
    }
    value
}

/// The reference to the schema of a type, which becomes one of the components.
pub(super) fn reference<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    let schema = generator.subschema_for::<T>();
    schema.get("$ref").cloned().unwrap_or_default()
}

fn problem(status: u16, kinds: &[Kind], is_head: bool, generator: &mut SchemaGenerator) -> Value {
    let titles: Vec<&str> = kinds.iter().map(|kind| kind.title()).collect();
    let urns: Vec<String> = kinds.iter().map(|kind| kind.urn()).collect();
    let schema = json!({
        "$ref": reference::<Wire<'_>>(generator),
        "properties": { "type": { "enum": urns }, "status": { "const": status } },
    });
    let mut problem = json!({ "description": titles.join("; ") });
    if !is_head {
        problem["content"] = problem_content(schema);
    }
    problem
}

fn problem_content(schema: Value) -> Value {
    json!({ "application/problem+json": { "schema": schema } })
}

/// Adds the headers that an answer of this status has whatever the route.
fn with_headers(mut answer: Value, status: u16) -> Value {
    let mut names = vec!["X-Correlation-ID", "X-Stoat-Cursor"];
    names.extend(match status {
        401 => Some("WWW-Authenticate"),
        429 | 503 | 507 => Some("Retry-After"),
        _ => None,
    });
    if matches!(status, 401 | 403) {
        names.retain(|name| *name != "X-Stoat-Cursor");
    }
    for name in names {
        answer["headers"][name] = json!({ "$ref": format!("#/components/headers/{name}") });
    }
    answer
}

fn headers() -> Value {
    json!({
        "X-Correlation-ID": {
            "description": "The request's own, where it was valid, else the trace ID of `traceparent`, else a new one.",
            "required": true,
            "schema": { "type": "string", "pattern": VISIBLE, "maxLength": CorrelationId::MAX_LEN },
        },
        "X-Stoat-Cursor": {
            "description": "The newest event: subscribing from there leaves no hole. Absent while the log is empty.",
            "schema": { "type": "string", "pattern": VISIBLE, "maxLength": EventId::MAX_OPAQUE_LEN },
        },
        "Idempotency-Replayed": {
            "description": "This is the answer to an earlier request; nothing was published.",
            "schema": { "const": "true" },
        },
        "Retry-After": {
            "description": "Seconds to wait.",
            "required": true,
            "schema": { "type": "integer", "minimum": 1 },
        },
        "WWW-Authenticate": {
            "required": true,
            "schema": { "const": "Bearer" },
        },
    })
}

fn parameters() -> Value {
    json!({
        "CorrelationId": {
            "name": "X-Correlation-ID",
            "in": "header",
            "description": "Ties the answer, and the events that are published, to this request. One that is not valid is replaced.",
            "schema": { "type": "string", "pattern": VISIBLE, "maxLength": CorrelationId::MAX_LEN },
        },
        "TraceParent": {
            "name": "traceparent",
            "in": "header",
            "description": "W3C Trace Context; counts where there is no X-Correlation-ID.",
            "schema": { "type": "string" },
        },
    })
}

/// Such as `getApiV1Events`.
fn operation_id(route: &Route, method: &Method) -> String {
    let words = route.name().split(|c: char| !c.is_ascii_alphanumeric());
    let mut id = method.as_str().to_ascii_lowercase();
    for word in words.filter(|word| !word.is_empty()) {
        id.push_str(&word[..1].to_ascii_uppercase());
        id.push_str(&word[1..]);
    }
    id
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::serve::problem::KINDS;
    use crate::settings::Flags;

    fn described(variables: &[(&str, &str)]) -> Value {
        let variables = variables.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        let loaded = Settings::load(&Flags::new(), variables, |_| unreachable!()).unwrap();
        document(&loaded.settings, &Catalog::new())
    }

    #[test]
    fn every_route_and_method_is_there() {
        let document = described(&[]);
        let paths = document["paths"].as_object().unwrap();
        let routes = Route::described();
        assert_eq!(paths.len(), routes.len());
        for route in &routes {
            for method in methods(route) {
                let name = method.as_str().to_ascii_lowercase();
                let operation = &paths[route.name()][&name];
                assert!(operation["responses"]["default"].is_object(), "{route:?}");
            }
        }
    }

    #[test]
    fn every_kind_of_problem_is_told_of() {
        let document = described(&[]);
        let mut told = BTreeSet::new();
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                for response in operation["responses"].as_object().into_iter().flatten() {
                    let schema = &response.1["content"]["application/problem+json"]["schema"];
                    for urn in schema["properties"]["type"]["enum"]
                        .as_array()
                        .into_iter()
                        .flatten()
                    {
                        told.insert((response.0.clone(), urn.as_str().unwrap().to_owned()));
                    }
                }
            }
        }
        for kind in KINDS {
            // Of a path or a method that is not described there is nothing to describe.
            let pair = (kind.status().as_u16().to_string(), kind.urn());
            assert!(told.contains(&pair) || kind.status() == 405, "{pair:?}");
        }
    }

    #[test]
    fn limits_are_those_of_the_settings() {
        let text =
            described(&[("STOAT_MAX_BODY", "5KiB"), ("STOAT_MAX_EVENT", "3KiB")]).to_string();
        assert!(text.contains("5KiB") && text.contains("3KiB"));
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = described(&[]);
        let mut left = vec![&document];
        while let Some(value) = left.pop() {
            if let Some(target) = value.get("$ref").and_then(Value::as_str) {
                let pointer = target.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{target}");
            }
            match value {
                Value::Object(members) => left.extend(members.values()),
                Value::Array(items) => left.extend(items),
                _ => {}
            }
        }
    }
}
