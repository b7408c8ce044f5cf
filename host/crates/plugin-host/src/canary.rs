//! A new version on the inputs of late, beside the version before: what says something else is shown, and a trap where
//! the version before had none refuses the new one.

use std::time::{Duration, Instant};

use domain::{Canary, Change, ExecutionOutcome, Judged};
use serde::Serialize;

use crate::batch::each;
use crate::call::Terms;
use crate::outcome::is_trap;
use crate::recent::Input;
use crate::runtime::Runtime;
use crate::version::{LOADING_MS, Version};

/// Changes that are told whole.
const SHOWN: usize = 10;
/// Characters of each text in them.
const SHOWN_CHARACTERS: usize = 300;
/// A reload does not wait longer for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Two versions on the same inputs. It must be called on a guest or loader thread.
///
/// # Errors
/// One sentence when the new version traps on an input that the one before passed.
pub(crate) fn replay(
    runtime: &Runtime,
    (before, before_terms): (&Version, &Terms),
    (after, after_terms): (&Version, &Terms),
) -> Result<Canary, String> {
    let mut canary = Canary {
        before: before.digest.clone(),
        ..Canary::default()
    };
    let lent: Vec<&str> = [before, after]
        .iter()
        .flat_map(|version| &version.manifest.capabilities)
        .filter(|capability| capability.is_lent())
        .map(|capability| capability.word())
        .collect();
    if let Some(word) = lent.first() {
        canary.skipped = Some(format!("it uses `{word}`, and a replay would use it again"));
        return Ok(canary);
    }
    let (before_terms, after_terms) = (before_terms.while_loading(), after_terms.while_loading());
    let started = Instant::now();
    for input in before.recent.all() {
        if started.elapsed() > PATIENCE {
            break;
        }
        let old = answer(runtime, before, &before_terms, &input);
        // One that takes longer than a reload can wait shows nothing.
        if old.text.starts_with("deadline:") && before.manifest.limits.time_ms > LOADING_MS {
            continue;
        }
        let new = answer(runtime, after, &after_terms, &input);
        canary.replayed += 1;
        if new.is_trap && !old.is_trap {
            return Err(format!(
                "falls over on an input of late that the version before passed, so that one stays: {}; the input: {}",
                cut(&new.text),
                cut(&shown(&input))
            ));
        }
        if old.text != new.text {
            canary.changed += 1;
            if canary.changes.len() < SHOWN {
                canary.changes.push(Change {
                    input: cut(&shown(&input)),
                    before: cut(&old.text),
                    after: cut(&new.text),
                });
            }
        }
    }
    Ok(canary)
}

/// What a version says of an input.
struct Said {
    text: String,
    is_trap: bool,
}

fn answer(runtime: &Runtime, version: &Version, terms: &Terms, input: &Input) -> Said {
    match input {
        Input::Tool(text) => {
            let value = serde_json::from_str(text).expect("it was written from JSON");
            match version.execute(runtime, terms, &value).outcome {
                ExecutionOutcome::Ok { output } => Said {
                    text: output.to_string(),
                    is_trap: false,
                },
                ExecutionOutcome::Failed { code, message } => failed(&format!("{code}: {message}")),
            }
        }
        Input::File(file) => match version.try_analysis(runtime, terms, file) {
            Some(Ok(analysis)) => said(&analysis),
            Some(Err(failure)) => failed(&format!("{}: {}", failure.code, failure.message)),
            None => gone("analyzer"),
        },
        Input::Sample(sample) => match &version.curator {
            Some(curator) => judged(each(
                runtime,
                terms,
                std::slice::from_ref(sample),
                |store| curator.start(store),
                |running, store, sample| running.curate(store, sample),
                |_| {},
            )),
            None => gone("curator"),
        },
        Input::Completion(completion) => match &version.scorer {
            Some(scorer) => judged(each(
                runtime,
                terms,
                std::slice::from_ref(completion),
                |store| scorer.start(store),
                |running, store, completion| running.score(store, completion),
                |_| {},
            )),
            None => gone("scorer"),
        },
    }
}

fn judged<T: Serialize>(mut judged: Vec<Judged<T>>) -> Said {
    match judged.pop().map(|judged| judged.result) {
        Some(Ok(verdict)) => said(&verdict),
        Some(Err(message)) => failed(&message),
        None => gone("answer"),
    }
}

fn said(value: &impl Serialize) -> Said {
    Said {
        text: serde_json::to_string(value).unwrap_or_default(),
        is_trap: false,
    }
}

/// `code: message`.
fn failed(text: &str) -> Said {
    Said {
        is_trap: is_trap(text.split(':').next().unwrap_or_default()),
        text: text.to_owned(),
    }
}

fn gone(kind: &str) -> Said {
    Said {
        text: format!("it is no {kind}"),
        is_trap: false,
    }
}

fn shown(input: &Input) -> String {
    match input {
        Input::Tool(text) => text.clone(),
        Input::File(file) => file.path.clone(),
        Input::Sample(sample) => sample
            .parts
            .iter()
            .map(|part| part.text.as_str())
            .collect::<Vec<_>>()
            .join("\n"),
        Input::Completion(completion) => completion.text.clone(),
    }
}

fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN_CHARACTERS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
