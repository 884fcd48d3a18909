//! Tests of the settings as a whole.

mod access;
mod reference;
mod refusals;

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::table::table;
use super::*;

const PATH: &str = "/etc/stoat.toml";

fn load(
    flags: Flags,
    environment: &[(&str, &str)],
    file: Option<&str>,
) -> Result<Loaded, SettingsError> {
    let flags = if file.is_some() {
        flags.with_config(PATH)
    } else {
        flags
    };
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::load(&flags, environment, |path| {
        assert_eq!(path, Path::new(PATH));
        file.map(str::to_owned)
            .ok_or_else(|| "no such file".to_owned())
    })
}

fn load_file(text: &str) -> Result<Loaded, SettingsError> {
    load(Flags::new(), &[], Some(text))
}

fn message(result: Result<Loaded, SettingsError>) -> String {
    let message = result.expect_err("must be refused").to_string();
    assert!(!message.contains(char::is_control), "{message:?}");
    assert!(message.len() < 600, "{message}");
    message
}

fn line<'a>(loaded: &'a Loaded, key: &str) -> &'a Line {
    loaded
        .lines
        .iter()
        .find(|line| line.key == key)
        .expect("a setting")
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let loaded = load(Flags::new(), &[], None).unwrap();
    let settings = loaded.settings;
    assert!(loaded.warnings.is_empty());
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8765");
    assert_eq!(
        settings.ws_heartbeat_interval,
        Some(Duration::from_secs(30))
    );
    assert_eq!(settings.ws_ping_interval, Duration::from_secs(30));
    assert_eq!(settings.ws_pong_timeout, Duration::from_secs(60));
    assert_eq!(settings.ws_write_timeout, Duration::from_secs(60));
    assert_eq!(settings.max_client_buffer, 65_536);
    assert_eq!(settings.ws_replay_buffer_size, 10_000);
    assert_eq!(settings.ws_replay_buffer_bytes, 67_108_864);
    assert_eq!(
        settings.ws_replay_ttl_seconds,
        Some(Duration::from_secs(300))
    );
    assert_eq!(settings.max_event, 65_536);
    assert_eq!(settings.max_body, 1_048_576);
    assert_eq!(settings.max_client_message, 16_384);
    assert_eq!(settings.max_connections, 100_000);
    assert_eq!(settings.max_connections_per_ip, None);
    assert_eq!(settings.handshake_timeout, Duration::from_secs(10));
    assert_eq!(settings.body_timeout, Duration::from_secs(30));
    assert_eq!(settings.drain_timeout, Duration::from_secs(10));
    assert_eq!(settings.idempotency_ttl, Duration::from_secs(600));
    assert_eq!(settings.log_dir, None);
    assert_eq!(settings.log_max_events, None);
    assert_eq!(settings.log_max_bytes, 1 << 30);
    assert_eq!(
        settings.log_ttl_seconds,
        Some(Duration::from_secs(7 * 24 * 3600))
    );
    assert!(settings.allowed_origins.is_empty());
    assert_eq!((settings.tls_cert, settings.tls_key), (None, None));
    assert!(!settings.allow_anonymous);
    assert_eq!(settings.otlp_endpoint, None);
    assert_eq!(settings.otlp_sample_ratio, 1.0);
    assert_eq!(settings.log_format, LogFormat::Auto);
    assert_eq!(settings.log_level, "info");
}

#[test]
fn the_table_is_consistent() {
    let keys: Vec<&str> = table().iter().map(|definition| definition.key).collect();
    for (i, key) in keys.iter().enumerate() {
        assert!(!keys[..i].contains(key), "{key} twice");
        assert!(
            key.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
            "{key}"
        );
    }
    let loaded = load(Flags::new(), &[], None).unwrap();
    let shown: Vec<&str> = loaded.lines.iter().map(|line| line.key).collect();
    assert_eq!(
        shown,
        table()
            .iter()
            .map(|definition| definition.key)
            .collect::<Vec<_>>()
    );
}

#[test]
fn flags_go_over_environment_over_file_over_defaults() {
    let file = "max_connections = 1\nmax_body = '2MiB'\nws_write_timeout = 1.5\n";
    let environment = [
        ("STOAT_MAX_CONNECTIONS", "2"),
        ("STOAT_MAX_BODY", "3MiB"),
        ("PATH", "/bin"),
    ];
    let flags = Flags::new().with("max_connections", "3");
    let loaded = load(flags, &environment, Some(file)).unwrap();
    assert_eq!(loaded.settings.max_connections, 3);
    assert_eq!(loaded.settings.max_body, 3 << 20);
    assert_eq!(
        loaded.settings.ws_write_timeout,
        Duration::from_millis(1500)
    );
    assert_eq!(
        line(&loaded, "max_connections").source.to_string(),
        "flag --max-connections"
    );
    assert_eq!(
        line(&loaded, "max_body").source.to_string(),
        "environment variable STOAT_MAX_BODY"
    );
    assert_eq!(
        line(&loaded, "ws_write_timeout").source.to_string(),
        "file /etc/stoat.toml"
    );
    assert_eq!(line(&loaded, "listen").source.to_string(), "default");
    assert!(loaded.warnings.is_empty());
}

