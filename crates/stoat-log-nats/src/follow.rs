//! The one reader that follows the stream, message by message.
//!
//! JetStream pushes the messages to it, in order, as long as nothing goes wrong. Each carries
//! its number in the stream and in the delivery; where a number is missing, or nothing is
//! heard for a while, the delivery is begun again after the last message that was taken.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use async_nats::header::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, push};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self};
use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use stoat_events::Timestamp;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::keeper::{ANSWER, Inner, Link, oldest};
use crate::message::{decode, nonce};
use crate::shared::instant_of;
use crate::stream::epoch;

/// How often JetStream is to say that there is nothing.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// After so long without a word the delivery is begun again.
const SILENCE: Duration = Duration::from_millis(2500);
/// Between two attempts to begin.
const PAUSE: Duration = Duration::from_millis(100);
/// What was stored before so long ago was not published just now.
const LIVE: Duration = Duration::from_secs(5);

/// The number of the last message in the delivery, in a heartbeat.
const LAST_DELIVERED: &str = "Nats-Last-Consumer";
/// Where to say that we are ready for more, in a heartbeat.
const STALLED: &str = "Nats-Consumer-Stalled";

/// Follows the stream after a message, for ever.
pub(crate) async fn follow(inner: &Inner, link: &Link, after: u64) {
    let mut follower = Follower {
        inner,
        link,
        last: after,
        delivered: 0,
        connects: inner.connects.subscribe(),
    };
    loop {
        let why = match timeout(2 * ANSWER, follower.begin()).await {
            Ok(Ok(messages)) => {
                inner.is_followed.store(true, Relaxed);
                inner.changed.notify_one();
                follower.take(messages).await
            }
            Ok(Err(error)) => error,
            Err(_) => "no answer".to_owned(),
        };
        inner.is_followed.store(false, Relaxed);
        inner.shared.restarts.fetch_add(1, Relaxed);
        tracing::debug!(%why, after = follower.last, "following the stream is begun again");
        sleep(PAUSE).await;
    }
}

struct Follower<'a> {
    inner: &'a Inner,
    link: &'a Link,
    /// The last message of the stream that was taken.
    last: u64,
    /// How many messages came in this delivery.
    delivered: u64,
    connects: watch::Receiver<u64>,
}

type Failure = String;

impl Follower<'_> {
    /// Has a delivery begun after the last message.
    async fn begin(&mut self) -> Result<Subscriber, Failure> {
        let Link { client, context } = self.link;
        if !self.link.is_connected() {
            return Err("not connected".to_owned());
        }
        self.connects.mark_unchanged();
        let inbox = client.new_inbox();
        let messages = client.subscribe(inbox.clone()).await.map_err(as_text)?;
        let config = push::Config {
            deliver_subject: inbox,
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.last + 1,
            },
            ack_policy: AckPolicy::None,
            flow_control: true,
            idle_heartbeat: HEARTBEAT,
            memory_storage: true,
            num_replicas: 1,
            ..push::Config::default()
        };
        let stream = context.get_stream_no_info(&self.inner.rules.stream.name);
        let stream = stream.await.map_err(as_text)?;
        stream.create_consumer(config).await.map_err(as_text)?;
        // After the delivery was begun: a stream that goes back later takes it along.
        let Response::Ok(info) = self.inner.look(self.link).await.map_err(as_text)? else {
            return Err("no stream".to_owned());
        };
        if epoch(&info) != self.inner.shared.epoch() || info.state.last_sequence < self.last {
            return Err("the stream is another one, or is behind".to_owned());
        }
        self.delivered = 0;
        Ok(messages)
    }

    /// Takes messages until something is wrong; says what.
    async fn take(&mut self, mut messages: Subscriber) -> Failure {
        loop {
            let message = tokio::select! {
                message = timeout(SILENCE, messages.next()) => message,
                // What came meanwhile went nowhere.
                _ = self.connects.changed() => return "a new connection".to_owned(),
            };
            let message = match message {
                Ok(Some(message)) => message,
                Ok(None) => return "the subscription has ended".to_owned(),
                Err(_) => return "silence".to_owned(),
            };
            let taken = match message.status {
                None | Some(StatusCode::OK) => self.take_message(message).await,
                Some(StatusCode::IDLE_HEARTBEAT) => self.answer(message).await,
                Some(status) => Err(format!("status {status}")),
            };
            if let Err(why) = taken {
                return why;
            }
        }
    }

    async fn take_message(&mut self, message: Message) -> Result<(), Failure> {
        let message = jetstream::Message {
            message,
            context: self.link.context.clone(),
        };
        let info = message.info().map_err(as_text)?;
        if info.consumer_sequence != self.delivered + 1 || info.stream_sequence <= self.last {
            return Err(format!(
                "message {} of the delivery is missing",
                self.delivered + 1
            ));
        }
        let (number, published) = (info.stream_sequence, info.published.into());
        if number != self.last + 1 {
            self.pass_over(number - 1).await?;
        }
        self.delivered += 1;
        self.show(number, published, &message);
        Ok(())
    }

    /// Shows a message to readers.
    fn show(&mut self, number: u64, published: SystemTime, message: &Message) {
        let shared = &self.inner.shared;
        let stored = Timestamp::from(published);
        let age = SystemTime::now().duration_since(published);
        let age = age.unwrap_or_default();
        // The clocks of the broker and this machine differ: what is new came now.
        let accepted_at = if age < LIVE {
            Instant::now()
        } else {
            instant_of(age)
        };
        let subjects = &self.inner.rules.stream.subjects;
        let events = decode(subjects, &message.subject, &message.payload, stored);
        let events = events.unwrap_or_else(|why| {
            shared.skipped.fetch_add(1, Relaxed);
            tracing::debug!(message = number, %why, "a message of the stream is no event, and is passed over");
            Vec::new()
        });
        shared.show(number, events, accepted_at);
        if let Some(nonce) = message.headers.as_ref().and_then(nonce) {
            shared.saw(nonce, number);
        }
        self.last = number;
    }

    /// The stream went on without the messages up to this one. Those that it let go of are
    /// lost to the readers here, who are told so; those that somebody deleted are not missed.
    async fn pass_over(&mut self, up_to: u64) -> Result<(), Failure> {
        let Response::Ok(info) = self.inner.look(self.link).await.map_err(as_text)? else {
            return Err("no stream".to_owned());
        };
        let oldest = oldest(&info);
        if oldest > self.last + 1 {
            let lost = up_to.min(oldest - 1);
            tracing::error!(
                from = self.last + 1,
                to = lost,
                "the stream let go of messages before they were read; readers get a gap"
            );
            self.inner.shared.lose(lost);
        }
        self.last = up_to;
        Ok(())
    }

    /// Answers a heartbeat where an answer is asked for.
    async fn answer(&mut self, message: Message) -> Result<(), Failure> {
        let header = |name| {
            let headers = message.headers.as_ref();
            headers.and_then(|headers: &HeaderMap| headers.get(name))
        };
        if let Some(last) = header(LAST_DELIVERED)
            && last.as_str().parse() != Ok(self.delivered)
        {
            return Err("the end of the delivery is missing".to_owned());
        }
        let stalled = header(STALLED).map(|subject| subject.as_str().to_owned());
        let reply = message.reply.map(|reply| reply.to_string());
        for subject in [reply, stalled].into_iter().flatten() {
            let sent = self.link.client.publish(subject, Bytes::new()).await;
            sent.map_err(as_text)?;
        }
        Ok(())
    }
}

fn as_text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
