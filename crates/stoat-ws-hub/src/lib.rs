//! stoat-ws-hub
