//! The kinds of value that a setting can have: how each is read, bounded and shown.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::origin::Origin;
use super::units::{format_duration, format_size, parse_duration, parse_size};

/// Most origins in the list: each request with an `Origin` is compared with all of them.
const MOST_ORIGINS: usize = 1000;

/// Longest `log_level`.
const LONGEST_LEVEL: usize = 1000;

/// Form of the log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// For people: text, with colours on a terminal.
    #[default]
    Auto,
    /// For people, also where standard error is no terminal.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// How a setting is given as a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// With one value.
    Single,
    /// With values parted by commas, and repeatable.
    List,
    /// Alone, or with `=true` or `=false`.
    Switch,
}

/// A value before it is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Raw<'a> {
    /// From a flag or the environment, or a default.
    Text(&'a str),
    /// From the file.
    File(&'a toml::Value),
}

impl<'a> Raw<'a> {
    /// The text, where the value is one.
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::File(value) => value.as_str(),
        }
    }
}

/// One kind of value; the error of `parse` says what is expected, and never quotes a secret.
pub(super) trait Kind {
    type Value;

    fn parse(&self, raw: Raw<'_>) -> Result<Self::Value, String>;

    /// The value in the form in which the file has it; it reads back the same, secrets excepted,
    /// which are masked.
    fn show(&self, value: &Self::Value) -> toml::Value;

    /// What stands for the value in `--help`.
    fn value_name(&self) -> &'static str;

    fn shape(&self) -> Shape {
        Shape::Single
    }
}

/// A kind whose values have a least and a greatest, and a zero that may stand for "off".
pub(super) trait Ranged: Kind {
    /// Reads a value without looking at the range.
    fn read(&self, raw: Raw<'_>) -> Option<Self::Value>;
    fn is_zero(value: &Self::Value) -> bool;
    fn is_in_range(&self, value: &Self::Value) -> bool;
    /// What is expected, the range included.
    fn expected(&self) -> String;
}

fn parse_ranged<K: Ranged>(kind: &K, raw: Raw<'_>) -> Result<K::Value, String> {
    kind.read(raw)
        .filter(|value| kind.is_in_range(value))
        .ok_or_else(|| kind.expected())
}

/// A duration from `min` to `max`.
pub(super) struct Time {
    pub(super) min: Duration,
    pub(super) max: Duration,
}

impl Kind for Time {
    type Value = Duration;

    fn parse(&self, raw: Raw<'_>) -> Result<Duration, String> {
        parse_ranged(self, raw)
    }

    fn show(&self, value: &Duration) -> toml::Value {
        toml::Value::String(format_duration(*value))
    }

    fn value_name(&self) -> &'static str {
        "DURATION"
    }
}

impl Ranged for Time {
    fn read(&self, raw: Raw<'_>) -> Option<Duration> {
        match raw {
            Raw::File(toml::Value::Integer(seconds)) => {
                u64::try_from(*seconds).ok().map(Duration::from_secs)
            }
            Raw::File(toml::Value::Float(seconds)) => Duration::try_from_secs_f64(*seconds).ok(),
            _ => raw.text().and_then(parse_duration),
        }
    }

    fn is_zero(value: &Duration) -> bool {
        value.is_zero()
    }

    fn is_in_range(&self, value: &Duration) -> bool {
        (self.min..=self.max).contains(value)
    }

    fn expected(&self) -> String {
        let (min, max) = (format_duration(self.min), format_duration(self.max));
        format!("a duration from {min} to {max}: seconds, or text such as 500ms, 30s, 10m, 1h, 2d")
    }
}

/// A number of bytes from `min` to `max`.
pub(super) struct Size {
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Kind for Size {
    type Value = usize;

    fn parse(&self, raw: Raw<'_>) -> Result<usize, String> {
        parse_ranged(self, raw)
    }

    fn show(&self, value: &usize) -> toml::Value {
        toml::Value::String(format_size(as_u64(*value)))
    }

    fn value_name(&self) -> &'static str {
        "SIZE"
    }
}

impl Ranged for Size {
    fn read(&self, raw: Raw<'_>) -> Option<usize> {
        match raw {
            Raw::File(toml::Value::Integer(bytes)) => usize::try_from(*bytes).ok(),
            _ => raw
                .text()
                .and_then(parse_size)
                .and_then(|bytes| usize::try_from(bytes).ok()),
        }
    }

    fn is_zero(value: &usize) -> bool {
        *value == 0
    }

