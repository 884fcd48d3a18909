//! The state of a connection, whatever comes when and whatever its socket takes.

pub fn connection(data: &[u8]) {
    stoat_ws_hub::fuzzing::connection(data);
}
