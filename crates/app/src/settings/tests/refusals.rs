//! Tests of what is refused, and of what the refusal says.

use super::super::table::table;
use super::*;

#[test]
fn a_bad_value_names_key_source_and_value() {
    // One per kind, and the edges of the ranges.
    for (key, value) in [
        ("listen", "example.com:80"),
        ("listen", "localhost:+80"),
        ("listen", "127.0.0.1"),
        ("ws_heartbeat_interval", "-1s"),
        ("ws_ping_interval", "0"),
        ("ws_pong_timeout", "NaN"),
        ("ws_write_timeout", "99999999999999999999d"),
        ("drain_timeout", "2h"),
        ("max_event", "64K"),
        ("max_body", "-5"),
        ("max_body", "2GiB"),
        ("max_client_buffer", "1KiB"),
        ("max_connections", "0"),
        ("max_connections", "1.5"),
        ("max_connections", "+5"),
        ("max_connections_per_ip", "99999999999"),
        ("allowed_origins", "https://ok.example,https://*.example"),
        ("allow_anonymous", "yes please"),
        ("otlp_sample_ratio", "1.01"),
        ("otlp_sample_ratio", "NaN"),
        ("log_format", "xml"),
        ("log_level", "debgu"),
        ("log_level", "info,stoat=loud"),
        ("log_level", ""),
    ] {
        let definition = table()
            .into_iter()
            .find(|definition| definition.key == key)
            .unwrap();
        let (flag, variable) = (format!("--{}", definition.flag()), definition.variable());
        let toml = format!("{key} = {}", toml::Value::String(value.to_owned()));
        for (text, source) in [
            (
                message(load(Flags::new().with(key, value), &[], None)),
                format!("flag {flag}"),
            ),
            (
                message(load(Flags::new(), &[(&variable, value)], None)),
                format!("environment variable {variable}"),
            ),
            (message(load_file(&toml)), format!("file {PATH}")),
        ] {
            assert!(
                text.starts_with(&format!("bad value for {key}: ")),
                "{text}"
            );
            assert!(text.contains(&format!("({source}); expected ")), "{text}");
            assert!(text.contains(value), "{text}");
        }
    }
}

#[test]
fn a_bad_value_of_the_wrong_type_is_refused() {
    for text in [
        "listen = 8765",
        "ws_ping_interval = nan",
        "ws_ping_interval = inf",
        "ws_ping_interval = -1",
        "ws_ping_interval = -0.5",
        "ws_ping_interval = 1e300",
        "ws_ping_interval = true",
        "ws_ping_interval = 2020-01-01",
        "max_event = -1",
        "max_event = 1e5",
        "max_event = 9223372036854775807",
        "max_connections = 10.0",
        "max_connections = []",
        "allowed_origins = 'https://a.example'",
        "allowed_origins = [1]",
        "allow_anonymous = 'true'",
        "allow_anonymous = 1",
        "tls_cert = 1",
        "log_format = 1",
        "log_level = {}",
    ] {
        let error = load_file(text).unwrap_err();
        assert_eq!(error.key(), text.split(' ').next());
        assert!(error.to_string().contains(PATH), "{error}");
    }
}

#[test]
fn a_bad_value_is_refused_even_where_it_is_hidden() {
    let flags = Flags::new().with("max_connections", "3");
    assert!(
        message(load(flags, &[], Some("max_connections = 'many'")))
            .contains("\"many\" (file /etc/stoat.toml)")
    );
}

#[test]
fn a_shown_value_is_cut_and_escaped() {
    let text = message(load(
        Flags::new().with("listen", "\u{1b}[31m\n".repeat(100)),
        &[],
        None,
    ));
    assert!(text.contains("\\u{1b}[31m\\n"), "{text}");
    assert!(text.contains('…'), "{text}");
    message(load_file("'\u{2028}a b' = 1"));
    message(load(
        Flags::new(),
        &[("STOAT_LISTEN", "\r\nstoat: fine")],
        None,
    ));
}

#[test]
fn an_unknown_key_is_an_error_with_a_hint() {
    let error = load_file("lisen = '127.0.0.1:1'").unwrap_err();
    assert!(error.is_unknown_key());
    assert_eq!(error.key(), Some("lisen"));
    assert_eq!(
        error.to_string(),
        "unknown key lisen (file /etc/stoat.toml); did you mean listen?"
    );
    assert_eq!(
        load_file("[colour]\na = 1").unwrap_err().to_string(),
        "unknown key colour (file /etc/stoat.toml)"
    );
    assert!(
        load(Flags::new().with("max_bodi", "1"), &[], None)
            .unwrap_err()
            .is_unknown_key()
    );
    message(load_file(&format!("{} = 1", "k".repeat(10_000))));
}

#[test]
fn bounds_of_a_log_that_is_not_there_are_pointed_out() {
    let warnings = |text| load_file(text).unwrap().warnings;
    assert_eq!(warnings("log_max_bytes = '1MiB'").len(), 1);
    assert!(warnings("log_max_bytes = '1MiB'")[0].contains("log_dir"));
    assert!(warnings("log_max_bytes = '1MiB'\nlog_dir = '/srv/log'").is_empty());
    assert!(message(load_file("log_dir = 7")).contains("log_dir"));
}

