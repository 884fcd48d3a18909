//! The command line's conveniences: a state file, colours, progress, `bench`, completions and manual pages.
#![allow(clippy::unwrap_used, reason = "a test")]

use serde_json::json;
use stoat_tests::{Event, Request, Running, Server, run, run_with};

async fn publish(server: &Server, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let body = json!({"type": "a", "payload": {"n": n, "text": "ü"}});
        server.publish(&body.to_string()).await;
    }
}

fn numbers(stdout: &str) -> Vec<u64> {
    stdout.lines().map(|line| Event::parse(line).n()).collect()
}

#[tokio::test]
async fn tail_goes_on_from_its_state_file() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("position");
    let (url, file_text) = (server.url(), file.to_str().unwrap());
    publish(&server, 0..5).await;

    let args = ["tail", &url, "--since", "earliest", "--state", file_text];
    let first = run(&[&args[..], &["--count", "2"]].concat()).await;
    assert_eq!(first.code, Some(0), "{first:?}");
    assert_eq!(numbers(&first.stdout), [0, 1]);
    let kept = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        kept.trim_end(),
        Event::parse(first.stdout.lines().last().unwrap()).id
    );

    let mut second = Running::start(&args);
    for n in 2..5 {
        assert_eq!(Event::parse(&second.line().await).n(), n);
    }
    drop(second);
    publish(&server, 5..6).await;
    let third = run(&[&args[..], &["--count", "1"]].concat()).await;
    // What was printed last may be printed again, but nothing is left out.
    let n = numbers(&third.stdout)[0];
    assert!((2..=5).contains(&n), "{third:?}");

    std::fs::write(&file, "no event ID\n").unwrap();
    let broken = run(&args).await;
    assert_eq!(broken.code, Some(1), "{broken:?}");
    assert!(
        broken.stderr.contains(file_text) && broken.stderr.contains("delete"),
        "{broken:?}"
    );
    let nowhere = folder.path().join("no/such/folder");
    let args = ["tail", &url, "--state", nowhere.to_str().unwrap()];
    let unwritable = run(&args).await;
    assert_eq!(unwritable.code, Some(1), "{unwritable:?}");
    assert!(unwritable.stderr.contains("--state"), "{unwritable:?}");
}

#[tokio::test]
async fn colours_are_for_terminals_and_for_who_asks() {
    let server = Server::start(&[]);
    publish(&server, 0..1).await;
    let url = server.url();
    let args = ["tail", &url, "--since", "earliest", "--count", "1"];

    let plain = run(&args).await.stdout;
    let painted = run(&[&args[..], &["--color", "always"]].concat())
        .await
        .stdout;

    assert_eq!(numbers(&plain), [0]);
    assert!(painted.contains("\u{1b}["), "{painted:?}");
    let mut stripped = String::new();
    for (index, part) in painted.split("\u{1b}[").enumerate() {
        let text = if index == 0 {
            part
        } else {
            part.split_once('m').unwrap().1
        };
        stripped.push_str(text);
    }
    assert_eq!(stripped, plain);
}

#[tokio::test]
async fn publish_shows_how_far_it_is() {
    let server = Server::start(&[]);
    let url = server.url();
    let lines = "{\"type\":\"a\"}\n".repeat(1200);

    let shown = run_with(&["publish", "-", "--url", &url, "--progress"], &[], &lines).await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(
        shown.stderr.contains("1200 events were acknowledged"),
        "{}",
        shown.stderr
    );
    assert!(shown.stderr.ends_with('\n'));
    let quiet = run_with(&["publish", "-", "--url", &url], &[], &lines).await;
    assert_eq!(quiet.stderr, "");
}

#[tokio::test]
async fn bench_measures_a_running_server() {
    let server = Server::start(&[]);
    let url = server.url();

    let args = [
        "bench",
        &url,
        "--clients",
        "3",
        "--rate",
        "50",
        "--secs",
        "1",
        "--progress",
    ];
    let output = run(&args).await;

    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output
            .stdout
            .contains("delivered     150 of 150 to 3 clients"),
        "{output:?}"
    );
    for word in [
        "published     50 events",
        "acknowledged  p50",
        "latency       p50",
        "#",
    ] {
        assert!(output.stdout.contains(word), "{word} in {output:?}");
    }
    assert!(output.stderr.contains("published 50 of 50"), "{output:?}");
    let page = Request::get("/api/v1/events?types=stoat.bench")
        .send(&server)
        .await;
    assert_eq!(page.json()["events"].as_array().unwrap().len(), 50);

    let nobody = run(&["bench", "http://127.0.0.1:1"]).await;
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(nobody.stderr.contains("stoat serve"), "{nobody:?}");
    let bad = run(&["bench", "--rate", "0"]).await;
    assert_eq!(bad.code, Some(2), "{bad:?}");
    assert!(bad.stderr.contains("--rate"), "{bad:?}");
}

#[tokio::test]
async fn bench_says_what_a_refusal_means() {
    let server = Server::start(&["--max-connections", "1"]);
    let refused = run(&["bench", &server.url(), "--clients", "2"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("--clients"), "{refused:?}");
}

#[tokio::test]
async fn completions_and_manual_pages_are_made_of_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]).await;
        assert_eq!(output.code, Some(0), "{output:?}");
        for word in ["check-config", "ws-ping-interval", "state"] {
            assert!(output.stdout.contains(word), "{shell}: {word}");
        }
    }
    for (args, title) in [
        (&["man"][..], ".TH stoat 1"),
        (&["man", "tail"], ".TH stoat-tail 1"),
    ] {
        let page = run(args).await;
        assert_eq!(page.code, Some(0), "{page:?}");
        assert!(page.stdout.contains(title), "{args:?}: {page:?}");
    }
    let page = run(&["man", "tail"]).await.stdout;
    assert!(page.contains("state") && page.contains("FILE"), "{page}");
    for (args, named) in [
        (["man", "nonsense"], "nonsense"),
        (["completions", "cmd"], "bash"),
    ] {
        let output = run(&args).await;
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains(named), "{output:?}");
    }
}
