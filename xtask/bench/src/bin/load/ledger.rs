//! Which events are on their way, and how long those that arrived took.

use std::ops::Range;

use stoat_bench::histogram::Histogram;

/// How many events may be on their way at once; one that is overtaken by so many counts as lost.
const SLOTS: usize = 1 << 16;

#[derive(Clone, Copy, Default)]
struct Slot {
    due: u64,
    /// How many clients wait for it still.
    waiting: u32,
}

pub(crate) struct Ledger {
    slots: Vec<Slot>,
    /// The number of the next event.
    pub(crate) next: u64,
    /// Every event before it is complete.
    oldest: u64,
    /// Events that some client waits for.
    pub(crate) open: usize,
    /// Events that were given up.
    pub(crate) expired: u64,
    /// The events that are measured.
    pub(crate) measured: Range<u64>,
    /// From the time an event was due until one client had it.
    pub(crate) delivery: Histogram,
    /// From the time an event was due until the last client had it.
    pub(crate) last: Histogram,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            slots: vec![Slot::default(); SLOTS],
            next: 0,
            oldest: 0,
            open: 0,
            expired: 0,
            measured: 0..0,
            delivery: Histogram::default(),
            last: Histogram::default(),
        }
    }

    /// Enters a new event; its number.
    pub(crate) fn enter(&mut self, due: u64, clients: usize) -> u64 {
        let number = self.next;
        self.next += 1;
        if self.slot(number).waiting > 0 {
            self.expired += 1;
            self.open -= 1;
        }
        *self.slot(number) = Slot {
            due,
            waiting: clients as u32,
        };
        self.open += usize::from(clients > 0);
        self.oldest = self.oldest.max(self.next.saturating_sub(SLOTS as u64));
        number
    }

    /// One client has the event.
    pub(crate) fn delivered(&mut self, number: u64, due: u64, now: u64) {
        let measured = self.measured.contains(&number);
        if measured {
            self.delivery.record(now.saturating_sub(due));
        }
        if number >= self.oldest && self.strike(number) && measured {
            self.last.record(now.saturating_sub(due));
        }
    }

    /// A client is gone: nobody waits for what it had not got.
    pub(crate) fn gone(&mut self, had: impl Fn(u64) -> bool) {
        for number in self.oldest..self.next {
            if !had(number) {
                self.strike(number);
            }
        }
    }

    /// Gives up events that were due before a time, so that a lost one does not hold the window.
    pub(crate) fn expire(&mut self, before: u64) {
        while self.oldest < self.next {
            let slot = self.slot(self.oldest);
            if slot.waiting > 0 {
                if slot.due >= before {
                    return;
                }
                slot.waiting = 0;
                self.open -= 1;
                self.expired += 1;
            }
            self.oldest += 1;
        }
    }

    /// One client less waits; whether it was the last.
    fn strike(&mut self, number: u64) -> bool {
        let slot = self.slot(number);
        if slot.waiting == 0 {
            return false;
        }
        slot.waiting -= 1;
        let complete = slot.waiting == 0;
        self.open -= usize::from(complete);
        complete
    }

    fn slot(&mut self, number: u64) -> &mut Slot {
        &mut self.slots[number as usize % SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_complete_with_its_last_client() {
        let mut ledger = Ledger::new();
        ledger.measured = 1..2;
        for number in 0..2 {
            assert_eq!(ledger.enter(100, 2), number);
            ledger.delivered(number, 100, 150);
            assert_eq!(ledger.open, 1);
            ledger.delivered(number, 100, 300);
            assert_eq!(ledger.open, 0);
        }
        assert_eq!(ledger.last.largest(), 200);
        assert_eq!(ledger.delivery.quantile(0.5), 50);
    }

    #[test]
    fn nobody_waits_for_a_client_that_is_gone() {
        let mut ledger = Ledger::new();
        ledger.enter(0, 2);
        ledger.enter(0, 2);
        ledger.delivered(0, 0, 1);
        ledger.gone(|number| number == 1);
        assert_eq!(ledger.open, 1);
    }

    #[test]
    fn a_lost_event_is_given_up() {
        let mut ledger = Ledger::new();
        ledger.enter(10, 1);
        ledger.enter(20, 1);
        ledger.expire(15);
        assert_eq!((ledger.open, ledger.expired), (1, 1));
        for _ in 0..SLOTS {
            ledger.enter(30, 1);
        }
        assert_eq!((ledger.open, ledger.expired), (SLOTS, 2));
    }
}
