//! Modules that an adapter trains and saves whole: PEFT's `modules_to_save`.

use std::path::Path;

use candle_core::{DType, Tensor};

use super::Settings;
use super::fresh::parameter;
use super::names::{HEAD, PREFIX};
use super::target::last_words;
use crate::model::{Decoder, Matrix, Norm, Parameter, SavedLinear, Stored, Weights};
use crate::{Error, Result, ops};

/// Whether a module is among those to save, by PEFT's rule: a name means every module whose path ends in its letters,
/// with all that is in it.
pub(crate) fn saves(names: &[String], module: &str) -> bool {
    let dots = module.match_indices('.').map(|(at, _)| at);
    dots.chain([module.len()]).any(|end| {
        let path = &module[..end];
        names.iter().any(|name| path.ends_with(name.as_str()))
    })
}

/// Whether embedding and head are among the modules to save. Where the head is the embedding (`tied`) and stays it, either
/// name means both.
pub(crate) fn saved_ends(settings: &Settings, embedding: &str, tied: bool) -> [bool; 2] {
    let ends = [embedding, HEAD].map(|end| saves(&settings.modules_to_save, end));
    match settings.ensure_weight_tying && tied && ends.contains(&true) {
        true => [true, true],
        false => ends,
    }
}

/// Gives the adapter its own copies, which begin as the base's, and train.
///
/// # Errors
/// A name matches no module.
pub(super) fn attach(decoder: &mut Decoder, settings: &Settings) -> Result<()> {
    check(decoder, &settings.modules_to_save)
        .map_err(|message| domain::FieldErrors::one("lora.modules_to_save", message))?;
    put(decoder, settings, true, &mut |_, base| {
        Ok(ops::copy(&base.dense()?)?)
    })
}

/// Reads the adapter's copies from the file of its folder.
///
/// # Errors
/// A name matches no module, or a tensor is missing or does not fit.
pub(super) fn read(
    decoder: &mut Decoder,
    folder: &Path,
    weights: &mut Weights,
    settings: &Settings,
    trainable: bool,
) -> Result<()> {
    check(decoder, &settings.modules_to_save).map_err(|message| {
        let message = format!("modules_to_save: {message}");
        Error::file(folder.join("adapter_config.json"), message)
    })?;
    put(decoder, settings, trainable, &mut |name, base| {
        weights.take(name, &base.shape(), DType::F32)
    })?;
    // PEFT saves what is one copy under both names.
    let again = format!("{PREFIX}{HEAD}.weight");
    if decoder.ties_saved && weights.contains(&again) {
        let shape: [usize; 2] = decoder.embedding.shape().into();
        weights.take(&again, &shape, DType::F32)?;
    }
    Ok(())
}

/// Every module with weights of its own.
fn modules(decoder: &Decoder) -> Vec<String> {
    let base = decoder.base();
    let weights = base.iter().map(Stored::name);
    let mut modules: Vec<String> = weights
        .filter_map(|name| name.strip_suffix(".weight").map(str::to_owned))
        .collect();
    if decoder.head.is_none() {
        modules.push(HEAD.to_owned());
    }
    modules
}

fn check(decoder: &Decoder, names: &[String]) -> Result<(), String> {
    let modules = modules(decoder);
    let known = |name: &String| {
        let name = std::slice::from_ref(name);
        modules.iter().any(|module| saves(name, module))
    };
    match names.iter().find(|name| name.is_empty() || !known(name)) {
        None => Ok(()),
        Some(name) => Err(format!(
            "{name:?} names no module; this model has {}",
            last_words(modules.iter().map(String::as_str)).join(", ")
        )),
    }
}

/// What becomes of one tensor: its name in the adapter's file, and the base's own.
type Value<'a> = dyn FnMut(&str, Stored<'_>) -> Result<Tensor> + 'a;

/// Puts a copy beside each module that the names mean, and takes those of all others away.
fn put(
    decoder: &mut Decoder,
    settings: &Settings,
    trainable: bool,
    value: &mut Value<'_>,
) -> Result<()> {
    let chosen = |module: &str| saves(&settings.modules_to_save, module);
    let (embedding, tied) = (decoder.description.names.embedding, decoder.head.is_none());
    let ends = saved_ends(settings, embedding, tied);
    let one = settings.ensure_weight_tying && tied && ends[0];
    let mut table = |module: &str, base: Option<&Matrix>, chosen: bool| match base {
        Some(base) if chosen => {
            matrix(&format!("{module}.weight"), base, trainable, value).map(Some)
        }
        _ => Ok(None),
    };
    let saved_embedding = table(embedding, Some(&decoder.embedding), ends[0])?;
    let saved_head = table(HEAD, Some(decoder.head_weight()), ends[1] && !one)?;
    let positions = decoder.description.names.positions;
    let positions = table(positions, decoder.positions.as_ref(), chosen(positions))?;
    decoder.ties_saved = one;
    decoder.saved_embedding = saved_embedding;
    decoder.saved_head = saved_head;
    decoder.saved_positions = positions;
    for linear in decoder.linears_mut() {
        linear.saved = None;
        if chosen(&linear.name) && linear.lora.is_none() {
            linear.saved = Some(SavedLinear {
                weight: matrix(linear.weight.name(), &linear.weight, trainable, value)?,
                bias: linear
                    .bias
                    .as_ref()
                    .map(|bias| vector(bias, trainable, value))
                    .transpose()?,
            });
        }
    }
    for norm in decoder.norms_mut() {
        norm.saved = None;
        if norm.weight.name.strip_suffix(".weight").is_some_and(chosen) {
            let saved = Norm {
                kind: norm.kind,
                weight: vector(&norm.weight, trainable, value)?,
                bias: norm
                    .bias
                    .as_ref()
                    .map(|bias| vector(bias, trainable, value))
                    .transpose()?,
                eps: norm.eps,
                saved: None,
                own_bias: None,
            };
            norm.saved = Some(Box::new(saved));
        }
    }
    Ok(())
}

fn matrix(name: &str, base: &Matrix, trainable: bool, value: &mut Value<'_>) -> Result<Matrix> {
    let name = format!("{PREFIX}{name}");
    let value = value(&name, Stored::Matrix(base))?;
    Matrix::new(name, value, trainable)
}

fn vector(base: &Parameter, trainable: bool, value: &mut Value<'_>) -> Result<Parameter> {
    let name = format!("{PREFIX}{}", base.name);
    let value = value(&name, Stored::Vector(base))?;
    parameter(name, &value, trainable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_the_modules_whose_path_ends_in_it_and_what_is_in_them() {
        let saves = |name: &str, module: &str| saves(&[name.to_owned()], module);
        let attention = "model.layers.1.self_attn.q_proj";
        assert!(saves("norm", "model.norm"));
        assert!(saves("norm", "model.layers.0.input_layernorm"));
        assert!(saves("q_proj", attention));
        assert!(saves("self_attn", attention));
        assert!(saves("1.self_attn.q_proj", attention));
        assert!(saves("layers.1", attention));
        assert!(!saves("layers.0", attention));
        assert!(!saves("self", attention));
        assert!(!saves("q", attention));
    }
}
