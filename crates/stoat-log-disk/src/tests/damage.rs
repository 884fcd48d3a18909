//! Files that are not what was written.

use super::disk::Disk;
use super::*;
use crate::Condition;

/// A closed log of some events, and their texts.
async fn written(dir: &std::path::Path) -> (Disk, Vec<String>) {
    let disk = Disk::default();
    let log = disk.open(dir).unwrap();
    for n in 0..6 {
        let events: Vec<_> = (n * 10..n * 10 + 10).map(event).collect();
        log.append(events.into()).await.unwrap();
    }
    let texts = texts(&read_all(&log, 0).await.unwrap());
    drop(log);
    (disk, texts)
}

/// Opens what is left; whatever is served has to be what was written, at its position.
/// Says whether the log was refused.
async fn is_refused(bytes: Vec<u8>, dir: &std::path::Path, written: &[String]) -> bool {
    let disk = Disk::of(bytes);
    let log = match disk.open_with(small_memory(DiskLog::builder(dir))) {
        Ok(log) => log,
        Err(_) => return true,
    };
    let mut cursor = 0;
    let found = loop {
        match read_all(&log, cursor).await {
            Ok(found) => break found,
            Err(first) => cursor = first,
        }
    };
    // Another life may have begun: the IDs differ then.
    let body = |text: &String| text.split("\"correlation_id\"").next().unwrap().to_owned();
    for entry in &found {
        let text = texts(std::slice::from_ref(entry)).remove(0);
        let original = &written[entry.sequence() as usize - 1];
        assert_eq!(body(&text), body(original), "event {}", entry.sequence());
    }
    false
}

#[tokio::test]
async fn a_file_cut_off_anywhere_is_refused_or_serves_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, texts) = written(dir.path()).await;
    let bytes = disk.bytes();
    let mut refused = 0;
    // Around each page's end, and in its middle.
    let lengths = (0..=bytes.len())
        .filter(|len| [0, 1, 2048, 4095].contains(&(len % 4096)))
        .step_by(bytes.len() / 4096 / 60 * 4 + 1);
    let mut tried = 0;
    for len in lengths {
        tried += 1;
        refused += usize::from(is_refused(bytes[..len].to_vec(), dir.path(), &texts).await);
    }
    assert!(refused * 2 > tried, "{refused} of {tried} were refused");
    assert!(!is_refused(bytes, dir.path(), &texts).await);
}

#[tokio::test]
async fn a_bit_that_turned_while_it_was_closed_is_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, texts) = written(dir.path()).await;
    let bytes = disk.bytes();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut choose = super::disk::numbers(11);
    let mut refused = 0;
    for _ in 0..150 {
        let at = choose(used);
        let mut turned = bytes.clone();
        turned[at] ^= 1 << choose(8);
        refused += usize::from(is_refused(turned, dir.path(), &texts).await);
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn a_record_that_turned_while_it_was_open_is_reported_and_its_readers_get_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, _) = written(dir.path()).await;
    let log = disk
        .open_with(small_memory(DiskLog::builder(dir.path())))
        .unwrap();
    for n in 60..70 {
        log.append(event(n).into()).await.unwrap();
    }
    // Everywhere on the disk: pages that were left behind are copies of it.
    let bytes = disk.bytes();
    let needle = b"\"n\":12}";
    let places = bytes.windows(needle.len()).enumerate();
    let places = places
        .filter(|(_, bytes)| bytes == needle)
        .map(|(at, _)| at);
    let places: Vec<_> = places.collect();
    assert!(!places.is_empty());
    for at in places {
        disk.flip((at + 4) * 8);
    }
    // Those before it in one read are served first, then it is found.
    assert_eq!(sequences(&log.fetch(0, ALL).await).last(), Some(&12));
    assert_eq!(read_all(&log, 0).await.err(), Some(13));
    assert_eq!(*log.condition().borrow(), Condition::Damaged);
    assert!(
        sequences(&read_all(&log, 13).await.unwrap())
            .into_iter()
            .eq(14..=70)
    );
    log.append(event(70).into()).await.unwrap();
}
