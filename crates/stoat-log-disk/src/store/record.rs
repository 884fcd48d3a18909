//! What the store keeps, as bytes.

use std::sync::Arc;

use stoat_correlation::CorrelationId;
use stoat_events::{EncodedEvent, Epoch, EventId, Receipt, Timestamp};

/// Checksum and time in front of an event's JSON text.
const HEAD: usize = 4 + 8;

/// An event as it is kept: a checksum over its position and all that follows, the time at
/// which it was accepted, and its JSON text.
pub(crate) fn record(sequence: u64, accepted: u64, json: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + json.len());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&accepted.to_le_bytes());
    bytes.extend_from_slice(json);
    let sum = checksum(sequence, &bytes[4..]);
    bytes[..4].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// The event of a record and the time at which it was accepted; `None` where it is damaged.
pub(crate) fn read_record(id: EventId, bytes: &[u8]) -> Option<(EncodedEvent, u64)> {
    let (sum, rest) = bytes.split_first_chunk()?;
    if u32::from_le_bytes(*sum) != checksum(id.sequence(), rest) {
        return None;
    }
    let (accepted, json) = rest.split_first_chunk()?;
    let event = EncodedEvent::restore(json, id)?;
    Some((event, u64::from_le_bytes(*accepted)))
}

/// When a record was accepted and how long the event's frame is, unchecked: for retention.
pub(crate) fn outline(bytes: &[u8]) -> (u64, u64) {
    let accepted = bytes
        .get(4..HEAD)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_le_bytes);
    (accepted, frame_len(bytes.len().saturating_sub(HEAD)))
}

/// The length of an unmasked WebSocket frame around a text (RFC 6455 section 5.2).
fn frame_len(json: usize) -> u64 {
    let header = match json {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    json as u64 + header
}

fn checksum(sequence: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// What is known of the log as a whole; written with each commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) epoch: Epoch,
    /// As in `LogBounds`.
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) bytes: u64,
    /// Receipts kept for idempotency keys.
    pub(crate) receipts: u64,
    /// The present run of the program, and the one before; see `life`.
    pub(crate) run: u64,
    pub(crate) previous_run: u64,
    /// The file that this was written to.
    pub(crate) file: u64,
}

impl Meta {
    const LEN: usize = 4 + 8 * 8;

    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            first: 1,
            last: 0,
            bytes: 0,
            receipts: 0,
            run: 0,
            previous_run: 0,
            file: 0,
        }
    }

    pub(crate) fn events(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let numbers = [
            self.epoch.as_u64(),
            self.first,
            self.last,
            self.bytes,
            self.receipts,
            self.run,
            self.previous_run,
            self.file,
        ];
        for (place, number) in bytes[4..].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let sum = checksum(0, &bytes[4..]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `None` where it is damaged.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().ok()?;
        let (sum, rest) = bytes.split_first_chunk()?;
        if u32::from_le_bytes(*sum) != checksum(0, rest) {
            return None;
        }
        let mut rest = Reader(rest);
        let meta = Self {
            epoch: Epoch::from_u64(rest.number()?),
            first: rest.number()?,
            last: rest.number()?,
            bytes: rest.number()?,
            receipts: rest.number()?,
            run: rest.number()?,
            previous_run: rest.number()?,
            file: rest.number()?,
        };
        (meta.first >= 1 && meta.last < u64::MAX && meta.first <= meta.last + 1).then_some(meta)
    }
}

/// What was appended under an idempotency key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeyRow {
    pub(crate) fingerprint: [u8; 32],
    pub(crate) accepted: u64,
    pub(crate) receipts: Arc<[Receipt]>,
}

