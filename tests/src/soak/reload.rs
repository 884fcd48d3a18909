//! An operator who replaces the certificate all the time.

use std::future::pending;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::sleep;

use crate::relay::Relay;
use crate::server::Server;
use crate::tls::Identity;
use crate::wait::eventually;

const PAUSE: Duration = Duration::from_millis(700);

/// Replaces it, has it read, and waits until it is seen. Does nothing without TLS.
pub(super) async fn again_and_again(
    server: &Server,
    identity: &Identity,
    relay: Option<&Relay>,
    count: &mut u64,
) {
    let Some(relay) = relay else {
        return pending().await;
    };
    loop {
        sleep(PAUSE).await;
        identity.replace();
        relay.trust(&identity.cert());
        server.signal(Signal::HUP);
        eventually("the new certificate is seen", async || {
            relay.is_up_to_date().await.then_some(())
        })
        .await;
        *count += 1;
    }
}
