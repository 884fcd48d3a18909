//! The kinds of value that say where the clustered log is, and how it is kept.

use stoat_log_nats::{Servers, Storage};

use super::kind::{Kind, Raw};
use super::text::shorten;

/// Longest name of a stream, or beginning of subjects.
const LONGEST_NAME: usize = 200;

/// The addresses of NATS servers; none where the text is empty. No error quotes one.
pub(super) struct NatsServers;

impl Kind for NatsServers {
    type Value = Option<Servers>;

    fn parse(&self, raw: Raw<'_>) -> Result<Option<Servers>, String> {
        match raw.text() {
            Some("") => Ok(None),
            Some(text) => Servers::parse(text)
                .map(Some)
                .map_err(|error| error.to_string()),
            None => Err("text".to_owned()),
        }
    }

    fn show(&self, servers: &Option<Servers>) -> toml::Value {
        let text = servers.as_ref().map(ToString::to_string);
        toml::Value::String(text.unwrap_or_default())
    }

    fn value_name(&self) -> &'static str {
        "URL,..."
    }
}

/// A name that NATS takes in subjects, with dots inside where it is more than one.
pub(super) struct NatsName {
    pub(super) dots: bool,
}

impl Kind for NatsName {
    type Value = String;

    fn parse(&self, raw: Raw<'_>) -> Result<String, String> {
        let expected = match self.dots {
            true => "letters, digits, - and _, with dots between",
            false => "letters, digits, - and _",
        };
        let text = raw.text().ok_or(expected)?;
        let is_token = |token: &str| {
            let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            !token.is_empty() && token.chars().all(is_good)
        };
        let is_good = match self.dots {
            true => text.split('.').all(is_token),
            false => is_token(text),
        };
        if is_good && text.len() <= LONGEST_NAME {
            Ok(text.to_owned())
        } else {
            Err(format!("{expected}, not \"{}\"", shorten(text)))
        }
    }

    fn show(&self, name: &String) -> toml::Value {
        toml::Value::String(name.clone())
    }

    fn value_name(&self) -> &'static str {
        "NAME"
    }
}

/// Where the stream is kept.
pub(super) struct NatsStorage;

impl Kind for NatsStorage {
    type Value = Storage;

    fn parse(&self, raw: Raw<'_>) -> Result<Storage, String> {
        match raw.text() {
            Some("file") => Ok(Storage::File),
            Some("memory") => Ok(Storage::Memory),
            _ => Err("file or memory".to_owned()),
        }
    }

    fn show(&self, storage: &Storage) -> toml::Value {
        let text = match storage {
            Storage::Memory => "memory",
            _ => "file",
        };
        toml::Value::from(text)
    }

    fn value_name(&self) -> &'static str {
        "file|memory"
    }
}
