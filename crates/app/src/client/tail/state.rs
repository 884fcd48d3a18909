//! The file that `stoat tail` goes on from after a restart.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use stoat_events::EventId;

use crate::client::ClientError;

/// Keeps the ID of the last event that was printed.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    saved: Option<String>,
}

impl State {
    /// Reads the file; one that is missing is made with the first event.
    pub(super) fn load(path: &Path) -> Result<Self, ClientError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed("read", path, &error)),
        };
        let id = text.trim_ascii();
        let plausible =
            id.len() <= EventId::MAX_OPAQUE_LEN && id.bytes().all(|byte| byte.is_ascii_graphic());
        if !plausible {
            return Err(ClientError::new(format!(
                "the state file {} holds no event ID; name another file, or delete it to begin anew",
                path.display()
            )));
        }
        Ok(Self {
            path: path.to_owned(),
            saved: (!id.is_empty()).then(|| id.to_owned()),
        })
    }

    /// What was saved last.
    pub(super) fn position(&self) -> Option<&str> {
        self.saved.as_deref()
    }

    /// Saves a position, in one step: the file is never there by half.
    pub(super) fn save(&mut self, position: Option<&str>) -> Result<(), ClientError> {
        let Some(position) = position.filter(|position| self.saved.as_deref() != Some(position))
        else {
            return Ok(());
        };
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let written = fs::write(&beside, format!("{position}\n"))
            .and_then(|()| fs::rename(&beside, &self.path));
        written.map_err(|error| failed("write", &self.path, &error))?;
        self.saved = Some(position.to_owned());
        Ok(())
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> ClientError {
    ClientError::new(format!(
        "cannot {what} the state file {}: {error}; name another with --state",
        path.display()
    ))
}
