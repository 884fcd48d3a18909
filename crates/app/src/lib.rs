#![doc = include_str!("../README.md")]

pub mod access;
pub mod cli;
pub mod client;
pub mod logging;
pub mod serve;
pub mod settings;

/// The project's README, so that its code compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct ProjectReadme;
