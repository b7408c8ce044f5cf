//! Measurements that go into BENCHMARKS.md: [`train()`] a step on random tokens, [`generate()`] texts after random prompts,
//! [`data()`] from files to packed rows, [`make_model`] of a given shape.

mod data;
mod generate;
mod make_model;
mod train;

pub use data::{BenchData, BenchDataReport, data};
pub use generate::{BenchGenerate, BenchGenerateReport, generate};
pub use make_model::{Shape, make_model};
pub use train::{BenchTrain, BenchTrainReport, train};
