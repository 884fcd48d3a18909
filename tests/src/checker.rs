//! Holds what publishers were told against what a reader saw, in the manner of Jepsen.
//!
//! Each publisher numbers its events and sends one after the other, whatever becomes of
//! them. What was acknowledged must be seen, once, in the publisher's order, under the ID
//! of the acknowledgement, byte for byte; what was refused must not; what was neither may.

use std::collections::HashMap;

use crate::event::{Event, split_id};
use crate::http::{Connection, Request};

/// A refusal that says that the event may be in the log all the same.
const OUTCOME_UNKNOWN: &str = "urn:stoat:problem:outcome-unknown";

/// What became of an event that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It was acknowledged with this ID.
    Acknowledged(String),
    /// It was refused with this status.
    Refused(u16),
    /// No answer came, or one that says that nobody knows.
    Unknown,
}

/// One publisher, and what became of its events 0, 1, 2, ….
#[derive(Clone, Debug, Default)]
pub struct Publisher {
    number: usize,
    attempts: Vec<Attempt>,
}

impl Publisher {
    /// The publisher of this number.
    pub fn new(number: usize) -> Self {
        Self {
            number,
            attempts: Vec::new(),
        }
    }

    /// Sends its next event; says what became of it.
    pub async fn publish(&mut self, connection: &mut Connection) -> &Attempt {
        let payload = payload(self.number, self.attempts.len());
        let body = format!(r#"{{"type":"checked","payload":{payload}}}"#);
        let attempt = match connection.try_send(&Request::publish(body)).await {
            None => Attempt::Unknown,
            Some(response) if response.status == 201 => {
                let id = response.json()["event_id"].as_str().map(str::to_owned);
                Attempt::Acknowledged(id.expect("an ID"))
            }
            Some(response) if response.json()["type"] == OUTCOME_UNKNOWN => Attempt::Unknown,
            Some(response) => Attempt::Refused(response.status),
        };
        self.note(attempt)
    }

    /// Notes what became of the next event.
    pub fn note(&mut self, attempt: Attempt) -> &Attempt {
        let at = self.attempts.len();
        self.attempts.push(attempt);
        &self.attempts[at]
    }

    /// How many of its events were acknowledged.
    pub fn acknowledged(&self) -> usize {
        let acknowledged = |attempt: &&Attempt| matches!(attempt, Attempt::Acknowledged(_));
        self.attempts.iter().filter(acknowledged).count()
    }
}

/// The payload of an event, of different lengths.
fn payload(publisher: usize, n: usize) -> String {
    let filler = "é".repeat((publisher * 31 + n * 17) % 300);
    format!(r#"{{"publisher":{publisher},"n":{n},"filler":"{filler}"}}"#)
}

/// What is wrong; nothing where all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Acknowledged, and not seen.
    pub lost: Vec<String>,
    /// Seen more than once, or under an ID that another event has.
    pub duplicated: Vec<String>,
    /// Seen after a later one.
    pub reordered: Vec<String>,
    /// Seen though it was refused or never sent, or not as it was sent, or not under its ID.
    pub phantom: Vec<String>,
    /// A position that was passed over without a `gap`, or an event that another reader saw.
    pub silent_gap: Vec<String>,
}

/// Looks at what one reader saw, event by event.
#[derive(Debug, Default)]
pub struct Checker {
    report: Report,
    /// By publisher and number: the ID.
    seen: HashMap<(usize, usize), String>,
    newest: HashMap<usize, usize>,
    last: Option<String>,
    gap: bool,
    /// The log leaves positions out; only another reader can tell what was passed over.
    sparse: bool,
    /// The IDs in order; nothing where there was a `gap`.
    order: Vec<Option<String>>,
}

impl Checker {
    /// For the reader of a log whose positions are not contiguous.
    pub fn sparse() -> Self {
        Self {
            sparse: true,
            ..Self::default()
        }
    }

