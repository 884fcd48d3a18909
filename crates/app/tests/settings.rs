//! The settings as an operator meets them: through the built program.

use std::process::{Command, Output};

fn stoat(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stoat"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap_or_else(|error| panic!("the program does not run: {error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The one line with which the program refuses.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let line = text(&output.stderr);
    assert!(
        line.starts_with("stoat: ") && line.ends_with('\n') && line.matches('\n').count() == 1,
        "{line:?}"
    );
    line
}

#[test]
fn check_config_prints_what_reads_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stoat.toml");
    std::fs::write(
        &path,
        "max_event = '1KiB'\nallowed_origins = ['https://A.example']\n",
    )
    .unwrap();
    let environment = [("STOAT_WS_PING_INTERVAL", "1.5"), ("STOAT_LISEN", "x")];
    let arguments = [
        "check-config",
        "--config",
        path.to_str().unwrap(),
        "--max-connections=5",
    ];
    let first = stoat(&arguments, &environment);
    assert_eq!(first.status.code(), Some(0), "{first:?}");
    assert!(
        text(&first.stderr).contains("warning: unknown environment variable STOAT_LISEN"),
        "{first:?}"
    );
    let printed = text(&first.stdout);
    for expected in [
        "max_event = \"1KiB\" # file ",
        "ws_ping_interval = \"1500ms\" # environment variable STOAT_WS_PING_INTERVAL\n",
        "max_connections = 5 # flag --max-connections\n",
        "listen = \"127.0.0.1:8765\" # default\n",
    ] {
        assert!(printed.contains(expected), "{printed}");
    }

    std::fs::write(&path, &printed).unwrap();
    let second = stoat(
        &["check-config"],
        &[("STOAT_CONFIG", path.to_str().unwrap())],
    );
    let values = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| line.split(" # ").next().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(values(&text(&second.stdout)), values(&printed));
}

#[test]
fn bad_settings_and_bad_usage_exit_with_2() {
    for (arguments, environment, expected) in [
        (
            &["--max-event", "big"][..],
            &[][..],
            "max_event: \"big\" (flag --max-event)",
        ),
        (
            &["serve"],
            &[("STOAT_MAX_EVENT", "big")],
            "(environment variable STOAT_MAX_EVENT)",
        ),
        (
            &["check-config", "--config", "/no/such/file"],
            &[],
            "cannot read the file /no/such/file",
        ),
        (
            &["serve", "--listen", "0.0.0.0:0"],
            &[],
            "--allow-anonymous",
        ),
        (
            &["check-config", "--tokens", "hunter2"],
            &[],
            "bad value for tokens (flag --tokens; secrets are not shown)",
        ),
        (
            &[
                "--jwt",
                r#"{"algorithm":"HS256","secret_file":"/no/such/file"}"#,
            ],
            &[],
            "`secret_file` (/no/such/file): ",
        ),
        (
            &["check-config", "--nats-url", "http://u:hunter2@a"],
            &[],
            "bad value for nats_url (flag --nats-url; secrets are not shown)",
        ),
        (
            &["check-config"],
            &[
                ("STOAT_NATS_URL", "nats://hunter2:@"),
                ("STOAT_LOG_DIR", "x"),
            ],
            "nats_url (environment variable STOAT_NATS_URL",
        ),
        (
            &["serve", "--tls-cert", "x"],
            &[],
            "tls_key is needed too: tls_cert and tls_key go together",
        ),
        (
            &["serve", "--tls-cert", "/no/such", "--tls-key", "x"],
            &[],
            "tls_cert /no/such: ",
        ),
        (&["--lisen"], &[], "'--listen'"),
        (&["frobnicate"], &[], "frobnicate"),
        (&["publish"], &[], "TYPE"),
        (&["tail", "ftp://a"], &[], "expected an address such as"),
    ] {
        let line = refusal(&stoat(arguments, environment));
        assert!(line.contains(expected), "{line}");
        assert!(!line.contains("hunter2"), "{line}");
    }
}

#[test]
fn help_and_version_exit_with_0() {
    for arguments in [
        &["--help"][..],
        &["tail", "--help"],
        &["publish", "--help"],
        &["--version"],
    ] {
        let output = stoat(arguments, &[]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(
            !output.stdout.is_empty() && output.stderr.is_empty(),
            "{output:?}"
        );
    }
    assert_eq!(
        text(&stoat(&["--version"], &[]).stdout),
        format!("stoat {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf_8_is_refused() {
    use std::os::unix::ffi::OsStrExt;

    let value = std::ffi::OsStr::from_bytes(b"\xff");
    let output = Command::new(env!("CARGO_BIN_EXE_stoat"))
        .arg("check-config")
        .env("STOAT_LISTEN", value)
        .output();
    assert!(refusal(&output.unwrap()).contains("STOAT_LISTEN is not UTF-8"));
}
