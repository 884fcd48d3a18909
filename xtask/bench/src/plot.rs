//! The plot of processor time per delivery, as SVG that reads on light and dark pages.

use std::fmt::Write as _;

use crate::contender::{BASELINE, Contender};
use crate::loads::{CPU, LOADS, Load};
use crate::results::Results;

const WIDTH: f64 = 720.0;
/// Where the bars begin.
const LEFT: f64 = 170.0;
/// Room for the figure beside the longest bar.
const RIGHT: f64 = 150.0;
const ROW: f64 = 26.0;
const TITLE: f64 = 40.0;

const STYLE: &str = "text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.bar { fill: #8c959f }
.own { fill: #0969da }
.one { stroke: #24292f; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .bar { fill: #6e7681 }
  .own { fill: #4493f8 }
  .one { stroke: #e6edf3 }
}";

/// A bar for each server under each load, as long as its ratio to the baseline.
pub(crate) fn svg(results: &Results, contenders: &[Contender]) -> String {
    let mut body = String::new();
    let mut y = 0.0;
    for load in LOADS.iter().filter(|load| load.variants.is_empty()) {
        let bars: Vec<Bar> = contenders
            .iter()
            .filter_map(|contender| Bar::of(results, load, contender.name))
            .collect();
        panel(&mut body, y, load, &bars);
        y += TITLE + bars.len() as f64 * ROW + 12.0;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" role=\"img\">\n\
         <title>CPU per delivery, as a ratio to the plain loop; less is better</title>\n\
         <style>\n{STYLE}\n</style>\n{body}</svg>\n"
    )
}

struct Bar {
    name: &'static str,
    ratio: f64,
    median: f64,
}

impl Bar {
    fn of(results: &Results, load: &Load, name: &'static str) -> Option<Self> {
        let own = results.summary(load, name, &CPU)?;
        let baseline = results.summary(load, BASELINE, &CPU)?;
        Some(Self {
            name,
            ratio: own.ratio_to(&baseline)?,
            median: own.median,
        })
    }
}

fn panel(out: &mut String, y: f64, load: &Load, bars: &[Bar]) {
    let longest = bars.iter().map(|bar| bar.ratio).fold(1.0, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / longest;
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "<text class=\"title\" x=\"0\" y=\"{:.1}\">Load {}: {}; CPU per delivery, less is better</text>",
        y + 24.0,
        load.name,
        load.what
    );
    let top = y + TITLE;
    for (number, bar) in bars.iter().enumerate() {
        let y = top + number as f64 * ROW;
        let class = if bar.name == "stoat" { "own" } else { "bar" };
        let length = bar.ratio * scale;
        let text = y + 15.0;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"20\" rx=\"2\"/>\
             <text x=\"{:.1}\" y=\"{text:.1}\">{:.2} × ({:.2} µs)</text>",
            LEFT - 8.0,
            bar.name,
            LEFT + length + 8.0,
            bar.ratio,
            bar.median
        );
    }
    let one = LEFT + scale;
    let bottom = top + bars.len() as f64 * ROW - 4.0;
    let _ = writeln!(
        out,
        "<line class=\"one\" x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\"/>",
        top - 3.0
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_ratios() {
        let bar = |name, ratio| Bar {
            name,
            ratio,
            median: 1.0,
        };
        let mut out = String::new();
        panel(
            &mut out,
            0.0,
            &LOADS[0],
            &[bar("plain", 1.0), bar("stoat", 4.0)],
        );
        assert!(out.contains("class=\"bar\" x=\"170\" y=\"40.0\" width=\"100.0\""));
        assert!(out.contains("class=\"own\" x=\"170\" y=\"66.0\" width=\"400.0\""));
        assert!(out.contains("x1=\"270.0\""));
    }
}
