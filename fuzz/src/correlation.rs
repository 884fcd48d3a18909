//! The headers `X-Correlation-ID` and `traceparent`: whatever they hold, the ID is fit to be shown.

use http::{HeaderMap, HeaderValue};
use stoat_correlation::{
    CORRELATION_HEADER, CorrelationId, TRACEPARENT_HEADER, TraceParent, context_from_headers,
    insert_header,
};

pub fn correlation(data: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut given = Vec::new();
    for line in data.split(|byte| *byte == b'\n').take(4) {
        let (name, text) = match line.split_first() {
            Some((b'c', text)) => (CORRELATION_HEADER, text),
            Some((b't', text)) => (TRACEPARENT_HEADER, text),
            _ => continue,
        };
        if let Ok(value) = HeaderValue::from_bytes(text) {
            given.push((name.clone(), text));
            headers.append(name, value);
        }
    }
    let only = |name| {
        let mut values = given.iter().filter(|(given, _)| *given == name);
        let first = values.next()?.1;
        values.next().is_none().then_some(first)
    };
    let context = context_from_headers(&headers);
    let id = context.id().as_str();
    assert!((1..=CorrelationId::MAX_LEN).contains(&id.len()));
    assert!(id.bytes().all(|byte| byte.is_ascii_graphic()));

    let is_valid = |text: &&[u8]| {
        (1..=128).contains(&text.len()) && text.iter().all(|byte| (0x21..=0x7e).contains(byte))
    };
    match (
        only(CORRELATION_HEADER).filter(is_valid),
        context.traceparent(),
    ) {
        (Some(valid), _) => assert_eq!(id.as_bytes(), valid),
        (None, Some(parent)) => assert_eq!(id, parent.trace_id().to_string()),
        (None, None) => assert!(!given.iter().any(|(_, text)| *text == id.as_bytes())),
    }
    if let Some(parent) = context.traceparent() {
        let text = parent.to_string();
        assert_eq!(TraceParent::parse(&text), Ok(parent));
        let valid = only(TRACEPARENT_HEADER).expect("given once");
        assert_eq!(text.as_bytes()[3..52], valid[3..52]);
    }
    insert_header(context.id(), &mut headers);
    assert_eq!(headers[CORRELATION_HEADER].as_bytes(), id.as_bytes());

    if let Ok(text) = std::str::from_utf8(data)
        && let Err(error) = CorrelationId::parse(text)
    {
        let message = error.to_string();
        assert!(message.len() < 512 && message.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
    }
}
