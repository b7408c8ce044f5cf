//! Texts that are written token by token, several at once.

use std::ops::ControlFlow;
use std::time::Instant;

use super::logits::process;
use super::model::step_of;
use super::sample::Sampler;
use super::text::TextStream;
use super::{GenerateRequest, Generation, GenerationEnd, TextModel};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// One text on its way.
pub(super) struct Writing<'a> {
    index: usize,
    request: &'a GenerateRequest,
    /// Prompt and text.
    ids: Vec<u32>,
    prompt_tokens: usize,
    limit: usize,
    sampler: Sampler,
    /// `None` where only the tokens are wanted.
    stream: Option<TextStream<'a>>,
    end: Option<GenerationEnd>,
    /// When the prompt had been read.
    begun: Instant,
    seconds: f64,
}

impl<'a> Writing<'a> {
    /// A text that goes on from `prompt`; `limit` tells how many tokens may follow a prompt of its length.
    pub(super) fn new(
        index: usize,
        request: &'a GenerateRequest,
        prompt: Vec<u32>,
        limit: impl Fn(usize) -> usize,
        stream: Option<TextStream<'a>>,
    ) -> Self {
        Self {
            index,
            request,
            prompt_tokens: prompt.len(),
            limit: limit(prompt.len()),
            ids: prompt,
            sampler: Sampler::new(request),
            stream,
            end: None,
            begun: Instant::now(),
            seconds: 0.0,
        }
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// The new tokens, an end-of-text token included.
    pub(super) fn new_ids(&self) -> &[u32] {
        &self.ids[self.prompt_tokens..]
    }

    /// Chooses the next token and gives out what it makes certain.
    fn take(
        &mut self,
        mut logits: Vec<f32>,
        ends: &[u32],
        on_text: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<()> {
        process(
            &mut logits,
            self.request,
            &self.ids,
            self.new_ids().len(),
            ends,
        );
        let token = self.sampler.choose(&logits)?;
        self.ids.push(token);
        if ends.contains(&token) {
            return self.finish(GenerationEnd::Eos, on_text);
        }
        if let Some(stream) = &mut self.stream {
            let piece = stream.push(token)?;
            if !piece.is_empty() && on_text(self.index, &piece).is_break() {
                return self.finish(GenerationEnd::Cancelled, on_text);
            }
            if stream.stopped() {
                return self.finish(GenerationEnd::Stop, on_text);
            }
        }
        if self.new_ids().len() == self.limit {
            return self.finish(GenerationEnd::Length, on_text);
        }
        Ok(())
    }

    fn finish(
        &mut self,
        end: GenerationEnd,
        on_text: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<()> {
        self.end = Some(end);
        self.seconds = self.begun.elapsed().as_secs_f64();
        if let Some(stream) = &mut self.stream {
            let rest = stream.finish(end == GenerationEnd::Cancelled)?;
            if !rest.is_empty() {
                // The generation is over: an answer could change nothing.
                let _ = on_text(self.index, &rest);
            }
        }
        Ok(())
    }

    /// What was written, once it is finished.
    pub(super) fn into_generation(self) -> Result<Generation> {
        let new_tokens = self.new_ids().len();
        Ok(Generation {
            text: self.stream.map(TextStream::into_text).unwrap_or_default(),
            prompt_tokens: self.prompt_tokens,
            new_tokens,
            finish_reason: self.end.unwrap_or(GenerationEnd::Cancelled),
            tokens_per_second: new_tokens as f64 / self.seconds.max(1e-9),
        })
    }
}

/// Writes `new_tokens` after each prompt, always the likeliest one; nothing ends a text early. Returns the new tokens.
pub(crate) fn greedy<M: TextModel>(
    model: &M,
    prompts: &[Vec<u32>],
    new_tokens: usize,
) -> Result<Vec<Vec<u32>>> {
    let request = GenerateRequest::default();
    let mut writings: Vec<Writing<'_>> = prompts
        .iter()
        .enumerate()
        .map(|(index, prompt)| Writing::new(index, &request, prompt.clone(), |_| new_tokens, None))
        .collect();
    write_all(model, &[], &mut writings, &mut |_, _| {
        ControlFlow::Continue(())
    })?;
    Ok(writings
        .iter()
        .map(|writing| writing.new_ids().to_vec())
        .collect())
}

/// Texts that are written together by [`complete`], and tokens of them all: their keys and values are in memory at a time.
const TOGETHER: usize = 16;
const TOKENS_TOGETHER: usize = 4096;

/// Writes what follows each prompt, by one request's settings; `None` when `stopped` said so meanwhile.
pub(crate) fn complete<M: TextModel>(
    model: &M,
    tokenizer: &Tokenizer,
    ends: &[u32],
    prompts: &[Vec<u32>],
    request: &GenerateRequest,
    stopped: &dyn Fn() -> bool,
) -> Result<Option<Vec<String>>> {
    let positions = model.description().max_positions;
    let limit = |prompt: usize| request.max_new_tokens.min(positions - prompt);
    let mut texts = Vec::with_capacity(prompts.len());
    let (mut rest, mut together) = (prompts, TOGETHER);
    while !rest.is_empty() {
        let mut held = 0;
        let fits = |prompt: &&Vec<u32>| {
            held += prompt.len() + limit(prompt.len());
            held <= TOKENS_TOGETHER
        };
        let count = rest.iter().take(together).take_while(fits).count().max(1);
        let (prompts, later) = rest.split_at(count);
        let mut writings: Vec<Writing<'_>> = prompts
            .iter()
            .enumerate()
            .map(|(index, prompt)| {
                let stream = TextStream::new(tokenizer, &request.stop);
                Writing::new(index, request, prompt.clone(), limit, Some(stream))
            })
            .collect();
        let written = write_all(model, ends, &mut writings, &mut |_, _| match stopped() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        });
        match written {
            // A device can have less room than is asked for here.
            Err(Error::DeviceMemory(_)) if count > 1 => {
                together = count / 2;
                continue;
            }
            written => written?,
        }
        if stopped() {
            return Ok(None);
        }
        rest = later;
        for writing in writings {
            texts.push(writing.into_generation()?.text);
        }
    }
    Ok(Some(texts))
}

/// Writes all texts to their ends. Each prompt is read on its own; then every step computes one token of each text that
/// is not finished.
pub(super) fn write_all<M: TextModel>(
    model: &M,
    ends: &[u32],
    writings: &mut [Writing<'_>],
    on_text: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
) -> Result<()> {
    let mut caches = Vec::with_capacity(writings.len());
    for writing in writings.iter_mut() {
        let mut cache = model.cache(writing.prompt_tokens + writing.limit)?;
        let logits = model.read(&mut cache, &writing.ids, writing.request.use_adapter)?;
        writing.begun = Instant::now();
        writing.take(logits, ends, on_text)?;
        caches.push(cache);
    }
    loop {
        let mut busy = false;
        // Texts with the adapter and without it take turns: a forward pass does one or the other.
        for adapter in [false, true] {
            let (mut group, mut reading) = (Vec::new(), Vec::new());
            for (writing, cache) in writings.iter_mut().zip(&mut caches) {
                if writing.end.is_none() && writing.request.use_adapter == adapter {
                    group.push(writing);
                    reading.push(cache);
                }
            }
            if group.is_empty() {
                continue;
            }
            busy = true;
            let texts: Vec<&[u32]> = group.iter().map(|writing| &writing.ids[..]).collect();
            let logits = step_of(model, &mut reading, &texts, adapter)?;
            for (writing, logits) in group.into_iter().zip(logits) {
                writing.take(logits, ends, on_text)?;
            }
        }
        if !busy {
            return Ok(());
        }
    }
}
