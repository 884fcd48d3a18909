//! Telling a directory that goes on from one that was put back: the same life, or a new one.
//!
//! Each run of the program writes a new random number into the store and into a small file
//! beside it. The two disagree where one of them was replaced by an older copy, and the
//! store's file is another than it was where it was copied. Either way positions may have
//! been given twice, so the log begins a new epoch.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use stoat_events::Epoch;

use crate::store::Meta;

const MARK: &str = "run";

/// The number of a file on its disk, which a copy does not have.
pub(crate) fn file_number(path: &Path) -> io::Result<u64> {
    Ok(fs::metadata(path)?.ino())
}

/// What is to be written into the store for this run, and then into the [mark](write_mark).
///
/// A crash in between is no reason for a new epoch: the number of the run before counts too.
pub(crate) fn begin_run(dir: &Path, known: Option<Meta>, file: u64) -> io::Result<Meta> {
    let mark = read_mark(dir)?;
    let mut meta = known.unwrap_or_else(|| Meta::new(Epoch::random()));
    if known.is_some() {
        let is_known = mark.is_some_and(|mark| mark == meta.run || mark == meta.previous_run);
        if !is_known || meta.file != file {
            tracing::warn!(
                dir = %dir.display(),
                "the log was copied or put back: it begins a new epoch, and clients that resume get a gap"
            );
            meta.epoch = Epoch::random();
        }
    }
    meta.previous_run = mark.unwrap_or_default();
    meta.run = Epoch::random().as_u64();
    meta.file = file;
    Ok(meta)
}

/// Writes the number of this run beside the store; the old one is there until the new one is.
pub(crate) fn write_mark(dir: &Path, run: u64) -> io::Result<()> {
    let new = dir.join("run.new");
    let mut file = File::create(&new)?;
    file.write_all(format!("{run:016x}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, dir.join(MARK))?;
    File::open(dir)?.sync_all()
}

/// Nothing where there is none, or no number in it.
fn read_mark(dir: &Path) -> io::Result<Option<u64>> {
    match fs::read(dir.join(MARK)) {
        Ok(text) => Ok(std::str::from_utf8(&text)
            .ok()
            .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
