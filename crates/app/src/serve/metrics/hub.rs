//! The figures of the hub and its log as Prometheus metrics, taken when they are asked for.

use std::collections::HashMap;
use std::fmt;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use stoat_ws_hub::ConnectionManager;

/// Name, help, and the name of the label where there is one.
pub(super) type Definition = (&'static str, &'static str, Option<&'static str>);

const CONNECTED: Definition = (
    "stoat_ws_connected_clients",
    "WebSocket and SSE connections now.",
    None,
);
const SLOW: Definition = (
    "stoat_ws_slow_clients",
    "WebSockets that take no bytes although there is something to send.",
    None,
);
const RETAINED: Definition = ("stoat_ws_buffer_size", "Events retained for replay.", None);
const CONNECTS: Definition = (
    "stoat_ws_connects_total",
    "WebSocket and SSE connections accepted.",
    None,
);
const DISCONNECTS: Definition = (
    "stoat_ws_disconnects_total",
    "WebSocket and SSE connections ended, by reason.",
    Some("reason"),
);
const REJECTS: Definition = (
    "stoat_ws_rejected_handshakes_total",
    "WebSocket handshakes and SSE requests refused, by reason.",
    Some("reason"),
);
const GAPS: Definition = (
    "stoat_ws_gaps_total",
    "Gap events sent, by reason.",
    Some("reason"),
);
const DELIVERED: Definition = (
    "stoat_events_delivered_total",
    "Events handed to the kernel, once for each client.",
    None,
);
const SENT_BYTES: Definition = (
    "stoat_ws_sent_bytes_total",
    "Bytes handed to the kernel after the handshakes.",
    None,
);
const IGNORED: Definition = (
    "stoat_ws_ignored_messages_total",
    "Messages of clients that were no control message.",
    None,
);
pub(super) const LATENCY: Definition = (
    "stoat_publish_to_socket_seconds",
    "Time from the log's acceptance of an event until it was handed to the kernel.",
    None,
);
const ALL: [Definition; 11] = [
    CONNECTED,
    SLOW,
    RETAINED,
    CONNECTS,
    DISCONNECTS,
    REJECTS,
    GAPS,
    DELIVERED,
    SENT_BYTES,
    IGNORED,
    LATENCY,
];

/// Reads the hub's snapshot for each scrape.
pub(super) struct HubCollector {
    hub: ConnectionManager,
    descriptions: Vec<Desc>,
}

impl HubCollector {
    pub(super) fn new(hub: ConnectionManager) -> Result<Self, prometheus::Error> {
        Ok(Self {
            hub,
            descriptions: ALL.into_iter().map(describe).collect::<Result<_, _>>()?,
        })
    }
}

impl Collector for HubCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let stats = self.hub.stats();
        let log = self.hub.log();
        let bounds = log.bounds();
        let retained = log.distance(bounds.before_oldest(), bounds.last);
        let disconnects = stats.disconnects.iter();
        let rejects = stats.rejects.iter();
        let gaps = stats.gaps.iter();
        vec![
            gauge(CONNECTED, stats.connected as f64),
            gauge(SLOW, stats.slow as f64),
            gauge(RETAINED, retained as f64),
            counter(CONNECTS, stats.connects),
            counters(DISCONNECTS, disconnects.map(|(r, n)| (r.as_str(), *n))),
            counters(REJECTS, rejects.map(|(r, n)| (r.as_str(), *n))),
            counters(GAPS, gaps.map(|(r, n)| (r.as_str(), *n))),
            counter(DELIVERED, stats.delivered),
            counter(SENT_BYTES, stats.sent_bytes),
            counter(IGNORED, stats.ignored_messages),
            histogram(LATENCY, &stats.publish_to_socket),
        ]
    }
}

impl fmt::Debug for HubCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubCollector").finish_non_exhaustive()
    }
}

/// A metric without its values.
pub(super) fn describe((name, help, label): Definition) -> Result<Desc, prometheus::Error> {
    let labels = label.into_iter().map(str::to_owned).collect();
    Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())
}

pub(super) fn gauge(definition: Definition, value: f64) -> MetricFamily {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    family(
        definition,
        MetricType::GAUGE,
        vec![Metric::from_gauge(gauge)],
    )
}

pub(super) fn counter(definition: Definition, value: u64) -> MetricFamily {
    let metric = counter_metric(Vec::new(), value);
    family(definition, MetricType::COUNTER, vec![metric])
}

fn counters<'a>(
    definition: Definition,
    values: impl Iterator<Item = (&'a str, u64)>,
) -> MetricFamily {
    let label = definition.2.unwrap_or_default();
    let metric = |(value, count): (&str, u64)| {
        let mut pair = LabelPair::default();
        pair.set_name(label.to_owned());
        pair.set_value(value.to_owned());
        counter_metric(vec![pair], count)
    };
    family(
        definition,
        MetricType::COUNTER,
        values.map(metric).collect(),
    )
}

fn counter_metric(labels: Vec<LabelPair>, value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

/// Prometheus counts each bucket with all below it; the hub counts each alone.
fn histogram(definition: Definition, values: &stoat_ws_hub::Histogram) -> MetricFamily {
    let mut below = 0;
    let buckets = values.bounds.iter().zip(&values.counts);
    let buckets = buckets.map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(values.counts.iter().sum());
    histogram.set_sample_sum(values.sum);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    family(definition, MetricType::HISTOGRAM, vec![metric])
}

fn family((name, help, _): Definition, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}
