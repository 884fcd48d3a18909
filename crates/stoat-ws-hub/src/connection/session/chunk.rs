//! Pieces of output.

use std::sync::Arc;

use stoat_events::{CloudEvent, EncodedEvent, Format, Gap, LogEntry};

/// A piece of output that is written whole before another begins, as the client gets it.
pub(super) struct Piece {
    pub(super) chunk: Chunk,
    /// The event in a form of this client's own; nothing where it gets the frame that all share.
    form: Option<Box<CloudEvent>>,
}

/// What a piece is made of.
pub(super) enum Chunk {
    Control(Vec<u8>),
    Entry(LogEntry),
    /// With the positions that it leads from and to.
    Gap(EncodedEvent, Gap, (u64, u64)),
    Beat {
        event: Arc<EncodedEvent>,
        seen_before: u64,
    },
}

impl Piece {
    pub(super) fn new(chunk: Chunk, format: Format) -> Self {
        let form = match format {
            Format::CloudEvents => chunk.event().map(CloudEvent::of).map(Box::new),
            _ => None,
        };
        Self { chunk, form }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match (&self.form, &self.chunk) {
            (Some(form), _) => form.ws_frame(),
            (None, Chunk::Control(bytes)) => bytes,
            (None, chunk) => chunk.event().map_or(&[], EncodedEvent::ws_frame),
        }
    }
}

impl Chunk {
    /// Where the client is as long as it does not have this; nothing where that does not move
    /// it.
    pub(super) fn position(&self) -> Option<u64> {
        match self {
            Self::Entry(entry) => Some(entry.sequence() - 1),
            Self::Gap(_, _, (after, _)) => Some(*after),
            Self::Control(_) | Self::Beat { .. } => None,
        }
    }

    /// Where the client is once it has this; nothing where that does not move it.
    pub(super) fn leads_to(&self) -> Option<u64> {
        match self {
            Self::Entry(entry) => Some(entry.sequence()),
            Self::Gap(_, _, (_, to)) => Some(*to),
            Self::Control(_) | Self::Beat { .. } => None,
        }
    }

    fn event(&self) -> Option<&EncodedEvent> {
        match self {
            Self::Control(_) => None,
            Self::Entry(entry) => Some(entry.encoded()),
            Self::Gap(event, ..) => Some(event),
            Self::Beat { event, .. } => Some(event),
        }
    }
}
