//! Everything at once, briefly: `cargo xtask soak` does it for longer.

use std::time::Duration;

use stoat_tests::soak::{self, Over};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_whatever_others_do() {
    soak::run(Over::Tcp, Duration::from_secs(8), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_over_tls_while_the_certificate_is_replaced() {
    soak::run(Over::Tls, Duration::from_secs(8), 2).await;
}
