//! JSON Schema as TypeScript types.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{Catalog, envelope};

/// What references to definitions begin with here.
const PREFIX: &str = "#";

/// Names that the module has beside those of the payloads.
const OWN_NAMES: [&str; 4] = ["AnyEvent", "EventOf", "KnownEvent", "Payloads"];

/// The module with the types of a catalogue.
pub(super) fn module(catalog: &Catalog) -> String {
    let definitions = catalog.definitions(PREFIX);
    let names = names(&definitions);
    let name = |key: &str| names.get(key).map_or("unknown", String::as_str);
    let mut text =
        "// The types of events, generated from the declarations of the program that sends them.\n"
            .to_owned();
    for (key, schema) in &definitions {
        text.push('\n');
        comment(&mut text, schema, "");
        declare(&mut text, name(key), &type_of(schema, &names, ""));
    }

    let payloads: Map<String, Value> = catalog
        .types()
        .map(|key| (key.to_owned(), json!({ "$ref": format!("{PREFIX}{key}") })))
        .collect();
    let required: Vec<&String> = payloads.keys().collect();
    let payloads = json!({ "properties": payloads, "required": required });
    text.push_str("\n/** The payload of each type of event. */\n");
    declare(&mut text, "Payloads", &type_of(&payloads, &names, ""));

    // The parameters of the type stand where the schema has what is of one event alone.
    let parameters = BTreeMap::from([
        ("T".to_owned(), "T".to_owned()),
        ("P".to_owned(), "P".to_owned()),
    ]);
    let mut envelope = envelope(json!({ "$ref": "#P" }));
    envelope["properties"]["type"] = json!({ "$ref": "#T" });
    text.push_str("\n/** An event of the type `T` with the payload `P`. */\n");
    declare(
        &mut text,
        "EventOf<T extends string, P>",
        &type_of(&envelope, &parameters, ""),
    );
    text.push_str(
        "\n/** An event of a type that is listed here; its `type` tells which. */\n\
         export type KnownEvent = { [T in keyof Payloads]: EventOf<T, Payloads[T]> }[keyof Payloads];\n\
         \n/** Any event, also of a type that came later than this file. */\n\
         export type AnyEvent = EventOf<string, Record<string, unknown>>;\n",
    );
    text
}

fn declare(text: &mut String, name: &str, r#type: &str) {
    // Aliases and not interfaces: only they fit into a `Record`.
    let _ = writeln!(text, "export type {name} = {type};");
}

/// A name in TypeScript for each definition: `invoice.paid` becomes `InvoicePaid`.
fn names(definitions: &Map<String, Value>) -> BTreeMap<String, String> {
    let mut taken: BTreeSet<String> = OWN_NAMES.map(str::to_owned).into();
    let mut names = BTreeMap::new();
    for key in definitions.keys() {
        let words = key.split(|c: char| !c.is_ascii_alphanumeric());
        let pascal: String = words.map(capitalised).collect();
        let mut name = pascal.clone();
        for number in 2.. {
            if taken.insert(name.clone()) {
                break;
            }
            name = format!("{pascal}{number}");
        }
        names.insert(key.clone(), name);
    }
    names
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

/// The type of the values that a schema allows, or a wider one.
fn type_of(schema: &Value, names: &BTreeMap<String, String>, indent: &str) -> String {
    let Some(schema) = schema.as_object() else {
        return if schema == &Value::Bool(false) {
            "never"
        } else {
            "unknown"
        }
        .to_owned();
    };
    let mut parts = Vec::new();
    if let Some(Value::String(target)) = schema.get("$ref") {
        let name = target.strip_prefix(PREFIX).and_then(|key| names.get(key));
        parts.push(name.map_or("unknown", String::as_str).to_owned());
    }
    if let Some(value) = schema.get("const") {
        parts.push(literal(value));
    } else if let Some(Value::Array(values)) = schema.get("enum") {
        parts.push(join(values.iter().map(literal).collect(), " | "));
    } else if let Some(simple) = by_type(schema, names, indent) {
        parts.push(simple);
    }
    for (keyword, separator) in [("anyOf", " | "), ("oneOf", " | "), ("allOf", " & ")] {
        if let Some(Value::Array(schemas)) = schema.get(keyword) {
            let types = schemas.iter().map(|schema| type_of(schema, names, indent));
            parts.push(join(types.collect(), separator));
        }
    }
    // It narrows nothing.
    parts.retain(|part| part != "unknown");
    match parts.len() {
        0 => "unknown".to_owned(),
        _ => join(parts, " & "),
    }
}

fn by_type(
    schema: &Map<String, Value>,
    names: &BTreeMap<String, String>,
    indent: &str,
) -> Option<String> {
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ if schema.contains_key("properties") => vec!["object"],
        _ => return None,
    };
    let types = types.into_iter().map(|name| match name {
        "string" | "boolean" | "null" => name.to_owned(),
        "integer" | "number" => "number".to_owned(),
        "array" => array(schema, names, indent),
        "object" => object(schema, names, indent),
        _ => "unknown".to_owned(),
    });
    Some(join(types.collect(), " | "))
}

