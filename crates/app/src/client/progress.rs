//! One line on standard error that tells how far a command is, written over again and again.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often it is written at most.
const PAUSE: Duration = Duration::from_millis(200);

/// The line; what was shown last stays.
#[derive(Debug)]
pub(super) struct Progress {
    is_on: bool,
    is_shown: bool,
    next: Instant,
}

impl Progress {
    /// Shown where it is wanted, or where standard error is a terminal and standard output, whose
    /// lines would come in between, is none.
    pub(super) fn new(is_wanted: bool) -> Self {
        Self {
            is_on: is_wanted || (io::stderr().is_terminal() && !io::stdout().is_terminal()),
            is_shown: false,
            next: Instant::now(),
        }
    }

    /// Shows a line, but not too often.
    pub(super) fn show(&mut self, line: impl FnOnce() -> String) {
        let now = Instant::now();
        if self.is_on && now >= self.next {
            self.next = now + PAUSE;
            self.write(&line());
        }
    }

    /// Shows the last line.
    pub(super) fn end(mut self, line: impl FnOnce() -> String) {
        if self.is_on {
            self.write(&line());
        }
    }

    fn write(&mut self, line: &str) {
        // Where standard error is closed there is nobody to show it to.
        let _ = write!(io::stderr().lock(), "\r{line}\x1b[K");
        self.is_shown = true;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = writeln!(io::stderr().lock());
        }
    }
}
