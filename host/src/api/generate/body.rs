//! What is asked of a model and what it answers, as JSON.

use domain::FieldErrors;
use engine::chat::{Conversation, Ending};
use engine::generate::{EarlyStopping, GenerateRequest, Generation, Generator};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most tokens of one answer.
pub const MAX_NEW_TOKENS: usize = 512;
/// Longest prompt.
pub const MAX_PROMPT_BYTES: usize = 32 << 10;
/// Most beams: each computes as much as a request of its own.
const MAX_BEAMS: usize = 8;

/// What to write and how.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerateBody {
    /// Id of a model, from `/api/v1/models`.
    pub model: String,
    /// Id of an adapter on that model.
    #[serde(default)]
    pub adapter: Option<String>,
    /// The text to go on from; with `messages`, absent.
    #[serde(default)]
    pub prompt: String,
    /// A conversation, `{"role", "content"}` objects, for the model's chat template; instead of a prompt.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub messages: Vec<serde_json::Value>,
    /// Tools that the chat template tells the model of.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pub tools: Option<serde_json::Value>,
    /// At most so many tokens; 1 to 512. Absent, here and below: what the model's generation_config.json says.
    #[serde(default)]
    pub max_new_tokens: Option<usize>,
    /// At least so many tokens.
    #[serde(default)]
    pub min_new_tokens: Option<usize>,
    /// 0 always takes the likeliest token.
    #[serde(default)]
    pub temperature: Option<f64>,
    /// Choose among the so many likeliest tokens.
    #[serde(default)]
    pub top_k: Option<usize>,
    /// Choose among the likeliest tokens that together have this probability.
    #[serde(default)]
    pub top_p: Option<f64>,
    /// Choose among tokens with at least this share of the likeliest one's probability; 0 to 1.
    #[serde(default)]
    pub min_p: Option<f64>,
    /// Above 1 makes tokens that came already less likely; above 0 to 10.
    #[serde(default)]
    pub repetition_penalty: Option<f64>,
    /// Sequences of this many tokens come at most once; 0 lets them repeat.
    #[serde(default)]
    pub no_repeat_ngram_size: Option<usize>,
    /// Texts to follow at a time; 1 to 8. Above 1 the temperature must be 0.
    #[serde(default)]
    pub num_beams: Option<usize>,
    /// Power of the length by which a beam's score is divided; -10 to 10.
    #[serde(default)]
    pub length_penalty: Option<f64>,
    /// When beams end: false, true or "never".
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub early_stopping: Option<EarlyStopping>,
    /// Seed of the choice.
    #[serde(default)]
    pub seed: u64,
    /// Texts that end the answer.
    #[serde(default)]
    pub stop: Vec<String>,
}

/// What was written.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct GenerationBody {
    /// What follows the prompt.
    pub text: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens written.
    pub new_tokens: usize,
    /// Why it ended.
    pub finish_reason: String,
    /// Speed.
    pub tokens_per_second: f64,
}

