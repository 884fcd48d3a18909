//! The `stoat` binary.

use std::io::{self, Write};
use std::process::ExitCode;

use stoat_app::cli::{self, BAD_USAGE, Command, Stop};
use stoat_app::client::{self, ClientError};
use stoat_app::logging;
use stoat_app::settings::{Flags, Loaded, LogFormat, Settings, process_environment, read_file};

/// Gives the memory of a peak back; the system's allocator keeps it.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let environment = match process_environment() {
        Ok(environment) => environment,
        Err(error) => return refuse(&error.to_string()),
    };
    match cli::parse(std::env::args_os(), &environment) {
        Ok(Command::CheckConfig(flags)) => check_config(&flags, environment),
        Ok(Command::Schema(wanted, flags)) => {
            match Settings::load(&flags, environment, read_file) {
                Ok(loaded) => match wanted.write(&loaded.settings) {
                    Ok(text) => print(&text),
                    Err(error) => refuse(&error.to_string()),
                },
                Err(error) => refuse(&error.to_string()),
            }
        }
        Ok(Command::Serve(flags)) => serve(&flags, environment),
        Ok(Command::Tail(tail)) => finish(client::tail(&tail)),
        Ok(Command::Delivery(delivery)) => finish(client::delivery(&delivery)),
        Ok(Command::Bench(bench)) => finish(client::bench(&bench)),
        Ok(Command::Publish(publish)) => finish(client::publish(&publish)),
        Ok(_) => fail("this command is not built yet"),
        Err(Stop::Usage(line)) => refuse(&line),
        Err(Stop::Text(text)) => print(&text),
        Err(_) => fail("nothing to do"),
    }
}

fn check_config(flags: &Flags, environment: Vec<(String, String)>) -> ExitCode {
    match Settings::load(flags, environment, read_file) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                complain(&format!("warning: {warning}"));
            }
            print(&loaded.to_toml())
        }
        Err(error) => refuse(&error.to_string()),
    }
}

fn serve(flags: &Flags, environment: Vec<(String, String)>) -> ExitCode {
    let Loaded {
        settings, warnings, ..
    } = match Settings::load(flags, environment, read_file) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error.to_string()),
    };
    if let Err(error) = logging::init(settings.log_format, &settings.log_level) {
        return fail(&error.to_string());
    }
    let Err(error) = stoat_app::serve::run(&settings, &warnings) else {
        return ExitCode::SUCCESS;
    };
    // What reads the log lines as JSON is to learn the reason, too.
    if settings.log_format == LogFormat::Json && tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!("{error}");
    } else {
        complain(&error.to_string());
    }
    match error.is_usage() {
        true => ExitCode::from(BAD_USAGE),
        false => ExitCode::FAILURE,
    }
}

fn finish(result: Result<(), ClientError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_usage() => refuse(&error.to_string()),
        Err(error) => fail(&error.to_string()),
    }
}

/// Prints the program's answer; a reader that has gone away is no error.
fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(&error.to_string()),
        _ => ExitCode::SUCCESS,
    }
}

fn refuse(line: &str) -> ExitCode {
    complain(line);
    ExitCode::from(BAD_USAGE)
}

fn fail(line: &str) -> ExitCode {
    complain(line);
    ExitCode::FAILURE
}

/// Writes one line to standard error; where that is closed there is nobody left to tell.
fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "stoat: {line}");
}
