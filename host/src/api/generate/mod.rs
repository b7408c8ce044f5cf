//! Text from a model: the playground's turns and its one loaded model.

mod body;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use anyhow::Context;
use engine::generate::{GenerateRequest, Generator};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::models;
use super::openapi::ErrorBody;
use crate::error::AppError;
use crate::state::{AppState, blocking};

pub(super) use self::body::figures;
pub use self::body::{GenerateBody, GenerationBody, MAX_NEW_TOKENS, MAX_PROMPT_BYTES};

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

/// Text from a model, with its adapter when one is named.
#[utoipa::path(post, path = "/api/v1/generate", tag = "models", request_body = GenerateBody,
    responses((status = 200, body = GenerationBody), (status = 422, body = ErrorBody)))]
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
