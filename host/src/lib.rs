//! CodeTune Studio: fine-tune code models on your own hardware, with plugins that decide what they learn from.
//!
//! This crate is the program: command line, web server, worker, and the wiring between the crates that
//! do the work (`store`, `plugin-host`, `curation`, `engine`). None of those knows the others; they meet here and nowhere
//! else. Start at [`cli`], then [`config`], then `server`.

pub mod answers;
pub mod api;
pub mod bootstrap;
pub mod cli;
pub mod config;
pub mod curate;
pub mod curated;
pub mod curations;
pub mod error;
pub mod events;
pub mod exports;
pub mod gpu;
pub mod jobs;
pub mod lending;
pub mod pages;
pub mod plugin_history;
pub mod plugin_settings;
pub mod plugins;
pub mod routes;
pub mod safety;
pub mod scoring;
pub mod secrets;
pub mod server;
mod shelf;
pub mod state;
pub mod telemetry;
pub mod templates;
