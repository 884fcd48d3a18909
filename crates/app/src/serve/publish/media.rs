//! Which form a published body has, as its `Content-Type` says.

use http::header::{CONTENT_TYPE, HeaderMap};

/// A form of body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Format {
    /// `application/json`: one object, or an array of them.
    Json,
    /// `application/x-ndjson`: one object a line.
    Ndjson,
    /// `application/cloudevents+json`: one CloudEvent.
    CloudEvent,
    /// `application/cloudevents-batch+json`: an array of CloudEvents.
    CloudEvents,
}

/// What the types of CloudEvents begin with.
pub(super) const CLOUD_EVENTS: &str = "application/cloudevents";

impl Format {
    /// Every form.
    pub(in crate::serve) const ALL: [Self; 4] = [
        Self::Json,
        Self::Ndjson,
        Self::CloudEvent,
        Self::CloudEvents,
    ];

    /// All of them as `Accept` names them.
    pub(super) const LIST: &str = "application/json, application/x-ndjson, \
         application/cloudevents+json, application/cloudevents-batch+json";

    /// Reads `Content-Type`. Nothing where it is missing, given twice, of another type, or names
    /// a character set other than UTF-8; parameters other than `charset` are not looked at.
    pub(super) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(CONTENT_TYPE).iter();
        let value = values.next()?.to_str().ok()?;
        if values.next().is_some() {
            return None;
        }
        let mut parts = value.split(';').map(str::trim);
        let essence = parts.next()?;
        let utf8 = is_utf8(parts);
        Self::ALL
            .into_iter()
            .find(|format| utf8 && essence.eq_ignore_ascii_case(format.essence()))
    }

    /// The type without parameters.
    pub(in crate::serve) fn essence(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::CloudEvent => "application/cloudevents+json",
            Self::CloudEvents => "application/cloudevents-batch+json",
        }
    }
}

/// Whether the parameters of a type name no character set but UTF-8.
pub(super) fn is_utf8<'a>(mut parameters: impl Iterator<Item = &'a str>) -> bool {
    parameters.all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        !name.trim().eq_ignore_ascii_case("charset")
            || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Option<Format> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_TYPE, value.parse().unwrap());
        }
        Format::from_headers(&headers)
    }

    #[test]
    fn the_list_is_complete() {
        assert_eq!(Format::LIST, Format::ALL.map(Format::essence).join(", "));
    }

    #[test]
    fn types_and_character_sets() {
        for (value, expected) in [
            ("application/json", Some(Format::Json)),
            ("Application/JSON; charset=UTF-8", Some(Format::Json)),
            ("application/json;charset=\"utf-8\"", Some(Format::Json)),
            ("application/json; profile=x", Some(Format::Json)),
            ("application/x-ndjson", Some(Format::Ndjson)),
            (
                "application/cloudevents+json; charset=utf-8",
                Some(Format::CloudEvent),
            ),
            (
                "application/cloudevents-batch+json",
                Some(Format::CloudEvents),
            ),
            ("application/json; charset=latin1", None),
            ("application/json; charset", None),
            ("application/jsonx", None),
            ("text/plain", None),
            ("", None),
        ] {
            assert_eq!(read(&[value]), expected, "{value}");
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&["application/json", "application/json"]), None);
    }
}
