//! Topics, patterns and filters, against a plain reading of the contract.

use http::{HeaderMap, Uri};
use stoat_events::{EventType, Filter, Topic, TopicPattern};
use stoat_ws_hub::Subscription;

pub fn topics(data: &[u8]) {
    let Some([event_type, topic, pattern, types, topics, query]) = crate::lines(data) else {
        return;
    };
    assert_eq!(Topic::parse(topic).is_ok(), is_name(topic, 128));
    assert_eq!(
        EventType::parse(event_type).is_ok(),
        is_name(event_type, 64)
    );
    assert_eq!(TopicPattern::parse(pattern).is_ok(), is_pattern(pattern));
    if let (Ok(topic), Ok(pattern)) = (Topic::parse(topic), TopicPattern::parse(pattern)) {
        assert_eq!(
            pattern.matches(Some(topic.as_str())),
            selects(pattern.as_str(), topic.as_str())
        );
        assert_eq!(pattern.matches(None), pattern.as_str() == "*");
    }
    if let Ok(filter) = Filter::from_lists(Some(types), Some(topics))
        && is_name(event_type, 64)
        && is_name(topic, 128)
    {
        let by_type = types.split(',').any(|listed| listed.trim() == event_type);
        let by_topic = topics
            .split(',')
            .any(|listed| selects(listed.trim(), topic));
        let is_for_all = ["heartbeat", "gap"].contains(&event_type);
        assert_eq!(
            filter.matches(event_type, Some(topic)),
            is_for_all || (by_type && by_topic)
        );
    }
    if let Ok(uri) = format!("/ws?{query}").parse::<Uri>()
        && let Ok(subscription) = Subscription::from_request(&uri, &HeaderMap::new())
    {
        let listed = subscription.filter.topics().map_or(0, <[_]>::len);
        assert!(listed <= Filter::MAX_ENTRIES);
    }
}

fn selects(pattern: &str, topic: &str) -> bool {
    let below = |stem: &str| {
        let mut segments = topic.split('.');
        stem.split('.')
            .all(|segment| segments.next() == Some(segment))
            && segments.next().is_some()
    };
    pattern == "*" || pattern == topic || pattern.strip_suffix(".*").is_some_and(below)
}

fn is_pattern(text: &str) -> bool {
    text == "*" || is_name(text.strip_suffix(".*").unwrap_or(text), 128)
}

fn is_name(text: &str, max_len: usize) -> bool {
    let is_segment = |segment: &str| {
        segment.starts_with(|c: char| c.is_ascii_lowercase())
            && segment
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    text.len() <= max_len && text.split('.').all(is_segment)
}
