//! CloudEvents in the binary mode of HTTP: attributes in headers, the data in the body.

use std::borrow::Cow;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::value::RawValue;
use stoat_events::Timestamp;

use super::super::problem::Problem;
use super::cloud::{self, Attributes, Identity};
use super::media;
use super::parse::{Fault, Parsed, Shape, malformed, text};

/// What every CloudEvent has; one of them is enough to be taken for one.
const REQUIRED: [&str; 4] = ["ce-specversion", "ce-id", "ce-source", "ce-type"];

/// Whether these headers hold a CloudEvent. The other modes may have such headers as well; there
/// the body counts.
pub(super) fn is_binary(headers: &HeaderMap) -> bool {
    let is_other = headers.get(CONTENT_TYPE).is_some_and(|value| {
        let prefix = value.as_bytes().get(..media::CLOUD_EVENTS.len());
        prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(media::CLOUD_EVENTS.as_bytes()))
    });
    !is_other && REQUIRED.iter().any(|name| headers.contains_key(*name))
}

/// Builds the event. An empty body is no data; without a `Content-Type` the data is JSON.
///
/// # Errors
/// 400 where the body is not UTF-8 or not JSON, 422 where a header breaks a rule.
pub(super) fn parse(headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Parsed, Problem> {
    let mut attributes = read(headers).map_err(|fault| fault.into_problem(None))?;
    if !body.is_empty() {
        let data: &RawValue =
            serde_json::from_str(text(body)?).map_err(|error| malformed(error.line(), &error))?;
        attributes.data = Some(data);
    }
    let mut identity = Identity::default();
    let event = cloud::build(&attributes, now, place, &mut identity)
        .map_err(|fault| fault.into_problem(None))?;
    Ok(Parsed {
        events: vec![event],
        shape: Shape::One,
        identity: Some(identity),
    })
}

/// Where an attribute stands.
fn place(name: &str) -> String {
    match name {
        "data" => "data".to_owned(),
        name => format!("ce-{name}"),
    }
}

fn read<'a>(headers: &HeaderMap) -> Result<Attributes<'a>, Fault> {
    if let Some(value) = only(headers, CONTENT_TYPE.as_str())? {
        let value = value.to_str().unwrap_or_default();
        cloud::check_content_type("content-type", value)?;
        if !media::is_utf8(value.split(';').skip(1)) {
            let detail = "`content-type` must be of UTF-8";
            return Err(Fault::of("content-type", detail));
        }
    }
    let mut attributes = Attributes::default();
    for header in headers.keys() {
        let header = header.as_str();
        let Some(name) = header.strip_prefix("ce-") else {
            continue;
        };
        if !cloud::is_name(name) {
            let detail = format!("`{header}` is no attribute: these have letters and digits only");
            return Err(Fault::of(header, detail));
        }
        let slot = match name {
            "specversion" => &mut attributes.specversion,
            "id" => &mut attributes.id,
            "source" => &mut attributes.source,
            "type" => &mut attributes.event_type,
            "time" => &mut attributes.time,
            "subject" => &mut attributes.subject,
            "correlationid" => &mut attributes.correlation_id,
            "data" | "datacontenttype" => {
                let detail = format!("`{header}` is said by the body and its `Content-Type`");
                return Err(Fault::of(header, detail));
            }
            _ => continue,
        };
        let value = only(headers, header)?;
        let decoded = value.map(|value| decode(value.as_bytes())).transpose();
        *slot = decoded
            .map_err(|why| Fault::of(header, format_args!("`{header}` {why}")))?
            .map(Cow::Owned);
    }
    Ok(attributes)
}

/// The one value of a header.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a HeaderValue>, Fault> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    match values.next() {
        None => Ok(value),
        Some(_) => Err(Fault::of(name, format_args!("`{name}` is given twice"))),
    }
}

/// The text of a header's value (HTTP protocol binding, 3.1.3.2): out of its quotes, if it has
/// some, and then out of its percent-encoding, once.
fn decode(value: &[u8]) -> Result<String, &'static str> {
    if !value.is_ascii() {
        return Err("has bytes outside of ASCII, which must be percent-encoded");
    }
    let unquoted = match value {
        [b'"', inner @ ..] => unquote(inner).ok_or("has a quote that is not closed at its end")?,
        plain => plain.to_vec(),
    };
    let mut bytes = Vec::with_capacity(unquoted.len());
    let mut rest = &*unquoted;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        let [high, low, after @ ..] = after else {
            return Err("has a `%` without two digits behind it");
        };
        let (Some(high), Some(low)) = (digit(high), digit(low)) else {
            return Err("has a `%` without two digits behind it");
        };
        bytes.push((high * 16 + low) as u8);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 when it is decoded")
}

/// What stands before the closing quote, which must be the last byte; `\\` makes any byte plain.
fn unquote(inner: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => return rest.as_slice().is_empty().then_some(bytes),
            b'\\' => bytes.push(*rest.next()?),
            byte => bytes.push(*byte),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_decoded_once() {
        for (value, text) in [
            ("plain", Ok("plain")),
            ("", Ok("")),
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", Ok("Euro € 😀")),
            ("%41%e2%82%ac", Ok("A€")),
            ("%2520", Ok("%20")),
            (r#""two words""#, Ok("two words")),
            (r#""a \"b\" \\ %22""#, Ok(r#"a "b" \ ""#)),
            (r#"a"b"#, Ok(r#"a"b"#)),
            ("\"\"", Ok("")),
            ("\"", Err("quote")),
            (r#""a"b"#, Err("quote")),
            (r#""a\"#, Err("quote")),
            ("%", Err("digits")),
            ("%4", Err("digits")),
            ("%+1", Err("digits")),
            ("%C0%A0", Err("UTF-8")),
            ("%ED%A0%80", Err("UTF-8")),
            ("ü", Err("ASCII")),
        ] {
            match (decode(value.as_bytes()), text) {
                (Ok(decoded), Ok(text)) => assert_eq!(decoded, text, "{value}"),
                (Err(why), Err(part)) => assert!(why.contains(part), "{value}: {why}"),
                (decoded, _) => panic!("{value}: {decoded:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_as_the_binding_says_comes_back(text: String) {
            let mut encoded = String::new();
            for byte in text.bytes() {
                match byte {
                    b'"' | b'%' | 0..=b' ' | 0x7f.. => encoded += &format!("%{byte:02X}"),
                    plain => encoded.push(plain.into()),
                }
            }
            prop_assert_eq!(decode(encoded.as_bytes()), Ok(text));
        }

        #[test]
        fn no_bytes_panic(value: Vec<u8>) {
            let _ = decode(&value);
        }
    }
}
