use std::path::Path;

use candle_core::{DType, Tensor};
use domain::LoraConfig;

use super::fresh::{drawn, drawn_bias, parameter};
use super::names::{HEAD, lora_bias_name, magnitude_name, names};
use super::target::targets;
use super::{Settings, biases, ends, split, tokens, vocabulary, whole};
use crate::model::{Decoder, Dora, Linear, Lora, Weights};
use crate::{Error, Result, ops};

/// Gives the layers that the settings choose a fresh adapter, drawn from `seed`.
///
/// # Errors
/// The settings choose no layer, or name what is not there.
pub(crate) fn attach(decoder: &mut Decoder, settings: &Settings, seed: u64) -> Result<()> {
    let modules: Vec<&str> = decoder
        .linears()
        .map(|linear| linear.name.as_str())
        .collect();
    let ends = [decoder.description.names.embedding, HEAD];
    let chosen = targets(settings, &modules, &ends)
        .map_err(|message| domain::FieldErrors::one("lora", message))?;
    split::split(decoder, settings, |linear| chosen.contains(&linear.name))?;
    for linear in decoder
        .linears_mut()
        .filter(|linear| chosen.contains(&linear.name))
    {
        let (a, b) = match &linear.principal {
            Some(principal) => (ops::copy(&principal.a)?, ops::copy(&principal.b)?),
            None => drawn(settings, &linear.name, linear.weight.shape(), seed)?,
        };
        let bias = drawn_bias(settings, &linear.name, linear.weight.outputs(), seed)?;
        put(linear, settings, (&a, &b, bias.as_ref()), true)?;
        if settings.use_dora {
            // As PEFT: the magnitudes begin as the norms, so that a fresh adapter changes nothing.
            let norms = norms_of(linear)?;
            put_magnitude(linear, &norms, true)?;
        }
    }
    ends::attach(decoder, settings, &chosen, seed)?;
    whole::attach(decoder, settings)?;
    tokens::attach(decoder, settings)?;
    biases::attach(decoder, settings)
}

/// Which setting of a run, by its name in a RUN.toml, asks for another adapter than the one that was read into the model;
/// `None` where it is the same.
pub(crate) fn differing(
    decoder: &Decoder,
    read: &Settings,
    run: &LoraConfig,
) -> Option<&'static str> {
    let asked = Settings::of_run(run);
    let pairs = [
        ("lora.r", asked.r != read.r),
        ("lora.lora_alpha", asked.lora_alpha != read.lora_alpha),
        ("lora.lora_dropout", asked.lora_dropout != read.lora_dropout),
        ("lora.use_rslora", asked.use_rslora != read.use_rslora),
        ("lora.use_dora", asked.use_dora != read.use_dora),
        ("lora.rank_pattern", asked.rank_pattern != read.rank_pattern),
        (
            "lora.alpha_pattern",
            asked.alpha_pattern != read.alpha_pattern,
        ),
        (
            "lora.modules_to_save",
            asked.modules_to_save != read.modules_to_save,
        ),
        ("lora.init_lora_weights", asked.init != read.init),
        ("lora.bias", asked.bias != read.bias),
        ("lora.lora_bias", asked.lora_bias != read.lora_bias),
        (
            "lora.ensure_weight_tying",
            asked.ensure_weight_tying != read.ensure_weight_tying,
        ),
        (
            "lora.trainable_token_indices",
            asked.trainable_token_indices != read.trainable_token_indices,
        ),
    ];
    let named = pairs
        .iter()
        .find_map(|(name, differs)| differs.then_some(*name));
    // Whatever words choose them, the same modules are the same adapter.
    let linears: Vec<&Linear> = decoder.linears().collect();
    let modules: Vec<&str> = linears.iter().map(|linear| linear.name.as_str()).collect();
    let embedding = decoder.description.names.embedding;
    let adapted = linears.iter().filter(|linear| linear.lora.is_some());
    let mut adapted: Vec<&str> = adapted.map(|linear| linear.name.as_str()).collect();
    adapted.extend(decoder.embedding_lora.as_ref().map(|_| embedding));
    adapted.extend(decoder.head_lora.as_ref().map(|_| HEAD));
    let chosen = targets(&asked, &modules, &[embedding, HEAD]);
    let same = chosen.is_ok_and(|chosen| chosen == adapted);
    named.or((!same).then_some("lora.target_modules"))
}

