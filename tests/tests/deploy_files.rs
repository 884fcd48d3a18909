//! The files of `docs/deploy`: what they name exists, and their times fit to the server's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use stoat_tests::{Client, Output, Request, Server, Setup, binary, eventually, run_with};

/// Stands where a token belongs, and is too short for one.
const PLACEHOLDER: &str = "REPLACE-ME";

fn path(name: &str) -> PathBuf {
    binary::workspace().join("docs/deploy").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The documents of a YAML file.
fn yaml(name: &str) -> Vec<Value> {
    let program =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let output = Command::new(binary::workspace().join(".tools/venv/bin/python"))
        .args(["-c", program])
        .arg(path(name))
        .output()
        .expect("Python runs: `cargo xtask setup` installs it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The deployment and the stateful set.
fn workloads() -> [Value; 2] {
    ["deployment", "statefulset"].map(|name| {
        let documents = yaml(&format!("kubernetes/{name}.yaml"));
        assert_eq!(documents.len(), 1, "{name}");
        documents.into_iter().next().expect("one")
    })
}

fn container(workload: &Value) -> &Value {
    let containers = workload["spec"]["template"]["spec"]["containers"].as_array();
    let containers = containers.expect("containers");
    assert_eq!(containers.len(), 1, "{workload}");
    &containers[0]
}

/// Name and value of the variables of a container.
fn variables(container: &Value) -> Vec<(String, String)> {
    let list = container["env"].as_array().expect("variables");
    let pair = |one: &Value| Some((one["name"].as_str()?.into(), one["value"].as_str()?.into()));
    list.iter().map(|one| pair(one).expect("a pair")).collect()
}

/// Seconds of `20s`, `5min` or a number of them.
fn seconds(text: &str) -> u64 {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().unwrap_or_else(|_| panic!("{text}"));
    match &text[digits.len()..] {
        "" | "s" => number,
        "m" | "min" => number * 60,
        unit => panic!("{unit}"),
    }
}

/// What the server says of its settings with these, and the text of a file.
async fn check(env: &[(String, String)], file: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("stoat.toml");
    fs::write(&path, file).expect("a file");
    let file = path.to_str().expect("UTF-8");
    let env: Vec<_> = env
        .iter()
        .filter(|(name, _)| name != "STOAT_CONFIG")
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    run_with(&["check-config", "--config", file], &env, "").await
}

/// A setting's default, as `check-config` shows it.
async fn default(key: &str) -> String {
    let shown = check(&[], "").await.stdout;
    let line = shown
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{key} = ")));
    let value = line.and_then(|line| line.strip_suffix(" # default"));
    value
        .unwrap_or_else(|| panic!("{key} in {shown}"))
        .trim_matches('"')
        .to_owned()
}

/// The one value of a key in a file of lines such as `key=value` or `key value;`.
fn value(text: &str, key: &str) -> String {
    let mut found = text.lines().filter_map(|line| {
        let rest = line.trim().strip_prefix(key)?;
        let rest = rest.strip_prefix(['=', ' '])?;
        Some(rest.trim_end_matches(';').to_owned())
    });
    let first = found.next().unwrap_or_else(|| panic!("no {key}"));
    assert!(found.next().is_none(), "{key} twice");
    first
}

#[tokio::test]
async fn every_setting_is_one_and_no_token_is_left_as_it_was() {
    let compose = yaml("compose.yaml").remove(0);
    let services = compose["services"].as_object().expect("services");
    let mut all: Vec<(String, Vec<_>, String)> = Vec::new();
    let image: Vec<_> = text("Dockerfile")
        .split_whitespace()
        .filter(|word| word.starts_with("STOAT_"))
        .map(|word| word.split_once('=').expect("a pair"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert!(!image.is_empty());
    for (name, service) in services.iter().filter(|(name, _)| *name != "nats") {
        let env = service["environment"].as_object().expect("variables");
        let env = env
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
        all.push((
            name.clone(),
            image.iter().cloned().chain(env).collect(),
            text("stoat.toml"),
        ));
    }
    let secret = yaml("kubernetes/secret.yaml").remove(0);
    let file = secret["stringData"]["stoat.toml"].as_str().expect("a file");
    for workload in workloads() {
        let container = container(&workload);
        assert_eq!(container["args"][0], "serve");
        assert_eq!(container["args"][1], "--config");
        let kind = workload["kind"].as_str().expect("a kind").to_owned();
        let env = image.iter().cloned().chain(variables(container)).collect();
        all.push((kind, env, file.to_owned()));
    }
    let unit = text("stoat.service");
    let env = unit
        .lines()
        .filter_map(|line| line.strip_prefix("Environment="));
    let env = env.map(|pair| pair.split_once('=').expect("a pair"));
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    all.push(("unit".to_owned(), env.collect(), text("stoat.toml")));
    assert_eq!(all.len(), 5);

    for (name, env, file) in all {
        let output = check(&env, &file).await;
        assert_eq!(output.code, Some(2), "{name}: {output:?}");
        assert!(output.stderr.contains("16 to 512"), "{name}: {output:?}");
        let mut filled = file;
        for number in 1.. {
            if !filled.contains(PLACEHOLDER) {
                break;
            }
            let token = format!("a-random-token-{number}");
            filled = filled.replacen(PLACEHOLDER, &token, 1);
        }
        let output = check(&env, &filled).await;
        assert_eq!(
            (output.code, output.stderr.as_str()),
            (Some(0), ""),
            "{name}"
        );
    }
}

#[tokio::test]
async fn all_wait_longer_than_a_drain_takes() {
    let drain = seconds(&default("drain_timeout").await);
    assert!(seconds(&value(&text("stoat.service"), "TimeoutStopSec")) > drain);
    let compose = yaml("compose.yaml").remove(0);
    for name in ["stoat-a", "stoat-b"] {
        let grace = compose["services"][name]["stop_grace_period"].as_str();
        assert!(seconds(grace.expect("a time")) > drain, "{name}");
    }
    for workload in workloads() {
        let pause = container(&workload)["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64();
        let grace = workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64();
        assert!(grace.expect("seconds") > pause.expect("seconds") + drain);
    }
}

#[tokio::test]
async fn proxies_are_more_patient_and_take_more_than_the_server() {
    let nginx = text("nginx.conf");
    let ping = seconds(&default("ws_ping_interval").await);
    assert!(seconds(&value(&nginx, "proxy_read_timeout")) > 2 * ping);
    assert!(seconds(&value(&nginx, "proxy_send_timeout")) > 2 * ping);
    assert_eq!(default("max_body").await, "1MiB");
    assert_eq!(value(&nginx, "client_max_body_size"), "2m");
    // But for connections that wait for a request: those they must give up first.
    let idle = seconds(&default("handshake_timeout").await);
    assert!(seconds(&value(&nginx, "keepalive_timeout")) < idle);
    let caddy = text("Caddyfile");
    assert!(seconds(&value(&caddy, "keepalive")) < idle);
    assert_eq!(value(&caddy, "max_size"), "2MiB");
}

#[tokio::test]
async fn the_manifests_fit_together_and_their_probes_are_routes() {
    let server = Server::start(&[]);
    let mut service = yaml("kubernetes/service.yaml");
    let (budget, service) = (service.remove(1), service.remove(0));
    for workload in workloads() {
        let pod = &workload["spec"]["template"];
        let labels = &pod["metadata"]["labels"];
        assert!(labels.is_object());
        assert_eq!(&workload["spec"]["selector"]["matchLabels"], labels);
        assert_eq!(&budget["spec"]["selector"]["matchLabels"], labels);
        assert_eq!(&service["spec"]["selector"], labels);

        let container = container(&workload);
        let port = &container["ports"][0];
        assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);
        let listen = variables(container)
            .into_iter()
            .find(|(name, _)| name == "STOAT_LISTEN");
        let listen = listen.expect("an address").1;
        assert_eq!(listen, format!("0.0.0.0:{}", port["containerPort"]));
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let get = &container[probe]["httpGet"];
            assert_eq!(get["port"], port["name"], "{probe}");
            let path = get["path"].as_str().expect("a path");
            assert_eq!(Request::get(path).send(&server).await.status, 200, "{path}");
        }
        let names = |list: &Value| -> BTreeSet<String> {
            let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
            let name = |one: &Value| {
                one["name"]
                    .as_str()
                    .or(one["metadata"]["name"].as_str())
                    .map(str::to_owned)
            };
            list.iter().filter_map(name).collect()
        };
        let volumes = names(&pod["spec"]["volumes"]);
        let claims = names(&workload["spec"]["volumeClaimTemplates"]);
        assert_eq!(names(&container["volumeMounts"]), &volumes | &claims);
    }
}

#[test]
fn the_manifests_have_what_kubernetes_knows_and_nothing_else() {
    let validate = |version: &str, names: &[&str]| {
        let program = binary::workspace().join(".tools/venv/bin/kubernetes-validate");
        let output = Command::new(program)
            .args(["--strict", "--kubernetes-version", version])
            .args(names.iter().map(|name| path("kubernetes").join(name)))
            .output()
            .expect("it runs: `cargo xtask setup` installs it");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let all = fs::read_dir(path("kubernetes")).expect("the manifests");
    let all: Vec<_> = all
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    let all: Vec<_> = all.iter().map(|name| name.to_str().unwrap()).collect();
    assert_eq!(all.len(), 4);
    // The oldest that `deployment.yaml` names, and the newest that the schemas are of.
    for version in ["1.30", "1.37"] {
        let (is_valid, said) = validate(version, &all);
        assert!(is_valid, "{version}: {said}");
    }
    // A container that just sleeps before it stops was not known then.
    let (is_valid, said) = validate("1.28", &["deployment.yaml"]);
    assert!(!is_valid && said.contains("sleep"), "{said}");
}

#[test]
fn the_units_are_valid_and_confined() {
    if !has("systemd-analyze") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let program = binary::stoat().to_str().expect("UTF-8");
    let units = ["stoat.service", "stoat.socket"].map(|name| {
        let unit = folder.path().join(name);
        let text = text(name).replace("/usr/local/bin/stoat", program);
        fs::write(&unit, text).expect("a file");
        unit
    });
    let analyze = |args: &[&str], units: &[PathBuf]| {
        let output = Command::new("systemd-analyze")
            .args(args)
            .args(units)
            .output();
        let output = output.expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let (_, said) = analyze(&["verify", "--man=no"], &units);
    // Other units of the machine may have faults of their own.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("stoat")).collect();
    assert!(ours.is_empty(), "{ours:?}");
    // Of 100; what is left is mostly that it uses the network.
    let (confined, said) = analyze(
        &["security", "--offline=yes", "--threshold=20"],
        &units[..1],
    );
    assert!(confined, "{said}");
}

#[tokio::test]
async fn the_unit_allows_every_system_call_that_the_server_makes() {
    if !has("systemd-analyze") || !has("strace") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (trace, log) = (folder.path().join("trace"), folder.path().join("log"));
    let manager = std::os::unix::net::UnixDatagram::bind(folder.path().join("notify"));
    let _manager = manager.expect("a socket");
    let strace = ["strace", "-D", "-f", "-q", "-o"].map(Path::new);
    let strace = strace.into_iter().chain([trace.as_path(), Path::new("--")]);
    let mut server = Setup::default()
        .under(strace)
        .args(["--log-dir", log.to_str().expect("UTF-8")])
        .args([
            "--ws-heartbeat-interval",
            "100ms",
            "--ws-ping-interval",
            "100ms",
        ])
        .env(
            "NOTIFY_SOCKET",
            folder.path().join("notify").to_str().expect("UTF-8"),
        )
        .env("WATCHDOG_USEC", "100000")
        .start();
    let id = server.publish(r#"{"type":"a"}"#).await;
    let mut client = Client::connect(&server, "/ws?last_event_id=earliest").await;
    assert_eq!(client.event().await.id, id);
    assert_eq!(client.event().await.event_type, "heartbeat");
    server.metrics().await;
    server.signal(Signal::HUP);
    server.publish(r#"{"type":"b"}"#).await;
    drop(client);
    server.terminate();
    assert_eq!(server.exit().await.code(), Some(0));
    let text = eventually("the end of the trace", async || {
        let text = fs::read_to_string(&trace).unwrap_or_default();
        text.contains("+++ exited with 0 +++").then_some(text)
    })
    .await;

    let made: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1)?.split_once('('))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        .collect();
    assert!(
        made.contains("fdatasync") && made.contains("accept4"),
        "{made:?}"
    );
    let mut allowed = BTreeSet::new();
    let unit = fs::read_to_string(path("stoat.service")).expect("the unit");
    for filter in unit
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="))
    {
        match filter.strip_prefix('~') {
            None => filter.split(' ').for_each(|set| allowed.extend(calls(set))),
            Some(denied) => {
                let denied: BTreeSet<_> = denied.split(' ').flat_map(calls).collect();
                allowed.retain(|call| !denied.contains(call));
            }
        }
    }
    let missing: Vec<_> = made.difference(&allowed).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The system calls of one of systemd's sets.
fn calls(set: &str) -> Vec<String> {
    let output = Command::new("systemd-analyze")
        .args(["syscall-filter", set])
        .output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{set}");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().skip(1).map(str::trim);
    let names = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    names
        .flat_map(|name| {
            if name.starts_with('@') {
                calls(name)
            } else {
                vec![name.to_owned()]
            }
        })
        .collect()
}

fn has(tool: &str) -> bool {
    let is_there = Command::new(tool).arg("--version").output().is_ok();
    if !is_there {
        eprintln!("skipped: no {tool} here");
    }
    is_there
}
