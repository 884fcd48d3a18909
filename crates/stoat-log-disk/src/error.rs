//! Why a log could not be opened.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The log could not be opened; prints as one line that names the directory.
#[derive(Debug)]
pub struct OpenError {
    dir: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    InUse,
    Damaged(String),
    Io(io::Error),
    Other(Box<dyn Error + Send + Sync>),
}

impl OpenError {
    pub(crate) fn io(dir: &Path, error: io::Error) -> Self {
        let cause = match error.kind() {
            io::ErrorKind::ResourceBusy => Cause::InUse,
            _ => Cause::Io(error),
        };
        Self::new(dir, cause)
    }

    pub(crate) fn store(dir: &Path, error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => Self::io(dir, error),
            redb::Error::DatabaseAlreadyOpen => Self::new(dir, Cause::InUse),
            redb::Error::Corrupted(what) => Self::damaged(dir, what),
            other => Self::new(dir, Cause::Other(Box::new(other))),
        }
    }

    pub(crate) fn damaged(dir: &Path, what: impl Into<String>) -> Self {
        Self::new(dir, Cause::Damaged(what.into()))
    }

    fn new(dir: &Path, cause: Cause) -> Self {
        Self {
            dir: dir.to_owned(),
            cause,
        }
    }

    /// Another process, or another log of this one, has the directory.
    pub fn is_in_use(&self) -> bool {
        matches!(self.cause, Cause::InUse)
    }

    /// What is in the directory is not what was written to it.
    pub fn is_damaged(&self) -> bool {
        matches!(self.cause, Cause::Damaged(_))
    }

    /// The directory cannot be used as it is: it may not be written to, or is no directory.
    pub fn is_unusable(&self) -> bool {
        use io::ErrorKind::{
            AlreadyExists, IsADirectory, NotADirectory, PermissionDenied, ReadOnlyFilesystem,
        };
        matches!(&self.cause, Cause::Io(error) if matches!(
            error.kind(),
            PermissionDenied | ReadOnlyFilesystem | NotADirectory | AlreadyExists | IsADirectory
        ))
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir = self.dir.display();
        match &self.cause {
            Cause::InUse => write!(f, "the log in {dir} is in use by another process"),
            Cause::Damaged(what) => write!(f, "the log in {dir} is damaged: {what}"),
            Cause::Io(error) => write!(f, "the log in {dir} cannot be opened: {error}"),
            Cause::Other(error) => write!(f, "the log in {dir} cannot be opened: {error}"),
        }
    }
}

impl Error for OpenError {}
