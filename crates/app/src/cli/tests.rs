//! Tests of the command line.

use super::*;
use crate::settings::Settings;

fn parse_line(line: &[&str]) -> Result<Command, Stop> {
    parse_with(line, &[])
}

fn parse_with(line: &[&str], environment: &[(&str, &str)]) -> Result<Command, Stop> {
    let environment: Vec<(String, String)> = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    parse(
        std::iter::once("stoat")
            .chain(line.iter().copied())
            .map(OsString::from),
        &environment,
    )
}

fn usage(line: &[&str]) -> String {
    match parse_line(line) {
        Err(Stop::Usage(text)) => {
            assert!(!text.contains(char::is_control), "{text:?}");
            text
        }
        other => panic!("{other:?}"),
    }
}

fn settings(line: &[&str]) -> Settings {
    match parse_line(line).unwrap() {
        Command::Serve(flags) | Command::CheckConfig(flags) => {
            Settings::load(&flags, [], |_| Err("none".to_owned()))
                .unwrap()
                .settings
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn settings_go_before_and_behind_the_command() {
    assert_eq!(parse_line(&[]), Ok(Command::Serve(Flags::new())));
    assert_eq!(parse_line(&["serve"]), Ok(Command::Serve(Flags::new())));
    assert_eq!(
        parse_line(&["check-config"]),
        Ok(Command::CheckConfig(Flags::new()))
    );
    let flags = Flags::new()
        .with("listen", "127.0.0.1:0")
        .with_config("x.toml");
    let serve = Ok(Command::Serve(flags));
    assert_eq!(
        parse_line(&["--listen", "127.0.0.1:0", "--config=x.toml"]),
        serve
    );
    assert_eq!(
        parse_line(&["serve", "--config", "x.toml", "--listen=127.0.0.1:0"]),
        serve
    );
    assert_eq!(
        parse_line(&["--listen=127.0.0.1:0", "serve", "--config=x.toml"]),
        serve
    );
    assert!(usage(&["--listen=a:1", "serve", "--listen=b:1"]).contains("--listen is given twice"));
    assert!(usage(&["--config=a", "serve", "--config=b"]).contains("--config is given twice"));
    assert!(usage(&["--listen=a:1", "--listen=b:1"]).contains("cannot be used multiple times"));
    assert!(usage(&["--listen=a:1", "tail"]).contains("no meaning"));
    usage(&["tail", "--listen=a:1"]);
}

#[test]
fn lists_repeat_and_switches_stand_alone() {
    let origins = |line: &[&str]| settings(line).allowed_origins.len();
    assert_eq!(
        origins(&[
            "--allowed-origins",
            "http://a,http://b",
            "--allowed-origins=http://c"
        ]),
        3
    );
    assert_eq!(
        origins(&[
            "--allowed-origins=http://a",
            "serve",
            "--allowed-origins=http://c"
        ]),
        2
    );
    assert!(settings(&["--allow-anonymous"]).allow_anonymous);
    assert!(settings(&["--allow-anonymous", "serve"]).allow_anonymous);
    assert!(settings(&["--allow-anonymous=true"]).allow_anonymous);
    assert!(!settings(&["--allow-anonymous=false"]).allow_anonymous);
}

#[test]
fn a_negative_number_reaches_the_settings() {
    let Ok(Command::Serve(flags)) = parse_line(&["--max-event", "-1"]) else {
        panic!()
    };
    let error = Settings::load(&flags, [], |_| Err(String::new())).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("max_event: \"-1\" (flag --max-event)"),
        "{error}"
    );
}

#[test]
fn a_token_is_taken_from_the_flag_or_the_environment_and_never_shown() {
    let environment = [("STOAT_TOKEN", "from-environment")];
    for (line, environment, expected) in [
        (
            &["tail"][..],
            &environment[..],
            Some("Bearer from-environment"),
        ),
        (&["tail", "--token", "x"], &environment, Some("Bearer x")),
        (&["publish", "a", "--token=x"], &[], Some("Bearer x")),
        (&["publish", "a"], &[], None),
    ] {
        let command = parse_with(line, environment).unwrap();
        let url = match &command {
            Command::Tail(tail) => &tail.url,
            Command::Publish(publish) => &publish.url,
            other => panic!("{other:?}"),
        };
        assert_eq!(url.authorization().as_deref(), expected);
        let shown = format!("{command:?} {url}");
        assert!(!shown.contains("from-environment"), "{shown}");
    }
    for bad in ["", "hunter2 x", "hunter2\n", "hunter2ü"] {
        let text = usage(&["tail", "--token", bad]);
        assert!(
            text.contains("--token") && !text.contains("hunter2"),
            "{text}"
        );
    }
}

#[test]
fn bad_usage_is_one_line() {
    assert_eq!(
        usage(&["--lisen", "x"]),
        "unexpected argument '--lisen' found; tip: a similar argument exists: '--listen'; see stoat --help"
    );
    assert!(usage(&["publish"]).contains("<TYPE>"));
    usage(&["frobnicate\u{1b}[31m"]);
    for line in [
        &["--token=hunter2"][..],
        &["--tokens", "hunter2", "--tokens", "hunter2"],
        &["tail", "--tokens=hunter2"],
    ] {
        assert!(!usage(line).contains("hunter2"), "{line:?}");
    }
    usage(&["--listen"]);
    usage(&["tail", "--count", "0"]);
    usage(&["tail", "--count", "-1"]);
}

#[test]
fn help_and_version_are_everywhere() {
    for line in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["serve", "--help"],
        &["tail", "--help"],
        &["publish", "--help"],
        &["delivery", "--help"],
        &["check-config", "--help"],
        &["--version"],
    ] {
        assert!(matches!(parse_line(line), Err(Stop::Text(_))), "{line:?}");
    }
    let Err(Stop::Text(help)) = parse_line(&["--help"]) else {
        panic!()
    };
    assert!(
        help.contains("--ws-ping-interval <DURATION>") && help.contains("[default: 30s]"),
        "{help}"
    );
    assert!(help.contains("--nats-url <URL,...>"), "{help}");
    args::command().debug_assert();
}

#[test]
fn tail_takes_filters() {
    let Ok(Command::Tail(tail)) = parse_line(&["tail"]) else {
        panic!()
    };
    assert_eq!(tail.url.to_string(), "http://127.0.0.1:8765");
    assert_eq!(
        (&tail.types, &tail.topics, &tail.since, tail.count),
        (&None, &None, &None, None)
    );
    let line = [
        "tail",
        "ws://h:1/ws",
        "--types",
        "a,b",
        "--topics",
        "x, y.*",
        "--since",
        "earliest",
        "--count",
        "3",
    ];
    let Ok(Command::Tail(tail)) = parse_line(&line) else {
        panic!()
    };
    assert_eq!(tail.url.to_string(), "http://h:1");
    assert_eq!(tail.types, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(tail.topics, Some(vec!["x".to_owned(), "y.*".to_owned()]));
    assert_eq!(tail.since, Some(Since::Earliest));
    assert_eq!(tail.count, NonZeroU64::new(3));
    let Ok(Command::Tail(tail)) = parse_line(&["tail", "--since=e-7"]) else {
        panic!()
    };
    assert_eq!(tail.since.as_ref().map(Since::as_str), Some("e-7"));
    usage(&["tail", "--since", ""]);
    usage(&["tail", "--types", "a,,b"]);
    usage(&["tail", "--topics", "a b"]);
    assert!(usage(&["tail", "ftp://h"]).contains("expected an address such as"));
}

#[test]
fn publish_takes_an_event_or_standard_input() {
    let line = [
        "publish",
        "scan_started",
        r#"{"a":1e400,"a":"ä"}"#,
        "--topic",
        "t.x",
        "--correlation-id",
        "c",
        "--idempotency-key",
        "k",
    ];
    let Ok(Command::Publish(publish)) = parse_with(&line, &[("STOAT_URL", "http://env:1")]) else {
        panic!()
    };
    assert_eq!(publish.url.to_string(), "http://env:1");
    assert_eq!(publish.idempotency_key.as_deref(), Some("k"));
    let event = Input::Event {
        event_type: "scan_started".to_owned(),
        payload: Some(r#"{"a":1e400,"a":"ä"}"#.to_owned()),
        topic: Some("t.x".to_owned()),
        correlation_id: Some("c".to_owned()),
    };
    assert_eq!(publish.input, event);
    let Ok(Command::Publish(publish)) =
        parse_with(&["publish", "-", "--url=http://a"], &[("STOAT_URL", "x")])
    else {
        panic!()
    };
    assert_eq!((publish.input, publish.url.host()), (Input::Stdin, "a"));
    for bad in [
        &["publish", "a", "[1]"][..],
        &["publish", "a", "{"],
        &["publish", "a", "{} {}"],
        &["publish", ""],
        &["publish", "-", "{}"],
        &["publish", "-", "--topic=a"],
        &["publish", "a", "--correlation-id=a b"],
        &["publish", "a", "--idempotency-key="],
    ] {
        usage(bad);
    }
    let error = parse_with(&["publish", "a"], &[("STOAT_URL", "nonsense")]);
    assert!(matches!(error, Err(Stop::Usage(text)) if text.starts_with("bad value for STOAT_URL")));
}

#[test]
fn delivery_takes_an_event() {
    let id = "000000000000feed-7";
    let line = ["delivery", id, "--url", "http://a:1", "--token", "x"];
    let Ok(Command::Delivery(delivery)) = parse_line(&line) else {
        panic!()
    };
    assert_eq!(delivery.event.to_string(), id);
    assert_eq!(delivery.url.to_string(), "http://a:1");
    assert_eq!(delivery.url.authorization().as_deref(), Some("Bearer x"));
    assert!(usage(&["delivery"]).contains("<ID>"));
    assert!(usage(&["delivery", "7"]).contains("bad value for ID: \"7\""));
}
