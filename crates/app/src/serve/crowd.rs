//! How many HTTP connections there may be, overall and from one address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Low bounds are for WebSockets: beside them an operator must still get at `/health`, and a
/// client that has just left must not stand in its own way.
const LEAST: usize = 1024;
const LEAST_PER_ADDRESS: usize = 64;
/// Connections over the bound that are told so at a time; others are cut off.
const TURNED_AWAY: usize = 256;

/// Counts connections from the moment they are accepted until they end or become a WebSocket.
#[derive(Debug)]
pub(super) struct Crowd {
    max: usize,
    max_per_address: Option<usize>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    turned_away: usize,
    per_address: HashMap<IpAddr, usize>,
}

/// Which bound was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overflow {
    All,
    Address,
}

impl Crowd {
    /// As many as there may be WebSockets, but not fewer than the server needs.
    pub(super) fn new(max: usize, max_per_address: Option<usize>) -> Self {
        Self {
            max: max.max(LEAST),
            max_per_address: max_per_address.map(|max| max.max(LEAST_PER_ADDRESS)),
            counts: Mutex::default(),
        }
    }

    /// Takes a connection in, or says that it is to be turned away; `None` where there are too
    /// many of those, too. Without an address it comes from a proxy, which may have many.
    pub(super) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let limited = self.max_per_address.zip(address);
        let limited = limited.map(|(max, address)| (max, address.to_canonical()));
        let mut counts = self.counts();
        let overflow = if counts.all >= self.max {
            Some(Overflow::All)
        } else if let Some((max, address)) = limited {
            let count = counts.per_address.entry(address).or_insert(0);
            let full = *count >= max;
            *count += usize::from(!full);
            full.then_some(Overflow::Address)
        } else {
            None
        };
        match overflow {
            None => counts.all += 1,
            Some(_) if counts.turned_away >= TURNED_AWAY => return None,
            Some(_) => counts.turned_away += 1,
        }
        drop(counts);
        Some(Place {
            crowd: Arc::clone(self),
            address: limited.map(|(_, address)| address),
            overflow,
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    /// Where it counts for its address.
    address: Option<IpAddr>,
    overflow: Option<Overflow>,
}

impl Place {
    /// Why the connection is to be turned away, if it is.
    pub(super) fn overflow(&self) -> Option<Overflow> {
        self.overflow
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.crowd.counts();
        if self.overflow.is_some() {
            counts.turned_away -= 1;
            return;
        }
        counts.all -= 1;
        if let Some(address) = self.address
            && let Entry::Occupied(mut count) = counts.per_address.entry(address)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1)));
    const B: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2)));

    #[test]
    fn an_address_has_its_share() {
        let crowd = Arc::new(Crowd::new(1, Some(1)));
        let mut places: Vec<_> = (0..LEAST_PER_ADDRESS)
            .map(|_| crowd.enter(A).unwrap())
            .collect();
        assert!(places.iter().all(|place| place.overflow().is_none()));
        let over = crowd.enter(A).unwrap();
        assert_eq!(over.overflow(), Some(Overflow::Address));
        assert_eq!(crowd.enter(B).unwrap().overflow(), None);
        let proxied: Vec<_> = (0..2 * LEAST_PER_ADDRESS)
            .map(|_| crowd.enter(None).unwrap().overflow())
            .collect();
        assert!(proxied.iter().all(Option::is_none));
        places.pop();
        assert_eq!(crowd.enter(A).unwrap().overflow(), None);
        drop((places, over));
        assert!(crowd.counts().per_address.is_empty());
    }

    #[test]
    fn there_is_an_end_to_turning_away_too() {
        let crowd = Arc::new(Crowd::new(1, None));
        let mut places: Vec<_> = (0..LEAST + TURNED_AWAY)
            .map(|_| crowd.enter(A).unwrap())
            .collect();
        assert_eq!(places[LEAST - 1].overflow(), None);
        assert_eq!(places[LEAST].overflow(), Some(Overflow::All));
        assert!(crowd.enter(A).is_none());
        places.pop();
        assert!(crowd.enter(A).is_some());
        drop(places);
        let counts = crowd.counts();
        assert_eq!((counts.all, counts.turned_away), (0, 0));
    }
}
