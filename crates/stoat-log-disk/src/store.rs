//! The tables of the log in an embedded store, and what one commit does to them.

mod file;
mod record;

use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};
use stoat_events::{AppendError, Appended, Batch, EventId, LogEntry, ReadLimit, Receipt};

pub(crate) use file::DiskFile;
#[cfg(test)]
pub(crate) use file::SyncFailed;
pub(crate) use record::Meta;
use record::{KeyRow, outline, read_record, record};

use crate::builder::DiskRetention;

/// Sequence to record.
const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
/// Owner and idempotency key to [`KeyRow`].
const KEYS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("keys");
/// Sequence of the first event of a batch to its key in `KEYS`: the order in which they age.
const KEYS_BY_AGE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("keys_by_age");
/// The one row of [`Meta`].
const META: TableDefinition<'_, (), &[u8]> = TableDefinition::new("meta");

/// Pages that the store itself keeps in memory. Recent events are in the log's own memory.
const CACHE: usize = 8 << 20;
/// Events that one commit evicts, beside twice as many as it appends: a commit stays short
/// even where all that is retained has become too old.
const EVICTED_AT_ONCE: u64 = 4096;
/// Receipts remembered for idempotency keys, as in the log in memory.
const MAX_RECEIPTS: u64 = 200_000;

pub(crate) type Result<T, E = redb::Error> = std::result::Result<T, E>;

/// Settings of the store: every checksum is verified when it is opened.
pub(crate) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(true);
    builder
}

/// Opens a file that this process has locked.
pub(crate) fn open(file: DiskFile) -> Result<Database, DatabaseError> {
    builder().create_with_backend(file)
}

/// What one commit needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) retention: DiskRetention,
    pub(crate) max_event: usize,
    pub(crate) key_ttl: Duration,
}

/// One moment on both clocks: ages on disk are of the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Milliseconds since 1970.
    pub(crate) wall: u64,
    pub(crate) instant: Instant,
}

impl Now {
    /// When something was accepted, as far back as the clock of this process reaches.
    fn instant_of(&self, accepted: u64) -> Instant {
        let age = Duration::from_millis(self.wall.saturating_sub(accepted));
        let long_ago = || self.instant.checked_sub(Duration::from_secs(1));
        let then = self.instant.checked_sub(age).or_else(long_ago);
        then.unwrap_or(self.instant)
    }

    fn is_older(&self, accepted: u64, age: Duration) -> bool {
        u128::from(self.wall.saturating_sub(accepted)) >= age.as_millis()
    }
}

/// A write that has not been committed.
pub(crate) struct Pending {
    transaction: WriteTransaction,
    pub(crate) meta: Meta,
    /// What was appended, to be shown to readers once it is on disk.
    pub(crate) entries: Vec<LogEntry>,
    now: Now,
}

/// How one batch fared; true once its transaction is committed.
pub(crate) type Outcome = std::result::Result<Appended, AppendError>;

impl Pending {
    pub(crate) fn begin(db: &Database, meta: Meta, now: Now) -> Result<Self> {
        Ok(Self {
            transaction: db.begin_write()?,
            meta,
            entries: Vec::new(),
            now,
        })
    }

