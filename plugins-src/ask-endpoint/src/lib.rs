//! Asks a model behind an HTTP endpoint that speaks OpenAI's or Anthropic's protocol.

#[cfg(target_family = "wasm")]
mod plugin;
pub mod protocol;
#[cfg(target_family = "wasm")]
mod request;
