//! The part of the server's settings that its errors use.

#[path = "../../crates/app/src/settings/text.rs"]
#[allow(dead_code, reason = "its other users are not here")]
pub(crate) mod text;
