//! Several servers over one JetStream stream: one log, the same everywhere.
#![allow(clippy::expect_used, reason = "a test")]

use stoat_tests::cluster::history;
use stoat_tests::{Client, Identity, Nats, Request, Server, Setup, eventually, run};

fn node(nats: &Nats, args: &[&str]) -> Server {
    let url = nats.url();
    Setup::default()
        .args(["--nats-url", &url])
        .args(args)
        .start()
}

fn ids(answer: &serde_json::Value) -> Vec<String> {
    let events = answer["events"].as_array().expect("a batch");
    let id = |event: &serde_json::Value| event["event_id"].as_str().expect("an ID").to_owned();
    events.iter().map(id).collect()
}

#[tokio::test]
async fn two_servers_show_one_log() {
    let nats = Nats::start().await;
    let (one, two) = (node(&nats, &[]), node(&nats, &[]));
    let (mut here, mut there) = (one.client().await, two.client().await);
    let first = one
        .publish(r#"{"type":"a","topic":"x.y","payload":{"n":1.10}}"#)
        .await;
    // What was acknowledged is in the log of the server that said so.
    let ready = Request::get("/health/ready").send(&one).await;
    assert_eq!(
        (ready.status, ready.header("x-stoat-cursor")),
        (200, Some(&*first))
    );
    assert_eq!(ready.json()["checks"]["broker"], "ok");

    let lines: Vec<_> = (0..1000)
        .map(|n| format!(r#"{{"type":"b","payload":{{"n":{n}}}}}"#))
        .collect();
    let batch = Request::publish_lines(lines.join("\n")).send(&two).await;
    assert_eq!(batch.status, 201, "{}", batch.text());
    let batch = ids(&batch.json());
    let last = one.publish(r#"{"type":"c"}"#).await;

    let seen = here.events(1002).await;
    assert_eq!(there.events(1002).await, seen);
    let expected: Vec<_> = [first.clone()]
        .into_iter()
        .chain(batch.clone())
        .chain([last.clone()])
        .collect();
    assert_eq!(
        seen.iter()
            .map(|event| event.id.clone())
            .collect::<Vec<_>>(),
        expected
    );
    assert_eq!(seen[0].payload, r#"{"n":1.10}"#);
    assert_eq!(seen[0].topic.as_deref(), Some("x.y"));
    for server in [&one, &two] {
        assert_eq!(history(server.address()).await, seen);
    }
    // Resuming, between two servers and within a batch.
    for (n, id) in [(1, &first), (501, &batch[499]), (1001, &batch[999])] {
        for server in [&one, &two] {
            let mut client = Client::connect(server, &format!("/ws?last_event_id={id}")).await;
            assert_eq!(client.events(1002 - n).await, seen[n..]);
        }
    }
    let lag = Request::get("/api/v1/connections").send(&one).await;
    assert_eq!(
        lag.json()["connections"][0]["lag_events"],
        0,
        "{}",
        lag.text()
    );
    assert_eq!(
        one.metrics().await.value("stoat_ws_buffer_size", &[]),
        Some(1002.0)
    );

    // One that comes later has the same, and knows nothing of another log.
    let three = node(&nats, &["--ws-replay-buffer-size", "10"]);
    assert_eq!(history(three.address()).await, seen);
    let mut client = Client::connect(&three, "/ws?last_event_id=earliest").await;
    assert_eq!(client.events(1002).await, seen);
    let unknown = "/ws?last_event_id=0000000000000001-7";
    let mut client = Client::connect(&three, unknown).await;
    let gap = client.event().await;
    assert_eq!(
        (&*gap.event_type, gap.value()["reason"].as_str()),
        ("gap", Some("unknown_id"))
    );
    assert_eq!(client.events(1002).await, seen);
    // Nor of a position that was never reached.
    let (epoch, _) = last.split_once('-').unwrap();
    let beyond = format!("/ws?last_event_id={epoch}-99999999");
    let gap = Client::connect(&three, &beyond).await.event().await;
    assert_eq!(gap.value()["reason"], "unknown_id");
}

#[tokio::test]
async fn a_key_is_good_on_every_server() {
    let nats = Nats::start().await;
    let (one, two) = (node(&nats, &[]), node(&nats, &[]));
    let request = Request::publish(r#"[{"type":"a"},{"type":"b","topic":"x"}]"#);
    let request = request.header("Idempotency-Key", "k");
    let at_once = futures_util::future::join_all((0..8).map(|n| {
        let server = if n % 2 == 0 { &one } else { &two };
        request.send(server)
    }));
    let answers = at_once.await;
    let replayed = answers.iter().filter(|answer| {
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(answer.text(), answers[0].text());
        answer.header("idempotency-replayed") == Some("true")
    });
    assert_eq!(replayed.count(), 7);
    let other = Request::publish(r#"{"type":"c"}"#).header("Idempotency-Key", "k");
    let reused = other.send(&two).await;
    assert_eq!(
        reused.problem(422)["type"],
        "urn:stoat:problem:idempotency-key-reused"
    );
    assert_eq!(history(one.address()).await.len(), 2);
    drop((one, two));

    let later = node(&nats, &[]);
    let repeat = request.send(&later).await;
    assert_eq!(repeat.header("idempotency-replayed"), Some("true"));
    assert_eq!(repeat.text(), answers[0].text());
}

#[tokio::test]
async fn other_clients_of_the_broker_take_part() {
    let nats = Nats::start().await;
    let server = node(&nats, &["--nats-stream", "hub", "--nats-subject", "my.hub"]);
    let mut live = server.client().await;
    let mut stranger = nats.client().await;
    stranger.subscribe("my.hub.event.project.>").await;

    server
        .publish(r#"{"type":"a","topic":"project.x","payload":{"n":1}}"#)
        .await;
    let (subject, payload) = stranger.message().await;
    assert_eq!(subject, "my.hub.event.project.x");
    let payload: serde_json::Value = serde_json::from_str(&payload).unwrap();
    assert_eq!(
        (&payload["type"], &payload["payload"]["n"]),
        (&"a".into(), &1.into())
    );
    assert_eq!(live.event().await.topic.as_deref(), Some("project.x"));

    let mut publisher = nats.client().await;
    for (subject, text) in [
        ("my.hub.event", "no event at all"),
        ("my.hub.event", r#"{"type":"Wrong Name"}"#),
        ("my.hub.event.Wrong-Topic", r#"{"type":"b"}"#),
        ("my.hub.else", r#"{"type":"b"}"#),
        ("my.hub.event", r#"{"type":"heartbeat"}"#),
        ("my.hub.event.y", r#"{"type":"b","payload":{"n":1.50}}"#),
    ] {
        publisher.publish(subject, text).await;
    }
    let event = live.event().await;
    assert_eq!(
        (&*event.event_type, event.topic.as_deref()),
        ("b", Some("y"))
    );
    assert_eq!(
        (&*event.payload, event.correlation_id),
        (r#"{"n":1.50}"#, None)
    );
    let metrics = server.metrics().await;
    assert_eq!(
        metrics.value("stoat_broker_skipped_messages_total", &[]),
        Some(5.0)
    );
    assert_eq!(metrics.value("stoat_broker_up", &[]), Some(1.0));

    // The last message is no event: the end of the log is behind it, and heartbeats go on.
    publisher.publish("my.hub.event", "again nothing").await;
    let beating = node(
        &nats,
        &[
            "--nats-stream",
            "hub",
            "--nats-subject",
            "my.hub",
            "--ws-heartbeat-interval",
            "1s",
        ],
    );
    let seen = history(beating.address()).await;
    assert_eq!(seen.len(), 2);
    let mut client = Client::connect(&beating, "/ws?last_event_id=earliest").await;
    assert_eq!(client.events(2).await, seen);
    let beat = client.event().await;
    assert_eq!(beat.event_type, "heartbeat");
    let from = format!("/ws?last_event_id={}", beat.id);
    let mut resumed = Client::connect(&server, &from).await;
    server.publish(r#"{"type":"after"}"#).await;
    assert_eq!(resumed.event().await.event_type, "after");
}

#[tokio::test]
async fn a_batch_that_the_broker_cannot_take_is_refused_whole() {
    let nats = Nats::start_with("max_payload: 10000").await;
    let server = node(&nats, &[]);
    let line = format!(
        r#"{{"type":"a","payload":{{"filler":"{}"}}}}"#,
        "x".repeat(3000)
    );
    let batch = Request::publish_lines([&*line; 4].join("\n"))
        .send(&server)
        .await;
    batch.problem(413);
    let large = format!(
        r#"{{"type":"a","payload":{{"filler":"{}"}}}}"#,
        "x".repeat(20_000)
    );
    Request::publish(large).send(&server).await.problem(413);
    server.publish(&line).await;
    assert_eq!(history(server.address()).await.len(), 1);
}

#[tokio::test]
async fn a_stream_of_others_is_checked_and_never_altered() {
    let nats = Nats::start().await;
    let mut admin = nats.client().await;
    let create = |name: &str, config: &str| {
        (
            format!("$JS.API.STREAM.CREATE.{name}"),
            format!(
                r#"{{"name":"{name}","retention":"limits","storage":"memory","num_replicas":1,{config}}}"#
            ),
        )
    };
    for (name, config) in [
        ("wrong", r#""subjects":["else.>"]"#),
        ("work", r#""subjects":["work.>"],"retention":"workqueue""#),
        ("each", r#""subjects":["each.>"],"max_msgs_per_subject":5"#),
        ("good", r#""subjects":["good.>"],"max_msgs":77"#),
    ] {
        let (subject, text) = create(name, config);
        let text = match name {
            "work" => text.replacen(r#""retention":"limits","#, "", 1),
            _ => text,
        };
        let answer = admin.ask(&subject, &text).await.unwrap();
        assert!(answer.get("error").is_none(), "{answer}");
    }
    let serve = async |name: &str, subject: &str| {
        let url = nats.url();
        let base = ["serve", "--listen", "127.0.0.1:0", "--nats-url", &url];
        run(&[
            &base[..],
            &["--nats-stream", name, "--nats-subject", subject],
        ]
        .concat())
        .await
    };
    for (name, expected) in [
        ("wrong", "does not take the subject wrong.event"),
        ("work", "its retention is not `limits`"),
        ("each", "bounds the messages of each subject"),
    ] {
        let refused = serve(name, name).await;
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
        assert_eq!(refused.stdout, "");
    }
    // Another stream has the subjects already.
    let taken = serve("other", "good").await;
    assert_eq!(taken.code, Some(1), "{}", taken.stderr);

    let server = node(&nats, &["--nats-stream", "good", "--nats-subject", "good"]);
    server.publish(r#"{"type":"a"}"#).await;
    let warned = eventually("a warning", async || {
        let log = server.log();
        log.contains("the bound on messages of the stream is 77, not 0 as set")
            .then_some(log)
    })
    .await;
    assert!(
        warned.contains("the storage of the stream is Memory, not File as set"),
        "{warned}"
    );
    let info = admin.ask("$JS.API.STREAM.INFO.good", "").await.unwrap();
    assert_eq!(
        (&info["config"]["max_msgs"], &info["state"]["messages"]),
        (&77.into(), &1.into())
    );
}

#[tokio::test]
async fn what_the_stream_has_evicted_is_a_gap() {
    let nats = Nats::start().await;
    let server = node(
        &nats,
        &["--nats-max-events", "50", "--ws-replay-buffer-size", "10"],
    );
    let mut first = String::new();
    for n in 0..100 {
        let id = server
            .publish(&format!(r#"{{"type":"a","payload":{{"n":{n}}}}}"#))
            .await;
        if n == 0 {
            first = id;
        }
    }
    let seen = eventually("half of them", async || {
        let seen = history(server.address()).await;
        (seen.len() == 50).then_some(seen)
    })
    .await;
    assert_eq!((seen[0].n(), seen[49].n()), (50, 99));
    let mut client = Client::connect(&server, &format!("/ws?last_event_id={first}")).await;
    let gap = client.event().await;
    assert_eq!(gap.value()["reason"], "evicted");
    assert_eq!(client.events(50).await, seen);
}

#[tokio::test]
async fn another_stream_ends_the_server() {
    let nats = Nats::start().await;
    let mut server = node(&nats, &[]);
    let id = server.publish(r#"{"type":"a"}"#).await;
    let mut client = server.client().await;
    let mut admin = nats.client().await;
    admin.ask("$JS.API.STREAM.DELETE.stoat", "").await.unwrap();
    let (_, close) = client.closed().await;
    assert_eq!(close.map(|close| close.code.into()), Some(1001));
    assert_eq!(server.exit().await.code(), Some(1));
    assert!(
        server.log().contains("the stream was deleted"),
        "{}",
        server.log()
    );

    // The next one begins another log.
    let server = node(&nats, &[]);
    let mut client = Client::connect(&server, &format!("/ws?last_event_id={id}")).await;
    assert_eq!(client.event().await.value()["reason"], "unknown_id");
    assert!(server.publish(r#"{"type":"a"}"#).await != id);
}

#[tokio::test]
async fn users_and_tokens_are_used_and_never_shown() {
    let nats = Nats::start_with(r#"authorization { user: me, password: "hunter2@x" }"#).await;
    let url = format!("nats://me:hunter2%40x@{}", nats.address());
    let server = Setup::default().args(["--nats-url", &url]).start();
    server.publish(r#"{"type":"a"}"#).await;
    assert!(!server.log().contains("hunter2"), "{}", server.log());

    let wrong = format!("nats://me:wrong1@{}", nats.address());
    let server = Setup::default().args(["--nats-url", &wrong]).start();
    let ready = Request::get("/health/ready").send(&server).await;
    assert_eq!(ready.status, 503);
    let log = eventually("the reason", async || {
        let log = server.log();
        log.to_lowercase().contains("authorization").then_some(log)
    })
    .await;
    assert!(!log.contains("wrong1"), "{log}");

    let nats = Nats::start_with("authorization { token: t0kent0ken }").await;
    let url = format!("nats://t0kent0ken@{}", nats.address());
    let server = Setup::default().args(["--nats-url", &url]).start();
    server.publish(r#"{"type":"a"}"#).await;
}

#[tokio::test]
async fn credentials_are_used() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/nats");
    let accounts = std::fs::read_to_string(format!("{folder}/accounts.conf")).unwrap();
    let nats = Nats::start_with(&accounts).await;
    let credentials = format!("{folder}/user.creds");
    let server = node(&nats, &["--nats-credentials", &credentials]);
    server.publish(r#"{"type":"a"}"#).await;

    let url = nats.url();
    let serve = ["serve", "--nats-url", &url, "--nats-credentials"];
    for bad in ["/no/such/file", &format!("{folder}/README.md")] {
        let refused = run(&[&serve[..], &[bad]].concat()).await;
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains(bad), "{}", refused.stderr);
    }
}

#[tokio::test]
async fn tls_is_spoken_with_certificates_on_both_sides() {
    let identity = Identity::new();
    let (cert, key) = (identity.cert(), identity.key());
    let tls = format!(
        "tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {cert:?}, verify: true }}"
    );
    let nats = Nats::start_with(&tls).await;
    let url = nats.url().replace("nats://", "tls://");
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let args = ["--nats-url", &url, "--nats-tls-ca", cert];
    let own = ["--nats-tls-cert", cert, "--nats-tls-key", key];
    let server = Setup::default().args(args).args(own).start();
    server.publish(r#"{"type":"a"}"#).await;

    // Without one of its own it is not let in.
    let server = Setup::default().args(args).start();
    let ready = Request::get("/health/ready").send(&server).await;
    assert_eq!(ready.status, 503, "{}", ready.text());
}
