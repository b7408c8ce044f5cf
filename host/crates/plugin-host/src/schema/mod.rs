//! JSON Schema of a plugin's inputs, outputs and config.

#[cfg(test)]
mod agreement;
mod quick;
mod shape;
mod weight;

use std::sync::OnceLock;

use domain::Details;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

use crate::lent::secrets::Secrets;
use crate::sanitize;

use shape::Shape;
use weight::{Weight, values, weigh};

/// Faults that a message lists.
const SHOWN: usize = 3;
/// Values of a schema times those of a value: some seconds at the most.
const MOST_WORK: u64 = 1 << 30;
/// The same where all faults are looked for, of which there may be as many.
const LITTLE_WORK: u64 = 1 << 18;

/// A schema that is compiled when it is first needed, so that listing plugins costs nothing.
pub(crate) struct Schema {
    schema: Value,
    checks: OnceLock<Result<Checks, String>>,
}

struct Checks {
    validator: Validator,
    weight: Weight,
    /// Of the usual schemas.
    shape: Option<Shape>,
}

impl Checks {
    /// So many values are too many.
    fn most(&self) -> u64 {
        MOST_WORK / self.weight.values
    }

    /// By the validator.
    fn check(&self, value: &Value) -> Result<(), String> {
        let Self {
            validator, weight, ..
        } = self;
        let most = self.most();
        let count = values(value, most);
        if count >= most {
            return Err(format!(
                "so many values take too long to check by a schema of {} values",
                weight.values
            ));
        }
        if validator.is_valid(value) {
            return Ok(());
        }
        // Whether a value fits is remembered part by part, but where it does not, and why, is looked for along every way that
        // leads there; and all faults are kept.
        let faults: Vec<String> = if weight.is_recursive {
            vec!["a value is not as the schema has it".to_owned()]
        } else if weight.values * count > LITTLE_WORK {
            validator.validate(value).err().iter().map(told).collect()
        } else {
            let faults = validator.iter_errors(value).take(SHOWN);
            faults.map(|fault| told(&fault)).collect()
        };
        Err(sanitize::text(&faults.join("; ")).into_owned())
    }
}

impl Schema {
    /// # Errors
    /// One sentence when it is no valid schema.
    pub(crate) fn checked(schema: Value) -> Result<Self, String> {
        let checks = build(&schema)?;
        Ok(Self {
            schema,
            checks: OnceLock::from(Ok(checks)),
        })
    }

    /// A schema that was checked when it was stored.
    pub(crate) fn trusted(schema: Value) -> Self {
        Self {
            schema,
            checks: OnceLock::new(),
        }
    }

    pub(crate) fn value(&self) -> &Value {
        &self.schema
    }

    fn checks(&self) -> Result<&Checks, String> {
        self.checks
            .get_or_init(|| build(&self.schema))
            .as_ref()
            .map_err(|error| format!("the plugin's schema cannot be used: {error}"))
    }

    /// # Errors
    /// Names the fields that do not fit.
    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        let checks = self.checks()?;
        let most = checks.most();
        let mut count = 0;
        match &checks.shape {
            Some(shape) if shape.fits(value, &mut count) && count < most => Ok(()),
            _ => checks.check(value),
        }
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

    /// The same as text.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub(crate) fn details(&self, text: &str, secrets: &Secrets) -> Result<Details, String> {
        if let (Ok(checks), true) = (self.checks(), secrets.is_empty()) {
            let shape = checks.shape.as_ref();
            if let Some(details) = shape.and_then(|shape| quick::read(text, shape, checks.most())) {
                return Ok(details);
            }
        }
        self.parse(text, secrets).map(|value| Details::from(&value))
    }
}

/// A fault with its place.
fn told(fault: &ValidationError<'_>) -> String {
    let place = fault.instance_path().to_string();
    let place = place.trim_start_matches('/').replace('/', ".");
    let text: String = fault.to_string().chars().take(300).collect();
    match place.is_empty() {
        true => text,
        false => format!("{place}: {text}"),
    }
}

/// Linear-time patterns only, and nothing that is walked too often: a schema must not be able to hang the host.
fn build(schema: &Value) -> Result<Checks, String> {
    let weight = weigh(schema)?;
    let validator = jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .map_err(|error| error.to_string())?;
    let shape = Shape::of(schema, &weight);
    Ok(Checks {
        validator,
        weight,
        shape,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{MOST_WORK, Schema};

    fn faults(schema: Value, value: &Value) -> String {
        Schema::checked(schema).unwrap().check(value).unwrap_err()
    }

    #[test]
    fn of_few_values_each_fault_is_told_and_of_many_one() {
        let texts = json!({ "items": { "type": "string" } });
        let told = faults(texts.clone(), &json!([1, "a", 2]));
        assert!(
            told.contains("0: 1 is not") && told.contains("2: 2 is not"),
            "{told}"
        );
        let told = faults(texts, &Value::from(vec![1; 1_000_000]));
        assert_eq!(told.matches("is not of type").count(), 1, "{told}");
    }

    #[test]
    fn a_schema_that_refers_to_itself_says_only_that_a_value_does_not_fit() {
        let tree = json!({ "type": "object", "properties": { "next": { "$ref": "#" } } });
        let deep = json!({ "next": { "next": { "next": 1 } } });
        assert!(faults(tree.clone(), &deep).contains("not as the schema has it"));
        let fits = json!({ "next": { "next": {} } });
        assert_eq!(Schema::checked(tree).unwrap().check(&fits), Ok(()));
    }

    #[test]
    fn more_than_can_be_checked_in_a_moment_is_refused() {
        let wide = json!({ "items": { "anyOf": vec![json!({ "const": 1 }); 30_000] } });
        let many = Value::from(vec![1; MOST_WORK as usize / 60_000]);
        assert!(faults(wide, &many).contains("too long"));
    }
}
