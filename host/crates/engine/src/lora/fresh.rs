//! The tensors of an adapter as it begins.

use candle_core::{Device, Tensor};
use domain::InitLoraWeights;
use faer::Mat;

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
    if matches!(&settings.init, InitLoraWeights::Named(name) if name == "orthogonal") {
        return orthogonal(module, (out, rank, input), seed);
    }
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

/// PEFT's `orthogonal`: the rows of one half of an orthogonal matrix make A, those of the other B, so that `B A` is zero and
/// both get a gradient from the first step on.
fn orthogonal(
    module: &str,
    (out, rank, input): (usize, usize, usize),
    seed: u64,
) -> Result<(Tensor, Tensor)> {
    if !rank.is_multiple_of(2) {
        let message = format!("orthogonal needs an even rank, and that of {module} is {rank}");
        return Err(domain::FieldErrors::one("lora.init_lora_weights", message).into());
    }
    let (name_a, name_b) = names(module);
    let draw = |name: &str, count: usize| normal(&mut named_generator(seed, name), count, 1.0);
    let square = draw(module, rank * rank);
    let square = Mat::from_fn(rank, rank, |i, j| f64::from(square[i * rank + j]));
    let q = square.qr().compute_thin_Q();
    // [n, half] times every other row of Q, from the one with that index on.
    let half = rank / 2;
    let times = |drawn: Vec<f32>, n: usize, first: usize| {
        Mat::from_fn(n, rank, |i, j| {
            let terms = (0..half).map(|k| f64::from(drawn[i * half + k]) * q[(2 * k + first, j)]);
            terms.sum::<f64>() / 10.0
        })
    };
    let a = times(draw(&name_a, input * half), input, 0);
    let b = times(draw(&name_b, out * half), out, 1);
    let flat = |rows: usize, columns: usize, at: &dyn Fn(usize, usize) -> f64| {
        let all = (0..rows).flat_map(|i| (0..columns).map(move |j| at(i, j) as f32));
        Tensor::from_vec(all.collect::<Vec<f32>>(), (rows, columns), &Device::Cpu)
    };
    Ok((
        flat(rank, input, &|i, j| a[(j, i)])?,
        flat(out, rank, &|i, j| b[(i, j)])?,
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
