#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| engine::fuzzing::dataset_card(bytes));
