//! The pages of the reference that list the routes and the kinds of problems.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};
use stoat_events::Catalog;

use super::openapi::document;
use crate::reference::hold;
use crate::serve::problem::KINDS;
use crate::settings::{Flags, Settings};

const ROUTES: &str = "\
# HTTP API

Written from what the server says of itself at `/openapi.json`, with the settings that it begins with; a
test holds it against the code. What the routes are for, and the rules that they share, is in
[the protocol](../protocol.md#http).

Each request may carry `X-Correlation-ID` and `traceparent`; each answer carries `X-Correlation-ID`, and
all but 401 and 403 carry `X-Stoat-Cursor` once there are events. Each route may also answer 400 for a
request that is no HTTP, 405, 408, 431 and 500. Rights are asked for where tokens are configured.
";

const PROBLEMS: &str = "\
# Problem kinds

Written from the program's own table; a test holds it against the code.

Errors are `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)). `type` stays
the same from version to version: decide by it, not by `title` or `detail`. With the type `about:blank`
the status says all there is to say. What to do with each status:
[publish from any language](../howto/publish.md#what-to-do-with-answers).

| `type` | status | title | from |
|---|---|---|---|
";

/// What every route may answer, which is said once.
const SHARED: [&str; 5] = ["405", "408", "431", "500", "default"];

fn described() -> Map<String, Value> {
    let loaded = Settings::load(&Flags::new(), [], |_| unreachable!()).unwrap();
    let mut document = document(&loaded.settings, &Catalog::new());
    let paths = document["paths"].take();
    serde_json::from_value(paths).unwrap()
}

/// Each method of each path but `head`, with what is said of it.
fn operations(paths: &Map<String, Value>) -> impl Iterator<Item = (String, &str, &Value)> {
    paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        let methods = methods.filter(|(name, _)| !["head", "parameters"].contains(&name.as_str()));
        methods.map(move |(name, operation)| (name.to_ascii_uppercase(), path.as_str(), operation))
    })
}

fn problems(response: &Value) -> impl Iterator<Item = &str> {
    let schema = &response["content"]["application/problem+json"]["schema"];
    let kinds = schema["properties"]["type"]["enum"].as_array();
    kinds.into_iter().flatten().filter_map(Value::as_str)
}

#[test]
fn the_reference_of_the_routes_is_true() {
    let paths = described();
    let mut page = ROUTES.to_owned();
    for (method, path, operation) in operations(&paths) {
        let text = |key: &str| operation[key].as_str().unwrap_or_default();
        let right = text("description").rsplit_once("the right ");
        let right = right.map_or("none", |(_, right)| right.trim_end_matches('.'));
        let summary = text("summary");
        writeln!(page, "\n## {method} {path}\n\n{summary}. Right: {right}.\n").unwrap();

        let mut parameters = String::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            // A reference is to a header that all requests have.
            if let Some(name) = parameter["name"].as_str() {
                let place = parameter["in"].as_str().unwrap();
                let about = parameter["description"].as_str().unwrap_or_default();
                writeln!(parameters, "| `{name}` | {place} | {about} |").unwrap();
            }
        }
        if !parameters.is_empty() {
            writeln!(page, "| parameter | in | |\n|---|---|---|\n{parameters}").unwrap();
        }
        if let Some(body) = operation["requestBody"]["content"].as_object() {
            let types: Vec<String> = body.keys().map(|name| format!("`{name}`")).collect();
            writeln!(page, "Body: {}.\n", types.join(", ")).unwrap();
        }
        page.push_str("| answer | |\n|---|---|\n");
        for (status, response) in operation["responses"].as_object().unwrap() {
            if !SHARED.contains(&status.as_str()) {
                let about = response["description"].as_str().unwrap_or_default();
                writeln!(page, "| {status} | {about} |").unwrap();
            }
        }
    }
    hold("http.md", &page);
}

#[test]
fn the_reference_of_the_problems_is_true() {
    let paths = described();
    let mut from: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (method, path, operation) in operations(&paths) {
        for response in operation["responses"].as_object().unwrap().values() {
            for kind in problems(response) {
                from.entry(kind.to_owned())
                    .or_default()
                    .push(format!("`{method} {path}`"));
            }
        }
    }
    let all = operations(&paths).count();
    let mut page = PROBLEMS.to_owned();
    for kind in KINDS {
        let (urn, status) = (kind.urn(), kind.status().as_u16());
        let from = match from.get(&urn) {
            // Of these the status says all there is to say.
            _ if urn == "about:blank" => continue,
            Some(routes) if routes.len() < all => routes.join(", "),
            _ => "every route".to_owned(),
        };
        writeln!(page, "| `{urn}` | {status} | {} | {from} |", kind.title()).unwrap();
    }
    hold("problems.md", &page);
}
