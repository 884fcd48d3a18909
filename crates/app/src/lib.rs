#![doc = include_str!("../README.md")]
//!
//! # How the parts fit
//!
//! The library behind the program; it is for the program and its tests, and may change at any time.
//!
//! ```text
//! arguments ─▶ cli ─▶ settings (flags, environment, file, defaults) ─▶ logging
//!               │                                                       │
//!               ├─ serve: listener ─▶ TLS ─▶ HTTP/1, HTTP/2 ─▶ router ─▶ access ─▶ hub, log
//!               └─ tail, publish, bench: client ─▶ a running server
//! ```
//!
//! [`cli`] reads the command line, [`settings`] what is in force, [`access`] says who may enter, [`serve`]
//! is the server, [`client`] what talks to one, [`logging`] the lines on standard error.
//!
//! ```
//! use stoat_app::settings::{Flags, Settings};
//!
//! let flags = Flags::new().with("listen", "127.0.0.1:0");
//! let loaded = Settings::load(&flags, [], |_| unreachable!("no file is named")).unwrap();
//! assert_eq!(loaded.settings.listen.port(), 0);
//! ```

pub mod access;
#[cfg(doctest)]
mod book;
pub mod cli;
pub mod client;
pub mod logging;
#[cfg(test)]
mod reference;
pub mod serve;
pub mod settings;
