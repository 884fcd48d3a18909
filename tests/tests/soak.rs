//! Everything at once, briefly: `cargo xtask soak` does it for longer.

use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_whatever_others_do() {
    stoat_tests::soak::run(Duration::from_secs(8), 1).await;
}
