//! stoat-correlation
