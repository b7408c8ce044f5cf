//! Data that scorers make: a model answers prompts several times, plugins rank the answers, and the best one, or the best
//! beside the worst, becomes a row to train on.
//!
//! [`generate`] is the loop, `rank` decides about one prompt's answers, `folder` is the output, which survives a stop.

mod folder;
mod rank;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use domain::Completion;
use engine::chat::{Conversation, Ending};
use engine::data::Prompt;
use engine::generate::{GenerateRequest, Generation, Generator};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::safety::keys::hex;
use crate::scoring::Scorers;
use folder::Folder;
use rank::{Answer, Ranked};
pub use rank::{Make, Ranking};

/// Answers that are written together.
const TOGETHER: usize = 16;

/// What to make, and how.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What is asked.
    pub prompts: &'a [Prompt],
    /// Settings of every answer; prompt and seed come with each.
    pub settings: &'a GenerateRequest,
    /// Answers to each prompt.
    pub answers: usize,
    /// Put each prompt into the model's chat template, and write rows of messages.
    pub chat: bool,
    /// The answers' language by name, for scorers that cannot tell.
    pub language: Option<&'a str>,
    /// Which rows to make of ranked answers.
    pub ranking: Ranking,
    /// What else the output hangs on, for its record: model, adapter, digests.
    pub about: &'a Value,
    /// The folder to write; a generation that was stopped in it goes on.
    pub out: &'a Path,
}

/// How far a generation is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Prompts behind us.
    pub prompts: usize,
    /// Prompts in all.
    pub of: usize,
    /// Rows in the output.
    pub rows: usize,
    /// Since the start of this process's part.
    pub elapsed: Duration,
    /// Until the end.
    pub left: Duration,
}

/// What a generation came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Prompts that were answered.
    pub prompts: usize,
    /// Rows in the output.
    pub rows: usize,
    /// Prompts without a row, by why.
    pub without: std::collections::BTreeMap<String, usize>,
    /// Mean score of all answers that were scored.
    pub mean_score: Option<f64>,
    /// Mean score of the answers that were chosen.
    pub chosen_score: Option<f64>,
    /// Lower-case hex SHA-256 of `data.jsonl`.
    pub output_sha256: String,
}

/// How a generation ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Everything is in the output folder.
    Finished(Report),
    /// Somebody asked to stop; the same call goes on from there.
    Stopped {
        /// Prompts that are done.
        prompts: usize,
    },
}

/// Answers, ranks and writes, until the end or until `stop` is set.
///
/// The folder gets `data.jsonl` (rows in the order of the prompts), `provenance.jsonl` (one line a prompt: every answer with
/// its seed and scores, and why it was chosen or not), `generation.json` (what to make it again with) and `report.json`.
///
/// # Errors
/// A prompt that the model cannot take, a folder that belongs to another generation, files.
pub fn generate(
    generator: &Generator,
    scorers: &Scorers,
    request: &Request<'_>,
    stop: &AtomicBool,
    mut on_progress: impl FnMut(&Progress),
) -> anyhow::Result<Outcome> {
    let about = about(scorers, request);
    let mut folder = Folder::open(request.out, &about)?;
    let at_once = (TOGETHER / request.answers.max(1)).max(1);
    // Answers are the same bits only if the same ones are written together: a batch counts whole or not at all.
    let begin = folder.keep_batches(at_once)?;
    let started = Instant::now();
    for (index, batch) in request.prompts.chunks(at_once).enumerate() {
        let first = index * at_once;
        if first < begin {
            continue;
        }
        let Some(answered) = answer(generator, scorers, request, first, batch, stop)? else {
            return Ok(Outcome::Stopped { prompts: first });
        };
        for (offset, (prompt, answers)) in batch.iter().zip(answered).enumerate() {
            let ranked = request.ranking.rank(answers);
            let row = row(request, prompt, &ranked);
            folder.append(row.as_ref(), &line(first + offset, prompt, &ranked))?;
        }
        folder.save()?;
        let done = first + batch.len();
        let elapsed = started.elapsed();
        let rest = (request.prompts.len() - done) as f64 / (done - begin) as f64;
        on_progress(&Progress {
            prompts: done,
            of: request.prompts.len(),
            rows: folder.rows(),
            elapsed,
            left: elapsed.mul_f64(rest),
        });
    }
    folder.finish(about).map(Outcome::Finished)
}

