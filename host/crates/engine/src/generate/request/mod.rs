use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::{Error, Result};

/// What to write. Names and meanings are those of Transformers' `GenerationConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerateRequest {
    /// Text to go on from, as it is: no chat template is put around it.
    pub prompt: String,
    /// Put the tokens around the prompt that the tokenizer puts around every text (such as a BOS). Off for a prompt
    /// that a chat template wrote: it holds them.
    pub add_special_tokens: bool,
    /// Most tokens to write.
    pub max_new_tokens: usize,
    /// Least tokens to write before the text may end of itself.
    pub min_new_tokens: usize,
    /// 0 takes the likeliest token each time (`do_sample` off); higher is more random.
    pub temperature: f64,
    /// Draw from this many likeliest tokens; 0 means all.
    pub top_k: usize,
    /// Draw from the likeliest tokens that together have this probability; 1 means all.
    pub top_p: f64,
    /// Draw from tokens that are at least this share of the likeliest one's probability; 0 means all.
    pub min_p: f64,
    /// Above 1 makes tokens less likely that stand in prompt or text already (arXiv 1909.05858); 1 changes nothing.
    pub repetition_penalty: f64,
    /// Sequences of this many tokens come at most once, the prompt's included; 0 lets all repeat.
    pub no_repeat_ngram_size: usize,
    /// Texts that are followed at a time; 1 follows the likeliest only. Beams draw nothing: the temperature must be 0.
    pub num_beams: usize,
    /// A beam's score is divided by its length to this power: above 0 favours long texts.
    pub length_penalty: f64,
    /// When beams end.
    pub early_stopping: EarlyStopping,
    /// Seed of the draws.
    pub seed: u64,
    /// Texts that end the generation; they are not part of it.
    #[serde(alias = "stop_strings")]
    pub stop: Vec<String>,
    /// Whether the adapter takes part.
    pub use_adapter: bool,
}

impl Default for GenerateRequest {
    fn default() -> Self {
        Self {
            prompt: String::new(),
            add_special_tokens: true,
            max_new_tokens: 128,
            min_new_tokens: 0,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            no_repeat_ngram_size: 0,
            num_beams: 1,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::Heuristic,
            seed: 0,
            stop: Vec::new(),
            use_adapter: true,
        }
    }
}

/// When a search with beams ends. In JSON `false`, `true` or `"never"`, as Transformers has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyStopping {
    /// `false`: when a better text is unlikely.
    #[default]
    Heuristic,
    /// `true`: as soon as there are as many whole texts as beams.
    First,
    /// `"never"`: when no better text can come.
    Never,
}

impl std::str::FromStr for EarlyStopping {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "false" => Ok(Self::Heuristic),
            "true" => Ok(Self::First),
            "never" => Ok(Self::Never),
            other => Err(format!("must be false, true or never, not {other:?}")),
        }
    }
}

impl Serialize for EarlyStopping {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Heuristic => serializer.serialize_bool(false),
            Self::First => serializer.serialize_bool(true),
            Self::Never => serializer.serialize_str("never"),
        }
    }
}

impl<'de> Deserialize<'de> for EarlyStopping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let word = match &value {
            Value::Bool(flag) => flag.to_string(),
            Value::String(word) => word.clone(),
            other => other.to_string(),
        };
        word.parse().map_err(serde::de::Error::custom)
    }
}

/// Most beams: each holds keys and values of its own.
const MOST_BEAMS: usize = 64;

