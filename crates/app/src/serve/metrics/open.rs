//! OpenMetrics: the same metrics, with the traces of some requests and events as exemplars.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::ACCEPT;

use super::super::trace::TraceId;

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether a scraper takes OpenMetrics. Who does prefers it to the plain text.
pub(super) fn is_accepted(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q="));
        let quality = quality.map_or(Some(1.0), |quality| quality.parse::<f64>().ok());
        media_type.eq_ignore_ascii_case("application/openmetrics-text")
            && quality.is_some_and(|quality| quality > 0.0)
    })
}

/// The newest recorded value of each bucket of a histogram.
#[derive(Debug)]
pub(in crate::serve) struct Exemplars {
    family: &'static str,
    bounds: &'static [f64],
    /// By the name and the labels of the bucket, as they stand in the text.
    newest: Mutex<BTreeMap<String, Exemplar>>,
}

#[derive(Clone, Copy, Debug)]
struct Exemplar {
    trace: TraceId,
    seconds: f64,
    at: Duration,
}

impl Exemplars {
    /// For a histogram with these upper bounds, to which `+Inf` comes.
    pub(in crate::serve) fn new(family: &'static str, bounds: &'static [f64]) -> Self {
        Self {
            family,
            bounds,
            newest: Mutex::default(),
        }
    }

    /// Keeps a value that was there at `at`. As many are kept as there are buckets with these
    /// labels.
    pub(in crate::serve) fn put(
        &self,
        labels: &[(&str, &str)],
        took: Duration,
        at: Instant,
        trace: TraceId,
    ) {
        let seconds = took.as_secs_f64();
        let bound = self.bounds.iter().find(|bound| seconds <= **bound);
        let mut series = format!("{}_bucket{{", self.family);
        for (name, value) in labels {
            series += &format!("{name}=\"{value}\",");
        }
        let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| with_point(&bound.to_string()));
        series += &format!("le=\"{bound}\"}}");
        let exemplar = Exemplar {
            trace,
            seconds,
            at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .saturating_sub(at.elapsed()),
        };
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.insert(series, exemplar);
    }

    fn newest(&self) -> BTreeMap<String, Exemplar> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.clone()
    }
}

/// Turns the plain text into OpenMetrics.
pub(in crate::serve) fn to_open_metrics(plain: &str, exemplars: &[&Exemplars]) -> String {
    let newest: BTreeMap<_, _> = exemplars
        .iter()
        .flat_map(|of_one| of_one.newest())
        .collect();
    let mut text = String::with_capacity(plain.len() + plain.len() / 8);
    for line in plain.lines() {
        let line = match line.strip_prefix("# ") {
            Some(comment) => format!("# {}", of_family(comment)),
            None => with_float_bound(line),
        };
        text += &line;
        let series = line.rfind(' ').map_or("", |end| &line[..end]);
        if let Some(exemplar) = newest.get(series) {
            let Exemplar { trace, seconds, at } = exemplar;
            let at = at.as_secs_f64();
            text += &format!(" # {{trace_id=\"{trace}\"}} {seconds} {at:.3}");
        }
        text.push('\n');
    }
    text + "# EOF\n"
}

/// A line such as `TYPE name_total counter` names the family, which is without `_total` here.
fn of_family(comment: &str) -> String {
    let mut parts = comment.splitn(3, ' ');
    let (keyword, name) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let family = name.strip_suffix("_total").unwrap_or(name);
    let rest = parts.next().unwrap_or("").replace('"', "\\\"");
    format!("{keyword} {family} {rest}")
}

/// The bound of a bucket is written as a float, also where it is whole.
fn with_float_bound(line: &str) -> String {
    // It is the last label, behind the comma of another or the brace.
    let Some((head, rest)) = line
        .rsplit_once("le=\"")
        .filter(|(head, _)| head.ends_with(['{', ',']))
    else {
        return line.to_owned();
    };
    let Some((bound, tail)) = rest.split_once('"') else {
        return line.to_owned();
    };
    format!("{head}le=\"{}\"{tail}", with_point(bound))
}

fn with_point(number: &str) -> String {
    let is_whole = number.bytes().all(|byte| byte.is_ascii_digit());
    let point = if is_whole { ".0" } else { "" };
    format!("{number}{point}")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn it_is_given_to_who_asks_for_it() {
        for (accept, expected) in [
            ("text/plain", false),
            ("*/*", false),
            ("application/openmetrics-text", true),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=x", false),
            (
                "text/plain;q=0.2, application/OpenMetrics-Text;version=1.0.0;q=0.5",
                true,
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(ACCEPT, HeaderValue::from_static("text/html"));
            headers.append(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(is_accepted(&headers), expected, "{accept}");
        }
        assert!(!is_accepted(&HeaderMap::new()));
    }

    #[test]
    fn bounds_are_floats_and_families_have_no_suffix() {
        let plain = "# HELP a_total All \"a\".\n# TYPE a_total counter\na_total 2\n\
                     # TYPE h histogram\nh_bucket{role=\"le\",le=\"1\"} 1\nh_bucket{le=\"0.5\"} 1\n\
                     h_bucket{le=\"+Inf\"} 1\n";
        let open = "# HELP a All \\\"a\\\".\n# TYPE a counter\na_total 2\n\
                    # TYPE h histogram\nh_bucket{role=\"le\",le=\"1.0\"} 1\nh_bucket{le=\"0.5\"} 1\n\
                    h_bucket{le=\"+Inf\"} 1\n# EOF\n";
        assert_eq!(to_open_metrics(plain, &[]), open);
    }

    #[test]
    fn each_bucket_has_its_newest_value() {
        let exemplars = Exemplars::new("h", &[0.000_05, 1.0]);
        let (first, last) = (TraceId([1; 16]), TraceId([0xab; 16]));
        let now = Instant::now();
        for (nanos, trace) in [
            (20_000, first),
            (50_000, last),
            (50_001, last),
            (1_000_000_001, first),
        ] {
            exemplars.put(&[], Duration::from_nanos(nanos), now, trace);
        }
        exemplars.put(&[("a", "b")], Duration::from_secs(1), now, first);
        let plain = "h_bucket{le=\"0.00005\"} 2\nh_bucket{le=\"1\"} 3\n\
                     h_bucket{le=\"+Inf\"} 4\nh_bucket{a=\"b\",le=\"1\"} 1\n\
                     g_bucket{le=\"1\"} 9\n";
        let open = to_open_metrics(plain, &[&Exemplars::new("g", &[1.0]), &exemplars]);
        let (first, last) = ("01".repeat(16), "ab".repeat(16));
        for (line, start) in open.lines().zip([
            format!("h_bucket{{le=\"0.00005\"}} 2 # {{trace_id=\"{last}\"}} 0.00005 1"),
            format!("h_bucket{{le=\"1.0\"}} 3 # {{trace_id=\"{last}\"}} 0.000050001 1"),
            format!("h_bucket{{le=\"+Inf\"}} 4 # {{trace_id=\"{first}\"}} 1.000000001 1"),
            format!("h_bucket{{a=\"b\",le=\"1.0\"}} 1 # {{trace_id=\"{first}\"}} 1 1"),
            "g_bucket{le=\"1.0\"} 9".to_owned(),
        ]) {
            assert!(line.starts_with(&start), "{line} is not {start}");
        }
        assert!(open.contains("\ng_bucket{le=\"1.0\"} 9\n"), "{open}");
    }
}
