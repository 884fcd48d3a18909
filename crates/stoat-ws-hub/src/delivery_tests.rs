//! Of which events there is a report.

use stoat_events::{
    AppendFuture, Batch, Epoch, Event, EventType, HeadWatch, LogBounds, MemoryLog, Retention,
};

use super::*;

fn publish(log: &MemoryLog, count: usize) {
    for _ in 0..count {
        let event = Event::builder(EventType::parse("a").unwrap()).build();
        log.append_now(event.into()).unwrap();
    }
}

fn log(retained: usize) -> Arc<MemoryLog> {
    let retention = Retention {
        events: retained,
        age: None,
        ..Retention::default()
    };
    Arc::new(MemoryLog::builder().retention(retention).build())
}

fn deliveries(log: &Arc<impl EventLog>, most: usize) -> Deliveries {
    Deliveries::new(&(Arc::clone(log) as Arc<dyn EventLog>), most)
}

/// The positions of which there is a report, and of those of which there is none, why.
fn told(deliveries: &Deliveries, bounds: LogBounds) -> Vec<Option<Cause>> {
    let report = |at| deliveries.report(bounds.id(at), 0).err().map(|none| none.0);
    (0..=bounds.last + 1).map(report).collect()
}

#[test]
fn the_newest_events_have_a_report() {
    use Cause::{Overwritten, Unknown};
    let log = log(100);
    publish(&log, 2);
    let deliveries = deliveries(&log, 3);
    publish(&log, 2);
    let before = [Some(Unknown), Some(Overwritten), Some(Overwritten)];
    let expected = [&before[..], &[None, None, Some(Unknown)]].concat();
    assert_eq!(told(&deliveries, log.bounds()), expected);

    publish(&log, 2);
    let expected = [
        &before[..],
        &[Some(Overwritten), None, None, None, Some(Unknown)],
    ]
    .concat();
    assert_eq!(told(&deliveries, log.bounds()), expected);
    assert_eq!(deliveries.ring().between(0, u64::MAX).count(), 3);

    let other = EventId::new(Epoch::from_u64(1), 6);
    assert!(deliveries.report(other, 0).unwrap_err().is_unknown());
}

#[test]
fn what_the_log_has_lost_before_anyone_looked_has_none() {
    let log = log(2);
    let deliveries = deliveries(&log, 100);
    publish(&log, 1);
    assert!(deliveries.report(log.bounds().id(1), 0).is_ok());
    publish(&log, 5);
    let expected = [
        Some(Cause::Unknown),
        None,
        Some(Cause::Overwritten),
        Some(Cause::Overwritten),
        Some(Cause::Overwritten),
        None,
        None,
        Some(Cause::Unknown),
    ];
    assert_eq!(told(&deliveries, log.bounds()), expected);
}

#[test]
fn none_are_kept_where_they_are_off() {
    let log = log(2);
    let deliveries = deliveries(&log, 0);
    publish(&log, 1);
    deliveries.of_one(Some(1)).written(1, None);
    deliveries.left(0, &Filter::all());
    assert!(
        deliveries
            .report(log.bounds().id(1), 0)
            .unwrap_err()
            .is_off()
    );
    assert_eq!(deliveries.ring().between(0, u64::MAX).count(), 0);
}

/// A log that has only its newest events in memory, and no numbers that are odd.
struct Sparse {
    log: MemoryLog,
    in_memory: u64,
}

impl EventLog for Sparse {
    fn append(&self, batch: Batch) -> AppendFuture<'_> {
        self.log.append(batch)
    }

    fn read(&self, after: u64, limit: ReadLimit, out: &mut Vec<LogEntry>) -> ReadStatus {
        if after + self.in_memory < self.bounds().last {
            return ReadStatus::Stored;
        }
        let mut all = Vec::new();
        let status = self.log.read(after, limit, &mut all);
        out.extend(all.into_iter().filter(|entry| entry.sequence() % 2 == 0));
        status
    }

    fn bounds(&self) -> LogBounds {
        self.log.bounds()
    }

    fn head(&self) -> HeadWatch {
        self.log.head()
    }
}

#[test]
fn a_log_that_is_partly_on_disk_and_leaves_numbers_out() {
    let log = Arc::new(Sparse {
        log: MemoryLog::default(),
        in_memory: 8,
    });
    let deliveries = deliveries(&log, 100);
    publish(&log.log, 1000);
    let told = told(&deliveries, log.bounds());
    let mut last = told.iter().rev().skip(1);
    for _ in 0..2 {
        assert_eq!(last.next(), Some(&None));
        assert_eq!(last.next(), Some(&Some(Cause::Unknown)));
    }
    assert!(
        told[1..=992]
            .iter()
            .all(|told| *told == Some(Cause::Overwritten))
    );
}
