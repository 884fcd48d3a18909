//! Single events that wait for those before them travel together, as one message.
//!
//! A message costs the broker and each follower far more than an event in it. Up to
//! [`ON_THEIR_WAY`] messages of a topic are under way at a time; what comes meanwhile waits for
//! one of them to be answered, and goes then as one. So a single publisher waits for nobody,
//! and many publishers share round trips, as they share the sync of a disk.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stoat_events::{AppendError, Appended, Event, EventId, Topic};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::keeper::{Inner, longest_id};
use crate::position::MAX_EVENTS;
use crate::publish::{publish_message, unavailable, unconfirmed};

/// Messages of one topic that are under way before what comes is gathered.
const ON_THEIR_WAY: usize = 2;
/// The most bytes of events that are gathered in a message: any broker takes that.
const MOST_BYTES: usize = 32 << 10;

/// How much longer is waited for what came of a message that others share, whose time may be
/// over a little later.
const GRACE: Duration = Duration::from_millis(250);

/// What waits, by topic.
#[derive(Default)]
pub(crate) struct Packer {
    lanes: Mutex<HashMap<Option<Topic>, Lane>>,
}

#[derive(Default)]
struct Lane {
    on_their_way: usize,
    waiting: VecDeque<Waiting>,
    next: u64,
}

struct Waiting {
    number: u64,
    event: Event,
    deadline: Instant,
    answer: oneshot::Sender<Result<Appended, AppendError>>,
}

/// Publishes an event, together with others of its topic where it has to wait.
///
/// When the future is dropped the event is published all the same.
pub(crate) async fn publish(
    inner: &Arc<Inner>,
    event: Event,
    deadline: Instant,
) -> Result<Appended, AppendError> {
    let topic = event.topic().cloned();
    let (answer, mut answered) = oneshot::channel();
    let number = inner.packer.enter(inner, event, deadline, answer);
    let mut answer = timeout_at(deadline, &mut answered).await;
    if answer.is_err() {
        if inner.packer.withdraw(&topic, number) {
            return Err(unavailable("what was published before is not answered"));
        }
        answer = timeout_at(deadline + GRACE, answered).await;
    }
    match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(unconfirmed("the publish was cut off")),
        Err(_) => Err(unconfirmed("JetStream did not answer")),
    }
}

impl Packer {
    /// Lines an event up, and sees to it that it is sent. Its number in its lane.
    fn enter(
        &self,
        inner: &Arc<Inner>,
        event: Event,
        deadline: Instant,
        answer: oneshot::Sender<Result<Appended, AppendError>>,
    ) -> u64 {
        let topic = event.topic().cloned();
        let mut lanes = self.lock();
        let lane = lanes.entry(topic.clone()).or_default();
        let number = lane.next;
        lane.next += 1;
        lane.waiting.push_back(Waiting {
            number,
            event,
            deadline,
            answer,
        });
        if lane.on_their_way < ON_THEIR_WAY {
            lane.on_their_way += 1;
            #[expect(
                clippy::disallowed_methods,
                reason = "it serves several requests, whose events know theirs"
            )]
            tokio::spawn(carry(Arc::clone(inner), topic));
        }
        number
    }

    /// Takes an event back that is not on its way yet. Says whether it did.
    fn withdraw(&self, topic: &Option<Topic>, number: u64) -> bool {
        let mut lanes = self.lock();
        let waiting = lanes.get_mut(topic).map(|lane| &mut lane.waiting);
        waiting.is_some_and(|waiting| {
            let at = waiting.binary_search_by_key(&number, |waiting| waiting.number);
            at.is_ok_and(|at| waiting.remove(at).is_some())
        })
    }

    /// What waits for a topic, as much as fits into a message. Where nothing does, a message
    /// less is on its way.
    fn take(&self, topic: &Option<Topic>, id: EventId) -> Option<Vec<Waiting>> {
        let mut lanes = self.lock();
        let lane = lanes.get_mut(topic)?;
        if lane.waiting.is_empty() {
            lane.on_their_way -= 1;
            if lane.on_their_way == 0 {
                lanes.remove(topic);
            }
            return None;
        }
        let mut bytes = 0;
        let fits = |(at, waiting): &(usize, &Waiting)| {
            bytes += waiting.event.encoded_len(id);
            *at == 0 || bytes <= MOST_BYTES
        };
        let fitting = lane.waiting.iter().take(MAX_EVENTS).enumerate();
        let count = fitting.take_while(fits).count();
        Some(lane.waiting.drain(..count).collect())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Option<Topic>, Lane>> {
        // Nothing panics while the lock is held.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what waits for a topic, one message after the other, until nothing does.
async fn carry(inner: Arc<Inner>, topic: Option<Topic>) {
    while let Some(pack) = inner.packer.take(&topic, longest_id(&inner)) {
        send(&inner, pack).await;
    }
}

/// Publishes events as one message, and answers each.
async fn send(inner: &Inner, pack: Vec<Waiting>) {
    let deadline = pack.iter().map(|waiting| waiting.deadline).max();
    let Some(deadline) = deadline else { return };
    let (events, answers): (Vec<_>, Vec<_>) = pack
        .into_iter()
        .map(|waiting| (waiting.event, waiting.answer))
        .unzip();
    match publish_message(inner, &events, None, deadline).await {
        Ok(appended) => {
            for (receipt, answer) in appended.receipts.iter().zip(answers) {
                // Who waited may have gone away.
                let _ = answer.send(Ok(Appended {
                    receipts: [receipt.clone()].into(),
                    replayed: false,
                }));
            }
        }
        // A broker that takes even less than that.
        Err(AppendError::BatchTooLarge { .. }) => {
            for (event, answer) in events.iter().zip(answers) {
                let alone = std::slice::from_ref(event);
                let _ = answer.send(publish_message(inner, alone, None, deadline).await);
            }
        }
        Err(error) => {
            for answer in answers {
                let _ = answer.send(Err(error.clone()));
            }
        }
    }
}
