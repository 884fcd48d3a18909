//! The plain loop to compare with: one thread, one log of frames, one `send` per client per wake-up.
//!
//! It does what a hub does for its clients and nothing else: it parses just enough HTTP to accept
//! `GET /ws` and `POST /publish`, keeps no history, knows no filters and checks nothing.

#![allow(
    clippy::print_stderr,
    reason = "a command line program speaks through its streams"
)]

mod connections;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;

use connections::Connections;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use stoat_bench::arguments::Arguments;
use stoat_bench::process;

const LISTENER: u64 = u64::MAX;

fn main() -> ExitCode {
    let outcome = Arguments::parse(std::env::args().skip(1), &[], &["--port"])
        .and_then(|arguments| {
            arguments
                .number("--port")?
                .ok_or("usage: plain --port P".into())
        })
        .and_then(|port| run(port).map_err(|error| error.to_string()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plain: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(port: u16) -> std::io::Result<()> {
    process::raise_descriptor_limit()?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let listener = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    net::sockopt::set_socket_reuseaddr(&listener, true)?;
    // Those that it accepts inherit it.
    net::sockopt::set_tcp_nodelay(&listener, true)?;
    net::bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    net::listen(&listener, 65535)?;

    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &epoll,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;
    let mut connections = Connections::default();
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; 64 << 10];
    loop {
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let (position, flags) = (event.data.u64(), event.flags);
            if position == LISTENER {
                accept(&epoll, &listener, &mut connections)?;
                continue;
            }
            let position = position as usize;
            if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
                connections.close(position);
                continue;
            }
            if flags.contains(EventFlags::OUT) {
                connections.writable(position);
            }
            if flags.intersects(EventFlags::IN | EventFlags::RDHUP) {
                let ended = flags.contains(EventFlags::RDHUP);
                connections.readable(position, &mut buffer, ended);
            }
        }
        connections.fan_out();
    }
}

fn accept(epoll: &OwnedFd, listener: &OwnedFd, connections: &mut Connections) -> Result<(), Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
    // A bounded number at a time, so that those already there are served too.
    for _ in 0..256 {
        let Ok(socket) = net::accept_with(listener, flags) else {
            break;
        };
        let position = connections.add(socket);
        if let Some(socket) = connections.socket(position) {
            epoll::add(epoll, socket, EventData::new_u64(position as u64), interest)?;
        }
    }
    Ok(())
}
