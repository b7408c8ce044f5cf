use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use anyhow::Context;
use domain::FieldErrors;
use engine::chat::{Conversation, Ending};
use engine::generate::{EarlyStopping, GenerateRequest, Generation, Generator};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::ToSchema;

use super::models;
use crate::error::AppError;
use crate::state::{AppState, blocking};

/// Most tokens of one answer.
pub const MAX_NEW_TOKENS: usize = 512;
/// Longest prompt.
pub const MAX_PROMPT_BYTES: usize = 32 << 10;
/// Most beams: each computes as much as a request of its own.
const MAX_BEAMS: usize = 8;
pub(super) const LONGEST: Duration = Duration::from_secs(90);
const QUEUE: usize = 4;

/// Text from a model, one request at a time: two would only halve each other's speed. Clones share model and turns.
#[derive(Clone)]
pub struct Playground {
    pub(super) turn: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    pub(super) loaded: Arc<Mutex<Option<Loaded>>>,
}

/// The model of the last request, kept because the next one is likely to ask for the same.
pub(super) struct Loaded {
    model: PathBuf,
    adapter: Option<(PathBuf, Option<SystemTime>)>,
    pub(super) generator: Generator,
}

impl Default for Playground {
    fn default() -> Self {
        Self {
            turn: Arc::new(Semaphore::new(1)),
            queue: Arc::new(Semaphore::new(QUEUE)),
            loaded: Arc::default(),
        }
    }
}

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
    pub(super) fn request(
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

/// Base and adapter on the same prompt with the same seed.
#[derive(Debug, Clone, Serialize)]
pub struct SideBySide {
    /// Without the adapter.
    pub base: GenerationBody,
    /// With it, when one was chosen.
    pub adapter: Option<GenerationBody>,
}

/// A request that may wait for its turn.
pub(super) struct Admitted {
    pub(super) model: PathBuf,
    pub(super) adapter: Option<PathBuf>,
    /// Its place among those who wait.
    pub(super) place: OwnedSemaphorePermit,
}

impl Playground {
    /// Checks a request and gives it a place in the queue.
    ///
    /// # Errors
    /// As [`Self::generate`].
    pub(super) async fn admit(
        &self,
        state: &AppState,
        body: &GenerateBody,
    ) -> Result<Admitted, AppError> {
        body.validate()?;
        let known = models::known(state).await?;
        let model = known.model(&body.model)?.path.clone();
        let adapter = match body.adapter.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => Some(known.adapter(id)?.path.clone()),
            None => None,
        };
        let place = self.queue.clone().try_acquire_owned().map_err(|_| {
            AppError::refused(
                StatusCode::TOO_MANY_REQUESTS,
                "busy",
                "The model is busy with other prompts. Try again in a moment.",
            )
        })?;
        Ok(Admitted {
            model,
            adapter,
            place,
        })
    }

    /// Answers one request; `both` asks the base too when an adapter is chosen.
    ///
    /// # Errors
    /// Fields out of range, an unknown model, a model that cannot be read, or too many who wait.
    pub async fn generate(
        &self,
        state: &AppState,
        body: GenerateBody,
        both: bool,
    ) -> Result<SideBySide, AppError> {
        let Admitted {
            model,
            adapter,
            place: _place,
        } = self.admit(state, &body).await?;
        let turn = self
            .turn
            .clone()
            .acquire_owned()
            .await
            .context("the playground is never closed")?;
        let loaded = self.loaded.clone();
        blocking(move || {
            // Held to the end of the work, even when the visitor has gone.
            let _turn = turn;
            let mut slot = loaded
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            let loaded = load(&mut slot, &model, adapter.as_deref())?;
            let has_adapter = adapter.is_some();
            let base = (both || !has_adapter)
                .then(|| write(&loaded.generator, &body.request(&loaded.generator, false)?))
                .transpose()?;
            let tuned = has_adapter
                .then(|| write(&loaded.generator, &body.request(&loaded.generator, true)?))
                .transpose()?;
            Ok(match (base, tuned) {
                (Some(base), adapter) => SideBySide { base, adapter },
                (None, Some(only)) => SideBySide {
                    base: only,
                    adapter: None,
                },
                (None, None) => unreachable!("the base is asked where there is no adapter"),
            })
        })
        .await?
    }
}

impl Playground {
    /// Writes for a plugin, on the model that it was granted or else the one that is loaded; gives the model's name too.
    /// It waits for its turn, no longer than `until`.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn lend(
        &self,
        model: Option<&Path>,
        adapter: Option<&Path>,
        body: &GenerateBody,
        use_adapter: bool,
        until: Instant,
    ) -> Result<(String, GenerationBody), String> {
        let waiting = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| format!("the model cannot be waited for: {error}"))?;
        let deadline = tokio::time::Instant::from_std(until);
        let _turn = waiting
            .block_on(async { tokio::time::timeout_at(deadline, self.turn.acquire()).await })
            .map_err(|_| "the model was busy with other prompts all the time".to_owned())?;
        let mut slot = self
            .loaded
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(model) = model {
            load(&mut slot, model, adapter).map_err(|error| error.message())?;
        }
        let loaded = slot.as_ref().ok_or(
            "no model is loaded; name one with the grant of `generate`, or ask one on /try first",
        )?;
        let adapter = loaded.adapter.as_ref().filter(|_| use_adapter);
        let request = body
            .request(&loaded.generator, adapter.is_some())
            .map_err(|error| error.to_string())?;
        let generation = loaded
            .generator
            .generate(&request, &mut |_| match Instant::now() < until {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            })
            .map_err(|error| error.to_string())?;
        let name = |path: &Path| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        let model = match adapter {
            Some((adapter, _)) => format!("{} + {}", name(&loaded.model), name(adapter)),
            None => name(&loaded.model),
        };
        Ok((model, figures(generation)))
    }
}

pub(super) fn load<'a>(
    slot: &'a mut Option<Loaded>,
    model: &Path,
    adapter: Option<&Path>,
) -> Result<&'a Loaded, AppError> {
    // A resumed run writes its adapter anew under the same name.
    let adapter = adapter.map(|path| {
        let file = path.join("adapter_model.safetensors");
        let written = file.metadata().and_then(|data| data.modified()).ok();
        (path.to_owned(), written)
    });
    let is_loaded = slot
        .as_ref()
        .is_some_and(|loaded| loaded.model == model && loaded.adapter == adapter);
    if !is_loaded {
        // The old one first: two models at once may not fit.
        *slot = None;
        let generator = Generator::load(model, adapter.as_ref().map(|(path, _)| path.as_path()))?;
        *slot = Some(Loaded {
            model: model.to_owned(),
            adapter,
            generator,
        });
    }
    Ok(slot.as_ref().expect("just loaded"))
}

fn write(generator: &Generator, request: &GenerateRequest) -> Result<GenerationBody, AppError> {
    let begun = Instant::now();
    let generation = generator.generate(request, &mut |_| {
        if begun.elapsed() > LONGEST {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Ok(figures(generation))
}

/// An answer as the API and the pages tell it.
pub(super) fn figures(generation: Generation) -> GenerationBody {
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

/// Text from a model, with its adapter when one is named.
#[utoipa::path(post, path = "/api/v1/generate", tag = "models", request_body = GenerateBody,
    responses((status = 200, body = GenerationBody), (status = 422, body = super::openapi::ErrorBody)))]
pub async fn create(
    state: Data<AppState>,
    body: Json<GenerateBody>,
) -> Result<Json<GenerationBody>, AppError> {
    let answer = state
        .playground
        .generate(&state, body.into_inner(), false)
        .await?;
    Ok(Json(answer.base))
}
