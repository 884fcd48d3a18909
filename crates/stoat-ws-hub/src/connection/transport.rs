//! The upgraded stream: a plain TCP stream where that can be had, else whatever it is.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;

/// How to take the TCP stream out of an upgrade where the server wraps its streams in a type of
/// its own; the server puts it into the extensions of a request. Without it such a connection is
/// served as any other stream, with more work for each event.
#[derive(Debug, Clone, Copy)]
pub struct TakeTcp(pub fn(Upgraded) -> Taken);

/// What [`TakeTcp`] finds.
#[derive(Debug)]
#[non_exhaustive]
pub enum Taken {
    /// The TCP stream, with the bytes that were read too far.
    Tcp(TcpStream, Bytes),
    /// Another stream.
    Other(Upgraded),
    /// None any more.
    Gone,
}

/// Something of the server's that the hub keeps for as long as it uses a stream of the server's,
/// such as a place in a count of what goes on in one HTTP/2 connection; the server puts it into the
/// extensions of a request. Where the hub takes a TCP stream out, it keeps nothing.
#[derive(Clone)]
pub struct Held(pub Arc<dyn Any + Send + Sync>);

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

/// Where the bytes of a connection go.
pub(super) enum Transport {
    /// Taken out of hyper's hands, with the bytes that it had read too far.
    Tcp(TcpStream, Bytes),
    /// TLS, a test's duplex, or whatever else an embedder serves.
    Other(TokioIo<Upgraded>),
}

impl Transport {
    /// Takes the stream out of an upgrade; `None` where it is gone.
    pub(super) fn new(
        upgraded: Upgraded,
        take_tcp: Option<TakeTcp>,
        max_unsent: usize,
    ) -> Option<Self> {
        let taken = match take_tcp {
            Some(TakeTcp(take)) => take(upgraded),
            None => take_usual(upgraded),
        };
        let (stream, read) = match taken {
            Taken::Tcp(stream, read) => (stream, read),
            Taken::Other(upgraded) => return Some(Self::Other(TokioIo::new(upgraded))),
            Taken::Gone => return None,
        };
        // Without it an event could wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        bound_unsent(&stream, max_unsent);
        Some(Self::Tcp(stream, read))
    }
}

/// As hyper and hyper-util have it where nothing is wrapped.
fn take_usual(upgraded: Upgraded) -> Taken {
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => Taken::Tcp(parts.io.into_inner(), parts.read_buf),
        // hyper-util's server wraps the stream in a type of its own.
        Err(upgraded) => match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
            Ok(parts) => Taken::Tcp(parts.io.into_inner(), parts.read_buf),
            Err(upgraded) => Taken::Other(upgraded),
        },
    }
}

/// Bounds what the kernel keeps of what is not on the wire yet, where it can be told to.
#[cfg(any(target_os = "android", target_os = "linux"))]
fn bound_unsent(stream: &TcpStream, bytes: usize) {
    let bytes = bytes.clamp(4 << 10, 1 << 30) as u32;
    // A socket that cannot be set so still works.
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(bytes);
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn bound_unsent(_stream: &TcpStream, _bytes: usize) {}
