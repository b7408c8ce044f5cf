//! Whole runs through `engine::train`, on the tiny models of `tests/fixtures/goldens`.

mod bad_input;
mod cards;
mod full;
mod full_goldens;
mod generate;
mod gguf;
mod goldens;
mod harness;
mod intervals;
mod packing;
mod pissa;
mod preference;
mod ranks;
mod resized;
mod resume;
mod scoring;
mod streaming;
mod survive;
