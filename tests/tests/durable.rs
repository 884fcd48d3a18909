//! The log on disk, through crashes and the faults of disks.
#![allow(clippy::expect_used, clippy::print_stderr, reason = "a test")]
#![allow(
    clippy::disallowed_methods,
    reason = "the tests know no crate of the workspace, and no request is behind their tasks"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stoat_tests::{
    Attempt, Checker, Client, Connection, Event, Publisher, Report, Request, Server, Setup,
    SmallDisk, eventually, run,
};

const PUBLISHERS: usize = 8;

fn start(dir: &Path, args: &[&str]) -> Server {
    setup(dir, args).start()
}

fn setup(dir: &Path, args: &[&str]) -> Setup {
    // Little memory, so that most reads go to the disk.
    let memory = ["--ws-replay-buffer-size", "20", "--log-dir"];
    Setup::default().args(memory).args([dir]).args(args)
}

/// All events after an ID, page by page.
async fn history(server: &Server, after: &str) -> Vec<Event> {
    let mut events = Vec::new();
    let mut after = after.to_owned();
    loop {
        let target = format!("/api/v1/events?limit=1000&after={after}");
        let page = Request::get(&target).send(server).await;
        assert_eq!(page.status, 200, "{page:?}");
        let page: Page = page.text().parse().expect("a page");
        assert!(!page.gap || after == "earliest");
        events.extend(page.events);
        match page.next {
            Some(next) => after = next,
            None => return events,
        }
    }
}

/// Reads a page without touching the text of its events.
struct Page {
    events: Vec<Event>,
    next: Option<String>,
    gap: bool,
}

impl std::str::FromStr for Page {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, serde_json::Error> {
        let fields: std::collections::HashMap<&str, &serde_json::value::RawValue> =
            serde_json::from_str(text)?;
        let events: Vec<&serde_json::value::RawValue> =
            serde_json::from_str(fields["events"].get())?;
        Ok(Self {
            events: events.iter().map(|raw| Event::parse(raw.get())).collect(),
            next: serde_json::from_str(fields["next"].get())?,
            gap: serde_json::from_str(fields["gap"].get())?,
        })
    }
}

/// Publishes until the server is gone, or until so many were acknowledged in all.
async fn publish_until_gone(
    server: &Server,
    publishers: Vec<Publisher>,
    most: usize,
    acknowledged: &Arc<AtomicUsize>,
) -> Vec<tokio::task::JoinHandle<Publisher>> {
    let mut tasks = Vec::new();
    for mut publisher in publishers {
        let mut connection = Connection::open(server.address()).await;
        let acknowledged = Arc::clone(acknowledged);
        tasks.push(tokio::spawn(async move {
            while acknowledged.load(Ordering::SeqCst) < most {
                match publisher.publish(&mut connection).await {
                    Attempt::Acknowledged(_) => acknowledged.fetch_add(1, Ordering::SeqCst),
                    Attempt::Refused(status) => panic!("refused with {status}"),
                    Attempt::Unknown => break,
                };
            }
            publisher
        }));
    }
    tasks
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let rounds = std::env::var("STOAT_KILL_ROUNDS").map_or(10, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut publishers: Vec<_> = (0..PUBLISHERS).map(Publisher::new).collect();
    let mut checker = Checker::default();
    let mut seen: Vec<Event> = Vec::new();
    let mut moment = 7;
    for _ in 0..rounds {
        let server = start(dir.path(), &[]);
        // A different moment each time; the server is killed between two answers.
        moment = (moment * 31 + 17) % 97;
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let tasks = publish_until_gone(&server, publishers, usize::MAX, &acknowledged).await;
        eventually("so many answers", async || {
            (acknowledged.load(Ordering::SeqCst) >= moment).then_some(())
        })
        .await;
        drop(server);
        publishers = Vec::new();
        for task in tasks {
            publishers.push(task.await.unwrap());
        }

        let server = start(dir.path(), &[]);
        let after = seen.last().map_or("earliest", |event| &event.id).to_owned();
        for event in history(&server, &after).await {
            checker.saw(&event, &publishers);
            seen.push(event);
        }
    }
    let acknowledged: usize = publishers.iter().map(Publisher::acknowledged).sum();
    assert!(acknowledged > rounds, "{acknowledged} in {rounds} rounds");
    assert_eq!(checker.end(&publishers), Report::default());

    // And all of it is still what it was, for a client that replays too.
    let server = start(dir.path(), &[]);
    assert_eq!(history(&server, "earliest").await, seen);
    let mut client = Client::connect(&server, "/ws?last_event_id=earliest").await;
    assert_eq!(client.events(seen.len()).await, seen);
}

#[tokio::test]
async fn a_client_resumes_from_disk_while_others_publish_and_misses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &[]);
    let publishers: Vec<_> = (0..PUBLISHERS).map(Publisher::new).collect();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let tasks = publish_until_gone(&server, publishers, 600, &acknowledged).await;
    eventually("some events", async || {
        (acknowledged.load(Ordering::SeqCst) >= 200).then_some(())
    })
    .await;
    // All but the newest twenty are on disk only.
    let mut client = Client::connect(&server, "/ws?last_event_id=earliest").await;
    let mut other = Client::connect(&server, "/ws?last_event_id=earliest&types=checked").await;
    let mut publishers = Vec::new();
    for task in tasks {
        publishers.push(task.await.unwrap());
    }
    let count = publishers.iter().map(Publisher::acknowledged).sum();
    let mut checker = Checker::default();
    let seen = client.events(count).await;
    for event in &seen {
        checker.saw(event, &publishers);
    }
    assert_eq!(checker.end(&publishers), Report::default());
    assert_eq!(other.events(count).await, seen);
    server.publish(r#"{"type":"after_all"}"#).await;
    assert_eq!(client.event().await.event_type, "after_all");
}