impl KeyRow {
    /// The sequence of the first event, as which the row is found by age.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&self.fingerprint);
        bytes.extend_from_slice(&self.accepted.to_le_bytes());
        for receipt in &*self.receipts {
            let id = receipt.correlation_id.as_ref();
            let id = id.map_or("", CorrelationId::as_str);
            bytes.extend_from_slice(&receipt.event_id.sequence().to_le_bytes());
            bytes.extend_from_slice(&receipt.timestamp.unix_micros().to_le_bytes());
            // At most 128 bytes; a correlation ID is never empty.
            bytes.push(id.len() as u8);
            bytes.extend_from_slice(id.as_bytes());
        }
        let sum = checksum(0, &bytes[4..]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `None` where it is damaged.
    pub(crate) fn from_bytes(epoch: Epoch, bytes: &[u8]) -> Option<Self> {
        let (sum, rest) = bytes.split_first_chunk()?;
        if u32::from_le_bytes(*sum) != checksum(0, rest) {
            return None;
        }
        let mut rest = Reader(rest);
        let fingerprint = rest.array()?;
        let accepted = rest.number()?;
        let mut receipts = Vec::new();
        while !rest.0.is_empty() {
            let event_id = EventId::new(epoch, rest.number()?);
            let timestamp = Timestamp::from_unix_micros(i64::from_le_bytes(rest.array()?));
            let [len] = rest.array()?;
            let id = std::str::from_utf8(rest.take(len.into())?).ok()?;
            let correlation_id = match id {
                "" => None,
                id => Some(CorrelationId::parse(id).ok()?),
            };
            receipts.push(Receipt {
                event_id,
                timestamp,
                correlation_id,
            });
        }
        Some(Self {
            fingerprint,
            accepted,
            receipts: receipts.into(),
        })
    }
}

/// Takes pieces off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (piece, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(piece)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stoat_events::{Event, EventType};

    fn id(sequence: u64) -> EventId {
        EventId::new(Epoch::from_u64(7), sequence)
    }

    #[test]
    fn a_record_is_read_at_its_position_only_and_not_with_any_bit_turned() {
        let event = Event::builder(EventType::ScanStarted).build().encode(id(5));
        let bytes = record(5, 99, event.json());
        let (read, accepted) = read_record(id(5), &bytes).unwrap();
        assert_eq!((read.ws_frame(), accepted), (event.ws_frame(), 99));
        assert_eq!(outline(&bytes), (99, event.ws_frame().len() as u64));
        assert!(read_record(id(6), &bytes).is_none());
        for bit in 0..bytes.len() * 8 {
            let mut turned = bytes.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            assert!(read_record(id(5), &turned).is_none(), "{bit}");
        }
        for len in 0..bytes.len() {
            assert!(read_record(id(5), &bytes[..len]).is_none(), "{len}");
        }
    }

    #[test]
    fn meta_and_keys_are_read_whole_or_not_at_all() {
        let mut meta = Meta::new(Epoch::from_u64(1));
        (meta.last, meta.bytes, meta.receipts) = (8, 9, 10);
        (meta.run, meta.previous_run, meta.file) = (11, 12, 13);
        let bytes = meta.to_bytes();
        assert_eq!(Meta::from_bytes(&bytes), Some(meta));
        let receipt = |sequence, correlation: Option<&str>| Receipt {
            event_id: id(sequence),
            timestamp: Timestamp::from_unix_micros(-5),
            correlation_id: correlation.map(|id| CorrelationId::parse(id).unwrap()),
        };
        let row = KeyRow {
            fingerprint: [3; 32],
            accepted: 4,
            receipts: vec![receipt(1, None), receipt(2, Some("req-1"))].into(),
        };
        let kept = row.to_bytes();
        let epoch = Epoch::from_u64(7);
        assert_eq!(KeyRow::from_bytes(epoch, &kept), Some(row));
        for at in 0..bytes.len() {
            let mut turned = bytes;
            turned[at] ^= 1;
            assert_eq!(Meta::from_bytes(&turned), None);
            assert_eq!(Meta::from_bytes(&bytes[..at]), None);
        }
        for at in 0..kept.len() {
            let mut turned = kept.clone();
            turned[at] ^= 1;
            assert_eq!(KeyRow::from_bytes(epoch, &turned), None);
            assert_eq!(KeyRow::from_bytes(epoch, &kept[..at]), None);
        }
    }
}
