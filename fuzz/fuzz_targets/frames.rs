#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lockservice_fuzz::frames(data));
