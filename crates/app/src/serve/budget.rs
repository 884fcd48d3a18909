//! Bounds on the memory of what passes through, all requests together.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::answer::{Answer, AnswerBody};
use super::problem::{Kind, Problem};

/// What is counted together; bodies up to this size are not counted: there are only so many
/// connections.
const UNIT: usize = 16 << 10;
/// How long a request waits for room.
const PATIENCE: Duration = Duration::from_secs(5);
/// With so many addresses those that have no part any more are forgotten.
const IDLE_SHARES: usize = 1024;

/// Memory that large bodies share; one address gets half of it at most.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    all: Arc<Semaphore>,
    share: usize,
    /// What is left for each address that has a part.
    shares: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

/// A part of a [`Budget`], given back when this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    budget: Budget,
    address: IpAddr,
    part: Option<Part>,
}

#[derive(Debug)]
struct Part {
    of_share: OwnedSemaphorePermit,
    of_all: OwnedSemaphorePermit,
}

impl Budget {
    /// So many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let share = bytes / UNIT / 2;
        Self(Arc::new(Inner {
            all: Arc::new(Semaphore::new(share * 2)),
            share,
            shares: Mutex::default(),
        }))
    }

    /// No room yet.
    pub(super) fn room(&self, address: IpAddr) -> Room {
        Room {
            budget: self.clone(),
            address: address.to_canonical(),
            part: None,
        }
    }

    /// Room for an answer of that size, before it is made; never for more than there is.
    ///
    /// # Errors
    /// As [`Room::grow`].
    pub(super) async fn reserve(&self, address: IpAddr, bytes: usize) -> Result<Room, Problem> {
        let mut room = self.room(address);
        room.grow(bytes).await?;
        Ok(room)
    }

    fn share(&self, address: IpAddr) -> Arc<Semaphore> {
        let mut shares = self.0.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if shares.len() >= IDLE_SHARES {
            // Of the others something is in use.
            shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let share = shares.entry(address);
        Arc::clone(share.or_insert_with(|| Arc::new(Semaphore::new(self.0.share))))
    }
}

impl Room {
    /// Makes the room large enough for so many bytes.
    ///
    /// # Errors
    /// 503 where there is not enough left for some seconds; the room stays as it is.
    ///
    /// # Cancel safety
    /// Safe: nothing stays counted.
    pub(super) async fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let wanted = units(bytes).min(self.budget.0.share);
        let missing = wanted.saturating_sub(self.units()) as u32;
        if missing == 0 {
            return Ok(());
        }
        let share = self.budget.share(self.address);
        let all = Arc::clone(&self.budget.0.all);
        let more = timeout(PATIENCE, async {
            let of_share = share.acquire_many_owned(missing).await.ok()?;
            let of_all = all.acquire_many_owned(missing).await.ok()?;
            Some(Part { of_share, of_all })
        });
        let Ok(Some(more)) = more.await else {
            let kind = Kind::plain(StatusCode::SERVICE_UNAVAILABLE);
            let detail = "too many large requests or answers are under way";
            return Err(Problem::new(kind, detail).retry_after(5));
        };
        match &mut self.part {
            Some(part) => {
                part.of_share.merge(more.of_share);
                part.of_all.merge(more.of_all);
            }
            None => self.part = Some(more),
        }
        Ok(())
    }

    /// The answer, which takes as much of the room as it needs, until its last byte is handed on
    /// or thrown away.
    pub(super) async fn hold(mut self, answer: Answer) -> Answer {
        let (head, body) = answer.into_parts();
        let needed = units(body.size_hint().lower() as usize);
        let surplus = self.units().saturating_sub(needed);
        if let Some(part) = &mut self.part {
            drop(part.of_share.split(surplus));
            drop(part.of_all.split(surplus));
        }
        if self.units() == 0 {
            return Answer::from_parts(head, body);
        }
        let Ok(body) = body.collect().await;
        let held = Bytes::from_owner(HeldBytes {
            bytes: body.to_bytes(),
            _room: self,
        });
        Answer::from_parts(head, AnswerBody::whole(held))
    }

    fn units(&self) -> usize {
        let part = self.part.as_ref();
        part.map_or(0, |part| part.of_all.num_permits())
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
    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
    const C: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 3));

    fn answer(bytes: usize) -> Answer {
        text(StatusCode::OK, "text/plain", vec![b'x'; bytes])
    }

    async fn refused(budget: &Budget, address: IpAddr, bytes: usize) {
        let problem = budget.reserve(address, bytes).await.unwrap_err();
        let answer = problem.into_answer();
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "5");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_holds_what_it_needs_until_it_is_gone() {
        let budget = Budget::new(ALL);
        let half = budget.reserve(A, ALL * 2).await.unwrap();
        refused(&budget, A, UNIT + 1).await;
        assert!(budget.reserve(A, UNIT).await.is_ok());
        let other = budget.reserve(B, ALL).await.unwrap();
        refused(&budget, C, UNIT + 1).await;
        drop(other);
        assert!(budget.reserve(C, ALL).await.is_ok());

        let large = half.hold(answer(ALL / 2 - UNIT - 1)).await;
        refused(&budget, A, UNIT + 1).await;
        // hyper takes the bytes out and lets go of the body before they are written.
        let body = large.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), ALL / 2 - UNIT - 1);
        refused(&budget, A, UNIT + 1).await;
        drop(body);
        let half = budget.reserve(A, ALL).await.unwrap();
        let small = half.hold(answer(UNIT)).await;
        assert_eq!(budget.0.all.available_permits(), ALL / UNIT);
        drop(small);
    }

    #[tokio::test(start_paused = true)]
    async fn room_grows_as_a_body_comes() {
        let budget = Budget::new(8 * UNIT);
        let (mut one, mut other) = (budget.room(A), budget.room(A));
        one.grow(UNIT).await.unwrap();
        assert_eq!(one.units(), 0);
        one.grow(2 * UNIT).await.unwrap();
        one.grow(2 * UNIT).await.unwrap();
        other.grow(2 * UNIT).await.unwrap();
        assert_eq!((one.units(), other.units()), (2, 2));
        one.grow(3 * UNIT).await.unwrap_err();
        drop(other);
        one.grow(3 * UNIT).await.unwrap();
        drop(one);
        assert_eq!(budget.0.all.available_permits(), 8);
    }

    #[tokio::test]
    async fn addresses_without_a_part_are_forgotten() {
        let budget = Budget::new(ALL);
        let held = budget.reserve(A, ALL).await.unwrap();
        for n in 0..IDLE_SHARES as u32 * 3 {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + n);
            budget.reserve(address.into(), 2 * UNIT).await.unwrap();
        }
        let shares = budget.0.shares.lock().unwrap();
        assert!(shares.len() <= IDLE_SHARES && shares.contains_key(&A));
        drop(held);
    }
}