    /// Takes the next event that the reader saw.
    pub fn saw(&mut self, event: &Event, publishers: &[Publisher]) {
        if event.event_type == "gap" {
            self.gap = true;
            self.order.push(None);
            return;
        }
        if self.sparse && event.event_type == "health_status" {
            // Of one server, and not of the log.
            return;
        }
        self.order.push(Some(event.id.clone()));
        let told = format!("{event:?}");
        self.check_position(event, &told);
        if event.event_type != "checked" {
            return;
        }
        let value = event.value();
        let number = |key: &str| value[key].as_u64().map_or(usize::MAX, |n| n as usize);
        let (publisher, n) = (number("publisher"), number("n"));
        let attempts = publishers.get(publisher).map(|known| &known.attempts);
        let is_true = match attempts.and_then(|attempts| attempts.get(n)) {
            None | Some(Attempt::Refused(_)) => false,
            Some(Attempt::Acknowledged(id)) => *id == event.id,
            Some(Attempt::Unknown) => true,
        };
        if !is_true || event.payload != payload(publisher, n) {
            self.report.phantom.push(told);
            return;
        }
        if self.seen.insert((publisher, n), event.id.clone()).is_some() {
            self.report.duplicated.push(told);
            return;
        }
        let is_known = attempts.is_some_and(|attempts| attempts[n] != Attempt::Unknown);
        if !is_known {
            // It may take effect at any time.
            return;
        }
        let newest = self.newest.entry(publisher).or_insert(n);
        if n < *newest {
            self.report.reordered.push(told);
        }
        *newest = n.max(*newest);
    }

    /// As [`end`](Self::end), held against what another reader of the same log saw.
    pub fn end_against(mut self, publishers: &[Publisher], all: &[Event]) -> Report {
        let order: Vec<_> = std::mem::take(&mut self.order);
        let known = all
            .iter()
            .filter(|event| event.event_type != "health_status");
        let at: HashMap<&str, usize> = known.map(|event| &*event.id).zip(0..).collect();
        for pair in order.windows(2) {
            let [Some(before), Some(after)] = pair else {
                continue;
            };
            match (at.get(&**before), at.get(&**after)) {
                (Some(before), Some(after)) if *after <= before + 1 => {}
                (Some(_), Some(_)) => self.report.silent_gap.push(after.clone()),
                _ => self
                    .report
                    .phantom
                    .push(format!("{before} and {after}: one is of no event")),
            }
        }
        self.end(publishers)
    }

    /// The report, with what is missing.
    pub fn end(mut self, publishers: &[Publisher]) -> Report {
        for publisher in publishers {
            for (n, attempt) in publisher.attempts.iter().enumerate() {
                if let Attempt::Acknowledged(id) = attempt
                    && !self.seen.contains_key(&(publisher.number, n))
                {
                    let lost = format!("{id}: event {n} of publisher {}", publisher.number);
                    self.report.lost.push(lost);
                }
            }
        }
        self.report
    }

