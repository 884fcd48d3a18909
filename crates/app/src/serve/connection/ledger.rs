//! Tells the answers that were made here from those that the HTTP library makes on its own.

use std::collections::VecDeque;
use std::io::IoSlice;

use memchr::memchr;

/// The end of a head.
const END: &[u8; 4] = b"\r\n\r\n";
const END_LENGTH: usize = END.len();
/// The one message that the library may send unasked.
const CONTINUE: &[u8] = b"HTTP/1.1 100 ";

/// Follows what an HTTP/1 connection writes, from the lengths of the answers that were given.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Lengths of the bodies of the answers to come; none where it cannot be told.
    expected: VecDeque<Option<u64>>,
    at: At,
    /// Bytes that were judged to be ours and are not written yet.
    cleared: usize,
}

/// Where in the stream the next byte to be judged stands.
#[derive(Clone, Copy, Debug, Default)]
enum At {
    #[default]
    Start,
    /// In a head, with so many bytes of its end matched, before a body of this length.
    Head(usize, Option<u64>),
    /// So many bytes before the end of a body.
    Body(u64),
    /// From here on all is ours.
    Open,
}

impl Ledger {
    /// All is ours.
    pub(super) fn open() -> Self {
        Self {
            at: At::Open,
            ..Self::default()
        }
    }

    /// An answer was given, with a body of so many bytes on the wire. `None` for one that
    /// cannot be told, or that ends HTTP: all that follows is taken for ours.
    pub(super) fn expect(&mut self, body: Option<u64>) {
        self.expected.push_back(body);
    }

    /// How many of the bytes that are to be written next belong to answers of ours.
    pub(super) fn ours(&mut self, bytes: &[IoSlice<'_>]) -> usize {
        let mut known = self.cleared;
        for piece in bytes {
            let skipped = known.min(piece.len());
            known -= skipped;
            let judged = self.judge(&piece[skipped..]);
            self.cleared += judged;
            if skipped + judged < piece.len() {
                break;
            }
        }
        self.cleared
    }

    /// So many of them were written.
    pub(super) fn written(&mut self, bytes: usize) {
        self.cleared = self.cleared.saturating_sub(bytes);
    }

    /// Every answer that was given is written.
    pub(super) fn is_even(&self) -> bool {
        self.expected.is_empty() && self.cleared == 0 && matches!(self.at, At::Start)
    }

    /// All that follows is ours: it is no answer of a known length.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.at, At::Open | At::Head(_, None))
    }

    /// Goes on to the first byte that is not ours; says how many were.
    fn judge(&mut self, bytes: &[u8]) -> usize {
        let mut judged = 0;
        while judged < bytes.len() {
            let rest = &bytes[judged..];
            match self.at {
                At::Start if rest.starts_with(CONTINUE) => self.at = At::Head(0, Some(0)),
                At::Start => match self.expected.pop_front() {
                    Some(body) => self.at = At::Head(0, body),
                    None => break,
                },
                At::Head(matched, body) => {
                    let byte = rest[0];
                    let (matched, passed) = match byte {
                        _ if END.get(matched) == Some(&byte) => (matched + 1, 1),
                        b'\r' => (1, 1),
                        _ => (0, memchr(b'\r', rest).unwrap_or(rest.len())),
                    };
                    self.at = At::Head(matched, body);
                    judged += passed;
                    self.settle();
                }
                At::Body(left) => {
                    let part = left.min(rest.len() as u64);
                    self.at = At::Body(left - part);
                    judged += part as usize;
                    self.settle();
                }
                At::Open => judged = bytes.len(),
            }
        }
        judged
    }

    /// Leaves what is complete.
    fn settle(&mut self) {
        self.at = match self.at {
            At::Head(END_LENGTH, None) => At::Open,
            At::Head(END_LENGTH, Some(0)) | At::Body(0) => At::Start,
            At::Head(END_LENGTH, Some(body)) => At::Body(body),
            at => at,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nx: \r\r\ncontent-length: 3\r\n\r\nabc";
    const FOREIGN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";

    /// Writes `stream` in pieces of `piece` bytes, of which only one gets through at a time.
    fn passed(ledger: &mut Ledger, stream: &[u8], piece: usize) -> usize {
        let mut written = 0;
        while written < stream.len() {
            let end = stream.len().min(written + piece);
            let middle = (written + end) / 2;
            let slices = [
                IoSlice::new(&stream[written..middle]),
                IoSlice::new(&stream[middle..end]),
            ];
            if ledger.ours(&slices) == 0 {
                break;
            }
            ledger.written(1);
            written += 1;
        }
        written
    }

    #[test]
    fn it_finds_the_first_byte_that_is_not_ours() {
        for piece in 1..200 {
            // The library hands over a head as a whole.
            let piece = piece.max(CONTINUE.len() * 2);
            let mut ledger = Ledger::default();
            ledger.expect(Some(3));
            ledger.expect(Some(0));
            let head = &ANSWER[..ANSWER.len() - 3];
            let ours = [b"HTTP/1.1 100 Continue\r\n\r\n", ANSWER, head].concat();
            let all = [&ours[..], FOREIGN].concat();
            assert_eq!(passed(&mut ledger, &all, piece), ours.len(), "{piece}");
            assert!(ledger.is_even());
        }
    }

    #[test]
    fn nothing_is_ours_before_an_answer_and_all_after_an_upgrade() {
        let mut ledger = Ledger::default();
        assert_eq!(passed(&mut ledger, FOREIGN, 500), 0);
        ledger.expect(None);
        let stream = [b"HTTP/1.1 101 Switching Protocols\r\n\r\n", FOREIGN].concat();
        assert_eq!(passed(&mut ledger, &stream, 500), stream.len());
        assert!(!ledger.is_even());
    }
}
