//! The figures of all runs.

use std::collections::BTreeMap;

use stoat_bench::statistics::Summary;

use crate::loads::{Load, Metric, Row};

/// What the load generator prints.
pub(crate) type Figures = serde_json::Map<String, serde_json::Value>;

/// Figures that are nothing in a run in which all went well.
const FAULTS: &[&str] = &[
    "refused",
    "lost",
    "lost_on_closed",
    "duplicates",
    "out_of_order",
    "corrupt",
    "closed_by_server",
    "stuck_left",
    "protocol_errors",
    "expired",
];

#[derive(Default)]
pub(crate) struct Results {
    /// By load and row.
    runs: BTreeMap<(&'static str, String), Vec<Figures>>,
}

impl Results {
    pub(crate) fn add(&mut self, load: &Load, row: &Row<'_>, figures: Figures) {
        let runs = self.runs.entry((load.name, row.name.clone())).or_default();
        runs.push(figures);
    }

    pub(crate) fn summary(&self, load: &Load, row: &str, metric: &Metric) -> Option<Summary> {
        let runs = self.runs.get(&(load.name, row.to_owned()))?.iter();
        let values = runs.filter_map(|figures| figures.get(metric.key)?.as_f64());
        let values: Vec<f64> = values.map(|value| value / metric.unit).collect();
        Summary::of(&values)
    }

    /// What went wrong, a line for each kind.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for ((load, row), runs) in &self.runs {
            for name in FAULTS {
                let counts = runs.iter().filter_map(|run| run.get(*name)?.as_u64());
                let count: u64 = counts.sum();
                if count > 0 {
                    faults.push(format!("{row} under load {load}: {name} {count}"));
                }
            }
        }
        faults
    }
}

/// The figures of load generators that ran at the same time, as if they were one.
pub(crate) fn joined(all: &[Figures]) -> Figures {
    let mut joined = Figures::new();
    for key in all.iter().flat_map(|figures| figures.keys()) {
        let values = all.iter().filter_map(|figures| figures.get(key)?.as_f64());
        let whole = all
            .iter()
            .all(|one| one.get(key).is_none_or(serde_json::Value::is_u64));
        let value = if key.ends_with("_us") {
            // What one waits for is over when it is over everywhere.
            values.fold(0.0, f64::max).into()
        } else if whole {
            (values.sum::<f64>() as u64).into()
        } else if key.ends_with("_per_s") {
            values.sum::<f64>().into()
        } else {
            (values.sum::<f64>() / all.len() as f64).into()
        };
        joined.insert(key.clone(), value);
    }
    joined
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn several_load_generators_count_as_one() {
        let figures = |lost: u64, last: f64, each: f64, rate: f64| {
            let figures = json!({
                "lost": lost, "last_max_us": last, "cpu_us_per_connect": each,
                "connects_per_s": rate,
            });
            figures.as_object().unwrap().clone()
        };
        let all = [figures(1, 5.5, 2.0, 10.5), figures(2, 7.5, 4.0, 20.0)];
        assert_eq!(joined(&all), figures(3, 7.5, 3.0, 30.5));
    }
}