    fn check_position(&mut self, event: &Event, told: &str) {
        let last = self.last.replace(event.id.clone());
        let had_gap = std::mem::take(&mut self.gap);
        let Some(last) = last else { return };
        let ((epoch, before), (same, at)) = (split_id(&last), split_id(&event.id));
        if epoch == same && at == before {
            self.report.duplicated.push(told.to_owned());
        } else if epoch == same && at < before {
            self.report.reordered.push(told.to_owned());
        } else if (epoch != same || at > before + 1 && !self.sparse) && !had_gap {
            self.report.silent_gap.push(told.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sequence: u64, n: usize) -> Event {
        with_payload(sequence, &payload(0, n))
    }

    fn with_payload(sequence: u64, payload: &str) -> Event {
        Event::parse(&format!(
            r#"{{"type":"checked","payload":{payload},"correlation_id":null,"timestamp":"2026-11-23T12:34:56.789012+00:00","event_id":"{}"}}"#,
            id(sequence)
        ))
    }

    fn id(sequence: u64) -> String {
        format!("0000000000000001-{sequence}")
    }

    fn gap() -> Event {
        Event::parse(&format!(
            r#"{{"type":"gap","payload":{{}},"correlation_id":null,"timestamp":"2026-11-23T12:34:56.789012+00:00","event_id":"{}"}}"#,
            id(1)
        ))
    }

    /// Event 0 has ID 1, and so on; event 2 was refused, event 3 not answered.
    fn report(seen: &[Event]) -> Report {
        let mut publisher = Publisher::new(0);
        for n in 0..5 {
            publisher.note(match n {
                2 => Attempt::Refused(507),
                3 => Attempt::Unknown,
                n => Attempt::Acknowledged(id(n + 1)),
            });
        }
        let publishers = [publisher];
        let mut checker = Checker::default();
        for event in seen {
            checker.saw(event, &publishers);
        }
        checker.end(&publishers)
    }

    fn faults(seen: &[Event]) -> [usize; 5] {
        let report = report(seen);
        [
            report.lost.len(),
            report.duplicated.len(),
            report.reordered.len(),
            report.phantom.len(),
            report.silent_gap.len(),
        ]
    }

    #[test]
    fn finds_each_fault() {
        let all = [event(1, 0), event(2, 1), gap(), event(5, 4)];
        assert_eq!(report(&all), Report::default());
        let answered_late = [event(1, 0), event(2, 1), event(3, 3), gap(), event(5, 4)];
        assert_eq!(report(&answered_late), Report::default());

        assert_eq!(faults(&[event(1, 0), event(2, 1)]), [1, 0, 0, 0, 0]);
        assert_eq!(
            faults(&[event(1, 0), event(2, 1), event(5, 4)]),
            [0, 0, 0, 0, 1]
        );
        let twice = [event(1, 0), event(2, 1), event(2, 1), gap(), event(5, 4)];
        assert_eq!(faults(&twice), [0, 2, 0, 0, 0]);
        let twice = [
            event(1, 0),
            event(2, 1),
            event(3, 3),
            event(4, 3),
            event(5, 4),
        ];
        assert_eq!(faults(&twice), [0, 1, 0, 0, 0]);
        let late = [event(1, 0), event(2, 1), gap(), event(5, 4), event(6, 3)];
        assert_eq!(report(&late), Report::default());
        let back = [event(2, 1), event(1, 0), gap(), event(5, 4)];
        assert_eq!(faults(&back), [0, 0, 2, 0, 0]);
        let refused = [event(1, 0), event(2, 1), event(3, 2), gap(), event(5, 4)];
        assert_eq!(faults(&refused), [0, 0, 0, 1, 0]);
        let other_id = [event(1, 0), event(2, 1), gap(), event(6, 4)];
        assert_eq!(faults(&other_id), [1, 0, 0, 1, 0]);
        let changed = payload(0, 0).replace("\"n\"", " \"n\"");
        let changed = [with_payload(1, &changed), event(2, 1), gap(), event(5, 4)];
        assert_eq!(faults(&changed), [1, 0, 0, 1, 0]);
    }

    #[test]
    fn another_reader_tells_what_was_passed_over() {
        let mut publisher = Publisher::new(0);
        for n in 0..3 {
            publisher.note(match n {
                1 => Attempt::Unknown,
                n => Attempt::Acknowledged(id(n * 10 + 1)),
            });
        }
        let publishers = [publisher];
        let all = [event(1, 0), event(11, 1), event(21, 2)];
        let report = |seen: &[Event]| {
            let mut checker = Checker::sparse();
            for event in seen {
                checker.saw(event, &publishers);
            }
            checker.end_against(&publishers, &all)
        };
        assert_eq!(report(&all), Report::default());
        assert_eq!(report(&all[..2]).lost.len(), 1);
        let passed_over = report(&[event(1, 0), event(21, 2)]);
        assert_eq!(passed_over.silent_gap, [id(21)]);
        assert_eq!(
            report(&[event(1, 0), gap(), event(21, 2)]),
            Report::default()
        );
    }
}
