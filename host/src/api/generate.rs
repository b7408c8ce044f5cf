use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use anyhow::Context;
use domain::FieldErrors;
use engine::generate::{GenerateRequest, Generator};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::models;
use crate::error::AppError;
use crate::state::{AppState, blocking};

/// Most tokens of one answer.
pub const MAX_NEW_TOKENS: usize = 512;
/// Longest prompt.
pub const MAX_PROMPT_BYTES: usize = 32 << 10;
const LONGEST: Duration = Duration::from_secs(90);
const QUEUE: usize = 4;

/// Text from a model, one request at a time: two would only halve each other's speed.
pub struct Playground {
    turn: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    loaded: Arc<Mutex<Option<Loaded>>>,
}

/// The model of the last request, kept because the next one is likely to ask for the same.
struct Loaded {
    model: PathBuf,
    adapter: Option<(PathBuf, Option<SystemTime>)>,
    generator: Generator,
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
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerateBody {
    /// Id of a model, from `/api/v1/models`.
    pub model: String,
    /// Id of an adapter on that model.
    #[serde(default)]
    pub adapter: Option<String>,
    /// The text to go on from.
    pub prompt: String,
    /// At most so many tokens; 1 to 512.
    #[serde(default = "default_new_tokens")]
    pub max_new_tokens: usize,
    /// 0 always takes the likeliest token.
    #[serde(default)]
    pub temperature: f64,
    /// Choose among the so many likeliest tokens.
    #[serde(default)]
    pub top_k: Option<usize>,
    /// Choose among the likeliest tokens that together have this probability.
    #[serde(default)]
    pub top_p: Option<f64>,
    /// Seed of the choice.
    #[serde(default)]
    pub seed: u64,
    /// Texts that end the answer.
    #[serde(default)]
    pub stop: Vec<String>,
}

fn default_new_tokens() -> usize {
    128
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
        if self.prompt.is_empty() {
            errors.push("prompt", "must not be empty");
        }
        if self.prompt.len() > MAX_PROMPT_BYTES {
            errors.push(
                "prompt",
                format!("must not be longer than {} KiB", MAX_PROMPT_BYTES >> 10),
            );
        }
        if !(1..=MAX_NEW_TOKENS).contains(&self.max_new_tokens) {
            errors.push(
                "max_new_tokens",
                format!("must be between 1 and {MAX_NEW_TOKENS}"),
            );
        }
        if !(0.0..=10.0).contains(&self.temperature) {
            errors.push("temperature", "must be between 0 and 10");
        }
        if self.top_p.is_some_and(|p| !(p > 0.0 && p <= 1.0)) {
            errors.push("top_p", "must be above 0 and at most 1");
        }
        if self.top_k == Some(0) {
            errors.push("top_k", "must be at least 1");
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

    fn request(&self, use_adapter: bool) -> GenerateRequest {
        GenerateRequest {
            prompt: self.prompt.clone(),
            max_new_tokens: self.max_new_tokens,
            temperature: self.temperature,
            top_k: self.top_k.unwrap_or(0),
            top_p: self.top_p.unwrap_or(1.0),
            seed: self.seed,
            stop: self.stop.clone(),
            use_adapter,
        }
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

impl Playground {
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
        body.validate()?;
        let known = models::known(state).await?;
        let model = known.model(&body.model)?.path.clone();
        let adapter = match body.adapter.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => Some(known.adapter(id)?.path.clone()),
            None => None,
        };
        let _place = self.queue.clone().try_acquire_owned().map_err(|_| {
            AppError::refused(
                StatusCode::TOO_MANY_REQUESTS,
                "busy",
                "The model is busy with other prompts. Try again in a moment.",
            )
        })?;
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
                .then(|| write(&loaded.generator, &body.request(false)))
                .transpose()?;
            let tuned = has_adapter
                .then(|| write(&loaded.generator, &body.request(true)))
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

fn load<'a>(
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
    Ok(GenerationBody {
        text: generation.text,
        prompt_tokens: generation.prompt_tokens,
        new_tokens: generation.new_tokens,
        finish_reason: serde_json::to_value(generation.finish_reason)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default(),
        tokens_per_second: generation.tokens_per_second,
    })
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
