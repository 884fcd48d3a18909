//! The figures of a clustered log as Prometheus metrics, taken when they are asked for.

use std::fmt;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use stoat_log_nats::{Condition, NatsLog};

use super::hub::{Definition, counter, describe, gauge};

const UP: Definition = (
    "stoat_broker_up",
    "1 while the broker takes events and they come back from it, else 0.",
    None,
);
const SKIPPED: Definition = (
    "stoat_broker_skipped_messages_total",
    "Messages of the stream that were no events.",
    None,
);
const RESTARTS: Definition = (
    "stoat_broker_restarts_total",
    "How often the reading of the stream was begun again.",
    None,
);
const UNCONFIRMED: Definition = (
    "stoat_broker_unconfirmed_publishes_total",
    "Publishes that were not acknowledged in time, and may be in the stream or not.",
    None,
);

/// Reads the log's snapshot for each scrape.
pub(super) struct BrokerCollector {
    log: Arc<NatsLog>,
    descriptions: Vec<Desc>,
}

impl BrokerCollector {
    pub(super) fn new(log: Arc<NatsLog>) -> Result<Self, prometheus::Error> {
        let all = [UP, SKIPPED, RESTARTS, UNCONFIRMED];
        Ok(Self {
            log,
            descriptions: all.into_iter().map(describe).collect::<Result<_, _>>()?,
        })
    }
}

impl Collector for BrokerCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let stats = self.log.stats();
        let is_up = *self.log.condition().borrow() == Condition::Good;
        vec![
            gauge(UP, f64::from(u8::from(is_up))),
            counter(SKIPPED, stats.skipped_messages),
            counter(RESTARTS, stats.restarts),
            counter(UNCONFIRMED, stats.unconfirmed),
        ]
    }
}

impl fmt::Debug for BrokerCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerCollector").finish_non_exhaustive()
    }
}
