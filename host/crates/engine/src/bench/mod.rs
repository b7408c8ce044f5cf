//! Measurements that go into BENCHMARKS.md: [`train()`] a step on random tokens, [`make_model`] of a given shape.

mod make_model;
mod train;

pub use make_model::{Shape, make_model};
pub use train::{BenchTrain, BenchTrainReport, train};
