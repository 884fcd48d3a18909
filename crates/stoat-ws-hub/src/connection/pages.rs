//! What many sockets are sent, in pages of the kernel's that all of them share.

#[cfg(any(target_os = "android", target_os = "linux"))]
pub(super) use shared::Pages;

#[cfg(not(any(target_os = "android", target_os = "linux")))]
pub(super) use copied::Pages;

#[cfg(any(target_os = "android", target_os = "linux"))]
mod shared {
    use std::os::fd::OwnedFd;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use rustix::fs::{MemfdFlags, memfd_create, sendfile};
    use rustix::io::{Errno, write};
    use rustix::process::{Resource, getrlimit};
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
                // No descriptor or no memory, perhaps: another time.
                Err(error) => self.note(error),
            }
        }

        /// Lets go of them.
        pub(in crate::connection) fn clear(&mut self) {
            self.held = None;
        }

        /// Sends them as far as the socket takes them, and says how far. `None` where that was
        /// nowhere: sending them in the usual way tells whether it is the socket's fault.
        pub(in crate::connection) fn send(&self, stream: &TcpStream) -> Option<usize> {
            let (file, length) = self.held.as_ref()?;
            if self.unable.load(Relaxed) {
                return None;
            }
            let mut from = 0;
            match sendfile(stream, file, Some(&mut from), *length) {
                Ok(sent) => Some(sent).filter(|sent| *sent > 0),
                Err(error) => {
                    self.note(error);
                    None
                }
            }
        }

        fn note(&self, error: Errno) {
            use Errno as E;
            if let E::NOSYS | E::INVAL | E::OPNOTSUPP | E::PERM | E::ACCESS = error {
                self.unable.store(true, Relaxed);
            }
        }
    }

    fn hold(mut bytes: &[u8]) -> Result<OwnedFd, Errno> {
        const NAME: &str = "stoat-batch";
        // A memory file is a file to the kernel, which ends a process that writes too large a one.
        let limit = getrlimit(Resource::Fsize).current;
        if limit.is_some_and(|limit| limit < bytes.len() as u64) {
            return Err(Errno::FBIG);
        }
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
                match pages.send(&near) {
                    Some(count) => sent.extend_from_slice(&bytes[..count]),
                    None => break,
                }
                if sent.len() > 400_000 {
                    break;
                }
            }
            pages.put(&filled(255));
            drop((near, pages));
            let mut received = Vec::new();
            far.read_to_end(&mut received).await.unwrap();
            assert!(received.len() > 20_000, "{}", received.len());
            assert!(received == sent, "{} of {}", received.len(), sent.len());
        }

        #[tokio::test]
        async fn little_is_sent_in_the_usual_way() {
            let (near, _far) = pair().await;
            let mut pages = Pages::default();
            assert!(pages.send(&near).is_none());
            pages.put(&filled(1));
            assert_eq!(pages.send(&near), Some(20_000));
            pages.put(b"little");
            assert!(pages.send(&near).is_none());
            pages.put(&filled(1));
            pages.clear();
            assert!(pages.send(&near).is_none());
        }

        #[tokio::test]
        async fn where_it_fails_the_usual_way_is_left() {
            let (near, _far) = pair().await;
            // What is open for writing alone cannot be read by the kernel either.
            let file = std::fs::File::options().write(true).open("/dev/null");
            let mut pages = Pages {
                held: Some((file.unwrap().into(), 20_000)),
                ..Pages::default()
            };
            assert!(pages.send(&near).is_none());
            pages.put(&filled(1));
            assert_eq!(pages.send(&near), Some(20_000), "it fails for good");
        }
    }
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
mod copied {
    use tokio::net::TcpStream;

    /// Other systems copy for each socket.
    #[derive(Debug, Default)]
    pub(in crate::connection) struct Pages;

    impl Pages {
        pub(in crate::connection) fn put(&mut self, _bytes: &[u8]) {}

        pub(in crate::connection) fn clear(&mut self) {}

        pub(in crate::connection) fn send(&self, _stream: &TcpStream) -> Option<usize> {
            None
        }
    }
}
