//! The figures of all runs.

use std::collections::BTreeMap;

use stoat_bench::statistics::Summary;

use crate::contender::Contender;

/// What the load generator prints.
pub(crate) type Figures = serde_json::Map<String, serde_json::Value>;

pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) arguments: &'static [&'static str],
    pub(crate) metrics: &'static [Metric],
}

pub(crate) struct Metric {
    /// Its name among the figures.
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) decimals: usize,
    /// What a figure is divided by to be shown.
    pub(crate) unit: f64,
    /// Whether a ratio to the baseline says anything.
    pub(crate) compared: bool,
}

const fn metric(key: &'static str, title: &'static str, decimals: usize, unit: f64) -> Metric {
    Metric {
        key,
        title,
        decimals,
        unit,
        compared: true,
    }
}

/// The metric that is plotted.
pub(crate) const CPU: Metric = metric("cpu_us_per_delivery", "CPU per delivery, µs", 2, 1.0);

pub(crate) const LOADS: &[Load] = &[
    Load {
        name: "A",
        what: "20 events per second",
        arguments: &["--rate", "20", "--size", "256"],
        metrics: &[
            CPU,
            metric("last_p50_us", "until the last client p50, ms", 1, 1e3),
            metric("last_p99_us", "until the last client p99, ms", 1, 1e3),
            // The plain loop keeps next to nothing for a client that has nothing to say.
            Metric {
                compared: false,
                ..metric("rss_per_client", "memory per idle client, KiB", 2, 1024.0)
            },
            metric("cpu_us_per_connect", "CPU per connect, µs", 0, 1.0),
            metric("connects_per_s", "connects per second", 0, 1.0),
        ],
    },
    Load {
        name: "B",
        what: "flat out, at most 64 events on their way",
        arguments: &["--flat", "--window", "64", "--size", "256"],
        metrics: &[
            CPU,
            metric(
                "deliveries_per_s",
                "deliveries per second, thousands",
                0,
                1e3,
            ),
            metric("last_p99_us", "until the last client p99, ms", 1, 1e3),
            Metric {
                compared: false,
                ..metric("load_cpu_share", "load generator busy, %", 0, 0.01)
            },
        ],
    },
];

/// Figures that are nothing in a run in which all went well.
const FAULTS: &[&str] = &[
    "refused",
    "lost",
    "lost_on_closed",
    "duplicates",
    "out_of_order",
    "corrupt",
    "closed_by_server",
    "protocol_errors",
    "expired",
];

#[derive(Default)]
pub(crate) struct Results {
    runs: BTreeMap<(&'static str, &'static str), Vec<Figures>>,
}

impl Results {
    pub(crate) fn add(&mut self, load: &Load, contender: &Contender, figures: Figures) {
        let runs = self.runs.entry((load.name, contender.name)).or_default();
        runs.push(figures);
    }

    pub(crate) fn summary(&self, load: &Load, name: &str, metric: &Metric) -> Option<Summary> {
        let runs = self.of(load.name, name);
        let values = runs.filter_map(|figures| figures.get(metric.key)?.as_f64());
        let values: Vec<f64> = values.map(|value| value / metric.unit).collect();
        Summary::of(&values)
    }

    /// What went wrong, a line for each kind.
    pub(crate) fn faults(&self, contenders: &[Contender]) -> Vec<String> {
        let mut faults = Vec::new();
        for load in LOADS {
            for contender in contenders {
                for name in FAULTS {
                    let counts = self.of(load.name, contender.name);
                    let count: u64 = counts.filter_map(|run| run.get(*name)?.as_u64()).sum();
                    if count > 0 {
                        let (load, contender) = (load.name, contender.name);
                        faults.push(format!("{contender} under load {load}: {name} {count}"));
                    }
                }
            }
        }
        faults
    }

    fn of<'a>(&'a self, load: &str, name: &str) -> impl Iterator<Item = &'a Figures> {
        let runs = self.runs.iter();
        runs.filter(move |(key, _)| **key == (load, name))
            .flat_map(|(_, runs)| runs)
            .collect::<Vec<_>>()
            .into_iter()
    }
}
