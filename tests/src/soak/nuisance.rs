//! Clients that misbehave in every way that a stranger can.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::random::Random;
use super::{Scene, Tally};
use crate::event::{Event, split_id};
use crate::http::Connection;
use crate::raw::Raw;

/// One nuisance after the other until the scene ends.
pub(super) async fn bother(scene: Arc<Scene>, number: u64) -> Tally {
    let mut random = Random::new(scene.seed, number);
    let mut tally = Tally::default();
    while !scene.is_ending() {
        tally.nuisances += 1;
        match random.of(0..8) {
            0 => never_read(&scene, &mut random).await,
            1 => tally.lagged += read_slowly(&scene, &mut random).await,
            2 => Raw::open_to(scene.address, "/ws").await.cut(),
            3 => drop(Raw::open_to(scene.address, "/ws?topics=soak.*").await),
            4 => {
                let mut connection = Connection::open(scene.address).await;
                connection
                    .write(b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgr")
                    .await;
            }
            5 => {
                let mut raw = Raw::open_to(scene.address, "/ws?types=nothing").await;
                let garbage: Vec<u8> = (0..200).map(|_| random.of(0..256) as u8).collect();
                raw.write(&garbage).await;
                raw.cut();
            }
            6 => {
                let mut raw = Raw::open_to(scene.address, "/ws").await;
                for _ in 0..300 {
                    raw.send(0x89, b"flood").await;
                }
            }
            _ => unknown_id(&scene).await,
        }
        sleep(Duration::from_millis(random.of(0..100))).await;
    }
    tally
}

async fn never_read(scene: &Scene, random: &mut Random) {
    let raw = Raw::open_narrow_to(scene.address, "/ws?last_event_id=earliest").await;
    // Longer than the server waits, at times.
    let end = Instant::now() + Duration::from_millis(random.of(100..4000));
    while Instant::now() < end && !scene.is_ending() {
        sleep(Duration::from_millis(50)).await;
    }
    drop(raw);
}

/// What comes late comes in order, and what does not come is announced. Returns how often.
async fn read_slowly(scene: &Scene, random: &mut Random) -> u64 {
    let mut raw = Raw::open_narrow_to(scene.address, "/ws?last_event_id=earliest").await;
    let (mut position, mut gaps) = (None, 0);
    let pause = Duration::from_millis(random.of(1..60));
    let end = Instant::now() + Duration::from_secs(random.of(1..60));
    while Instant::now() < end && !scene.is_ending() {
        sleep(pause).await;
        let Some(frame) = raw.frame().await else {
            break;
        };
        if frame.head != 0x81 {
            continue;
        }
        let event = Event::parse(frame.text());
        let (_, place) = split_id(&event.id);
        match (&*event.event_type, position) {
            ("gap", at) => {
                assert!(
                    at.is_none_or(|at| place > at),
                    "a gap at {place} after {at:?}"
                );
                gaps += 1;
            }
            ("heartbeat", at) => assert!(at.is_none_or(|at| place == at), "{place}, {at:?}"),
            (_, at) => assert!(at.is_none_or(|at| place == at + 1), "{place} after {at:?}"),
        }
        position = Some(place);
    }
    gaps
}

async fn unknown_id(scene: &Scene) {
    let mut raw = Raw::open_to(scene.address, "/ws?last_event_id=of-another-log").await;
    let frame = raw.frame().await.expect("an event");
    Event::parse(frame.text()).gap("unknown_id");
}
