//! What the tools of analyzers, curators and scorers take and answer: one file, sample or completion as JSON, for the page
//! and the command line.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{Completion, Decision, Part, Sample, Score, SourceFile, Verdict};

/// What a curator's tool takes.
pub const SAMPLE_INPUT: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "properties": {
    "text": { "type": "string", "title": "Text", "description": "The text of one sample.", "format": "code" },
    "path": { "type": "string", "title": "Path", "description": "The file's name, a hint to the language." },
    "language": { "type": "string", "title": "Language", "description": "Found out from the path or the text when left open." }
  },
  "required": ["text"],
  "additionalProperties": false
}"#;
/// What a curator's tool answers.
pub const SAMPLE_OUTPUT: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "properties": {
    "decision": { "enum": ["keep", "drop", "rewrite"] },
    "reasons": {
      "type": "array",
      "items": {
        "type": "object",
        "properties": { "code": { "type": "string" }, "message": { "type": "string" } },
        "required": ["code", "message"],
        "additionalProperties": false
      }
    },
    "scores": { "type": "object", "additionalProperties": { "type": "number" } },
    "text": { "type": "string" },
    "signature": { "type": ["array", "null"], "items": { "type": "integer", "minimum": 0 } }
  },
  "required": ["decision", "reasons", "scores", "text", "signature"],
  "additionalProperties": false
}"#;
/// What a scorer's tool takes.
pub const COMPLETION_INPUT: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "properties": {
    "prompt": { "type": "string", "title": "Prompt", "format": "code" },
    "text": { "type": "string", "title": "Completion", "description": "What the model wrote.", "format": "code" },
    "reference": { "type": "string", "title": "Reference", "description": "What it should have written.", "format": "code" },
    "language": { "type": "string", "title": "Language" }
  },
  "required": ["text"],
  "additionalProperties": false
}"#;
/// What a scorer's tool answers.
pub const COMPLETION_OUTPUT: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "properties": {
    "scores": {
      "type": "array",
      "items": {
        "type": "object",
        "properties": {
          "name": { "type": "string" },
          "value": { "type": "number", "minimum": 0, "maximum": 1 },
          "reason": { "type": "string" }
        },
        "required": ["name", "value", "reason"],
        "additionalProperties": false
      }
    }
  },
  "required": ["scores"],
  "additionalProperties": false
}"#;

#[derive(Deserialize)]
struct Inputs {
    #[serde(default)]
    prompt: String,
    text: String,
    reference: Option<String>,
    path: Option<String>,
    language: Option<String>,
}

#[derive(Deserialize)]
struct FileInputs {
    code: String,
    path: Option<String>,
    language: Option<String>,
}

/// Any input, as its type.
///
/// # Errors
/// One sentence.
pub fn input_of<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("inputs: {error}"))
}

/// The file that a tool's inputs mean.
///
/// # Errors
/// One sentence.
pub fn file_of(text: &str) -> Result<SourceFile, String> {
    let FileInputs {
        code,
        path,
        language,
    } = input_of(text)?;
    Ok(SourceFile {
        path,
        code,
        language,
    })
}

/// The sample that a tool's inputs mean.
///
/// # Errors
/// One sentence.
pub fn sample_of(text: &str) -> Result<Sample, String> {
    let inputs: Inputs = input_of(text)?;
    Ok(Sample {
        parts: vec![Part {
            name: "text".to_owned(),
            text: inputs.text,
            learned: true,
        }],
        path: inputs.path,
        language: inputs.language,
    })
}

/// The completion that a tool's inputs mean.
///
/// # Errors
/// One sentence.
pub fn completion_of(text: &str) -> Result<Completion, String> {
    let inputs: Inputs = input_of(text)?;
    Ok(Completion {
        prompt: inputs.prompt,
        text: inputs.text,
        reference: inputs.reference,
        language: inputs.language,
    })
}

/// A verdict about a sample of one part, as the tool's answer.
pub fn verdict_json(sample: &Sample, verdict: &Verdict) -> String {
    let mut text = sample
        .parts
        .first()
        .map_or("", |part| &part.text)
        .to_owned();
    let (decision, reasons) = match &verdict.decision {
        Decision::Keep => ("keep", &[][..]),
        Decision::Drop(reason) => ("drop", std::slice::from_ref(reason)),
        Decision::Rewrite(edits, reasons) => {
            for edit in edits.iter().rev() {
                text.replace_range(edit.start..edit.end, &edit.replacement);
            }
            ("rewrite", &reasons[..])
        }
    };
    let reasons: Vec<Value> = reasons
        .iter()
        .map(|reason| json!({ "code": reason.code, "message": reason.message }))
        .collect();
    let scores: Map<String, Value> = verdict
        .scores
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let signature = verdict.signature.as_ref().map(|(_, values)| values);
    json!({
        "decision": decision, "reasons": reasons, "scores": scores, "text": text, "signature": signature,
    })
    .to_string()
}

/// Scores as the tool's answer.
pub fn scores_json(scores: &[Score]) -> String {
    let scores: Vec<Value> = scores
        .iter()
        .map(|score| json!({ "name": score.name, "value": score.value, "reason": score.reason }))
        .collect();
    json!({ "scores": scores }).to_string()
}
