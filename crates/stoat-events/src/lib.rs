//! stoat-events
