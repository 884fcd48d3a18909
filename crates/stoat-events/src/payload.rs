//! The data of an event: one JSON object, carried and not reinterpreted.

use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned};
use serde_json::value::RawValue;

use crate::DecodeError;
use crate::json::{MAX_DEPTH, compact_in_place};

/// One JSON object as compact text; numbers, strings and the order of keys are
/// as they were given.
///
/// ```
/// use stoat_events::Payload;
///
/// let payload = Payload::from_json(r#"{ "n": 12345678901234567890.10 }"#)?;
/// assert_eq!(payload.as_json(), r#"{"n":12345678901234567890.10}"#);
/// assert_eq!(Payload::default().as_json(), "{}");
/// assert!(Payload::from_json("[1]").is_err());
/// # Ok::<(), stoat_events::InvalidPayload>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload(Box<str>);

impl Payload {
    /// The deepest nesting of objects and arrays, the payload itself included.
    pub const MAX_DEPTH: usize = MAX_DEPTH;

    /// Takes JSON text; `null` counts as not given and becomes `{}`.
    ///
    /// # Errors
    /// [`InvalidPayload`] where `text` is no JSON, no object, or nested deeper
    /// than [`MAX_DEPTH`](Self::MAX_DEPTH).
    pub fn from_json(text: &str) -> Result<Self, InvalidPayload> {
        Self::from_raw(serde_json::from_str(text).map_err(InvalidPayload::syntax)?)
    }

    /// Serialises a value; one that serialises to `null` becomes `{}`.
    ///
    /// # Errors
    /// [`InvalidPayload`] where `value` cannot be serialised to JSON, or not to
    /// an object, or is nested deeper than [`MAX_DEPTH`](Self::MAX_DEPTH).
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, InvalidPayload> {
        let mut buffer = Vec::new();
        write_payload(&mut buffer, value)?;
        Self::from_bytes(buffer)
    }

    /// The object as compact JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// Reads the object into a value.
    ///
    /// # Errors
    /// [`DecodeError`] where the object does not have the shape of `T`.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        serde_json::from_str(&self.0).map_err(DecodeError::new)
    }

    /// Takes JSON that a parser has already seen as valid.
    pub(crate) fn from_raw(raw: &RawValue) -> Result<Self, InvalidPayload> {
        let mut buffer = raw.get().as_bytes().to_vec();
        finish_payload(&mut buffer, 0)?;
        Self::from_bytes(buffer)
    }

    fn from_bytes(buffer: Vec<u8>) -> Result<Self, InvalidPayload> {
        String::from_utf8(buffer)
            .map(|text| Self(text.into()))
            .map_err(|_| InvalidPayload(Cause::Syntax("not UTF-8".into())))
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self("{}".into())
    }
}

/// Writes the text as it is: with `serde_json` no number changes on the way.
impl Serialize for Payload {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// Works with `serde_json` only, as `RawValue` does.
impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_raw(&raw).map_err(serde::de::Error::custom)
    }
}

/// The value was no payload: no JSON, no object, or nested too deep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPayload(Cause);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    Syntax(Box<str>),
    NotAnObject(&'static str),
    TooDeep,
}

impl InvalidPayload {
    /// The text was not JSON, or the value could not be serialised to it.
    pub fn is_malformed(&self) -> bool {
        matches!(self.0, Cause::Syntax(_))
    }

    /// It was JSON, but no object.
    pub fn is_not_an_object(&self) -> bool {
        matches!(self.0, Cause::NotAnObject(_))
    }

    fn syntax(error: serde_json::Error) -> Self {
        Self(Cause::Syntax(error.to_string().into()))
    }
}

impl fmt::Display for InvalidPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Syntax(why) => write!(f, "`payload` is not valid JSON: {why}"),
            Cause::NotAnObject(what) => write!(f, "`payload` must be a JSON object, got {what}"),
            Cause::TooDeep => write!(f, "`payload` must be nested at most {MAX_DEPTH} deep"),
        }
    }
}

impl std::error::Error for InvalidPayload {}

/// Appends `value` to `buffer` as a payload.
pub(crate) fn write_payload<T: Serialize + ?Sized>(
    buffer: &mut Vec<u8>,
    value: &T,
) -> Result<(), InvalidPayload> {
    let start = buffer.len();
    serde_json::to_writer(&mut *buffer, value).map_err(InvalidPayload::syntax)?;
    finish_payload(buffer, start)
}

/// Compacts the JSON value at the end of `buffer` and makes sure that it is an object.
fn finish_payload(buffer: &mut Vec<u8>, start: usize) -> Result<(), InvalidPayload> {
    let kind = match buffer.get(start) {
        Some(b'{') => {
            return compact_in_place(buffer, start).map_err(|_| InvalidPayload(Cause::TooDeep));
        }
        Some(b'n') => {
            buffer.truncate(start);
            buffer.extend_from_slice(b"{}");
            return Ok(());
        }
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(_) => "a number",
        None => "nothing",
    };
    Err(InvalidPayload(Cause::NotAnObject(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn carried_as_given() {
        for text in [
            r#"{"a":1e400,"a":2}"#,
            r#"{"big":123456789012345678901234567890,"dec":0.1000000000000000055511151231257827}"#,
            r#"{"s":"\u00e9 é \ud800 \/"}"#,
        ] {
            assert_eq!(Payload::from_json(text).unwrap().as_json(), text);
            let through_serde: Payload = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&through_serde).unwrap(), text);
        }
    }

    #[test]
    fn null_is_not_given() {
        assert_eq!(Payload::from_json("null").unwrap(), Payload::default());
        assert_eq!(Payload::of(&()).unwrap(), Payload::default());
        assert_eq!(Payload::of(&None::<u8>).unwrap(), Payload::default());
    }

    #[test]
    fn refused() {
        for (text, expected) in [
            ("[]", "an array"),
            ("\"x\"", "a string"),
            ("true", "a boolean"),
            ("-1", "a number"),
        ] {
            let error = Payload::from_json(text).unwrap_err();
            assert!(
                error.is_not_an_object() && error.to_string().contains(expected),
                "{error}"
            );
        }
        for text in [
            "",
            "{",
            "{\"a\":NaN}",
            "{\"a\":Infinity}",
            "{} {}",
            "nul",
            "{a:1}",
        ] {
            assert!(
                Payload::from_json(text).unwrap_err().is_malformed(),
                "{text}"
            );
        }
        let mut deep = json!({});
        for _ in 0..MAX_DEPTH {
            deep = json!([deep]);
        }
        let error = Payload::of(&json!({ "deep": deep })).unwrap_err();
        assert!(error.to_string().contains("128"), "{error}");
    }
}
