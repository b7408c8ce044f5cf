//! An adapter over a base whose vocabulary was changed before it was trained (`resize_token_embeddings`).
//!
//! Beside such an adapter PEFT saves embedding and head of that base (`save_embedding_layers`). They are put in the place of
//! the model's own, as PEFT does it, and the model then has the adapter's number of tokens.

use std::path::Path;

use candle_core::{DType, Tensor};

use super::names::{HEAD, PREFIX};
use super::{Settings, saved_ends};
use crate::model::{Decoder, Description, Matrix, Weights};
use crate::{Error, Result};

/// What holds the base's weight under a module of `modules_to_save`, under LoRA, and under tokens that train.
const UNDER_SAVED: &str = "original_module";
const UNDER_LORA: &str = "base_layer";
const UNDER_TOKENS: &str = "token_adapter.base_layer";

/// Whether a tensor says what another one says, or the base: PEFT saves modules of `modules_to_save` twice where it saves the
/// embeddings or all biases too.
pub(crate) fn repeats(name: &str) -> bool {
    let (_, kind) = name.rsplit_once(".modules_to_save").unwrap_or_default();
    matches!(kind, ".weight" | ".bias") || name.ends_with(".original_module.bias")
}

/// The tensor of an adapter's file that takes the place of the base's weight of embedding or head: what lies under LoRA
/// only where the vocabulary was `resized`, elsewhere it is compared. What a `saved` module has by its own name is the
/// adapter's.
fn base_tensor(weights: &Weights, module: &str, saved: bool, resized: bool) -> Option<String> {
    let mut places = vec![UNDER_SAVED, UNDER_TOKENS];
    if resized {
        places.push(UNDER_LORA);
    }
    let mut names = places.into_iter().map(|place| under(module, place));
    let own = format!("{PREFIX}{module}.weight");
    let frozen = !saved && weights.contains(&own);
    names
        .find(|name| weights.contains(name))
        .or(frozen.then_some(own))
}

/// The name of the weight under what an adapter puts in its place.
fn under(module: &str, place: &str) -> String {
    format!("{PREFIX}{module}.{place}.weight")
}

/// Tokens of the model that an adapter was trained over, where its file says so.
///
/// # Errors
/// Two of its tensors say different numbers.
fn token_count(weights: &Weights, embedding: &str) -> Result<Option<usize>, String> {
    let mut found: Option<(String, usize)> = None;
    for module in [embedding, HEAD] {
        let places = [UNDER_SAVED, UNDER_LORA, UNDER_TOKENS];
        let under = places.map(|place| (format!("{place}.weight"), 0));
        let of_module = [("weight".to_owned(), 0), ("lora_embedding_A".to_owned(), 1)];
        // The head's alone has a row for each token.
        let of_head = [("lora_B.weight".to_owned(), 0)];
        let of_head = of_head.into_iter().filter(|_| module == HEAD);
        for (kind, axis) in under.into_iter().chain(of_module).chain(of_head) {
            let name = format!("{PREFIX}{module}.{kind}");
            let Some(&rows) = weights.shape(&name).and_then(|shape| shape.get(axis)) else {
                continue;
            };
            match &found {
                Some((first, other)) if *other != rows => {
                    return Err(format!(
                        "{name} is of {rows} tokens, but {first} is of {other}"
                    ));
                }
                Some(_) => {}
                None => found = Some((name, rows)),
            }
        }
    }
    Ok(found.map(|(_, rows)| rows))
}

/// What an adapter's file says of the embedding and the head of the base that it was trained over.
#[derive(Debug, Clone)]
pub(crate) struct BaseEnds {
    /// Tokens of that base.
    pub(crate) tokens: usize,
    /// The tensors that take the places of embedding and head; where both are one weight, one tensor.
    pub(crate) held: [Option<String>; 2],
    /// Whether the file holds them for their own sake, not under LoRA alone.
    pub(crate) replaced: bool,
    /// Which of them the adapter has whole.
    pub(crate) saved: [bool; 2],
}

impl BaseEnds {
    /// Of an adapter for a model of `vocab` tokens whose head may be its embedding (`tied`).
    ///
    /// # Errors
    /// The vocabulary was changed, and the file does not hold what that made of the base.
    pub(crate) fn of(
        settings: &Settings,
        weights: &Weights,
        embedding: &str,
        vocab: usize,
        tied: bool,
    ) -> Result<Self, String> {
        let tokens = token_count(weights, embedding)?.unwrap_or(vocab);
        let resized = tokens != vocab;
        let ends = [embedding, HEAD];
        let saved = saved_ends(settings, embedding, tied);
        let held = |resized| [0, 1].map(|end| base_tensor(weights, ends[end], saved[end], resized));
        let replaced = held(false).iter().any(Option::is_some);
        let mut held = held(resized);
        if tied {
            let one = held[0].clone().or(held[1].clone());
            held = [one.clone(), one];
        }
        for (at, end) in ends.iter().enumerate() {
            // Of an end that the adapter has whole, the base's is seen where the adapter is off alone.
            let has_own = if tied {
                saved[0] && saved[1]
            } else {
                saved[at]
            };
            if resized && held[at].is_none() && !has_own {
                return Err(format!(
                    "is of a base with {tokens} tokens, where the model has {vocab}, and does not hold that base's {end}; save it with save_pretrained(..., save_embedding_layers=True), or give the model that it was trained over"
                ));
            }
        }
        Ok(Self {
            tokens,
            held,
            replaced,
            saved,
        })
    }
}

