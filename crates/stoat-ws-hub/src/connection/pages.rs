//! What many sockets are sent, in pages of the kernel's that all of them share.

#[cfg(any(target_os = "android", target_os = "linux"))]
pub(super) use shared::Pages;

#[cfg(not(any(target_os = "android", target_os = "linux")))]
pub(super) use copied::Pages;

#[cfg(any(target_os = "android", target_os = "linux"))]
mod shared {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use rustix::fs::{MemfdFlags, memfd_create, sendfile};
    use rustix::io::{Errno, write};
    use tokio::net::TcpStream;

    /// Of less, a copy for each socket costs no more.
    const WORTH_IT: usize = 8 << 10;

    /// Bytes that are copied into the kernel once, and sent from there by each socket.
    ///
    /// Each time they are put into new pages. Those of before stay as they are, and the kernel's,
    /// until the last receiver has taken what it was sent of them.
    #[derive(Debug, Default)]
    pub(in crate::connection) struct Pages {
        /// The bytes, and how many there are; none where they are to be sent in the usual way.
        held: Option<(OwnedFd, usize)>,
        /// The system has no such thing, or forbids it.
        unable: AtomicBool,
    }

    impl Pages {
        /// Takes bytes in the place of those of before, where that is worth it and can be done.
        pub(in crate::connection) fn put(&mut self, bytes: &[u8]) {
            self.held = None;
            if bytes.len() < WORTH_IT || self.unable.load(Relaxed) {
                return;
            }
            match hold(bytes) {
                Ok(file) => self.held = Some((file, bytes.len())),
                Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS) => self.unable.store(true, Relaxed),
                // No descriptor or no memory: another time.
                Err(_) => {}
            }
        }

        /// Lets go of them.
        pub(in crate::connection) fn clear(&mut self) {
            self.held = None;
        }

        /// Sends them as far as the socket takes them. `None` where they have to be sent in the
        /// usual way.
        pub(in crate::connection) fn send(&self, stream: &TcpStream) -> Option<io::Result<usize>> {
            let (file, length) = self.held.as_ref()?;
            if self.unable.load(Relaxed) {
                return None;
            }
            let mut from = 0;
            match sendfile(stream, file, Some(&mut from), *length) {
                Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) => {
                    self.unable.store(true, Relaxed);
                    None
                }
                sent => Some(sent.map_err(io::Error::from)),
            }
        }
    }

    fn hold(mut bytes: &[u8]) -> Result<OwnedFd, Errno> {
        const NAME: &str = "stoat-batch";
        let file = match memfd_create(NAME, MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL) {
            // Kernels before 6.3 do not know that it is nothing to execute.
            Err(Errno::INVAL) => memfd_create(NAME, MemfdFlags::CLOEXEC)?,
            file => file?,
        };
        while !bytes.is_empty() {
            match write(&file, bytes)? {
                0 => return Err(Errno::IO),
                written => bytes = &bytes[written..],
            }
        }
        Ok(file)
    }

    #[cfg(test)]
    mod tests {
        use tokio::io::AsyncReadExt;
        use tokio::net::{TcpListener, TcpStream};

        use super::Pages;

        async fn pair() -> (TcpStream, TcpStream) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
            (near.unwrap(), far.unwrap().0)
        }

        fn filled(byte: u8) -> Vec<u8> {
            (0..20_000).map(|n| byte ^ (n % 251) as u8).collect()
        }

        #[tokio::test]
        async fn what_is_on_its_way_stays_as_it_was_sent() {
            let (near, mut far) = pair().await;
            let mut pages = Pages::default();
            let mut sent = Vec::new();
            for byte in 0..100 {
                let bytes = filled(byte);
                pages.put(&bytes);
                near.writable().await.unwrap();
                match pages.send(&near).unwrap() {
                    Ok(count) => sent.extend_from_slice(&bytes[..count]),
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
                }
                if sent.len() > 400_000 {
                    break;
                }
            }
            pages.put(&filled(255));
            drop((near, pages));
            let mut received = Vec::new();
            far.read_to_end(&mut received).await.unwrap();
            assert!(received == sent, "{} of {}", received.len(), sent.len());
        }

        #[tokio::test]
        async fn little_is_sent_in_the_usual_way() {
            let (near, _far) = pair().await;
            let mut pages = Pages::default();
            assert!(pages.send(&near).is_none());
            pages.put(&filled(1));
            assert_eq!(pages.send(&near).unwrap().unwrap(), 20_000);
            pages.put(b"little");
            assert!(pages.send(&near).is_none());
            pages.put(&filled(1));
            pages.clear();
            assert!(pages.send(&near).is_none());
        }

        #[tokio::test]
        async fn a_peer_that_is_gone_is_an_error() {
            let (near, far) = pair().await;
            socket2::SockRef::from(&far)
                .set_linger(Some(std::time::Duration::ZERO))
                .unwrap();
            drop(far);
            let mut pages = Pages::default();
            pages.put(&filled(1));
            while pages.send(&near).unwrap().is_ok() {}
        }
    }
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
mod copied {
    use std::io;

    use tokio::net::TcpStream;

    /// Other systems copy for each socket.
    #[derive(Debug, Default)]
    pub(in crate::connection) struct Pages;

    impl Pages {
        pub(in crate::connection) fn put(&mut self, _bytes: &[u8]) {}

        pub(in crate::connection) fn clear(&mut self) {}

        pub(in crate::connection) fn send(&self, _stream: &TcpStream) -> Option<io::Result<usize>> {
            None
        }
    }
}
