//! The service manager that started the program, such as systemd: the socket that it passes, and
//! what it is told.

#[cfg(unix)]
pub(super) use unix::{Supervisor, passed_listener};

#[cfg(not(unix))]
pub(super) use nobody::{Supervisor, passed_listener};

#[cfg(unix)]
mod unix {
    use std::convert::Infallible;
    use std::ffi::OsString;
    use std::future::pending;
    use std::io::{self, ErrorKind};
    use std::net::TcpListener;
    use std::os::unix::net::UnixDatagram as StdDatagram;
    use std::time::Duration;

    use listenfd::ListenFd;
    use rustix::time::{ClockId, clock_gettime};
    use socket2::SockRef;
    use tokio::net::UnixDatagram;
    use tokio::time::{interval, timeout};

    /// A manager that does not read holds the server up for so long at each word.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// The socket that came with the start (`LISTEN_FDS`), if one did.
    ///
    /// It takes the variables out of the environment, and must be called before there are threads.
    ///
    /// # Errors
    /// What came is more than one, or no TCP socket that listens.
    pub(in crate::serve) fn passed_listener() -> io::Result<Option<TcpListener>> {
        let mut passed = ListenFd::from_env();
        if passed.len() > 1 {
            let message = format!("{} sockets were passed; expected one", passed.len());
            return Err(io::Error::new(ErrorKind::InvalidInput, message));
        }
        let Some(listener) = passed.take_tcp_listener(0)? else {
            return Ok(None);
        };
        if !SockRef::from(&listener).is_listener()? {
            let message = "the socket that was passed does not listen";
            return Err(io::Error::new(ErrorKind::InvalidInput, message));
        }
        listener.set_nonblocking(true)?;
        Ok(Some(listener))
    }

    /// Who is told how the server is doing; nobody, where `NOTIFY_SOCKET` names nobody.
    #[derive(Debug)]
    pub(in crate::serve) struct Supervisor {
        socket: Option<UnixDatagram>,
        /// A sign of life is expected at least this often.
        watchdog: Option<Duration>,
    }

    impl Supervisor {
        /// Reads the environment; must be called within a runtime.
        pub(in crate::serve) fn from_environment() -> Self {
            let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
                connect(&name)
                    .inspect_err(|error| tracing::warn!(%error, "NOTIFY_SOCKET cannot be used"))
                    .ok()
            });
            let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
            let is_ours =
                number("WATCHDOG_PID").is_none_or(|id| id == u64::from(std::process::id()));
            let watchdog = number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0);
            Self {
                socket,
                watchdog: watchdog.map(Duration::from_micros),
            }
        }

        /// The server listens, or has read again what was to be read.
        pub(in crate::serve) async fn ready(&self) {
            self.tell("READY=1").await;
        }

        /// The server reads something again; [`ready`](Self::ready) follows.
        pub(in crate::serve) async fn reloading(&self) {
            let now = clock_gettime(ClockId::Monotonic);
            let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
            self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"))
                .await;
        }

        /// The server drains.
        pub(in crate::serve) async fn stopping(&self) {
            self.tell("STOPPING=1").await;
        }

        /// Gives signs of life, for ever, where they are asked for. Polled together with what
        /// accepts connections, they say that this still goes on.
        pub(in crate::serve) async fn stay_alive(&self) -> Infallible {
            let Some(limit) = self.watchdog else {
                return pending().await;
            };
            let mut beat = interval(limit / 2);
            loop {
                beat.tick().await;
                self.tell("WATCHDOG=1").await;
            }
        }

        async fn tell(&self, words: &str) {
            let Some(socket) = &self.socket else { return };
            let told = timeout(PATIENCE, socket.send(words.as_bytes())).await;
            let error = match told {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => error,
                Err(_) => ErrorKind::TimedOut.into(),
            };
            tracing::warn!(%error, words, "the service manager cannot be told");
        }
    }

    fn connect(name: &OsString) -> io::Result<UnixDatagram> {
        let socket = StdDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        connect_to(&socket, name)?;
        UnixDatagram::from_std(socket)
    }

    /// A name with `@` before it is one of Linux's that are no files.
    #[cfg(target_os = "linux")]
    fn connect_to(socket: &StdDatagram, name: &OsString) -> io::Result<()> {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::net::SocketAddr;

        match name.as_bytes().strip_prefix(b"@") {
            Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?),
            None => socket.connect(name),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn connect_to(socket: &StdDatagram, name: &OsString) -> io::Result<()> {
        socket.connect(name)
    }
}

/// Elsewhere nobody passes a socket, and nobody is told.
#[cfg(not(unix))]
mod nobody {
    use std::convert::Infallible;
    use std::io;
    use std::net::TcpListener;

    pub(in crate::serve) fn passed_listener() -> io::Result<Option<TcpListener>> {
        Ok(None)
    }

    #[derive(Debug)]
    pub(in crate::serve) struct Supervisor(());

    impl Supervisor {
        pub(in crate::serve) fn from_environment() -> Self {
            Self(())
        }

        pub(in crate::serve) async fn ready(&self) {}

        pub(in crate::serve) async fn stopping(&self) {}

        pub(in crate::serve) async fn stay_alive(&self) -> Infallible {
            std::future::pending().await
        }
    }
}
