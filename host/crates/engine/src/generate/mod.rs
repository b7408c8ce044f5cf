//! Text from a model, with or without its adapter, token by token: [`Generator`].

mod beams;
mod cache;
mod held;
mod logits;
mod model;
mod request;
mod sample;
mod text;
mod writing;

#[cfg(test)]
pub(crate) mod goldens;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use crate::chat::{ChatTemplate, Conversation, Ending};
use crate::lora::read_adapter;
use crate::model::{Decoder, Description};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};
use beams::Search;
pub(crate) use held::{Held, with_model};
pub(crate) use model::TextModel;
use text::TextStream;
pub(crate) use writing::complete;
#[cfg(test)]
pub(crate) use writing::greedy;
use writing::{Writing, write_all};

pub use held::Placement;
pub use request::{EarlyStopping, GenerateRequest, Generation, GenerationEnd};

/// A model that writes; one set of weights serves base and adapter.
///
/// It can be shared between threads: a generation keeps all its state to itself. On a GPU one has to wait for another.
pub struct Generator {
    model: Held,
    description: Description,
    has_adapter: bool,
    tokenizer: Tokenizer,
    /// Tokens that end a text.
    ends: Vec<u32>,
    defaults: GenerateRequest,
}

impl Generator {
    /// Reads a Hugging Face folder and, where one is given, a PEFT folder, to write on the CPU in f32.
    ///
    /// # Errors
    /// Either is missing, damaged, or asks for what is not supported.
    pub fn load(model: &Path, adapter: Option<&Path>) -> Result<Self> {
        Self::load_on(model, adapter, false, &Placement::default())
    }

    /// As [`Self::load`], with the adapter merged into the weights: a token costs as much as without one, and the base can
    /// no longer be asked alone.
    ///
    /// # Errors
    /// As [`Self::load`]; or the base is packed.
    pub fn load_merged(model: &Path, adapter: &Path) -> Result<Self> {
        Self::load_on(model, Some(adapter), true, &Placement::default())
    }

    /// As [`Self::load`] or, where `merge` is set, [`Self::load_merged`], to write where `placement` says.
    ///
    /// # Errors
    /// As these; or the GPU that is named cannot be had, has no room for the model, or cannot do it.
    pub fn load_on(
        model: &Path,
        adapter: Option<&Path>,
        merge: bool,
        placement: &Placement,
    ) -> Result<Self> {
        let mut decoder = Decoder::load(model, placement.loading())?;
        if let Some(adapter) = adapter {
            read_adapter(&mut decoder, adapter, false)?;
        }
        if merge {
            decoder.merge_adapter()?;
        }
        let tokenizer = Tokenizer::of(model, adapter)?;
        let mut ends = tokenizer.eos_ids().to_vec();
        for &id in &decoder.description.eos {
            if !ends.contains(&id) {
                ends.push(id);
            }
        }
        Ok(Self {
            description: decoder.description.clone(),
            has_adapter: !decoder.adapter_parameters().is_empty(),
            model: Held::place(decoder, placement)?,
            tokenizer,
            ends,
            defaults: GenerateRequest::of_folder(model)?,
        })
    }

