//! The commands that talk to a running server: `stoat tail`, `stoat publish` and the like.

mod backoff;
mod bench;
mod colour;
mod delivery;
mod error;
pub(crate) mod http;
mod output;
mod progress;
mod publish;
mod tail;
mod tls;

use std::future::Future;
use std::io::{self, IsTerminal};

use tokio::runtime::Builder;

use crate::cli::{Bench, Colour, Delivery, Publish, ServerUrl, Tail};
use crate::logging;
use crate::settings::LogFormat;

pub use error::ClientError;

use self::http::RequestError;

/// What of the log lines is shown: those of this program.
const LOG_LEVEL: &str = "warn,stoat_app=info";

/// Prints events to standard output until as many as asked for were printed, SIGINT or SIGTERM
/// arrives, or standard output is closed. Starts the logging of the process.
///
/// # Errors
/// The first connection fails, the server refuses, or standard output cannot be written.
pub fn tail(tail: &Tail) -> Result<(), ClientError> {
    run(async {
        let stop = stop_signal()
            .map_err(|error| ClientError::new(format!("cannot listen for signals: {error}")))?;
        let colour = match tail.colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        tokio::select! {
            // Asked to stop, it stops, whatever else there is to do.
            biased;
            () = stop => Ok(()),
            result = tail::run(tail, tokio::io::stdout(), colour, random) => result,
        }
    })
}

/// Publishes to a running server, follows what it publishes, and prints the latencies to standard
/// output. Starts the logging of the process.
///
/// # Errors
/// The server cannot be reached or refuses, or not all events arrive.
pub fn bench(bench: &Bench) -> Result<(), ClientError> {
    run(bench::run(bench, tokio::io::stdout(), random))
}

/// Prints the delivery report of an event to standard output. Starts the logging of the process.
///
/// # Errors
/// The server cannot be reached, or has no report.
pub fn delivery(delivery: &Delivery) -> Result<(), ClientError> {
    run(delivery::run(delivery, tokio::io::stdout()))
}

/// Publishes one event, or those of standard input, and prints the receipts to standard output.
/// Starts the logging of the process.
///
/// # Errors
/// The server cannot be reached or refuses, or standard input cannot be read.
pub fn publish(publish: &Publish) -> Result<(), ClientError> {
    run(publish::run(
        publish,
        tokio::io::stdin(),
        stdin_is_file(),
        tokio::io::stdout(),
        random,
    ))
}

fn run(command: impl Future<Output = Result<(), ClientError>>) -> Result<(), ClientError> {
    // Where an embedder logs already, the lines go there.
    let _ = logging::init(LogFormat::Auto, LOG_LEVEL);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ClientError::new(format!("cannot start: {error}")))?;
    let result = runtime.block_on(command);
    // A read or write of a standard stream may be stuck; it ends with the process.
    runtime.shutdown_background();
    result
}

/// Why the server cannot be reached, and what to do.
fn unreachable(url: &ServerUrl, error: &RequestError) -> ClientError {
    ClientError::new(format!(
        "cannot reach the server at {url}: {error}; start one with `stoat serve`, or name its address \
         on the command line or in STOAT_URL"
    ))
}

fn random() -> u64 {
    // Without randomness the waits are the longest ones.
    getrandom::u64().unwrap_or(u64::MAX)
}

/// Listens from now on; the future ends with the first SIGINT or SIGTERM.
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ends with the first Ctrl-C.
#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// Whether standard input is a file, which never pauses.
#[cfg(unix)]
fn stdin_is_file() -> bool {
    use std::fs::File;
    use std::os::fd::AsFd;

    let stdin = io::stdin().as_fd().try_clone_to_owned();
    stdin.is_ok_and(|stdin| {
        File::from(stdin)
            .metadata()
            .is_ok_and(|metadata| metadata.is_file())
    })
}

#[cfg(not(unix))]
fn stdin_is_file() -> bool {
    false
}
