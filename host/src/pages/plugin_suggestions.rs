//! What a plugin would change, found in its answer wherever it stands.

use serde::Serialize;
use serde_json::Value;

/// Suggestions on one page.
const MOST: usize = 100;
/// Keys whose value is a suggestion, or a list of them.
const KEYS: [&str; 2] = ["suggestion", "suggestions"];

/// Something that the plugin would do, for the user to say what became of it.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Suggestion {
    /// Where it stands in the answer.
    pub(super) pointer: String,
    /// Line and column that it is for.
    place: String,
    /// What it is about: its own message or that of the finding around it, else a code.
    about: String,
    /// What it would put there; none where it would put nothing there.
    text: Option<String>,
    /// How sure the plugin is, 0 to 1.
    confidence: Option<f64>,
}

/// Whether a key's value is shown as suggestions and needs no other place.
pub(super) fn is_key(key: &str) -> bool {
    KEYS.contains(&key)
}

/// Every suggestion of an answer, in its order.
pub(super) fn suggestions(answer: &Value) -> Vec<Suggestion> {
    let mut found = Vec::new();
    collect(answer, &mut String::new(), &mut found);
    found.truncate(MOST);
    found
}

fn collect(value: &Value, pointer: &mut String, found: &mut Vec<Suggestion>) {
    for (key, child) in children(value) {
        if found.len() >= MOST {
            return;
        }
        let length = pointer.len();
        *pointer += &format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        match child {
            _ if !is_key(&key) || !value.is_object() => collect(child, pointer, found),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    found.extend(read(item, value, format!("{pointer}/{index}")));
                }
            }
            one => found.extend(read(one, value, pointer.clone())),
        }
        pointer.truncate(length);
    }
}

fn children(value: &Value) -> Vec<(String, &Value)> {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items
                .map(|(index, value)| (index.to_string(), value))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// A suggestion in what stands around it; none where there is nothing to say.
fn read(suggestion: &Value, around: &Value, pointer: String) -> Option<Suggestion> {
    let either = |key: &str| {
        let own = suggestion.get(key).filter(|value| !value.is_null());
        own.or_else(|| around.get(key))
    };
    let text = match suggestion {
        Value::Null => return None,
        Value::String(text) if text.is_empty() => return None,
        Value::Object(map) => {
            let mut words = ["replacement", "text"]
                .iter()
                .filter_map(|key| map.get(*key));
            match words.find_map(Value::as_str) {
                Some("") => None,
                Some(text) => Some(visible(text)),
                None => Some(suggestion.to_string()),
            }
        }
        Value::String(text) => Some(visible(text)),
        other => Some(other.to_string()),
    };
    let about = ["message", "title", "code"].iter();
    let mut about = about.filter_map(|key| either(key)?.as_str());
    let place = ["line", "column"].iter();
    let place: Vec<String> = place
        .map_while(|key| Some(either(key)?.as_u64()?.to_string()))
        .collect();
    let confidence = suggestion.get("confidence").and_then(Value::as_f64);
    Some(Suggestion {
        pointer,
        place: place.join(":"),
        about: about.next().unwrap_or_default().to_owned(),
        text,
        confidence: confidence.filter(|sure| (0.0..=1.0).contains(sure)),
    })
}

/// White space alone is shown as it is written in source.
fn visible(text: &str) -> String {
    match text.trim().is_empty() {
        true => format!("{text:?}"),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn suggestions_are_found_alone_in_lists_and_in_findings() {
        let found = suggestions(&json!({
            "suggestion": "split the file",
            "suggestions": [
                { "title": "rename it", "text": "do_it", "line": 3 },
                "name what it does",
                null,
            ],
            "findings": [
                {
                    "line": 1, "column": 4, "message": "white space at the end",
                    "suggestion": { "line": 1, "column": 4, "replacement": "", "confidence": 0.9 },
                },
                { "message": "no last line break", "suggestions": [{ "replacement": "\n" }, { "replacement": "x\n" }] },
                { "message": "nothing to do", "suggestion": null, "suggestions": [] },
            ],
            "nested/files": { "a~b": [{ "code": "odd", "suggestion": { "do": ["this"] } }] },
        }));
        let short: Vec<_> = found
            .iter()
            .map(|one| {
                (
                    one.pointer.as_str(),
                    one.place.as_str(),
                    one.about.as_str(),
                    one.text.as_deref(),
                )
            })
            .collect();
        for expected in [
            ("/suggestion", "", "", Some("split the file")),
            ("/suggestions/0", "3", "rename it", Some("do_it")),
            ("/suggestions/1", "", "", Some("name what it does")),
            (
                "/findings/0/suggestion",
                "1:4",
                "white space at the end",
                None,
            ),
            (
                "/findings/1/suggestions/0",
                "",
                "no last line break",
                Some("\"\\n\""),
            ),
            (
                "/findings/1/suggestions/1",
                "",
                "no last line break",
                Some("x\n"),
            ),
            (
                "/nested~1files/a~0b/0/suggestion",
                "",
                "odd",
                Some("{\"do\":[\"this\"]}"),
            ),
        ] {
            assert!(short.contains(&expected), "{expected:?}: {short:?}");
        }
        assert_eq!(found.len(), 7);
        let sure = found.iter().filter_map(|one| one.confidence);
        assert_eq!(sure.collect::<Vec<_>>(), [0.9]);
    }

    #[test]
    fn a_page_holds_so_many_and_no_more() {
        let many = vec!["again"; 3 * MOST];
        assert_eq!(suggestions(&json!({ "suggestions": many })).len(), MOST);
    }
}
