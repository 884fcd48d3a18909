//! Every CI job of the workspace, as plain Rust: `cargo xtask help` lists them.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program speaks through its two streams"
)]

mod autobahn;
mod bench;
mod book;
mod ci;
mod clippy;
mod deny;
mod dist;
mod doc;
mod fmt;
mod fuzz;
mod inspector_soak;
mod model;
mod msrv;
mod package;
mod process;
mod semver;
mod setup;
mod soak;
mod test;
mod tidy;
mod training;
mod workspace;

use std::process::ExitCode;

/// What every command returns; the message is all that a reader gets.
type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Command {
    name: &'static str,
    about: &'static str,
    takes: Takes,
    run: fn(args: &[&str]) -> Result,
}

/// What may follow the name of a command.
enum Takes {
    Nothing,
    Flag(&'static str),
    /// What the program it runs makes of it.
    Anything,
}

impl Takes {
    fn allows(&self, args: &[&str]) -> bool {
        match self {
            Self::Nothing => args.is_empty(),
            Self::Flag(flag) => args.is_empty() || args == [*flag],
            Self::Anything => true,
        }
    }
}

const COMMANDS: &[Command] = &[
    Command {
        name: "ci",
        about: "all of the checks below, in the order fmt, tidy, deny, package, clippy, doc, fuzz-check, model, bench-check, autobahn, test",
        takes: Takes::Nothing,
        run: |_| ci::run(),
    },
    Command {
        name: "fmt",
        about: "check the formatting; --fix rewrites the files",
        takes: Takes::Flag("--fix"),
        run: |args| fmt::run(!args.is_empty()),
    },
    Command {
        name: "tidy",
        about: "check the house rules: crate directions, fences, READMEs, links",
        takes: Takes::Nothing,
        run: |_| tidy::run(),
    },
    Command {
        name: "deny",
        about: "check licences, banned crates and sources of all dependencies",
        takes: Takes::Nothing,
        run: |_| deny::run(),
    },
    Command {
        name: "package",
        about: "check what each crate takes to crates.io; --verify builds each from that alone",
        takes: Takes::Flag(package::VERIFY),
        run: |args| package::run(!args.is_empty()),
    },
    Command {
        name: "clippy",
        about: "lint each crate alone, with no, each and all features",
        takes: Takes::Nothing,
        run: |_| clippy::run(),
    },
    Command {
        name: "doc",
        about: "build the documentation; a warning is an error",
        takes: Takes::Nothing,
        run: |_| doc::run(),
    },
    Command {
        name: "test",
        about: "set up, build binaries and examples, run all tests and doc tests",
        takes: Takes::Nothing,
        run: |_| test::run(),
    },
    Command {
        name: "book",
        about: "build the documentation as a website, where mdbook is installed",
        takes: Takes::Nothing,
        run: |_| book::run(),
    },
    Command {
        name: "autobahn",
        about: "run the Autobahn WebSocket suite, where STOAT_AUTOBAHN names its folder",
        takes: Takes::Nothing,
        run: |_| autobahn::run(),
    },
    Command {
        name: "bench",
        about: "compare stoat with other servers under load; --help tells more",
        takes: Takes::Anything,
        run: bench::run,
    },
    Command {
        name: "bench-logs",
        about: "publish to each log and to the bare engine below it; [--runs N] [--secs T] [--write]",
        takes: Takes::Anything,
        run: bench::logs,
    },
    Command {
        name: "bench-check",
        about: "run every benchmark once, briefly, without judging its figures",
        takes: Takes::Nothing,
        run: |_| bench::check(),
    },
    Command {
        name: "fuzz",
        about: "feed the parsers and the connection what a fuzzer makes up; [TARGET…] [--secs N]",
        takes: Takes::Anything,
        run: fuzz::run,
    },
    Command {
        name: "fuzz-check",
        about: "run every fuzz target for a few seconds",
        takes: Takes::Nothing,
        run: |_| fuzz::check(),
    },
    Command {
        name: "model",
        about: "try many orders in which threads may meet in the log, the registry, the fan-out",
        takes: Takes::Nothing,
        run: |_| model::run(),
    },
    Command {
        name: "soak",
        about: "put a release build under everything at once; [--tls] [--secs N] [--seed N]",
        takes: Takes::Anything,
        run: soak::run,
    },
    Command {
        name: "inspector-soak",
        about: "show an hour's events to the inspector and see whether it grows; [--events N]",
        takes: Takes::Anything,
        run: inspector_soak::run,
    },
    Command {
        name: "dist",
        about: "build the program as one static file, trained under load where rustup has llvm-tools; [--target TRIPLE] [--untrained]",
        takes: Takes::Anything,
        run: dist::run,
    },
    Command {
        name: "msrv",
        about: "build with the oldest supported Rust, where rustup has it",
        takes: Takes::Nothing,
        run: |_| msrv::run(),
    },
    Command {
        name: "semver",
        about: "look for breaks of the API since a release or a commit, where cargo-semver-checks is; [REV]",
        takes: Takes::Anything,
        run: semver::run,
    },
    Command {
        name: "setup",
        about: "install what the tests need beyond Rust and a C compiler",
        takes: Takes::Nothing,
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
    if !command.takes.allows(rest) {
        eprintln!("xtask: `{name}` does not take `{}`", rest.join(" "));
        return ExitCode::from(2);
    }
    match (command.run)(rest) {
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
        text.push_str(&format!("  {name:<16}{about}\n"));
    }
    text.push_str("  help            this list\n");
    text
}
