//! Every CI job of the workspace, as plain Rust: `cargo xtask help` lists them.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program speaks through its two streams"
)]

mod ci;
mod clippy;
mod deny;
mod doc;
mod fmt;
mod process;
mod setup;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

/// What every command returns; the message is all that a reader gets.
type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Command {
    name: &'static str,
    about: &'static str,
    /// The one flag that the command takes.
    flag: Option<&'static str>,
    run: fn(flag_given: bool) -> Result,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "ci",
        about: "all of the checks below, in the order fmt, tidy, deny, clippy, doc, test",
        flag: None,
        run: |_| ci::run(),
    },
    Command {
        name: "fmt",
        about: "check the formatting; --fix rewrites the files",
        flag: Some("--fix"),
        run: fmt::run,
    },
    Command {
        name: "tidy",
        about: "check the house rules: crate directions, fences, READMEs, links",
        flag: None,
        run: |_| tidy::run(),
    },
    Command {
        name: "deny",
        about: "check licences, banned crates and sources of all dependencies",
        flag: None,
        run: |_| deny::run(),
    },
    Command {
        name: "clippy",
        about: "lint each crate alone, with no, each and all features",
        flag: None,
        run: |_| clippy::run(),
    },
    Command {
        name: "doc",
        about: "build the documentation; a warning is an error",
        flag: None,
        run: |_| doc::run(),
    },
    Command {
        name: "test",
        about: "set up, build binaries and examples, run all tests and doc tests",
        flag: None,
        run: |_| test::run(),
    },
    Command {
        name: "setup",
        about: "install what the tests need beyond Rust and a C compiler",
        flag: None,
        run: |_| setup::run(),
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (name, rest) = match args.split_first() {
        None | Some((&("help" | "--help" | "-h"), _)) => {
            print!("{}", help());
            return ExitCode::SUCCESS;
        }
        Some((name, rest)) => (*name, rest),
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprintln!("xtask: no command `{name}`\n\n{}", help());
        return ExitCode::from(2);
    };
    let flag_given = match rest {
        [] => false,
        [flag] if Some(*flag) == command.flag => true,
        _ => {
            eprintln!("xtask: `{name}` does not take `{}`", rest.join(" "));
            return ExitCode::from(2);
        }
    };
    match (command.run)(flag_given) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> String {
    let mut text = String::from("usage: cargo xtask COMMAND\n\n");
    for Command { name, about, .. } in COMMANDS {
        text.push_str(&format!("  {name:<8}{about}\n"));
    }
    text.push_str("  help    this list\n");
    text
}
