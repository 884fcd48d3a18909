//! The payload schemas of `schemas_dir`, and the check of payloads against them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;
use stoat_events::{Catalog, Event, EventType};

/// Most files.
const MOST_FILES: usize = 1000;

/// Largest file.
const LARGEST_FILE: u64 = 1 << 20;

/// Schemas by the name of the type.
#[derive(Debug, Default)]
pub(super) struct Schemas(BTreeMap<String, Schema>);

#[derive(Debug)]
struct Schema {
    event_type: EventType,
    text: Value,
    validator: Validator,
}

/// A payload that breaks its schema.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// A JSON pointer into the payload.
    pub(super) path: String,
    /// What is wrong there, without the value.
    pub(super) why: String,
}

impl Schemas {
    /// Reads every `TYPE.json` of a directory; none where there is no directory.
    ///
    /// # Errors
    /// The directory cannot be read, or a file is no schema of a type that can be published.
    pub(super) fn load(directory: Option<&Path>) -> Result<Self, SchemaError> {
        let Some(directory) = directory else {
            return Ok(Self::default());
        };
        let unreadable = |error: std::io::Error| SchemaError::new(directory, error.to_string());
        let mut schemas = BTreeMap::new();
        for entry in fs::read_dir(directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let schema = Schema::read(&path).map_err(|why| SchemaError::new(&path, why))?;
            schemas.insert(schema.event_type.as_str().to_owned(), schema);
            if schemas.len() > MOST_FILES {
                let why = format!("it has more than {MOST_FILES} schemas");
                return Err(SchemaError::new(directory, why));
            }
        }
        Ok(Self(schemas))
    }

    /// Checks a payload whose type has a schema.
    ///
    /// # Errors
    /// The first place that breaks it.
    pub(super) fn check(&self, event: &Event) -> Result<(), Mismatch> {
        let Some(schema) = self.0.get(event.event_type().as_str()) else {
            return Ok(());
        };
        // It is valid JSON; what cannot be read has a number beyond all bounds.
        let payload: Value = serde_json::from_str(event.payload_json()).map_err(|_| Mismatch {
            path: String::new(),
            why: "a number is too large to be checked".to_owned(),
        })?;
        schema
            .validator
            .validate(&payload)
            .map_err(|error| Mismatch {
                path: error.instance_path().to_string(),
                why: error.masked().to_string(),
            })
    }

    /// Adds them to a catalogue.
    pub(super) fn describe(&self, catalog: Catalog) -> Catalog {
        self.0.values().fold(catalog, |catalog, schema| {
            catalog.with_schema(&schema.event_type, schema.text.clone())
        })
    }
}

impl Schema {
    fn read(path: &Path) -> Result<Self, String> {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let event_type = EventType::parse(stem.unwrap_or_default())
            .map_err(|error| format!("the name of the file must be TYPE.json: {error}"))?;
        if event_type.is_reserved() {
            return Err(format!("only the server publishes `{event_type}`"));
        }
        let file = fs::File::open(path).map_err(|error| error.to_string())?;
        let mut text = String::new();
        file.take(LARGEST_FILE + 1)
            .read_to_string(&mut text)
            .map_err(|error| error.to_string())?;
        if text.len() as u64 > LARGEST_FILE {
            return Err("it is larger than 1 MiB".to_owned());
        }
        let text: Value =
            serde_json::from_str(&text).map_err(|error| format!("it is no JSON: {error}"))?;
        if !text.is_object() {
            return Err("a schema is an object".to_owned());
        }
        refuse_references(&text)?;
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .offline()
            // Time that is linear in the length of the text, whatever the pattern.
            .with_pattern_options(PatternOptions::regex())
            .build(&text)
            .map_err(|error| {
                let place = error.instance_path();
                format!("it is no schema of draft 2020-12, at \"{place}\": {error}")
            })?;
        Ok(Self {
            event_type,
            text,
            validator,
        })
    }
}

/// Refuses references that would not hold in the descriptions, where all schemas are in one document.
fn refuse_references(value: &Value) -> Result<(), String> {
    let members: Box<dyn Iterator<Item = (&str, &Value)>> = match value {
        Value::Object(members) => Box::new(members.iter().map(|(k, v)| (k.as_str(), v))),
        Value::Array(items) => Box::new(items.iter().map(|item| ("", item))),
        _ => return Ok(()),
    };
    for (key, member) in members {
        match (key, member) {
            ("$ref", Value::String(target)) if target != "#" && !target.starts_with("#/") => {
                return Err(format!(
                    "the only references that are taken are within the file (`#/$defs/…`), not `{}`",
                    crate::settings::text::shorten(target)
                ));
            }
            ("$dynamicRef" | "$anchor" | "$dynamicAnchor", Value::String(_)) => {
                return Err(format!("`{key}` is not taken; refer with `#/$defs/…`"));
            }
            (_, member) => refuse_references(member)?,
        }
    }
    Ok(())
}

/// A schema that cannot be used, and where it is.
#[derive(Debug)]
pub struct SchemaError {
    path: PathBuf,
    why: String,
}

impl SchemaError {
    fn new(path: &Path, why: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            why: why.into(),
        }
    }
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "schemas_dir: {}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for SchemaError {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn load(files: &[(&str, &str)]) -> Result<Schemas, SchemaError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Schemas::load(Some(folder.path()))
    }

    fn check(schemas: &Schemas, payload: &str) -> Result<(), Mismatch> {
        let payload = stoat_events::Payload::from_json(payload).unwrap();
        let builder = Event::builder("a.b".parse().unwrap()).payload(&payload);
        schemas.check(&builder.unwrap().build())
    }

    #[test]
    fn a_payload_is_checked_and_its_values_are_not_told() {
        let schema = json!({
            "properties": { "lines": { "items": { "$ref": "#/$defs/line" } } },
            "required": ["lines"],
            "$defs": { "line": { "type": "string", "pattern": "^x+$" } },
        });
        let schemas = load(&[("a.b.json", &schema.to_string()), ("README.md", "x")]).unwrap();
        assert_eq!(check(&schemas, r#"{"lines":["x"]}"#), Ok(()));
        let wrong = check(&schemas, r#"{"lines":["x","secret"]}"#).unwrap_err();
        assert_eq!(wrong.path, "/lines/1");
        assert!(!wrong.why.contains("secret"), "{wrong:?}");
        assert_eq!(check(&schemas, "{}").unwrap_err().path, "");
        let beyond = check(&schemas, r#"{"lines":[],"n":1e400}"#).unwrap_err();
        assert!(beyond.why.contains("number"), "{beyond:?}");
        let catalog = schemas.describe(Catalog::new()).json_schema();
        assert_eq!(catalog["$defs"]["a.b.line"]["type"], "string");
    }

    #[test]
    fn a_bad_file_is_named() {
        for (name, text) in [
            ("A.json", "{}"),
            ("gap.json", "{}"),
            ("a.json", "{"),
            ("a.json", "5"),
            ("a.json", r#"{"type":"strin"}"#),
            ("a.json", r#"{"pattern":"("}"#),
            ("a.json", r##"{"$ref":"#/$defs/none"}"##),
            ("a.json", r#"{"$ref":"https://elsewhere.example/x"}"#),
            ("a.json", r##"{"items":[{"$dynamicRef":"#x"}]}"##),
        ] {
            let error = load(&[(name, text)]).unwrap_err().to_string();
            assert!(error.contains(name), "{name} {text}: {error}");
        }
        assert!(Schemas::load(Some(Path::new("/no/such/folder"))).is_err());
        assert!(Schemas::load(None).unwrap().0.is_empty());
    }
}