#[test]
fn the_clustered_log_excludes_the_one_on_disk_and_keeps_its_secrets() {
    let text = "nats_url = 'nats://me:hunter2@a:4222'";
    let loaded = load_file(text).unwrap();
    assert!(loaded.warnings.is_empty());
    let shown = format!("{} {:?}", loaded.to_toml(), loaded.settings);
    assert!(shown.contains("nats://me:********@a:4222"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");

    let both = load_file(&format!("{text}\nlog_dir = '/srv/log'")).unwrap_err();
    assert!(both.is_conflict(), "{both}");
    assert!(!both.to_string().contains("hunter2"), "{both}");
    let bad = load_file("nats_url = 'http://me:hunter2@a'").unwrap_err();
    assert_eq!(bad.key(), Some("nats_url"));
    assert!(!bad.to_string().contains("hunter2"), "{bad}");

    for bad in [
        "nats_stream = 'a.b'",
        "nats_subject = 'a..b'",
        "nats_subject = 'a.>'",
        "nats_storage = 'tape'",
        "nats_replicas = 6",
        "nats_timeout = '1ms'",
    ] {
        message(load_file(bad));
    }
    let half = load_file(&format!("{text}\nnats_tls_key = '/a'")).unwrap_err();
    assert!(half.to_string().contains("nats_tls_cert"), "{half}");

    let warnings = load_file("nats_replicas = 3").unwrap().warnings;
    assert!(warnings[0].contains("nats_url"), "{warnings:?}");
    let warnings = load_file(&format!("{text}\nlog_max_bytes = '1MiB'"))
        .unwrap()
        .warnings;
    assert!(warnings[0].contains("nats_"), "{warnings:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_not_quoted() {
    let flags = || Flags::new().with_config("/no/such\n");
    let error = Settings::load(&flags(), [], |_| Err("no such file".to_owned())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the file /no/such\\n (--config): no such file"
    );
    let broken = "listen = '127.0.0.1:1'\ntokens = hunter2\n";
    let text = message(load_file(broken));
    assert!(
        text.contains("/etc/stoat.toml (--config) is not valid TOML: line 2:"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
    message(load_file("listen = 1\nlisten = 2"));
}

#[test]
fn an_open_address_needs_consent() {
    for address in [
        "0.0.0.0:8765",
        "[::]:8765",
        "192.0.2.1:80",
        "[::ffff:192.0.2.1]:80",
    ] {
        let flags = Flags::new().with("listen", address);
        let error = load(flags.clone(), &[], None).unwrap_err();
        assert!(error.is_conflict());
        let text = error.to_string();
        assert!(
            text.contains(address)
                && text.contains("flag --listen")
                && text.contains("--allow-anonymous"),
            "{text}"
        );
        assert!(load(flags.clone(), &[("STOAT_ALLOW_ANONYMOUS", "0")], None).is_err());
        assert!(
            load(flags, &[("STOAT_ALLOW_ANONYMOUS", "1")], None)
                .unwrap()
                .settings
                .allow_anonymous
        );
    }
    assert!(
        load(
            Flags::new().with("listen", "[::ffff:127.0.0.1]:80"),
            &[],
            None
        )
        .is_ok()
    );
}

#[test]
fn what_hardly_goes_together_is_a_warning_that_names_both_sides() {
    let loaded = load(Flags::new().with("ws_ping_interval", "60"), &[], None).unwrap();
    assert_eq!(
        loaded.warnings,
        [
            "ws_pong_timeout = 1m (default) should be more than ws_ping_interval = 1m (flag --ws-ping-interval): \
             idle clients are dropped before a ping can show that they are alive"
        ]
    );
    let loaded = load(Flags::new(), &[("STOAT_MAX_BODY", "1KiB")], None).unwrap();
    assert_eq!(
        loaded.warnings,
        [
            "max_event = 64KiB (default) should not be more than max_body = 1KiB \
             (environment variable STOAT_MAX_BODY): larger events than that cannot be published over HTTP"
        ]
    );
    let both = &[("STOAT_MAX_BODY", "1KiB"), ("STOAT_WS_PONG_TIMEOUT", "1s")];
    assert_eq!(load(Flags::new(), both, None).unwrap().warnings.len(), 2);
    assert!(load_file("max_event = '1MiB'").unwrap().warnings.is_empty());
}

#[test]
fn a_password_in_the_address_of_the_receiver_is_not_quoted() {
    for (endpoint, why) in [
        ("127.0.0.1:4318", "an address such as"),
        ("http://127.0.0.1:4318/v1/traces", "without /v1/traces"),
        ("http://me:hunter2@a:4318", "no user name"),
    ] {
        let text = message(load_file(&format!("otlp_endpoint = '{endpoint}'")));
        assert!(text.starts_with("bad value for otlp_endpoint ("), "{text}");
        assert!(text.contains(why) && !text.contains("hunter2"), "{text}");
    }
}
