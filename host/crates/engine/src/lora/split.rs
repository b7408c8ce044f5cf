//! Adapters that begin as a part of their layer's weight, which keeps the rest, as PEFT computes them.
//!
//! PiSSA (arXiv 2404.02948) takes the largest singular values. The singular vectors are unique but for their signs (and
//! rotations among equal values), their product is unique: `scale · B A` is the best approximation of the weight by a matrix
//! of that rank. OLoRA (arXiv 2406.01775) takes the first columns of Q and rows of R of a QR decomposition as B and A, unscaled:
//! unique but for their signs too.

use candle_core::{DType, Device, Tensor};
use domain::InitLoraWeights;
use faer::{Mat, MatRef};
use rayon::prelude::*;

use super::Settings;
use crate::model::{Decoder, Linear, Matrix, Parameter, Principal, named_generator, normal};
use crate::{Error, Result, ops};

/// Which part of a weight an adapter begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Split {
    /// The largest singular values, all found exactly.
    Pissa,
    /// The same, approximately: a random projection, made better so many times (arXiv 0909.4061).
    PissaIterations(u32),
    /// The beginning of a QR decomposition.
    Olora,
}

impl Split {
    /// The part that an initialization takes, if it takes one.
    pub(crate) fn of(init: &InitLoraWeights) -> Option<Self> {
        let InitLoraWeights::Named(name) = init else {
            return None;
        };
        if name == "olora" {
            return Some(Self::Olora);
        }
        match name.strip_prefix("pissa")? {
            "" => Some(Self::Pissa),
            rest => rest
                .strip_prefix("_niter_")?
                .parse()
                .ok()
                .map(Self::PissaIterations),
        }
    }
}

/// A and B of a module's weight [out, in] in f32: [r, in] and [out, r], with `scale · B A` the part that is taken.
///
/// The same bits on any number of threads: it runs on one.
///
/// # Errors
/// The weight has fewer singular values than the rank, or a value that is not finite.
pub(crate) fn principal(
    weight: &Tensor,
    module: &str,
    settings: &Settings,
    split: Split,
) -> Result<(Tensor, Tensor)> {
    let (out, input) = weight.dims2()?;
    let (rank, scale) = (settings.rank(module), settings.scale(module));
    let refuse = |message: String| domain::FieldErrors::one("lora.init_lora_weights", message);
    if rank > out.min(input) {
        let message = format!(
            "of {module}: takes {rank} of its weight of {out} x {input}, which has a rank of {} at most; lower lora.r",
            out.min(input)
        );
        return Err(refuse(message).into());
    }
    let values = weight.flatten_all()?.to_vec1::<f32>()?;
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        let message = format!(
            "of {module}: its weight holds {} at element {at}",
            values[at]
        );
        return Err(refuse(message).into());
    }
    // In f64: in f32 the product would lie as far from the exact one as a step of training moves it.
    let values: Vec<f64> = values.into_iter().map(f64::from).collect();
    let weight = MatRef::from_row_major_slice(&values, out, input);
    let failed = || Error::Compute(format!("{module}: its singular values were not found"));
    let scale = f64::from(scale);
    let (left, singular, right) = match split {
        Split::Pissa => {
            let svd = weight.thin_svd().map_err(|_| failed())?;
            parts(svd.U(), svd.S().column_vector().iter(), svd.V(), rank)
        }
        Split::PissaIterations(iterations) => {
            let basis = basis(weight, module, rank, iterations);
            let small = basis.transpose() * weight;
            let svd = small.thin_svd().map_err(|_| failed())?;
            let left = &basis * svd.U();
            parts(left.as_ref(), svd.S().column_vector().iter(), svd.V(), rank)
        }
        Split::Olora => {
            let qr = weight.qr();
            let (q, r) = (qr.compute_thin_Q(), qr.thin_R());
            // A and B as they are: what PiSSA divides by the scale and by the root of each singular value is 1 here.
            parts(q.as_ref(), vec![scale; rank].iter(), r.transpose(), rank)
        }
    };
    let roots = singular.iter().map(|value| (value / scale).sqrt());
    let (mut a, mut b) = (vec![0f32; rank * input], vec![0f32; out * rank]);
    for (k, root) in roots.enumerate() {
        for j in 0..input {
            a[k * input + j] = (root * right[(j, k)]) as f32;
        }
        for i in 0..out {
            b[i * rank + k] = (root * left[(i, k)]) as f32;
        }
    }
    Ok((
        Tensor::from_vec(a, (rank, input), &Device::Cpu)?,
        Tensor::from_vec(b, (out, rank), &Device::Cpu)?,
    ))
}

/// The first `rank` columns of both sides and singular values.
fn parts<'a>(
    left: MatRef<'_, f64>,
    singular: impl Iterator<Item = &'a f64>,
    right: MatRef<'_, f64>,
    rank: usize,
) -> (Mat<f64>, Vec<f64>, Mat<f64>) {
    let first = |side: MatRef<'_, f64>| side.subcols(0, rank).to_owned();
    (
        first(left),
        singular.take(rank).copied().collect(),
        first(right),
    )
}

/// Orthonormal columns that span nearly what the largest singular values do: [out, rank], as `torch.svd_lowrank` finds
/// them. The random start hangs on the module's name alone, so that a folder read again has the same weight left.
fn basis(weight: MatRef<'_, f64>, module: &str, rank: usize, iterations: u32) -> Mat<f64> {
    let input = weight.ncols();
    let draws = normal(&mut named_generator(0, module), input * rank, 1.0);
    let start = Mat::from_fn(input, rank, |i, j| f64::from(draws[i * rank + j]));
    let orthonormal = |x: Mat<f64>| x.qr().compute_thin_Q();
    let mut basis = orthonormal(weight * start);
    for _ in 0..iterations {
        let back = orthonormal(weight.transpose() * basis);
        basis = orthonormal(weight * back);
    }
    basis
}

