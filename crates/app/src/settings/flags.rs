//! The flags that stand for settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::kind::Shape;
use super::table::{Definition, table};

/// Headline of the settings in `--help`.
const HEADING: &str = "Settings";

/// Settings from the command line, not yet read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    config: Option<PathBuf>,
    values: BTreeMap<String, String>,
}

impl Flags {
    /// No flags.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the setting `key` (with underscores), as if its flag had been given.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.values.insert(key.into(), value.into());
        self
    }

    /// Names the configuration file, as `--config` does.
    #[must_use]
    pub fn with_config(mut self, path: impl Into<PathBuf>) -> Self {
        self.config = Some(path.into());
        self
    }

    /// Whether no flag was given.
    pub fn is_empty(&self) -> bool {
        self.config.is_none() && self.values.is_empty()
    }

    /// Adds `--config` and a flag for every setting to a command.
    pub(crate) fn declare(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("TOML file with settings [environment: STOAT_CONFIG]")
            .help_heading(HEADING);
        command.arg(config).args(table().iter().map(argument))
    }

    /// Takes the flags that were given from the matches of a command with [`Flags::declare`]d flags.
    pub(crate) fn from_matches(matches: &ArgMatches) -> Self {
        let mut flags = Self {
            config: matches.get_one::<PathBuf>("config").cloned(),
            values: BTreeMap::new(),
        };
        for key in table().iter().map(|definition| definition.key) {
            if let Some(values) = matches.get_many::<String>(key) {
                // Only a list can be given more than once.
                let values: Vec<&str> = values.map(String::as_str).collect();
                flags.values.insert(key.to_owned(), values.join(","));
            }
        }
        flags
    }

    /// Lays the flags behind the command's name over those before it; the error names a flag given in both places.
    pub(crate) fn merge(mut self, inner: Self) -> Result<Self, String> {
        if self.config.is_some() && inner.config.is_some() {
            return Err("--config is given twice".to_owned());
        }
        self.config = self.config.or(inner.config);
        let is_list = |key: &str| {
            table()
                .iter()
                .any(|d| d.key == key && d.shape == Shape::List)
        };
        for (key, value) in inner.values {
            match self.values.get_mut(&key) {
                None => {
                    self.values.insert(key, value);
                }
                Some(outer) if is_list(&key) => {
                    outer.push(',');
                    outer.push_str(&value);
                }
                Some(_) => return Err(format!("--{} is given twice", key.replace('_', "-"))),
            }
        }
        Ok(self)
    }

    pub(super) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    pub(super) fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }
}

fn argument(definition: &Definition) -> Arg {
    let default = if definition.default.is_empty() {
        "none"
    } else {
        definition.default
    };
    let argument = Arg::new(definition.key)
        .long(definition.flag())
        .value_name(definition.value_name)
        .help(format!("{} [default: {default}]", definition.help))
        .help_heading(HEADING)
        .hide_possible_values(true)
        .allow_negative_numbers(true);
    match definition.shape {
        Shape::Single => argument,
        Shape::List => argument.action(ArgAction::Append),
        Shape::Switch => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}
