//! The fuzz target `connection`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoat_fuzz::connection(data));