#[test]
fn the_environment_can_name_the_file_and_the_flag_wins() {
    let environment = || [("STOAT_CONFIG".to_owned(), "/env.toml".to_owned())];
    let read = |path: &Path| {
        Ok(format!(
            "log_level = '{}=info'",
            path.display().to_string().replace(['/', '.'], "")
        ))
    };
    let loaded = Settings::load(&Flags::new(), environment(), read).unwrap();
    assert_eq!(loaded.settings.log_level, "envtoml=info");
    assert!(loaded.warnings.is_empty());
    let loaded =
        Settings::load(&Flags::new().with_config("/flag.toml"), environment(), read).unwrap();
    assert_eq!(loaded.settings.log_level, "flagtoml=info");
    let empty = [("STOAT_CONFIG".to_owned(), String::new())];
    assert!(message(Settings::load(&Flags::new(), empty, read)).contains("STOAT_CONFIG is empty"));
}

#[test]
fn an_unknown_variable_is_a_warning() {
    let loaded = load(
        Flags::new(),
        &[
            ("STOAT_LISEN", "secret"),
            ("STOAT_URL", "x"),
            ("STOATX", "y"),
        ],
        None,
    )
    .unwrap();
    assert_eq!(
        loaded.warnings,
        ["unknown environment variable STOAT_LISEN is ignored; did you mean STOAT_LISTEN?"]
    );
}

#[test]
fn a_file_is_read_from_the_disk_up_to_its_bound() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stoat.toml");
    assert!(read_file(&path).is_err());
    std::fs::write(&path, "max_event = 1000").unwrap();
    assert_eq!(read_file(&path).unwrap(), "max_event = 1000");
    std::fs::write(&path, " ".repeat((1 << 20) + 1)).unwrap();
    assert!(read_file(&path).unwrap_err().contains("1 MiB"));
    assert!(read_file(directory.path()).is_err());
}

#[test]
fn zero_turns_off_what_can_be_off() {
    let text = "ws_heartbeat_interval = 0\nws_replay_ttl_seconds = '0s'\nmax_connections_per_ip = 0\ndrain_timeout = 0";
    let settings = load_file(text).unwrap().settings;
    assert_eq!(settings.ws_heartbeat_interval, None);
    assert_eq!(settings.ws_replay_ttl_seconds, None);
    assert_eq!(settings.max_connections_per_ip, None);
    assert_eq!(settings.drain_timeout, Duration::ZERO);
    assert_eq!(
        load_file("max_connections_per_ip = 7")
            .unwrap()
            .settings
            .max_connections_per_ip,
        Some(7)
    );
}

#[test]
fn the_address_may_be_localhost_or_a_free_port() {
    let listen = |text: &str| {
        load(Flags::new().with("listen", text), &[], None)
            .unwrap()
            .settings
            .listen
    };
    assert_eq!(listen("127.0.0.1:0").port(), 0);
    assert_eq!(listen("[::1]:80").to_string(), "[::1]:80");
    assert!(listen("localhost:8080").ip().is_loopback());
}

#[test]
fn origins_come_as_a_list_or_with_commas() {
    let origins = |loaded: Loaded| -> Vec<String> {
        loaded
            .settings
            .allowed_origins
            .iter()
            .map(|origin| origin.as_str().to_owned())
            .collect()
    };
    let expected = ["https://a.example", "http://b.example:81"];
    let file =
        "allowed_origins = ['HTTPS://A.example:443', 'http://b.example:81', 'https://a.example']";
    assert_eq!(origins(load_file(file).unwrap()), expected);
    let text = "https://a.example, http://B.example:81,";
    assert_eq!(
        origins(load(Flags::new(), &[("STOAT_ALLOWED_ORIGINS", text)], None).unwrap()),
        expected
    );
    assert!(
        origins(load(Flags::new().with("allowed_origins", ""), &[], Some(file)).unwrap())
            .is_empty()
    );
    let text = message(load_file("allowed_origins = ['*']"));
    assert!(
        text.contains("patterns with `*` are not supported"),
        "{text}"
    );
}

#[test]
fn what_check_config_prints_reads_back() {
    let flags = Flags::new()
        .with("listen", "0.0.0.0:0")
        .with("allow_anonymous", "true")
        .with("allowed_origins", "https://a.example,http://[::1]:3000")
        .with("log_level", "info,stoat_app[{correlation_id=\"x\"}]=debug")
        .with("log_format", "json");
    let file = "max_event = 1001\nws_write_timeout = 0.0125\nws_heartbeat_interval = 0\ndrain_timeout = '1.5s'\n";
    let first = load(flags, &[("STOAT_MAX_CONNECTIONS", "17")], Some(file)).unwrap();
    let text = first.to_toml();
    assert_eq!(text.lines().count(), table().len());
    assert!(
        text.contains("max_connections = 17 # environment variable STOAT_MAX_CONNECTIONS\n"),
        "{text}"
    );
    assert!(
        text.contains("max_event = \"1001B\" # file /etc/stoat.toml\n"),
        "{text}"
    );
    assert!(text.contains("max_body = \"1MiB\" # default\n"), "{text}");
    let second = load_file(&text).unwrap();
    assert_eq!(second.settings, first.settings);
    assert!(
        second
            .lines
            .iter()
            .all(|line| matches!(line.source, Source::File(_)))
    );
}

proptest! {
    #[test]
    fn no_file_panics(text in "\\PC{0,80}", value in "[-0-9a-z.'\\[\\]{}]{0,12}", index in 0_usize..64) {
        let key = table()[index % table().len()].key;
        for text in [text, format!("{key} = {value}")] {
            if let Ok(loaded) = load_file(&text) {
                prop_assert_eq!(load_file(&loaded.to_toml()).unwrap().settings, loaded.settings);
            }
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>(), index in 0_usize..64) {
        let key = table()[index % table().len()].key;
        if let Err(error) = load(Flags::new().with(key, text), &[], None) {
            prop_assert!(!error.to_string().contains(char::is_control));
        }
    }
}
