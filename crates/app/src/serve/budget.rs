//! A bound on the memory of all answers that wait to be taken by their clients.

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

/// Bodies up to this size are not counted: there are only so many connections.
const SMALL: usize = 16 << 10;
/// The most bytes of all others.
const BYTES: usize = 64 << 20;
/// How long an answer waits for room.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is left for large answers, in units of [`SMALL`].
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BYTES / SMALL)))
    }

    /// The answer, counted until its last byte is handed on or thrown away. Where there is no
    /// room it waits a little, and becomes a 503 then.
    ///
    /// # Cancel safety
    /// The answer is lost; nothing stays counted.
    pub(super) async fn count(&self, answer: Answer) -> Answer {
        let size = answer.body().size_hint().lower() as usize;
        if size <= SMALL {
            return answer;
        }
        let units = size.div_ceil(SMALL).min(BYTES / SMALL) as u32;
        let room = Arc::clone(&self.0).acquire_many_owned(units);
        let Ok(Ok(permit)) = timeout(PATIENCE, room).await else {
            let kind = Kind::plain(StatusCode::SERVICE_UNAVAILABLE);
            let detail = "too many large answers wait to be taken by their clients";
            return Problem::new(kind, detail).retry_after(5).into_answer();
        };
        let (head, body) = answer.into_parts();
        let Ok(body) = body.collect().await;
        let counted = Bytes::from_owner(Counted {
            bytes: body.to_bytes(),
            _permit: permit,
        });
        Answer::from_parts(head, Full::new(counted))
    }
}

/// Bytes that give their room back when the last of them is gone.
struct Counted {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::text;
    use super::*;

    fn answer(bytes: usize) -> Answer {
        text(StatusCode::OK, "text/plain", vec![b'x'; bytes])
    }

    #[tokio::test(start_paused = true)]
    async fn large_answers_share_what_there_is() {
        let budget = Budget::new();
        let whole = budget.count(answer(BYTES)).await;
        assert_eq!(whole.status(), 200);
        let (small, large) = (answer(SMALL), answer(SMALL + 1));
        assert_eq!(budget.count(small).await.status(), 200);
        let refused = budget.count(large).await;
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.headers()["retry-after"], "5");

        // hyper takes the bytes out and lets go of the body before they are written.
        let body = whole.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(budget.count(answer(SMALL + 1)).await.status(), 503);
        drop(body);
        assert_eq!(budget.count(answer(BYTES * 2)).await.status(), 200);
        assert_eq!(budget.0.available_permits(), BYTES / SMALL);
    }
}
