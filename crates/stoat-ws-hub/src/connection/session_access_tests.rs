//! What a session sends of what its client may see, and for how long.

use std::time::Duration;

use stoat_events::{Scope, TopicPattern};

use super::bench::Bench;
use super::tests::positions;
use super::*;

#[test]
fn a_new_subscription_stays_within_the_scope() {
    let scope = Scope::topics([TopicPattern::parse("x.*").unwrap()]);
    let mut bench = Bench::new(100, Filter::all().within(scope), None);
    for subscribe in ["null", r#"["*"]"#, r#"["y.a","x.b"]"#] {
        let text = format!(r#"{{"action":"subscribe","topics":{subscribe}}}"#);
        bench.receive(0x81, text.as_bytes());
        for topic in [None, Some("y.a"), Some("x.b")] {
            bench.publish("a", topic, 1);
        }
        bench.write_all();
    }
    assert_eq!(bench.events(), positions(&[("a", 3), ("a", 6), ("a", 9)]));
}

#[test]
fn the_end_of_the_authorization_closes_it_and_holds_the_rest_back() {
    let mut bench = Bench::new(100, Filter::all(), None);
    let end = bench.now + Duration::from_secs(5);
    bench.session().end_at(Some(end));
    assert_eq!(bench.session().deadline(), end);
    bench.now = end;
    assert_eq!(bench.tick(), None);
    bench.publish("a", None, 1);
    bench.offer(usize::MAX);
    bench.write_all();
    let close = b"\x03\xf0authorization ended".to_vec();
    assert_eq!(bench.frames(), [(8, close)]);
    assert_eq!(
        bench.session().reason(),
        DisconnectReason::AuthorizationEnded
    );
}
