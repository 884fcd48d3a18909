//! What readers see of messages that come, go, and hold no events.

use std::time::Instant;

use serde_json::json;
use stoat_events::{
    Epoch, Event, EventType, GapReason, LogEntry, ReadLimit, ReadStatus, Resume, Retention,
};

use super::Shared;
use crate::position::{end_of, first_of};

const ALL: ReadLimit = ReadLimit {
    events: usize::MAX,
    bytes: usize::MAX,
};

fn event(n: u64) -> Event {
    let builder = Event::builder(EventType::ScanStarted);
    builder.payload(&json!({ "n": n })).unwrap().build()
}

fn shared(events: usize) -> Shared {
    let retention = Retention {
        events,
        ..Retention::default()
    };
    let shared = Shared::new(retention);
    shared.begin(Epoch::from_u64(7), 1, 0);
    shared
}

fn show(shared: &Shared, message: u64, events: u64) {
    shared.show(message, (0..events).map(event).collect(), Instant::now());
}

fn read(shared: &Shared, after: u64) -> (ReadStatus, Vec<u64>) {
    let mut out = Vec::new();
    let status = shared.read(after, ALL, &mut out);
    (status, out.iter().map(LogEntry::sequence).collect())
}

fn resume(sequence: u64) -> Resume {
    Resume::After(format!("0000000000000007-{sequence}"))
}

#[test]
fn positions_follow_from_the_messages_alone() {
    let all = shared(100);
    for (message, events) in [(1, 1), (2, 0), (3, 3), (4, 1)] {
        show(&all, message, events);
    }
    let expected = vec![
        end_of(1),
        first_of(3, 3),
        first_of(3, 3) + 1,
        end_of(3),
        end_of(4),
    ];
    assert_eq!(read(&all, 0), (ReadStatus::Read, expected.clone()));
    assert_eq!(read(&all, first_of(3, 3)).1, expected[2..]);
    // Between two events is a position like any other.
    assert_eq!(read(&all, end_of(2)).1, expected[1..]);
    assert_eq!(
        (
            all.distance(0, end_of(4)),
            all.distance(end_of(3), end_of(4))
        ),
        (5, 1)
    );

    // One that began later, with other bounds, has the same.
    let late = shared(100);
    late.begin(Epoch::from_u64(7), 1, 2);
    show(&late, 3, 3);
    show(&late, 4, 1);
    assert_eq!(read(&late, end_of(2)).1, expected[1..]);
    assert_eq!(late.bounds().last, all.bounds().last);
}

#[test]
fn what_leaves_the_memory_is_stored_and_what_leaves_the_stream_evicted() {
    let shared = shared(2);
    for message in 1..=5 {
        show(&shared, message, 1);
    }
    assert_eq!(read(&shared, end_of(3)).0, ReadStatus::Read);
    assert_eq!(read(&shared, end_of(3) - 1).0, ReadStatus::Stored);
    shared.set_oldest(3);
    assert_eq!(read(&shared, end_of(2)).0, ReadStatus::Stored);
    assert_eq!(read(&shared, end_of(2) - 1).0, ReadStatus::Evicted);
    let attach = |sequence| shared.attach(&resume(sequence));
    assert_eq!(attach(end_of(2)).gap, None);
    let evicted = attach(end_of(1));
    assert_eq!(evicted.cursor, end_of(2));
    assert_eq!(evicted.gap.unwrap().reason, GapReason::Evicted);
    // What the stream lets go of is here as long as it is in memory.
    shared.set_oldest(6);
    assert_eq!(read(&shared, end_of(3)).1, [end_of(4), end_of(5)]);
    assert_eq!(shared.bounds().before_oldest(), end_of(3));
}

#[test]
fn messages_without_events_hide_nothing_and_are_not_waited_for() {
    let shared = shared(1);
    show(&shared, 1, 1);
    show(&shared, 2, 0);
    show(&shared, 3, 1);
    // Message 1 is out of memory, and 2 had nothing.
    assert_eq!(read(&shared, end_of(1) - 1).0, ReadStatus::Stored);
    assert_eq!(
        read(&shared, end_of(1)),
        (ReadStatus::Read, vec![end_of(3)])
    );
    show(&shared, 4, 1);
    assert_eq!(read(&shared, end_of(2)).0, ReadStatus::Stored);
    shared.nothing_between(end_of(2), end_of(3));
    assert_eq!(
        read(&shared, end_of(2)),
        (ReadStatus::Read, vec![end_of(4)])
    );
}

#[test]
fn an_event_of_this_server_has_a_position_that_others_understand() {
    let (here, there) = (shared(2000), shared(2000));
    for shared in [&here, &there] {
        show(shared, 1, 1);
    }
    let local = here.show_local(event(0)).unwrap().event_id.sequence();
    assert_eq!(local, end_of(1) + 1);
    assert_eq!(there.needed_for(&resume(local)), Some(1));
    let attachment = there.attach(&resume(local));
    assert_eq!((attachment.cursor, attachment.gap), (end_of(1), None));
    for shared in [&here, &there] {
        show(shared, 2, 1000);
        let (_, after) = read(shared, local);
        assert_eq!((after.len(), after[0]), (1000, first_of(2, 1000)));
    }
    // They are few, and come back with the next message.
    while here.show_local(event(0)).is_some() {}
    assert!(here.show_local(event(0)).is_none());
    show(&here, 3, 1);
    assert!(here.show_local(event(0)).is_some());
}

#[test]
fn an_id_that_nobody_can_have_yet_is_unknown() {
    let shared = shared(100);
    show(&shared, 1, 1);
    assert_eq!(shared.needed_for(&resume(end_of(2))), Some(2));
    let attachment = shared.attach(&resume(end_of(2)));
    assert_eq!(attachment.gap.unwrap().reason, GapReason::UnknownId);
    let other = Resume::After(format!("0000000000000008-{}", end_of(1)));
    assert_eq!(shared.needed_for(&other), None);
    assert_eq!(
        shared.attach(&other).gap.unwrap().reason,
        GapReason::UnknownId
    );
}

#[test]
fn what_was_never_seen_is_a_gap() {
    let shared = shared(100);
    show(&shared, 1, 1);
    shared.lose(4);
    show(&shared, 5, 1);
    assert_eq!(read(&shared, end_of(1)).0, ReadStatus::Evicted);
    assert_eq!(shared.bounds().before_oldest(), end_of(4));
    assert_eq!(read(&shared, end_of(4)).1, [end_of(5)]);
}

#[tokio::test]
async fn who_waits_for_a_message_learns_its_number_once() {
    let shared = shared(100);
    let mut awaited = shared.await_message("n");
    shared.saw("other", 3);
    shared.saw("n", 4);
    shared.saw("n", 5);
    assert_eq!(awaited.seen().await, Some(4));
    drop(awaited);
    assert!(shared.lock_awaited().is_empty());
}
