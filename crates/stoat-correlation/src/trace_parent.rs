//! The `traceparent` header of W3C Trace Context, parsed strictly.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

/// The position of a request in a trace, as the `traceparent` header carries it
/// ([W3C Trace Context §3.2](https://www.w3.org/TR/trace-context/#traceparent-header)).
///
/// [`Display`](fmt::Display) writes the form of version 00, whatever version was read.
///
/// ```
/// use stoat_correlation::TraceParent;
///
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let parent = TraceParent::parse(text)?;
/// assert_eq!(parent.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert!(parent.is_sampled());
/// assert_eq!(parent.to_string(), text);
/// # Ok::<(), stoat_correlation::InvalidTraceParent>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: TraceId,
    parent_id: [u8; 8],
    flags: u8,
}

impl TraceParent {
    /// Reads the value of a `traceparent` header.
    ///
    /// Version 00 is 55 bytes and no more. A higher version is read as its first
    /// four fields, and may go on after a further `-`. Flag bits that the
    /// specification does not define are dropped, as §3.2.2.5 asks: version 00
    /// keeps `sampled` and `random` (level 2), a higher one `sampled` alone.
    ///
    /// # Errors
    ///
    /// A field has the wrong length, holds anything but lower-case hexadecimal
    /// digits, a trace-id or parent-id is all zeros, or the version is `ff`.
    pub fn parse(text: &str) -> Result<Self, InvalidTraceParent> {
        let (head, rest) = text
            .as_bytes()
            .split_first_chunk::<{ Self::LEN }>()
            .ok_or(InvalidTraceParent("is shorter than 55 bytes"))?;
        if [head[2], head[35], head[52]] != [b'-'; 3] {
            return Err(InvalidTraceParent("has no '-' where a field ends"));
        }
        let [version] = hex(&head[..2]).ok_or(InvalidTraceParent("has a malformed version"))?;
        let trace_id = hex(&head[3..35]).ok_or(InvalidTraceParent("has a malformed trace-id"))?;
        let parent_id =
            hex(&head[36..52]).ok_or(InvalidTraceParent("has a malformed parent-id"))?;
        let [flags] = hex(&head[53..]).ok_or(InvalidTraceParent("has malformed flags"))?;

        let known_flags = match (version, rest.first()) {
            (0xff, _) => return Err(InvalidTraceParent("has the forbidden version ff")),
            (0, None) => SAMPLED | RANDOM,
            (0, Some(_)) => return Err(InvalidTraceParent("is longer than 55 bytes")),
            (_, None | Some(b'-')) => SAMPLED,
            (_, Some(_)) => return Err(InvalidTraceParent("has flags of more than two digits")),
        };
        if trace_id == [0; 16] {
            return Err(InvalidTraceParent("has a trace-id of zeros"));
        }
        if parent_id == [0; 8] {
            return Err(InvalidTraceParent("has a parent-id of zeros"));
        }
        Ok(Self {
            trace_id: TraceId(trace_id),
            parent_id,
            flags: flags & known_flags,
        })
    }

    /// The ID of the whole trace.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The ID of the caller's span, as bytes in the order they are written.
    #[must_use]
    pub fn parent_id(&self) -> [u8; 8] {
        self.parent_id
    }

    /// The flags that are kept: bit 0 is `sampled`, bit 1 `random`.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// True when the caller may have recorded the trace.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The length of version 00 in bytes.
    const LEN: usize = 55;
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-", self.trace_id)?;
        write_hex(f, &self.parent_id)?;
        write!(f, "-{:02x}", self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for TraceParent {
    type Error = InvalidTraceParent;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        Self::parse(text)
    }
}

/// The ID of a trace: 16 bytes, not all zero; shown as 32 hexadecimal digits in
/// lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// The bytes, in the order they are written.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

/// Why a text is not a [`TraceParent`]; its message holds nothing of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTraceParent(&'static str);

impl fmt::Display for InvalidTraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "traceparent {}", self.0)
    }
}

