//! An answer as it is written, as server-sent events.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use actix_web::web::Bytes;
use engine::generate::Generator;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::generate::{Admitted, GenerateBody, LONGEST, Loaded, Playground, figures, load};
use crate::error::AppError;
use crate::state::{AppState, blocking};

/// Pieces that may wait for a slow reader before the model waits too.
const WAITING: usize = 64;

impl Playground {
    /// Answers one request piece by piece; the base is asked too when an adapter is chosen. Events: `text` with `side` (base
    /// or adapter) and `text`; `done` with `side` and the figures of its answer; `error` with a `message`. A reader who
    /// leaves ends the writing.
    ///
    /// # Errors
    /// As [`Self::generate`]; what goes wrong later is an `error` event.
    pub async fn stream(
        &self,
        state: &AppState,
        body: GenerateBody,
    ) -> Result<Receiver<Bytes>, AppError> {
        let Admitted {
            model,
            adapter,
            place,
        } = self.admit(state, &body).await?;
        let (turn, loaded) = (self.turn.clone(), self.loaded.clone());
        let (sender, receiver) = channel(WAITING);
        actix_web::rt::spawn(async move {
            // Held to the end of the work, even when the visitor has gone.
            let _place = place;
            let Ok(_turn) = turn.acquire_owned().await else {
                return;
            };
            let ended = blocking(move || {
                let mut slot = loaded
                    .lock()
                    .unwrap_or_else(|poisoned| poisoned.into_inner());
                if let Err(error) = tell(&mut slot, &model, adapter.as_deref(), &body, &sender) {
                    tracing::warn!("an answer broke off: {error}");
                    let message = json!({ "message": error.message() });
                    drop(sender.blocking_send(event("error", &message)));
                }
            });
            if let Err(error) = ended.await {
                tracing::error!("an answer broke off: {error}");
            }
        });
        Ok(receiver)
    }
}

fn tell(
    slot: &mut Option<Loaded>,
    model: &Path,
    adapter: Option<&Path>,
    body: &GenerateBody,
    sender: &Sender<Bytes>,
) -> Result<(), AppError> {
    if sender.is_closed() {
        return Ok(());
    }
    let generator = &load(slot, model, adapter)?.generator;
    write(generator, body, "base", sender)?;
    match adapter {
        Some(_) if !sender.is_closed() => write(generator, body, "adapter", sender),
        _ => Ok(()),
    }
}

fn write(
    generator: &Generator,
    body: &GenerateBody,
    side: &str,
    sender: &Sender<Bytes>,
) -> Result<(), AppError> {
    let request = body.request(generator, side == "adapter")?;
    let begun = Instant::now();
    let generation = generator.generate(&request, &mut |piece| {
        let text = json!({ "side": side, "text": piece });
        let gone = match piece.is_empty() {
            true => sender.is_closed(),
            false => sender.blocking_send(event("text", &text)).is_err(),
        };
        match gone || begun.elapsed() > LONGEST {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    // The whole text again: with beams none of it came before.
    let mut done = json!(figures(generation));
    done["side"] = json!(side);
    drop(sender.blocking_send(event("done", &done)));
    Ok(())
}

/// JSON has no line ends of its own, so that one `data` line holds it.
fn event(name: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}
