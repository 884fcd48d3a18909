//! How many events a publisher may send: a bucket for each, refilled all the time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much may be taken at once, in time: as many events as come in a second.
const BURST: Duration = Duration::from_secs(1);
/// The most publishers that are told apart; those beyond share one bucket.
const MAX_KEYS: usize = 65_536;

/// Whose bucket it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Token(Arc<str>),
    Address(IpAddr),
    /// All who come while there are too many to tell apart.
    Crowd,
}

impl Key {
    /// The token's owner, or without one the address; of an IPv6 address its network of 64 bits,
    /// since that is what one machine has at hand.
    pub(super) fn new(owner: Option<&Arc<str>>, address: IpAddr) -> Self {
        match (owner, address.to_canonical()) {
            (Some(owner), _) => Self::Token(Arc::clone(owner)),
            (None, IpAddr::V4(address)) => Self::Address(address.into()),
            (None, IpAddr::V6(address)) => {
                let network = Ipv6Addr::from_bits(address.to_bits() & !0 << 64);
                Self::Address(network.into())
            }
        }
    }
}

/// Why events may not be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// They may after this time.
    For(Duration),
    /// They are more than may ever be taken at once.
    Ever,
}

/// One bucket a publisher, of as many events as it may publish in a second.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: usize,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    /// When each will be full again. One that is full is as good as none.
    full_at: HashMap<Key, Instant>,
    swept_at: Instant,
}

impl Rate {
    pub(super) fn new(per_second: usize, now: Instant) -> Self {
        Self {
            per_second: per_second.max(1),
            buckets: Mutex::new(Buckets {
                full_at: HashMap::new(),
                swept_at: now,
            }),
        }
    }

    pub(super) fn per_second(&self) -> usize {
        self.per_second
    }

    /// Whether a single event could be taken now; takes none.
    pub(super) fn look(&self, key: &Key, now: Instant) -> Result<(), Over> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let key = buckets.known(key, now);
        self.after(&buckets, &key, 1, now).map(drop)
    }

    /// Takes so many events, or none of them.
    pub(super) fn take(&self, key: &Key, events: usize, now: Instant) -> Result<(), Over> {
        if events > self.per_second {
            return Err(Over::Ever);
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let key = buckets.known(key, now);
        let full_at = self.after(&buckets, &key, events, now)?;
        buckets.full_at.insert(key, full_at);
        Ok(())
    }

    /// When the bucket would be full after so many events.
    fn after(
        &self,
        buckets: &Buckets,
        key: &Key,
        events: usize,
        now: Instant,
    ) -> Result<Instant, Over> {
        let full_at = buckets.full_at.get(key).map_or(now, |at| (*at).max(now));
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        let each = BURST / u32::try_from(self.per_second).unwrap_or(u32::MAX);
        let full_at = full_at + each * events;
        match full_at.duration_since(now).checked_sub(BURST) {
            None | Some(Duration::ZERO) => Ok(full_at),
            Some(wait) => Err(Over::For(wait)),
        }
    }
}

impl Buckets {
    /// The key to count under. Lets go of full buckets, at most once in the time in which one fills.
    fn known(&mut self, key: &Key, now: Instant) -> Key {
        if now.duration_since(self.swept_at) >= BURST {
            self.swept_at = now;
            self.full_at.retain(|_, at| *at > now);
            self.full_at.shrink_to(2 * self.full_at.len());
        }
        if self.full_at.len() >= MAX_KEYS && !self.full_at.contains_key(key) {
            return Key::Crowd;
        }
        key.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> Key {
        Key::new(None, IpAddr::V4(n.into()))
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let rate = Rate::new(10, start);
        let (one, other) = (address(1), address(2));
        assert_eq!(rate.take(&one, 10, start), Ok(()));
        assert_eq!(
            rate.look(&one, start),
            Err(Over::For(Duration::from_millis(100)))
        );
        assert_eq!(
            rate.take(&one, 3, start),
            Err(Over::For(Duration::from_millis(300)))
        );
        assert_eq!(rate.take(&other, 10, start), Ok(()));
        assert_eq!(
            rate.take(&one, 3, at(299)),
            Err(Over::For(Duration::from_millis(1)))
        );
        assert_eq!(rate.look(&one, at(300)), Ok(()));
        assert_eq!(rate.take(&one, 3, at(300)), Ok(()));
        assert!(rate.take(&one, 1, at(300)).is_err());
        assert_eq!(rate.take(&one, 10, at(1300)), Ok(()));
        assert_eq!(rate.take(&one, 11, at(90_000)), Err(Over::Ever));
    }

    #[test]
    fn full_buckets_are_let_go_and_beyond_the_bound_all_share_one() {
        let start = Instant::now();
        let rate = Rate::new(2, start);
        for n in 0..MAX_KEYS as u32 {
            assert_eq!(rate.take(&address(n), 1, start), Ok(()));
        }
        let count = || rate.buckets.lock().unwrap().full_at.len();
        assert_eq!(rate.take(&address(1 << 20), 2, start), Ok(()));
        assert!(
            rate.take(&address(1 << 21), 1, start).is_err(),
            "the crowd's bucket is empty"
        );
        assert_eq!(rate.take(&address(7), 1, start), Ok(()), "its own is not");
        assert_eq!(count(), MAX_KEYS + 1);
        let later = start + Duration::from_secs(2);
        assert_eq!(rate.take(&address(1 << 21), 1, later), Ok(()));
        assert_eq!(count(), 1);
    }

    #[test]
    fn a_token_counts_for_itself_and_an_ipv6_network_as_one() {
        let (ann, address) = (Arc::from("ann"), |text: &str| {
            text.parse::<IpAddr>().unwrap()
        });
        let key = |text| Key::new(None, address(text));
        assert_eq!(
            Key::new(Some(&ann), address("192.0.2.1")),
            Key::Token(Arc::clone(&ann))
        );
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
