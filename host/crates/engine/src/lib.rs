//! The engine: reads a model and data, trains, writes an adapter or a model, and generates text.
//!
//! It knows nothing of the web, of a database or of plugins, and it keeps no global state: [`train()`] takes a
//! run config and a stop flag and tells what happens through [`domain::RunEvent`]s. No candle type leaves it.
//!
//! Reading order: [`train()`], then `model` (one decoder described by data, with a hand-written backward), `ops`
//! (the fused kernels, one file each), `lora`, `optim`, `data`, `generate`.

pub mod bench;
mod card;
pub mod chat;
pub mod data;
#[cfg(any(test, feature = "cuda"))]
mod device;
mod distributed;
mod error;
mod estimate;
mod evaluate;
pub mod export;
mod files;
#[doc(hidden)]
pub mod fuzzing;
pub mod generate;
mod gguf;
pub mod gpu;
pub mod hub;
mod lora;
mod memory;
mod model;
mod ops;
mod optim;
mod stop;
pub mod tokenizer;
mod train;

pub use distributed::World;
pub use error::{Error, Result};
pub use estimate::{Estimate, estimate};
pub use evaluate::{Evaluation, evaluate, evaluate_on};
pub use stop::StopFlag;
pub use train::{
    LrFound, LrPoint, LrSearch, LrSearchEnd, MeanScores, Report, ScoreTexts, TrainOptions,
    check_config, find_lr, train,
};