impl GenerateRequest {
    /// Refuses what is out of range, each fault by its field.
    ///
    /// # Errors
    /// Every fault.
    pub fn check(&self) -> Result<(), domain::FieldErrors> {
        let mut errors = domain::FieldErrors::default();
        let mut number = |field: &str, value: f64, fits: bool, range: &str| {
            if !(value.is_finite() && fits) {
                errors.push(field, format!("must be {range}, not {value}"));
            }
        };
        number(
            "temperature",
            self.temperature,
            (0.0..=100.0).contains(&self.temperature),
            "between 0 and 100",
        );
        number(
            "top_p",
            self.top_p,
            self.top_p > 0.0 && self.top_p <= 1.0,
            "above 0 and at most 1",
        );
        number(
            "min_p",
            self.min_p,
            (0.0..=1.0).contains(&self.min_p),
            "between 0 and 1",
        );
        number(
            "repetition_penalty",
            self.repetition_penalty,
            self.repetition_penalty > 0.0 && self.repetition_penalty <= 100.0,
            "above 0 and at most 100",
        );
        number(
            "length_penalty",
            self.length_penalty,
            self.length_penalty.abs() <= 100.0,
            "between -100 and 100",
        );
        if self.max_new_tokens == 0 {
            errors.push("max_new_tokens", "must be at least 1");
        }
        if self.min_new_tokens > self.max_new_tokens {
            errors.push(
                "min_new_tokens",
                format!("must not be above max_new_tokens ({})", self.max_new_tokens),
            );
        }
        if !(1..=MOST_BEAMS).contains(&self.num_beams) {
            errors.push(
                "num_beams",
                format!("must be between 1 and {MOST_BEAMS}, not {}", self.num_beams),
            );
        }
        if self.num_beams > 1 && self.temperature != 0.0 {
            errors.push("num_beams", "above 1 draws nothing: set temperature to 0");
        }
        if self.stop.iter().any(String::is_empty) {
            errors.push("stop", "must not hold an empty text");
        }
        errors.into_result()
    }

    /// What a folder's `generation_config.json` asks for where a request is silent; the built-in defaults where there is
    /// none. `temperature` is 0 unless the file sets `do_sample`.
    ///
    /// # Errors
    /// The file is no JSON, holds a value out of range, or sets what is not supported here.
    pub(super) fn of_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("generation_config.json");
        if !path.is_file() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let config: Value = serde_json::from_str(&text)
            .map_err(|error| Error::file(&path, format!("is no valid JSON: {error}")))?;
        let request = Self::of_config(&config).map_err(|message| Error::file(&path, message))?;
        request
            .check()
            .map_err(|errors| Error::file(&path, errors.to_string()))?;
        Ok(request)
    }

    fn of_config(config: &Value) -> Result<Self, String> {
        for (key, neutral) in UNSUPPORTED {
            let value = &config[*key];
            let is_neutral = match (value.as_f64(), neutral) {
                (Some(value), Some(neutral)) => value == *neutral,
                (Some(_), None) => false,
                (None, _) => matches!(value, Value::Null | Value::Bool(false)),
            };
            if !is_neutral {
                return Err(format!(
                    "sets {key} = {value}, which is not supported; remove it from the file"
                ));
            }
        }
        let number = |key: &str, default: f64| match &config[key] {
            Value::Null => Ok(default),
            value => value
                .as_f64()
                .ok_or(format!("{key} must be a number, not {value}")),
        };
        let count = |key: &str, default: usize| match &config[key] {
            Value::Null => Ok(default),
            value => value
                .as_u64()
                .map(|count| count as usize)
                .ok_or(format!("{key} must be a whole number, not {value}")),
        };
        let stop = match &config["stop_strings"] {
            Value::Null => Vec::new(),
            Value::String(text) => vec![text.clone()],
            Value::Array(texts) => texts
                .iter()
                .map(|text| text.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or("stop_strings must hold texts")?,
            other => return Err(format!("stop_strings must be a list of texts, not {other}")),
        };
        let early_stopping = match &config["early_stopping"] {
            Value::Null => EarlyStopping::default(),
            value => serde_json::from_value(value.clone())
                .map_err(|error| format!("early_stopping {error}"))?,
        };
        let base = Self::default();
        let num_beams = count("num_beams", base.num_beams)?;
        let samples = config["do_sample"] == true;
        if samples && num_beams > 1 {
            return Err(format!(
                "sets do_sample with num_beams = {num_beams}; beams that draw are not supported: remove one of both"
            ));
        }
        // Transformers draws from 50 tokens where a file does not say.
        let top_k = if samples { 50 } else { base.top_k };
        Ok(Self {
            max_new_tokens: count("max_new_tokens", base.max_new_tokens)?,
            min_new_tokens: count("min_new_tokens", base.min_new_tokens)?,
            temperature: match samples {
                true => number("temperature", 1.0)?,
                false => 0.0,
            },
            top_k: count("top_k", top_k)?,
            top_p: number("top_p", base.top_p)?,
            min_p: number("min_p", base.min_p)?,
            repetition_penalty: number("repetition_penalty", base.repetition_penalty)?,
            no_repeat_ngram_size: count("no_repeat_ngram_size", base.no_repeat_ngram_size)?,
            num_beams,
            length_penalty: number("length_penalty", base.length_penalty)?,
            early_stopping,
            stop,
            ..base
        })
    }
}

