//! Bounds on the memory of what passes through, all requests together.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::answer::Answer;
use super::problem::{Kind, Problem};

/// What is counted together; bodies up to this size are not counted: there are only so many
/// connections.
const UNIT: usize = 16 << 10;
/// How long a request waits for room.
const PATIENCE: Duration = Duration::from_secs(5);

/// Memory that large bodies share.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    units: Arc<Semaphore>,
    most: usize,
}

/// A part of a [`Budget`], given back when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Room(Option<OwnedSemaphorePermit>);

impl Budget {
    /// So many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let most = bytes / UNIT;
        Self {
            units: Arc::new(Semaphore::new(most)),
            most,
        }
    }

    /// Room for an answer of that size, before it is made; never for more than there is.
    ///
    /// # Errors
    /// 503 where there is none for some seconds.
    pub(super) async fn reserve(&self, bytes: usize) -> Result<Room, Problem> {
        let mut room = Room::default();
        self.grow(&mut room, bytes).await?;
        Ok(room)
    }

    /// Makes the room large enough for so many bytes.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve); the room stays as it is.
    ///
    /// # Cancel safety
    /// Safe: nothing stays counted.
    pub(super) async fn grow(&self, room: &mut Room, bytes: usize) -> Result<(), Problem> {
        let wanted = units(bytes).min(self.most);
        let missing = wanted.saturating_sub(room.units());
        if missing == 0 {
            return Ok(());
        }
        let more = Arc::clone(&self.units).acquire_many_owned(missing as u32);
        let Ok(Ok(more)) = timeout(PATIENCE, more).await else {
            let kind = Kind::plain(StatusCode::SERVICE_UNAVAILABLE);
            let detail = "too many large requests or answers are under way";
            return Err(Problem::new(kind, detail).retry_after(5));
        };
        match &mut room.0 {
            Some(permit) => permit.merge(more),
            None => room.0 = Some(more),
        }
        Ok(())
    }
}

impl Room {
    /// The answer, which takes as much of the room as it needs, until its last byte is handed on
    /// or thrown away.
    pub(super) async fn hold(mut self, answer: Answer) -> Answer {
        let (head, body) = answer.into_parts();
        let needed = units(body.size_hint().lower() as usize);
        let surplus = self.units().saturating_sub(needed);
        if let Some(permit) = &mut self.0 {
            drop(permit.split(surplus));
        }
        if self.units() == 0 {
            return Answer::from_parts(head, body);
        }
        let Ok(body) = body.collect().await;
        let held = Bytes::from_owner(HeldBytes {
            bytes: body.to_bytes(),
            _room: self,
        });
        Answer::from_parts(head, Full::new(held))
    }

    fn units(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

/// Bytes that give their room back when the last of them is gone.
struct HeldBytes {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn units(bytes: usize) -> usize {
    if bytes <= UNIT {
        0
    } else {
        bytes.div_ceil(UNIT)
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::text;
    use super::*;

    const ALL: usize = 4 << 20;

    fn answer(bytes: usize) -> Answer {
        text(StatusCode::OK, "text/plain", vec![b'x'; bytes])
    }

    async fn refused(budget: &Budget, bytes: usize) {
        let problem = budget.reserve(bytes).await.unwrap_err().into_answer();
        assert_eq!(problem.status(), 503);
        assert_eq!(problem.headers()["retry-after"], "5");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_holds_what_it_needs_until_it_is_gone() {
        let budget = Budget::new(ALL);
        let all = budget.reserve(ALL * 2).await.unwrap();
        refused(&budget, UNIT + 1).await;
        assert!(budget.reserve(UNIT).await.is_ok());

        let large = all.hold(answer(ALL - UNIT - 1)).await;
        refused(&budget, UNIT + 1).await;
        // hyper takes the bytes out and lets go of the body before they are written.
        let body = large.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), ALL - UNIT - 1);
        refused(&budget, UNIT + 1).await;
        drop(body);
        let all = budget.reserve(ALL).await.unwrap();
        let small = all.hold(answer(UNIT)).await;
        assert_eq!(budget.units.available_permits(), ALL / UNIT);
        drop(small);
    }

    #[tokio::test(start_paused = true)]
    async fn room_grows_as_a_body_comes() {
        let budget = Budget::new(4 * UNIT);
        let (mut one, mut other) = (Room::default(), Room::default());
        budget.grow(&mut one, UNIT).await.unwrap();
        assert_eq!(one.units(), 0);
        budget.grow(&mut one, 2 * UNIT).await.unwrap();
        budget.grow(&mut one, 2 * UNIT).await.unwrap();
        budget.grow(&mut other, 2 * UNIT).await.unwrap();
        assert_eq!((one.units(), other.units()), (2, 2));
        budget.grow(&mut one, 3 * UNIT).await.unwrap_err();
        drop(other);
        budget.grow(&mut one, 3 * UNIT).await.unwrap();
        drop(one);
        assert_eq!(budget.units.available_permits(), 4);
    }
}
