//! Schemas with definitions of their own, laid side by side in one object.

use serde_json::{Map, Value};

/// The keywords that hold definitions.
const HOLDERS: [&str; 2] = ["$defs", "definitions"];

/// Adds a schema as `name`, and each definition inside of it as `name.DEFINITION`; references
/// within the schema become `prefix` and such a name.
pub(super) fn flatten(name: &str, mut schema: Value, prefix: &str, into: &mut Map<String, Value>) {
    rename(&mut schema, name, prefix);
    if let Some(root) = schema.as_object_mut() {
        root.remove("$schema");
        root.remove("$id");
        for holder in HOLDERS {
            if let Some(Value::Object(definitions)) = root.remove(holder) {
                for (key, definition) in definitions {
                    into.insert(full_name(name, &key), definition);
                }
            }
        }
    }
    into.insert(name.to_owned(), schema);
}

fn rename(value: &mut Value, name: &str, prefix: &str) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(target) if key == "$ref" => {
                        if let Some(pointer) = target.strip_prefix('#') {
                            *target = format!("{prefix}{}", resolve(pointer, name));
                        }
                    }
                    member => rename(member, name, prefix),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, name, prefix)),
        _ => {}
    }
}

/// Where a pointer into the schema of `name` leads among all definitions.
fn resolve(pointer: &str, name: &str) -> String {
    for holder in HOLDERS {
        let inside = pointer
            .strip_prefix('/')
            .and_then(|rest| rest.strip_prefix(holder)?.strip_prefix('/'));
        if let Some(inside) = inside {
            let (key, rest) = match inside.split_once('/') {
                Some((key, rest)) => (key, format!("/{rest}")),
                None => (inside, String::new()),
            };
            let key = key.replace("~1", "/").replace("~0", "~");
            return full_name(name, &key) + &rest;
        }
    }
    format!("{name}{pointer}")
}

/// A name of letters, digits, dots, dashes and underscores, as all descriptions allow it.
fn full_name(name: &str, key: &str) -> String {
    let plain = |c: char| match c {
        c if c.is_ascii_alphanumeric() || c == '-' => c,
        _ => '_',
    };
    format!("{name}.{}", key.chars().map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn definitions_come_side_by_side() {
        let schema = json!({
            "$schema": "x",
            "properties": {
                "a": { "$ref": "#/$defs/A~1b" },
                "b": { "$ref": "#" },
                "c": { "$ref": "#/properties/a" },
                "d": { "$ref": "#/definitions/D/items" },
                "e": { "$ref": "https://elsewhere.example/x" },
            },
            "$defs": { "A/b": { "items": { "$ref": "#/$defs/A~1b" } } },
            "definitions": { "D": {} },
        });
        let mut all = Map::new();
        flatten("x.y", schema, "#/s/", &mut all);
        let refs = &all["x.y"]["properties"];
        assert_eq!(refs["a"]["$ref"], "#/s/x.y.A_b");
        assert_eq!(refs["b"]["$ref"], "#/s/x.y");
        assert_eq!(refs["c"]["$ref"], "#/s/x.y/properties/a");
        assert_eq!(refs["d"]["$ref"], "#/s/x.y.D/items");
        assert_eq!(refs["e"]["$ref"], "https://elsewhere.example/x");
        assert_eq!(all["x.y.A_b"]["items"]["$ref"], "#/s/x.y.A_b");
        assert_eq!(all.keys().collect::<Vec<_>>(), ["x.y", "x.y.A_b", "x.y.D"]);
        assert!(all["x.y"].get("$defs").is_none() && all["x.y"].get("$schema").is_none());
    }
}
