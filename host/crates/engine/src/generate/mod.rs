//! Text from a model, with or without its adapter, token by token: [`Generator`].

mod cache;
mod sample;
mod text;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use candle_core::DType;
use serde::{Deserialize, Serialize};

use crate::lora::read_adapter;
use crate::model::{Decoder, Loading};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};
use cache::Cache;
use sample::Sampler;
use text::TextStream;

/// A model that writes; one set of weights serves base and adapter.
///
/// It can be shared between threads: a generation keeps all its state to itself.
pub struct Generator {
    decoder: Decoder,
    tokenizer: Tokenizer,
    /// Tokens that end a text.
    ends: Vec<u32>,
}

/// What to write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerateRequest {
    /// Text to go on from, as it is: no chat template is put around it.
    pub prompt: String,
    /// Most tokens to write.
    pub max_new_tokens: usize,
    /// 0 takes the likeliest token each time; higher is more random.
    pub temperature: f64,
    /// Draw from this many likeliest tokens; 0 means all.
    pub top_k: usize,
    /// Draw from the likeliest tokens that together have this probability; 1 means all.
    pub top_p: f64,
    /// Seed of the draws.
    pub seed: u64,
    /// Texts that end the generation; they are not part of it.
    pub stop: Vec<String>,
    /// Whether the adapter takes part.
    pub use_adapter: bool,
}

impl Default for GenerateRequest {
    fn default() -> Self {
        Self {
            prompt: String::new(),
            max_new_tokens: 128,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            seed: 0,
            stop: Vec::new(),
            use_adapter: true,
        }
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

impl Generator {
    /// Reads a Hugging Face folder and, where one is given, a PEFT folder.
    ///
    /// # Errors
    /// Either is missing, damaged, or asks for what is not supported.
    pub fn load(model: &Path, adapter: Option<&Path>) -> Result<Self> {
        let loading = Loading::frozen(DType::F32);
        let mut decoder = Decoder::load(model, loading)?;
        if let Some(adapter) = adapter {
            read_adapter(&mut decoder, adapter, false)?;
        }
        let tokenizer = Tokenizer::load(model)?;
        let mut ends = tokenizer.eos_ids().to_vec();
        ends.extend(&decoder.description.eos);
        Ok(Self {
            decoder,
            tokenizer,
            ends,
        })
    }

    /// Whether an adapter was loaded.
    pub fn has_adapter(&self) -> bool {
        self.decoder.linears().any(|linear| linear.lora.is_some())
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Writes; `on_text` gets each piece of text as soon as it is certain, and may end the generation.
    ///
    /// # Errors
    /// The request is out of range, or the prompt is longer than the model's positions.
    pub fn generate(
        &self,
        request: &GenerateRequest,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation> {
        request.check()?;
        let mut pending = self.tokenizer.encode(&request.prompt, true)?;
        if pending.is_empty() {
            // An empty prompt: the end-of-text token is what stands between two texts.
            pending.extend(self.ends.first());
        }
        let prompt_tokens = pending.len();
        let positions = self.decoder.description.max_positions;
        if pending.is_empty() || prompt_tokens >= positions {
            return Err(Error::Input(format!(
                "prompt: has {prompt_tokens} tokens; the model takes 1 to {}",
                positions.saturating_sub(1)
            )));
        }
        let limit = request.max_new_tokens.min(positions - prompt_tokens);
        let mut cache = Cache::new(&self.decoder, prompt_tokens + limit)?;
        let mut sampler = Sampler::new(request);
        let mut stream = TextStream::new(&self.tokenizer, &request.stop);
        let mut new_tokens = 0;
        let mut begun = Instant::now();
        let finish_reason = loop {
            if new_tokens == limit {
                break GenerationEnd::Length;
            }
            let mut logits = cache.step(&self.decoder, &pending, request.use_adapter)?;
            if new_tokens == 0 {
                begun = Instant::now();
            }
            let token = sampler.choose(&mut logits)?;
            new_tokens += 1;
            if self.ends.contains(&token) {
                break GenerationEnd::Eos;
            }
            pending = vec![token];
            let piece = stream.push(token)?;
            if !piece.is_empty() && on_text(&piece).is_break() {
                break GenerationEnd::Cancelled;
            }
            if stream.stopped() {
                break GenerationEnd::Stop;
            }
        };
        let rest = stream.finish(finish_reason == GenerationEnd::Cancelled)?;
        if !rest.is_empty() {
            // The generation is over: an answer could change nothing.
            let _ = on_text(&rest);
        }
        Ok(Generation {
            text: stream.into_text(),
            prompt_tokens,
            new_tokens,
            finish_reason,
            tokens_per_second: new_tokens as f64 / begun.elapsed().as_secs_f64().max(1e-9),
        })
    }
}

/// Pages share one generator between their requests.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Generator>();
};

impl GenerateRequest {
    fn check(&self) -> Result<()> {
        let mut errors = domain::FieldErrors::default();
        if !(self.temperature.is_finite() && (0.0..=100.0).contains(&self.temperature)) {
            errors.push(
                "temperature",
                format!("must be between 0 and 100, not {}", self.temperature),
            );
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            errors.push(
                "top_p",
                format!("must be above 0 and at most 1, not {}", self.top_p),
            );
        }
        if self.max_new_tokens == 0 {
            errors.push("max_new_tokens", "must be at least 1");
        }
        if self.stop.iter().any(String::is_empty) {
            errors.push("stop", "must not hold an empty text");
        }
        Ok(errors.into_result()?)
    }
}
