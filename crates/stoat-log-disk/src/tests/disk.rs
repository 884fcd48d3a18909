//! A disk in memory that can lose, tear, refuse and keep count.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::store::{self, SyncFailed};
use crate::writer::Medium;
use crate::{DiskLog, DiskLogBuilder, OpenError};

/// The same disk for whoever holds it.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What the program sees.
    seen: Vec<u8>,
    /// What survives a loss of power for sure.
    synced: Vec<u8>,
    /// What may survive as well, in the order in which it was done.
    unsynced: Vec<Change>,
    /// Bytes that it has room for; nothing for any number.
    room: Option<usize>,
    /// What `free` says; as much as one likes otherwise.
    free: Option<u64>,
    fails_to_sync: bool,
    syncs: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => to.resize(*len as usize, 0),
            Self::Write(at, bytes) => {
                let end = *at as usize + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*at as usize..end].copy_from_slice(bytes);
            }
        }
    }
}

impl Disk {
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        let state = State {
            seen: bytes.clone(),
            synced: bytes,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// What is on it, synced or not: after the end of a process.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().seen.clone()
    }

    pub(super) fn flip(&self, bit: usize) {
        self.0.lock().unwrap().seen[bit / 8] ^= 1 << (bit % 8);
    }

    /// What a loss of power may leave: any of what was not synced is there or not, and the
    /// last of it in part. `choose` is given the number of choices.
    pub(super) fn after_power_loss(&self, mut choose: impl FnMut(usize) -> usize) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        let mut left = state.synced.clone();
        for change in &state.unsynced {
            match (choose(3), change) {
                (0, _) => {}
                (1, Change::Write(at, bytes)) => {
                    // A sector is written or not.
                    let sectors = bytes.len() / 512;
                    let torn = bytes[..512 * choose(sectors + 1)].to_vec();
                    Change::Write(*at, torn).apply(&mut left);
                }
                (_, change) => change.apply(&mut left),
            }
        }
        left
    }

    /// What is there where writing ended after each number of bytes of what was not synced;
    /// each once, as most bytes are what was there before.
    pub(super) fn cut_anywhere(&self) -> Vec<Vec<u8>> {
        let state = self.0.lock().unwrap();
        let mut left = state.synced.clone();
        let mut images = vec![left.clone()];
        for change in &state.unsynced {
            let Change::Write(at, bytes) = change else {
                change.apply(&mut left);
                images.push(left.clone());
                continue;
            };
            for (at, byte) in (*at..).zip(bytes) {
                let before = left.get(at as usize).copied();
                Change::Write(at, vec![*byte]).apply(&mut left);
                if before != Some(*byte) {
                    images.push(left.clone());
                }
            }
        }
        images
    }

    pub(super) fn has_room_for(&self, bytes: Option<usize>) {
        self.0.lock().unwrap().room = bytes;
    }

    pub(super) fn says_free(&self, bytes: Option<u64>) {
        self.0.lock().unwrap().free = bytes;
    }

    pub(super) fn fails_to_sync(&self, fails: bool) {
        self.0.lock().unwrap().fails_to_sync = fails;
    }

    pub(super) fn syncs(&self) -> usize {
        self.0.lock().unwrap().syncs
    }

    /// Opens the log that is on it; `dir` is for the mark of the run.
    pub(super) fn open(&self, dir: &Path) -> Result<DiskLog, OpenError> {
        self.open_with(DiskLog::builder(dir))
    }

    pub(super) fn open_with(&self, builder: DiskLogBuilder) -> Result<DiskLog, OpenError> {
        let dir = Path::new("disk");
        let disk = self.clone();
        let open = move || -> store::Result<redb::Database> {
            // Nothing is kept in memory, so that what is on the disk is what is read.
            let mut builder = store::builder();
            Ok(builder
                .set_cache_size(0)
                .create_with_backend(disk.clone())?)
        };
        let db = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&open));
        let db = db.unwrap_or_else(|_| Err(redb::Error::Corrupted("it panicked".into())));
        let db = db.map_err(|error| OpenError::store(dir, error))?;
        let disk = self.clone();
        let medium = Medium {
            open: Box::new(open),
            free: Box::new(move || Ok(disk.0.lock().unwrap().free.unwrap_or(u64::MAX))),
        };
        builder.start(db, 7, medium)
    }
}

impl State {
    fn change(&mut self, change: Change) -> io::Result<()> {
        let end = match &change {
            Change::Write(at, bytes) => *at as usize + bytes.len(),
            // A file grows in length before it takes room.
            Change::SetLen(_) => 0,
        };
        if self.room.is_some_and(|room| end > room) {
            return Err(ErrorKind::StorageFull.into());
        }
        change.apply(&mut self.seen);
        self.unsynced.push(change);
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let from = offset as usize;
        let bytes = state.seen.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().change(Change::SetLen(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.fails_to_sync {
            return Err(io::Error::other(SyncFailed(io::Error::from(
                ErrorKind::BrokenPipe,
            ))));
        }
        state.syncs += 1;
        state.synced = state.seen.clone();
        state.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let change = Change::Write(offset, data.to_vec());
        self.0.lock().unwrap().change(change)
    }
}

/// A small generator of numbers, the same for the same seed.
pub(super) fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |choices| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % choices.max(1) as u64) as usize
    }
}

/// What was acknowledged, by sequence.
pub(super) type Acknowledged = BTreeMap<u64, String>;
