//! Spans over OTLP: who is in whose trace, and what happens when the receiver is away.
#![allow(clippy::expect_used, reason = "a test")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use stoat_tests::otlp::{Answer, SpanKind};
use stoat_tests::{Connection, Identity, Receiver, Request, Server, Setup, eventually};
use tokio::net::TcpSocket;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const EVENTS: &str = "POST /api/v1/events";

/// The span of a `traceparent` that the caller records.
fn traceparent(trace: &str) -> String {
    format!("00-{trace}-{CALLER}-01")
}

fn warnings(server: &Server) -> usize {
    server.log().matches("spans cannot be exported").count()
}

async fn count(server: &Server, metric: &str, labels: &[(&str, &str)]) -> f64 {
    let metrics = server.metrics().await;
    metrics.value(metric, labels).expect("the metric")
}

#[tokio::test]
async fn a_publish_is_in_its_callers_trace_down_to_the_fan_out() {
    let receiver = Receiver::start().await;
    let server = receiver.server(&[]);
    let mut clients = [server.client().await, server.client().await];
    // Who sees an event is where the fan-out finds it.
    server.publish(r#"{"type":"a"}"#).await;
    for client in &mut clients {
        client.event().await;
    }

    let body = r#"[{"type":"a"},{"type":"b"},{"type":"c"}]"#;
    let request = Request::publish(body).header("traceparent", &traceparent(TRACE));
    let response = request.send(&server).await;
    for client in &mut clients {
        for event in client.events(3).await {
            assert_eq!(event.correlation_id.as_deref(), Some(TRACE));
        }
    }

    let names = [EVENTS, "publish", "append", "fan-out"];
    let [request, publish, append, fan_out] = receiver.wait(TRACE, names).await;
    assert_eq!((request.kind, &*request.parent), (SpanKind::Server, CALLER));
    assert_eq!(request.flags, 0x301, "sampled, below another program's");
    for (span, parent) in [
        (&publish, &request),
        (&append, &publish),
        (&fan_out, &publish),
    ] {
        assert_eq!((span.kind, &span.parent), (SpanKind::Internal, &parent.id));
        assert_eq!(span.flags, 0x101);
        assert_eq!(span.error, None);
    }
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/api/v1/events"),
        ("http.response.status_code", "201"),
        ("url.path", "/api/v1/events"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
        ("stoat.correlation_id", TRACE),
    ] {
        assert_eq!(request.get(key), value);
    }
    let events = response.json();
    let id = |index: usize| {
        events["events"][index]["event_id"]
            .as_str()
            .expect("an ID")
            .to_owned()
    };
    assert_eq!(publish.get("stoat.event.count"), "3");
    assert_eq!(publish.get("stoat.event.first_id"), id(0));
    assert_eq!(publish.get("stoat.event.last_id"), id(2));
    assert_eq!(publish.get("stoat.correlation_id"), TRACE);
    assert_eq!(fan_out.get("stoat.fan_out.connections"), "2");
    // One is within the other, but the fan-out, which goes on when the answer is given.
    for (inner, outer) in [(&publish, &request), (&append, &publish)] {
        assert!(outer.times.0 <= inner.times.0, "{inner:?} {outer:?}");
        assert!(inner.times.1 <= outer.times.1, "{inner:?} {outer:?}");
    }
    assert!(fan_out.times.0 >= append.times.0, "{fan_out:?} {append:?}");
    assert_eq!(request.resource["service.name"], "stoat");
    assert!(!request.resource["service.instance.id"].is_empty());
}

#[tokio::test]
async fn from_the_correlation_id_of_an_event_one_gets_to_its_trace() {
    let receiver = Receiver::start().await;
    let server = receiver.server(&["--log-format", "json", "--log-level", "debug"]);
    let mut client = server.client().await;
    // Who sees an event is where the fan-out finds it.
    server.publish(r#"{"type":"a"}"#).await;
    client.event().await;

    // Made by the server, or a UUID of the caller: its digits.
    let uuid = "6F9619FF-8B86-4011-B42D-00CF4FC964FF";
    for given in [None, Some(uuid)] {
        let mut request = Request::publish(r#"{"type":"a"}"#);
        if let Some(id) = given {
            request = request.header("X-Correlation-ID", id);
        }
        request.send(&server).await;
        let id = client.event().await.correlation_id.expect("an ID");
        let trace = id.replace('-', "").to_lowercase();
        let [request, _] = receiver.wait(&trace, [EVENTS, "fan-out"]).await;
        assert_eq!(request.parent, "");
        assert_eq!(request.get("stoat.correlation_id"), id);
    }

    // Any other text, with or without a trace of the caller's: by the attribute.
    let other = "0af7651916cd43dd8448eb211c80319c";
    let body = r#"[{"type":"a"},{"type":"a","correlation_id":"of-an-event"}]"#;
    let request = Request::publish(body).header("X-Correlation-ID", "order-4711");
    request
        .clone()
        .header("traceparent", &traceparent(other))
        .send(&server)
        .await;
    let [ours, publish] = receiver.wait(other, [EVENTS, "publish"]).await;
    assert_eq!(ours.get("stoat.correlation_id"), "order-4711");
    assert_eq!(
        publish.get("stoat.correlation_id"),
        "order-4711,of-an-event"
    );
    request.send(&server).await;
    eventually("a trace of its own", async || {
        let spans = receiver.spans();
        let mut of_order = spans.iter().filter(|span| span.parent.is_empty());
        of_order
            .find(|span| span.get("stoat.correlation_id") == "order-4711")
            .cloned()
    })
    .await;

    // The lines of a request carry both.
    eventually("the lines of the log", async || {
        let log = server.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut lines = lines.filter(|line| line["trace_id"] == other);
        lines.find(|line| line["correlation_id"] == "order-4711")
    })
    .await;
}

#[tokio::test]
async fn what_is_recorded_is_the_callers_choice_or_a_share() {
    let receiver = Receiver::start().await;
    let server = receiver.server(&["--otlp-sample-ratio", "0"]);
    let not_sampled = format!("00-0af7651916cd43dd8448eb211c80319c-{CALLER}-00");

    server.publish(r#"{"type":"a"}"#).await;
    let request = Request::publish(r#"{"type":"a"}"#).header("traceparent", &not_sampled);
    request.send(&server).await;
    let request = Request::get("/api/v1/events").header("traceparent", &traceparent(TRACE));
    request.send(&server).await;
    receiver.wait(TRACE, ["GET /api/v1/events"]).await;
    assert!(receiver.spans().iter().all(|span| span.trace == TRACE));

    // With all of them, still not those that come every few seconds.
    let receiver = Receiver::start().await;
    let mut server = receiver.server(&[]);
    for path in ["/health/live", "/health/ready", "/metrics", "/no/such/page"] {
        Request::get(path).send(&server).await;
    }
    server.publish(r#"{"type":"a"}"#).await;
    server.terminate();
    assert!(server.exit().await.success());
    let roots = receiver
        .spans()
        .into_iter()
        .filter(|span| span.parent.is_empty());
    assert_eq!(roots.map(|span| span.name).collect::<Vec<_>>(), [EVENTS]);
}

#[tokio::test]
async fn refusals_replays_and_handshakes_are_told_apart() {
    let receiver = Receiver::start().await;
    let server = receiver.server(&["--max-event", "1KiB"]);
    let trace = |n: u8| format!("{n:032x}");
    let send = async |n: u8, request: Request| {
        let request = request.header("traceparent", &traceparent(&trace(n)));
        request.send(&server).await
    };

    let large = format!(r#"{{"type":"a","payload":{{"x":"{}"}}}}"#, "x".repeat(2000));
    send(1, Request::publish(large)).await.problem(413);
    let [request, append] = receiver.wait(&trace(1), [EVENTS, "append"]).await;
    assert_eq!(request.get("http.response.status_code"), "413");
    assert_eq!(
        request.error, None,
        "the caller's mistake is none of the server"
    );
    assert!(
        append
            .error
            .as_ref()
            .is_some_and(|error| error.contains("1024")),
        "{append:?}"
    );

    let keyed = Request::publish(r#"{"type":"a"}"#).header("Idempotency-Key", "k");
    send(2, keyed.clone()).await;
    send(3, keyed).await;
    let [publish] = receiver.wait(&trace(2), ["publish"]).await;
    let [replay] = receiver.wait(&trace(3), ["publish"]).await;
    assert!(!publish.attributes.contains_key("stoat.replayed"));
    assert_eq!(replay.get("stoat.replayed"), "true");
    assert_eq!(
        replay.get("stoat.event.first_id"),
        publish.get("stoat.event.first_id")
    );

    send(4, Request::get("/ws")).await.problem(426);
    let [refused] = receiver.wait(&trace(4), ["GET /ws"]).await;
    assert_eq!(refused.get("http.response.status_code"), "426");

    send(5, Request::new("BREW", "/no/such/page"))
        .await
        .problem(404);
    let [unknown] = receiver.wait(&trace(5), ["other"]).await;
    assert!(
        !unknown.attributes.contains_key("http.route"),
        "{unknown:?}"
    );
    assert_eq!(unknown.get("url.path"), "/no/such/page");
}

#[tokio::test]
async fn a_receiver_with_tls_has_to_be_vouched_for() {
    let identity = Identity::new();
    let receiver = Receiver::start_with_tls(&identity).await;
    let start = |trusted: PathBuf| {
        let trusted = trusted.to_str().expect("a path");
        Setup::default()
            .args(["--otlp-endpoint", &receiver.endpoint()])
            .env("SSL_CERT_FILE", trusted)
            .start()
    };

    let trusting = start(identity.cert());
    trusting.publish(r#"{"type":"a"}"#).await;
    eventually("spans", async || {
        (receiver.spans().len() == 3).then_some(())
    })
    .await;

    let stranger = Identity::new();
    let mistrusting = start(stranger.cert());
    mistrusting.publish(r#"{"type":"a"}"#).await;
    eventually("a warning", async || {
        (warnings(&mistrusting) == 1).then_some(())
    })
    .await;
    assert!(mistrusting.log().contains("certificate"));
    assert_eq!(receiver.spans().len(), 3);
}

#[tokio::test]
async fn a_shutdown_exports_what_is_left() {
    let receiver = Receiver::start().await;
    let mut server = receiver.server(&[]);
    let last = async |n: u8| {
        let trace = format!("{n:032x}");
        let request = Request::publish(r#"{"type":"a"}"#);
        request
            .header("traceparent", &traceparent(&trace))
            .send(&server)
            .await;
    };
    for n in 1..=20 {
        last(n).await;
    }

    server.terminate();
    assert!(server.exit().await.success());

    // Without a wait: it has ended.
    let spans = receiver.spans();
    assert_eq!(spans.iter().filter(|span| span.name == EVENTS).count(), 20);
    assert_eq!(
        spans.iter().filter(|span| span.name == "append").count(),
        20
    );
}

#[tokio::test]
async fn without_a_receiver_all_goes_on_and_one_line_says_so() {
    // A port that is taken, but where nobody listens.
    let taken = TcpSocket::new_v4().expect("a socket");
    taken.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let endpoint = format!("http://{}", taken.local_addr().expect("an address"));
    let mut server = Server::start(&["--otlp-endpoint", &endpoint]);
    let mut client = server.client().await;

    for _ in 0..50 {
        server.publish(r#"{"type":"a"}"#).await;
    }
    client.events(50).await;
    eventually("a warning", async || (warnings(&server) > 0).then_some(())).await;
    server.publish(r#"{"type":"a"}"#).await;

    server.terminate();
    let (status, took) = server.exit_within().await;
    assert!(status.success());
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_eq!(warnings(&server), 1, "{}", server.log());
}

#[tokio::test]
async fn a_receiver_that_never_answers_holds_up_nothing_and_what_is_too_much_is_counted() {
    // It accepts by the kernel alone.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", silent.local_addr().expect("an address"));
    let mut server = Server::start(&["--otlp-endpoint", &endpoint]);

    // Three spans each: more than the queue takes.
    let batch = async |from: u32| {
        let mut connection = Connection::open(server.address()).await;
        for n in from..from + 500 {
            let trace = traceparent(&format!("{:032x}", n + 1));
            let request = Request::publish(r#"{"type":"a"}"#).header("traceparent", &trace);
            assert_eq!(connection.send(&request).await.status, 201);
        }
    };
    tokio::join!(batch(0), batch(500), batch(1000), batch(1500));
    let reason = [("reason", "queue_full")];
    eventually("spans that are dropped", async || {
        let dropped = count(&server, "stoat_otlp_spans_dropped_total", &reason).await;
        (dropped > 0.0).then_some(())
    })
    .await;
    batch(2000).await;

    server.terminate();
    assert!(server.exit().await.success());
    assert!(
        server.log().contains("were not exported in time"),
        "{}",
        server.log()
    );
    drop(silent);
}

#[tokio::test]
async fn spans_wait_for_a_receiver_that_comes_back_but_not_for_one_that_refuses() {
    let receiver = Receiver::start().await;
    let server = receiver.server(&[]);
    let exported = "stoat_otlp_spans_exported_total";

    receiver.answers(Answer::Status(503));
    let request = Request::publish(r#"{"type":"a"}"#).header("traceparent", &traceparent(TRACE));
    request.send(&server).await;
    eventually("an attempt", async || {
        (receiver.requests() > 0).then_some(())
    })
    .await;
    assert_eq!(count(&server, exported, &[]).await, 0.0);
    receiver.answers(Answer::AllBut(1));
    receiver.wait(TRACE, [EVENTS, "publish", "append"]).await;
    let refused = async || {
        let reason = [("reason", "refused")];
        count(&server, "stoat_otlp_spans_dropped_total", &reason).await
    };
    // One of each batch, of which there is one unless the machine is slow.
    let before = eventually("all are counted", async || {
        let (exported, refused) = (count(&server, exported, &[]).await, refused().await);
        (exported + refused == 3.0).then_some(refused)
    })
    .await;
    assert!(before >= 1.0);

    receiver.answers(Answer::Status(400));
    request.send(&server).await;
    eventually("a refusal", async || {
        (refused().await == before + 3.0).then_some(())
    })
    .await;
    assert_eq!(warnings(&server), 1, "{}", server.log());
}
