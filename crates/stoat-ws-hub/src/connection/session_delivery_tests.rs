//! What the delivery reports tell of several clients, against what these were sent.

use std::sync::Mutex;
use std::time::Duration;

use proptest::prelude::*;
use stoat_events::{MemoryLog, Resume, Retention};

use super::bench::Bench;
use super::*;
use crate::DeliveryReport;
use crate::delivery::Deliveries;
use crate::registry::Registry;

/// A hub with a clock of its own, and everyone who was ever there.
struct World {
    clock: Arc<Mutex<Instant>>,
    log: Arc<MemoryLog>,
    registry: Arc<Registry>,
    clients: Vec<Client>,
    /// When each event was accepted, and its type.
    published: Vec<(Instant, &'static str)>,
}

struct Client {
    /// None once it has left.
    bench: Option<Bench>,
    /// Where the log was when it left.
    end: u64,
    filter: Filter,
    /// The newest event then.
    newest: u64,
    /// Where it began.
    start: u64,
    /// What it has, with the time.
    seen: Vec<(String, u64, Instant)>,
}

impl World {
    fn new(retained: usize, reports: usize) -> Self {
        let clock = Arc::new(Mutex::new(Instant::now()));
        let retention = Retention {
            events: retained,
            age: None,
            ..Retention::default()
        };
        let shown = Arc::clone(&clock);
        let builder = MemoryLog::builder().retention(retention);
        let log = Arc::new(builder.clock(move || *shown.lock().unwrap()).build());
        let deliveries = Deliveries::new(&(Arc::clone(&log) as Arc<dyn EventLog>), reports);
        Self {
            clock,
            log,
            registry: Arc::new(Registry::new(Counters::new(deliveries))),
            clients: Vec::new(),
            published: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        *self.clock.lock().unwrap()
    }

    fn wait(&self, time: Duration) {
        *self.clock.lock().unwrap() += time;
    }

    fn publish(&mut self, event_type: &'static str, count: usize) {
        for _ in 0..count {
            let event = stoat_events::EventType::parse(event_type).unwrap();
            let event = stoat_events::Event::builder(event).build();
            self.log.append_now(event.into()).unwrap();
            self.published.push((self.now(), event_type));
        }
    }

    fn join(&mut self, filter: Filter, resume: &Resume) -> usize {
        let attachment = self.log.attach(resume);
        let start = attachment.cursor;
        let (log, registry) = (Arc::clone(&self.log), Arc::clone(&self.registry));
        let now = self.now();
        let mut bench = Bench::over(log, registry, filter.clone(), attachment, now);
        let newest = self.log.bounds().last;
        bench.position = newest;
        self.clients.push(Client {
            bench: Some(bench),
            end: u64::MAX,
            filter,
            newest,
            start,
            seen: Vec::new(),
        });
        self.clients.len() - 1
    }

    /// Something happens to a client that is still there.
    fn with(&mut self, client: usize, act: impl FnOnce(&mut Bench)) {
        let now = self.now();
        let Some(client) = self.clients.get_mut(client) else {
            return;
        };
        let Some(bench) = &mut client.bench else {
            return;
        };
        bench.now = now;
        act(bench);
        let seen = bench.whole_events();
        let new = seen.into_iter().skip(client.seen.len());
        let new: Vec<_> = new.map(|(event, at)| (event, at, now)).collect();
        client.seen.extend(new);
    }

    fn leave(&mut self, client: usize) {
        if let Some(client) = self.clients.get_mut(client)
            && let Some(mut bench) = client.bench.take()
        {
            bench.follower.report(bench.position);
            client.end = self.log.bounds().last;
        }
    }

    fn report(&mut self, at: u64) -> Option<DeliveryReport> {
        let there = self.clients.iter_mut().filter_map(|c| c.bench.as_mut());
        there.for_each(|bench| bench.follower.report(bench.position));
        self.registry.delivery(self.log.bounds().id(at)).ok()
    }

    /// The counts as they follow from what each client was sent, and the ages.
    fn expected(&self, at: u64) -> ([u64; 5], Vec<Duration>) {
        let (accepted, event_type) = self.published[at as usize - 1];
        let (mut counts, mut ages) = ([0; 5], Vec::new());
        let [written, replayed, behind, missed, left] = &mut counts;
        for client in &self.clients {
            let concerns = (client.start + 1..=client.end).contains(&at);
            if !concerns || !client.filter.matches(event_type, None) {
                continue;
            }
            let written_at =
                |(_, position, time): &(String, u64, Instant)| (*position == at).then_some(*time);
            let mut events = client.seen.iter().filter(|(event, ..)| event != "gap");
            let mut gaps = client.seen.iter().filter(|(event, ..)| event == "gap");
            match events.find_map(written_at) {
                Some(time) => {
                    *written += 1;
                    if at > client.newest {
                        ages.push(time - accepted);
                    } else {
                        *replayed += 1;
                    }
                }
                None if gaps.any(|(_, position, _)| *position >= at) => *missed += 1,
                None if client.bench.is_some() => *behind += 1,
                None => *left += 1,
            }
        }
        ages.sort_unstable();
        (counts, ages)
    }
}

fn counts(report: &DeliveryReport) -> [u64; 5] {
    let sum = report.written + report.behind + report.missed + report.left;
    assert_eq!(report.matched, sum);
    let DeliveryReport {
        written,
        replayed,
        behind,
        missed,
        left,
        ..
    } = report;
    [*written, *replayed, *behind, *missed, *left]
}

#[test]
fn a_client_counts_for_what_it_sees_with_the_filter_that_it_has_then() {
    let mut world = World::new(100, 100);
    let client = world.join(Filter::all(), &Resume::Live);
    world.with(client, |bench| bench.turn(usize::MAX));
    world.publish("a", 3);
    world.with(client, |bench| {
        bench.write(10);
        bench.stall();
    });
    let all: Vec<_> = (1..=3).map(|at| world.report(at).unwrap()).collect();
    assert!(all.iter().all(|report| counts(report) == [0, 0, 1, 0, 0]));
    world.with(client, |bench| {
        bench.receive(0x81, br#"{"action":"subscribe","types":["b"]}"#);
    });
    // The one that was begun goes out all the same, so for it the client counts.
    world.with(client, Bench::write_all);
    assert_eq!(world.report(2).unwrap().matched, 0);
    world.leave(client);
    assert_eq!(world.report(3).unwrap().matched, 0);
}

#[test]
fn an_event_that_was_begun_is_not_written() {
    let mut world = World::new(100, 100);
    let client = world.join(Filter::all(), &Resume::Live);
    world.with(client, |bench| bench.turn(usize::MAX));
    world.publish("a", 2);
    world.with(client, |bench| bench.offer(10));
    for at in [1, 2] {
        assert_eq!(counts(&world.report(at).unwrap()), [0, 0, 1, 0, 0]);
    }
    world.leave(client);
    for at in [1, 2] {
        assert_eq!(counts(&world.report(at).unwrap()), [0, 0, 0, 0, 1]);
    }
}

#[test]
fn a_gap_that_the_socket_did_not_take_counts_once_it_does() {
    let mut world = World::new(3, 100);
    let client = world.join(Filter::all(), &Resume::Live);
    world.with(client, |bench| bench.turn(usize::MAX));
    world.publish("a", 1);
    world.with(client, |bench| bench.turn(10));
    for at in 2..=6 {
        world.publish("a", 1);
        assert_eq!(counts(&world.report(at).unwrap()), [0, 0, 1, 0, 0]);
    }
    world.with(client, Bench::stall);
    world.publish("a", 1);
    for at in 1..=7 {
        assert_eq!(counts(&world.report(at).unwrap()), [0, 0, 1, 0, 0]);
    }
    world.with(client, Bench::write_all);
    for at in 1..=7 {
        let expected = match at {
            2..=4 => [0, 0, 0, 1, 0],
            _ => [1, 0, 0, 0, 0],
        };
        assert_eq!(counts(&world.report(at).unwrap()), expected, "event {at}");
    }
}

/// What can happen to a hub.
#[derive(Debug, Clone)]
enum Step {
    Publish(&'static str, usize),
    Wait(Duration),
    Join(Option<&'static str>, Back),
    Turn(usize, usize),
    Offer(usize, usize),
    Stall(usize),
    Leave(usize),
    Look,
}

/// Where a client begins.
#[derive(Debug, Clone)]
enum Back {
    Live,
    Earliest,
    Unknown,
    By(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let types = || proptest::sample::select(vec!["a", "b"]);
    let back = prop_oneof![
        4 => Just(Back::Live),
        1 => Just(Back::Earliest),
        1 => Just(Back::Unknown),
        2 => (0u64..20).prop_map(Back::By),
    ];
    let who = 0usize..8;
    let room = 1usize..1500;
    prop_oneof![
        6 => (types(), 1usize..6).prop_map(|(event, count)| Step::Publish(event, count)),
        3 => (0u64..5_000_000).prop_map(|us| Step::Wait(Duration::from_micros(us))),
        2 => (proptest::option::of(types()), back).prop_map(|(event, back)| Step::Join(event, back)),
        6 => (who.clone(), room.clone()).prop_map(|(who, room)| Step::Turn(who, room)),
        9 => (who.clone(), room).prop_map(|(who, room)| Step::Offer(who, room)),
        3 => who.clone().prop_map(Step::Stall),
        1 => who.prop_map(Step::Leave),
        1 => Just(Step::Look),
    ]
}

proptest! {
    /// Whoever comes, goes, is slow or is left behind: each report is what one gets by
    /// counting what each client was sent.
    #[test]
    fn the_reports_are_simple_counts(
        retained in 1usize..30,
        reports in 1usize..30,
        steps in proptest::collection::vec(any_step(), 1..150),
    ) {
        let mut world = World::new(retained, reports);
        for step in steps {
            match step {
                Step::Publish(event, count) => world.publish(event, count),
                Step::Wait(time) => world.wait(time),
                Step::Join(event, back) => {
                    let bounds = world.log.bounds();
                    let resume = match back {
                        Back::Live => Resume::Live,
                        Back::Earliest => Resume::Earliest,
                        Back::Unknown => Resume::After("other".to_owned()),
                        Back::By(by) => {
                            Resume::After(bounds.id(bounds.last.saturating_sub(by)).to_string())
                        }
                    };
                    world.join(Filter::from_lists(event, None).unwrap(), &resume);
                }
                Step::Turn(who, room) => world.with(who, |bench| bench.turn(room)),
                Step::Offer(who, room) => world.with(who, |bench| bench.offer(room)),
                Step::Stall(who) => world.with(who, Bench::stall),
                Step::Leave(who) => world.leave(who),
                Step::Look => _ = world.report(world.log.bounds().last),
            }
        }
        let bounds = world.log.bounds();
        for at in 1..=bounds.last {
            let Some(report) = world.report(at) else {
                let is_old = at + reports as u64 <= bounds.last || at < bounds.first;
                prop_assert!(is_old, "the report of {at} of {} is missing", bounds.last);
                continue;
            };
            let (expected, ages) = world.expected(at);
            prop_assert_eq!(counts(&report), expected, "event {}", at);
            for (percent, told) in [(50, report.p50_age), (99, report.p99_age)] {
                let rank = (ages.len() * percent).div_ceil(100);
                let exact = rank.checked_sub(1).map(|rank| ages[rank]);
                prop_assert_eq!(told.is_some(), exact.is_some());
                if let (Some(told), Some(exact)) = (told, exact) {
                    prop_assert!(told > exact && told <= (exact * 3 / 2).max(Duration::from_micros(16)));
                }
            }
        }
    }
}
