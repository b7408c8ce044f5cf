//! What a model's folder asks for where a request is silent.

use std::path::Path;

use serde_json::Value;

use super::{EarlyStopping, GenerateRequest};
use crate::{Error, Result};

impl GenerateRequest {
    /// What a folder's `generation_config.json` asks for where a request is silent; the built-in defaults where there is
    /// none. `temperature` is 0 unless the file sets `do_sample`.
    ///
    /// # Errors
    /// The file is no JSON, holds a value out of range, or sets what is not supported here.
    pub(crate) fn of_folder(folder: &Path) -> Result<Self> {
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
}
