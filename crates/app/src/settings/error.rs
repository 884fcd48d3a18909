//! Why settings were refused.

use std::error::Error;
use std::fmt;

/// Settings that cannot be used; prints as one line that names the key, its source and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    cause: Cause,
    key: Option<String>,
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Unknown,
    Value,
    Conflict,
    File,
}

impl SettingsError {
    /// The setting at fault; nothing when it is the file as a whole.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Whether the key is no setting at all.
    pub fn is_unknown_key(&self) -> bool {
        self.cause == Cause::Unknown
    }

    /// Whether each value is good alone, but not together with the others.
    pub fn is_conflict(&self) -> bool {
        self.cause == Cause::Conflict
    }

    pub(super) fn unknown(key: &str, message: String) -> Self {
        Self {
            cause: Cause::Unknown,
            key: Some(key.to_owned()),
            message,
        }
    }

    pub(super) fn value(key: &str, message: String) -> Self {
        Self {
            cause: Cause::Value,
            key: Some(key.to_owned()),
            message,
        }
    }

    pub(super) fn conflict(key: &str, message: String) -> Self {
        Self {
            cause: Cause::Conflict,
            key: Some(key.to_owned()),
            message,
        }
    }

    pub(super) fn file(message: String) -> Self {
        Self {
            cause: Cause::File,
            key: None,
            message,
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for SettingsError {}
