//! The tensors of an adapter as it begins.

use candle_core::{Device, Tensor};
use domain::InitLoraWeights;

use super::Settings;
use super::names::{lora_bias_name, names};
use crate::Result;
use crate::model::{Parameter, named_generator, normal, uniform};

/// A and B as an adapter begins, of a weight [out, in].
pub(super) fn drawn(
    settings: &Settings,
    module: &str,
    (out, input): (usize, usize),
    seed: u64,
) -> Result<(Tensor, Tensor)> {
    let rank = settings.rank(module);
    let (name_a, name_b) = names(module);
    // PEFT: Kaiming-uniform with a = sqrt(5) is uniform within 1 / sqrt(inputs); `gaussian` has deviation 1 / r.
    let mut generator = named_generator(seed, &name_a);
    let a = match &settings.init {
        InitLoraWeights::Named(_) => normal(&mut generator, rank * input, 1.0 / rank as f64),
        InitLoraWeights::Flag(_) => {
            uniform(&mut generator, rank * input, 1.0 / (input as f64).sqrt())
        }
    };
    let b = match &settings.init {
        InitLoraWeights::Flag(false) => uniform(
            &mut named_generator(seed, &name_b),
            out * rank,
            1.0 / (rank as f64).sqrt(),
        ),
        _ => vec![0.0; out * rank],
    };
    Ok((
        Tensor::from_vec(a, (rank, input), &Device::Cpu)?,
        Tensor::from_vec(b, (out, rank), &Device::Cpu)?,
    ))
}

/// The bias of B as an adapter begins, where it has one: zero, or random where B is.
pub(super) fn drawn_bias(
    settings: &Settings,
    module: &str,
    out: usize,
    seed: u64,
) -> Result<Option<Tensor>> {
    if !settings.lora_bias {
        return Ok(None);
    }
    let bound = 1.0 / (settings.rank(module) as f64).sqrt();
    let values = match &settings.init {
        InitLoraWeights::Flag(false) => uniform(
            &mut named_generator(seed, &lora_bias_name(module)),
            out,
            bound,
        ),
        _ => vec![0.0; out],
    };
    Ok(Some(Tensor::from_vec(values, out, &Device::Cpu)?))
}

/// A tensor of an adapter, copied where it trains.
pub(super) fn parameter(name: String, value: &Tensor, trainable: bool) -> Result<Parameter> {
    match trainable {
        true => Parameter::trainable(name, value),
        false => Ok(Parameter::frozen(name, value.clone())),
    }
}
