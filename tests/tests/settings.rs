//! Settings: flags over environment over file over defaults, and errors that name what is wrong.
#![allow(clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use stoat_tests::{Output, Request, Setup, run, run_with};
use tempfile::TempDir;

fn file(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("stoat.toml");
    fs::write(&path, text).expect("a file");
    (folder, path)
}

async fn check_file(text: &str) -> Output {
    let (_folder, path) = file(text);
    run(&["check-config", "--config", path.to_str().expect("text")]).await
}

/// Key and value of each line like `key = value # source`.
fn effective(output: &Output) -> BTreeMap<String, String> {
    assert_eq!(output.code, Some(0), "{output:?}");
    let lines = output.stdout.lines().filter_map(|line| {
        let (key, value) = line.split_once(" = ")?;
        let value = value.split(" # ").next()?.trim();
        Some((key.to_owned(), value.to_owned()))
    });
    lines.collect()
}

#[tokio::test]
async fn the_effective_settings_are_shown_with_all_keys() {
    let output = run(&["check-config"]).await;
    let settings = effective(&output);

    for key in [
        "listen",
        "ws_heartbeat_interval",
        "ws_ping_interval",
        "ws_pong_timeout",
        "ws_write_timeout",
        "max_client_buffer",
        "ws_replay_buffer_size",
        "ws_replay_buffer_bytes",
        "ws_replay_ttl_seconds",
        "max_event",
        "max_body",
        "max_client_message",
        "max_connections",
        "max_connections_per_ip",
        "handshake_timeout",
        "body_timeout",
        "drain_timeout",
        "idempotency_ttl",
        "schemas_dir",
        "allowed_origins",
        "trusted_proxies",
        "publish_rate",
        "tokens",
        "jwt",
        "otlp_endpoint",
        "otlp_sample_ratio",
        "log_format",
        "log_level",
    ] {
        assert!(settings.contains_key(key), "{key} in {}", output.stdout);
    }
    assert_eq!(settings["listen"], "\"127.0.0.1:8765\"");
    assert_eq!(settings["ws_replay_buffer_size"], "10000");
    assert_eq!(settings["max_connections"], "100000");
}

#[tokio::test]
async fn flags_win_over_the_environment_and_that_over_the_file() {
    let (_folder, path) =
        file("max_connections = 1\nws_replay_buffer_size = 1\nmax_connections_per_ip = 1\n");
    let path = path.to_str().expect("text");
    let args = ["check-config", "--config", path, "--max-connections", "3"];
    let env = [
        ("STOAT_MAX_CONNECTIONS", "2"),
        ("STOAT_WS_REPLAY_BUFFER_SIZE", "2"),
    ];

    let settings = effective(&run_with(&args, &env, "").await);

    assert_eq!(settings["max_connections"], "3");
    assert_eq!(settings["ws_replay_buffer_size"], "2");
    assert_eq!(settings["max_connections_per_ip"], "1");
    assert_eq!(
        settings["max_event"],
        effective(&run(&["check-config"]).await)["max_event"]
    );
}

#[tokio::test]
async fn what_is_shown_can_be_read_back() {
    let shown = run(&[
        "check-config",
        "--max-event",
        "10KiB",
        "--ws-ping-interval",
        "1500ms",
    ])
    .await;

    let again = check_file(&shown.stdout).await;

    assert_eq!(effective(&again), effective(&shown));
}

#[tokio::test]
async fn durations_and_sizes_have_units() {
    let same = [
        ("ws_ping_interval = 2", "ws_ping_interval = \"2000ms\""),
        ("ws_pong_timeout = 120", "ws_pong_timeout = \"2m\""),
        ("ws_write_timeout = 1.5", "ws_write_timeout = \"1500ms\""),
        ("max_event = 2048", "max_event = \"2KiB\""),
        ("max_body = 3145728", "max_body = \"3MiB\""),
    ];

    for (number, text) in same {
        let number = effective(&check_file(number).await);
        let text = effective(&check_file(text).await);
        assert_eq!(number, text);
        assert_ne!(number, effective(&run(&["check-config"]).await));
    }
}

