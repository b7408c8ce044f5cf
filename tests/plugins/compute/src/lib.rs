//! A tool that does the work of `codetune bench plugins`, which compares it with the same code compiled natively.

#[path = "../../../../host/crates/plugin-host/src/bench/work.rs"]
mod work;

use codetune_plugin::{About, Settings, Tool};
use serde::{Deserialize, Serialize};

/// The plugin.
pub struct Compute;

/// What to do.
#[derive(Debug, Deserialize)]
pub struct Input {
    work: String,
    seed: u64,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Output {
    result: u64,
}

impl Tool for Compute {
    const ABOUT: About = About {
        name: "compute",
        version: env!("CARGO_PKG_VERSION"),
        description: "Does the work of `codetune bench plugins`.",
        author: "CodeTune Studio",
        tags: &[],
        config_schema: "{}",
    };
    const INPUT_SCHEMA: &'static str = r#"{"type":"object"}"#;
    const OUTPUT_SCHEMA: &'static str = r#"{"type":"object"}"#;
    type Input = Input;
    type Output = Output;

    fn new(_settings: &Settings) -> Result<Self, String> {
        Ok(Self)
    }

    fn execute(&self, input: Input) -> Result<Output, String> {
        let mut kinds = work::KINDS.into_iter();
        let (_, run) = kinds
            .find(|(name, _)| *name == input.work)
            .ok_or_else(|| format!("work: there is no {:?}", input.work))?;
        Ok(Output {
            result: run(input.seed),
        })
    }
}

codetune_plugin::tool!(Compute, "../../../wit/0.1.1");
