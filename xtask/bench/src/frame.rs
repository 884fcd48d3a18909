//! WebSocket frames as one end needs them: whole ones out of a buffer, small ones into one.

/// What a buffer begins with.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// Not a whole frame yet.
    Partial,
    /// Nothing that a server may send.
    Broken,
    /// A whole frame.
    Frame {
        /// The kind of frame: 1 and 2 carry a message, 8 closes, 9 is a ping, 10 a pong.
        opcode: u8,
        /// What it carries.
        payload: &'a [u8],
        /// How many bytes of the buffer it takes.
        length: usize,
    },
}

/// The longest payload that is taken for one.
const LONGEST: u64 = 1 << 30;

/// Reads a frame of a server: unmasked, unfragmented, without extensions.
#[must_use]
pub fn parse_of_server(bytes: &[u8]) -> Parsed<'_> {
    let [first, second, rest @ ..] = bytes else {
        return Parsed::Partial;
    };
    if first & 0xF0 != 0x80 || second & 0x80 != 0 {
        return Parsed::Broken;
    }
    let (length, header) = match (second, rest) {
        (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 4),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 10)
        }
        (126 | 127, _) => return Parsed::Partial,
        (length, _) => (u64::from(*length), 2),
    };
    if length > LONGEST {
        return Parsed::Broken;
    }
    let end = header + length as usize;
    match bytes.get(header..end) {
        Some(payload) => Parsed::Frame {
            opcode: first & 0x0F,
            payload,
            length: end,
        },
        None => Parsed::Partial,
    }
}

/// Appends the header of an unmasked frame, as a server sends it.
pub fn write_header_of_server(out: &mut Vec<u8>, opcode: u8, length: usize) {
    out.push(0x80 | opcode);
    match length {
        0..=125 => out.push(length as u8),
        126..=0xFFFF => {
            out.push(126);
            out.extend((length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend((length as u64).to_be_bytes());
        }
    }
}

/// A masked frame with a short payload, as a client sends it; what is too long is cut off.
#[must_use]
pub fn short_of_client(opcode: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x5A, 0xC3, 0x17, 0x9E];
    let payload = payload.get(..125).unwrap_or(payload);
    let mut out = vec![0x80 | opcode, 0x80 | payload.len() as u8];
    out.extend(MASK);
    out.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_lengths_come_back() {
        for length in [0, 1, 125, 126, 65535, 65536] {
            let mut bytes = Vec::new();
            write_header_of_server(&mut bytes, 1, length);
            bytes.resize(bytes.len() + length, b'x');
            let whole = bytes.len();
            bytes.push(0x81);
            let Parsed::Frame {
                opcode,
                payload,
                length: used,
            } = parse_of_server(&bytes)
            else {
                panic!("{length}");
            };
            assert_eq!((opcode, payload.len(), used), (1, length, whole));
            for cut in [0, 1, whole - 1] {
                assert_eq!(parse_of_server(&bytes[..cut]), Parsed::Partial, "{length}");
            }
        }
    }

    #[test]
    fn a_masked_or_fragmented_frame_is_broken() {
        assert_eq!(parse_of_server(&short_of_client(1, b"a")), Parsed::Broken);
        assert_eq!(parse_of_server(&[0x01, 0]), Parsed::Broken);
        assert_eq!(parse_of_server(&[0xC1, 0]), Parsed::Broken);
        let huge = [0x82, 127, 255, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(parse_of_server(&huge), Parsed::Broken);
    }
}
