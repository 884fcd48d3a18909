//! What is let go, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::*;
use crate::DiskRetention;

#[tokio::test]
async fn the_oldest_go_by_number() {
    let dir = tempfile::tempdir().unwrap();
    let retention = DiskRetention {
        events: Some(10),
        ..DiskRetention::default()
    };
    let builder = small_memory(DiskLog::builder(dir.path()).retention(retention));
    let log = builder.open().unwrap();
    for n in 0..25 {
        log.append(vec![event(n), event(n)].into()).await.unwrap();
    }
    let bounds = log.bounds();
    assert_eq!((bounds.first, bounds.last, bounds.events()), (41, 50, 10));
    assert!(read_all(&log, 39).await.is_err());
    let kept = read_all(&log, 40).await.unwrap();
    assert!(sequences(&kept).into_iter().eq(41..=50));
    let bytes: usize = kept
        .iter()
        .map(|entry| entry.encoded().ws_frame().len())
        .sum();
    assert_eq!(bounds.bytes, bytes as u64);
    drop(log);
    let log = DiskLog::builder(dir.path())
        .retention(retention)
        .open()
        .unwrap();
    assert_eq!(log.bounds(), bounds);
}

#[tokio::test]
async fn the_oldest_go_by_size_and_the_file_stays_in_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let retention = DiskRetention {
        bytes: 256 << 10,
        ..DiskRetention::default()
    };
    let builder = small_memory(DiskLog::builder(dir.path()).retention(retention));
    let log = builder.open().unwrap();
    let mut largest = 0;
    for round in 0..60 {
        let events: Vec<_> = (0..100).map(|n| event(round * 100 + n)).collect();
        log.append(events.into()).await.unwrap();
        assert!(log.bounds().bytes <= 256 << 10);
        largest = std::fs::metadata(dir.path().join("log.redb"))
            .unwrap()
            .len();
    }
    assert!(log.bounds().bytes > 200 << 10, "{:?}", log.bounds());
    assert!(largest < 4 << 20, "{largest} bytes");
    let first = log.bounds().first;
    assert!(
        sequences(&read_all(&log, first - 1).await.unwrap())
            .into_iter()
            .eq(first..=6000)
    );

    let huge = Event::builder(EventType::ScanStarted);
    let huge = huge
        .payload(&json!({ "f": "x".repeat(60_000) }))
        .unwrap()
        .build();
    for _ in 0..6 {
        log.append(Batch::from(vec![event(0)])).await.unwrap();
    }
    log.append(huge.into()).await.unwrap();
    assert_eq!(log.bounds().last, 6007);
}

#[tokio::test]
async fn the_oldest_go_by_age_also_while_nothing_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let seconds = Arc::new(AtomicU64::new(1000));
    let open = || {
        let seconds = Arc::clone(&seconds);
        let clock =
            move || SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst));
        let retention = DiskRetention {
            age: Some(Duration::from_secs(60)),
            ..DiskRetention::default()
        };
        let builder = DiskLog::builder(dir.path()).retention(retention);
        small_memory(builder).clock(clock).open().unwrap()
    };
    let log = open();
    for n in 0..10 {
        log.append(event(n).into()).await.unwrap();
    }
    seconds.store(1030, Ordering::SeqCst);
    log.append(event(10).into()).await.unwrap();
    seconds.store(1060, Ordering::SeqCst);
    let gone = || log.bounds().first == 11;
    let start = std::time::Instant::now();
    while !gone() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{:?}",
            log.bounds()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(read_all(&log, 9).await.err(), Some(10));
    assert_eq!(sequences(&read_all(&log, 10).await.unwrap()), [11]);
    drop(log);

    // What became too old while the log was closed goes with the first publish at the latest.
    seconds.store(2000, Ordering::SeqCst);
    let log = open();
    log.append(event(11).into()).await.unwrap();
    let bounds = log.bounds();
    assert_eq!((bounds.first, bounds.last), (12, 12));
}
