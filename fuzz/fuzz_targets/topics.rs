//! The fuzz target `topics`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoat_fuzz::topics(data));
