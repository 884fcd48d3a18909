//! Remembering which batches were appended under which key.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{AppendError, Receipt};

/// Names one publish, so that a repeat of it does nothing.
///
/// ```
/// use stoat_events::IdempotencyKey;
///
/// let key = IdempotencyKey::new("", "order-17", [0; 32])?;
/// assert_eq!(key.key(), "order-17");
/// assert!(IdempotencyKey::new("", "not visible\n", [0; 32]).is_err());
/// # Ok::<(), stoat_events::InvalidIdempotencyKey>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    name: Name,
    fingerprint: [u8; 32],
}

/// Owner and key.
type Name = Arc<(Box<str>, Box<str>)>;

impl IdempotencyKey {
    /// The longest key, in bytes.
    pub const MAX_LEN: usize = 128;

    /// A key of 1 to 128 visible ASCII characters. `owner` keeps the keys of
    /// different publishers apart; `fingerprint` is a digest of the content, by
    /// which a repeat is told from a key that is used twice.
    ///
    /// # Errors
    /// [`InvalidIdempotencyKey`] where `key` is empty, too long, or has other
    /// characters.
    pub fn new(
        owner: &str,
        key: &str,
        fingerprint: [u8; 32],
    ) -> Result<Self, InvalidIdempotencyKey> {
        let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
        if key.is_empty() || key.len() > Self::MAX_LEN || !visible {
            return Err(InvalidIdempotencyKey { len: key.len() });
        }
        Ok(Self {
            name: Arc::new((owner.into(), key.into())),
            fingerprint,
        })
    }

    /// Whose key it is.
    pub fn owner(&self) -> &str {
        &self.name.0
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.name.1
    }

    /// The digest of the content.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

/// The key was empty, too long, or had characters outside of visible ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidIdempotencyKey {
    len: usize,
}

impl fmt::Display for InvalidIdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "an idempotency key has 1 to 128 visible ASCII characters, got {} bytes",
            self.len
        )
    }
}

impl std::error::Error for InvalidIdempotencyKey {}

/// The keys of the recent past and their receipts.
///
/// Bounded by age and by the number of receipts; at the second bound the oldest
/// keys are forgotten before their time.
#[derive(Debug)]
pub(super) struct RecentKeys {
    ttl: Duration,
    max_receipts: usize,
    kept: HashMap<Name, Kept>,
    by_age: VecDeque<(Instant, Name)>,
    receipts: usize,
}

#[derive(Debug)]
struct Kept {
    fingerprint: [u8; 32],
    receipts: Arc<[Receipt]>,
}

impl RecentKeys {
    pub(super) fn new(ttl: Duration, max_receipts: usize) -> Self {
        Self {
            ttl,
            max_receipts,
            kept: HashMap::new(),
            by_age: VecDeque::new(),
            receipts: 0,
        }
    }

    /// The receipts of an earlier batch under this key.
    pub(super) fn find(
        &mut self,
        key: &IdempotencyKey,
        now: Instant,
    ) -> Result<Option<Arc<[Receipt]>>, AppendError> {
        self.forget_older(now);
        match self.kept.get(&key.name) {
            Some(kept) if kept.fingerprint == key.fingerprint => {
                Ok(Some(Arc::clone(&kept.receipts)))
            }
            Some(_) => Err(AppendError::KeyReused),
            None => Ok(None),
        }
    }

    /// Remembers a batch under a key that [`find`](Self::find) did not know.
    pub(super) fn keep(&mut self, key: IdempotencyKey, receipts: Arc<[Receipt]>, now: Instant) {
        self.receipts += receipts.len().max(1);
        self.by_age.push_back((now, Arc::clone(&key.name)));
        self.kept.insert(
            key.name,
            Kept {
                fingerprint: key.fingerprint,
                receipts,
            },
        );
        while self.receipts > self.max_receipts && self.by_age.len() > 1 {
            self.forget_oldest();
        }
    }

    /// Lets go of all keys older than the time to live.
    pub(super) fn forget_older(&mut self, now: Instant) {
        while self
            .by_age
            .front()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= self.ttl)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, name)) = self.by_age.pop_front()
            && let Some(kept) = self.kept.remove(&name)
        {
            self.receipts -= kept.receipts.len().max(1);
        }
        if self.by_age.is_empty() {
            // The memory of a peak goes back.
            self.by_age = VecDeque::new();
            self.kept = HashMap::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Epoch, EventId, Timestamp};

    fn receipts(count: usize) -> Arc<[Receipt]> {
        let receipt = Receipt {
            event_id: EventId::new(Epoch::from_u64(1), 1),
            timestamp: Timestamp::from_unix_micros(0),
            correlation_id: None,
        };
        vec![receipt; count].into()
    }

    fn key(owner: &str, key: &str, content: u8) -> IdempotencyKey {
        IdempotencyKey::new(owner, key, [content; 32]).unwrap()
    }

    #[test]
    fn repeats_reuse_owners_and_age() {
        let start = Instant::now();
        let mut keys = RecentKeys::new(Duration::from_secs(10), 100);
        keys.keep(key("a", "k", 1), receipts(2), start);

        let soon = start + Duration::from_secs(9);
        assert_eq!(
            keys.find(&key("a", "k", 1), soon).unwrap().unwrap().len(),
            2
        );
        assert_eq!(
            keys.find(&key("a", "k", 2), soon),
            Err(AppendError::KeyReused)
        );
        assert_eq!(keys.find(&key("b", "k", 2), soon), Ok(None));

        let later = start + Duration::from_secs(10);
        assert_eq!(keys.find(&key("a", "k", 2), later), Ok(None));
        assert_eq!(keys.receipts, 0);
    }

    #[test]
    fn bounded_by_receipts() {
        let now = Instant::now();
        let mut keys = RecentKeys::new(Duration::from_secs(10), 100);
        for n in 0..50 {
            keys.keep(key("", &n.to_string(), 0), receipts(10), now);
        }
        assert_eq!(
            (keys.receipts, keys.kept.len(), keys.by_age.len()),
            (100, 10, 10)
        );
        assert!(keys.find(&key("", "49", 0), now).unwrap().is_some());
        assert!(keys.find(&key("", "39", 0), now).unwrap().is_none());
        // One that is larger than the bound is kept until the next comes.
        keys.keep(key("", "big", 0), receipts(1000), now);
        assert!(keys.find(&key("", "big", 0), now).unwrap().is_some());
        assert_eq!(keys.kept.len(), 1);
    }

    #[test]
    fn keys_are_checked() {
        for bad in ["", "a b", "é", "\n", &"k".repeat(129)] {
            assert!(IdempotencyKey::new("", bad, [0; 32]).is_err(), "{bad:?}");
        }
        assert!(IdempotencyKey::new("", &"~".repeat(128), [0; 32]).is_ok());
    }
}
