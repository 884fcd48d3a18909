//! The hub's counters, as a snapshot that any metrics library can read.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use stoat_events::GapReason;

use crate::delivery::{Deliveries, Run};
use crate::{DisconnectReason, RejectReason};

/// Upper bounds of the buckets of [`Histogram`], in seconds.
const LATENCY_BOUNDS: [f64; 14] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0,
    5.0,
];
const GAP_REASONS: [GapReason; 3] = [GapReason::Evicted, GapReason::UnknownId, GapReason::Lagged];

/// What the hub has counted since it was made, and its gauges now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HubStats {
    /// Connections now.
    pub connected: usize,
    /// Connections that take no bytes at present although there is something to send.
    pub slow: usize,
    /// Handshakes answered with 101.
    pub connects: u64,
    /// Connections ended, by reason.
    pub disconnects: Vec<(DisconnectReason, u64)>,
    /// Handshakes refused, by reason.
    pub rejects: Vec<(RejectReason, u64)>,
    /// Gap events sent, by reason.
    pub gaps: Vec<(GapReason, u64)>,
    /// Events of the log handed to the kernel, once for each client.
    pub delivered: u64,
    /// Bytes handed to the kernel after the handshakes.
    pub sent_bytes: u64,
    /// Messages of clients that were no control message.
    pub ignored_messages: u64,
    /// From the log's acceptance of an event until it was handed to the kernel,
    /// once for each client that was there when it was accepted.
    pub publish_to_socket: Histogram,
}

/// A histogram of durations.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Histogram {
    /// Upper bound of each bucket in seconds; the last bucket has none.
    pub bounds: &'static [f64],
    /// Observations in each bucket, not cumulative; one more than `bounds`.
    pub counts: Vec<u64>,
    /// Sum of all observations in seconds.
    pub sum: f64,
}

/// The counters behind [`HubStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) slow: AtomicUsize,
    pub(crate) connects: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) ignored_messages: AtomicU64,
    disconnects: [AtomicU64; DisconnectReason::ALL.len()],
    rejects: [AtomicU64; RejectReason::ALL.len()],
    gaps: [AtomicU64; GAP_REASONS.len()],
    latency: [AtomicU64; LATENCY_BOUNDS.len() + 1],
    latency_nanos: AtomicU64,
    /// Beside them, since whoever counts a delivery counts it in both.
    pub(crate) deliveries: Deliveries,
}

/// What one round of writing adds to the counters, kept apart until its end.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    sent_bytes: u64,
    delivered: u64,
    latency: [u64; LATENCY_BOUNDS.len() + 1],
    latency_nanos: u64,
    /// Clients that took all that is being written, and are not counted yet.
    whole: u32,
    runs: Vec<Run>,
}

impl Tally {
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent_bytes += bytes as u64;
    }

    /// Begins anew, with the memory that it has.
    pub(crate) fn clear(&mut self) {
        let mut runs = std::mem::take(&mut self.runs);
        runs.clear();
        *self = Self {
            runs,
            ..Self::default()
        };
    }

    /// One more client took all that is being written.
    pub(crate) fn took_whole(&mut self) {
        self.whole += 1;
    }

    /// How many did since the last time.
    pub(crate) fn taken_whole(&mut self) -> u32 {
        std::mem::take(&mut self.whole)
    }

    /// Counts some events of the log that were handed over at once to so many clients.
    pub(crate) fn delivered(
        &mut self,
        clients: u32,
        (greatest, least, sum): (Duration, Duration, Duration),
        each: impl ExactSizeIterator<Item = Duration>,
    ) {
        let clients = u64::from(clients);
        let count = clients * each.len() as u64;
        self.delivered += count;
        self.latency_nanos += clients * nanos(sum);
        let bucket = bucket(greatest);
        if bucket == self::bucket(least) {
            self.latency[bucket] += count;
        } else {
            each.for_each(|age| self.latency[self::bucket(age)] += clients);
        }
    }

    /// Remembers that more connections have the events after one position up to another.
    pub(crate) fn wrote(&mut self, after: u64, to: u64, connections: u32, now: Instant) {
        match self.runs.last_mut() {
            Some(run) if run.after == after && run.to == to => {
                run.connections += connections;
                run.at = now;
            }
            _ => self.runs.push(Run {
                after,
                to,
                connections,
                at: now,
            }),
        }
    }
}