/// What decides the output; a folder goes on only with the same.
fn about(scorers: &Scorers, request: &Request<'_>) -> Value {
    let mut digest = Sha256::new();
    for Prompt { prompt, reference } in request.prompts {
        for text in [prompt, reference] {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        }
    }
    json!({
        "format": 1,
        "made_by": request.about,
        "prompts": request.prompts.len(),
        "prompts_sha256": hex(&digest.finalize()),
        "answers": request.answers,
        "chat": request.chat,
        "language": request.language,
        "settings": request.settings,
        "ranking": request.ranking,
        "scorers": scorers.about(),
    })
}

/// Answers a few prompts; `None` when the flag was raised meanwhile.
fn answer(
    generator: &Generator,
    scorers: &Scorers,
    request: &Request<'_>,
    first: usize,
    prompts: &[Prompt],
    stop: &AtomicBool,
) -> anyhow::Result<Option<Vec<Vec<Answer>>>> {
    let count = request.answers;
    let mut requests = Vec::with_capacity(prompts.len() * count);
    for (offset, prompt) in prompts.iter().enumerate() {
        let text = match request.chat {
            true => asked(generator, &prompt.prompt)?,
            false => prompt.prompt.clone(),
        };
        // Each answer draws its own numbers, whatever is written beside it.
        let seed = |draw: usize| ((first + offset) * count + draw) as u64;
        requests.extend((0..count).map(|draw| GenerateRequest {
            prompt: text.clone(),
            add_special_tokens: !request.chat,
            seed: request.settings.seed.wrapping_add(seed(draw)),
            ..request.settings.clone()
        }));
    }
    let written: Vec<Generation> = generator
        .generate_all(&requests, &mut |_, _| match stop.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
        .with_context(|| format!("prompts {} to {}", first + 1, first + prompts.len()))?;
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let asked = prompts
        .iter()
        .flat_map(|prompt| std::iter::repeat_n(prompt, count));
    let completions: Vec<Completion> = asked
        .zip(&written)
        .map(|(asked, written)| Completion {
            prompt: asked.prompt.clone(),
            text: written.text.clone(),
            reference: (!asked.reference.is_empty()).then(|| asked.reference.clone()),
            language: request.language.map(str::to_owned),
        })
        .collect();
    let scored = scorers.score(&completions);
    let mut answers = requests
        .iter()
        .zip(written)
        .zip(scored)
        .map(|((request, written), scored)| Answer::new(request.seed, written, scored));
    let by_prompt = prompts
        .iter()
        .map(|_| answers.by_ref().take(count).collect());
    Ok(Some(by_prompt.collect()))
}

fn asked(generator: &Generator, prompt: &str) -> anyhow::Result<String> {
    let messages = [json!({ "role": "user", "content": prompt })];
    let conversation = Conversation {
        messages: &messages,
        ..Conversation::default()
    };
    Ok(generator.chat_prompt(conversation, Ending::Prompt)?)
}

/// What is trained on, where the answers make a row.
fn row(request: &Request<'_>, prompt: &Prompt, ranked: &Ranked) -> Option<Value> {
    let text = |index: usize| ranked.answers[index].text.as_str();
    let score = |index: usize| ranked.answers[index].score;
    let prompt = prompt.prompt.as_str();
    let (chosen, rejected) = (ranked.chosen?, ranked.rejected);
    let user = json!({ "role": "user", "content": prompt });
    let assistant = |index: usize| json!({ "role": "assistant", "content": text(index) });
    Some(match (rejected, request.chat) {
        (None, false) => json!({
            "prompt": prompt, "completion": text(chosen), "score": score(chosen),
        }),
        (None, true) => json!({
            "messages": [user, assistant(chosen)], "score": score(chosen),
        }),
        (Some(rejected), false) => json!({
            "prompt": prompt, "chosen": text(chosen), "rejected": text(rejected),
            "score_chosen": score(chosen), "score_rejected": score(rejected),
        }),
        (Some(rejected), true) => json!({
            "prompt": [user], "chosen": [assistant(chosen)], "rejected": [assistant(rejected)],
            "score_chosen": score(chosen), "score_rejected": score(rejected),
        }),
    })
}

fn line(index: usize, prompt: &Prompt, ranked: &Ranked) -> folder::Line {
    folder::Line {
        prompt: index,
        prompt_sha256: hex(&Sha256::digest(&prompt.prompt)),
        ranked: ranked.clone(),
    }
}