/// Takes the principal part out of each layer's weight that `chosen` picks, several layers at a time.
///
/// A layer that was split before stays as it is. With settings that are no PiSSA nothing happens.
///
/// # Errors
/// As [`principal`]; or a weight is packed, or was split at another rank or scale.
pub(super) fn split(
    decoder: &mut Decoder,
    settings: &Settings,
    chosen: impl Fn(&Linear) -> bool,
) -> Result<()> {
    let Some(split) = Split::of(&settings.init) else {
        return Ok(());
    };
    let mut linears: Vec<&mut Linear> = decoder.linears_mut().filter(|one| chosen(one)).collect();
    linears
        .par_iter_mut()
        .try_for_each(|linear| split_one(linear, settings, split))
}

fn split_one(linear: &mut Linear, settings: &Settings, split: Split) -> Result<()> {
    let scale = settings.scale(&linear.name);
    if let Some(before) = &linear.principal {
        if before.a.dims()[0] != settings.rank(&linear.name) || before.scale != scale {
            let message = format!("{}: was split at another rank or scale", linear.name);
            return Err(Error::Input(message));
        }
        return Ok(());
    }
    let dtype = match &linear.weight {
        Matrix::Dense(_) => DType::F32,
        Matrix::Half(_) => linear.weight.dtype(),
        Matrix::Packed(_) => {
            let message = "PiSSA and OLoRA take their start out of the base's weights, which a packed base cannot give; leave model.quantize out, and give no GGUF file of packed weights";
            return Err(domain::FieldErrors::one("lora.init_lora_weights", message).into());
        }
    };
    let rest = ops::copy(&linear.weight.dense()?)?;
    let (a, b) = principal(&rest, &linear.name, settings, split)?;
    ops::matmul_into(&rest, &b, &a, -scale, 1.0)?;
    let name = linear.weight.name().to_owned();
    linear.weight = match dtype {
        DType::F32 => Matrix::Dense(Parameter::frozen(name, rest)),
        _ => Matrix::new(name, rest.to_dtype(dtype)?, false)?,
    };
    linear.principal = Some(Principal { a, b, scale });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(init: &str) -> Settings {
        Settings::of_run(&domain::LoraConfig {
            r: 3,
            init_lora_weights: InitLoraWeights::Named(init.into()),
            ..Default::default()
        })
    }

    fn random(rows: usize, columns: usize) -> Tensor {
        let values = normal(&mut named_generator(3, "w"), rows * columns, 1.0);
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
    }

    fn rest(weight: &Tensor, init: &str) -> f32 {
        let settings = settings(init);
        let split = Split::of(&settings.init).unwrap();
        let (a, b) = principal(weight, "m", &settings, split).unwrap();
        let product = (b.matmul(&a).unwrap() * f64::from(settings.scale("m"))).unwrap();
        let rest = (weight - product).unwrap();
        rest.sqr().unwrap().sum_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn iterations_come_near_what_the_exact_way_takes_out() {
        for (rows, columns) in [(40, 24), (24, 40)] {
            let weight = random(rows, columns);
            let exact = rest(&weight, "pissa");
            let (few, many) = (
                rest(&weight, "pissa_niter_1"),
                rest(&weight, "pissa_niter_60"),
            );
            assert!(
                exact < few && (many - exact).abs() < 1e-3 * exact,
                "{exact} {few} {many}"
            );
        }
    }

    #[test]
    fn a_rank_above_that_of_the_weight_is_refused_by_name() {
        for split in [Split::Pissa, Split::Olora] {
            let settings = settings("pissa");
            let message = principal(&random(2, 9), "x.q_proj", &settings, split).unwrap_err();
            assert!(message.to_string().contains("x.q_proj"), "{message}");
        }
    }

    #[test]
    fn olora_begins_with_columns_at_right_angles_and_leaves_a_weight_without_them() {
        for (rows, columns) in [(40, 24), (24, 40)] {
            let (weight, settings) = (random(rows, columns), settings("olora"));
            let (a, b) = principal(&weight, "m", &settings, Split::Olora).unwrap();
            let gram = b.t().unwrap().matmul(&b).unwrap().to_vec2::<f32>().unwrap();
            for (i, row) in gram.iter().enumerate() {
                for (j, value) in row.iter().enumerate() {
                    let expected = f32::from(u8::from(i == j));
                    assert!((value - expected).abs() < 1e-5, "{value} at {i}, {j}");
                }
            }
            // Q Qᵀ W: R are the rows of W seen along the columns of Q.
            let seen = b.t().unwrap().matmul(&weight).unwrap();
            let (got, seen) = (a.flatten_all().unwrap(), seen.flatten_all().unwrap());
            let (got, seen) = (
                got.to_vec1::<f32>().unwrap(),
                seen.to_vec1::<f32>().unwrap(),
            );
            for (got, seen) in got.iter().zip(seen) {
                assert!((got - seen).abs() < 1e-4, "{got} {seen}");
            }
        }
    }

    #[test]
    fn only_the_names_of_peft_split_a_weight() {
        let of = |name: &str| Split::of(&InitLoraWeights::Named(name.into()));
        assert_eq!(of("pissa"), Some(Split::Pissa));
        assert_eq!(of("pissa_niter_16"), Some(Split::PissaIterations(16)));
        assert_eq!(of("olora"), Some(Split::Olora));
        for other in ["gaussian", "pissa_niter_", "pissa_16", "pissa_niter_x"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
