//! The effective settings as text.

use super::table::Definition;
use super::{Loaded, Source};

/// Stands for a secret.
pub(super) const MASK: &str = "********";

/// One effective setting as text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// The key, as in the file.
    pub key: &'static str,
    /// The value in TOML; secrets in it are masked.
    pub value: String,
    /// Where the value comes from.
    pub source: Source,
}

impl Line {
    pub(super) fn new(definition: &Definition, value: &toml::Value, source: Source) -> Self {
        Self {
            key: definition.key,
            value: value.to_string(),
            source,
        }
    }
}

impl Loaded {
    /// The effective settings as a TOML file in which a comment names the source of each value.
    ///
    /// Read back as a configuration file it gives the same settings, masked secrets excepted.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for Line { key, value, source } in &self.lines {
            text.push_str(&format!("{key} = {value} # {source}\n"));
        }
        text
    }
}
