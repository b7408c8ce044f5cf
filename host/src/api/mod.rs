//! The JSON API: one file per resource, thin; what is worth more than a line lives in the crates.

/// Datasets through pipelines of plugins.
pub mod curations;
/// Live events of a run.
pub mod events;
/// What leaves the studio.
pub mod exports;
/// Text from a model.
pub mod generate;
/// Signs of life, readiness, counters.
pub mod health;
/// Curves of a run.
pub mod metrics;
/// Models and adapters that can be talked to.
pub mod models;
/// The description of the API.
pub mod openapi;
/// Plugins: list, call, switch, grant.
pub mod plugins;
/// Runs: make, list, stop, resume, delete.
pub mod runs;
/// An answer as it is written.
mod stream;
pub mod submit;
/// The machine.
pub mod system;
/// A text as tokens.
pub mod tokenize;
