//! A request's body: read within a size and a time, and left behind without cutting off the answer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, timeout, timeout_at};

use super::budget::Room;
use super::problem::{BODY_TIMEOUT, BODY_TOO_LARGE, INCOMPLETE_BODY, Problem};

/// The most that is read and thrown away of a body that nobody wanted.
const LINGER_BYTES: usize = 4 << 20;
/// How long that may take.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// The body of one request.
#[derive(Debug)]
pub(super) struct RequestBody {
    incoming: Incoming,
    read_to_end: bool,
    /// The client waits for a `100 Continue` before it sends anything.
    on_demand: bool,
    /// For what was read, until the request is answered.
    room: Room,
}

impl RequestBody {
    /// What is read counts in the room until this is dropped or [left](Self::leave).
    pub(super) fn new(incoming: Incoming, on_demand: bool, room: Room) -> Self {
        Self {
            incoming,
            read_to_end: false,
            on_demand,
            room,
        }
    }

    /// Reads it all.
    ///
    /// # Errors
    /// 413 for a body of more than `max` bytes, at once where its length is announced; 408
    /// where it is not complete by `deadline`; 400 where it breaks off; 503 where the bodies of
    /// all requests take too much memory.
    ///
    /// # Cancel safety
    /// Not safe: what was read is lost.
    pub(super) async fn read(&mut self, max: usize, deadline: Instant) -> Result<Bytes, Problem> {
        let announced = self.incoming.size_hint().lower();
        if announced > max as u64 {
            return Err(too_large(max));
        }
        match timeout_at(deadline, self.read_within(max)).await {
            Ok(result) => result,
            Err(_) => Err(Problem::new(BODY_TIMEOUT, "the body was not complete in time").close()),
        }
    }

    async fn read_within(&mut self, max: usize) -> Result<Bytes, Problem> {
        // What is announced may never come.
        let mut whole = BytesMut::new();
        while let Some(frame) = self.incoming.frame().await {
            let frame = frame.map_err(|_| {
                Problem::new(INCOMPLETE_BODY, "the body broke off or is malformed").close()
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if whole.len() + data.len() > max {
                return Err(too_large(max));
            }
            let needed = whole.len() + data.len();
            self.room.grow(needed).await.map_err(Problem::close)?;
            if whole.is_empty() && self.incoming.is_end_stream() {
                // As most bodies come, all at once: there is nothing to copy together.
                self.read_to_end = true;
                return Ok(data);
            }
            whole.extend_from_slice(&data);
        }
        self.read_to_end = true;
        Ok(whole.freeze())
    }

    /// Reads on in the background, within bounds, so that a client that is still sending gets
    /// the answer and not a reset.
    pub(super) fn leave(self) {
        if self.read_to_end || self.on_demand || self.incoming.is_end_stream() {
            return;
        }
        let mut incoming = self.incoming;
        drop(stoat_correlation::spawn(timeout(LINGER_TIME, async move {
            let mut left = LINGER_BYTES;
            while let Some(Ok(frame)) = incoming.frame().await {
                let len = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(len) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
        })));
    }
}

fn too_large(max: usize) -> Problem {
    Problem::new(
        BODY_TOO_LARGE,
        format!("the body has more than {max} bytes"),
    )
    .close()
}
