//! Several servers, each with a load generator of its own, under one load at the same time.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Options;
use crate::loads::{Load, Row};
use crate::results::{self, Figures};

/// From the time all clients are open until the first event is due.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts them, waits until the clients of all are open, and then lets all begin at one time.
///
/// A load generator that fails ends its server, and ours ends all others: they wait for a line.
pub(crate) fn run(options: &Options, load: &Load, row: &Row<'_>) -> Result<Figures, String> {
    let mut all = Vec::new();
    for number in 0..load.servers {
        let address = Ipv4Addr::new(127, 0, 0, 2 + number as u8);
        let mut command = crate::command(options, load, row, address, &["--hold".to_owned()])?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        all.push(Generator::new(command.spawn().map_err(text)?)?);
    }
    for one in &mut all {
        if one.said.read_line(&mut String::new()).map_err(text)? == 0 {
            return Err("its clients do not open".to_owned());
        }
    }
    let clock = SystemTime::now().duration_since(UNIX_EPOCH);
    let due = clock.map_err(text)? + PAUSE;
    for one in &mut all {
        let line = one.child.stdin.as_mut().ok_or("no input")?;
        writeln!(line, "{}", due.as_nanos()).map_err(text)?;
    }
    let figures: Result<Vec<_>, _> = all.into_iter().map(Generator::figures).collect();
    Ok(results::joined(&figures?))
}

struct Generator {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Generator {
    fn new(mut child: Child) -> Result<Self, String> {
        let said = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Self { child, said })
    }

    fn figures(mut self) -> Result<Figures, String> {
        let mut said = Vec::new();
        self.said.read_to_end(&mut said).map_err(text)?;
        let status = self.child.wait().map_err(text)?;
        if !status.success() {
            return Err(format!("a load generator failed: {status}"));
        }
        serde_json::from_slice(&said).map_err(text)
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
