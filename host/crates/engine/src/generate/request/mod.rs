//! What is asked for, and what comes of it.

mod early_stopping;
mod folder;

use serde::{Deserialize, Serialize};

pub use self::early_stopping::EarlyStopping;

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
}

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
    use super::*;

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
