//! Runs plugins: WebAssembly components that analyse code, each call in a sandbox of its own.
//!
//! It finds plugins in a folder, compiles them into a cache, checks what they import and what they answer, bounds every
//! call (fuel, time, memory, tables, stack, output, log) and swaps a changed plugin while others are being called.
//! It is synchronous, knows no database and no web; `wasmtime` stays inside.
//!
//! Start reading at [`PluginHost`], then `version` (one loaded component), `call` (one call), `registry` (the set), `lent`
//! (what plugins may use beyond the sandbox) and `consent` (who allows it).

mod anatomy;
mod batch;
mod breaker;
mod cache;
mod call;
mod canary;
mod clock;
mod consent;
mod error;
mod fixtures;
mod host;
mod inspect;
mod job;
mod kind;
mod lent;
mod limiter;
mod log;
mod machine;
mod metadata;
mod outcome;
mod recent;
mod registry;
mod runtime;
mod same;
mod sanitize;
mod schema;
mod source;
mod turns;
mod version;
mod wasi;
mod watch;

pub mod bench;
pub mod fuzzing;

pub use anatomy::{Anatomy, anatomy};
pub use consent::check_secret_name;
pub use error::Error;
pub use host::{HostConfig, PluginHost};
pub use job::PluginJob;
pub use lent::{GenerateRequest, Generated, Prompt, Services};
pub use metadata::check_name;
pub use same::is_same_json;
pub use watch::Watcher;
