//! A strict reader of the Prometheus text format.

use std::collections::{BTreeMap, BTreeSet};

type Labels = BTreeMap<String, String>;

/// What `/metrics` said.
#[derive(Debug, Default)]
pub struct Metrics {
    types: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

/// One line with a value.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The name, with the suffix of a histogram's series.
    pub name: String,
    /// The labels.
    pub labels: Labels,
    /// The value.
    pub value: f64,
}

impl Metrics {
    /// Reads the text; the test fails where it breaks the format.
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line ends with a line feed");
        let mut metrics = Self::default();
        let mut finished = BTreeSet::new();
        let mut family = String::new();
        for line in text.lines() {
            let name = match line.strip_prefix("# ") {
                Some(comment) => metrics.comment(comment),
                None => metrics.sample(line),
            };
            if name != family {
                assert!(finished.insert(name.clone()), "{name} is not in one block");
                family = name;
            }
        }
        metrics.check_duplicates();
        metrics.check_histograms();
        metrics
    }

    /// The type of a family: `counter`, `gauge`, `histogram`.
    pub fn kind(&self, family: &str) -> Option<&str> {
        self.types.get(family).map(String::as_str)
    }

    /// The value of the series with exactly these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: Labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        self.series(name)
            .find(|sample| sample.labels == wanted)
            .map(|sample| sample.value)
    }

    /// The sum of all series of this name; 0 when there is none.
    pub fn sum(&self, name: &str) -> f64 {
        self.series(name).map(|sample| sample.value).sum()
    }

    /// All series of this name.
    pub fn series(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.samples
            .iter()
            .filter(move |sample| sample.name == name)
    }

    /// All series.
    pub fn all(&self) -> &[Sample] {
        &self.samples
    }

    /// `HELP name text` or `TYPE name type`.
    fn comment(&mut self, comment: &str) -> String {
        let mut parts = comment.splitn(3, ' ');
        let (keyword, name) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let rest = parts.next().unwrap_or("");
        assert!(is_name(name), "a name: {comment}");
        match keyword {
            "HELP" => assert!(!rest.is_empty(), "a help text: {comment}"),
            "TYPE" => {
                let known = ["counter", "gauge", "histogram", "summary", "untyped"];
                assert!(known.contains(&rest), "a type: {comment}");
                let before = self.types.insert(name.to_owned(), rest.to_owned());
                assert_eq!(before, None, "one type: {comment}");
            }
            _ => panic!("HELP or TYPE: {comment}"),
        }
        name.to_owned()
    }

    /// `name value` or `name{label="text",...} value`; returns the family's name.
    fn sample(&mut self, line: &str) -> String {
        let name_end = line.find(['{', ' ']).unwrap_or(line.len());
        let (name, rest) = line.split_at(name_end);
        assert!(is_name(name), "a name: {line}");
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest).unwrap_or_else(|| panic!("labels: {line}")),
            None => (Labels::new(), rest),
        };
        let value = value.strip_prefix(' ').unwrap_or_default();
        let value = match value {
            "+Inf" => f64::INFINITY,
            number => number
                .parse()
                .unwrap_or_else(|_| panic!("a value, and no more: {line}")),
        };
        let family = self.family(name);
        assert!(
            self.types.contains_key(&family),
            "a TYPE line before: {line}"
        );
        if self.types[&family] == "counter" {
            assert!(value >= 0.0, "a counter: {line}");
        }
        self.samples.push(Sample {
            name: name.to_owned(),
            labels,
            value,
        });
        family
    }

    fn family(&self, name: &str) -> String {
        let histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|base| self.kind(base) == Some("histogram"));
        histogram.unwrap_or(name).to_owned()
    }

    fn check_duplicates(&self) {
        let mut seen = BTreeSet::new();
        for sample in &self.samples {
            assert!(
                seen.insert((&sample.name, &sample.labels)),
                "twice: {sample:?}"
            );
        }
    }

    /// Buckets grow, and the last one is the count.
    fn check_histograms(&self) {
        let histograms = self.types.iter().filter(|(_, kind)| *kind == "histogram");
        for (family, _) in histograms {
            let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
            for bucket in self.series(&format!("{family}_bucket")) {
                let mut labels = bucket.labels.clone();
                let bound = labels.remove("le").expect("a bucket's bound");
                let bound = bound.replace("+Inf", "inf").parse().expect("a bound");
                buckets
                    .entry(labels)
                    .or_default()
                    .push((bound, bucket.value));
            }
            for (labels, buckets) in buckets {
                assert!(
                    buckets
                        .windows(2)
                        .all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1),
                    "{family} {labels:?}: {buckets:?}"
                );
                let labels: Vec<_> = labels.iter().map(|(k, v)| (&**k, &**v)).collect();
                let count = self.value(&format!("{family}_count"), &labels);
                let last = buckets.last().filter(|(bound, _)| bound.is_infinite());
                assert_eq!(last.map(|(_, count)| *count), count, "{family} {labels:?}");
                assert!(self.value(&format!("{family}_sum"), &labels).is_some());
            }
        }
    }
}

/// Reads labels up to `}`; returns what follows it.
fn labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut labels = Labels::new();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => value.push(match chars.next()? {
                    'n' => '\n',
                    escaped @ ('"' | '\\') => escaped,
                    _ => return None,
                }),
                other => value.push(other),
            }
        }
        if !is_name(name) || labels.insert(name.to_owned(), value).is_some() {
            return None;
        }
        rest = chars.as_str();
        if let Some(after) = rest.strip_prefix(',') {
            rest = after;
        } else if !rest.starts_with('}') {
            return None;
        }
    }
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
}
