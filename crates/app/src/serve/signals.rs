//! Signals of the operating system.

use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::supervisor::Supervisor;
use super::tls::Tls;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the server answers to, caught from the moment this is made.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

#[cfg(unix)]
impl Signals {
    /// # Errors
    /// The system refuses to install a handler.
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGTERM or SIGINT; at SIGHUP the certificate is read again.
    async fn stop(&mut self, tls: Option<&Arc<Tls>>, supervisor: &Supervisor) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hang_up.recv() => {
                    supervisor.reloading().await;
                    match tls.cloned() {
                        // One after the other, so that the last to be read is the one in use.
                        Some(tls) => {
                            let _ = stoat_correlation::spawn_blocking(move || tls.reload()).await;
                        }
                        None => tracing::info!("SIGHUP: there is nothing to reload"),
                    }
                    supervisor.ready().await;
                }
            }
        }
    }
}

/// Ctrl-C, caught when it is waited for.
#[cfg(not(unix))]
#[derive(Debug)]
pub(super) struct Signals(());

#[cfg(not(unix))]
impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self(()))
    }

    async fn stop(&mut self, _: Option<&Arc<Tls>>, _: &Supervisor) -> &'static str {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}

impl Signals {
    /// Passes the first request to stop on to `stop`, and returns at the second; the supervisor is
    /// told what goes on.
    pub(super) async fn watch(
        mut self,
        stop: oneshot::Sender<()>,
        tls: Option<Arc<Tls>>,
        supervisor: &Supervisor,
    ) {
        let signal = self.stop(tls.as_ref(), supervisor).await;
        tracing::info!(signal, "stopping");
        // A server that is gone needs no telling.
        let _ = stop.send(());
        supervisor.stopping().await;
        let signal = self.stop(tls.as_ref(), supervisor).await;
        tracing::warn!(signal, "stopping at once");
    }
}
