//! Measurements that go into BENCHMARKS.md: [`train()`] a step on random tokens, [`generate()`] texts after random prompts,
//! [`make_model`] of a given shape.

mod generate;
mod make_model;
mod train;

pub use generate::{BenchGenerate, BenchGenerateReport, generate};
pub use make_model::{Shape, make_model};
pub use train::{BenchTrain, BenchTrainReport, train};

/// Most memory that this process has held, in bytes; 0 where the system does not say.
pub fn peak_rss_bytes() -> u64 {
    crate::memory::peak_rss_bytes()
}