    fn is_in_range(&self, value: &usize) -> bool {
        (self.min..=self.max).contains(&as_u64(*value))
    }

    fn expected(&self) -> String {
        let (min, max) = (format_size(self.min), format_size(self.max));
        format!("a size from {min} to {max}: bytes, or text such as 10kB, 64KiB, 1MiB, 1GiB")
    }
}

/// A whole number from `min` to `max`.
pub(super) struct Count {
    pub(super) min: usize,
    pub(super) max: usize,
}

impl Kind for Count {
    type Value = usize;

    fn parse(&self, raw: Raw<'_>) -> Result<usize, String> {
        parse_ranged(self, raw)
    }

    fn show(&self, value: &usize) -> toml::Value {
        toml::Value::Integer(i64::try_from(*value).unwrap_or(i64::MAX))
    }

    fn value_name(&self) -> &'static str {
        "NUMBER"
    }
}

impl Ranged for Count {
    fn read(&self, raw: Raw<'_>) -> Option<usize> {
        match raw {
            Raw::File(toml::Value::Integer(number)) => usize::try_from(*number).ok(),
            _ => {
                let digits = raw.text()?.trim();
                // `parse` alone would take a sign.
                digits
                    .bytes()
                    .all(|b| b.is_ascii_digit())
                    .then(|| digits.parse().ok())?
            }
        }
    }

    fn is_zero(value: &usize) -> bool {
        *value == 0
    }

    fn is_in_range(&self, value: &usize) -> bool {
        (self.min..=self.max).contains(value)
    }

    fn expected(&self) -> String {
        format!("a whole number from {} to {}", self.min, self.max)
    }
}

/// Another kind, where 0 means that the thing is off.
pub(super) struct Optional<K>(pub(super) K);

impl<K: Ranged> Kind for Optional<K> {
    type Value = Option<K::Value>;

    fn parse(&self, raw: Raw<'_>) -> Result<Self::Value, String> {
        match self.0.read(raw) {
            Some(value) if K::is_zero(&value) => Ok(None),
            Some(value) if self.0.is_in_range(&value) => Ok(Some(value)),
            _ => Err(format!("0 (off), or {}", self.0.expected())),
        }
    }

    fn show(&self, value: &Self::Value) -> toml::Value {
        value
            .as_ref()
            .map_or(toml::Value::Integer(0), |value| self.0.show(value))
    }

    fn value_name(&self) -> &'static str {
        self.0.value_name()
    }
}

/// An address with a port; `localhost` is resolved.
pub(super) struct Listen;

impl Kind for Listen {
    type Value = SocketAddr;

    fn parse(&self, raw: Raw<'_>) -> Result<SocketAddr, String> {
        let expected = || {
            "an IP address (or localhost) and a port, such as 127.0.0.1:8765 or [::1]:0".to_owned()
        };
        let text = raw.text().map(str::trim).ok_or_else(expected)?;
        let localhost = text
            .split_once(':')
            .filter(|(host, _)| host.eq_ignore_ascii_case("localhost"));
        let Some((host, port)) = localhost else {
            return text.parse().map_err(|_| expected());
        };
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(expected());
        }
        let port: u16 = port.parse().map_err(|_| expected())?;
        let addresses: Vec<SocketAddr> = (host, port)
            .to_socket_addrs()
            .map_err(|_| {
                "localhost does not resolve here: give an IP address such as 127.0.0.1".to_owned()
            })?
            .collect();
        // IPv4 first, as the default address is.
        let v4 = addresses.iter().find(|address| address.is_ipv4());
        v4.or(addresses.first()).copied().ok_or_else(expected)
    }

    fn show(&self, value: &SocketAddr) -> toml::Value {
        toml::Value::String(value.to_string())
    }

    fn value_name(&self) -> &'static str {
        "ADDR:PORT"
    }
}

/// A list of exact origins.
pub(super) struct Origins;

impl Kind for Origins {
    type Value = Vec<Origin>;

