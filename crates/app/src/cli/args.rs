//! The definition of the command line, and the way from matches to a typed command.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command as Clap};
use serde_json::value::RawValue;
use stoat_events::EventId;

use super::{
    Bench, Colour, Command, Delivery, Input, Publish, ServerUrl, Since, Stop, Tail, documents,
};
use crate::serve::Description;
use crate::settings::Flags;
use crate::settings::text::{escape, shorten};

/// The server of `tail` and `publish` when none is named.
const DEFAULT_URL: &str = "http://127.0.0.1:8765";

/// Longest `--types` or `--topics`.
const LONGEST_LIST: usize = 4096;

/// The whole command line.
pub(super) fn command() -> Clap {
    let root = Clap::new("stoat")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Pushes typed events to browsers and services in real time")
        .after_help("Without a command, stoat serves. Settings: flags over STOAT_* variables over --config FILE.")
        .subcommand(Flags::declare(Clap::new("serve").about("Run the server (also without any command)")))
        .subcommand(tail())
        .subcommand(publish())
        .subcommand(delivery())
        .subcommand(bench())
        .subcommand(Flags::declare(schema()))
        .subcommand(Flags::declare(
            Clap::new("check-config").about("Print the effective settings as TOML, secrets masked, with their sources"),
        ))
        .subcommands(documents::commands());
    Flags::declare(root)
}

/// What the environment says of the server of `tail` and `publish`.
#[derive(Clone, Copy)]
pub(super) struct Variables<'a> {
    /// `STOAT_URL`.
    pub(super) url: Option<&'a str>,
    /// `STOAT_TOKEN`.
    pub(super) token: Option<&'a str>,
}

/// Makes a typed command of what was given.
pub(super) fn read(matches: &ArgMatches, variables: Variables<'_>) -> Result<Command, String> {
    let outer = Flags::from_matches(matches);
    match matches.subcommand() {
        None => Ok(Command::Serve(outer)),
        Some(("serve", inner)) => outer.merge(Flags::from_matches(inner)).map(Command::Serve),
        Some(("check-config", inner)) => outer
            .merge(Flags::from_matches(inner))
            .map(Command::CheckConfig),
        Some(("schema", inner)) => {
            let wanted = inner.get_one::<Description>("what").copied();
            let flags = outer.merge(Flags::from_matches(inner))?;
            Ok(Command::Schema(wanted.unwrap_or(Description::Event), flags))
        }
        Some((name, _)) if !outer.is_empty() => Err(format!(
            "the settings before `{name}` are those of the server, and have no meaning for it"
        )),
        Some(("tail", inner)) => read_tail(inner, variables).map(Command::Tail),
        Some(("delivery", inner)) => read_delivery(inner, variables).map(Command::Delivery),
        Some(("bench", inner)) => read_bench(inner, variables).map(Command::Bench),
        Some(("publish", inner)) => read_publish(inner, variables).map(Command::Publish),
        Some((name, _)) => Err(format!("unknown command {}", shorten(name))),
    }
}

/// Turns clap's error into help, or into one line.
pub(super) fn stop(error: clap::Error) -> Stop {
    let text = error.to_string();
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        return Stop::Text(text);
    }
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let parts: Vec<String> = text
        .split("\n\n")
        .filter(|part| !part.starts_with("Usage:") && !part.starts_with("For more information"))
        .map(|part| part.lines().map(str::trim).collect::<Vec<_>>().join(" "))
        .filter(|part| !part.is_empty())
        .collect();
    Stop::Usage(format!("{}; see stoat --help", escape(&parts.join("; "))))
}

fn tail() -> Clap {
    Clap::new("tail")
        .about("Print events as NDJSON; reconnects and resumes by itself")
        .arg(Arg::new("url").value_name("URL").help(url_help()))
        .arg(token())
        .arg(
            Arg::new("types")
                .long("types")
                .value_name("A,B")
                .help("Only events of these types"),
        )
        .arg(
            Arg::new("topics")
                .long("topics")
                .value_name("X,Y.*")
                .help("Only events of topics like these"),
        )
        .arg(
            Arg::new("since")
                .long("since")
                .value_name("ID|earliest")
                .help("Begin after this event, or with the oldest that is retained"),
        )
        .arg(
            Arg::new("count")
                .long("count")
                .value_name("N")
                .value_parser(clap::value_parser!(NonZeroU64))
                .help("Exit after N events"),
        )
        .arg(
            Arg::new("state")
                .long("state")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Keep the position in this file, and go on from it after a restart"),
        )
        .arg(
            Arg::new("color")
                .long("color")
                .value_name("WHEN")
                .value_parser(["auto", "always", "never"])
                .hide_possible_values(true)
                .help("Print in colours: auto (on a terminal), always or never [default: auto]"),
        )
}

