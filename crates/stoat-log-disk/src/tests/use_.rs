//! What works.

use std::sync::Arc;
use std::time::Duration;

use stoat_events::{AppendError, Epoch, EventId, GapReason, Resume};

use super::disk::Disk;
use super::*;
use crate::Condition;

#[tokio::test]
async fn what_was_appended_is_there_after_a_restart_at_the_same_position() {
    let dir = tempfile::tempdir().unwrap();
    let log = DiskLog::open(dir.path().join("a/b")).unwrap();
    assert_eq!(log.bounds().newest(), None);
    let mut receipts = Vec::new();
    for n in 0..20 {
        let batch = vec![event(2 * n), event(2 * n + 1)];
        receipts.extend(log.append(batch.into()).await.unwrap().receipts.to_vec());
    }
    let (bounds, before) = (log.bounds(), read_all(&log, 0).await.unwrap());
    drop(log);

    let log = small_memory(DiskLog::builder(dir.path().join("a/b")))
        .open()
        .unwrap();
    assert_eq!(log.bounds(), bounds);
    assert_eq!(log.head().last(), 40);
    let after = read_all(&log, 0).await.unwrap();
    assert_eq!(texts(&after), texts(&before));
    for (entry, receipt) in after.iter().zip(&receipts) {
        assert_eq!(entry.id(), receipt.event_id);
    }
    let resume = Resume::After(receipts[29].event_id.to_string());
    let attachment = bounds.attach(&resume);
    assert_eq!((attachment.cursor, attachment.gap), (30, None));

    let next = log.append(event(40).into()).await.unwrap();
    assert_eq!(next.receipts[0].event_id, bounds.id(41));
    assert_eq!(sequences(&read_all(&log, 38).await.unwrap()), [39, 40, 41]);
    assert_eq!(*log.condition().borrow(), Condition::Good);
}

#[tokio::test]
async fn reads_keep_to_their_limits_and_always_progress() {
    let dir = tempfile::tempdir().unwrap();
    let log = small_memory(DiskLog::builder(dir.path())).open().unwrap();
    let events: Vec<_> = (0..10).map(event).collect();
    log.append(events.into()).await.unwrap();
    let limit = |events, bytes| ReadLimit { events, bytes };
    let mut out = Vec::new();
    assert_eq!(log.read(0, ALL, &mut out), ReadStatus::Stored);
    assert_eq!(log.read(6, ALL, &mut out), ReadStatus::Stored);
    assert!(out.is_empty());
    assert_eq!(log.read(7, ALL, &mut out), ReadStatus::Read);
    assert_eq!(sequences(&out), [8, 9, 10]);
    assert_eq!(
        sequences(&log.fetch(0, limit(3, usize::MAX)).await),
        [1, 2, 3]
    );
    assert_eq!(sequences(&log.fetch(4, limit(0, 0)).await), [5]);
    assert_eq!(sequences(&log.fetch(4, limit(9, 1)).await), [5]);
    for after in [10, 11, u64::MAX] {
        out.clear();
        assert_eq!(log.read(after, ALL, &mut out), ReadStatus::Read);
        assert!(out.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_at_the_same_time_share_syncs_and_readers_see_one_order() {
    const EACH: u64 = 50;
    let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::default());
    let log = Arc::new(small_memory(DiskLog::builder(dir.path())));
    let log = Arc::new(disk.open_with(Arc::into_inner(log).unwrap()).unwrap());
    let syncs = disk.syncs();
    let mut head = log.head();
    let publishers: Vec<_> = (0..8)
        .map(|publisher| {
            let log = Arc::clone(&log);
            #[expect(clippy::disallowed_methods, reason = "a test")]
            tokio::spawn(async move {
                let mut receipts = Vec::new();
                for n in 0..EACH {
                    let appended = log.append(event(publisher * 1000 + n).into()).await;
                    receipts.push(appended.unwrap().receipts[0].event_id.sequence());
                }
                receipts
            })
        })
        .collect();
    let mut seen = Vec::new();
    while (seen.len() as u64) < 8 * EACH {
        head.changed().await.unwrap();
        seen.extend(read_all(&log, seen.len() as u64).await.unwrap());
    }
    assert!(sequences(&seen).into_iter().eq(1..=8 * EACH));
    for (publisher, receipts) in (0..8u64).zip(publishers) {
        let receipts = receipts.await.unwrap();
        assert!(receipts.is_sorted());
        for (n, sequence) in (0..EACH).zip(receipts) {
            let text = &texts(&seen[sequence as usize - 1..])[0];
            assert!(
                text.contains(&format!("\"n\":{}}}", publisher * 1000 + n)),
                "{text}"
            );
        }
    }
    let syncs = disk.syncs() - syncs;
    assert!(
        syncs < 8 * EACH as usize,
        "{syncs} syncs for {} appends",
        8 * EACH
    );
}

#[tokio::test]
async fn a_repeat_is_known_over_a_restart_until_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let hours = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let open = || {
        let hours = Arc::clone(&hours);
        let now = move || {
            let hours = hours.load(std::sync::atomic::Ordering::SeqCst);
            std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(3600 * (1000 + hours))
        };
        let builder = DiskLog::builder(dir.path()).clock(now);
        builder
            .idempotency_ttl(Duration::from_secs(7200))
            .open()
            .unwrap()
    };
    let log = open();
    let first = log.append(keyed(1, "k", 1)).await.unwrap();
    let repeat = log.append(keyed(1, "k", 1)).await.unwrap();
    assert_eq!((first.replayed, repeat.replayed), (false, true));
    drop(log);

    hours.store(1, std::sync::atomic::Ordering::SeqCst);
    let log = open();
    let repeat = log.append(keyed(1, "k", 1)).await.unwrap();
    assert_eq!((repeat.replayed, &repeat.receipts), (true, &first.receipts));
    assert_eq!(
        log.append(keyed(1, "k", 2)).await,
        Err(AppendError::KeyReused)
    );
    assert_eq!(log.bounds().last, 1);

    hours.store(2, std::sync::atomic::Ordering::SeqCst);
    let again = log.append(keyed(1, "k", 2)).await.unwrap();
    assert_eq!((again.replayed, log.bounds().last), (false, 2));
    drop(log);
    let log = open();
    assert!(log.append(keyed(1, "k", 2)).await.unwrap().replayed);
}

#[tokio::test]
async fn a_batch_is_whole_or_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let log = DiskLog::builder(dir.path()).max_event(400).open().unwrap();
    let too_long = event(49);
    let len = too_long.encoded_len(EventId::new(Epoch::from_u64(0), 3));
    let refused = log.append(vec![event(0), event(1), too_long].into()).await;
    assert_eq!(
        refused,
        Err(AppendError::TooLarge {
            index: 2,
            len,
            max: 400
        })
    );
    assert_eq!(log.bounds().last, 0);
    let empty = log.append(Batch::default()).await.unwrap();
    assert!(empty.receipts.is_empty());
}

#[tokio::test]
async fn an_id_of_another_log_is_unknown() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = DiskLog::open(one.path()).unwrap();
    let two = DiskLog::open(two.path()).unwrap();
    let id = one.append(event(1).into()).await.unwrap().receipts[0].event_id;
    two.append(event(1).into()).await.unwrap();
    let attachment = two.bounds().attach(&Resume::After(id.to_string()));
    assert_eq!(attachment.gap.unwrap().reason, GapReason::UnknownId);
}
