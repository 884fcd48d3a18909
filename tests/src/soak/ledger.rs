//! What was acknowledged, and whether a client got it.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// The topics that events are published to; each has a bit in a [`Mask`].
pub(super) const TOPICS: [Option<&str>; 4] = [None, Some("soak.a"), Some("soak.b"), Some("other")];

/// Which of [`TOPICS`] a client wants.
pub(super) type Mask = u8;

/// All of them.
pub(super) const ALL: Mask = (1 << TOPICS.len()) - 1;

/// An event that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    /// Its number, which no other event has.
    pub(super) n: u64,
    /// The index of its topic.
    pub(super) topic: usize,
}

/// Every event that was acknowledged, by its place in the log.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<BTreeMap<u64, Acknowledged>>);

impl Ledger {
    pub(super) fn record(&self, sequence: u64, event: Acknowledged) {
        let before = self.0.lock().unwrap().insert(sequence, event);
        assert_eq!(before, None, "two events have the place {sequence}");
    }

    /// The newest place; there must be no hole before it.
    pub(super) fn last(&self) -> u64 {
        let events = self.0.lock().unwrap();
        let last = events.keys().next_back().copied().unwrap_or_default();
        assert_eq!(events.len() as u64, last, "places that nobody was told of");
        last
    }

    /// Panics unless this is what a client must have got.
    pub(super) fn check(&self, who: &str, record: &Record) {
        let events = self.0.lock().unwrap();
        let mut got = record.got.iter().copied().peekable();
        let mut before = 0;
        for (&sequence, event) in events.iter() {
            let bit = 1 << event.topic;
            let stretch = record.stretches.iter().rfind(|s| s.after < sequence);
            let stretch = stretch.expect("it began before the first event");
            match got.next_if(|(place, _)| *place == sequence) {
                Some((_, n)) => {
                    assert_eq!(n, event.n, "{who}: another event at {sequence}");
                    assert!(
                        stretch.may & bit != 0,
                        "{who}: {sequence} was not asked for"
                    );
                }
                None => assert!(stretch.must & bit == 0, "{who}: {sequence} was lost"),
            }
            before = sequence;
        }
        assert_eq!(
            got.next(),
            None,
            "{who}: after {before}, out of order or unknown"
        );
    }
}

/// What a client got, as place and number, and what it had asked for.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) got: Vec<(u64, u64)>,
    pub(super) stretches: Vec<Stretch>,
}

impl Record {
    /// From `after` on, exactly these topics count.
    pub(super) fn begin(&mut self, after: u64, mask: Mask) {
        self.stretches.retain(|stretch| stretch.after < after);
        self.stretches.push(Stretch {
            after,
            must: mask,
            may: mask,
        });
    }

    /// Somewhere after `after`, this mask takes the place of what counts there; how far the
    /// server is with earlier changes is not known.
    pub(super) fn change(&mut self, after: u64, new: Mask) {
        if let Some(begun) = self.stretches.iter().rposition(|s| s.after <= after) {
            let covering = self.stretches[begun];
            self.stretches
                .insert(begun + 1, Stretch { after, ..covering });
        }
        for stretch in self.stretches.iter_mut().filter(|s| s.after >= after) {
            stretch.must &= new;
            stretch.may |= new;
        }
    }
}

/// What must come and what may come after a place, up to the next stretch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    after: u64,
    must: Mask,
    may: Mask,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let ledger = Ledger::default();
        for sequence in 1..=4 {
            let topic = (sequence % 2) as usize;
            ledger.record(
                sequence,
                Acknowledged {
                    n: sequence * 10,
                    topic,
                },
            );
        }
        ledger
    }

    fn check(got: &[u64], mask: Mask) {
        let mut record = Record::default();
        record.begin(0, mask);
        record.got = got.iter().map(|place| (*place, place * 10)).collect();
        ledger().check("a client", &record);
    }

    #[test]
    fn all_of_it_in_order_is_right() {
        check(&[1, 2, 3, 4], ALL);
        check(&[1, 3], 0b10);
        assert_eq!(ledger().last(), 4);
    }

    #[test]
    #[should_panic(expected = "2 was lost")]
    fn a_loss_is_noticed() {
        check(&[1, 3, 4], ALL);
    }

    #[test]
    #[should_panic(expected = "out of order")]
    fn a_repeat_is_noticed() {
        check(&[1, 2, 3, 4, 4], ALL);
    }

    #[test]
    #[should_panic(expected = "2 was not asked for")]
    fn what_is_too_much_is_noticed() {
        check(&[1, 2, 3], 0b10);
    }

    #[test]
    fn a_change_leaves_open_only_what_one_of_both_lacks() {
        let mut record = Record::default();
        record.begin(0, 0b10);
        record.change(1, 0b01);
        record.begin(3, 0b01);
        for got in [[1, 2, 3, 4].as_slice(), &[1, 3, 4], &[1, 4]] {
            record.got = got.iter().map(|place| (*place, place * 10)).collect();
            ledger().check("a client", &record);
        }
    }

    #[test]
    fn what_an_earlier_change_left_open_stays_open() {
        let mut record = Record::default();
        record.begin(0, 0b10);
        record.change(1, 0b01);
        record.begin(3, 0b01);
        record.change(1, 0b11);
        record.got = vec![(1, 10), (3, 30), (4, 40)];
        ledger().check("a client", &record);
    }
}
