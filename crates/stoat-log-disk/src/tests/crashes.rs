//! Losses of power at any moment, with anything of what was not synced.

use super::disk::{Acknowledged, Disk, numbers};
use super::*;
use crate::DiskRetention;

/// Checks what is there after a loss of power against what was acknowledged before it.
async fn check(disk: &Disk, dir: &std::path::Path, acknowledged: &Acknowledged, tried: u64) {
    let log = disk.open_with(small_memory(DiskLog::builder(dir))).unwrap();
    let bounds = log.bounds();
    let all = read_all(&log, bounds.before_oldest()).await.unwrap();
    assert!(bounds.last <= tried, "{bounds:?}");
    assert!(sequences(&all).into_iter().eq(bounds.first..=bounds.last));
    for (sequence, text) in acknowledged.range(bounds.first..) {
        assert!(
            *sequence <= bounds.last,
            "event {sequence} was acknowledged and lost"
        );
        assert_eq!(
            &texts(&all[(sequence - bounds.first) as usize..][..1])[0],
            text
        );
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_any_loss_of_power() {
    for seed in 0..40 {
        let mut choose = numbers(seed);
        let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::default());
        let retention = DiskRetention {
            events: Some(30),
            ..DiskRetention::default()
        };
        let builder = small_memory(DiskLog::builder(dir.path()).retention(retention));
        let log = disk.open_with(builder).unwrap();
        let mark = std::fs::read(dir.path().join("run")).unwrap();
        let mut acknowledged = Acknowledged::new();
        for n in 0..10 {
            let events: Vec<_> = (0..=choose(12) as u64).map(|m| event(n * 20 + m)).collect();
            let appended = log.append(events.into()).await.unwrap();
            let first = appended.receipts[0].event_id.sequence();
            let bounds = log.bounds();
            let from = bounds.before_oldest().max(first - 1);
            for entry in read_all(&log, from).await.unwrap() {
                let text = texts(std::slice::from_ref(&entry)).remove(0);
                acknowledged.insert(entry.sequence(), text);
            }
        }
        let tried = log.bounds().last;
        // Cut short in the next commit: the sync never returns.
        disk.fails_to_sync(true);
        let events: Vec<_> = (0..5).map(event).collect();
        assert!(log.append(events.into()).await.is_err());
        disk.fails_to_sync(false);
        let images: Vec<_> = (0..4).map(|_| disk.after_power_loss(&mut choose)).collect();
        drop(log);
        for image in images {
            std::fs::write(dir.path().join("run"), &mark).unwrap();
            check(&Disk::of(image), dir.path(), &acknowledged, tried + 5).await;
        }
    }
}

#[tokio::test]
async fn a_crash_while_it_recovers_changes_nothing() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::default());
    let log = disk.open(dir.path()).unwrap();
    let mark = std::fs::read(dir.path().join("run")).unwrap();
    let events: Vec<_> = (0..100).map(event).collect();
    log.append(events.into()).await.unwrap();
    let mut acknowledged = Acknowledged::new();
    for entry in read_all(&log, 0).await.unwrap() {
        acknowledged.insert(entry.sequence(), texts(&[entry]).remove(0));
    }
    let image = disk.after_power_loss(|_| 0);
    drop(log);
    for seed in 0..20 {
        std::fs::write(dir.path().join("run"), &mark).unwrap();
        let disk = Disk::of(image.clone());
        disk.fails_to_sync(true);
        assert!(
            disk.open(dir.path()).is_err(),
            "a recovery that is not synced"
        );
        let left = disk.after_power_loss(numbers(seed));
        check(&Disk::of(left), dir.path(), &acknowledged, 100).await;
    }
}

#[tokio::test]
async fn a_commit_that_is_cut_off_is_there_or_not() {
    cut_off(31).await;
}

#[tokio::test]
#[ignore = "some two minutes"]
async fn a_commit_that_is_cut_off_at_any_length_is_there_or_not() {
    cut_off(1).await;
}

/// The process ends, or the machine does, after any byte, or each `step`th, of what a commit
/// writes.
async fn cut_off(step: usize) {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::default());
    let log = disk.open(dir.path()).unwrap();
    let mark = std::fs::read(dir.path().join("run")).unwrap();
    log.append((0..3).map(event).collect::<Vec<_>>().into())
        .await
        .unwrap();
    let mut acknowledged = Acknowledged::new();
    for entry in read_all(&log, 0).await.unwrap() {
        acknowledged.insert(entry.sequence(), texts(&[entry]).remove(0));
    }
    disk.fails_to_sync(true);
    assert!(log.append(event(3).into()).await.is_err());
    let images = disk.cut_anywhere();
    drop(log);
    assert!(images.len() > 500, "{}", images.len());
    for image in images.into_iter().step_by(step) {
        std::fs::write(dir.path().join("run"), &mark).unwrap();
        check(&Disk::of(image), dir.path(), &acknowledged, 4).await;
    }
}
