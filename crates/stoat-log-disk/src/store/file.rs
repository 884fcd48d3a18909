//! The file below the store.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use redb::StorageBackend;

/// A file that is read by several threads at a time, also while it is synced, and that
/// tells a failed sync from a failed write.
#[derive(Debug)]
pub(crate) struct DiskFile(File);

impl DiskFile {
    /// Opens or creates a file, and locks it for this process; the lock goes with the file.
    ///
    /// # Errors
    /// [`ErrorKind::ResourceBusy`] where another has the lock.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(ErrorKind::ResourceBusy.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// A sync failed: what was written before may be lost, whatever a later sync says.
#[derive(Debug)]
pub(crate) struct SyncFailed(pub(crate) io::Error);

impl fmt::Display for SyncFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the disk could not be synced: {}", self.0)
    }
}

impl std::error::Error for SyncFailed {}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0
            .sync_data()
            .map_err(|error| io::Error::other(SyncFailed(error)))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn close(&self) -> io::Result<()> {
        self.0.unlock()
    }
}
