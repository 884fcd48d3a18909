//! The page of the reference that lists all settings.

use super::super::table::Definition;
use super::*;
use crate::reference;

const HEAD: &str = "\
# Settings

Written from the program's own table; a test holds it against the code.

One name everywhere: `ws_ping_interval` in the file of `--config`, `STOAT_WS_PING_INTERVAL` in the
environment, `--ws-ping-interval` on the command line. Flags win over the environment, the environment
over the file. A key of the file that is none of these is an error, an unknown `STOAT_` variable a
warning. `stoat check-config` prints what is in force and where it comes from, with secrets masked; bad
values are named. Durations are seconds or `500ms`, `30s`, `10m`; sizes are bytes or `64KiB`, `1MiB`.

Besides these, `STOAT_CONFIG` names the file, and `STOAT_URL` and `STOAT_TOKEN` are for the clients
(`stoat tail`, `publish`, `delivery` and `bench`).

| key | default | takes | |
|---|---|---|---|
";

/// What a setting takes, as the error of a bad value tells it, without what the head of the page says.
fn takes(definition: &Definition) -> String {
    let error = match load(Flags::new().with(definition.key, "{"), &[], None) {
        // Of two files, one alone is no fault of its own.
        Err(error) if !error.is_conflict() => error.to_string(),
        _ => return format!("`{}`", definition.value_name),
    };
    let (_, expected) = error.split_once("expected ").expect("what is expected");
    let ends = [
        ": seconds, or text",
        ": bytes, or text",
        ", in JSON;",
        ", not \"{",
        ", but ",
    ];
    let end = ends.iter().filter_map(|end| expected.find(end)).min();
    expected[..end.unwrap_or(expected.len())].to_owned()
}

#[test]
fn the_reference_of_the_settings_is_true() {
    let mut page = HEAD.to_owned();
    for definition in table() {
        let default = match definition.default {
            "" => "none".to_owned(),
            default => format!("`{default}`"),
        };
        let cell = |text: &str| text.replace('|', "\\|");
        page.push_str(&format!(
            "| `{}` | {default} | {} | {} |\n",
            definition.key,
            cell(&takes(&definition)),
            cell(definition.help)
        ));
    }
    reference::hold("settings.md", &page);
}
