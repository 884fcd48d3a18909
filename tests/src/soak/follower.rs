//! A client that behaves, but comes and goes, and changes its mind.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::ledger::{ALL, Mask, Record, TOPICS};
use super::random::Random;
use super::{Scene, Tally};
use crate::event::{Event, split_id};
use crate::http::Request;
use crate::raw::{Frame, Raw};

const PING: &[u8] = br#"{"action":"ping"}"#;
const PONG: &str = r#"{"action":"pong"}"#;

/// Follows the log until all of it has come; returns what that was.
pub(super) async fn follow(
    scene: Arc<Scene>,
    number: u64,
    ready: impl FnOnce(),
) -> (Record, Tally) {
    let mut follower = Follower {
        raw: Raw::open_to(scene.address, "/ws").await,
        random: Random::new(scene.seed, number),
        // Half of them want everything, always.
        may_choose: number.is_multiple_of(2),
        mask: ALL,
        changing: false,
        position: 0,
        id: String::new(),
        record: Record::default(),
        tally: Tally::default(),
        scene,
    };
    follower.record.begin(0, ALL);
    ready();
    let mut ending = follower.scene.ending.subscribe();
    let mut next = Instant::now();
    loop {
        let last = *ending.borrow_and_update();
        if last.is_some_and(|last| follower.position >= last) {
            break;
        }
        tokio::select! {
            frame = follower.raw.frame() => follower.heard(frame).await,
            () = sleep_until(next), if last.is_none() => {
                follower.act().await;
                next += Duration::from_millis(follower.random.of(20..1500));
            }
            _ = ending.changed() => {}
        }
    }
    (follower.record, follower.tally)
}

struct Follower {
    scene: Arc<Scene>,
    raw: Raw,
    random: Random,
    may_choose: bool,
    mask: Mask,
    /// A subscription was sent, and its answer has not come.
    changing: bool,
    /// Everything up to here has come or was not asked for.
    position: u64,
    id: String,
    record: Record,
    tally: Tally,
}

impl Follower {
    async fn heard(&mut self, frame: Option<Frame>) {
        let Some(frame) = frame else {
            self.tally.dropped += 1;
            return self.resume().await;
        };
        match frame.head {
            0x81 if frame.text() == PONG => self.changed().await,
            0x81 => self.event(&Event::parse(frame.text())),
            0x89 => self.raw.send(0x8a, &frame.payload).await,
            0x88 => {
                self.raw.send(0x88, &frame.payload).await;
                self.tally.dropped += 1;
                self.resume().await;
            }
            _ => panic!("{frame:?}"),
        }
    }

    fn event(&mut self, event: &Event) {
        let (_, place) = split_id(&event.id);
        if event.event_type == "heartbeat" {
            assert!(
                place >= self.position,
                "a heartbeat at {place} after {}",
                self.position
            );
        } else {
            // It never lags so far that the log has moved past it.
            assert_eq!(event.event_type, "soak", "{event:?}");
            assert!(place > self.position, "{place} after {}", self.position);
            self.record.got.push((place, event.n()));
            self.tally.delivered += 1;
        }
        self.position = place;
        self.id.clone_from(&event.id);
    }

    async fn act(&mut self) {
        match self.random.of(0..6) {
            0 => {
                self.raw.cut();
                self.tally.resets += 1;
                self.resume().await;
            }
            1 => {
                self.raw.send(0x88, &1000u16.to_be_bytes()).await;
                // What comes before the answer counts.
                while let Some(frame) = self.raw.frame().await {
                    if frame.head == 0x81 && frame.text() != PONG {
                        self.event(&Event::parse(frame.text()));
                    }
                }
                self.tally.closes += 1;
                self.resume().await;
            }
            2 => self.resume().await,
            _ if self.may_choose && !self.changing => self.choose().await,
            _ => self.raw.send(0x8a, b"unasked").await,
        }
    }

    /// Connects anew and goes on where it was.
    async fn resume(&mut self) {
        let topics: Vec<&str> = chosen(self.mask).flatten().collect();
        // Nothing selects events without a topic but a filter that names none.
        let topics = match self.mask {
            ALL => String::new(),
            _ => format!("&topics={}", topics.join(",")),
        };
        let target = format!(
            "/ws?last_event_id={}{topics}",
            match &*self.id {
                "" => "earliest",
                id => id,
            }
        );
        self.raw = Raw::open_to(self.scene.address, &target).await;
        self.changing = false;
        self.record.begin(self.position, self.mask);
        self.tally.resumes += 1;
    }

    async fn choose(&mut self) {
        let new = match self.random.of(0..4) {
            0 => ALL,
            // Never those without a topic alone, which no filter can say.
            _ => (self.random.of(1..1 << (TOPICS.len() - 1)) << 1) as Mask,
        };
        let topics = match new {
            ALL => serde_json::Value::Null,
            _ => chosen(new).flatten().collect(),
        };
        let subscribe = serde_json::json!({"action": "subscribe", "topics": topics});
        self.record.change(self.position, new);
        self.mask = new;
        self.changing = true;
        self.raw.send(0x81, subscribe.to_string().as_bytes()).await;
        self.raw.send(0x81, PING).await;
        self.tally.subscriptions += 1;
    }

    /// The server has read the subscription: it counts for all that is not in the log yet.
    async fn changed(&mut self) {
        if std::mem::take(&mut self.changing) {
            let response = Request::get("/health/live")
                .send_to(self.scene.address)
                .await;
            let newest = response
                .header("x-stoat-cursor")
                .map_or(0, |id| split_id(id).1);
            self.record.begin(newest.max(self.position), self.mask);
        }
    }
}

fn chosen(mask: Mask) -> impl Iterator<Item = Option<&'static str>> {
    TOPICS
        .into_iter()
        .zip(0..)
        .filter(move |(_, bit)| mask & (1 << bit) != 0)
        .map(|(topic, _)| topic)
}
