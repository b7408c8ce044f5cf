//! Biases that train with an adapter: PEFT's `bias`.

use candle_core::{DType, Tensor};
use domain::LoraBias;

use super::Settings;
use super::fresh::parameter;
use super::names::PREFIX;
use crate::model::{Decoder, Parameter, Weights};
use crate::{Result, ops};

/// Gives the adapter biases of its own, which begin as the base's and train.
pub(super) fn attach(decoder: &mut Decoder, settings: &Settings) -> Result<()> {
    put(decoder, settings, true, &mut |_, base| {
        Ok(ops::copy(&base.value)?)
    })
}

/// Reads the adapter's biases from its file.
///
/// # Errors
/// A tensor is missing or does not fit.
pub(super) fn read(
    decoder: &mut Decoder,
    weights: &mut Weights,
    settings: &Settings,
    trainable: bool,
) -> Result<()> {
    put(decoder, settings, trainable, &mut |name, base| {
        weights.take(name, base.value.dims(), DType::F32)
    })
}

/// The name of a linear layer's bias in an adapter's file: under LoRA it belongs to what that lies over.
pub(crate) fn bias_name(module: &str, adapted: bool) -> String {
    match adapted {
        true => format!("{PREFIX}{module}.base_layer.bias"),
        false => format!("{PREFIX}{module}.bias"),
    }
}

/// What becomes of one bias: its name in the adapter's file, and the base's own.
type Value<'a> = dyn FnMut(&str, &Parameter) -> Result<Tensor> + 'a;

/// Puts a bias beside each that `bias` means, and takes all others away. A module that is saved whole has its own already.
fn put(
    decoder: &mut Decoder,
    settings: &Settings,
    trainable: bool,
    value: &mut Value<'_>,
) -> Result<()> {
    let mut own = |name: String, base: &Parameter| -> Result<Option<Parameter>> {
        let value = value(&name, base)?;
        parameter(name, &value, trainable).map(Some)
    };
    for linear in decoder.linears_mut() {
        let adapted = linear.lora.is_some();
        let trains = match settings.bias {
            LoraBias::None => false,
            LoraBias::LoraOnly => adapted,
            LoraBias::All => linear.saved.is_none(),
        };
        linear.own_bias = match linear.bias.as_ref().filter(|_| trains) {
            Some(base) => own(bias_name(&linear.name, adapted), base)?,
            None => None,
        };
    }
    for norm in decoder.norms_mut() {
        let trains = settings.bias == LoraBias::All && norm.saved.is_none();
        norm.own_bias = match norm.bias.as_ref().filter(|_| trains) {
            Some(base) => own(format!("{PREFIX}{}", base.name), base)?,
            None => None,
        };
    }
    Ok(())
}
