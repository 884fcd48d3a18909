//! A service manager such as systemd: what the server tells it, and a socket that it passes.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Output};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Signal;
use stoat_tests::server::program;
use stoat_tests::{Client, Connection, Request, Server, Setup, binary, within};
use tempfile::TempDir;
use tokio::net::UnixDatagram;

/// Gives the program after it the descriptors of its first argument, from 3 on.
const PASS: &str = "
import os, sys
given = [os.dup(int(fd)) for fd in sys.argv[1].split(',')]
for at, fd in enumerate(given):
    os.dup2(fd, 3 + at)
    os.set_inheritable(3 + at, True)
os.environ.update(LISTEN_FDS=str(len(given)), LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
";

/// A socket that the server is told of, and what arrives there.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        Self { folder, socket }
    }

    fn setup(&self) -> Setup {
        let path = self.folder.path().join("notify");
        Setup::default().env("NOTIFY_SOCKET", path.to_str().expect("UTF-8"))
    }

    async fn told(&self) -> String {
        let mut words = [0; 256];
        let received = within("a word of the server", self.socket.recv(&mut words)).await;
        let length = received.expect("a socket");
        String::from_utf8(words[..length].to_vec()).expect("UTF-8")
    }
}

/// A socket that outlives the servers that it is passed to.
fn listen(address: Ipv4Addr) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((address, 0)).expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    inherit(&listener);
    (listener, address)
}

fn inherit(socket: &impl AsFd) {
    fcntl_setfd(socket, FdFlags::empty()).expect("an open socket");
}

fn passing(fds: &[BorrowedFd<'_>]) -> [String; 4] {
    let python = binary::workspace().join(".tools/venv/bin/python");
    assert!(python.exists(), "run `cargo xtask setup`");
    let numbers: Vec<_> = fds.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    let python = python.to_str().expect("UTF-8").to_owned();
    [python, "-c".to_owned(), PASS.to_owned(), numbers.join(",")]
}

/// What becomes of a server that is passed these.
fn refused(fds: &[BorrowedFd<'_>], args: &[&str]) -> Output {
    let [python, words @ ..] = passing(fds);
    let mut command: Command = program(Path::new(&python));
    command.args(words).arg(binary::stoat()).args(args);
    command.output().expect("the server runs")
}

#[tokio::test]
async fn a_manager_is_told_of_start_reload_and_stop() {
    let manager = Manager::new();
    let mut server = manager.setup().start();
    assert_eq!(manager.told().await, "READY=1");
    server.signal(Signal::HUP);
    let told = manager.told().await;
    let time = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    let time = time.and_then(|time| time.parse::<u64>().ok());
    assert!(time.is_some_and(|micros| micros > 0), "{told}");
    assert_eq!(manager.told().await, "READY=1");
    server.terminate();
    assert_eq!(manager.told().await, "STOPPING=1");
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_watchdog_is_fed_only_where_it_asks() {
    let manager = Manager::new();
    let _server = manager.setup().env("WATCHDOG_USEC", "100000").start();
    assert_eq!(manager.told().await, "READY=1");
    for _ in 0..3 {
        assert_eq!(manager.told().await, "WATCHDOG=1");
    }
    // One that is for another process.
    let manager = Manager::new();
    let setup = manager.setup().env("WATCHDOG_USEC", "1");
    let mut server = setup.env("WATCHDOG_PID", "1").start();
    assert_eq!(manager.told().await, "READY=1");
    server.terminate();
    assert_eq!(manager.told().await, "STOPPING=1");
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_manager_that_is_gone_is_no_obstacle() {
    let mut server = Setup::default()
        .env("NOTIFY_SOCKET", "/nowhere/notify")
        .start();
    server.publish(r#"{"type":"a"}"#).await;
    server.terminate();
    assert_eq!(server.exit().await.code(), Some(0));
    assert!(server.log().contains("NOTIFY_SOCKET"), "{}", server.log());
}

#[tokio::test]
async fn connections_wait_in_a_passed_socket_from_one_server_to_the_next() {
    let (listener, address) = listen(Ipv4Addr::LOCALHOST);
    let start = || -> Server {
        let passing = passing(&[listener.as_fd()]);
        Setup::default().under(passing).start()
    };
    let mut first = start();
    assert_eq!(first.address(), address);
    let mut client = Client::connect(&first, "/ws").await;
    first.publish(r#"{"type":"a"}"#).await;
    assert_eq!(client.event().await.event_type, "a");
    first.terminate();
    assert_eq!(
        client.closed().await.1.map(|close| close.code.into()),
        Some(1001)
    );
    assert_eq!(first.exit().await.code(), Some(0));

    let mut between = Connection::open(address).await;
    between.start(&Request::publish(r#"{"type":"b"}"#)).await;
    let second = start();
    assert_eq!(second.address(), address);
    assert_eq!(between.response(false).await.status, 201);
}

#[test]
fn a_socket_that_does_not_fit_is_refused() {
    let (one, _) = listen(Ipv4Addr::LOCALHOST);
    let (open, address) = listen(Ipv4Addr::UNSPECIFIED);
    let unheard = socket_that_does_not_listen();
    let file = tempfile::tempfile().expect("a file");
    inherit(&file);
    let open_address = address.to_string();
    for (fds, wanted) in [
        (&[one.as_fd(), one.as_fd()][..], "2 sockets were passed"),
        (&[unheard.as_fd()], "does not listen"),
        (&[file.as_fd()], "is not a socket"),
        (&[open.as_fd()], open_address.as_str()),
    ] {
        let output = refused(fds, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(wanted), "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn descriptors_for_another_process_are_left_alone() {
    let server = Setup::default()
        .env("LISTEN_FDS", "1")
        .env("LISTEN_PID", "1")
        .start();
    assert!(server.address().ip().is_loopback());
}

fn socket_that_does_not_listen() -> OwnedFd {
    let (listener, address) = listen(Ipv4Addr::LOCALHOST);
    let stream = std::net::TcpStream::connect(address).expect("a connection");
    drop(listener);
    inherit(&stream);
    OwnedFd::from(stream)
}