#[tokio::test]
async fn what_is_wrong_in_the_file_is_named() {
    for (text, named) in [
        ("no_such_key = 1", "no_such_key"),
        ("ws_ping_intervall = 1", "ws_ping_intervall"),
        ("max_event = \"much\"", "max_event"),
        ("max_event = -1", "max_event"),
        ("ws_ping_interval = true", "ws_ping_interval"),
        ("listen = \"nowhere\"", "listen"),
        ("allowed_origins = [\"not an origin\"]", "allowed_origins"),
        ("log_format = \"xml\"", "log_format"),
        ("otlp_endpoint = \"127.0.0.1:4318\"", "otlp_endpoint"),
        ("otlp_sample_ratio = 1.5", "otlp_sample_ratio"),
        ("max_connections = 1\nmax_connections = 2", "line 2"),
        (
            "[[tokens]]\nname = \"a\"\ntoken = \"short\"\nrights = [\"publish\"]",
            "token",
        ),
    ] {
        let output = check_file(text).await;
        assert_eq!(output.code, Some(2), "{text}: {output:?}");
        assert!(output.stderr.contains(named), "{named} in {output:?}");
        assert!(!output.stderr.contains("short\""), "a secret in {output:?}");

        let (_folder, path) = file(text);
        let served = run(&["serve", "--config", path.to_str().expect("text")]).await;
        assert_eq!(served.code, Some(2), "{text}: {served:?}");
        assert!(served.stderr.contains(named), "{named} in {served:?}");
    }
    let missing = run(&["--config", "/no/such/file.toml"]).await;
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert!(missing.stderr.contains("/no/such/file.toml"), "{missing:?}");
}

#[tokio::test]
async fn a_secret_is_never_shown() {
    for token in [
        "very-secret-0123456789",
        "very-secret",
        "very-secret ü 0123456789",
    ] {
        for rights in ["[\"publish\"]", "7"] {
            let text =
                format!("[[tokens]]\nname = \"ci\"\ntoken = \"{token}\"\nrights = {rights}\n");
            let output = check_file(&text).await;
            assert!(matches!(output.code, Some(0 | 2)), "{output:?}");
            let all = format!("{}{}", output.stdout, output.stderr);
            assert!(all.contains("tokens"), "{output:?}");
            assert!(!all.contains("very-secret"), "{output:?}");
        }
    }
}

#[tokio::test]
async fn an_unknown_variable_is_a_warning_and_a_bad_one_an_error() {
    let unknown = run_with(&["check-config"], &[("STOAT_LISTEM", "x")], "").await;
    assert_eq!(unknown.code, Some(0), "{unknown:?}");
    assert!(unknown.stderr.contains("STOAT_LISTEM"), "{unknown:?}");

    let bad = run_with(&["check-config"], &[("STOAT_MAX_EVENT", "x")], "").await;
    assert_eq!(bad.code, Some(2), "{bad:?}");
    assert!(bad.stderr.contains("STOAT_MAX_EVENT"), "{bad:?}");
}

#[tokio::test]
async fn the_server_obeys_file_environment_and_flags() {
    let (_folder, path) = file("max_event = \"1KiB\"\nmax_body = \"8KiB\"\n");
    let server = Setup::default()
        .args(["--config", path.to_str().expect("text")])
        .env("STOAT_WS_REPLAY_BUFFER_SIZE", "2")
        .start();
    let long = format!(r#"{{"type":"a","payload":{{"x":"{}"}}}}"#, "x".repeat(2000));

    Request::publish(long).send(&server).await.problem(413);
    for _ in 0..5 {
        server.publish(r#"{"type":"a"}"#).await;
    }
    let history = Request::get("/api/v1/events").send(&server).await.json();
    assert_eq!(history["events"].as_array().map(Vec::len), Some(2));
}
