#![doc = include_str!("../README.md")]

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
