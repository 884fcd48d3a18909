//! The dashboard and the alerts of the docs, and the exemplars that lead to traces.
#![allow(clippy::expect_used, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use stoat_tests::prometheus::Sample;
use stoat_tests::promql::{Names, Selector};
use stoat_tests::{Metrics, Nats, Receiver, Request, Server, binary, eventually};

/// What Prometheus adds to every series.
const OF_THE_TARGET: [&str; 2] = ["job", "instance"];

fn read(file: &str) -> String {
    let path = binary::workspace().join("docs/monitoring").join(file);
    fs::read_to_string(path).expect("a file of the docs")
}

/// All texts under this key, wherever they are.
fn under(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| under(item, key, found)),
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str().filter(|_| name == key) {
                    Some(text) => found.push(text.to_owned()),
                    None => under(value, key, found),
                }
            }
        }
        _ => {}
    }
}

fn of_dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("stoat-dashboard.json")).expect("JSON");
    let (mut expressions, mut queries) = (Vec::new(), Vec::new());
    under(&dashboard, "expr", &mut expressions);
    assert!(expressions.len() > 20, "{expressions:?}");
    under(&dashboard, "definition", &mut queries);
    // `label_values(metric{…}, label)`
    expressions.extend(queries.iter().map(|query| {
        let inside = query
            .strip_prefix("label_values(")
            .expect("a query of labels");
        let (metric, label) = inside.rsplit_once(',').expect("a label");
        let label = label.trim().trim_end_matches(')');
        assert!(OF_THE_TARGET.contains(&label), "{query}");
        metric.to_owned()
    }));
    expressions
}

/// The expressions of the alerts, each of which is on one line.
fn of_alerts() -> Vec<String> {
    let text = read("stoat-alerts.yaml");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let with = |start: &str| {
        lines
            .iter()
            .filter_map(|line| line.strip_prefix(start))
            .count()
    };
    let expressions = lines.iter().filter_map(|line| line.strip_prefix("expr: "));
    let expressions: Vec<String> = expressions.map(str::to_owned).collect();
    assert!(expressions.len() > 10, "{expressions:?}");
    assert_eq!(with("- alert: "), expressions.len());
    assert_eq!(with("summary: "), expressions.len());
    assert_eq!(with("description: "), expressions.len());
    expressions
}

/// Whether there is a series that fits a matcher, as far as the server gives its label.
fn fits(series: &[Sample], (label, operator, value): &(String, String, String)) -> bool {
    if OF_THE_TARGET.contains(&label.as_str()) {
        return true;
    }
    match (label.as_str(), operator.as_str()) {
        // Which of these there are depends on what happened.
        ("status" | "route" | "method", _) | (_, "!=" | "!~") => series
            .iter()
            .any(|sample| sample.labels.contains_key(label)),
        (_, "=" | "=~") => value.split('|').all(|value| {
            let mut series = series.iter();
            series.any(|sample| sample.labels.get(label).is_some_and(|have| have == value))
        }),
        _ => panic!("an operator: {operator}"),
    }
}

/// A server that has metrics of a broker, too.
async fn clustered() -> (Nats, Server) {
    let nats = Nats::start().await;
    let server = Server::start(&["--nats-url", &nats.url()]);
    (nats, server)
}

