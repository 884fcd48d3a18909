//! The fuzz target `event_id`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoat_fuzz::event_id(data));
