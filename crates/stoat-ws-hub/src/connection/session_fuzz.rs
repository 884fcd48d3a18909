//! A session that is fed with whatever a fuzzer makes up.

use std::time::Duration;

use super::bench::Bench;
use super::*;

/// Topics that events are published to.
const TOPICS: [Option<&str>; 3] = [None, Some("x"), Some("x.y")];
/// More would only make the input slow.
const MAX_STEPS: usize = 400;

/// Reads the input as steps: what comes, what is published, how much the socket takes, how
/// time passes. Panics where the stream breaks a promise.
pub fn connection(mut data: &[u8]) {
    let retained = usize::from(next(&mut data)).max(1);
    let mut bench = Bench::new(retained, Filter::all(), None);
    let filter_at_first = Arc::clone(bench.session().filter());
    let mut is_whole = true;
    for _ in 0..MAX_STEPS {
        let [step, size] = [next(&mut data), next(&mut data)];
        if data.is_empty() || bench.session().is_over() {
            break;
        }
        let room = usize::from(size) * usize::from(size);
        match step % 12 {
            0 | 1 => bench.turn(room),
            2 | 3 => bench.offer(room),
            4 => {
                bench.stall();
                assert!(bench.session().queue.len() <= 1);
            }
            5 => bench.publish("a", TOPICS[usize::from(size) % 3], usize::from(size / 16)),
            6 => bench.beat(),
            7 => bench.now += Duration::from_millis(u64::from(size) * 200),
            // The task reads only where input is welcome.
            8 | 9 if bench.session().wants_input() => {
                let piece = take(&mut data, size.into());
                bench.receive_bytes(piece);
            }
            10 if bench.session().wants_input() => {
                let payload = take(&mut data, (size % 126).into());
                bench.receive(step, payload);
            }
            11 => {
                let last = bench.log.bounds().last;
                bench.obey(match size % 2 {
                    0 => Order::Close(Close::by_operator()),
                    _ => Order::CloseAfter(Close::shutdown(size.into()), last),
                });
            }
            _ => {}
        }
        let due = bench.session().deadline() <= bench.now;
        if due && let Some(end) = bench.tick() {
            is_whole = matches!(end, Due::LetGo(_));
            break;
        }
        let held = bench
            .session()
            .queue
            .iter()
            .map(|piece| match &piece.chunk {
                Chunk::Control(bytes) => bytes.len(),
                _ => 0,
            });
        let held = held.sum::<usize>() + bench.session().protocol.output_len();
        // What one read can bring on is answered before the next is refused.
        assert!(
            held <= bench.session().max_client_buffer + (16 << 10),
            "{held}"
        );
    }
    if !is_whole {
        return;
    }
    bench.write_all();
    let saw_all = Arc::ptr_eq(&filter_at_first, bench.session().filter());
    let is_open = matches!(bench.session().phase, Phase::Open);
    check(&bench, saw_all, is_open);
}

/// Frames are whole, a Close is the last, and no event is lost without a gap or repeated.
fn check(bench: &Bench, saw_all: bool, is_open: bool) {
    let frames = bench.frames();
    let close = frames.iter().position(|(opcode, _)| *opcode == 8);
    assert!(
        close.is_none_or(|at| at + 1 == frames.len()),
        "after the Close"
    );
    let mut at = 0;
    for (event_type, id) in bench.events() {
        match event_type.as_str() {
            "heartbeat" if saw_all => assert_eq!(id, at),
            "heartbeat" => assert!(id >= at),
            "gap" => assert!(id > at),
            _ if saw_all => assert_eq!(id, at + 1),
            _ => assert!(id > at),
        }
        at = id;
    }
    let last = bench.log.bounds().last;
    assert!(at <= last);
    if saw_all && is_open {
        assert_eq!(at, last);
    }
    let stats = bench.registry.counters.snapshot(0);
    assert_eq!(stats.sent_bytes, bench.sent.len() as u64);
}

fn next(data: &mut &[u8]) -> u8 {
    take(data, 1).first().copied().unwrap_or_default()
}

fn take<'a>(data: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, rest) = data.split_at(len.min(data.len()));
    *data = rest;
    taken
}
