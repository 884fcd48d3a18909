//! Disks that are full or fail to sync.

use std::time::Duration;

use stoat_events::AppendError;

use super::disk::Disk;
use super::*;
use crate::Condition;

async fn until(log: &DiskLog, wanted: Condition) {
    let mut condition = log.condition();
    let wait = condition.wait_for(|condition| *condition == wanted);
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .unwrap()
        .unwrap();
}

async fn filled(disk: &Disk, dir: &std::path::Path) -> DiskLog {
    let log = disk.open_with(small_memory(DiskLog::builder(dir))).unwrap();
    for n in 0..20 {
        log.append(event(n).into()).await.unwrap();
    }
    log
}

fn is_full(outcome: &Result<stoat_events::Appended, AppendError>) -> bool {
    matches!(outcome, Err(AppendError::StorageFull { .. }))
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_is_left_alone_until_there_is_room() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::default());
    let log = filled(&disk, dir.path()).await;
    disk.says_free(Some((2 << 20) - 1));
    assert!(is_full(&log.append(event(20).into()).await));
    assert_eq!(*log.condition().borrow(), Condition::Full);
    assert!(
        sequences(&read_all(&log, 0).await.unwrap())
            .into_iter()
            .eq(1..=20)
    );

    // The server's own word on it still fits.
    let status = Event::builder(EventType::HealthStatus).build();
    log.append(status.into()).await.unwrap();
    assert_eq!(*log.condition().borrow(), Condition::Full);

    disk.says_free(None);
    until(&log, Condition::Good).await;
    let appended = log.append(event(21).into()).await.unwrap();
    assert_eq!(appended.receipts[0].event_id, log.bounds().id(22));
}

#[tokio::test]
async fn a_write_that_finds_no_room_is_refused_and_the_log_recovers() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::default());
    let log = filled(&disk, dir.path()).await;
    let before = log.bounds();
    // Full at whatever point of a commit.
    let mut refused = 0;
    for room in [0, 4096, 8192, 16_384, 32_768, 65_536, 131_072] {
        disk.has_room_for(Some(room));
        let outcome = log.append(keyed(77, "full", 1)).await;
        if outcome.is_ok() {
            break;
        }
        assert!(is_full(&outcome), "{outcome:?}");
        refused += 1;
        assert_eq!(log.bounds().last, before.last);
        disk.has_room_for(None);
        until(&log, Condition::Good).await;
        let all = read_all(&log, 0).await.unwrap();
        assert!(sequences(&all).into_iter().eq(1..=20), "room for {room}");
    }
    assert!(refused >= 3, "{refused}");
    disk.has_room_for(None);
    let appended = log.append(keyed(77, "full", 1)).await.unwrap();
    let id = appended.receipts[0].event_id;
    assert_eq!((id.epoch(), id.sequence()), (before.epoch, 21));
    drop(log);
    let log = disk.open(dir.path()).unwrap();
    assert!(
        sequences(&read_all(&log, 0).await.unwrap())
            .into_iter()
            .eq(1..=21)
    );
}

#[tokio::test]
async fn a_sync_that_fails_acknowledges_nothing_and_ends_all_appends() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::default());
    let log = filled(&disk, dir.path()).await;
    let (epoch, before) = (log.bounds().epoch, texts(&read_all(&log, 0).await.unwrap()));
    let mark = std::fs::read(dir.path().join("run")).unwrap();
    disk.fails_to_sync(true);
    let mut head = log.head();
    let refused = log.append(event(20).into()).await.unwrap_err();
    assert!(
        matches!(&refused, AppendError::Unavailable { reason, .. } if reason.contains("sync")),
        "{refused:?}"
    );
    assert!(matches!(&*log.condition().borrow(), Condition::Failed(_)));

    // Not even when it would work again: what was lost is not known.
    disk.fails_to_sync(false);
    assert!(log.append(event(20).into()).await.is_err());
    assert_eq!((log.bounds().last, head.last()), (20, 20));
    let moved = tokio::time::timeout(Duration::from_millis(1), head.changed()).await;
    assert!(moved.is_err(), "the head moved");
    // What is in memory is served, the rest is said to be missing.
    assert_eq!(read_all(&log, 0).await.err(), Some(17));
    assert_eq!(sequences(&read_all(&log, 17).await.unwrap()), [18, 19, 20]);
    drop(log);

    // With the power gone, too.
    for seed in 0..50 {
        std::fs::write(dir.path().join("run"), &mark).unwrap();
        let left = disk.after_power_loss(super::disk::numbers(seed));
        let log = Disk::of(left).open(dir.path()).unwrap();
        assert_eq!(log.bounds().epoch, epoch);
        let after = texts(&read_all(&log, 0).await.unwrap());
        assert_eq!(after[..20], before[..]);
        assert!(after.len() <= 21);
    }
}
