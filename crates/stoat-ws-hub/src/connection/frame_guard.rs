//! Looks at the header of each incoming frame before its payload is let in.

use super::protocol::Frames;
use crate::close::Close;

/// Checks what RFC 6455 section 5 says of a client's frames as soon as a header
/// is complete, so that nobody waits for, or stores, the payload of a frame that
/// is refused.
#[derive(Debug)]
pub(super) struct FrameGuard {
    max_message: u64,
    header: [u8; MAX_HEADER],
    header_len: usize,
    payload_left: u64,
    /// Payload bytes and frames of the fragmented message that is under way.
    message: Option<(u64, u64)>,
}

const MAX_HEADER: usize = 14;

/// How far a piece of input may be passed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Bytes from the start of the piece that are in order.
    pub(super) good: usize,
    /// The frames within these bytes.
    pub(super) frames: Frames,
    /// Why the rest is refused.
    pub(super) refused: Option<Close>,
}

impl FrameGuard {
    pub(super) fn new(max_message: usize) -> Self {
        Self {
            max_message: max_message as u64,
            header: [0; MAX_HEADER],
            header_len: 0,
            payload_left: 0,
            message: None,
        }
    }

    /// Whether the input so far ended with a whole message, or with none begun.
    pub(super) fn is_at_rest(&self) -> bool {
        self.header_len == 0 && self.payload_left == 0 && self.message.is_none()
    }

    /// Looks at the next piece of input. After a refusal it must not be called again.
    pub(super) fn check(&mut self, input: &[u8]) -> Verdict {
        let mut verdict = Verdict {
            good: 0,
            frames: Frames::default(),
            refused: None,
        };
        let mut at = 0;
        while at < input.len() {
            if self.payload_left > 0 {
                let taken = self.payload_left.min((input.len() - at) as u64);
                self.payload_left -= taken;
                at += taken as usize;
                verdict.frames.ended += usize::from(self.payload_left == 0);
            } else {
                self.header[self.header_len] = input[at];
                self.header_len += 1;
                at += 1;
                match self.look_at_header() {
                    Ok(Some(payload)) => {
                        self.header_len = 0;
                        self.payload_left = payload;
                        verdict.frames.controls += usize::from(is_control(self.header[0]));
                        verdict.frames.ended += usize::from(payload == 0);
                    }
                    Ok(None) => {}
                    Err(close) => {
                        verdict.refused = Some(close);
                        return verdict;
                    }
                }
            }
            // A header that is not complete is passed on too: it is in order so far.
            verdict.good = at;
        }
        verdict
    }

    /// The payload's length once the header is complete. Each byte is judged as
    /// soon as it is there.
    fn look_at_header(&mut self) -> Result<Option<u64>, Close> {
        let [first, second, ..] = self.header;
        let is_control = is_control(first);
        if self.header_len == 1 {
            self.check_first_byte(first)?;
            return Ok(None);
        }
        if second & 0x80 == 0 {
            return Err(Close::protocol_error("frame is not masked"));
        }
        let short = second & 0x7f;
        if is_control && short > 125 {
            return Err(Close::protocol_error("control frame is too long"));
        }
        let extra = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.header_len < 2 + extra {
            return Ok(None);
        }
        let payload = match &self.header[2..2 + extra] {
            [] => u64::from(short),
            long => long.iter().fold(0, |len, byte| len << 8 | u64::from(*byte)),
        };
        let is_shortest = match extra {
            2 => payload > 125,
            8 => payload > 0xffff && payload >> 63 == 0,
            _ => true,
        };
        if !is_shortest {
            return Err(Close::protocol_error("length is not in its shortest form"));
        }
        if self.header_len == 2 + extra && !is_control {
            self.count_fragment(first & 0x80 != 0, payload)?;
        }
        const MASKING_KEY: usize = 4;
        Ok((self.header_len == 2 + extra + MASKING_KEY).then_some(payload))
    }

    fn check_first_byte(&self, first: u8) -> Result<(), Close> {
        let is_final = first & 0x80 != 0;
        Err(Close::protocol_error(match first & 0x0f {
            _ if first & 0x70 != 0 => "reserved bits are set",
            0x0 if self.message.is_none() => "continuation of nothing",
            0x1 | 0x2 if self.message.is_some() => "a message within a message",
            0x8..=0xa if !is_final => "fragmented control frame",
            0x0..=0x2 | 0x8..=0xa => return Ok(()),
            _ => "unknown opcode",
        }))
    }

