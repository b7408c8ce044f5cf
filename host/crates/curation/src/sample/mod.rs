//! A row's texts, as curators see them, and back; `digests` is what rows and samples are known by.

mod digests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use domain::{Sample, SampleEdit, SamplePart};
use serde_json::{Map, Value};

use crate::turns::{self, Column, Said, pointer};

pub(crate) use digests::{digest, digest_of, texts_digest};

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
