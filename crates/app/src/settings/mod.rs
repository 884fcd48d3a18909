//! The settings of the server: one table, four sources (flags over environment over file over defaults).

mod access;
mod check;
mod error;
mod flags;
mod kind;
mod layers;
mod nats;
mod origin;
mod show;
mod suggest;
mod table;
mod telemetry;
pub(crate) mod text;
mod units;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use error::SettingsError;
pub use flags::Flags;
pub use kind::LogFormat;
pub use layers::{Source, process_environment, read_file};
pub use origin::Origin;
pub use show::Line;
pub use table::Settings;
pub use units::{format_duration, format_size, parse_duration, parse_size};

use layers::Layers;

/// Settings that were read and checked, with what is worth telling about them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// The values to run with.
    pub settings: Settings,
    /// What is odd but no error, such as an unknown `STOAT_` variable; to be logged once logging is up.
    pub warnings: Vec<String>,
    /// Each setting as text with its source, in the order of the table.
    pub lines: Vec<Line>,
}

impl Settings {
    /// Reads the settings from the flags, the environment and the file that one of them names.
    ///
    /// Only variables that begin with `STOAT_` are looked at. `read` is called at most once, with the
    /// path of the configuration file ([`read_file`] outside of tests). Nothing else of the process is
    /// consulted, except that a `listen` of `localhost:PORT` is resolved, and that the file with the keys
    /// of `jwt` is read.
    ///
    /// # Errors
    /// The first unknown key, bad value or contradiction, named. A value is refused
    /// even where a source of higher rank hides it.
    pub fn load(
        flags: &Flags,
        environment: impl IntoIterator<Item = (String, String)>,
        read: impl FnOnce(&Path) -> Result<String, String>,
    ) -> Result<Loaded, SettingsError> {
        let (layers, mut warnings) = Layers::gather(flags, environment, read)?;
        let (settings, lines) = Settings::from_layers(&layers)?;
        warnings.extend(check::check(&settings, &layers)?);
        Ok(Loaded {
            settings,
            warnings,
            lines,
        })
    }
}
