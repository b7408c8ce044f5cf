//! The scorers that a command names, each with the settings that are given for it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::usage_error;

/// Settings of a plugin, laid over its manifest's.
type Settings = BTreeMap<String, Value>;

/// Names with the settings that `NAME.KEY=VALUE` give; a value is TOML, and what is none is a text.
pub(super) fn with_settings<'a>(
    names: &'a [String],
    assignments: &[String],
) -> anyhow::Result<Vec<(&'a str, Settings)>> {
    let mut all: Vec<(&str, Settings)> = names
        .iter()
        .map(|name| (name.as_str(), Settings::new()))
        .collect();
    for assignment in assignments {
        let wrong = |why: String| usage_error(format!("--scorer-config {assignment}: {why}"));
        let parts = assignment.split_once('=');
        let parts = parts.and_then(|(path, value)| Some((path.split_once('.')?, value)));
        let Some(((name, key), text)) = parts else {
            return Err(wrong("write NAME.KEY=VALUE".to_owned()));
        };
        let Some((_, settings)) = all.iter_mut().find(|(named, _)| *named == name.trim()) else {
            let named = names.join(", ");
            return Err(wrong(format!("{name:?} is none of --scorers: {named}")));
        };
        settings.insert(key.trim().to_owned(), value(text.trim()));
    }
    Ok(all)
}

fn value(text: &str) -> Value {
    #[derive(serde::Deserialize)]
    struct Line {
        value: Value,
    }
    let line = toml::from_str::<Line>(&format!("value = {text}"));
    line.map_or_else(|_| text.into(), |line| line.value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(assignments: &[&str]) -> anyhow::Result<Vec<(String, Settings)>> {
        let names = ["js-tests".to_owned(), "parses".to_owned()];
        let assignments: Vec<String> = assignments.iter().map(|&one| one.to_owned()).collect();
        let all = with_settings(&names, &assignments)?;
        let all = all.into_iter();
        Ok(all.map(|(name, all)| (name.to_owned(), all)).collect())
    }

    #[test]
    fn each_scorer_gets_its_own_settings_in_their_types() {
        let all = settings(&[
            "js-tests.max_steps=50",
            "js-tests.tests=[\"assert(f(1) === 2)\"]",
            "parses.language=plain words",
        ])
        .unwrap();
        assert_eq!(
            serde_json::to_value(all).unwrap(),
            json!([
                ["js-tests", { "max_steps": 50, "tests": ["assert(f(1) === 2)"] }],
                ["parses", { "language": "plain words" }]
            ])
        );
    }

    #[test]
    fn what_is_no_setting_of_a_scorer_is_named() {
        for (assignment, words) in [
            ("max_steps=5", "write NAME.KEY=VALUE"),
            ("js-tests.max_steps", "write NAME.KEY=VALUE"),
            (
                "lints.x=1",
                "\"lints\" is none of --scorers: js-tests, parses",
            ),
        ] {
            let error = settings(&[assignment]).unwrap_err().to_string();
            assert!(
                error.contains(words) && error.contains(assignment),
                "{error}"
            );
        }
    }
}
