//! The HTTP headers a context comes in by, and the one its ID goes out by.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::{Context, CorrelationId, TraceParent};

/// `X-Correlation-ID`.
pub const CORRELATION_HEADER: HeaderName = HeaderName::from_static("x-correlation-id");

/// `traceparent`
/// ([W3C Trace Context §3.2](https://www.w3.org/TR/trace-context/#traceparent-header)).
pub const TRACEPARENT_HEADER: HeaderName = HeaderName::from_static("traceparent");

/// The context of a request that came with these headers.
///
/// Its ID is `X-Correlation-ID` where that is valid, else the trace-id of a valid
/// `traceparent`, else a [new one](CorrelationId::generate). A header given twice
/// is not valid. A valid `traceparent` is kept in either case. Nothing of an
/// invalid value is kept or logged.
///
/// ```
/// use http::HeaderMap;
/// use stoat_correlation::{CORRELATION_HEADER, context_from_headers};
///
/// let mut headers = HeaderMap::new();
/// headers.insert(CORRELATION_HEADER, "order-4711".parse()?);
/// assert_eq!(context_from_headers(&headers).id().as_str(), "order-4711");
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
///
/// # Panics
///
/// Where [`CorrelationId::generate`] does.
#[must_use]
pub fn context_from_headers(headers: &HeaderMap) -> Context {
    let traceparent =
        only(headers, &TRACEPARENT_HEADER).and_then(|text| TraceParent::parse(text).ok());
    let id = only(headers, &CORRELATION_HEADER)
        .and_then(|text| CorrelationId::parse(text).ok())
        .or_else(|| traceparent.map(|parent| parent.trace_id().into()))
        .unwrap_or_else(CorrelationId::generate);
    match traceparent {
        Some(parent) => Context::from(id).with_traceparent(parent),
        None => Context::from(id),
    }
}

/// Sets `X-Correlation-ID`, in place of every value it had.
///
/// # Panics
///
/// When the map is full (32768 headers), as [`HeaderMap::insert`] does.
pub fn insert_header(id: &CorrelationId, headers: &mut HeaderMap) {
    // Visible ASCII is always a header value.
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(CORRELATION_HEADER, value);
    }
}

/// The value of a header that was given exactly once and is text.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    std::str::from_utf8(value.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn context(pairs: &[(HeaderName, &[u8])]) -> Context {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        context_from_headers(&headers)
    }

    fn is_uuid(id: &CorrelationId) -> bool {
        uuid::Uuid::parse_str(id.as_str()).is_ok() && id.as_str().len() == 36
    }

    #[test]
    fn a_valid_id_wins_and_a_valid_traceparent_is_kept() {
        let context = context(&[
            (CORRELATION_HEADER, b"r1"),
            (TRACEPARENT_HEADER, PARENT.as_bytes()),
        ]);
        assert_eq!(context.id().as_str(), "r1");
        assert_eq!(context.traceparent().unwrap().to_string(), PARENT);
    }

    #[test]
    fn an_invalid_id_gives_way_to_the_trace_id() {
        for value in [
            &b""[..],
            b"a b",
            b"a\tb",
            b"\xff",
            "é".as_bytes(),
            &[b'x'; 129],
        ] {
            let with_parent = context(&[
                (CORRELATION_HEADER, value),
                (TRACEPARENT_HEADER, PARENT.as_bytes()),
            ]);
            assert_eq!(with_parent.id().as_str(), TRACE_ID);
            assert!(is_uuid(context(&[(CORRELATION_HEADER, value)]).id()));
        }
    }

    #[test]
    fn a_header_given_twice_is_invalid() {
        let twice = context(&[(CORRELATION_HEADER, b"r1"), (CORRELATION_HEADER, b"r1")]);
        assert!(is_uuid(twice.id()));
        let twice = context(&[
            (TRACEPARENT_HEADER, PARENT.as_bytes()),
            (TRACEPARENT_HEADER, PARENT.as_bytes()),
        ]);
        assert!(is_uuid(twice.id()));
        assert_eq!(twice.traceparent(), None);
    }

    #[test]
    fn no_header_or_an_invalid_traceparent_gives_a_new_id() {
        assert!(is_uuid(context(&[]).id()));
        let invalid = context(&[(TRACEPARENT_HEADER, PARENT.to_uppercase().as_bytes())]);
        assert!(is_uuid(invalid.id()));
        assert_eq!(invalid.traceparent(), None);
    }

    #[test]
    fn insert_replaces_every_value() {
        let mut headers = HeaderMap::new();
        headers.append(CORRELATION_HEADER, HeaderValue::from_static("a"));
        headers.append(CORRELATION_HEADER, HeaderValue::from_static("b"));
        let longest = CorrelationId::parse(&"~".repeat(128)).unwrap();
        insert_header(&longest, &mut headers);
        let values: Vec<_> = headers.get_all(CORRELATION_HEADER).iter().collect();
        assert_eq!(values, [longest.as_str()]);
    }
}