fn array(schema: &Map<String, Value>, names: &BTreeMap<String, String>, indent: &str) -> String {
    if let Some(Value::Array(items)) = schema.get("prefixItems") {
        let items = items.iter().map(|item| type_of(item, names, indent));
        let more = match schema.get("items") {
            Some(Value::Bool(false)) => String::new(),
            _ if schema.contains_key("maxItems") => String::new(),
            _ => ", ...unknown[]".to_owned(),
        };
        return format!("[{}{more}]", items.collect::<Vec<_>>().join(", "));
    }
    let items = schema.get("items").unwrap_or(&Value::Bool(true));
    format!("Array<{}>", type_of(items, names, indent))
}

fn object(schema: &Map<String, Value>, names: &BTreeMap<String, String>, indent: &str) -> String {
    let Some(Value::Object(properties)) = schema.get("properties") else {
        let values = schema
            .get("additionalProperties")
            .unwrap_or(&Value::Bool(true));
        return format!("Record<string, {}>", type_of(values, names, indent));
    };
    let is_required = |key: &str| {
        let required = schema.get("required").and_then(Value::as_array);
        required.is_some_and(|required| required.iter().any(|name| name == key))
    };
    let inner = format!("{indent}  ");
    let mut text = "{\n".to_owned();
    for (key, property) in properties {
        comment(&mut text, property, &inner);
        let mark = if is_required(key) { "" } else { "?" };
        let name = match is_identifier(key) {
            true => key.clone(),
            false => Value::from(key.as_str()).to_string(),
        };
        let r#type = type_of(property, names, &inner);
        let _ = writeln!(text, "{inner}{name}{mark}: {type};");
    }
    text + indent + "}"
}

fn is_identifier(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Values that are neither objects nor arrays are types of their own.
fn literal(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => "unknown".to_owned(),
        value => value.to_string(),
    }
}

/// Joins types; each is in parentheses where it would fall apart.
fn join(types: Vec<String>, separator: &str) -> String {
    match types.len() {
        0 => "never".to_owned(),
        1 => types.concat(),
        _ => {
            let held = types.into_iter().map(|part| {
                let loose = separator == " & " && part.contains(" | ") && !part.starts_with('{');
                if loose { format!("({part})") } else { part }
            });
            held.collect::<Vec<_>>().join(separator)
        }
    }
}

/// Writes a schema's description as a comment.
fn comment(text: &mut String, schema: &Value, indent: &str) {
    if let Some(description) = schema.get("description").and_then(Value::as_str) {
        let safe = description.replace("*/", "* /");
        let lines: Vec<&str> = safe.lines().map(str::trim).collect();
        let _ = writeln!(text, "{indent}/** {} */", lines.join(" "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventType;

    fn typed(schema: Value) -> String {
        let names = BTreeMap::from([("a.b".to_owned(), "AB".to_owned())]);
        type_of(&schema, &names, "")
    }

    #[test]
    fn schemas_become_types() {
        for (schema, expected) in [
            (json!(true), "unknown"),
            (json!(false), "never"),
            (json!({}), "unknown"),
            (json!({ "$ref": "#a.b" }), "AB"),
            (json!({ "$ref": "elsewhere" }), "unknown"),
            (json!({ "type": ["integer", "null"] }), "number | null"),
            (json!({ "enum": ["a\"", 1, null] }), r#""a\"" | 1 | null"#),
            (json!({ "type": "string", "const": "x" }), r#""x""#),
            (
                json!({ "type": "array", "items": { "type": ["string", "null"] } }),
                "Array<string | null>",
            ),
            (json!({ "type": "array" }), "Array<unknown>"),
            (
                json!({ "type": "array", "prefixItems": [{ "type": "string" }, true], "items": false }),
                "[string, unknown]",
            ),
            (json!({ "type": "object" }), "Record<string, unknown>"),
            (
                json!({ "type": "object", "additionalProperties": { "type": "number" } }),
                "Record<string, number>",
            ),
            (
                json!({ "anyOf": [{ "$ref": "#a.b" }, { "type": "null" }] }),
                "AB | null",
            ),
            (
                json!({ "allOf": [{ "$ref": "#a.b" }, { "oneOf": [{ "const": 1 }, { "const": 2 }] }] }),
                "AB & (1 | 2)",
            ),
            (
                json!({
                    "properties": { "a-b": { "description": "x */ y" }, "c": { "type": "string" } },
                    "required": ["c"],
                }),
                "{\n  /** x * / y */\n  \"a-b\"?: unknown;\n  c: string;\n}",
            ),
        ] {
            assert_eq!(typed(schema.clone()), expected, "{schema}");
        }
    }

    #[test]
    fn names_do_not_collide() {
        let custom = |name: &str| EventType::parse(name).unwrap();
        let catalog = Catalog::new()
            .with_schema(&custom("a.b"), json!({}))
            .with_schema(&custom("a_b"), json!({}))
            .with_schema(&custom("any_event"), json!({}));
        let text = catalog.typescript();
        for line in [
            "export type AB = unknown;",
            "export type AB2 = unknown;",
            "export type AnyEvent2 = unknown;",
            "  \"a.b\": AB;",
            "  a_b: AB2;",
            "  topic?: string;",
            "  type: T;",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
