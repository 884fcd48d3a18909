//! The sources of settings, laid over each other.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::kind::{Kind, Raw};
use super::show::Line;
use super::suggest::closest;
use super::table::{Definition, table};
use super::text::{escape, shorten};
use super::{Flags, SettingsError};

/// Begins the names of the environment variables that are settings.
const PREFIX: &str = "STOAT_";

/// Variables with the prefix that are no settings: the file's path, and the server of `tail` and `publish`.
const NOT_SETTINGS: &[&str] = &["STOAT_CONFIG", "STOAT_URL", "STOAT_TOKEN"];

/// Largest configuration file that is read.
const LARGEST_FILE: u64 = 1 << 20;

/// Where a setting's value comes from, lowest rank first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// Nobody gave it.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name, dashes included.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", escape(&path.to_string_lossy())),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Reads a configuration file of at most 1 MiB; the error says why it cannot be read.
///
/// # Errors
/// The file is missing, unreadable, too large or not UTF-8.
pub fn read_file(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(LARGEST_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > LARGEST_FILE {
        return Err("it is larger than 1 MiB".to_owned());
    }
    Ok(text)
}

/// The process's environment variables that begin with `STOAT_`.
///
/// # Errors
/// One of them is not UTF-8.
pub fn process_environment() -> Result<Vec<(String, String)>, SettingsError> {
    let ours = std::env::vars_os()
        .filter(|(name, _)| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
    ours.map(
        |(name, value)| match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => Ok((name, value)),
            (Ok(name), Err(_)) => Err(unreadable(&name)),
            (Err(name), _) => Err(unreadable(&name.to_string_lossy())),
        },
    )
    .collect()
}

/// All that was given, before it is read.
pub(super) struct Layers {
    flags: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    file: Option<(PathBuf, toml::Table)>,
}

impl Layers {
    /// Takes the sources in, refuses keys that are no settings, and lists variables that are none.
    pub(super) fn gather(
        flags: &Flags,
        environment: impl IntoIterator<Item = (String, String)>,
        read: impl FnOnce(&Path) -> Result<String, String>,
    ) -> Result<(Self, Vec<String>), SettingsError> {
        let environment: BTreeMap<String, String> = environment
            .into_iter()
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        let file = match config_path(flags, &environment)? {
            Some((path, source)) => {
                let table = parse_file(&path, source, read)?;
                Some((path, table))
            }
            None => None,
        };
        let layers = Self {
            flags: flags.values().clone(),
            environment,
            file,
        };
        let definitions = table();
        layers.refuse_unknown(&definitions)?;
        let warnings = layers.unknown_variables(&definitions);
        Ok((layers, warnings))
    }

    /// Reads one setting from every layer that has it, and keeps that of the highest rank.
    pub(super) fn value<K: Kind>(
        &self,
        definition: &Definition,
        kind: &K,
        lines: &mut Vec<Line>,
    ) -> Result<K::Value, SettingsError> {
        let mut given = (Raw::Text(definition.default), Source::Default);
        let mut value = read_value(definition, kind, &given)?;
        for layer in self.given(definition) {
            value = read_value(definition, kind, &layer)?;
            given = layer;
        }
        lines.push(Line::new(definition, &kind.show(&value), given.1));
        Ok(value)
    }

    /// Where the effective value of a setting comes from.
    pub(super) fn source(&self, key: &str) -> Source {
        let definition = table().into_iter().find(|definition| definition.key == key);
        definition
            .and_then(|definition| self.given(&definition).pop())
            .map_or(Source::Default, |(_, source)| source)
    }

    /// The values that were given for a setting, lowest rank first.
    fn given(&self, definition: &Definition) -> Vec<(Raw<'_>, Source)> {
        let variable = definition.variable();
        let file = self
            .file
            .as_ref()
            .and_then(|(path, table)| Some((path, table.get(definition.key)?)));
        let file = file.map(|(path, value)| (Raw::File(value), Source::File(path.clone())));
        let environment = self.environment.get(&variable);
        let environment = environment.map(|text| (Raw::Text(text), Source::Environment(variable)));
        let flag = self.flags.get(definition.key);
        let flag = flag.map(|text| {
            (
                Raw::Text(text),
                Source::Flag(format!("--{}", definition.flag())),
            )
        });
        file.into_iter().chain(environment).chain(flag).collect()
    }

    fn refuse_unknown(&self, definitions: &[Definition]) -> Result<(), SettingsError> {
        let is_known = |key: &str| definitions.iter().any(|definition| definition.key == key);
        let file = self
            .file
            .iter()
            .flat_map(|(path, table)| table.keys().map(|key| (key, Source::File(path.clone()))));
        let flags = self
            .flags
            .keys()
            .map(|key| (key, Source::Flag(format!("--{}", key.replace('_', "-")))));
        let Some((key, source)) = file.chain(flags).find(|(key, _)| !is_known(key)) else {
            return Ok(());
        };
        let mut message = format!("unknown key {} ({source})", shorten(key));
        if let Some(meant) = closest(key, definitions.iter().map(|definition| definition.key)) {
            message.push_str(&format!("; did you mean {meant}?"));
        }
        Err(SettingsError::unknown(key, message))
    }

    fn unknown_variables(&self, definitions: &[Definition]) -> Vec<String> {
        let is_known = |name: &str| {
            NOT_SETTINGS.contains(&name)
                || definitions
                    .iter()
                    .any(|definition| definition.variable() == name)
        };
        let unknown = self.environment.keys().filter(|name| !is_known(name));
        unknown
            .map(|name| {
                let mut message =
                    format!("unknown environment variable {} is ignored", shorten(name));
                let key = name.strip_prefix(PREFIX).unwrap_or(name);
                if let Some(meant) =
                    closest(key, definitions.iter().map(|definition| definition.key))
                {
                    message.push_str(&format!(
                        "; did you mean {PREFIX}{}?",
                        meant.to_ascii_uppercase()
                    ));
                }
                message
            })
            .collect()
    }
}

/// Reads one value; the error names the key, the value, its source and what is expected.
fn read_value<K: Kind>(
    definition: &Definition,
    kind: &K,
    (raw, source): &(Raw<'_>, Source),
) -> Result<K::Value, SettingsError> {
    kind.parse(*raw).map_err(|expected| {
        let key = definition.key;
        let message = if definition.secret {
            format!("bad value for {key} ({source}; secrets are not shown); expected {expected}")
        } else {
            let value = match raw {
                Raw::Text(text) => format!("\"{}\"", shorten(text)),
                Raw::File(value) => shorten(&value.to_string()),
            };
            format!("bad value for {key}: {value} ({source}); expected {expected}")
        };
        SettingsError::value(key, message)
    })
}

/// The path of the configuration file, and what named it.
fn config_path(
    flags: &Flags,
    environment: &BTreeMap<String, String>,
) -> Result<Option<(PathBuf, &'static str)>, SettingsError> {
    let variable = environment
        .get("STOAT_CONFIG")
        .map(|path| (PathBuf::from(path), "STOAT_CONFIG"));
    let flag = flags.config().map(|path| (path.to_owned(), "--config"));
    match flag.or(variable) {
        Some((path, source)) if path.as_os_str().is_empty() => Err(SettingsError::file(format!(
            "{source} is empty; give the path of a TOML file, or leave it out"
        ))),
        given => Ok(given),
    }
}

fn parse_file(
    path: &Path,
    source: &str,
    read: impl FnOnce(&Path) -> Result<String, String>,
) -> Result<toml::Table, SettingsError> {
    let shown = escape(&path.to_string_lossy());
    let text = read(path).map_err(|why| {
        SettingsError::file(format!("cannot read the file {shown} ({source}): {why}"))
    })?;
    text.parse::<toml::Table>().map_err(|error| {
        // Not the error's own text: it quotes the line, which may hold a secret.
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or(&text);
        let line = before.matches('\n').count() + 1;
        let why = shorten(error.message());
        SettingsError::file(format!(
            "the file {shown} ({source}) is not valid TOML: line {line}: {why}"
        ))
    })
}

fn unreadable(name: &str) -> SettingsError {
    SettingsError::value(
        name,
        format!("the environment variable {} is not UTF-8", shorten(name)),
    )
}