/// Reads a PEFT folder into the model and returns its settings.
///
/// # Errors
/// The folder is no PEFT folder, is damaged, asks for what is not supported, or does not fit the model.
pub(crate) fn read_adapter(
    decoder: &mut Decoder,
    folder: &Path,
    trainable: bool,
) -> Result<Settings> {
    let settings = Settings::read(folder)?;
    read_tensors(decoder, folder, &settings, trainable)?;
    Ok(settings)
}

/// Reads `adapter_model.safetensors` into the model, under settings that are known already.
fn read_tensors(
    decoder: &mut Decoder,
    folder: &Path,
    settings: &Settings,
    trainable: bool,
) -> Result<()> {
    let path = folder.join("adapter_model.safetensors");
    if !path.is_file() {
        let pickle = folder.join("adapter_model.bin");
        return Err(match pickle.is_file() {
            true => crate::model::weights::refuse_pickle(&pickle),
            false => Error::file(&path, "is missing"),
        });
    }
    let mut weights = Weights::open(std::slice::from_ref(&path))?;
    vocabulary::read(decoder, &path, &mut weights, settings)?;
    split::split(decoder, settings, |linear| {
        weights.contains(&names(&linear.name).0)
    })?;
    for linear in decoder.linears_mut() {
        let (name_a, name_b) = names(&linear.name);
        if !weights.contains(&name_a) && !weights.contains(&name_b) {
            linear.lora = None;
            continue;
        }
        let (out, input) = linear.weight.shape();
        let rank = settings.rank(&linear.name);
        let fits = weights.shape(&name_a) == Some(&[rank, input])
            && weights.shape(&name_b) == Some(&[out, rank]);
        if !fits {
            let message = format!(
                "the adapter of {} has A {:?} and B {:?}, but this model and r = {rank} call for {:?} and {:?}",
                linear.name,
                weights.shape(&name_a).unwrap_or_default(),
                weights.shape(&name_b).unwrap_or_default(),
                [rank, input],
                [out, rank],
            );
            return Err(Error::file(&path, message));
        }
        let a = weights.take(&name_a, &[rank, input], DType::F32)?;
        let b = weights.take(&name_b, &[out, rank], DType::F32)?;
        let name = lora_bias_name(&linear.name);
        let mut bias = || weights.take(&name, &[out], DType::F32);
        let bias = settings.lora_bias.then(&mut bias).transpose()?;
        put(linear, settings, (&a, &b, bias.as_ref()), trainable)?;
        if settings.use_dora {
            let name = magnitude_name(&linear.name);
            let magnitude = weights.take(&name, &[out], DType::F32)?;
            put_magnitude(linear, &magnitude, trainable)?;
        }
    }
    ends::read(decoder, &path, &mut weights, settings, trainable)?;
    whole::read(decoder, folder, &mut weights, settings, trainable)?;
    tokens::read(decoder, folder, &mut weights, settings, trainable)?;
    biases::read(decoder, &mut weights, settings, trainable)?;
    if decoder.adapter_parameters().is_empty() {
        return Err(Error::file(&path, "holds no adapter for this model"));
    }
    weights.finish(vocabulary::repeats)
}

fn put(
    linear: &mut Linear,
    settings: &Settings,
    (a, b, bias): (&Tensor, &Tensor, Option<&Tensor>),
    trainable: bool,
) -> Result<()> {
    let (name_a, name_b) = names(&linear.name);
    let bias = bias.map(|bias| parameter(lora_bias_name(&linear.name), bias, trainable));
    linear.lora = Some(Lora {
        a: parameter(name_a, a, trainable)?,
        b: parameter(name_b, b, trainable)?,
        bias: bias.transpose()?,
        scale: settings.scale(&linear.name),
        dropout: settings.lora_dropout,
        dora: None,
    });
    Ok(())
}

fn put_magnitude(linear: &mut Linear, magnitude: &Tensor, trainable: bool) -> Result<()> {
    let dora = Dora {
        magnitude: parameter(magnitude_name(&linear.name), magnitude, trainable)?,
        fixed_norms: match trainable {
            true => None,
            false => Some(norms_of(linear)?),
        },
    };
    if let Some(lora) = &mut linear.lora {
        lora.dora = Some(dora);
    }
    Ok(())
}

fn norms_of(linear: &Linear) -> Result<Tensor> {
    let lora = linear.lora.as_ref().expect("an adapter was just put there");
    lora.norms(&linear.weight)
}
