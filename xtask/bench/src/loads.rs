//! The loads: what is run, on which servers, and what is reported of it.

use crate::contender::{BASELINE, Contender};

pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// What a reader has to know of it.
    pub(crate) note: &'static str,
    /// Arguments of the load generator.
    pub(crate) arguments: &'static [&'static str],
    /// With none, every server runs it, and they are compared. Otherwise stoat alone runs each, and
    /// they are compared with the first.
    pub(crate) variants: &'static [Variant],
    /// Further arguments of stoat.
    pub(crate) settings: &'static [&'static str],
    /// How many times as long as others it is measured for.
    pub(crate) longer: f64,
    /// How many times it is run in each round.
    pub(crate) often: usize,
    /// How many servers, each with a load generator of its own, run at the same time.
    pub(crate) servers: usize,
    /// Whether it runs with `--scale` only.
    pub(crate) scale: bool,
    pub(crate) metrics: &'static [Metric],
}

/// Further arguments of the load generator.
pub(crate) struct Variant {
    /// As they are when there are 1000 clients; fewer with fewer of them.
    counts: &'static [(&'static str, usize)],
    arguments: &'static [&'static str],
}

/// One run of each round.
pub(crate) struct Row<'a> {
    /// What it is called in its table.
    pub(crate) name: String,
    pub(crate) contender: &'a Contender,
    /// Further arguments of the load generator.
    pub(crate) arguments: Vec<String>,
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

impl Load {
    pub(crate) fn rows<'a>(&self, contenders: &'a [Contender], clients: usize) -> Vec<Row<'a>> {
        if self.variants.is_empty() {
            let row = |contender: &'a Contender| Row {
                name: contender.name.to_owned(),
                contender,
                arguments: vec!["--clients".to_owned(), clients.to_string()],
            };
            return contenders.iter().map(row).collect();
        }
        let Some(stoat) = contenders.iter().find(|one| one.name == "stoat") else {
            return Vec::new();
        };
        let row = |variant: &Variant| {
            let arguments = variant.arguments(clients);
            Row {
                name: format!("`{}`", arguments.join(" ")),
                contender: stoat,
                arguments,
            }
        };
        self.variants.iter().map(row).collect()
    }

    /// The name of the row that the others are compared with.
    pub(crate) fn baseline<'a>(&self, rows: &'a [Row<'_>]) -> Option<&'a str> {
        if self.variants.is_empty() {
            Some(BASELINE)
        } else {
            rows.first().map(|row| row.name.as_str())
        }
    }
}

impl Variant {
    fn arguments(&self, clients: usize) -> Vec<String> {
        let mut arguments = Vec::new();
        for (name, count) in self.counts {
            let count = (count * clients / 1000).max(1);
            arguments.extend([(*name).to_owned(), count.to_string()]);
        }
        arguments.extend(self.arguments.iter().map(|word| (*word).to_owned()));
        arguments
    }
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

const fn variant(
    counts: &'static [(&'static str, usize)],
    arguments: &'static [&'static str],
) -> Variant {
    Variant { counts, arguments }
}

const fn bare(metric: Metric) -> Metric {
    Metric {
        compared: false,
        ..metric
    }
}

/// The metric that is plotted.
pub(crate) const CPU: Metric = metric("cpu_us_per_delivery", "CPU per delivery, µs", 2, 1.0);
const CPU_PER_CONNECT: Metric = metric("cpu_us_per_connect", "CPU per connect, µs", 0, 1.0);
const CONNECTS: Metric = metric("connects_per_s", "connects per second", 0, 1.0);
const DELIVERIES: Metric = metric(
    "deliveries_per_s",
    "deliveries per second, thousands",
    0,
    1e3,
);
const LAST_P50: Metric = metric("last_p50_us", "until the last client p50, ms", 1, 1e3);
const LAST_P99: Metric = metric("last_p99_us", "until the last client p99, ms", 1, 1e3);
const MEMORY: Metric = metric("rss_per_client", "memory per idle client, KiB", 2, 1024.0);
const SERVER_BUSY: Metric = bare(metric("server_cpu_share", "server busy, %", 0, 0.01));
const LOAD_BUSY: Metric = bare(metric("load_cpu_share", "load generator busy, %", 0, 0.01));

const STUCK: &[Metric] = &[
    metric("delivery_p99_us", "delivery p99, ms", 1, 1e3),
    LAST_P99,
    metric("answer_p99_us", "answer to the publisher p99, ms", 2, 1e3),
    bare(metric("rss_grown", "memory grown, MiB", 2, 1048576.0)),
    bare(metric("stuck_dropped", "dropped", 0, 1.0)),
    bare(metric("stuck_secs", "all dropped after, s", 1, 1.0)),
    SERVER_BUSY,
];

const DEFAULT: Load = Load {
    name: "",
    what: "",
    note: "",
    arguments: &[],
    variants: &[],
    settings: &[],
    longer: 1.0,
    often: 1,
    servers: 1,
    scale: false,
    metrics: &[],
};

const WITH_AND_WITHOUT: &[Variant] = &[
    variant(&[("--clients", 1000)], &[]),
    variant(&[("--clients", 1000), ("--stuck", 200)], &[]),
];

