//! Adapters of embedding and head, as PEFT begins, names and saves them.
//!
//! An adapter of the embedding [V, H] is `lora_embedding_A` [r, V] and `lora_embedding_B` [H, r]. Beside an adapter of
//! either end PEFT saves the weight under it, as `base_layer.weight`.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use domain::InitLoraWeights;

use super::fresh::{drawn, drawn_bias, parameter};
use super::names::{HEAD, PREFIX, lora_bias_name, magnitude_name, names};
use super::{Settings, Split};
use crate::model::{Decoder, Dora, Lora, Matrix, Weights, named_generator, normal};
use crate::{Error, Result};

/// Gives the ends that are among the chosen modules a fresh adapter.
///
/// # Errors
/// PiSSA or OLoRA was asked for on the head, whose weight may be the embedding's.
pub(super) fn attach(
    decoder: &mut Decoder,
    settings: &Settings,
    chosen: &[String],
    seed: u64,
) -> Result<()> {
    let chosen = |module: &str| chosen.iter().any(|name| name == module);
    let embedding = decoder.description.names.embedding;
    decoder.head_lora = None;
    decoder.embedding_lora = None;
    refuse_tied(decoder, settings, chosen(HEAD) || chosen(embedding))
        .map_err(|message| domain::FieldErrors::one("lora.ensure_weight_tying", message))?;
    if chosen(HEAD) {
        if Split::of(&settings.init).is_some() {
            let message = "lm_head cannot begin with PiSSA or OLoRA: its weight may be the embedding's; leave it out, or set lora.init_lora_weights";
            return Err(domain::FieldErrors::one("lora.target_modules", message).into());
        }
        let (a, b) = drawn(settings, HEAD, decoder.head_weight().shape(), seed)?;
        let mut lora = lora(settings, HEAD, names(HEAD), (&a, &b), true)?;
        let bias = drawn_bias(settings, HEAD, decoder.head_weight().outputs(), seed)?;
        lora.bias = bias
            .map(|bias| parameter(lora_bias_name(HEAD), &bias, true))
            .transpose()?;
        let magnitude = fresh_magnitude(settings, || lora.norms(decoder.head_weight()))?;
        decoder.head_lora = Some(with_magnitude(lora, HEAD, magnitude, true, None)?);
    }
    if chosen(embedding) {
        if settings.lora_bias {
            let message =
                format!("of {embedding} is not there in PEFT either; leave one of both out");
            return Err(domain::FieldErrors::one("lora.lora_bias", message).into());
        }
        let (vocab, hidden) = decoder.embedding.shape();
        let rank = settings.rank(embedding);
        let [name_a, name_b] = embedding_names(embedding);
        // PEFT: A is zero and B normal, whatever the word; with `false` both are normal.
        let draw = |name: &str, count: usize| normal(&mut named_generator(seed, name), count, 1.0);
        let a = match &settings.init {
            InitLoraWeights::Flag(false) => draw(&name_a, rank * vocab),
            _ => vec![0.0; rank * vocab],
        };
        let b = draw(&name_b, hidden * rank);
        let a = Tensor::from_vec(a, (rank, vocab), &Device::Cpu)?;
        let b = Tensor::from_vec(b, (hidden, rank), &Device::Cpu)?;
        let lora = lora(settings, embedding, (name_a, name_b), (&a, &b), true)?;
        let magnitude = fresh_magnitude(settings, || lora.column_norms(&decoder.embedding))?;
        decoder.embedding_lora = Some(with_magnitude(lora, embedding, magnitude, true, None)?);
    }
    Ok(())
}

