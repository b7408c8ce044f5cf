//! What is found by reading words: style and security, for the analyzers of these names and for the scorer `lints`.

pub mod security;
pub mod style;
