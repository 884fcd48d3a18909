//! What a session sends and makes of what comes, one promise after the other.

use std::time::Duration;

use proptest::prelude::*;

use super::bench::Bench;
use super::*;
use crate::connection::batch::Batch;
use crate::connection::follower::Need;

pub(super) fn positions(events: &[(&str, u64)]) -> Vec<(String, u64)> {
    events
        .iter()
        .map(|(event_type, at)| ((*event_type).to_owned(), *at))
        .collect()
}

#[test]
fn events_pass_the_filter_in_order() {
    let filter = Filter::from_lists(Some("a"), Some("x.*")).unwrap();
    let mut bench = Bench::new(100, filter, None);
    bench.publish("a", Some("x.y"), 1);
    bench.publish("a", None, 1);
    bench.publish("b", Some("x.y"), 1);
    bench.publish("a", Some("x.z"), 1);
    bench.write_all();
    assert_eq!(bench.events(), positions(&[("a", 1), ("a", 4)]));
    assert_eq!(bench.session().member.cursor.load(Relaxed), 4);
}

#[test]
fn a_long_stretch_of_other_events_is_passed_in_pieces() {
    let filter = Filter::from_lists(Some("b"), None).unwrap();
    let mut bench = Bench::new(20_000, filter, None);
    bench.publish("a", None, 3 * MAX_SCANNED);
    bench.publish("b", None, 1);
    let mut pieces = 1;
    while bench.fill() {
        pieces += 1;
    }
    assert_eq!(pieces, 4);
    bench.write_all();
    assert_eq!(
        bench.events(),
        positions(&[("b", 3 * MAX_SCANNED as u64 + 1)])
    );
}