fn bucket(latency: Duration) -> usize {
    let seconds = latency.as_secs_f64();
    LATENCY_BOUNDS.partition_point(|bound| *bound < seconds)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Counters {
    pub(crate) fn new(deliveries: Deliveries) -> Self {
        Self {
            deliveries,
            ..Self::default()
        }
    }

    pub(crate) fn add(&self, tally: &Tally) {
        let add = |counter: &AtomicU64, more: u64| {
            if more > 0 {
                counter.fetch_add(more, Relaxed);
            }
        };
        add(&self.sent_bytes, tally.sent_bytes);
        add(&self.delivered, tally.delivered);
        add(&self.latency_nanos, tally.latency_nanos);
        for (counter, more) in self.latency.iter().zip(tally.latency) {
            add(counter, more);
        }
        self.deliveries.written(&tally.runs);
    }

    pub(crate) fn disconnected(&self, reason: DisconnectReason) {
        count(DisconnectReason::ALL, &self.disconnects, reason);
    }

    pub(crate) fn rejected(&self, reason: RejectReason) {
        count(RejectReason::ALL, &self.rejects, reason);
    }

    pub(crate) fn gap(&self, reason: GapReason) {
        count(&GAP_REASONS, &self.gaps, reason);
    }

    /// Counts an event of the log that was handed over, with its age unless it was a
    /// replay: that tells of the client's absence, not of the hub's speed.
    pub(crate) fn delivered(&self, latency: Option<Duration>) {
        self.delivered.fetch_add(1, Relaxed);
        let Some(latency) = latency else { return };
        self.latency[bucket(latency)].fetch_add(1, Relaxed);
        self.latency_nanos.fetch_add(nanos(latency), Relaxed);
    }

    pub(crate) fn snapshot(&self, connected: usize) -> HubStats {
        HubStats {
            connected,
            slow: self.slow.load(Relaxed),
            connects: self.connects.load(Relaxed),
            disconnects: pairs(DisconnectReason::ALL, &self.disconnects),
            rejects: pairs(RejectReason::ALL, &self.rejects),
            gaps: pairs(&GAP_REASONS, &self.gaps),
            delivered: self.delivered.load(Relaxed),
            sent_bytes: self.sent_bytes.load(Relaxed),
            ignored_messages: self.ignored_messages.load(Relaxed),
            publish_to_socket: Histogram {
                bounds: &LATENCY_BOUNDS,
                counts: self
                    .latency
                    .iter()
                    .map(|count| count.load(Relaxed))
                    .collect(),
                sum: self.latency_nanos.load(Relaxed) as f64 / 1e9,
            },
        }
    }
}

fn count<R: PartialEq>(reasons: &[R], counts: &[AtomicU64], reason: R) {
    if let Some(at) = reasons.iter().position(|known| *known == reason) {
        counts[at].fetch_add(1, Relaxed);
    }
}

fn pairs<R: Copy>(reasons: &[R], counts: &[AtomicU64]) -> Vec<(R, u64)> {
    reasons
        .iter()
        .copied()
        .zip(counts.iter().map(|count| count.load(Relaxed)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_counts_for_itself() {
        let counters = Counters::default();
        counters.disconnected(DisconnectReason::Operator);
        counters.disconnected(DisconnectReason::Operator);
        counters.gap(GapReason::Lagged);
        let stats = counters.snapshot(3);
        assert_eq!(stats.connected, 3);
        for (reason, count) in stats.disconnects {
            assert_eq!(
                count,
                if reason == DisconnectReason::Operator {
                    2
                } else {
                    0
                }
            );
        }
        assert_eq!(stats.gaps.iter().map(|(_, count)| count).sum::<u64>(), 1);
    }

    #[test]
    fn latency_buckets_include_their_upper_bound() {
        let counters = Counters::default();
        counters.delivered(Some(Duration::from_micros(50)));
        counters.delivered(Some(Duration::from_micros(51)));
        counters.delivered(Some(Duration::from_secs(60)));
        counters.delivered(None);
        let histogram = counters.snapshot(0).publish_to_socket;
        assert_eq!((histogram.counts[0], histogram.counts[1]), (1, 1));
        assert_eq!(histogram.counts.last(), Some(&1));
        assert_eq!(histogram.counts.len(), histogram.bounds.len() + 1);
        assert!((histogram.sum - 60.000_101).abs() < 1e-6);
    }
}
