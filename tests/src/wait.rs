//! Waiting for a condition, with a deadline that only a hang reaches.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a test waits for anything: long enough for a busy machine, short enough to end a hang.
pub const DEADLINE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(20);

/// The output of `future`; the test fails, naming `what`, when it takes longer than [`DEADLINE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {DEADLINE:?} in vain: {what}"),
    }
}

/// Asks again and again until there is an answer; the test fails, naming `what`, after [`DEADLINE`].
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = within(what, ask()).await {
            return answer;
        }
        assert!(
            start.elapsed() < DEADLINE,
            "waited {DEADLINE:?} in vain: {what}"
        );
        tokio::time::sleep(POLL).await;
    }
}
