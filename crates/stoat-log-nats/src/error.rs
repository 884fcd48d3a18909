//! Why a log could not be opened.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

/// The settings of the log cannot be used; prints as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenError(Cause);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    Name(&'static str, String),
    File(PathBuf, String),
}

impl OpenError {
    pub(crate) fn name(what: &'static str, name: &str) -> Self {
        Self(Cause::Name(what, name.to_owned()))
    }

    pub(crate) fn file(path: &Path, why: &dyn fmt::Display) -> Self {
        Self(Cause::File(path.to_owned(), why.to_string()))
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Name(what, name) => write!(
                f,
                "\"{}\" is no {what} of NATS: letters, digits, - and _ are allowed, in a subject dots as well",
                name.escape_debug()
            ),
            Cause::File(path, why) => write!(f, "{}: {why}", path.display()),
        }
    }
}

impl Error for OpenError {}
