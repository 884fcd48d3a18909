//! The stoat server and its command line, as a library.

pub mod cli;
pub mod logging;
pub mod settings;
