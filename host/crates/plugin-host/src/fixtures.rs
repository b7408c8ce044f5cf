//! A plugin's own examples, `fixtures.json` beside its manifest: a new version must pass them before it answers anyone.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use crate::is_same_json;

/// Examples that count; the rest is not run, so that a reload stays quick.
const MOST: usize = 100;

/// All examples together; other plugins wait to be loaded behind them.
const PATIENCE: Duration = Duration::from_secs(60);

/// One example.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fixture {
    /// What the tool gets.
    pub(crate) input: Value,
    /// What it must answer; anything that fits its schema when left out.
    pub(crate) output: Option<Value>,
}

/// Reads the file's text: a JSON array.
///
/// # Errors
/// One sentence.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<Fixture>, String> {
    let mut fixtures: Vec<Fixture> = serde_json::from_slice(text)
        .map_err(|error| format!("fixtures.json is no list of {{input, output}}: {error}"))?;
    fixtures.truncate(MOST);
    Ok(fixtures)
}

/// Runs them through `execute`.
///
/// # Errors
/// Names the first example that fails.
pub(crate) fn check(
    fixtures: &[Fixture],
    execute: impl Fn(&Value) -> Result<Value, String>,
) -> Result<(), String> {
    let started = Instant::now();
    for (index, fixture) in fixtures.iter().enumerate() {
        if started.elapsed() > PATIENCE {
            return Err(format!(
                "takes longer than {} s for the first {index} examples of fixtures.json; leave some out",
                PATIENCE.as_secs()
            ));
        }
        let output = execute(&fixture.input)
            .map_err(|error| format!("fails its own example {index} of fixtures.json: {error}"))?;
        if fixture
            .output
            .as_ref()
            .is_some_and(|expected| !is_same_json(expected, &output))
        {
            return Err(format!(
                "fails its own example {index} of fixtures.json: it answered {output}"
            ));
        }
    }
    Ok(())
}
