//! Listening: binding the address, and accepting through every error that passes.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep};

/// Connections that the kernel keeps while they wait to be accepted; it may allow fewer.
const BACKLOG: u32 = 4096;
/// Bytes of an answer in the kernel that are not on the wire yet.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT: u32 = 128 << 10;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Without a failure for this long, it is over.
const CALM: Duration = Duration::from_secs(1);

/// Binds `address`; port 0 picks a free one.
///
/// # Errors
/// What the system says: the address is in use, is not one of this machine, or is not allowed.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Where connections of an earlier life are still in TIME_WAIT. Elsewhere than on Unix it would
    // let two servers share the address.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Hands each connection to `take`, for ever. When the system is out of files or memory it pauses,
/// longer each time, and goes on; it says so once, and once more when it is over.
///
/// # Cancel safety
/// No connection is lost that was not already accepted.
pub(super) async fn accept(
    listener: &TcpListener,
    mut take: impl FnMut(TcpStream, SocketAddr),
) -> Infallible {
    let mut pause = FIRST_PAUSE;
    let mut failed = None;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause = FIRST_PAUSE;
                if failed.is_some_and(|failed: Instant| failed.elapsed() > CALM) {
                    failed = None;
                    tracing::info!("connections are accepted again");
                }
                // Events are small and must not wait for each other; one that cannot be set so
                // still works.
                let _ = stream.set_nodelay(true);
                bound_unsent(&stream);
                take(stream, peer);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if failed.replace(Instant::now()).is_none() {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Bounds what the kernel keeps of what a client does not take: else a whole answer could hide
/// there, beyond every deadline.
#[cfg(any(target_os = "android", target_os = "linux"))]
fn bound_unsent(stream: &TcpStream) {
    // A socket that cannot be set so still works.
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT);
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn bound_unsent(_stream: &TcpStream) {}

/// The connection failed before it was accepted; the next one is not affected.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    )
}