fn delivery() -> Clap {
    Clap::new("delivery")
        .about("Print who got an event, as JSON")
        .arg(
            Arg::new("event")
                .value_name("ID")
                .required(true)
                .help("The event's ID"),
        )
        .arg(url())
        .arg(token())
}

fn bench() -> Clap {
    let number = |name: &'static str, least: i64, most: i64| {
        Arg::new(name)
            .long(name)
            .value_name("N")
            .value_parser(clap::value_parser!(u32).range(least..=most))
    };
    Clap::new("bench")
        .about("Measure a running server: publish, follow, and print the latencies")
        .after_help("The events are of the type `stoat.bench`, on a topic of their own; they stay in the server's log as others do.")
        .arg(Arg::new("url").value_name("URL").help(url_help()))
        .arg(token())
        .arg(number("clients", 1, 10_000).default_value("10").help("WebSocket clients that follow"))
        .arg(number("rate", 1, 100_000).default_value("100").help("Events a second"))
        .arg(number("secs", 1, 3600).default_value("5").help("Seconds of publishing"))
        .arg(number("size", 0, 60_000).default_value("100").help("Bytes of filler in each payload"))
        .arg(progress())
}

fn url() -> Arg {
    Arg::new("url")
        .long("url")
        .value_name("URL")
        .help(url_help())
}

fn progress() -> Arg {
    Arg::new("progress")
        .long("progress")
        .action(ArgAction::SetTrue)
        .help("Show the progress on standard error even if that is no terminal")
}

fn publish() -> Clap {
    Clap::new("publish")
        .about("Publish one event, or NDJSON from standard input")
        .arg(
            Arg::new("type")
                .value_name("TYPE")
                .required(true)
                .help("The event's type, or - to read NDJSON"),
        )
        .arg(
            Arg::new("payload")
                .value_name("JSON")
                .help("The payload, a JSON object [default: {}]"),
        )
        .arg(url())
        .arg(token())
        .arg(
            Arg::new("topic")
                .long("topic")
                .value_name("TOPIC")
                .help("Publish to this topic"),
        )
        .arg(
            Arg::new("correlation-id")
                .long("correlation-id")
                .value_name("ID")
                .help("Tie the event to the request with this ID"),
        )
        .arg(
            Arg::new("idempotency-key")
                .long("idempotency-key")
                .value_name("KEY")
                .help("A repeat with the same key publishes nothing"),
        )
        .arg(progress())
}

fn schema() -> Clap {
    let known =
        Description::ALL.map(|known| PossibleValue::new(known.as_str()).help(known.about()));
    Clap::new("schema")
        .about("Print a machine-readable description of events and routes, as a server with these settings gives it")
        .arg(
            Arg::new("what")
                .value_name("WHAT")
                .help("Which description [default: event]")
                .value_parser(PossibleValuesParser::new(known).try_map(|name| {
                    let mut all = Description::ALL.into_iter();
                    all.find(|known| known.as_str() == name).ok_or("unknown")
                })),
        )
}

fn token() -> Arg {
    Arg::new("token")
        .long("token")
        .value_name("TOKEN")
        .help("Token for the server, where others may not see it rather in the environment [environment: STOAT_TOKEN]")
}

fn url_help() -> String {
    format!("Address of the server [environment: STOAT_URL] [default: {DEFAULT_URL}]")
}

fn read_tail(matches: &ArgMatches, variables: Variables<'_>) -> Result<Tail, String> {
    let since = match text(matches, "since") {
        None => None,
        Some("earliest") => Some(Since::Earliest),
        Some(id) => Some(Since::After(visible("--since", id, 64)?)),
    };
    Ok(Tail {
        url: server(matches, variables)?,
        types: list("--types", text(matches, "types"))?,
        topics: list("--topics", text(matches, "topics"))?,
        since,
        count: matches.get_one::<NonZeroU64>("count").copied(),
        state: matches.get_one::<PathBuf>("state").cloned(),
        colour: match text(matches, "color") {
            Some("always") => Colour::Always,
            Some("never") => Colour::Never,
            _ => Colour::Auto,
        },
    })
}

