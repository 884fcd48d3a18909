//! The event that is published, and how it is known again in whatever frame a server makes of it.
//!
//! Its marker is `~FB`, four characters of the run, twelve digits of its number, `T`, nineteen
//! digits of the time it was due, then padding of one letter that depends on the number.

use std::io::Write as _;

const START: &[u8] = b"~FB";
const RUN: usize = 4;
const LENGTH: usize = 39;
/// Stands for the marker and its padding in a body.
const PLACE: &str = "{FB}";

/// A body to publish, with a place for the marker.
#[derive(Debug, Clone)]
pub struct Template {
    before: String,
    after: String,
    run: [u8; RUN],
    padding: usize,
}

/// What a message turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// An event of this run, whole.
    Event {
        /// Its number.
        number: u64,
        /// The time it was due.
        due: u64,
    },
    /// An event of another run.
    Foreign,
    /// A marker, but not as it was published.
    Damaged,
    /// No marker.
    Nothing,
}

impl Template {
    /// A body of `size` bytes out of a text with `{FB}` in it.
    ///
    /// # Errors
    ///
    /// The text has no place for the marker, or the size leaves it too little room.
    pub fn new(text: &str, size: usize, run: [u8; RUN]) -> Result<Self, String> {
        let (before, after) = text
            .split_once(PLACE)
            .ok_or(format!("the body needs {PLACE} in it"))?;
        let least = before.len() + after.len() + LENGTH + 1;
        let padding = size
            .checked_sub(least - 1)
            .filter(|padding| *padding > 0)
            .ok_or(format!("the body needs at least {least} bytes"))?;
        Ok(Self {
            before: before.to_owned(),
            after: after.to_owned(),
            run,
            padding,
        })
    }

    /// The length of each body.
    #[must_use]
    pub fn size(&self) -> usize {
        self.before.len() + LENGTH + self.padding + self.after.len()
    }

    /// Appends the body of an event.
    pub fn write(&self, out: &mut Vec<u8>, number: u64, due: u64) {
        out.extend_from_slice(self.before.as_bytes());
        out.extend_from_slice(START);
        out.extend_from_slice(&self.run);
        // Writing to memory does not fail.
        let _ = write!(out, "{number:012}T{due:019}");
        out.resize(out.len() + self.padding, letter(number));
        out.extend_from_slice(self.after.as_bytes());
    }

    /// Looks for an event in a message, first where the last one was.
    pub fn read(&self, message: &[u8], place: &mut usize) -> Found {
        if !message
            .get(*place..)
            .is_some_and(|rest| rest.starts_with(START))
        {
            match message
                .windows(START.len())
                .position(|window| window == START)
            {
                Some(at) => *place = at,
                None => return Found::Nothing,
            }
        }
        self.read_at(message.get(*place..).unwrap_or_default())
    }

    fn read_at(&self, text: &[u8]) -> Found {
        let Some((marker, rest)) = text.split_at_checked(LENGTH) else {
            return Found::Damaged;
        };
        if marker.get(3..7) != Some(&self.run) {
            return Found::Foreign;
        }
        let number = marker.get(7..19).and_then(digits);
        let due = marker.get(20..).and_then(digits);
        let (Some(number), Some(b'T'), Some(due)) = (number, marker.get(19), due) else {
            return Found::Damaged;
        };
        let letter = letter(number);
        let whole = rest
            .get(..self.padding)
            .is_some_and(|padding| padding.iter().all(|byte| *byte == letter));
        if whole && rest.get(self.padding) != Some(&letter) {
            Found::Event { number, due }
        } else {
            Found::Damaged
        }
    }
}

fn letter(number: u64) -> u8 {
    b'a' + (number % 26) as u8
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0_u64, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value.wrapping_mul(10) + u64::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Template {
        Template::new(r#"{"m":"{FB}"}"#, 100, *b"0a1b").unwrap()
    }

    fn body(number: u64, due: u64) -> Vec<u8> {
        let mut out = Vec::new();
        template().write(&mut out, number, due);
        out
    }

    #[test]
    fn an_event_comes_back_wherever_it_is_put() {
        let bare = body(27, 1_234_567_890);
        assert_eq!(bare.len(), 100);
        assert_eq!(template().size(), 100);
        let wrapped = [b"{\"id\":\"7\",\"payload\":", bare.as_slice(), b"}"].concat();
        let mut place = 0;
        for message in [&bare, &wrapped, &wrapped, &bare] {
            let event = Found::Event {
                number: 27,
                due: 1_234_567_890,
            };
            assert_eq!(template().read(message, &mut place), event);
        }
    }

    #[test]
    fn every_damaged_byte_of_marker_and_padding_is_noticed() {
        let whole = body(3, 5);
        let text = std::str::from_utf8(&whole).unwrap();
        let start = text.find('~').unwrap();
        for at in start..whole.len() - 2 {
            let mut message = whole.clone();
            message[at] ^= 0x40;
            let found = template().read(&message, &mut 0);
            assert!(!matches!(found, Found::Event { .. }), "{at}: {found:?}");
        }
        let cut = template().read(&whole[..60], &mut 0);
        assert_eq!(cut, Found::Damaged);
    }

    #[test]
    fn other_messages_are_told_apart() {
        let other = Template::new("{FB}", 50, *b"ffff").unwrap();
        let mut message = Vec::new();
        other.write(&mut message, 0, 0);
        assert_eq!(template().read(&message, &mut 0), Found::Foreign);
        assert_eq!(template().read(b"{}", &mut 90), Found::Nothing);
    }

    #[test]
    fn a_body_without_room_is_refused() {
        assert!(Template::new("{}", 100, *b"0000").is_err());
        assert!(Template::new("{FB}", LENGTH, *b"0000").is_err());
        assert!(Template::new("{FB}", LENGTH + 1, *b"0000").is_ok());
    }
}
