//! The JSON API: one file per resource, thin; what is worth more than a line lives in the crates.

pub mod events;
pub mod generate;
pub mod health;
pub mod metrics;
pub mod models;
pub mod openapi;
pub mod plugins;
pub mod runs;
pub mod submit;
pub mod system;
pub mod tokenize;