pub(crate) const LOADS: &[Load] = &[
    Load {
        name: "A",
        what: "20 events per second",
        note: "Each run takes three times as long as those of the other loads, since a p99 of few events \
               is their maximum. And there are three in each round, as under load B: the machine \
               differs more from minute to minute than the servers do.",
        arguments: &["--rate", "20", "--size", "256"],
        longer: 3.0,
        often: 3,
        metrics: &[
            CPU,
            LAST_P50,
            LAST_P99,
            // The plain loop keeps next to nothing for a client that has nothing to say.
            bare(MEMORY),
            CPU_PER_CONNECT,
            CONNECTS,
        ],
        ..DEFAULT
    },
    Load {
        name: "B",
        what: "flat out, at most 64 events on their way",
        arguments: &["--flat", "--window", "64", "--size", "256"],
        often: 3,
        metrics: &[CPU, DELIVERIES, LAST_P99, LOAD_BUSY],
        ..DEFAULT
    },
    Load {
        name: "C200",
        what: "200 events of 1 KiB per second, without and with clients that never read",
        note: "The clients of `--stuck` never read, and have the smallest buffers; stoat runs with \
               `--ws-write-timeout 2s`. All other figures are of the clients that do read, over \
               eight seconds: while buffers of the kernel fill, while nobody reads, and after.",
        arguments: &["--rate", "200", "--size", "1024", "--secs", "8"],
        variants: WITH_AND_WITHOUT,
        settings: &["--ws-write-timeout", "2s"],
        metrics: STUCK,
        ..DEFAULT
    },
    Load {
        name: "C50",
        what: "the same with 50 events per second",
        note: "At this rate the buffers of the kernel take some seconds to fill, so the measuring \
               begins after three.",
        arguments: &["--rate", "50", "--size", "1024", "--warmup", "3"],
        variants: WITH_AND_WITHOUT,
        settings: &["--ws-write-timeout", "2s"],
        metrics: STUCK,
        ..DEFAULT
    },
    Load {
        name: "D",
        what: "topics of ten clients each, 200 events per second, each to one topic",
        note: "Every event goes to ten clients. The difference is what the clients cost that it is \
               not for.",
        arguments: &["--rate", "200", "--size", "256"],
        variants: &[
            variant(&[("--clients", 10), ("--topics", 1)], &[]),
            variant(&[("--clients", 10_000), ("--topics", 1000)], &[]),
        ],
        metrics: &[
            metric("cpu_us_per_publish", "CPU per publish, µs", 0, 1.0),
            LAST_P50,
            LAST_P99,
        ],
        ..DEFAULT
    },
    Load {
        name: "S",
        what: "from 1000 connections to as many as one process may have",
        note: "The rates are such that the deliveries per second stay the same.",
        arguments: &["--size", "256"],
        variants: &[
            variant(&[("--clients", 1000)], &["--rate", "40"]),
            variant(&[("--clients", 5000)], &["--rate", "8"]),
            variant(&[("--clients", 10_000)], &["--rate", "4"]),
            variant(&[("--clients", 19_000)], &["--rate", "2.1"]),
        ],
        scale: true,
        metrics: &[MEMORY, CPU_PER_CONNECT, CONNECTS, CPU, LAST_P50, LAST_P99],
        ..DEFAULT
    },
    Load {
        name: "M",
        what: "six servers at a time, and one event to each",
        note: "Each server listens on an address of its own and has a load generator of its own, with \
               so many clients; none is kept on a core. The event is due at the same time for all; \
               the figure is the time until the last client of the last server has it.",
        arguments: &[
            "--size", "256", "--rate", "1", "--warmup", "0", "--secs", "1",
        ],
        variants: &[variant(&[("--clients", 16_667)], &[])],
        servers: 6,
        scale: true,
        metrics: &[
            metric("clients", "connections", 0, 1.0),
            metric("last_max_us", "until the last client, ms", 0, 1e3),
            metric("lost", "lost", 0, 1.0),
            MEMORY,
            CPU_PER_CONNECT,
            CONNECTS,
        ],
        ..DEFAULT
    },
    Load {
        name: "W",
        what: "one and two worker threads, flat out, at most 64 events on their way",
        note: "The server has as many cores as worker threads. What `--sinks` get is counted, not \
               checked, and thrown away, which leaves most of the machine to the server; the other \
               clients are checked as always. With two cores in all, the load generator shares \
               the second one: with one worker thread the server can be busy for 100 %, with two \
               for what the load generator leaves of 200 %. One that is less busy waited for the \
               load generator, or for other work on the machine.",
        arguments: &["--flat", "--window", "64", "--size", "256"],
        variants: &[
            variant(&[("--clients", 10), ("--sinks", 1000)], &["--workers", "1"]),
            variant(&[("--clients", 10), ("--sinks", 1000)], &["--workers", "2"]),
        ],
        scale: true,
        metrics: &[DELIVERIES, CPU, SERVER_BUSY, LOAD_BUSY],
        ..DEFAULT
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_shrink_with_the_clients_and_arguments_do_not() {
        let variant = Variant {
            counts: &[("--clients", 10), ("--stuck", 200)],
            arguments: &["--rate", "4"],
        };
        let words = variant.arguments(50).join(" ");
        assert_eq!(words, "--clients 1 --stuck 10 --rate 4");
        let words = variant.arguments(1000).join(" ");
        assert_eq!(words, "--clients 10 --stuck 200 --rate 4");
    }

    #[test]
    fn no_two_loads_have_the_same_name() {
        for (position, load) in LOADS.iter().enumerate() {
            let same = LOADS.iter().position(|other| other.name == load.name);
            assert_eq!(same, Some(position), "{}", load.name);
        }
    }
}
