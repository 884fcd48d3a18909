//! One log line: its fields, and its two forms.

use std::error::Error;
use std::fmt::{self, Write};

use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;
use tracing::Level;
use tracing::field::{Field, Visit};

use crate::settings::text::{escape, is_unfit};

/// Most bytes of one field.
const LONGEST: usize = 8 * 1024;

/// Bytes of one field that are made room for at once; a UUID fits.
const USUAL: usize = 48;

/// Names that each line has by itself; a field of this name gets an underscore behind it.
const RESERVED: [&str; 3] = ["timestamp", "level", "target"];

/// The name of the field with the text of an event.
const MESSAGE: &str = "message";

/// The fields of a span or an event, each name once, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    /// Takes in fields, which win over those that are there.
    pub(super) fn overwrite(&mut self, newer: Self) {
        for (name, value) in newer.0 {
            self.set(name, value);
        }
    }

    /// Takes in fields whose names are not there yet.
    pub(super) fn fill(&mut self, outer: &Self) {
        for (name, value) in &outer.0 {
            // A span's field of this name is not the text of the event.
            if *name != MESSAGE && self.get(name).is_none() {
                self.0.push((name, value.clone()));
            }
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(have, _)| *have == name)
            .map(|(_, value)| value)
    }

    fn set(&mut self, name: &'static str, value: Value) {
        match self.0.iter_mut().find(|(have, _)| *have == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    fn put(&mut self, field: &Field, value: Value) {
        let name = field.name();
        self.set(name.strip_prefix("r#").unwrap_or(name), value);
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity and no NaN.
        self.put(
            field,
            serde_json::Number::from_f64(value)
                .map_or_else(|| value.to_string().into(), Value::Number),
        );
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, bounded(format_args!("{value}")));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put(field, bounded(format_args!("{value}")));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, bounded(format_args!("{value:?}")));
    }
}

/// One event, ready to be written.
pub(super) struct Line<'a> {
    pub(super) time: OffsetDateTime,
    pub(super) level: Level,
    pub(super) target: &'a str,
    pub(super) fields: Fields,
}

impl Line<'_> {
    /// One JSON object with all fields at its top, and a line break.
    pub(super) fn to_json(&self) -> String {
        let message = self
            .fields
            .get(MESSAGE)
            .cloned()
            .unwrap_or_else(|| "".into());
        let mut pairs: Vec<(String, Value)> = vec![
            ("timestamp".to_owned(), self.timestamp().into()),
            ("level".to_owned(), self.level.as_str().into()),
            ("target".to_owned(), self.target.into()),
            (MESSAGE.to_owned(), message),
        ];
        for (name, value) in self.others() {
            // An underscore may have made a name that is taken.
            if pairs.iter().all(|(taken, _)| *taken != name) {
                pairs.push((name, value.clone()));
            }
        }
        // Not a `Map`, which would sort the keys.
        let pairs: Vec<String> = pairs
            .into_iter()
            .map(|(name, value)| format!("{}:{value}", Value::String(name)))
            .collect();
        format!("{{{}}}\n", pairs.join(","))
    }

    /// `TIME LEVEL target: message name=value …` and a line break.
    pub(super) fn to_text(&self, ansi: bool) -> String {
        let (dim, colour, plain) = if ansi {
            ("\u{1b}[2m", colour(self.level), "\u{1b}[0m")
        } else {
            ("", "", "")
        };
        let mut text = format!(
            "{dim}{}{plain} {colour}{:>5}{plain} ",
            self.timestamp(),
            self.level.as_str()
        );
        text.push_str(&format!("{dim}{}:{plain}", escape(self.target)));
        if let Some(message) = self.fields.get(MESSAGE) {
            text.push(' ');
            text.push_str(&message.as_str().map_or_else(|| message.to_string(), escape));
        }
        for (name, value) in self.others() {
            text.push_str(&format!(" {dim}{}={plain}{}", escape(&name), word(value)));
        }
        text.push('\n');
        text
    }

    fn timestamp(&self) -> String {
        let format = format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
        );
        self.time
            .to_offset(time::UtcOffset::UTC)
            .format(format)
            .unwrap_or_default()
    }

    /// The fields besides the message, under names that are free.
    fn others(&self) -> impl Iterator<Item = (String, &Value)> {
        self.fields
            .0
            .iter()
            .filter(|(name, _)| *name != MESSAGE)
            .map(|(name, value)| {
                let name = if RESERVED.contains(name) {
                    format!("{name}_")
                } else {
                    (*name).to_owned()
                };
                (name, value)
            })
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG => "\u{1b}[34m",
        Level::TRACE => "\u{1b}[35m",
    }
}

/// A value as one word: text with anything odd in it gets quotes.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) if is_word(text) => text.clone(),
        Value::String(text) => format!(
            "\"{}\"",
            escape(&text.replace('\\', "\\\\").replace('"', "\\\""))
        ),
        other => other.to_string(),
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || is_unfit(c) || "\"\\=".contains(c))
}

/// The text of a value, up to the bound; more is not even formatted.
fn bounded(arguments: fmt::Arguments<'_>) -> Value {
    let mut text = Bounded(String::with_capacity(USUAL));
    // The error means that the bound is reached, or that the value cannot be shown.
    if text.write_fmt(arguments).is_err() {
        text.0.push('…');
    }
    Value::String(text.0)
}

struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LONGEST - self.0.len();
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let end = (0..=room)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        self.0.push_str(&text[..end]);
        Err(fmt::Error)
    }
}
