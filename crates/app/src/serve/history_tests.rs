//! Paging through a log.

use std::sync::Mutex;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use stoat_events::{
    AppendFuture, Batch, Epoch, Event, EventType, HeadWatch, LogBounds, MemoryLog, Retention, Topic,
};

use super::*;

fn event(event_type: &str, topic: Option<&str>, filler: usize) -> Event {
    Event::builder(EventType::parse(event_type).unwrap())
        .payload(&json!({ "f": "x".repeat(filler) }))
        .unwrap()
        .topic(topic.map(|topic| Topic::parse(topic).unwrap()))
        .build()
}

fn log(retained: usize) -> MemoryLog {
    let retention = Retention {
        events: retained,
        ..Retention::default()
    };
    MemoryLog::builder()
        .epoch(Epoch::from_u64(1))
        .retention(retention)
        .build()
}

fn id(sequence: u64) -> String {
    format!("0000000000000001-{sequence}")
}

async fn get(log: &dyn EventLog, query: &str) -> Value {
    let query = Query::from_uri(&format!("/?{query}").parse().unwrap()).unwrap();
    let answer = page(log, &query).await.unwrap().to_answer(query.format());
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

fn sequences(page: &Value) -> Vec<u64> {
    let events = page["events"].as_array().unwrap().iter();
    events
        .map(|event| {
            let (_, sequence) = event["event_id"].as_str().unwrap().split_once('-').unwrap();
            sequence.parse().unwrap()
        })
        .collect()
}

#[tokio::test]
async fn pages_follow_each_other_without_hole_or_repeat() {
    let log = log(10_000);
    for n in 0..700 {
        let event_type = if n % 7 == 0 { "seventh" } else { "a" };
        log.append_now(event(event_type, None, 0).into()).unwrap();
    }
    for (query, expected) in [
        ("limit=33", (1..=700).collect::<Vec<u64>>()),
        (
            "limit=9&types=seventh",
            (1..=700).filter(|n| n % 7 == 1).collect(),
        ),
        ("types=none", vec![]),
    ] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = get(&log, &format!("{query}&after={after}")).await;
            assert_eq!(page["gap"], false);
            seen.extend(sequences(&page));
            match page["next"].as_str() {
                Some(next) => after = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen, expected, "{query}");
    }
}

#[tokio::test]
async fn where_a_page_begins_and_ends() {
    let log = log(5);
    let empty = get(&log, "").await;
    assert_eq!(empty, json!({ "events": [], "next": null, "gap": false }));
    for _ in 0..9 {
        log.append_now(event("a", None, 0).into()).unwrap();
    }
    for (query, expected, next, gap) in [
        ("", vec![5, 6, 7, 8, 9], None, false),
        ("after=earliest", vec![5, 6, 7, 8, 9], None, false),
        ("after=&limit=2", vec![5, 6], Some(6), false),
        ("limit=5", vec![5, 6, 7, 8, 9], None, false),
        (
            &format!("after={}", id(4)),
            vec![5, 6, 7, 8, 9],
            None,
            false,
        ),
        (&format!("after={}", id(7)), vec![8, 9], None, false),
        (&format!("after={}", id(9)), vec![], None, false),
        (&format!("after={}&limit=1", id(2)), vec![5], Some(5), true),
        (
            &format!("after={}", id(10)),
            vec![5, 6, 7, 8, 9],
            None,
            true,
        ),
        ("after=nonsense", vec![5, 6, 7, 8, 9], None, true),
    ] {
        let page = get(&log, query).await;
        assert_eq!(sequences(&page), expected, "{query}");
        assert_eq!(page["next"], json!(next.map(id)), "{query}");
        assert_eq!(page["gap"], gap, "{query}");
    }
}

#[tokio::test]
async fn a_page_ends_by_its_size() {
    let log = log(10_000);
    let batch: Vec<_> = (0..100).map(|_| event("a", None, 60_000)).collect();
    log.append_now(batch.into()).unwrap();
    let page = get(&log, "").await;
    let count = sequences(&page).len() as u64;
    assert!((69..=71).contains(&count), "{count}");
    assert_eq!(page["next"], id(count));
}

#[tokio::test]
async fn filters_by_topic() {
    let log = log(10);
    for topic in [Some("p.a"), None, Some("q")] {
        log.append_now(event("a", topic, 0).into()).unwrap();
    }
    assert_eq!(sequences(&get(&log, "topics=p.*").await), [1]);
    assert_eq!(sequences(&get(&log, "topics=*").await), [1, 2, 3]);
    assert_eq!(sequences(&get(&log, "topics=p.a,q&types=b").await), [0; 0]);
}

/// A log to which others append so many events when it is read for the second time.
struct Moving(MemoryLog, usize, Mutex<u32>);

impl EventLog for Moving {
    fn append(&self, batch: Batch) -> AppendFuture<'_> {
        self.0.append(batch)
    }
    fn read(&self, after: u64, limit: ReadLimit, out: &mut Vec<LogEntry>) -> ReadStatus {
        let mut reads = self.2.lock().unwrap();
        *reads += 1;
        if *reads == 2 {
            for _ in 0..self.1 {
                self.0.append_now(event("late", None, 0).into()).unwrap();
            }
        }
        self.0.read(after, limit, out)
    }
    fn bounds(&self) -> LogBounds {
        self.0.bounds()
    }
    fn head(&self) -> HeadWatch {
        self.0.head()
    }
}

#[tokio::test]
async fn the_end_is_not_chased_and_eviction_while_reading_is_a_gap() {
    for (appended, seen, cursor, gap) in [(100, 300, 300, false), (600, 256, 600, true)] {
        let log = Moving(log(300), appended, Mutex::new(0));
        for _ in 0..300 {
            log.0.append_now(event("a", None, 0).into()).unwrap();
        }
        let page = get(&log, "limit=1000").await;
        assert_eq!(sequences(&page), (1..=seen).collect::<Vec<u64>>());
        assert_eq!((&page["next"], &page["gap"]), (&Value::Null, &gap.into()));

        let log = Moving(log.0, 0, Mutex::new(0));
        let query = Query::from_uri(&"/?limit=1000".parse().unwrap()).unwrap();
        let whole = super::page(&log, &query).await.unwrap();
        assert!(whole.cursor().unwrap().sequence() >= cursor);
    }
}

#[test]
fn queries_are_checked() {
    let read = |query: &str| Query::from_uri(&format!("/?{query}").parse().unwrap());
    assert_eq!(read("").unwrap().limit, 100);
    assert_eq!(read("limit=1000000&x=1&x=2").unwrap().limit, 1000);
    assert_eq!(read("limit=99999999999999999999999").unwrap().limit, 1000);
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=", "limit"),
        ("limit=-1", "limit"),
        ("limit=1e3", "limit"),
        ("limit=1&limit=2", "limit"),
        ("after=a&after=a", "after"),
        ("types=A", "types"),
        ("topics=a..b", "topics"),
        ("types=a&types=b", "types"),
    ] {
        let text = format!("{:?}", read(query).unwrap_err());
        assert!(
            text.contains(&format!("field: Some(\"{field}\")")),
            "{text}"
        );
    }
}