    fn parse(&self, raw: Raw<'_>) -> Result<Vec<Origin>, String> {
        let items: Option<Vec<&str>> = match raw {
            Raw::Text(text) => Some(
                text.split(',')
                    .filter(|item| !item.trim().is_empty())
                    .collect(),
            ),
            Raw::File(toml::Value::Array(items)) => items.iter().map(toml::Value::as_str).collect(),
            Raw::File(_) => None,
        };
        let items = items.ok_or("a list of texts such as [\"https://app.example\"]")?;
        if items.len() > MOST_ORIGINS {
            return Err(format!("at most {MOST_ORIGINS} origins"));
        }
        let mut origins: Vec<Origin> = Vec::with_capacity(items.len());
        for item in items {
            let origin = Origin::parse(item).map_err(|why| {
                let item = super::text::shorten(item);
                format!("exact origins such as https://app.example:8443, but in \"{item}\" {why}")
            })?;
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        Ok(origins)
    }

    fn show(&self, value: &Vec<Origin>) -> toml::Value {
        let text = |origin: &Origin| toml::Value::String(origin.as_str().to_owned());
        toml::Value::Array(value.iter().map(text).collect())
    }

    fn value_name(&self) -> &'static str {
        "ORIGIN,..."
    }

    fn shape(&self) -> Shape {
        Shape::List
    }
}

/// A path, relative to where the program runs; none where it is empty.
pub(super) struct Path {
    what: &'static str,
    value_name: &'static str,
}

pub(super) const FILE: Path = Path {
    what: "the path of a file",
    value_name: "FILE",
};

pub(super) const DIRECTORY: Path = Path {
    what: "the path of a directory",
    value_name: "DIR",
};

impl Kind for Path {
    type Value = Option<PathBuf>;

    fn parse(&self, raw: Raw<'_>) -> Result<Option<PathBuf>, String> {
        match raw.text() {
            Some(path) if !path.contains('\0') => {
                Ok((!path.is_empty()).then(|| PathBuf::from(path)))
            }
            _ => Err(self.what.to_owned()),
        }
    }

    fn show(&self, value: &Option<PathBuf>) -> toml::Value {
        let path = value.as_deref().unwrap_or_else(|| "".as_ref());
        toml::Value::String(path.to_string_lossy().into_owned())
    }

    fn value_name(&self) -> &'static str {
        self.value_name
    }
}

/// True or false.
pub(super) struct Switch;

impl Kind for Switch {
    type Value = bool;

    fn parse(&self, raw: Raw<'_>) -> Result<bool, String> {
        match raw {
            Raw::File(toml::Value::Boolean(value)) => Ok(*value),
            Raw::Text("true" | "1") => Ok(true),
            Raw::Text("false" | "0") => Ok(false),
            Raw::Text(_) => Err("true or false (or 1 or 0)".to_owned()),
            Raw::File(_) => Err("true or false, without quotes".to_owned()),
        }
    }

    fn show(&self, value: &bool) -> toml::Value {
        toml::Value::Boolean(*value)
    }

    fn value_name(&self) -> &'static str {
        "true|false"
    }

    fn shape(&self) -> Shape {
        Shape::Switch
    }
}

/// The form of the log lines.
pub(super) struct TraceFormat;

impl Kind for TraceFormat {
    type Value = LogFormat;

    fn parse(&self, raw: Raw<'_>) -> Result<LogFormat, String> {
        match raw.text() {
            Some("auto") => Ok(LogFormat::Auto),
            Some("text") => Ok(LogFormat::Text),
            Some("json") => Ok(LogFormat::Json),
            _ => Err("auto, text or json".to_owned()),
        }
    }

    fn show(&self, value: &LogFormat) -> toml::Value {
        toml::Value::String(value.to_string())
    }

    fn value_name(&self) -> &'static str {
        "auto|text|json"
    }
}

/// What is logged, as directives of `tracing_subscriber`.
pub(super) struct Level;

impl Kind for Level {
    type Value = String;

    fn parse(&self, raw: Raw<'_>) -> Result<String, String> {
        let expected =
            "off, error, warn, info, debug or trace, or directives such as info,stoat_app=debug";
        let text = raw
            .text()
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .ok_or(expected)?;
        if text.len() > LONGEST_LEVEL {
            return Err(format!("at most {LONGEST_LEVEL} bytes of {expected}"));
        }
        // A misspelt level would count as the name of a target, and log nothing but its traces.
        let is_level = |part: &str| {
            let levels = ["off", "error", "warn", "info", "debug", "trace"];
            levels
                .iter()
                .any(|level| level.eq_ignore_ascii_case(part.trim()))
        };
        let is_plain = |part: &str| part.contains('=') || is_level(part);
        if text.contains(char::is_control) || !text.contains('[') && !text.split(',').all(is_plain)
        {
            return Err(expected.to_owned());
        }
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => Err(expected.to_owned()),
        }
    }

    fn show(&self, value: &String) -> toml::Value {
        toml::Value::String(value.clone())
    }

    fn value_name(&self) -> &'static str {
        "LEVEL"
    }
}

fn as_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
