//! A row's texts, as curators see them, and back.

use std::collections::BTreeMap;

use domain::{Sample, SampleEdit, SamplePart};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Columns with a text, and whether a model learns to write it. Of every format that runs take.
const TEXTS: [(&str, bool); 12] = [
    ("system", false),
    ("instruction", false),
    ("input", false),
    ("prompt", false),
    ("text", true),
    ("content", true),
    ("code", true),
    ("output", true),
    ("response", true),
    ("completion", true),
    ("chosen", true),
    ("rejected", true),
];
/// Columns with a list of messages.
const MESSAGES: [&str; 5] = ["messages", "conversations", "prompt", "chosen", "rejected"];
const PATHS: [&str; 3] = ["path", "file_path", "max_stars_repo_path"];
const LANGUAGES: [&str; 2] = ["language", "lang"];

/// Without a text.
pub(crate) fn empty() -> Sample {
    Sample {
        parts: Vec::new(),
        path: None,
        language: None,
    }
}

/// A sample and where in its row each part stands.
pub(crate) struct Read {
    pub(crate) sample: Sample,
    /// A JSON pointer for each part.
    pub(crate) places: Vec<String>,
}

/// Reads a row; none when no column has a text.
pub(crate) fn read(
    fields: &Map<String, Value>,
    columns: &BTreeMap<String, String>,
) -> Option<Read> {
    let column = |ours: &str| columns.get(ours).map_or(ours, String::as_str).to_owned();
    let mut read = Read {
        sample: Sample {
            parts: Vec::new(),
            path: first_text(fields, &PATHS.map(column)),
            language: first_text(fields, &LANGUAGES.map(column)),
        },
        places: Vec::new(),
    };
    for name in MESSAGES {
        let theirs = column(name);
        let Some(Value::Array(messages)) = fields.get(&theirs) else {
            continue;
        };
        for (index, message) in messages.iter().enumerate() {
            read.message(name, &theirs, index, message);
        }
    }
    for (name, learned) in TEXTS {
        let theirs = column(name);
        if let Some(Value::String(text)) = fields.get(&theirs) {
            read.add(name.to_owned(), pointer(&theirs), text, learned);
        }
    }
    let files = column("files");
    if let Some(Value::Array(list)) = fields.get(&files) {
        for (index, file) in list.iter().enumerate() {
            if let Some(Value::String(text)) = file.get("text") {
                let place = format!("{}/{index}/text", pointer(&files));
                read.add(format!("files.{index}.text"), place, text, true);
            }
        }
    }
    (!read.places.is_empty()).then_some(read)
}

impl Default for Read {
    fn default() -> Self {
        Self {
            sample: empty(),
            places: Vec::new(),
        }
    }
}

impl Read {
    fn add(&mut self, name: String, place: String, text: &str, learned: bool) {
        self.sample.parts.push(SamplePart {
            name,
            text: text.to_owned(),
            learned,
        });
        self.places.push(place);
    }

    fn message(&mut self, ours: &str, theirs: &str, index: usize, message: &Value) {
        let role = message.get("role").or_else(|| message.get("from"));
        let learned = matches!(role.and_then(Value::as_str), Some("assistant" | "gpt"));
        for key in ["content", "value"] {
            if let Some(Value::String(text)) = message.get(key) {
                let place = format!("{}/{index}/{key}", pointer(theirs));
                self.add(format!("{ours}.{index}.{key}"), place, text, learned);
            }
        }
    }
}

fn first_text(fields: &Map<String, Value>, columns: &[String]) -> Option<String> {
    let mut found = columns
        .iter()
        .filter_map(|column| fields.get(column)?.as_str());
    found.next().map(str::to_owned)
}

fn pointer(column: &str) -> String {
    format!("/{}", column.replace('~', "~0").replace('/', "~1"))
}

/// Puts changed texts back into their row.
pub(crate) fn write(fields: Map<String, Value>, sample: &Sample, places: &[String]) -> Value {
    let mut row = Value::Object(fields);
    for (part, place) in sample.parts.iter().zip(places) {
        if let Some(text) = row.pointer_mut(place) {
            *text = Value::String(part.text.clone());
        }
    }
    row
}

/// Applies edits that the host has checked: in order, not overlapping, at the bounds of characters.
pub(crate) fn apply(sample: &mut Sample, edits: &[SampleEdit]) {
    // From behind, so that no place moves before its turn.
    for edit in edits.iter().rev() {
        let place = edit.start as usize..edit.end as usize;
        if let Some(part) = sample.parts.get_mut(edit.part as usize)
            && part.text.get(place.clone()).is_some()
        {
            part.text.replace_range(place, &edit.replacement);
        }
    }
}