/// Settings of Transformers that change what is written and are not done here, with the value that changes nothing.
const UNSUPPORTED: &[(&str, Option<f64>)] = &[
    ("bad_words_ids", None),
    ("begin_suppress_tokens", None),
    ("constraints", None),
    ("diversity_penalty", Some(0.0)),
    ("dola_layers", None),
    ("encoder_no_repeat_ngram_size", Some(0.0)),
    ("encoder_repetition_penalty", Some(1.0)),
    ("epsilon_cutoff", Some(0.0)),
    ("eta_cutoff", Some(0.0)),
    ("exponential_decay_length_penalty", None),
    ("force_words_ids", None),
    ("forced_bos_token_id", None),
    ("forced_eos_token_id", None),
    ("guidance_scale", Some(1.0)),
    ("max_time", None),
    ("min_length", Some(0.0)),
    ("num_beam_groups", Some(1.0)),
    ("num_return_sequences", Some(1.0)),
    ("penalty_alpha", Some(0.0)),
    ("renormalize_logits", None),
    ("sequence_bias", None),
    ("suppress_tokens", None),
    ("token_healing", None),
    ("top_h", None),
    ("typical_p", Some(1.0)),
    ("watermarking_config", None),
];

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GenerationEnd {
    /// The model wrote an end-of-text token.
    Eos,
    /// One of the stop texts came.
    Stop,
    /// `max_new_tokens`, or the last position of the model, was reached.
    Length,
    /// The listener asked to end it.
    Cancelled,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The new text, without the prompt.
    pub text: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens that were written, an end-of-text token included.
    pub new_tokens: usize,
    /// Why it ended.
    pub finish_reason: GenerationEnd,
    /// New tokens a second, the prompt's time not counted.
    pub tokens_per_second: f64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_folder_gives_defaults_and_what_is_not_supported_is_refused_by_name() {
        let read = |config: Value| GenerateRequest::of_config(&config);
        let request = read(json!({
            "do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "repetition_penalty": 1.05,
            "eos_token_id": [1, 2], "transformers_version": "5", "num_beam_groups": 1, "typical_p": 1.0, "bad_words_ids": null
        }))
        .unwrap();
        let expected = GenerateRequest {
            temperature: 0.6,
            top_k: 20,
            top_p: 0.95,
            repetition_penalty: 1.05,
            ..Default::default()
        };
        assert_eq!(request, expected);
        let open = read(json!({ "do_sample": true, "min_length": 0, "max_time": null })).unwrap();
        assert_eq!((open.temperature, open.top_k), (1.0, 50));
        let greedy = read(json!({ "temperature": 0.6, "stop_strings": "END" })).unwrap();
        assert_eq!(
            (greedy.temperature, greedy.stop),
            (0.0, vec!["END".to_owned()])
        );
        let beams =
            read(json!({ "num_beams": 3, "early_stopping": "never", "do_sample": false })).unwrap();
        assert_eq!(
            (beams.num_beams, beams.early_stopping),
            (3, EarlyStopping::Never)
        );
        for (config, word) in [
            (json!({ "bad_words_ids": [[1]] }), "bad_words_ids"),
            (json!({ "typical_p": 0.5 }), "typical_p"),
            (json!({ "min_length": 3 }), "min_length"),
            (json!({ "renormalize_logits": true }), "renormalize_logits"),
            (json!({ "do_sample": true, "num_beams": 2 }), "num_beams"),
            (json!({ "top_k": "many" }), "top_k"),
            (json!({ "early_stopping": "often" }), "early_stopping"),
        ] {
            assert!(read(config).unwrap_err().contains(word), "{word}");
        }
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let wrong = GenerateRequest {
            temperature: -1.0,
            top_p: 1.5,
            min_p: f64::NAN,
            repetition_penalty: 0.0,
            length_penalty: f64::INFINITY,
            max_new_tokens: 0,
            min_new_tokens: 3,
            num_beams: 0,
            stop: vec![String::new()],
            ..Default::default()
        };
        let told = wrong.check().unwrap_err().to_string();
        for field in [
            "temperature",
            "top_p",
            "min_p",
            "repetition_penalty",
            "length_penalty",
            "max_new_tokens",
            "min_new_tokens",
            "num_beams",
            "stop",
        ] {
            assert!(told.contains(field), "{field}: {told}");
        }
    }
}
