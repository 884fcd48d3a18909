//! The figures as tables, and as the page `docs/benchmarks.md`.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use stoat_bench::machine;
use stoat_bench::statistics::Summary;

use crate::Options;
use crate::contender::Contender;
use crate::loads::{LOADS, Load, Metric, Row};
use crate::results::{Figures, Results};

/// The figures of one run in a line.
pub(crate) fn brief(figures: &Figures) -> String {
    let figure = |name: &str| figures.get(name).and_then(serde_json::Value::as_f64);
    let figure = |name: &str| figure(name).unwrap_or(f64::NAN);
    format!(
        "{:6.2} µs CPU per delivery, {:8.0} deliveries/s, last client p50 {:6.2} ms, p99 {:6.2} ms",
        figure("cpu_us_per_delivery"),
        figure("deliveries_per_s"),
        figure("last_p50_us") / 1e3,
        figure("last_p99_us") / 1e3,
    )
}

/// A table for each load that was run, in Markdown that reads well on a terminal, too.
pub(crate) fn tables(options: &Options, results: &Results, contenders: &[Contender]) -> String {
    let mut text = String::new();
    for load in LOADS.iter().filter(|load| options.runs_load(load)) {
        // Writing to a string does not fail.
        let _ = write!(text, "## Load {}: {}\n\n", load.name, load.what);
        text.push_str(&wrapped(load.note));
        let rows = load.rows(contenders, options.clients);
        text.push_str(&table(load, results, &rows));
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

/// A paragraph in lines of at most 100 characters, and an empty line; nothing of nothing.
fn wrapped(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= 100 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    match lines.is_empty() {
        true => String::new(),
        false => lines.join("\n") + "\n\n",
    }
}

fn table(load: &Load, results: &Results, rows: &[Row<'_>]) -> String {
    let first = match load.variants.is_empty() {
        true => "server",
        false => "stoat under",
    };
    let titles = load.metrics.iter().map(|metric| metric.title.to_owned());
    let mut lines = vec![std::iter::once(first.to_owned()).chain(titles).collect()];
    // A row alone has nothing to be compared with.
    let baseline = load.baseline(rows).filter(|_| rows.len() > 1);
    for row in rows {
        let cells = load.metrics.iter().map(|metric| {
            let of = |name: &str| results.summary(load, name, metric);
            match of(&row.name) {
                Some(own) => cell(metric, &own, baseline.and_then(of).as_ref()),
                None => "-".to_owned(),
            }
        });
        let line: Vec<String> = std::iter::once(row.name.clone()).chain(cells).collect();
        lines.push(line);
    }
    aligned(&lines)
}

/// Median, spread, and ratio to the baseline.
fn cell(metric: &Metric, own: &Summary, baseline: Option<&Summary>) -> String {
    let decimals = metric.decimals;
    let mut text = format!("{:.decimals$}", own.median);
    if own.least < own.most {
        let _ = write!(
            text,
            " ({:.decimals$} to {:.decimals$})",
            own.least, own.most
        );
    }
    let baseline = baseline.filter(|_| metric.compared);
    if let Some(ratio) = baseline.and_then(|baseline| own.ratio_to(baseline)) {
        let _ = write!(text, ", {ratio:.2} ×");
    }
    text
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for width in &widths {
                let _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text.push_str("|\n");
        }
    }
    text
}

/// The page: how the figures came about, and the tables.
pub(crate) fn document(
    command: &str,
    options: &Options,
    contenders: &[Contender],
    tables: &str,
) -> String {
    let Options {
        runs,
        secs,
        clients,
        ..
    } = options;
    let mut servers = String::new();
    for Contender { name, what, .. } in contenders {
        let _ = writeln!(servers, "- `{name}`: {what}.");
    }
    format!(
        "# Benchmarks

Written by `{command}`; every figure below comes from that run.

Unless a load says otherwise: one publisher, {clients} WebSocket clients, and publishes of 256 bytes
over loopback, of which stoat builds messages of 393 bytes (correlation ID, timestamp, event ID). The
other servers pass on what they are given, and are given messages of that length. Each server has one core and one worker thread, the load generator another core. All rows
of a table take turns in each of the {runs} rounds, {secs} s each. A cell is the median (smallest to
largest) and its ratio: under loads A and B to the plain loop; under the others, which stoat alone
runs, to the first row. Their rows are named by the arguments of the load generator. Read the
ratios: the figures themselves belong to the machine. CPU time is what the kernel accounts to the
server, which includes the receiving side's part of loopback TCP.

{servers}
Every client that reads got every event that is for it once and in order, and every one that never
reads was dropped; otherwise there would be no page.

![CPU per delivery, as a ratio to the plain loop](benchmarks.svg)

{tables}

## Machine

{machine}",
        machine = machine_and_versions(contenders)
    )
}

fn machine_and_versions(contenders: &[Contender]) -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut text = format!(
        "- {}, {cores} cores, Linux {}\n- {}\n- stoat at commit {}\n",
        machine::processor(),
        machine::kernel(),
        first_line("rustc", &["--version"]),
        first_line("git", &["rev-parse", "--short", "HEAD"]),
    );
    let lock = fs::read_to_string("Cargo.lock").unwrap_or_default();
    for name in [
        "axum",
        "fastwebsockets",
        "hyper",
        "hyper-tungstenite",
        "tokio",
    ] {
        let _ = writeln!(text, "- {name} {}", locked(&lock, name).join(" and "));
    }
    if contenders.iter().any(|contender| contender.name == "nchan") {
        for name in ["nginx", "libnginx-mod-nchan"] {
            let version = first_line("dpkg-query", &["-W", "-f", "${Version}", name]);
            let _ = writeln!(text, "- {name} {version}");
        }
    }
    text
}

/// The versions of a package in a `Cargo.lock`.
fn locked<'a>(lock: &'a str, name: &str) -> Vec<&'a str> {
    let name = format!("name = \"{name}\"");
    let lines = lock.lines().zip(lock.lines().skip(1));
    lines
        .filter(|(line, _)| *line == name)
        .filter_map(|(_, next)| next.strip_prefix("version = \"")?.strip_suffix('"'))
        .collect()
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let line = output
        .ok()
        .and_then(|text| text.lines().next().map(str::to_owned));
    line.unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_median_spread_and_ratio() {
        let metric = &LOADS[0].metrics[0];
        let own = Summary::of(&[3.0, 1.0, 2.0]).unwrap();
        let baseline = Summary::of(&[4.0]).unwrap();
        let text = cell(metric, &own, Some(&baseline));
        assert_eq!(text, "2.00 (1.00 to 3.00), 0.50 ×");
        assert_eq!(cell(metric, &baseline, None), "4.00");
    }

    #[test]
    fn a_note_is_a_paragraph_of_short_lines() {
        assert_eq!(wrapped(""), "");
        let text = wrapped(&"ab ".repeat(40));
        let longest = text.lines().map(str::len).max();
        assert_eq!((longest, text.lines().count()), (Some(98), 3));
        assert!(text.ends_with("ab\n\n"));
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "µµµ"], ["bb", "c"]].map(|row| row.map(str::to_owned).to_vec());
        let text = aligned(&rows);
        assert_eq!(text, "| a  | µµµ |\n|----|-----|\n| bb | c   |\n");
    }

    #[test]
    fn all_versions_of_a_package_are_named() {
        let lock = "name = \"a\"\nversion = \"1.0.0\"\n\nname = \"a\"\nversion = \"2.0.0\"\n";
        assert_eq!(locked(lock, "a"), ["1.0.0", "2.0.0"]);
    }
}