#[test]
fn a_new_subscription_counts_for_what_follows() {
    let mut bench = Bench::new(100, Filter::all(), None);
    bench.publish("a", None, 1);
    bench.write_all();
    bench.receive(0x81, br#"{"action":"subscribe","types":["b"]}"#);
    bench.publish("a", None, 1);
    bench.publish("b", None, 1);
    bench.write_all();
    assert_eq!(bench.events(), positions(&[("a", 1), ("b", 3)]));
    assert_eq!(bench.session().member.filter().types().unwrap().len(), 1);
}

#[test]
fn what_is_new_goes_out_as_it_is_to_who_sees_all_and_has_all_before_it() {
    let mut bench = Bench::new(100, Filter::all(), None);
    bench.publish("a", None, 1);
    bench.offer(usize::MAX);
    assert_eq!(bench.events(), [], "its task has not had a turn yet");
    bench.write_all();
    bench.turn(usize::MAX);
    bench.publish("a", None, 3);
    bench.offer(usize::MAX);
    bench.publish("a", None, 1);
    bench.offer(usize::MAX);
    let expected = [("a", 1), ("a", 2), ("a", 3), ("a", 4), ("a", 5)];
    assert_eq!(bench.events(), positions(&expected));

    let mut batch = Batch::default();
    bench.publish("a", None, 1);
    assert!(batch.read(&*bench.log, 5));
    assert_eq!(bench.follower.need(&batch, 5), Need::Whole);
    bench.receive(0x89, b"ping");
    assert_eq!(
        bench.follower.need(&batch, 5),
        Need::Nothing,
        "a pong is due"
    );
    bench.write_all();
    bench.turn(usize::MAX);
    assert_eq!(bench.follower.need(&batch, 5), Need::Nothing, "it has it");
    assert_eq!(
        bench.session().member.bytes_sent.load(Relaxed),
        bench.sent.len() as u64
    );
}

#[test]
fn what_is_not_for_the_client_is_passed_over_without_a_look_at_the_log() {
    let filter = Filter::from_lists(None, Some("x.*")).unwrap();
    let mut bench = Bench::new(100, filter, None);
    bench.turn(usize::MAX);
    let mut batch = Batch::default();
    bench.publish("a", Some("y.z"), 3);
    assert!(batch.read(&*bench.log, 0));
    assert_eq!(bench.follower.need(&batch, 0), Need::Nothing);
    bench.follower.report(0);
    assert_eq!(bench.session().member.cursor.load(Relaxed), 3);
    bench.turn(usize::MAX);

    bench.publish("a", Some("y.z"), 1);
    bench.publish("a", Some("x.y"), 1);
    assert!(batch.read(&*bench.log, 3));
    assert_eq!(bench.follower.need(&batch, 3), Need::Look, "one is for it");
    bench.turn(usize::MAX);
    assert_eq!(bench.events(), positions(&[("a", 5)]));
}

#[test]
fn who_was_not_visited_is_where_the_fan_out_is() {
    let filter = Filter::from_lists(None, Some("x")).unwrap();
    let mut bench = Bench::new(2, filter, None);
    bench.turn(usize::MAX);
    bench.publish("a", Some("y"), 5);
    bench.position = 5;
    bench.publish("a", Some("x"), 1);
    bench.offer(usize::MAX);
    bench.turn(usize::MAX);
    assert_eq!(bench.events(), positions(&[("a", 6)]), "and no gap");
}

#[test]
fn a_stalled_client_holds_one_event_and_is_told_of_the_gap() {
    let mut bench = Bench::new(3, Filter::all(), None);
    bench.publish("a", None, 3);
    bench.write(10);
    bench.stall();
    assert_eq!(bench.session().queue.len(), 1);
    bench.publish("a", None, 5);
    bench.stall();
    assert_eq!(bench.session().queue.len(), 1);
    bench.write_all();
    // The event that was begun ends; 2 to 5 are gone; 6 to 8 are retained.
    assert_eq!(
        bench.events(),
        positions(&[("a", 1), ("gap", 5), ("a", 6), ("a", 7), ("a", 8)])
    );
    let gaps = bench.registry.counters.snapshot(0).gaps;
    assert!(gaps.contains(&(GapReason::Lagged, 1)));
}

#[test]
fn a_beat_stands_at_its_position() {
    let mut bench = Bench::new(100, Filter::all(), None);
    bench.beat();
    bench.write_all();
    bench.publish("a", None, 2);
    bench.beat();
    bench.publish("a", None, 1);
    bench.write_all();
    let expected = [
        ("heartbeat", 0),
        ("a", 1),
        ("a", 2),
        ("heartbeat", 2),
        ("a", 3),
    ];
    assert_eq!(bench.events(), positions(&expected));
}

#[test]
fn a_beat_that_was_overtaken_has_the_readers_position() {
    let mut bench = Bench::new(100, Filter::all(), None);
    bench.publish("a", None, 1);
    bench.write_all();
    let before = bench.log.bounds();
    bench.publish("a", None, 1);
    bench.write_all();
    bench.beats.beat(&before, Timestamp::from_unix_micros(0));
    bench.write_all();
    assert_eq!(
        bench.events(),
        positions(&[("a", 1), ("a", 2), ("heartbeat", 2)])
    );
}

#[test]
fn a_beat_beyond_the_last_event_comes_where_nothing_is_in_between() {
    let mut bench = Bench::new(100, Filter::all(), None);
    bench.publish("a", None, 1);
    // The log leaves numbers out: its end is behind its last event.
    let mut bounds = bench.log.bounds();
    bounds.last = 9;
    bench.beats.beat(&bounds, Timestamp::from_unix_micros(0));
    bench.write_all();
    assert_eq!(bench.events(), positions(&[("a", 1), ("heartbeat", 1)]));
}

#[test]
fn beats_do_not_pile_up_for_a_stalled_client() {
    let mut bench = Bench::new(100, Filter::all(), None);
    bench.publish("a", None, 1);
    bench.write(10);
    bench.stall();
    for _ in 0..5 {
        bench.beat();
        bench.stall();
    }
    bench.write_all();
    assert_eq!(bench.events(), positions(&[("a", 1), ("heartbeat", 1)]));
}

#[test]
fn heartbeats_and_gaps_pass_every_filter() {
    let nothing = Filter::from_lists(Some(""), None).unwrap();
    let gap = Gap::new(GapReason::UnknownId, "other");
    let mut bench = Bench::new(100, nothing, Some(gap));
    bench.publish("a", None, 1);
    bench.beat();
    bench.write_all();
    assert_eq!(bench.events(), positions(&[("gap", 0), ("heartbeat", 1)]));
}

#[test]
fn leaving_sends_what_was_accepted_and_then_closes() {
    let mut bench = Bench::new(1000, Filter::all(), None);
    bench.publish("a", None, 300);
    bench.obey(Order::CloseAfter(Close::shutdown(7), 300));
    bench.publish("a", None, 300);
    bench.write_all();
    let frames = bench.frames();
    assert_eq!(frames.last().unwrap(), &(8, b"\x03\xe9retry_ms=7".to_vec()));
    assert!(bench.events().len() >= 300);
    assert!(!bench.session().is_over());
    bench.receive(0x88, b"\x03\xe9");
    assert!(bench.session().is_over());
    assert_eq!(bench.session().reason(), DisconnectReason::Shutdown);
}

#[test]
fn a_close_does_not_overtake_what_the_socket_did_not_take() {
    let mut bench = Bench::new(1000, Filter::all(), None);
    bench.publish("a", None, 3);
    bench.obey(Order::CloseAfter(Close::shutdown(7), 3));
    bench.write(5);
    bench.stall();
    bench.write_all();
    assert_eq!((bench.events().len(), bench.frames().len()), (3, 4));
}

#[test]
fn nothing_follows_a_close_frame() {
    let mut bench = Bench::new(100, Filter::all(), None);
    bench.receive(0x88, b"\x03\xe8");
    bench.publish("a", None, 1);
    bench.beat();
    bench.obey(Order::Close(Close::by_operator()));
    bench.write_all();
    assert_eq!(bench.frames(), [(8, b"\x03\xe8".to_vec())]);
    assert!(bench.session().is_over());
    assert_eq!(bench.session().reason(), DisconnectReason::ClientClosed);
}

#[test]
fn faults_close_with_their_code_and_end_it() {
    let mut bench = Bench::new(100, Filter::all(), None);
    bench.publish("a", None, 1);
    bench.receive_bytes(&[0x81, 0x05]);
    bench.write_all();
    assert_eq!(bench.frames()[0].1[..2], 1002u16.to_be_bytes());
    assert_eq!(bench.frames().len(), 1);
    assert!(bench.session().is_over());
    assert_eq!(bench.session().reason(), DisconnectReason::ProtocolError);
}

#[test]
fn an_unanswered_close_ends_in_time() {
    let mut bench = Bench::new(100, Filter::all(), None);
    bench.obey(Order::Close(Close::by_operator()));
    bench.write_all();
    bench.now += CLOSE_ANSWER;
    let due = Due::LetGo(DisconnectReason::Operator);
    assert_eq!(bench.tick(), Some(due));
}

#[test]
fn garbage_after_our_close_ends_it() {
    let mut bench = Bench::new(100, Filter::all(), None);
    bench.obey(Order::Close(Close::by_operator()));
    for _ in 0..20 {
        bench.receive_bytes(&[0x0f; 3]);
    }
    bench.write_all();
    assert!(bench.session().is_over());
    assert_eq!(bench.session().reason(), DisconnectReason::Operator);
}

#[test]
fn odd_messages_are_counted_and_harm_nothing() {
    let mut bench = Bench::new(100, Filter::all(), None);
    bench.receive(0x82, b"binary");
    bench.receive(0x81, b"not json");
    bench.receive(0x81, br#"{"action":"ping"}"#);
    bench.publish("a", None, 1);
    bench.write_all();
    assert_eq!(bench.frames()[0], (1, br#"{"action":"pong"}"#.to_vec()));
    assert_eq!(bench.events(), positions(&[("a", 1)]));
    assert_eq!(bench.registry.counters.snapshot(0).ignored_messages, 2);
}

#[test]
fn a_flood_of_control_frames_ends_it() {
    let most = HubConfig::default().max_control_frames;
    let ping = br#"{"action":"ping"}"#;
    let subscribe = br#"{"action":"subscribe"}"#;
    for (first, payload) in [
        (0x89, &b"p"[..]),
        (0x8a, b"unasked"),
        (0x81, ping),
        (0x81, subscribe),
    ] {
        let mut bench = Bench::new(100, Filter::all(), None);
        for _ in 0..2 {
            for _ in 0..most {
                bench.receive(first, payload);
            }
            bench.now += Duration::from_secs(1);
        }
        bench.write_all();
        assert!(bench.frames().iter().all(|(opcode, _)| *opcode != 8));
        for _ in 0..=most {
            bench.receive(first, payload);
        }
        bench.publish("a", None, 1);
        bench.write_all();
        let (opcode, close) = bench.frames().pop().unwrap();
        assert_eq!((opcode, &close[..2]), (8, &1008u16.to_be_bytes()[..]));
        assert!(bench.session().is_over());
        assert_eq!(bench.session().reason(), DisconnectReason::ProtocolError);
    }
}

#[test]
fn a_client_that_pings_and_never_reads_is_not_listened_to_for_ever() {
    let mut bench = Bench::new(100, Filter::all(), None);
    let mut pings = 0;
    while bench.session().wants_input() {
        bench.now += Duration::from_millis(20);
        bench.receive(0x89, &[0; 100]);
        bench.stall();
        pings += 1;
        assert!(pings < 2000);
    }
    assert!(pings > 500);
    bench.write_all();
    assert!(bench.session().wants_input());
    assert_eq!(bench.frames().len(), pings);
}

#[test]
fn deadlines_end_it() {
    let mut bench = Bench::new(100, Filter::all(), None);
    bench.now += Duration::from_secs(30);
    assert_eq!(bench.tick(), None);
    bench.write_all();
    assert_eq!(bench.frames(), [(9, vec![])]);
    bench.now += Duration::from_secs(30);
    assert_eq!(bench.tick(), None);
    bench.write_all();
    assert_eq!(bench.frames()[1].1[..2], 1011u16.to_be_bytes());
    assert_eq!(bench.session().reason(), DisconnectReason::PongTimeout);

    let mut bench = Bench::new(100, Filter::all(), None);
    bench.publish("a", None, 1);
    bench.stall();
    bench.receive(0x8a, b"");
    bench.now += Duration::from_secs(59);
    bench.receive(0x8a, b"");
    bench.tick();
    bench.now += Duration::from_secs(1);
    assert_eq!(
        bench.tick(),
        Some(Due::Abort(DisconnectReason::WriteTimeout))
    );
}

/// What can happen to a session.
#[derive(Debug, Clone)]
enum Step {
    Publish(usize),
    Beat,
    Turn(usize),
    Offer(usize),
    Stall,
    Ping,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1usize..6).prop_map(Step::Publish),
        1 => Just(Step::Beat),
        3 => (1usize..1500).prop_map(Step::Turn),
        4 => (1usize..1500).prop_map(Step::Offer),
        2 => Just(Step::Stall),
        1 => Just(Step::Ping),
    ]
}

proptest! {
    /// Whatever the socket takes when: frames stay whole, no event is lost without
    /// a gap, none is repeated, and each ID is safe to resume from where it stands.
    #[test]
    fn the_stream_is_always_true(
        retained in 1usize..20,
        format in proptest::sample::select(Format::ALL),
        steps in proptest::collection::vec(any_step(), 1..120),
    ) {
        let mut bench = Bench::new(retained, Filter::all(), None).in_format(format);
        let mut pings = 0;
        for step in steps {
            match step {
                Step::Publish(count) => bench.publish("a", None, count),
                Step::Beat => bench.beat(),
                Step::Turn(room) => bench.turn(room),
                Step::Offer(room) => bench.offer(room),
                Step::Stall => bench.stall(),
                Step::Ping => { pings += 1; bench.receive(0x89, b"p"); }
            }
        }
        bench.write_all();
        let (mut at, mut delivered) = (0, 0);
        for (event_type, id) in bench.events() {
            match event_type.as_str() {
                "heartbeat" => prop_assert_eq!(id, at),
                "gap" => { prop_assert!(id > at); at = id; }
                _ => { prop_assert_eq!(id, at + 1); at = id; delivered += 1; }
            }
        }
        prop_assert_eq!(at, bench.log.bounds().last);
        let stats = bench.registry.counters.snapshot(0);
        prop_assert_eq!(stats.delivered, delivered);
        prop_assert_eq!(stats.publish_to_socket.counts.iter().sum::<u64>(), delivered);
        prop_assert_eq!(stats.sent_bytes, bench.sent.len() as u64);
        prop_assert_eq!(bench.frames().iter().filter(|(opcode, _)| *opcode == 10).count(), pings);
    }

    /// The same for a client that sees every second kind of event only, and is visited for
    /// the other or is not.
    #[test]
    fn a_filtered_stream_is_true(
        by_topic: bool,
        format in proptest::sample::select(Format::ALL),
        steps in proptest::collection::vec(any_step(), 1..120),
    ) {
        let filter = if by_topic {
            Filter::from_lists(None, Some("a"))
        } else {
            Filter::from_lists(Some("a"), None)
        };
        let mut bench = Bench::new(10_000, filter.unwrap(), None).in_format(format);
        let (mut published, mut expected) = (0u64, Vec::new());
        for step in steps {
            match step {
                Step::Publish(count) => {
                    let event_type = if count % 2 == 0 { "a" } else { "b" };
                    bench.publish(event_type, Some(event_type), count);
                    let new = published + 1..=published + count as u64;
                    published += count as u64;
                    if event_type == "a" {
                        expected.extend(new.map(|at| ("a".to_owned(), at)));
                    }
                }
                Step::Beat => bench.beat(),
                Step::Turn(room) => bench.turn(room),
                Step::Offer(room) => bench.offer(room),
                Step::Stall => bench.stall(),
                Step::Ping => bench.receive(0x89, b"p"),
            }
        }
        bench.write_all();
        let mut seen = bench.events();
        seen.retain(|(event_type, _)| event_type != "heartbeat");
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(bench.session().member.cursor.load(Relaxed), published);
    }
}
