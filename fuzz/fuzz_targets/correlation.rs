//! The fuzz target `correlation`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoat_fuzz::correlation(data));
