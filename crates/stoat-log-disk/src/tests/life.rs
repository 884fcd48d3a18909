//! Whose directory it is, and whether it is the same one.

use std::fs;
use std::path::Path;

use stoat_events::Epoch;

use super::*;

async fn fill(dir: &Path) -> Epoch {
    let log = DiskLog::open(dir).unwrap();
    log.append(vec![event(1), event(2)].into()).await.unwrap();
    log.bounds().epoch
}

fn epoch(dir: &Path) -> Epoch {
    DiskLog::open(dir).unwrap().bounds().epoch
}

#[tokio::test]
async fn a_restart_is_the_same_life_and_a_wiped_directory_another() {
    let dir = tempfile::tempdir().unwrap();
    let first = fill(dir.path()).await;
    for _ in 0..3 {
        assert_eq!(epoch(dir.path()), first);
    }
    fs::remove_file(dir.path().join("log.redb")).unwrap();
    let wiped = epoch(dir.path());
    assert_ne!(wiped, first);
    fs::remove_file(dir.path().join("run")).unwrap();
    assert_ne!(epoch(dir.path()), wiped, "an operator asked for it");
}

#[tokio::test]
async fn a_crash_between_store_and_mark_is_the_same_life() {
    let dir = tempfile::tempdir().unwrap();
    let first = fill(dir.path()).await;
    let mark = fs::read(dir.path().join("run")).unwrap();
    assert_eq!(epoch(dir.path()), first);
    // The store has the number of this run, the mark that of the one before.
    fs::write(dir.path().join("run"), mark).unwrap();
    assert_eq!(epoch(dir.path()), first);
}

#[tokio::test]
async fn an_older_store_that_was_put_back_is_another_life_with_the_events_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("log.redb");
    let first = fill(dir.path()).await;
    let backup = fs::read(&store).unwrap();
    for _ in 0..2 {
        fill(dir.path()).await;
    }
    // Into the same file: only the numbers of the runs tell.
    fs::write(&store, &backup).unwrap();
    let log = small_memory(DiskLog::builder(dir.path())).open().unwrap();
    let bounds = log.bounds();
    assert_ne!(bounds.epoch, first);
    assert_eq!((bounds.first, bounds.last), (1, 2));
    for entry in read_all(&log, 0).await.unwrap() {
        assert_eq!(entry.id().epoch(), bounds.epoch);
        let text = String::from_utf8(entry.encoded().json().to_vec()).unwrap();
        assert!(
            text.contains(&format!("\"event_id\":\"{}\"", entry.id())),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_copied_directory_is_another_life() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = fill(dir.path()).await;
    for name in ["log.redb", "run"] {
        fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    assert_ne!(epoch(copy.path()), first);
    assert_eq!(epoch(dir.path()), first);
}

#[test]
fn a_directory_has_one_log_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = DiskLog::open(dir.path()).unwrap();
    let error = DiskLog::open(dir.path()).unwrap_err();
    assert!(error.is_in_use() && !error.is_unusable(), "{error}");
    assert!(
        error.to_string().contains("in use by another process"),
        "{error}"
    );
    drop(log);
    DiskLog::open(dir.path()).unwrap();
}

#[test]
fn what_is_no_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = DiskLog::open(&path).unwrap_err();
        assert!(error.is_unusable(), "{error:?}");
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    }
}