impl Error for InvalidTraceParent {}

const SAMPLED: u8 = 0b01;
const RANDOM: u8 = 0b10;

/// Decodes exactly `N` bytes from lower-case hexadecimal digits.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn reads_the_fields() {
        let parent = TraceParent::parse(VALID).unwrap();
        assert_eq!(
            parent.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert_eq!(parent.trace_id().to_bytes()[..2], [0x0a, 0xf7]);
        assert_eq!(
            parent.parent_id(),
            [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]
        );
        assert!(parent.is_sampled());
        assert_eq!(parent.to_string(), VALID);
        assert_eq!(VALID.parse(), Ok(parent));
        assert_eq!(TraceParent::try_from(VALID), Ok(parent));
    }

    #[test]
    fn keeps_only_the_flags_that_are_defined() {
        let flags = |text: &str| TraceParent::parse(text).unwrap().flags();
        let zero_to_parent = &VALID[..53];
        assert_eq!(flags(&format!("{zero_to_parent}00")), 0);
        assert_eq!(flags(&format!("{zero_to_parent}ff")), 0b11);
        assert_eq!(flags(&format!("{zero_to_parent}fe")), 0b10);
        assert_eq!(flags(&format!("cc{}ff", &zero_to_parent[2..])), 0b01);
    }

    #[test]
    fn reads_higher_versions_as_their_first_four_fields() {
        for tail in ["", "-", "-what-the-future-will-be-like", "-é"] {
            let parent = TraceParent::parse(&format!("cc{}{tail}", &VALID[2..])).unwrap();
            assert_eq!(parent.to_string(), VALID);
        }
        assert!(TraceParent::parse(&format!("cc{}.x", &VALID[2..])).is_err());
        assert!(TraceParent::parse(&format!("cc{}é", &VALID[2..])).is_err());
    }

    #[test]
    fn refuses_what_the_specification_refuses() {
        let refused = [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-011",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-B7AD6B7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0A",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319cb7ad-6b7169203331-01",
            " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319é-b7ad6b7169203331-01",
            "+0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ];
        for text in refused {
            let error = TraceParent::parse(text).expect_err(text);
            assert!(error.to_string().starts_with("traceparent "), "{error}");
        }
    }

    /// The grammar a second time, by fields instead of by offsets.
    fn in_grammar(text: &str) -> bool {
        let fields: Vec<&str> = text.splitn(5, '-').collect();
        let hex_of = |field: &str, len: usize| {
            field.len() == len && field.chars().all(|c| "0123456789abcdef".contains(c))
        };
        let not_zero = |field: &str| field.chars().any(|c| c != '0');
        match fields[..] {
            [version, trace, parent, flags, ref tail @ ..] => {
                hex_of(version, 2)
                    && version != "ff"
                    && hex_of(trace, 32)
                    && not_zero(trace)
                    && hex_of(parent, 16)
                    && not_zero(parent)
                    && hex_of(flags, 2)
                    && (version != "00" || tail.is_empty())
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn accepts_exactly_the_grammar(text in prop_oneof![
            any::<String>(),
            "(00|[0-9a-f]{2})-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}",
            "(00|[0-9a-f]{2})-(0{32}|[0-9a-f]{32})-(0{16}|[0-9a-f]{16})-[0-9a-f]{2}(-.{0,9})?",
            "[0-9a-fA-F]{1,3}[-_][0-9a-f]{31,33}-[0-9a-f]{15,17}-[0-9a-fG]{1,3}",
            "[0-9a-f-]{55}",
            ".{0,120}",
        ]) {
            match TraceParent::parse(&text) {
                Ok(parent) => {
                    prop_assert!(in_grammar(&text));
                    prop_assert_eq!(&parent.to_string()[2..53], &text[2..53]);
                    prop_assert_eq!(TraceParent::parse(&parent.to_string()), Ok(parent));
                }
                Err(_) => prop_assert!(!in_grammar(&text)),
            }
        }
    }
}
