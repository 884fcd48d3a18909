//! The server over real sockets: raw HTTP in, raw HTTP out.
#![allow(clippy::unwrap_used, reason = "helpers of a test fail by panicking")]

#[path = "serve/harness.rs"]
mod harness;

#[path = "serve/drain.rs"]
mod drain;
#[path = "serve/program.rs"]
mod program;
#[path = "serve/publish.rs"]
mod publish;
#[path = "serve/routes.rs"]
mod routes;
#[path = "serve/websocket.rs"]
mod websocket;
