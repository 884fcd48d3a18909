//! Every CI job of the workspace, as plain Rust.

fn main() {}