impl GenerateBody {
    /// Refuses what is out of range, by field.
    ///
    /// # Errors
    /// Every fault.
    pub fn validate(&self) -> Result<(), FieldErrors> {
        let mut errors = FieldErrors::default();
        match (self.prompt.is_empty(), self.messages.is_empty()) {
            (true, true) => errors.push("prompt", "must not be empty"),
            (false, false) => errors.push("messages", "cannot stand beside a prompt"),
            _ => {}
        }
        let messages = self.messages.iter().chain(&self.tools);
        let size: usize = messages.map(|message| message.to_string().len()).sum();
        for (field, bytes) in [("prompt", self.prompt.len()), ("messages", size)] {
            if bytes > MAX_PROMPT_BYTES {
                errors.push(
                    field,
                    format!("must not be longer than {} KiB", MAX_PROMPT_BYTES >> 10),
                );
            }
        }
        if self
            .messages
            .iter()
            .any(|message| !message["role"].is_string())
        {
            errors.push("messages", "must hold objects with a role and a content");
        }
        let within = |value: Option<f64>, range: std::ops::RangeInclusive<f64>| {
            value.is_none_or(|value| range.contains(&value))
        };
        let most = 1..=MAX_NEW_TOKENS;
        if self
            .max_new_tokens
            .is_some_and(|count| !most.contains(&count))
        {
            errors.push(
                "max_new_tokens",
                format!("must be between 1 and {MAX_NEW_TOKENS}"),
            );
        }
        if self
            .min_new_tokens
            .is_some_and(|count| count > MAX_NEW_TOKENS)
        {
            errors.push(
                "min_new_tokens",
                format!("must be between 0 and {MAX_NEW_TOKENS}"),
            );
        }
        if !within(self.temperature, 0.0..=10.0) {
            errors.push("temperature", "must be between 0 and 10");
        }
        if self.top_p.is_some_and(|p| !(p > 0.0 && p <= 1.0)) {
            errors.push("top_p", "must be above 0 and at most 1");
        }
        if self.top_k == Some(0) {
            errors.push("top_k", "must be at least 1");
        }
        if !within(self.min_p, 0.0..=1.0) {
            errors.push("min_p", "must be between 0 and 1");
        }
        if self
            .repetition_penalty
            .is_some_and(|p| !(p > 0.0 && p <= 10.0))
        {
            errors.push("repetition_penalty", "must be above 0 and at most 10");
        }
        if self
            .num_beams
            .is_some_and(|beams| !(1..=MAX_BEAMS).contains(&beams))
        {
            errors.push("num_beams", format!("must be between 1 and {MAX_BEAMS}"));
        }
        if !within(self.length_penalty, -10.0..=10.0) {
            errors.push("length_penalty", "must be between -10 and 10");
        }
        if self.stop.len() > 16
            || self
                .stop
                .iter()
                .any(|text| text.is_empty() || text.len() > 200)
        {
            errors.push("stop", "must be at most 16 texts of 1 to 200 bytes");
        }
        errors.into_result()
    }

    /// The request with what the model's own settings say where this one is silent.
    pub(in crate::api) fn request(
        &self,
        generator: &Generator,
        use_adapter: bool,
    ) -> Result<GenerateRequest, engine::Error> {
        let defaults = generator.defaults();
        let prompt = match self.messages.is_empty() {
            true => self.prompt.clone(),
            false => {
                let conversation = Conversation {
                    messages: &self.messages,
                    tools: self.tools.as_ref(),
                    ..Conversation::default()
                };
                generator.chat_prompt(conversation, Ending::Prompt)?
            }
        };
        Ok(GenerateRequest {
            prompt,
            add_special_tokens: self.messages.is_empty(),
            max_new_tokens: self
                .max_new_tokens
                .unwrap_or(defaults.max_new_tokens.min(MAX_NEW_TOKENS)),
            min_new_tokens: self.min_new_tokens.unwrap_or(defaults.min_new_tokens),
            temperature: self.temperature.unwrap_or(defaults.temperature),
            top_k: self.top_k.unwrap_or(defaults.top_k),
            top_p: self.top_p.unwrap_or(defaults.top_p),
            min_p: self.min_p.unwrap_or(defaults.min_p),
            repetition_penalty: self
                .repetition_penalty
                .unwrap_or(defaults.repetition_penalty),
            no_repeat_ngram_size: self
                .no_repeat_ngram_size
                .unwrap_or(defaults.no_repeat_ngram_size),
            num_beams: self.num_beams.unwrap_or(defaults.num_beams),
            length_penalty: self.length_penalty.unwrap_or(defaults.length_penalty),
            early_stopping: self.early_stopping.unwrap_or(defaults.early_stopping),
            seed: self.seed,
            stop: match self.stop.is_empty() {
                true => defaults.stop.clone(),
                false => self.stop.clone(),
            },
            use_adapter,
        })
    }
}

/// An answer as the API and the pages tell it.
pub(in crate::api) fn figures(generation: Generation) -> GenerationBody {
    GenerationBody {
        text: generation.text,
        prompt_tokens: generation.prompt_tokens,
        new_tokens: generation.new_tokens,
        finish_reason: serde_json::to_value(generation.finish_reason)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default(),
        tokens_per_second: generation.tokens_per_second,
    }
}
