//! What the definition of the command line gives beside commands: completions and manual pages.

use clap::{Arg, ArgMatches, Command as Clap};
use clap_complete::Shell;

use super::Stop;

/// The commands that print them.
pub(super) fn commands() -> [Clap; 2] {
    let shell = Arg::new("shell")
        .value_name("SHELL")
        .required(true)
        .value_parser(clap::value_parser!(Shell))
        .help("The shell that completes");
    let page = Arg::new("command")
        .value_name("COMMAND")
        .help("The command to describe [default: stoat itself]");
    [
        Clap::new("completions")
            .about("Print completions for a shell")
            .after_help("Example: stoat completions bash > /etc/bash_completion.d/stoat")
            .arg(shell),
        Clap::new("man")
            .about("Print a manual page, in roff")
            .after_help("Example: stoat man tail | man -l -")
            .arg(page),
    ]
}

/// The document that one of these commands asks for.
pub(super) fn print(matches: &ArgMatches, mut root: Clap) -> Option<Stop> {
    let mut bytes = Vec::new();
    match matches.subcommand()? {
        ("completions", inner) => {
            let shell = *inner.get_one::<Shell>("shell")?;
            clap_complete::generate(shell, &mut root, "stoat", &mut bytes);
        }
        ("man", inner) => {
            root.build();
            let command = match inner.get_one::<String>("command") {
                None => root,
                Some(name) => match root.find_subcommand(name) {
                    Some(command) => {
                        // Its page is found as `man stoat-tail`.
                        let full = format!("stoat-{}", command.get_name());
                        command.clone().name(full)
                    }
                    None => {
                        return Some(Stop::Usage(format!(
                            "there is no command `{}`; see stoat --help",
                            crate::settings::text::shorten(name)
                        )));
                    }
                },
            };
            // Writing to a vector cannot fail.
            let _ = clap_mangen::Man::new(command).render(&mut bytes);
        }
        _ => return None,
    }
    Some(Stop::Text(String::from_utf8_lossy(&bytes).into_owned()))
}
