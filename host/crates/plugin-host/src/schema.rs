//! JSON Schema of a plugin's inputs, outputs and config.

use std::sync::OnceLock;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::lent::secrets::Secrets;
use crate::sanitize;

/// Faults that a message lists.
const SHOWN: usize = 3;

/// A schema that is compiled when it is first needed, so that listing plugins costs nothing.
pub(crate) struct Schema {
    schema: Value,
    validator: OnceLock<Result<Validator, String>>,
}

impl Schema {
    /// # Errors
    /// One sentence when it is no valid schema.
    pub(crate) fn checked(schema: Value) -> Result<Self, String> {
        let validator = build(&schema)?;
        Ok(Self {
            schema,
            validator: OnceLock::from(Ok(validator)),
        })
    }

    /// A schema that was checked when it was stored.
    pub(crate) fn trusted(schema: Value) -> Self {
        Self {
            schema,
            validator: OnceLock::new(),
        }
    }

    pub(crate) fn value(&self) -> &Value {
        &self.schema
    }

    /// # Errors
    /// Names the fields that do not fit.
    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        let validator = self
            .validator
            .get_or_init(|| build(&self.schema))
            .as_ref()
            .map_err(|error| format!("the plugin's schema cannot be used: {error}"))?;
        if validator.is_valid(value) {
            return Ok(());
        }
        let faults: Vec<String> = validator
            .iter_errors(value)
            .take(SHOWN)
            .map(|fault| {
                let place = fault.instance_path().to_string();
                let place = place.trim_start_matches('/').replace('/', ".");
                let text: String = fault.to_string().chars().take(300).collect();
                if place.is_empty() {
                    text
                } else {
                    format!("{place}: {text}")
                }
            })
            .collect();
        Err(sanitize::text(&faults.join("; ")).into_owned())
    }

    /// Parses a plugin's text, cleans its strings, takes secrets out and checks it: a fault quotes what was said.
    ///
    /// # Errors
    /// One sentence when it is no JSON or does not fit.
    pub(crate) fn parse(&self, text: &str, secrets: &Secrets) -> Result<Value, String> {
        let mut value: Value = serde_json::from_str(text)
            .map_err(|error| format!("the answer is no JSON: {error}"))?;
        sanitize::value(&mut value);
        secrets.hide_in(&mut value);
        self.check(&value)
            .map_err(|faults| format!("the answer does not fit the plugin's schema: {faults}"))?;
        Ok(value)
    }
}

/// Linear-time patterns only: a schema must not be able to hang the host.
fn build(schema: &Value) -> Result<Validator, String> {
    jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .map_err(|error| error.to_string())
}
