//! Compares stoat with other servers under the same load.

fn main() {}