    /// Numbers batches and puts them into the tables; says how each fared.
    pub(crate) fn append(&mut self, batches: Vec<Batch>, rules: &Rules) -> Result<Vec<Outcome>> {
        // Once for all: to open a table costs more than to put an event into it.
        let mut events = self.transaction.open_table(EVENTS)?;
        let mut outcomes = Vec::with_capacity(batches.len());
        for batch in batches {
            if let Some(key) = &batch.idempotency_key {
                let keys = self.transaction.open_table(KEYS)?;
                let row = keys.get(&*key_bytes(key))?;
                let row = row.and_then(|row| KeyRow::from_bytes(self.meta.epoch, row.value()));
                let is_alive = |row: &KeyRow| !self.now.is_older(row.accepted, rules.key_ttl);
                if let Some(row) = row.filter(is_alive) {
                    outcomes.push(match row.fingerprint == key.fingerprint() {
                        true => Ok(Appended {
                            receipts: row.receipts,
                            replayed: true,
                        }),
                        false => Err(AppendError::KeyReused),
                    });
                    continue;
                }
            }
            let first = EventId::new(self.meta.epoch, self.meta.last + 1);
            if let Err(error) = batch.check_sizes(first, rules.max_event) {
                outcomes.push(Err(error));
                continue;
            }

            let mut receipts = Vec::with_capacity(batch.events.len());
            for event in batch.events {
                let sequence = self.meta.last + 1;
                let id = EventId::new(self.meta.epoch, sequence);
                receipts.push(Receipt::of(&event, id));
                let entry = LogEntry::new(event.encode(id), id, self.now.instant);
                let encoded = entry.encoded();
                let record = record(sequence, self.now.wall, encoded.json());
                events.insert(sequence, &*record)?;
                self.meta.last = sequence;
                self.meta.bytes += encoded.ws_frame().len() as u64;
                self.entries.push(entry);
            }
            let receipts: Arc<[Receipt]> = receipts.into();
            // Nothing was published by a batch without events, so a repeat does no harm.
            if let Some(key) = batch.idempotency_key
                && !receipts.is_empty()
            {
                let row = KeyRow {
                    fingerprint: key.fingerprint(),
                    accepted: self.now.wall,
                    receipts: Arc::clone(&receipts),
                };
                keep_key(&self.transaction, &mut self.meta, &key_bytes(&key), &row)?;
            }
            outcomes.push(Ok(Appended {
                receipts,
                replayed: false,
            }));
        }
        Ok(outcomes)
    }

    /// Lets go of what is over a bound. Says whether there may be more of it.
    pub(crate) fn evict(&mut self, rules: &Rules) -> Result<bool> {
        let most = EVICTED_AT_ONCE.max(2 * self.entries.len() as u64);
        let mut events = self.transaction.open_table(EVENTS)?;
        let mut left = most;
        while left > 0 && self.meta.events() > 0 {
            // Rows below the first are left from what could not be read.
            let Some((sequence, accepted, len)) = oldest(&events)? else {
                break;
            };
            let is_gone = sequence < self.meta.first;
            if !is_gone && !self.is_over(accepted, rules) {
                break;
            }
            events.remove(sequence)?;
            self.meta.first = self.meta.first.max(sequence + 1);
            self.meta.bytes = self.meta.bytes.saturating_sub(len);
            left -= 1;
        }
        drop(events);
        let more_keys = self.evict_keys(rules)?;
        Ok(left == 0 || more_keys)
    }

    fn evict_keys(&mut self, rules: &Rules) -> Result<bool> {
        let mut keys = self.transaction.open_table(KEYS)?;
        let mut by_age = self.transaction.open_table(KEYS_BY_AGE)?;
        for _ in 0..EVICTED_AT_ONCE {
            let Some((sequence, key)) = by_age
                .first()?
                .map(|(sequence, key)| (sequence.value(), key.value().to_vec()))
            else {
                return Ok(false);
            };
            let row = keys.get(&*key)?;
            let row = row.and_then(|row| KeyRow::from_bytes(self.meta.epoch, row.value()));
            let is_over = row.as_ref().is_none_or(|row| {
                self.now.is_older(row.accepted, rules.key_ttl) || self.meta.receipts > MAX_RECEIPTS
            });
            if !is_over || sequence > self.meta.last {
                return Ok(false);
            }
            by_age.remove(sequence)?;
            keys.remove(&*key)?;
            let len = row.map_or(0, |row| row.receipts.len() as u64);
            self.meta.receipts = self.meta.receipts.saturating_sub(len);
        }
        Ok(true)
    }

    fn is_over(&self, accepted: u64, rules: &Rules) -> bool {
        let DiskRetention { events, bytes, age } = rules.retention;
        events.is_some_and(|most| self.meta.events() > most.max(1))
            || (self.meta.bytes > bytes && self.meta.events() > 1)
            || age.is_some_and(|age| self.now.is_older(accepted, age))
    }

    /// Puts all of it on disk: when this returns, the sync has.
    pub(crate) fn commit(self) -> Result<()> {
        {
            let mut table = self.transaction.open_table(META)?;
            table.insert((), &self.meta.to_bytes()[..])?;
        }
        self.transaction.commit()?;
        Ok(())
    }

    /// Nothing was changed.
    pub(crate) fn is_empty(&self, before: &Meta) -> bool {
        self.meta == *before
    }

