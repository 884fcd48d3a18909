//! What must hold for any input: one function a fuzz target, which panics where it does not.

#![allow(missing_docs, reason = "each file opens with what it is about")]

mod connection;
mod control;
mod correlation;
mod event_id;
mod publish;
mod topics;

// The server's modules that read a published body, without the server: it would bring C libraries
// that take longer to build than everything else here.
mod serve;
mod settings;

pub use connection::connection;
pub use control::control;
pub use correlation::correlation;
pub use event_id::event_id;
pub use publish::publish;
pub use topics::topics;

/// Cuts the input at its first line feeds, as text; what is no text is left out.
fn lines<const N: usize>(data: &[u8]) -> Option<[&str; N]> {
    let text = std::str::from_utf8(data).ok()?;
    let mut parts = text.splitn(N, '\n');
    Some(std::array::from_fn(|_| parts.next().unwrap_or_default()))
}
