//! How positions in the log follow from the sequence numbers of the stream.
//!
//! The events of a message end at the message's number times [`STRIDE`], so that the position
//! after a message is known without knowing how many events it had. Nothing else is needed
//! for all servers to give the same IDs. The first few positions after a message are free for
//! events that a server tells its own clients only.

/// Positions for each message of the stream.
const STRIDE: u64 = 1024;
/// The most events of one message.
pub(crate) const MAX_EVENTS: usize = 1000;
/// Positions after a message that no event of the next one can have.
const LOCAL: u64 = STRIDE - MAX_EVENTS as u64;

/// The position of the last event of a message, and the one after all of it.
pub(crate) fn end_of(message: u64) -> u64 {
    message.saturating_mul(STRIDE)
}

/// The position of the first event of a message that has so many.
pub(crate) fn first_of(message: u64, events: usize) -> u64 {
    end_of(message).saturating_sub(events.saturating_sub(1) as u64)
}

/// The message that has, or may have, the next event after a position.
pub(crate) fn message_after(position: u64) -> u64 {
    position / STRIDE + 1
}

/// The last message with anything up to a position.
pub(crate) fn message_up_to(position: u64) -> u64 {
    match position % STRIDE {
        0..=LOCAL => position / STRIDE,
        _ => position / STRIDE + 1,
    }
}

/// The next position for an event of this server's own; none where they are used up until
/// the next message.
pub(crate) fn local_after(position: u64) -> Option<u64> {
    (position % STRIDE < LOCAL).then_some(position + 1)
}

/// How many messages begin after one position and end up to the other.
pub(crate) fn messages_between(after: u64, to: u64) -> u64 {
    (to / STRIDE).saturating_sub(after / STRIDE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_and_positions_agree(message in 1..u64::MAX / STRIDE, events in 1..=MAX_EVENTS) {
            let (first, last) = (first_of(message, events), end_of(message));
            prop_assert_eq!(last - first + 1, events as u64);
            prop_assert!(first > end_of(message - 1) + LOCAL);
            for position in [first, last] {
                prop_assert_eq!(message_up_to(position), message);
                prop_assert_eq!(message_after(position - 1), message);
            }
            prop_assert_eq!(message_after(last), message + 1);
        }

        #[test]
        fn a_position_of_our_own_is_after_its_message(message in 0..u64::MAX / STRIDE) {
            let mut position = end_of(message);
            let mut count = 0;
            while let Some(next) = local_after(position) {
                position = next;
                count += 1;
                prop_assert_eq!(message_up_to(position), message);
                prop_assert_eq!(message_after(position), message + 1);
                prop_assert!(position < first_of(message + 1, MAX_EVENTS));
            }
            prop_assert_eq!(count, LOCAL);
        }
    }

    #[test]
    fn a_distance_is_in_messages() {
        assert_eq!(messages_between(end_of(3), end_of(7)), 4);
        assert_eq!(messages_between(end_of(7), end_of(3)), 0);
    }
}