    fn count_fragment(&mut self, is_final: bool, payload: u64) -> Result<(), Close> {
        let (bytes, frames) = self.message.unwrap_or((0, 0));
        let (bytes, frames) = (bytes.saturating_add(payload), frames + 1);
        // A million empty fragments are a message too big in work, if not in bytes.
        if bytes > self.max_message || frames > 16 + self.max_message / 16 {
            return Err(Close::message_too_big());
        }
        self.message = (!is_final).then_some((bytes, frames));
        Ok(())
    }
}

/// By its opcode (RFC 6455 section 5.5).
fn is_control(first: u8) -> bool {
    first & 0x08 != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 1000;
    const MASK: [u8; 4] = [1, 2, 3, 4];

    fn header(first: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match payload {
            0..=125 => frame.push(0x80 | payload as u8),
            126..=0xffff => {
                frame.push(0x80 | 126);
                frame.extend((payload as u16).to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame
    }

    fn whole(first: u8, payload: usize) -> Vec<u8> {
        let mut bytes = header(first, payload);
        bytes.resize(bytes.len() + payload, 0);
        bytes
    }

    fn code(input: &[u8]) -> Option<u16> {
        FrameGuard::new(MAX)
            .check(input)
            .refused
            .map(|close| close.code)
    }

    #[test]
    fn good_frames_pass() {
        for input in [
            whole(0x81, 0),
            whole(0x82, 125),
            whole(0x81, 126),
            whole(0x89, 125),
            whole(0x81, MAX),
        ] {
            let verdict = FrameGuard::new(MAX).check(&input);
            assert_eq!(
                verdict,
                Verdict {
                    good: input.len(),
                    frames: Frames {
                        ended: 1,
                        controls: usize::from(input[0] & 0x08 != 0),
                    },
                    refused: None
                }
            );
        }
    }

    #[test]
    fn refused_from_the_header_alone() {
        assert_eq!(code(&[0xc1]), Some(1002), "reserved bit");
        assert_eq!(code(&[0x83]), Some(1002), "data opcode");
        assert_eq!(code(&[0x8b]), Some(1002), "control opcode");
        assert_eq!(code(&[0x09]), Some(1002), "fragmented ping");
        assert_eq!(code(&[0x80]), Some(1002), "continuation");
        assert_eq!(code(&[0x81, 0x05]), Some(1002), "not masked");
        assert_eq!(code(&[0x89, 0x80 | 126]), Some(1002), "long ping");
        assert_eq!(
            code(&[0x81, 0x80 | 126, 0, 125]),
            Some(1002),
            "not shortest"
        );
        assert_eq!(
            code(&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
            Some(1002),
            "not shortest"
        );
        assert_eq!(
            code(&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]),
            Some(1002),
            "top bit"
        );
        assert_eq!(code(&header(0x81, MAX + 1)[..4]), Some(1009));
        assert_eq!(code(&header(0x81, 1 << 40)[..10]), Some(1009));
    }

    #[test]
    fn fragments_add_up() {
        let mut input = whole(0x01, 600);
        input.extend(whole(0x89, 3));
        let good = input.len();
        input.extend(header(0x80, 401));
        let verdict = FrameGuard::new(MAX).check(&input);
        assert_eq!(verdict.frames.ended, 2);
        assert!((good..good + 4).contains(&verdict.good));
        assert_eq!(verdict.refused.unwrap().code, 1009);

        let mut inside = whole(0x01, 1);
        inside.extend(whole(0x81, 1));
        assert_eq!(code(&inside), Some(1002));
    }

    #[test]
    fn empty_fragments_are_not_endless() {
        let mut guard = FrameGuard::new(MAX);
        assert_eq!(guard.check(&whole(0x01, 0)).refused, None);
        let refused = (0..1_000_000).find_map(|n| {
            guard
                .check(&whole(0x00, 0))
                .refused
                .map(|close| (n, close.code))
        });
        assert!(matches!(refused, Some((n, 1009)) if n < 100), "{refused:?}");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            input in proptest::collection::vec(any::<u8>(), 0..300),
            cuts in proptest::collection::vec(1usize..9, 0..300),
        ) {
            let at_once = FrameGuard::new(MAX).check(&input);
            let mut guard = FrameGuard::new(MAX);
            let (mut at, mut frames, mut refused) = (0, Frames::default(), None);
            let mut cuts = cuts.into_iter();
            while at < input.len() && refused.is_none() {
                let end = (at + cuts.next().unwrap_or(5)).min(input.len());
                let verdict = guard.check(&input[at..end]);
                frames.ended += verdict.frames.ended;
                frames.controls += verdict.frames.controls;
                at += verdict.good;
                refused = verdict.refused;
            }
            prop_assert_eq!((at, frames, refused), (at_once.good, at_once.frames, at_once.refused));
        }
    }
}