/// Puts embedding and head of an adapter's file, where it holds them, in the place of the model's.
///
/// # Errors
/// As [`BaseEnds::of`]; or a tensor does not fit.
pub(super) fn read(
    decoder: &mut Decoder,
    path: &Path,
    weights: &mut Weights,
    settings: &Settings,
) -> Result<()> {
    let description = &decoder.description;
    let (embedding, vocab) = (description.names.embedding, description.vocab);
    let tied = decoder.head.is_none();
    let ends = BaseEnds::of(settings, weights, embedding, vocab, tied)
        .map_err(|message| Error::file(path, message))?;
    decoder.replaced_ends = ends.replaced;
    let resized = ends.tokens != vocab;
    if !resized && !ends.replaced {
        return Ok(());
    }
    let shape = [ends.tokens, description.hidden];
    let mut put = |own: &Matrix, name: &Option<String>| -> Result<Matrix> {
        let value = match name {
            Some(name) => weights.take(name, &shape, DType::F32)?,
            None => with_rows(own, ends.tokens)?,
        };
        let name = own.name().to_owned();
        match own {
            Matrix::Half(_) => Matrix::new(name, value.to_dtype(own.dtype())?, false),
            Matrix::Dense(_) | Matrix::Packed(_) => Matrix::new(name, value, false),
        }
    };
    let own = put(&decoder.embedding, &ends.held[0])?;
    let head = decoder.head.as_ref();
    let head = head.map(|head| put(head, &ends.held[1])).transpose()?;
    decoder.embedding = own;
    decoder.head = head;
    // The same weight by its other name.
    if tied && let Some(name) = base_tensor(weights, HEAD, ends.saved[1], resized) {
        weights.take(&name, &shape, DType::F32)?;
    }
    decoder.description.vocab = ends.tokens;
    Ok(())
}

/// A weight with another number of rows: those beyond the old ones are the mean of these, as Transformers makes them but for
/// a noise of a billionth of their covariance.
fn with_rows(own: &Matrix, rows: usize) -> Result<Tensor> {
    let old = own.dense()?;
    let (before, hidden) = old.dims2()?;
    if rows <= before {
        return Ok(crate::ops::copy(&old.narrow(0, 0, rows)?)?);
    }
    let mean = old.mean_keepdim(0)?;
    let fresh = mean.broadcast_as((rows - before, hidden))?.contiguous()?;
    Ok(Tensor::cat(&[&old, &fresh], 0)?)
}

/// What is saved beside the tensors that train: embedding and head of the base under an adapter that changes them or came with
/// its own, and a copy of both by its second name.
pub(super) fn saved_beside(decoder: &Decoder) -> Result<Vec<(String, Tensor)>> {
    let embedding = decoder.description.names.embedding;
    let mut saved = Vec::new();
    let mut put = |module: &str, place: Option<&str>, weight: &Matrix| -> Result<()> {
        let name = match place {
            Some(place) => under(module, place),
            None => format!("{PREFIX}{module}.weight"),
        };
        saved.push((name, weight.dense()?));
        Ok(())
    };
    let place = |saved: bool, lora: bool, tokens: bool| {
        let places = [
            (saved, UNDER_SAVED),
            (lora, UNDER_LORA),
            (tokens, UNDER_TOKENS),
        ];
        places.iter().find_map(|(is, place)| is.then_some(*place))
    };
    let lora = decoder.embedding_lora.is_some();
    if lora || decoder.replaced_ends {
        let (saved, tokens) = (&decoder.saved_embedding, &decoder.embedding_tokens);
        let place = place(saved.is_some(), lora, tokens.is_some());
        put(embedding, place, &decoder.embedding)?;
    }
    let lora = decoder.head_lora.is_some();
    // A head that stays one with the embedding is in the file by the embedding's name alone.
    let one = decoder.tokens_are_tied() || decoder.ties_saved;
    if lora || (decoder.replaced_ends && !one) {
        let (saved, tokens) = (&decoder.saved_head, &decoder.head_tokens);
        let place = place(saved.is_some(), lora, tokens.is_some());
        put(HEAD, place, decoder.head_weight())?;
    }
    // One copy is in the file by both names, which PEFT asks for.
    if let Some(copy) = decoder
        .saved_embedding
        .as_ref()
        .filter(|_| decoder.ties_saved)
    {
        put(HEAD, None, copy)?;
    }
    Ok(saved)
}

/// What the file of an adapter's folder says of embedding and head of its base; `None` where there is no file.
///
/// # Errors
/// As [`BaseEnds::of`], or the file cannot be read.
pub(crate) fn base_ends(
    folder: &Path,
    settings: &Settings,
    model: &Description,
) -> Result<Option<BaseEnds>> {
    let path = folder.join("adapter_model.safetensors");
    if !path.is_file() {
        return Ok(None);
    }
    let weights = Weights::open(std::slice::from_ref(&path))?;
    BaseEnds::of(
        settings,
        &weights,
        model.names.embedding,
        model.vocab,
        model.tied_head,
    )
    .map(Some)
    .map_err(|message| Error::file(&path, message))
}

/// Tokens of the model that the adapter of a folder was trained over, where its file says so.
///
/// # Errors
/// The file is there and cannot be read, or says two numbers.
pub(crate) fn vocabulary_of(folder: &Path) -> Result<Option<usize>> {
    let path = folder.join("adapter_model.safetensors");
    if !path.is_file() {
        return Ok(None);
    }
    let weights = Weights::open(std::slice::from_ref(&path))?;
    let embeddings = ["model.embed_tokens", "transformer.wte"].into_iter();
    let mut found = embeddings.map(|embedding| token_count(&weights, embedding));
    let none = Ok(None);
    let known = found.find(|found| *found != none).unwrap_or(none);
    known.map_err(|message| Error::file(&path, message))
}