    pub(crate) fn abort(self) -> Result<()> {
        Ok(self.transaction.abort()?)
    }
}

fn key_bytes(key: &stoat_events::IdempotencyKey) -> Vec<u8> {
    // A key has no such byte, so no two pairs are written the same.
    [key.owner().as_bytes(), b"\0", key.key().as_bytes()].concat()
}

/// Keeps the answer to a key, in the place of one that had become too old and was not swept up
/// yet.
fn keep_key(
    transaction: &WriteTransaction,
    meta: &mut Meta,
    key: &[u8],
    row: &KeyRow,
) -> Result<()> {
    let Some(first) = row.receipts.first() else {
        return Ok(());
    };
    let mut keys = transaction.open_table(KEYS)?;
    let old = keys.insert(key, &*row.to_bytes())?;
    let old = old.and_then(|old| KeyRow::from_bytes(meta.epoch, old.value()));
    meta.receipts += row.receipts.len() as u64;
    let mut by_age = transaction.open_table(KEYS_BY_AGE)?;
    by_age.insert(first.event_id.sequence(), key)?;
    if let Some(old) = old
        && let Some(receipt) = old.receipts.first()
    {
        meta.receipts = meta.receipts.saturating_sub(old.receipts.len() as u64);
        by_age.remove(receipt.event_id.sequence())?;
    }
    Ok(())
}

type OldestRow = (u64, u64, u64);

/// Sequence, time and length of the oldest event.
fn oldest(events: &Table<'_, u64, &'static [u8]>) -> Result<Option<OldestRow>> {
    Ok(events.first()?.map(|(sequence, record)| {
        let (accepted, len) = outline(record.value());
        (sequence.value(), accepted, len)
    }))
}

/// Makes the tables, and reads what is known of the log; nothing in a new store.
///
/// # Errors
/// [`redb::Error::Corrupted`] where the row is damaged.
pub(crate) fn read_meta(db: &Database) -> Result<Option<Meta>> {
    let transaction = db.begin_write()?;
    let meta = {
        transaction.open_table(EVENTS)?;
        transaction.open_table(KEYS)?;
        transaction.open_table(KEYS_BY_AGE)?;
        let table = transaction.open_table(META)?;
        let row = table.get(())?;
        match row {
            None => None,
            Some(row) => Some(Meta::from_bytes(row.value()).ok_or_else(|| {
                redb::Error::Corrupted("the description of the log is damaged".to_owned())
            })?),
        }
    };
    match meta {
        Some(_) => transaction.abort()?,
        None => transaction.commit()?,
    }
    Ok(meta)
}

/// What was found after a position.
#[derive(Debug)]
pub(crate) enum Found {
    Entries(Vec<LogEntry>),
    /// What follows is not what was written; the next that may be good has this sequence.
    Damaged(u64),
}

/// Reads the events after `after` up to `meta.last`, as many as `limit` allows and as there
/// are without a fault.
pub(crate) fn read(
    db: &Database,
    meta: &Meta,
    after: u64,
    limit: ReadLimit,
    now: Now,
) -> Result<Found> {
    let transaction = db.begin_read()?;
    let events = transaction.open_table(EVENTS)?;
    let mut entries = Vec::new();
    let mut bytes = 0;
    let rows = events.range(after + 1..=meta.last)?;
    for (expected, row) in (after + 1..).zip(rows) {
        let (sequence, record) = row?;
        let sequence = sequence.value();
        let good = (sequence == expected)
            .then(|| read_record(EventId::new(meta.epoch, sequence), record.value()));
        let Some((event, accepted)) = good.flatten() else {
            if entries.is_empty() {
                let next = if sequence > expected {
                    sequence
                } else {
                    expected + 1
                };
                return Ok(Found::Damaged(next));
            }
            // The next read begins with the fault.
            break;
        };
        bytes += event.ws_frame().len();
        let id = EventId::new(meta.epoch, sequence);
        entries.push(LogEntry::new(event, id, now.instant_of(accepted)));
        if entries.len() >= limit.events.max(1) || bytes >= limit.bytes {
            break;
        }
    }
    Ok(match entries.is_empty() && after < meta.last {
        true => Found::Damaged(meta.last + 1),
        false => Found::Entries(entries),
    })
}