/// SHA-256 over everything that a curator sees of a sample.
pub(crate) fn digest(sample: &Sample) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let mut add = |text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    };
    for part in &sample.parts {
        add(&part.name);
        add(&part.text);
        add(if part.learned { "1" } else { "0" });
    }
    for hint in [&sample.path, &sample.language] {
        add(if hint.is_some() { "1" } else { "0" });
        add(hint.as_deref().unwrap_or_default());
    }
    hasher.finalize().into()
}

/// What a row is known by; rows without a text are all alike.
pub(crate) fn digest_of(read: Option<&Read>) -> [u8; 32] {
    read.map_or([0; 32], |read| digest(&read.sample))
}

/// SHA-256 over its texts alone: by it a row is another's exact duplicate.
pub(crate) fn texts_digest(sample: &Sample) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for part in &sample.parts {
        hasher.update((part.text.len() as u64).to_le_bytes());
        hasher.update(&part.text);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    *digest.first_chunk().unwrap_or(&[0; 16])
}

/// Characters and lines of what is learned.
pub(crate) fn size(sample: &Sample) -> (usize, usize) {
    let learned = sample.parts.iter().filter(|part| part.learned);
    learned.fold((0, 0), |(characters, lines), part| {
        (
            characters + part.text.chars().count(),
            lines + part.text.lines().count(),
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parts(row: Value) -> Vec<(String, String, bool)> {
        let read = read(row.as_object().unwrap(), &BTreeMap::new());
        let parts = read.map(|read| read.sample.parts).unwrap_or_default();
        let parts = parts.into_iter();
        parts
            .map(|part| (part.name, part.text, part.learned))
            .collect()
    }

    #[test]
    fn every_shape_of_row_has_its_texts() {
        let part = |name: &str, text: &str, learned| (name.to_owned(), text.to_owned(), learned);
        assert_eq!(
            parts(json!({"text": "a", "n": 1})),
            [part("text", "a", true)]
        );
        assert_eq!(
            parts(json!({"prompt": "a", "completion": "b"})),
            [part("prompt", "a", false), part("completion", "b", true)]
        );
        assert_eq!(
            parts(
                json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})
            ),
            [
                part("messages.0.content", "a", false),
                part("messages.1.content", "b", true)
            ]
        );
        assert_eq!(
            parts(json!({"conversations": [{"from": "gpt", "value": "b"}]})),
            [part("conversations.0.value", "b", true)]
        );
        assert_eq!(
            parts(json!({"files": [{"path": "a", "text": "b"}]})),
            [part("files.0.text", "b", true)]
        );
        assert!(parts(json!({"n": 1})).is_empty());
    }

    #[test]
    fn edits_go_back_into_the_row_and_nothing_else_changes() {
        let row = json!({"id": 7, "a/b": "héllo wörld", "path": "x.py"});
        let columns = BTreeMap::from([("text".to_owned(), "a/b".to_owned())]);
        let mut read = read(row.as_object().unwrap(), &columns).unwrap();
        assert_eq!(read.sample.path.as_deref(), Some("x.py"));
        let edit = |start, end, replacement: &str| SampleEdit {
            part: 0,
            start,
            end,
            replacement: replacement.to_owned(),
        };
        apply(
            &mut read.sample,
            &[edit(0, 6, "bye"), edit(7, 7, "my "), edit(13, 13, "!")],
        );
        let written = write(row.as_object().unwrap().clone(), &read.sample, &read.places);
        assert_eq!(
            written,
            json!({"id": 7, "a/b": "bye my wörld!", "path": "x.py"})
        );
    }

    #[test]
    fn digests_tell_texts_apart_and_the_path_only_for_curators() {
        let sample = |row: Value| {
            read(row.as_object().unwrap(), &BTreeMap::new())
                .unwrap()
                .sample
        };
        let (a, b) = (
            sample(json!({"text": "x", "path": "a.py"})),
            sample(json!({"text": "x", "path": "b.py"})),
        );
        assert_ne!(digest(&a), digest(&b));
        assert_eq!(texts_digest(&a), texts_digest(&b));
        assert_ne!(
            texts_digest(&a),
            texts_digest(&sample(json!({"text": "y"})))
        );
    }
}