    /// Whether an adapter was loaded and is not merged.
    pub fn has_adapter(&self) -> bool {
        self.has_adapter
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// A request with the settings of the folder's `generation_config.json`: what holds where a caller says nothing.
    pub fn defaults(&self) -> &GenerateRequest {
        &self.defaults
    }

    /// A conversation as a prompt, by the model's chat template. It holds its special tokens itself: generate with
    /// `add_special_tokens` off.
    ///
    /// # Errors
    /// The folder has no template, or the template refuses the conversation.
    pub fn chat_prompt(
        &self,
        conversation: Conversation<'_>,
        ending: Ending<'_>,
    ) -> Result<String> {
        self.chat_prompt_by(None, conversation, ending)
    }

    /// As [`Self::chat_prompt`], by one of the model's templates that is named, or by one that is given whole.
    ///
    /// # Errors
    /// As [`Self::chat_prompt`], and for a word that is neither a name nor a template.
    pub fn chat_prompt_by(
        &self,
        chat_template: Option<&str>,
        conversation: Conversation<'_>,
        ending: Ending<'_>,
    ) -> Result<String> {
        ChatTemplate::asked(&self.tokenizer, chat_template)?.render_ending(conversation, ending)
    }

    /// Writes; `on_text` gets each piece of text as soon as it is certain, and may end the generation. With beams there
    /// is no text before the end: it then gets an empty piece at each step.
    ///
    /// # Errors
    /// The request is out of range, or the prompt is longer than the model's positions.
    pub fn generate(
        &self,
        request: &GenerateRequest,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation> {
        let mut all = self.generate_all(std::slice::from_ref(request), &mut |_, piece| {
            on_text(piece)
        })?;
        Ok(all.swap_remove(0))
    }

    /// Writes several texts at once, token by token together, so that the weights are read once for all of them. Prompts
    /// and settings may differ; each text is what its request alone would give, up to the rounding of larger matrix
    /// products. `on_text` gets the index of the request with each piece. Requests with beams are done one by one, first.
    ///
    /// # Errors
    /// As [`Self::generate`], for the first request that is wrong.
    pub fn generate_all(
        &self,
        requests: &[GenerateRequest],
        on_text: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<Vec<Generation>> {
        with_model!(&self.model, |model| self.write(model, requests, on_text))
    }

    fn write<M: TextModel>(
        &self,
        model: &M,
        requests: &[GenerateRequest],
        on_text: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<Vec<Generation>> {
        let prompts = requests
            .iter()
            .map(|request| self.prompt(request))
            .collect::<Result<Vec<_>>>()?;
        let mut done: Vec<Option<Generation>> = vec![None; requests.len()];
        let mut writings = Vec::new();
        for (index, (request, prompt)) in requests.iter().zip(prompts).enumerate() {
            if request.num_beams > 1 {
                let listen = &mut |piece: &str| on_text(index, piece);
                done[index] = Some(self.search(model, request, &prompt, listen)?);
            } else {
                let stream = TextStream::new(&self.tokenizer, &request.stop);
                writings.push(Writing::new(
                    index,
                    request,
                    prompt,
                    self.limit_of(request),
                    Some(stream),
                ));
            }
        }
        write_all(model, &self.ends, &mut writings, on_text)?;
        for writing in writings {
            let index = writing.index();
            done[index] = Some(writing.into_generation()?);
        }
        Ok(done.into_iter().flatten().collect())
    }

    /// Most tokens that a request asks for; `prompt` has checked that some fit.
    fn limit_of(&self, request: &GenerateRequest) -> impl Fn(usize) -> usize + use<> {
        let (positions, most) = (self.description.max_positions, request.max_new_tokens);
        move |prompt_tokens| most.min(positions - prompt_tokens)
    }

    /// Tokens of a request's prompt.
    fn prompt(&self, request: &GenerateRequest) -> Result<Vec<u32>> {
        request.check()?;
        let mut tokens = self
            .tokenizer
            .encode(&request.prompt, request.add_special_tokens)?;
        if tokens.is_empty() {
            // An empty prompt: the end-of-text token is what stands between two texts.
            tokens.extend(self.ends.first());
        }
        let positions = self.description.max_positions;
        if tokens.is_empty() || tokens.len() >= positions {
            return Err(Error::Input(format!(
                "prompt: has {} tokens; the model takes 1 to {}",
                tokens.len(),
                positions.saturating_sub(1)
            )));
        }
        let vocab = self.description.vocab;
        if let Some(beyond) = tokens.iter().find(|id| **id as usize >= vocab) {
            return Err(Error::Input(format!(
                "prompt: token {beyond} is beyond the model's vocabulary of {vocab}; the tokenizer belongs to another model"
            )));
        }
        Ok(tokens)
    }

    fn search<M: TextModel>(
        &self,
        model: &M,
        request: &GenerateRequest,
        prompt: &[u32],
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation> {
        let search = Search {
            model,
            request,
            ends: &self.ends,
            limit: self.limit_of(request)(prompt.len()),
        };
        let stops = |tokens: &[u32]| -> Result<bool> {
            let text = self.tokenizer.decode(tokens, true)?;
            Ok(request.stop.iter().any(|stop| text.contains(stop.as_str())))
        };
        let begun = Instant::now();
        let found = search.run(prompt, &stops, &mut || on_text("").is_continue())?;
        let ids = found.as_deref().unwrap_or_default();
        let written = match ids.split_last() {
            Some((last, rest)) if self.ends.contains(last) => rest,
            _ => ids,
        };
        let mut text = self.tokenizer.decode(written, true)?;
        let stop = request
            .stop
            .iter()
            .filter_map(|stop| text.find(stop.as_str()))
            .min();
        let finish_reason = match (&found, stop) {
            (None, _) => GenerationEnd::Cancelled,
            (_, Some(at)) => {
                text.truncate(at);
                GenerationEnd::Stop
            }
            _ if ids.last().is_some_and(|last| self.ends.contains(last)) => GenerationEnd::Eos,
            _ => GenerationEnd::Length,
        };
        let _ = on_text(&text);
        Ok(Generation {
            text,
            prompt_tokens: prompt.len(),
            new_tokens: ids.len(),
            finish_reason,
            tokens_per_second: ids.len() as f64 / begun.elapsed().as_secs_f64().max(1e-9),
        })
    }
}

/// Pages share one generator between their requests.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Generator>();
};
