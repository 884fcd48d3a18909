//! The course of a run: connect, warm up, measure, wait for what is on its way, and account for it.

use serde_json::{Map, Value, json};
use stoat_bench::histogram::Histogram;
use stoat_bench::machine::{self, Cpu};

use crate::client::State;
use crate::silent::Stuck;
use crate::swarm::Swarm;

const SECOND: f64 = 1e9;
/// Nanoseconds between two looks at which of the clients that never read are left.
const LOOK: u64 = 50_000_000;

pub(crate) type Figures = Map<String, Value>;

pub(crate) enum Load {
    /// Events per second.
    Rate(f64),
    /// As long as fewer are on their way.
    Flat(usize),
}

pub(crate) struct Course {
    pub(crate) swarm: Swarm,
    pub(crate) stuck: Stuck,
    /// When the server had dropped all that never read.
    dropped: Option<u64>,
    /// The process of the server.
    server: u32,
    /// When the next event is due.
    due: u64,
    /// How late events are published.
    late: Histogram,
    pub(crate) figures: Figures,
}

impl Course {
    pub(crate) fn new(swarm: Swarm, server: u32) -> Self {
        Self {
            swarm,
            stuck: Stuck::default(),
            dropped: None,
            server,
            due: 0,
            late: Histogram::default(),
            figures: Figures::new(),
        }
    }

    pub(crate) fn connect(&mut self, clients: usize) -> Result<(), String> {
        let memory = machine::resident(self.server);
        let cpu = Cpu::of(self.server);
        let took = self.swarm.connect(clients)?;
        let cpu = Cpu::of(self.server).since(&cpu);
        self.swarm.rest(0.5)?;
        let open = self.swarm.open;
        if open < clients {
            return Err(format!("only {open} of {clients} clients are open"));
        }
        let each = |total: f64| total / open.max(1) as f64;
        let now = machine::resident(self.server);
        self.put("clients", open);
        self.put("connects_per_s", open as f64 / took.as_secs_f64());
        self.put("cpu_us_per_connect", each(cpu as f64 / 1e3));
        self.put("rss_idle", memory);
        self.put("rss_connected", now);
        self.put("rss_per_client", each(now as f64 - memory as f64));
        Ok(())
    }

    /// Warms up, measures, waits for what is still on its way, and accounts for it.
    pub(crate) fn run(
        &mut self,
        load: &Load,
        first: u64,
        (warmup, secs): (f64, f64),
    ) -> Result<(), String> {
        self.due = first;
        let begin = first + (warmup * SECOND) as u64;
        self.drive(load, begin)?;
        self.measure(load, begin + (secs * SECOND) as u64)?;
        if self.stuck.count() > 0 {
            self.outlast(load, first)?;
        }
        self.drain()?;
        self.quantiles();
        self.account();
        Ok(())
    }

    fn measure(&mut self, load: &Load, end: u64) -> Result<(), String> {
        let start = self.swarm.ledger.next;
        self.swarm.ledger.measured = start..u64::MAX;
        let before = self.swarm.counts;
        let sunk = self.swarm.sinks.bytes;
        let own = Cpu::of(std::process::id());
        let (from, cpu) = (self.swarm.now(), Cpu::of(self.server));
        self.drive(load, end)?;
        let (cpu, to) = (Cpu::of(self.server).since(&cpu), self.swarm.now());
        let own = Cpu::of(std::process::id()).since(&own);
        self.swarm.ledger.measured.end = self.swarm.ledger.next;

        let counts = self.swarm.counts;
        let published = self.swarm.ledger.next - start;
        let frames = (counts.frames - before.frames) as f64;
        let reads = (counts.reads - before.reads).max(1) as f64;
        // A sink gets the same frames as the others.
        let frame = (counts.bytes - before.bytes) as f64 / frames.max(1.0);
        let sunk = (self.swarm.sinks.bytes - sunk) as f64 / frame.max(1.0);
        let deliveries = (counts.deliveries - before.deliveries) as f64 + sunk;
        let (time, cpu) = ((to - from) as f64, cpu as f64);
        self.put("secs", time / SECOND);
        self.put("publishes_per_s", published as f64 * SECOND / time);
        self.put("deliveries_per_s", deliveries * SECOND / time);
        self.put("cpu_us_per_delivery", cpu / 1e3 / deliveries.max(1.0));
        self.put("cpu_us_per_publish", cpu / 1e3 / published.max(1) as f64);
        self.put("server_cpu_share", cpu / time);
        self.put("load_cpu_share", own as f64 / time);
        self.put("frames_per_read", frames / reads);
        let memory = machine::resident(self.server);
        let before = self.figures.get("rss_connected").and_then(Value::as_f64);
        self.put("rss_end", memory);
        self.put("rss_grown", memory as f64 - before.unwrap_or(0.0));
        Ok(())
    }

