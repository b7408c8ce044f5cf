//! Plugins as their authors make them.

mod authors;
mod languages;
mod registry;
