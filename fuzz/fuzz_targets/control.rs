//! The fuzz target `control`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoat_fuzz::control(data));
