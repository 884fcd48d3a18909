//! Shared parts of the black-box tests: they drive the built program over the wire, as a stranger would.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test harness"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the tests know no crate of the workspace, and no request is behind their tasks"
)]

pub mod access;
pub mod binary;
pub mod book;
pub mod browser;
pub mod checker;
pub mod cluster;
pub mod command;
pub mod descriptions;
pub mod disk;
pub mod event;
pub mod foreign;
pub mod front;
pub mod http;
pub mod http2;
pub mod nats;
pub mod numbers;
pub mod otlp;
pub mod prometheus;
pub mod promql;
pub mod proxy;
pub mod raw;
pub mod relay;
pub mod server;
pub mod soak;
pub mod sse;
pub mod tls;
pub mod wait;
pub mod ws;

pub use browser::Browser;
pub use checker::{Attempt, Checker, Publisher, Report};
pub use command::{Output, Running, run, run_with};
pub use disk::SmallDisk;
pub use event::Event;
pub use foreign::Foreign;
pub use front::{Front, Kind};
pub use http::{Connection, Request, Response};
pub use http2::Http2;
pub use nats::{AckEater, Nats, NatsCluster};
pub use otlp::Receiver;
pub use prometheus::Metrics;
pub use proxy::Proxy;
pub use raw::{Frame, Raw};
pub use server::{Server, Setup};
pub use sse::Sse;
pub use tls::Identity;
pub use wait::{DEADLINE, eventually, within};
pub use ws::Client;