    /// Publishes until a time, and looks when the clients that never read are gone.
    fn drive(&mut self, load: &Load, end: u64) -> Result<(), String> {
        while self.stuck.count() > 0 && self.dropped.is_none() {
            let now = self.swarm.now();
            if now >= end {
                return Ok(());
            }
            self.publish(load, end.min(now + LOOK))?;
            if self.stuck.left(self.server) == 0 {
                self.dropped = Some(self.swarm.now());
            }
        }
        self.publish(load, end)
    }

    fn publish(&mut self, load: &Load, end: u64) -> Result<(), String> {
        let swarm = &mut self.swarm;
        loop {
            let now = swarm.now();
            if now >= end {
                return Ok(());
            }
            match load {
                Load::Rate(rate) => {
                    while self.due <= now && self.due < end {
                        self.late.record(now - self.due);
                        swarm.publish(self.due)?;
                        self.due += (SECOND / rate) as u64;
                    }
                    swarm.poll(end.min(self.due).min(now + 50_000_000))?;
                }
                Load::Flat(window) => {
                    while swarm.ledger.open < *window {
                        let now = swarm.now();
                        swarm.publish(now)?;
                        if swarm.open == 0 {
                            return Err("all clients are gone".to_owned());
                        }
                    }
                    swarm.ledger.expire(now.saturating_sub(5_000_000_000));
                    swarm.poll(end.min(now + 10_000_000))?;
                }
            }
        }
    }

    /// Goes on, for 15 s at the most, until the server has dropped the clients that never read.
    fn outlast(&mut self, load: &Load, first: u64) -> Result<(), String> {
        let end = self.swarm.now() + 15_000_000_000;
        while self.dropped.is_none() && self.swarm.now() < end {
            let step = self.swarm.now() + LOOK;
            self.drive(load, step)?;
        }
        let left = self.stuck.left(self.server);
        self.put("stuck_left", left);
        self.put("stuck_dropped", self.stuck.count().saturating_sub(left));
        if let Some(dropped) = self.dropped {
            self.put("stuck_secs", dropped.saturating_sub(first) as f64 / SECOND);
        }
        Ok(())
    }

    /// Waits for what is on its way: 3 s without any delivery, or 15 s in all, are the end of it.
    fn drain(&mut self) -> Result<(), String> {
        let swarm = &mut self.swarm;
        let start = swarm.now();
        let mut last = (swarm.counts.deliveries, start);
        while swarm.ledger.open > 0 {
            let now = swarm.now();
            swarm.poll(now + 20_000_000)?;
            if swarm.counts.deliveries != last.0 {
                last = (swarm.counts.deliveries, now);
            }
            if now - last.1 > 3_000_000_000 || now - start > 15_000_000_000 {
                break;
            }
        }
        // What comes once too often comes now.
        swarm.rest(0.2)
    }

    fn quantiles(&mut self) {
        let ledger = &self.swarm.ledger;
        let publisher = self.swarm.publisher.as_ref();
        for (name, histogram) in [
            ("delivery", Some(&ledger.delivery)),
            ("last", Some(&ledger.last)),
            ("answer", publisher.map(|publisher| &publisher.answer)),
            ("publish_late", Some(&self.late)),
        ] {
            let Some(histogram) = histogram.filter(|histogram| !histogram.is_empty()) else {
                continue;
            };
            let mut put = |what: &str, value: u64| {
                let key = format!("{name}_{what}_us");
                self.figures.insert(key, json!(value as f64 / 1e3));
            };
            put("p50", histogram.quantile(0.5));
            put("p99", histogram.quantile(0.99));
            put("p999", histogram.quantile(0.999));
            put("max", histogram.largest());
        }
    }

    /// Every client should have got every event once.
    fn account(&mut self) {
        let swarm = &self.swarm;
        let missing = |closed: bool| -> u64 {
            let clients = swarm.clients.iter().enumerate();
            clients
                .filter(|(_, client)| (client.state == State::Closed) == closed)
                .map(|(position, client)| swarm.due_to(position) - client.got.count)
                .sum()
        };
        let counts = &swarm.counts;
        let (accepted, refused) = swarm
            .publisher
            .as_ref()
            .map_or((0, 0), |publisher| (publisher.accepted, publisher.refused));
        for (name, count) in [
            ("published", swarm.ledger.next),
            ("accepted", accepted),
            ("refused", refused),
            ("lost", missing(false)),
            ("lost_on_closed", missing(true)),
            ("duplicates", counts.again),
            ("out_of_order", counts.late),
            ("corrupt", counts.damaged),
            ("foreign", counts.foreign),
            ("other_messages", counts.other),
            ("closed_by_server", counts.closed + swarm.sinks.closed),
            ("protocol_errors", counts.broken),
            ("expired", swarm.ledger.expired),
        ] {
            self.figures.insert(name.to_owned(), json!(count));
        }
    }

    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }
}