/// Reads the adapters of the ends that a file holds.
///
/// # Errors
/// A tensor does not fit the model, or the weight saved beside it is another one than the model's.
pub(super) fn read(
    decoder: &mut Decoder,
    path: &Path,
    weights: &mut Weights,
    settings: &Settings,
    trainable: bool,
) -> Result<()> {
    decoder.head_lora = None;
    decoder.embedding_lora = None;
    let (vocab, hidden) = decoder.embedding.shape();
    let (head_a, head_b) = names(HEAD);
    let [embedding_a, _] = embedding_names(decoder.description.names.embedding);
    let adapted = weights.contains(&head_a) || weights.contains(&embedding_a);
    refuse_tied(decoder, settings, adapted)
        .map_err(|message| Error::file(path, format!("ensure_weight_tying {message}")))?;
    if weights.contains(&head_a) || weights.contains(&head_b) {
        let rank = settings.rank(HEAD);
        let a = weights.take(&head_a, &[rank, hidden], DType::F32)?;
        let b = weights.take(&head_b, &[vocab, rank], DType::F32)?;
        let mut lora = lora(settings, HEAD, (head_a, head_b), (&a, &b), trainable)?;
        if settings.lora_bias {
            let name = lora_bias_name(HEAD);
            let bias = weights.take(&name, &[vocab], DType::F32)?;
            lora.bias = Some(parameter(name, &bias, trainable)?);
        }
        let magnitude = read_magnitude(weights, settings, HEAD, vocab)?;
        let norms = match (&magnitude, trainable) {
            (Some(_), false) => Some(lora.norms(decoder.head_weight())?),
            _ => None,
        };
        decoder.head_lora = Some(with_magnitude(lora, HEAD, magnitude, trainable, norms)?);
        check_base(path, weights, HEAD, decoder.head_weight())?;
    }
    let embedding = decoder.description.names.embedding;
    let [name_a, name_b] = embedding_names(embedding);
    if weights.contains(&name_a) || weights.contains(&name_b) {
        let rank = settings.rank(embedding);
        let a = weights.take(&name_a, &[rank, vocab], DType::F32)?;
        let b = weights.take(&name_b, &[hidden, rank], DType::F32)?;
        let lora = lora(settings, embedding, (name_a, name_b), (&a, &b), trainable)?;
        let magnitude = read_magnitude(weights, settings, embedding, hidden)?;
        let norms = match (&magnitude, trainable) {
            (Some(_), false) => Some(lora.column_norms(&decoder.embedding)?),
            _ => None,
        };
        let lora = with_magnitude(lora, embedding, magnitude, trainable, norms)?;
        decoder.embedding_lora = Some(lora);
        check_base(path, weights, embedding, &decoder.embedding)?;
    }
    Ok(())
}

/// Two adapters of one weight that are to stay one are an option of PEFT's that is not done.
fn refuse_tied(decoder: &Decoder, settings: &Settings, adapted: bool) -> Result<(), String> {
    match settings.ensure_weight_tying && decoder.head.is_none() && adapted {
        true => Err("is not supported where target_modules name embedding or head; modules_to_save or trainable_token_indices may".into()),
        false => Ok(()),
    }
}

fn lora(
    settings: &Settings,
    module: &str,
    names: (String, String),
    (a, b): (&Tensor, &Tensor),
    trainable: bool,
) -> Result<Lora> {
    Ok(Lora {
        a: parameter(names.0, a, trainable)?,
        b: parameter(names.1, b, trainable)?,
        bias: None,
        scale: settings.scale(module),
        dropout: settings.lora_dropout,
        dora: None,
    })
}

fn fresh_magnitude(
    settings: &Settings,
    norms: impl FnOnce() -> Result<Tensor>,
) -> Result<Option<Tensor>> {
    settings.use_dora.then(norms).transpose()
}

fn read_magnitude(
    weights: &mut Weights,
    settings: &Settings,
    module: &str,
    len: usize,
) -> Result<Option<Tensor>> {
    let name = magnitude_name(module);
    let mut take = || weights.take(&name, &[len], DType::F32);
    settings.use_dora.then(&mut take).transpose()
}

fn with_magnitude(
    mut lora: Lora,
    module: &str,
    magnitude: Option<Tensor>,
    trainable: bool,
    fixed_norms: Option<Tensor>,
) -> Result<Lora> {
    if let Some(magnitude) = magnitude {
        lora.dora = Some(Dora {
            magnitude: parameter(magnitude_name(module), &magnitude, trainable)?,
            fixed_norms,
        });
    }
    Ok(lora)
}

/// Refuses an adapter that was trained over another weight than the model's, which PEFT would put in the model's place.
fn check_base(path: &Path, weights: &mut Weights, module: &str, own: &Matrix) -> Result<()> {
    let name = base_name(module);
    if !weights.contains(&name) {
        return Ok(());
    }
    let (rows, columns) = own.shape();
    let refuse = || {
        let message = format!(
            "holds a weight of {module} that is not the model's (it was trained over another model); give the model that it was trained over"
        );
        Err(Error::file(path, message))
    };
    if weights.shape(&name) != Some(&[rows, columns]) {
        return refuse();
    }
    let theirs = weights.take(&name, &[rows, columns], DType::F32)?;
    let rounding = match own {
        Matrix::Dense(_) => 1e-2,
        Matrix::Half(_) => 2e-2,
        // What packing makes of a weight is no measure of whose it is.
        Matrix::Packed(_) => return Ok(()),
    };
    let ours = own.dense()?;
    let norm = |x: &Tensor| crate::ops::squared_norm(x);
    let difference = norm(&(&theirs - &ours)?.contiguous()?)?;
    match difference.sqrt() <= rounding * norm(&ours)?.sqrt() {
        true => Ok(()),
        false => refuse(),
    }
}

fn base_name(module: &str) -> String {
    format!("{PREFIX}{module}.base_layer.weight")
}

fn embedding_names(module: &str) -> [String; 2] {
    ["A", "B"].map(|letter| format!("{PREFIX}{module}.lora_embedding_{letter}"))
}
