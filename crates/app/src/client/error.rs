//! Why a client command failed.

use std::error::Error;
use std::fmt;

/// Why `stoat tail` or `stoat publish` failed: one line for a person to read.
#[derive(Debug)]
pub struct ClientError {
    message: String,
    is_usage: bool,
}

impl ClientError {
    /// Whether the command line is at fault, and the exit code that of bad usage.
    pub fn is_usage(&self) -> bool {
        self.is_usage
    }

    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            is_usage: false,
        }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            is_usage: true,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for ClientError {}