fn read_publish(matches: &ArgMatches, variables: Variables<'_>) -> Result<Publish, String> {
    let optional = |name: &str, limit| {
        text(matches, name)
            .map(|value| visible(&format!("--{name}"), value, limit))
            .transpose()
    };
    let event_type = text(matches, "type").unwrap_or_default();
    let payload = text(matches, "payload");
    let topic = optional("topic", 128)?;
    let correlation_id = optional("correlation-id", 128)?;
    let input = if event_type == "-" {
        if payload.is_some() || topic.is_some() || correlation_id.is_some() {
            return Err(
                "with `-` each line has its own payload, topic and correlation_id; give none here"
                    .to_owned(),
            );
        }
        Input::Stdin
    } else {
        let event_type = visible("TYPE", event_type, 64)?;
        Input::Event {
            event_type,
            payload: payload.map(object).transpose()?,
            topic,
            correlation_id,
        }
    };
    Ok(Publish {
        url: server(matches, variables)?,
        input,
        idempotency_key: optional("idempotency-key", 128)?,
        progress: matches.get_flag("progress"),
    })
}

fn read_delivery(matches: &ArgMatches, variables: Variables<'_>) -> Result<Delivery, String> {
    let id = text(matches, "event").unwrap_or_default();
    let event = id
        .parse::<EventId>()
        .map_err(|why| format!("bad value for ID: \"{}\" is {why}", shorten(id)))?;
    Ok(Delivery {
        url: server(matches, variables)?,
        event,
    })
}

fn read_bench(matches: &ArgMatches, variables: Variables<'_>) -> Result<Bench, String> {
    let number = |name: &str| matches.get_one::<u32>(name).copied().unwrap_or_default();
    Ok(Bench {
        url: server(matches, variables)?,
        clients: number("clients"),
        rate: number("rate"),
        seconds: number("secs"),
        size: number("size"),
        progress: matches.get_flag("progress"),
    })
}

fn server(matches: &ArgMatches, variables: Variables<'_>) -> Result<ServerUrl, String> {
    let (url, source) = match (text(matches, "url"), variables.url) {
        (Some(text), _) => (text, "URL"),
        (None, Some(text)) => (text, "STOAT_URL"),
        (None, None) => (DEFAULT_URL, "URL"),
    };
    let server = ServerUrl::parse(url).map_err(|why| format!("bad value for {source}: {why}"))?;
    let (token, source) = match (text(matches, "token"), variables.token) {
        (Some(token), _) => (token, "--token"),
        (None, Some(token)) => (token, "STOAT_TOKEN"),
        (None, None) => return Ok(server),
    };
    let server = server.with_token(token);
    server.map_err(|why| format!("bad value for {source} (not shown): {why}"))
}

fn text<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches.get_one::<String>(name).map(String::as_str)
}

fn list(name: &str, text: Option<&str>) -> Result<Option<Vec<String>>, String> {
    let Some(text) = text else { return Ok(None) };
    if text.len() > LONGEST_LIST {
        return Err(format!(
            "bad value for {name}: at most {LONGEST_LIST} bytes"
        ));
    }
    let items = text.split(',').map(|item| visible(name, item.trim(), 130));
    items.collect::<Result<Vec<_>, _>>().map(Some)
}

/// A text of 1 to `limit` visible ASCII characters.
fn visible(name: &str, text: &str, limit: usize) -> Result<String, String> {
    if text.is_empty() || text.len() > limit || !text.bytes().all(|b| b.is_ascii_graphic()) {
        let text = shorten(text);
        return Err(format!(
            "bad value for {name}: \"{text}\"; expected 1 to {limit} visible ASCII characters"
        ));
    }
    Ok(text.to_owned())
}

/// The text of a JSON object, unchanged.
fn object(text: &str) -> Result<String, String> {
    match serde_json::from_str::<BTreeMap<String, &RawValue>>(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!(
            "bad value for JSON: \"{}\"; expected a JSON object such as {{\"a\":1}}",
            shorten(text)
        )),
    }
}
