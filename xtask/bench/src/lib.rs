//! What the load generator, the servers it is pointed at, and the runner that compares them share.
//!
//! Linux only: the figures come from `/proc`, and both ends sit on epoll. Start with
//! `cargo xtask bench --help`.

pub mod arguments;
pub mod frame;
pub mod histogram;
pub mod http;
pub mod machine;
pub mod marker;
pub mod process;
pub mod statistics;

#[cfg(feature = "peers")]
pub mod peer;
