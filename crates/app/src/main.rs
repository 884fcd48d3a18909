//! The `stoat` binary.

fn main() {}