#[tokio::test]
async fn a_drain_sends_what_is_on_disk_before_it_closes() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(dir.path(), &["--drain-timeout", "60s"]);
    let filler = "x".repeat(2000);
    let lines: Vec<_> = (0..500)
        .map(|n| format!(r#"{{"type":"a","payload":{{"n":{n},"filler":"{filler}"}}}}"#))
        .collect();
    for lines in lines.chunks(250) {
        let sent = Request::publish_lines(lines.join("\n")).send(&server).await;
        assert_eq!(sent.status, 201, "{}", sent.text());
    }
    let mut client = Client::connect(&server, "/ws?last_event_id=earliest&types=a").await;
    server.terminate();
    for n in 0..500 {
        assert_eq!(client.event().await.n(), n);
    }
    let (more, close) = client.closed().await;
    let after: Vec<_> = more.iter().map(|event| &*event.event_type).collect();
    assert!(after.is_empty(), "{after:?}");
    assert_eq!(close.map(|close| close.code.into()), Some(1001));
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_key_and_an_id_are_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &[]);
    let request = Request::publish(r#"{"type":"a"}"#).header("Idempotency-Key", "k");
    let first = request.send(&server).await;
    assert_eq!(first.status, 201);
    server.publish(r#"{"type":"b"}"#).await;
    drop(server);

    let server = start(dir.path(), &[]);
    let repeat = request.send(&server).await;
    assert_eq!(repeat.header("idempotency-replayed"), Some("true"));
    assert_eq!(repeat.text(), first.text());
    let id = first.json()["event_id"].as_str().unwrap().to_owned();
    let mut client = Client::connect(&server, &format!("/ws?last_event_id={id}")).await;
    assert_eq!(client.event().await.event_type, "b");
}

#[tokio::test]
async fn a_full_disk_refuses_publishers_only_and_recovers() {
    let Some(disk) = SmallDisk::mount(32) else {
        return;
    };
    let server = start(&disk.path().join("log"), &["--log-max-bytes", "1GiB"]);
    let mut live = server.client().await;
    let mut publisher = Publisher::new(0);
    let mut connection = Connection::open(server.address()).await;
    for _ in 0..100 {
        let attempt = publisher.publish(&mut connection).await;
        assert!(matches!(attempt, Attempt::Acknowledged(_)), "{attempt:?}");
    }
    disk.fill(3 << 19);
    let refused = Request::publish(r#"{"type":"a"}"#).send(&server).await;
    let problem = refused.problem(507);
    assert_eq!(problem["type"], "urn:stoat:problem:disk-full");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(
        *publisher.publish(&mut connection).await,
        Attempt::Refused(507)
    );
    let ready = Request::get("/health/ready").send(&server).await;
    assert_eq!(
        (ready.status, ready.json()["checks"]["log"].as_str()),
        (503, Some("the disk is full"))
    );

    // Replay, from disk too, goes on.
    let seen = history(&server, "earliest").await;
    assert!(seen.len() >= 100);
    let mut replay = Client::connect(&server, "/ws?last_event_id=earliest").await;
    assert_eq!(replay.events(100).await, seen[..100]);
    assert_eq!(live.events(100).await, seen[..100]);
    let status = live.event().await;
    assert_eq!(
        (&*status.event_type, &status.value()["status"]),
        ("health_status", &"degraded".into())
    );

    disk.empty();
    eventually("the disk has room", async || {
        let attempt = publisher.publish(&mut connection).await;
        matches!(attempt, Attempt::Acknowledged(_)).then_some(())
    })
    .await;
    eventually("it is ready", async || {
        let ready = Request::get("/health/ready").send(&server).await;
        (ready.status == 200).then_some(())
    })
    .await;
    let status = loop {
        let event = live.event().await;
        if event.event_type == "health_status" {
            break event;
        }
    };
    assert_eq!(status.value()["status"], "ok");
    let publishers = [publisher];
    let mut checker = Checker::default();
    for event in history(&server, "earliest").await {
        checker.saw(&event, &publishers);
    }
    assert_eq!(checker.end(&publishers), Report::default());
}

#[tokio::test]
async fn a_disk_that_is_filled_by_events_keeps_all_that_was_acknowledged() {
    let Some(disk) = SmallDisk::mount(32) else {
        return;
    };
    let dir = disk.path().join("log");
    let server = start(&dir, &[]);
    let line = format!(
        r#"{{"type":"a","payload":{{"filler":"{}"}}}}"#,
        "x".repeat(900)
    );
    let batch = Request::publish_lines(vec![line; 500].join("\n"));
    let mut acknowledged = 0;
    let refused = loop {
        let answer = batch.send(&server).await;
        if answer.status != 201 {
            break answer;
        }
        acknowledged += 500;
        assert!(acknowledged < 40_000, "more than the disk has room for");
    };
    refused.problem(507);
    assert!(acknowledged >= 5000, "{acknowledged} events on 32 MiB");
    drop(server);

    let server = start(&dir, &[]);
    let seen = history(&server, "earliest").await;
    assert_eq!(
        seen.iter().filter(|event| event.event_type == "a").count(),
        acknowledged
    );
    batch.send(&server).await.problem(507);
}

#[tokio::test]
async fn a_directory_is_for_one_server_and_must_be_writable() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &[]);
    let listen = ["serve", "--listen", "127.0.0.1:0", "--log-dir"];
    let serve = async |dir: &Path| run(&[&listen[..], &[dir.to_str().unwrap()]].concat()).await;
    let second = serve(dir.path()).await;
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(
        second.stderr.contains("in use by another process"),
        "{}",
        second.stderr
    );
    server.publish(r#"{"type":"a"}"#).await;

    let file = dir.path().join("run");
    let wrong = serve(&file).await;
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    assert!(
        wrong.stderr.contains(file.to_str().unwrap()),
        "{}",
        wrong.stderr
    );

    let Some(disk) = SmallDisk::mount(8) else {
        return;
    };
    disk.make_read_only();
    let read_only = serve(&disk.path().join("log")).await;
    assert_eq!(read_only.code, Some(2), "{}", read_only.stderr);
    assert!(
        read_only.stderr.contains("ead-only file system"),
        "{}",
        read_only.stderr
    );
}

#[tokio::test]
async fn no_answer_is_written_before_its_sync() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let calls = "trace=pwrite64,fdatasync,fsync,write,writev,sendto,sendmsg";
    let strace = ["-D", "-f", "-q", "-s", "5000", "-e", calls, "-o"];
    if !has_strace() {
        return;
    }
    let wrapper = ["strace"].iter().chain(&strace).map(|word| (*word).into());
    let wrapper = wrapper.chain([trace.clone().into_os_string(), "--".into()]);
    let log = dir.path().join("log");
    let mut server = setup(&log, &[]).under(wrapper).start();
    for n in 0..10 {
        server
            .publish(&format!(
                r#"{{"type":"traced","payload":{{"mark":"mark-{n}-"}}}}"#
            ))
            .await;
    }
    server.terminate();
    server.exit().await;
    let text = eventually("the end of the trace", async || {
        let text = std::fs::read_to_string(&trace).unwrap_or_default();
        text.contains("+++ exited with 0 +++").then_some(text)
    })
    .await;

    let lines: Vec<&str> = text.lines().collect();
    let mut from = 0;
    for n in 0..10 {
        let mark = format!("mark-{n}-");
        let next = |from: usize, what: &str, is: &dyn Fn(&str) -> bool| {
            let found = lines[from..].iter().position(|line| is(line));
            from + found.unwrap_or_else(|| panic!("no {what} of event {n} from line {from} on"))
        };
        let answer = next(from, "answer", &|line| line.contains("HTTP/1.1 201"));
        let write = next(from, "write", &|line| {
            line.contains("pwrite64") && line.contains(&mark)
        });
        // A call that another thread interrupts is shown in two lines; the second has the result.
        let sync = next(write, "sync", &|line| {
            (line.contains("fdatasync") || line.contains("fsync"))
                && line.trim_end().ends_with("= 0")
        });
        assert!(
            write < sync && sync < answer,
            "{}",
            lines[from..=answer].join("\n")
        );
        from = answer + 1;
    }
}

#[tokio::test]
async fn a_sync_that_fails_acknowledges_nothing_more_until_a_restart() {
    if !has_strace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // From the fortieth on, each sync of the disk fails.
    let inject = "inject=fdatasync:error=EIO:when=40+";
    let strace = ["strace", "-D", "-f", "-q", "-o", "/dev/null"];
    let calls = ["-e", "trace=fdatasync", "-e", inject, "--"];
    let server = setup(dir.path(), &[])
        .under(strace.iter().chain(&calls))
        .start();
    let mut publisher = Publisher::new(0);
    let mut connection = Connection::open(server.address()).await;
    while let Attempt::Acknowledged(_) = publisher.publish(&mut connection).await {
        assert!(publisher.acknowledged() < 40);
    }
    let acknowledged = publisher.acknowledged();
    assert!(acknowledged > 0);
    let refused = Request::publish(r#"{"type":"a"}"#).send(&server).await;
    refused.problem(503);
    assert!(refused.header("retry-after").is_some());
    let ready = Request::get("/health/ready").send(&server).await;
    assert_eq!(
        (ready.status, ready.json()["checks"]["log"].as_str()),
        (503, Some("failed until a restart"))
    );
    // What is in memory is served still.
    let mut client = Client::connect(&server, "/ws?last_event_id=earliest").await;
    let newest = client.events(acknowledged.min(20)).await.pop();
    assert_eq!(newest.map(|event| event.n() + 1), Some(acknowledged as u64));
    drop(server);

    let server = start(dir.path(), &[]);
    let seen = history(&server, "earliest").await;
    // The one that failed may be there: its publisher was not told that it is not.
    assert!((acknowledged..=acknowledged + 1).contains(&seen.len()));
    for (n, event) in (0u64..).zip(&seen) {
        assert_eq!(event.n(), n);
    }
    let last = seen.last().map(|event| event.id.clone());
    server.publish(r#"{"type":"after_all"}"#).await;
    let last = last.unwrap_or_default();
    assert_eq!(history(&server, &last).await.len(), 1);
}

fn has_strace() -> bool {
    let mut command = std::process::Command::new("strace");
    let works = command.args(["-o", "/dev/null", "true"]).status();
    let works = works.is_ok_and(|status| status.success());
    if !works {
        eprintln!("skipped: strace does not work here");
    }
    works
}
