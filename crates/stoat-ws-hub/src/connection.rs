//! The task of one connection: drives a session with its socket.

mod batch;
mod control;
mod deadlines;
mod fetch;
mod follower;
mod frame_guard;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod line;
mod pace;
mod pages;
mod protocol;
mod session;
mod stream;
mod transport;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use hyper::upgrade::Upgraded;
use stoat_events::{Format, Gap, HeadWatch};

pub(crate) use batch::Batch;
pub(crate) use line::{Line, SharedBeat, serve};
use session::Session;
use transport::Transport;
pub use transport::{Held, TakeTcp, Taken};

use crate::DisconnectReason;
use crate::fan_out::Seat;
use crate::heartbeat::BeatWatch;
use crate::manager::Hub;
use crate::registry::{Member, Registry};

/// How often one turn goes round writing and reading before others get theirs.
const ROUNDS: usize = 8;
/// How long the socket is read to its end after a closing handshake, so that the
/// peer gets our last bytes and not a reset.
const LINGER: Duration = Duration::from_secs(2);
/// How many bytes are thrown away meanwhile: one that floods does not get to keep us busy.
const LINGER_BYTES: usize = 1 << 20;

/// What a connection begins with; fixed before the 101 is sent, so that whatever is
/// published after the client has its answer reaches it.
pub(crate) struct Beginning {
    pub(crate) member: Arc<Member>,
    pub(crate) gap: Option<Gap>,
    pub(crate) head: HeadWatch,
    pub(crate) beats: BeatWatch,
    /// The number of the last beat before this connection.
    pub(crate) beat_seen: u64,
    /// How to take the TCP stream out, where the server says so.
    pub(crate) take_tcp: Option<TakeTcp>,
    /// What to keep for the server.
    pub(crate) held: Option<Held>,
    /// When it ends at the latest.
    pub(crate) until: Option<Instant>,
    /// In which form it gets events.
    pub(crate) format: Format,
}

/// A connection that has its session.
pub(crate) enum Started {
    Line(Seat),
    /// Boxed, so that the common case does not carry its state.
    Stream(Pin<Box<dyn Future<Output = DisconnectReason> + Send>>),
}

/// Makes the session of an upgraded connection; `None` where the stream is gone.
pub(crate) fn start(upgraded: Upgraded, beginning: Beginning, hub: &Arc<Hub>) -> Option<Started> {
    let Beginning {
        member,
        gap,
        head,
        beats,
        beat_seen,
        take_tcp,
        held,
        until,
        format,
    } = beginning;
    let mut session = Session::new(Arc::clone(&member), gap, beat_seen, &hub.config, now());
    session.end_at(until);
    session.set_format(format);
    let transport = Transport::new(upgraded, take_tcp, hub.config.max_unsent)?;
    Some(match transport {
        Transport::Tcp(stream, read_too_far) => {
            session.received(&read_too_far, &hub.registry.counters, now());
            Started::Line(hub.fan_out.seat(Line::new(stream, session), hub))
        }
        Transport::Other(io) => {
            let served = stream::serve(io, session, member, head, beats, Arc::clone(hub));
            Started::Stream(Box::pin(async move {
                let reason = served.await;
                drop(held);
                reason
            }))
        }
    })
}

/// How a connection ended.
enum End {
    /// With a closing handshake.
    Finished(DisconnectReason),
    /// By our decision, without one.
    Abort(DisconnectReason),
    /// The peer is gone, or has all that it will get.
    Lost(DisconnectReason),
    /// By a panic, after which nothing of the session can be relied on.
    Fault,
}

/// Lets a panic end the connection alone, and not before it has said so.
fn guarded<T>(act: impl FnOnce() -> T) -> Result<T, End> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|_| End::Fault)
}

/// Counts a connection as slow while it takes no bytes; not for longer than it lives.
struct SlowGauge {
    registry: Arc<Registry>,
    on: bool,
}

impl SlowGauge {
    fn new(registry: &Arc<Registry>) -> Self {
        Self {
            registry: Arc::clone(registry),
            on: false,
        }
    }

    fn set(&mut self, on: bool) {
        if on != self.on {
            self.on = on;
            let slow = &self.registry.counters.slow;
            if on {
                slow.fetch_add(1, Relaxed);
            } else {
                slow.fetch_sub(1, Relaxed);
            }
        }
    }
}

impl Drop for SlowGauge {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// tokio's clock, which tests can hold still.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
