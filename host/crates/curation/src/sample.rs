//! A row's texts, as curators see them, and back.

use std::collections::BTreeMap;

use domain::{Sample, SampleEdit, SamplePart};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::turns::{self, Column, Said, pointer};

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
/// Columns with turns, and whether they hold answers.
const TURNS: [(&str, bool); 6] = [
    ("messages", false),
    ("conversations", false),
    ("prompt", false),
    ("completion", true),
    ("chosen", true),
    ("rejected", true),
];
/// Of these, columns of which a table may hold the JSON as a text.
const AS_JSON: [&str; 2] = ["messages", "conversations"];
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
    let said_in = columns.get("content_tag").map(String::as_str);
    let history = column("history");
    if let Some(value @ Value::Array(_)) = fields.get(&history) {
        read.take(turns::given(value, "history", &pointer(&history)));
    }
    for (name, is_answer) in TURNS {
        let theirs = column(name);
        let turns = Column {
            name,
            place: &pointer(&theirs),
            is_answer,
            said_in,
        };
        match fields.get(&theirs) {
            Some(value @ (Value::Array(_) | Value::Object(_))) => read.take(turns.texts(value)),
            Some(Value::String(text)) if AS_JSON.contains(&name) => {
                read.add(name.to_owned(), pointer(&theirs), text, true);
            }
            _ => {}
        }
    }
    let segments = column("segments");
    if let Some(Value::Array(list)) = fields.get(&segments) {
        for (index, segment) in list.iter().enumerate() {
            if let Some(Value::String(text)) = segment.get("text") {
                let place = format!("{}/{index}/text", pointer(&segments));
                let learned = segment["label"] == true;
                read.add(format!("segments.{index}.text"), place, text, learned);
            }
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

    fn take(&mut self, said: Vec<Said<'_>>) {
        for Said {
            name,
            place,
            text,
            learned,
        } in said
        {
            self.add(name, place, text, learned);
        }
    }
}

fn first_text(fields: &Map<String, Value>, columns: &[String]) -> Option<String> {
    let mut found = columns
        .iter()
        .filter_map(|column| fields.get(column)?.as_str());
    found.next().map(str::to_owned)
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

/// SHA-256 over its texts alone, and the tools that a conversation may call: by it a row is another's exact duplicate.
pub(crate) fn texts_digest(
    sample: &Sample,
    fields: &Map<String, Value>,
    columns: &BTreeMap<String, String>,
) -> [u8; 16] {
    let mut hasher = Sha256::new();
    let mut add = |text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    };
    for part in &sample.parts {
        add(&part.text);
    }
    let tools = columns.get("tools").map_or("tools", String::as_str);
    if let Some(tools) = fields.get(tools).filter(|tools| !tools.is_null()) {
        add(&tools.to_string());
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
    fn whatever_a_run_learns_from_is_seen() {
        let part = |name: &str, text: &str, learned| (name.to_owned(), text.to_owned(), learned);
        assert_eq!(
            parts(json!({"messages": [
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "assistant", "content": null, "reasoning_content": "c", "tool_calls": [
                    {"function": {"name": "f", "arguments": "{\"k\": 1}"}},
                    {"function": {"name": "g", "arguments": {"k/l": ["d"], "n": 1}}},
                ]},
            ]})),
            [
                part("messages.0.content.0.text", "a", false),
                part("messages.0.content.1.text", "b", false),
                part("messages.1.reasoning_content", "c", true),
                part(
                    "messages.1.tool_calls.0.function.arguments",
                    "{\"k\": 1}",
                    true
                ),
                part(
                    "messages.1.tool_calls.1.function.arguments.k/l.0",
                    "d",
                    true
                ),
            ]
        );
        assert_eq!(
            parts(json!({
                "conversations": [{"from": "human", "value": "a"}],
                "chosen": {"from": "gpt", "value": "b"}, "rejected": {"value": "c"},
            })),
            [
                part("conversations.0.value", "a", false),
                part("chosen.value", "b", true),
                part("rejected.value", "c", true)
            ]
        );
        assert_eq!(
            parts(json!({
                "prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}],
            })),
            [
                part("prompt.0.content", "a", false),
                part("completion.0.content", "b", true)
            ]
        );
        assert_eq!(
            parts(json!({"instruction": "c", "output": "d", "history": [["a", "b"]]})),
            [
                part("history.0.0", "a", false),
                part("history.0.1", "b", false),
                part("instruction", "c", false),
                part("output", "d", true)
            ]
        );
        assert_eq!(
            parts(
                json!({"segments": [{"label": false, "text": "a"}, {"label": true, "text": "b"}]})
            ),
            [
                part("segments.0.text", "a", false),
                part("segments.1.text", "b", true)
            ]
        );
        assert_eq!(
            parts(json!({"messages": "[{\"role\": \"user\"}]"})),
            [part("messages", "[{\"role\": \"user\"}]", true)]
        );
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
    fn edits_reach_what_tools_are_called_with() {
        let row = json!({"messages": [{"role": "assistant", "content": "", "tool_calls": [
            {"function": {"name": "f", "arguments": {"a/b": "secret"}}},
        ]}]});
        let mut read = read(row.as_object().unwrap(), &BTreeMap::new()).unwrap();
        let edit = SampleEdit {
            part: 1,
            start: 0,
            end: 6,
            replacement: "<KEY>".to_owned(),
        };
        apply(&mut read.sample, &[edit]);
        let written = write(row.as_object().unwrap().clone(), &read.sample, &read.places);
        let call = &written["messages"][0]["tool_calls"][0];
        assert_eq!(call["function"]["arguments"]["a/b"], "<KEY>");
    }

    #[test]
    fn digests_tell_texts_apart_and_the_path_only_for_curators() {
        let sample = |row: Value| {
            read(row.as_object().unwrap(), &BTreeMap::new())
                .unwrap()
                .sample
        };
        let texts = |row: Value| {
            let fields = row.as_object().unwrap();
            texts_digest(&sample(row.clone()), fields, &BTreeMap::new())
        };
        let (a, b) = (
            json!({"text": "x", "path": "a.py"}),
            json!({"text": "x", "path": "b.py"}),
        );
        assert_ne!(digest(&sample(a.clone())), digest(&sample(b.clone())));
        assert_eq!(texts(a.clone()), texts(b));
        assert_ne!(texts(a), texts(json!({"text": "y"})));
        let calling = |arguments: &str, tools: &str| {
            json!({ "messages": [{ "role": "user", "content": "Do it." }, { "role": "assistant", "content": null,
                "tool_calls": [{ "function": { "name": "do", "arguments": arguments } }] }], "tools": [tools] })
        };
        assert_ne!(texts(calling("1", "a")), texts(calling("2", "a")));
        assert_ne!(texts(calling("1", "a")), texts(calling("1", "b")));
    }
}
