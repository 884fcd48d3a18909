//! The upgraded stream: a plain TCP stream where that can be had, else whatever it is.

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;

/// Where the bytes of a connection go.
pub(super) enum Transport {
    /// Taken out of hyper's hands, with the bytes that it had read too far.
    Tcp(TcpStream, Bytes),
    /// TLS, a test's duplex, or whatever else an embedder serves.
    Other(TokioIo<Upgraded>),
}

impl Transport {
    /// Takes the stream out of an upgrade.
    pub(super) fn new(upgraded: Upgraded, max_unsent: usize) -> Self {
        let (stream, read) = match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => (parts.io, parts.read_buf),
            // hyper-util's server wraps the stream in a type of its own.
            Err(upgraded) => match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
                Ok(parts) => (parts.io, parts.read_buf),
                Err(upgraded) => return Self::Other(TokioIo::new(upgraded)),
            },
        };
        let stream = stream.into_inner();
        // Without it an event could wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        bound_unsent(&stream, max_unsent);
        Self::Tcp(stream, read)
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