#[test]
fn each_alert_has_something_to_do() {
    let text = read("../monitoring.md");
    let alerts = read("stoat-alerts.yaml");
    let names = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let named = |name: &&str| text.contains(&format!("`{name}`"));
    let missing: Vec<&str> = names.filter(|name| !named(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn what_the_dashboard_and_the_alerts_name_is_there() {
    let (_nats, server) = clustered().await;
    // Requests have no series before the first of them.
    server.publish(r#"{"type":"a"}"#).await;
    let metrics = server.metrics().await;
    let series = |metric: &str| metrics.series(metric).cloned().collect::<Vec<_>>();

    for expression in of_dashboard().into_iter().chain(of_alerts()) {
        let Names { selectors, labels } = Names::of(&expression);
        assert!(!selectors.is_empty(), "{expression}");
        let mut known: BTreeSet<String> = OF_THE_TARGET.map(str::to_owned).into();
        for Selector { metric, matchers } in &selectors {
            // Made by Prometheus, as the only one.
            if metric == "up" {
                continue;
            }
            let series = series(metric);
            assert!(!series.is_empty(), "{metric} in {expression}");
            for matcher in matchers {
                assert!(fits(&series, matcher), "{matcher:?} in {expression}");
            }
            known.extend(
                series
                    .into_iter()
                    .flat_map(|sample| sample.labels.into_keys()),
            );
        }
        for label in labels {
            assert!(known.contains(&label), "{label} in {expression}");
        }
    }
}

#[tokio::test]
async fn every_metric_of_ours_is_on_the_dashboard() {
    let (_nats, server) = clustered().await;
    let metrics = server.metrics().await;
    let dashboard = of_dashboard().join(" ");

    for sample in metrics.all() {
        let name = sample.name.trim_end_matches("_created");
        if name.starts_with("stoat_") || name.starts_with("http_") {
            let shown = dashboard.contains(name)
                || ["_sum", "_count"].iter().any(|suffix| {
                    name.strip_suffix(suffix)
                        .is_some_and(|name| dashboard.contains(&format!("{name}_bucket")))
                });
            assert!(shown, "{name}");
        }
    }
}

#[tokio::test]
async fn who_asks_for_open_metrics_gets_the_same_with_exemplars() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let receiver = Receiver::start().await;
    let server = receiver.server(&[]);
    let traced = Request::publish(r#"{"type":"a"}"#);
    let traced = traced.header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
    assert_eq!(traced.send(&server).await.status, 201);
    let untraced = Request::get("/api/v1/events");
    let untraced = untraced.header("traceparent", &format!("00-{trace}-00f067aa0ba902b7-00"));
    assert_eq!(untraced.send(&server).await.status, 200);

    let plain = Request::get("/metrics").send(&server).await;
    let scrape =
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    let open = Request::get("/metrics")
        .header("Accept", scrape)
        .send(&server)
        .await;

    let content_type = plain.header("content-type").expect("a content type");
    assert!(
        content_type.starts_with("text/plain; version=0.0.4"),
        "{content_type}"
    );
    let content_type = open.header("content-type").expect("a content type");
    assert_eq!(
        content_type,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let text = open.text();
    let text = text.strip_suffix("# EOF\n").expect("the end");
    assert!(
        text.contains("# TYPE stoat_events_published counter\n"),
        "{text}"
    );
    assert!(
        text.contains("\nstoat_events_published_total{type=\"other\"} 1\n"),
        "{text}"
    );
    assert!(text.contains(",le=\"1.0\"} "), "{text}");

    let exemplars: Vec<&str> = text.lines().filter(|line| line.contains(" # {")).collect();
    let [line] = exemplars[..] else {
        panic!("one request was traced: {exemplars:?}");
    };
    let start =
        "http_request_duration_seconds_bucket{method=\"POST\",route=\"/api/v1/events\",le=\"";
    let (bound, exemplar) = line
        .strip_prefix(start)
        .expect(line)
        .split_once("\"} 1 # ")
        .expect(line);
    let exemplar = exemplar
        .strip_prefix(&format!("{{trace_id=\"{trace}\"}} "))
        .expect(line);
    let (seconds, at) = exemplar.split_once(' ').expect(line);
    let number = |text: &str| text.replace("+Inf", "inf").parse::<f64>().expect(line);
    assert!(number(seconds) <= number(bound), "{line}");
    assert!(number(at) > 1_700_000_000.0, "{line}");

    // All samples are the same but for what a request changes.
    let names = |text: &str| -> BTreeSet<String> {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| line.split(['{', ' ']).next().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(names(text), names(&plain.text()));
    Metrics::parse(&plain.text());
}

#[tokio::test]
async fn the_age_of_a_traced_event_has_its_trace_as_exemplar() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let receiver = Receiver::start().await;
    let server = receiver.server(&[]);
    let mut client = server.client().await;
    let caller = format!("00-{trace}-00f067aa0ba902b7-01");
    let traced = Request::publish(r#"{"type":"a"}"#).header("traceparent", &caller);
    let unrecorded = format!("00-{}-00f067aa0ba902b7-00", "b".repeat(32));
    let unrecorded = Request::publish(r#"{"type":"a"}"#).header("traceparent", &unrecorded);
    let scrape = Request::get("/metrics").header("Accept", "application/openmetrics-text");

    // The first events may be written by the connection's own task, of which there is none.
    let lines = eventually("an exemplar", async || {
        for publish in [&traced, &unrecorded] {
            assert_eq!(publish.clone().send(&server).await.status, 201);
        }
        assert_eq!(client.event().await.correlation_id.as_deref(), Some(trace));
        client.event().await;
        let text = scrape.clone().send(&server).await.text();
        let lines = text.lines();
        let buckets = lines.filter(|line| line.starts_with("stoat_publish_to_socket_seconds_"));
        let buckets: Vec<String> = buckets.map(str::to_owned).collect();
        let has_one = buckets.iter().any(|line| line.contains(" # "));
        has_one.then_some(buckets)
    })
    .await;

    let (mut above, mut counted) = (0.0, 0.0);
    for line in &lines {
        let number = |text: &str| text.replace("+Inf", "inf").parse::<f64>().expect(line);
        let Some(rest) = line.strip_prefix("stoat_publish_to_socket_seconds_bucket{le=\"") else {
            continue;
        };
        let (bound, rest) = rest.split_once("\"} ").expect(line);
        let (count, exemplar) = rest.split_once(" # ").unwrap_or((rest, ""));
        if !exemplar.is_empty() {
            let exemplar = exemplar.strip_prefix(&format!("{{trace_id=\"{trace}\"}} "));
            let (seconds, at) = exemplar.expect(line).split_once(' ').expect(line);
            let seconds = number(seconds);
            assert!(above < seconds && seconds <= number(bound), "{line}");
            assert!(number(count) > counted, "{line}");
            assert!(number(at) > 1_700_000_000.0, "{line}");
        }
        (above, counted) = (number(bound), number(count));
    }
}
