//! Has the studio's model review a file.

#[cfg(target_family = "wasm")]
mod plugin;
pub mod prompt;
