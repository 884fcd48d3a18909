//! The code in the documentation: every block is run, compiled or read, and says what it says.
#![allow(clippy::expect_used, reason = "a test")]

use std::collections::BTreeSet;

use stoat_tests::binary;
use stoat_tests::book::{Page, follow, pages};

/// A test for each page that is followed.
macro_rules! followed {
    ($($name:ident: $path:literal;)*) => {
        const FOLLOWED: &[&str] = &[$($path),*];
        $(
            #[tokio::test]
            async fn $name() {
                follow(&Page::read($path)).await;
            }
        )*
    };
}

followed! {
    readme: "README.md";
    app: "crates/app/README.md";
    app_web: "crates/app/web/README.md";
    howto_browser: "docs/howto/browser.md";
    howto_cloudevents: "docs/howto/cloudevents.md";
    howto_cluster: "docs/howto/cluster.md";
    howto_disk: "docs/howto/disk.md";
    howto_proxy: "docs/howto/proxy.md";
    howto_publish: "docs/howto/publish.md";
    howto_slow_client: "docs/howto/slow-client.md";
    howto_sse: "docs/howto/sse.md";
    howto_test: "docs/howto/test.md";
    howto_tokens: "docs/howto/tokens.md";
    howto_trace: "docs/howto/trace.md";
    howto_upgrade: "docs/howto/upgrade.md";
    monitoring: "docs/monitoring.md";
    protocol: "docs/protocol.md";
    reference_browser_client: "docs/reference/browser-client.md";
    reference_command_line: "docs/reference/command-line.md";
    reference_crates: "docs/reference/crates.md";
    tutorial_embed: "docs/tutorial/embed.md";
    tutorial_first_events: "docs/tutorial/first-events.md";
}

/// Blocks that do not run here, and why: as few as can be.
const NOT_RUN: &[(&str, &str)] = &[
    ("CONTRIBUTING.md", "builds for minutes"),
    ("README.md", "builds for minutes"),
    (
        "crates/stoat-log-nats/README.md",
        "needs the command line of NATS",
    ),
    ("docs/deployment.md", "needs systemd"),
    ("docs/deployment.md", "needs Docker"),
    ("docs/deployment.md", "needs Docker"),
    ("docs/deployment.md", "needs a cluster"),
    ("docs/howto/correlation.md", "it is a file of clippy"),
    ("docs/tutorial/first-events.md", "clones and compiles"),
];

fn read(path: &str) -> String {
    let text = std::fs::read_to_string(binary::workspace().join(path));
    text.unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_page_with_something_to_do_is_followed() {
    let pages = pages();
    let wanted = pages.iter().filter(|page| page.is_followed());
    let wanted: BTreeSet<&str> = wanted.map(|page| page.path.as_str()).collect();
    assert_eq!(wanted, FOLLOWED.iter().copied().collect());
}

#[test]
fn every_block_says_what_it_is() {
    for page in pages() {
        assert!(
            page.indented.is_empty(),
            "{}: code without a fence at {:?}",
            page.path,
            page.indented
        );
        for block in &page.blocks {
            let known = [
                "sh", "text", "json", "html", "js", "python", "toml", "yaml", "rust",
            ];
            let language = block.language.as_str();
            assert!(
                known.contains(&language),
                "{}:{}: `{language}`",
                page.path,
                block.line
            );
        }
        // Else nobody would notice that it has failed.
        for (at, block) in page.blocks.iter().enumerate() {
            let next = page.blocks.get(at + 1).map(|next| next.language.as_str());
            let is_seen = block.has("client") || matches!(next, Some("text" | "json"));
            assert!(
                !block.has("terminal") || block.language != "sh" || is_seen,
                "{}:{}: what does it print?",
                page.path,
                block.line
            );
        }
    }
}

#[test]
fn what_does_not_run_is_listed() {
    let pages = pages();
    let found = pages.iter().flat_map(|page| {
        let reasons = page.blocks.iter().filter_map(|block| block.reason());
        reasons.map(|reason| (page.path.as_str(), reason))
    });
    assert_eq!(found.collect::<Vec<_>>(), NOT_RUN);
}

/// Doc tests compile the pages that the crates include.
#[test]
fn every_rust_block_is_compiled() {
    let book = read("crates/app/src/book.rs");
    for page in pages() {
        let has_rust = page.blocks.iter().any(|block| block.language == "rust");
        let is_front_page = page.path.starts_with("crates/") && page.path.ends_with("/README.md");
        let is_included = book.contains(&format!("\"../../../{}\"", page.path));
        assert!(!has_rust || is_front_page || is_included, "{}", page.path);
    }
}

/// Of the blocks that do not run, and in the text, too.
#[test]
fn every_command_of_the_workspace_that_is_named_is_there() {
    let commands = read("xtask/src/main.rs");
    let mut names = 0;
    for page in pages() {
        let text = read(&page.path);
        for (start, is_there) in [
            (
                "cargo xtask ",
                &(|name: &str| name == "help" || commands.contains(&format!("name: \"{name}\"")))
                    as &dyn Fn(&str) -> bool,
            ),
            ("--example ", &is_example),
        ] {
            for (at, _) in text.match_indices(start) {
                let rest = &text[at + start.len()..];
                let is_in_name =
                    |letter: char| letter.is_ascii_lowercase() || "-_".contains(letter);
                let end = rest.find(|letter| !is_in_name(letter));
                let name = &rest[..end.unwrap_or(rest.len())];
                assert!(is_there(name), "{}: {start}{name}", page.path);
                names += 1;
            }
        }
    }
    assert!(names > 20, "{names}");
}

fn is_example(name: &str) -> bool {
    let crates = std::fs::read_dir(binary::workspace().join("crates")).expect("the crates");
    let file = format!("examples/{name}.rs");
    crates
        .flatten()
        .any(|entry| entry.path().join(&file).is_file())
}
