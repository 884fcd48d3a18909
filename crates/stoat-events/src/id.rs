//! The identity of an event: a life of a log, and a position in it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names one life of one log.
///
/// An in-memory log takes a new one each time it is made; a durable or clustered
/// log keeps its own. So an event ID from another life never matches a wrong event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(u64);

impl Epoch {
    /// An epoch with a given number, for logs that keep theirs, and for tests.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// A new epoch from the operating system's random numbers (64 bits).
    pub fn random() -> Self {
        Self(getrandom::u64().unwrap_or_else(|_| {
            // No entropy source: the clock and an address still tell lives apart.
            use std::hash::{BuildHasher, RandomState};
            RandomState::new().hash_one(std::time::SystemTime::now())
        }))
    }

    /// The number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

/// The position of an event in its log, unique across restarts.
///
/// As text `EPOCH-SEQUENCE`: 16 lower-case hexadecimal digits, `-`, and a decimal
/// number from 1 on. Clients treat it as opaque. Sequence 0 is the position
/// before the first event.
///
/// ```
/// use stoat_events::{Epoch, EventId};
///
/// let id = EventId::new(Epoch::from_u64(0xfeed), 7);
/// assert_eq!(id.to_string(), "000000000000feed-7");
/// assert_eq!("000000000000feed-7".parse(), Ok(id));
/// assert!("7".parse::<EventId>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    epoch: Epoch,
    sequence: u64,
}

impl EventId {
    /// The longest text form, in bytes.
    pub const MAX_LEN: usize = 16 + 1 + 20;

    /// The longest text of an ID of any log, to which a client must be open, in bytes.
    pub const MAX_OPAQUE_LEN: usize = 64;

    /// The position `sequence` in the log of this epoch.
    pub const fn new(epoch: Epoch, sequence: u64) -> Self {
        Self { epoch, sequence }
    }

    /// The life of the log.
    pub const fn epoch(self) -> Epoch {
        self.epoch
    }

    /// The position, counted from 1; 0 is before the first event.
    pub const fn sequence(self) -> u64 {
        self.sequence
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // From the last digit to the first, into one buffer: much less code runs than for a
        // `write!` of two numbers, and an event needs it several times.
        let mut text = [0; Self::MAX_LEN];
        let mut start = text.len();
        let mut put = |byte| {
            start -= 1;
            text[start] = byte;
        };
        let mut sequence = self.sequence;
        loop {
            put(b'0' + (sequence % 10) as u8);
            sequence /= 10;
            if sequence == 0 {
                break;
            }
        }
        put(b'-');
        for digit in 0..16 {
            put(b"0123456789abcdef"[(self.epoch.0 >> (4 * digit)) as usize % 16]);
        }
        // Digits are UTF-8, so this is never the default.
        f.write_str(std::str::from_utf8(&text[start..]).unwrap_or_default())
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({self})")
    }
}

/// The text was no event ID of this format. It may still be one of another log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidEventId(());

impl fmt::Display for InvalidEventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an event ID: 16 hexadecimal digits, `-`, a number")
    }
}

impl std::error::Error for InvalidEventId {}

impl FromStr for EventId {
    type Err = InvalidEventId;

    /// Parses the one text form that [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        parse(text).ok_or(InvalidEventId(()))
    }
}

fn parse(text: &str) -> Option<EventId> {
    let (epoch, sequence) = text.split_once('-')?;
    let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if epoch.len() != 16 || !epoch.bytes().all(hex) {
        return None;
    }
    let decimal = sequence.bytes().all(|b| b.is_ascii_digit());
    if !decimal || (sequence.len() > 1 && sequence.starts_with('0')) {
        return None;
    }
    Some(EventId::new(
        Epoch(u64::from_str_radix(epoch, 16).ok()?),
        sequence.parse().ok()?,
    ))
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refused() {
        for bad in [
            "",
            "-",
            "0000000000000001-",
            "0000000000000001-01",
            "0000000000000001-+1",
            "000000000000001-1",
            "000000000000000A-1",
            "+000000000000001-1",
            "0000000000000001-18446744073709551616",
            "0000000000000001-1 ",
        ] {
            assert!(bad.parse::<EventId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn random_epochs_differ() {
        assert_ne!(Epoch::random(), Epoch::random());
    }

    proptest! {
        #[test]
        fn round_trips(epoch: u64, sequence: u64) {
            let id = EventId::new(Epoch(epoch), sequence);
            let text = id.to_string();
            prop_assert!(text.len() <= EventId::MAX_LEN);
            prop_assert_eq!(text.parse::<EventId>().unwrap(), id);
        }

        #[test]
        fn parsing_is_exact(text in "[0-9a-f]{14,18}-?[0-9]{0,21}|.*") {
            if let Ok(id) = text.parse::<EventId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
