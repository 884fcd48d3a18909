//! What a client asks for when it connects: where to begin, and filters.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, Uri};
use stoat_events::{Filter, Format, InvalidFilter, InvalidFormat, Resume};

const LAST_EVENT_ID: &str = "last-event-id";

/// Where a reader begins and what it wants to see, as the query parameters
/// `last_event_id`, `types`, `topics` and `format` and the header `Last-Event-ID` say it.
///
/// ```
/// use stoat_events::Resume;
/// use stoat_ws_hub::Subscription;
///
/// let uri = "/ws?types=scan_started&topics=project.*&last_event_id=earliest".parse().unwrap();
/// let subscription = Subscription::from_request(&uri, &Default::default())?;
/// assert_eq!(subscription.resume, Resume::Earliest);
/// assert!(subscription.filter.matches("scan_started", Some("project.apollo")));
/// # Ok::<(), stoat_ws_hub::InvalidSubscription>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscription {
    /// Where to begin.
    pub resume: Resume,
    /// What to see.
    pub filter: Filter,
    /// In which form to get it.
    pub format: Format,
}

impl Subscription {
    /// Reads a request. The header wins over the query, since an `EventSource`
    /// that reconnects sends the header and its old address. Unknown parameters
    /// are left to others.
    ///
    /// # Errors
    /// [`InvalidSubscription`] names the parameter or header that is given twice, is
    /// no list of names, or no known format.
    pub fn from_request(uri: &Uri, headers: &HeaderMap) -> Result<Self, InvalidSubscription> {
        let mut last_event_id: Option<Cow<'_, str>> = None;
        let mut types: Option<Cow<'_, str>> = None;
        let mut topics: Option<Cow<'_, str>> = None;
        let mut format: Option<Cow<'_, str>> = None;
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let (field, slot) = match &*name {
                "last_event_id" => ("last_event_id", &mut last_event_id),
                "types" => ("types", &mut types),
                "topics" => ("topics", &mut topics),
                "format" => ("format", &mut format),
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(InvalidSubscription(Cause::Twice(field)));
            }
        }
        let given = headers.get_all(LAST_EVENT_ID).iter();
        let mut given = given.filter(|value| !value.is_empty());
        if let Some(value) = given.next() {
            if given.next().is_some() {
                return Err(InvalidSubscription(Cause::Twice(LAST_EVENT_ID)));
            }
            // Whatever it is, it is an ID that this log does not know.
            last_event_id = Some(String::from_utf8_lossy(value.as_bytes()));
        }
        Ok(Self {
            resume: Resume::parse(last_event_id.as_deref().unwrap_or_default()),
            filter: Filter::from_lists(types.as_deref(), topics.as_deref())?,
            format: match format {
                Some(name) => Format::parse(&name)
                    .map_err(|error| InvalidSubscription(Cause::Format(error)))?,
                None => Format::default(),
            },
        })
    }
}

/// A query parameter or header was given twice, is no list of names, or no known format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSubscription(Cause);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    Twice(&'static str),
    Filter(InvalidFilter),
    Format(InvalidFormat),
}

impl InvalidSubscription {
    /// The parameter or header at fault.
    pub fn field(&self) -> &'static str {
        match &self.0 {
            Cause::Twice(field) => field,
            Cause::Filter(filter) => filter.field(),
            Cause::Format(_) => "format",
        }
    }
}

impl From<InvalidFilter> for InvalidSubscription {
    fn from(filter: InvalidFilter) -> Self {
        Self(Cause::Filter(filter))
    }
}

impl fmt::Display for InvalidSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Twice(field) => write!(f, "`{field}` is given twice"),
            Cause::Filter(filter) => filter.fmt(f),
            Cause::Format(format) => format.fmt(f),
        }
    }
}

impl std::error::Error for InvalidSubscription {}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn parse(uri: &str, header: Option<&str>) -> Result<Subscription, InvalidSubscription> {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert(LAST_EVENT_ID, HeaderValue::from_str(value).unwrap());
        }
        Subscription::from_request(&uri.parse().unwrap(), &headers)
    }

    #[test]
    fn header_wins_and_empty_counts_as_not_given() {
        let resume = |uri, header| parse(uri, header).unwrap().resume;
        assert_eq!(resume("/ws", None), Resume::Live);
        assert_eq!(resume("/ws?last_event_id=", None), Resume::Live);
        assert_eq!(
            resume("/ws?last_event_id=a-1", None),
            Resume::After("a-1".into())
        );
        assert_eq!(
            resume("/ws?last_event_id=a-1", Some("b-2")),
            Resume::After("b-2".into())
        );
        assert_eq!(
            resume("/ws?last_event_id=a-1", Some("")),
            Resume::After("a-1".into())
        );
        assert_eq!(resume("/ws", Some("earliest")), Resume::Earliest);
    }

    #[test]
    fn two_headers_are_no_position() {
        let subscription = |values: &[&'static str]| {
            let values = values.iter().map(|value| {
                let name = http::HeaderName::from_static(LAST_EVENT_ID);
                (name, HeaderValue::from_static(value))
            });
            Subscription::from_request(&"/ws".parse().unwrap(), &values.collect())
        };
        let twice = subscription(&["a-1", "a-2"]).unwrap_err();
        assert_eq!(twice.field(), "last-event-id");
        let resume = subscription(&["", "a-2"]).unwrap().resume;
        assert_eq!(resume, Resume::After("a-2".into()));
    }

    #[test]
    fn a_format_is_one_that_is_known() {
        let format = |uri| parse(uri, None).map(|subscription| subscription.format);
        assert_eq!(format("/ws"), Ok(Format::Stoat));
        assert_eq!(format("/ws?format=cloudevents"), Ok(Format::CloudEvents));
        for uri in [
            "/ws?format=xml",
            "/ws?format=",
            "/ws?format=stoat&format=stoat",
        ] {
            assert_eq!(format(uri).unwrap_err().field(), "format", "{uri}");
        }
    }

    #[test]
    fn filters_are_percent_decoded_and_checked() {
        let filter = parse("/ws?topics=project.%2A%2Cx&token=s", None)
            .unwrap()
            .filter;
        assert!(filter.matches("a", Some("project.b")) && filter.matches("a", Some("x")));
        assert_eq!(parse("/ws?types=A", None).unwrap_err().field(), "types");
        assert_eq!(
            parse("/ws?types=a&types=b", None).unwrap_err().field(),
            "types"
        );
        assert_eq!(
            parse("/ws?last_event_id=a&last_event_id=b", None)
                .unwrap_err()
                .field(),
            "last_event_id"
        );
    }
}
