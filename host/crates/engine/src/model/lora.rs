use candle_core::{Device, Tensor};

use super::{Matrix, Parameter, Pass};
use crate::Result;
use crate::ops;

/// The low-rank update of one linear layer (arXiv 2106.09685).
#[derive(Debug)]
pub(crate) struct Lora {
    /// [r, in].
    pub(crate) a: Parameter,
    /// [out, r].
    pub(crate) b: Parameter,
    /// Of B, multiplied by the scale as B is (PEFT's `lora_bias`); never beside `dora`: [out].
    pub(crate) bias: Option<Parameter>,
    pub(crate) scale: f32,
    /// Share of `x` that a training step drops.
    pub(crate) dropout: f64,
    /// There where the update is weight-decomposed.
    pub(crate) dora: Option<Dora>,
}

/// The magnitudes of a weight-decomposed update (DoRA, arXiv 2402.09353), as PEFT computes it: the layer's weight is
/// `m · (W + scale · B A) / ‖W + scale · B A‖`, row by row, and the norm counts as a constant in the backward pass.
#[derive(Debug)]
pub(crate) struct Dora {
    /// [out].
    pub(crate) magnitude: Parameter,
    /// The norms, where the adapter does not train and they stay the same.
    pub(crate) fixed_norms: Option<Tensor>,
}

/// What a decomposed update multiplies by.
#[derive(Debug)]
pub(crate) struct Factors {
    /// Magnitude over norm: [out].
    pub(crate) of_magnitude: Tensor,
    /// 1 over the norm: [out].
    inverse_norms: Tensor,
}

/// What the backward pass of a decomposed update needs.
#[derive(Debug)]
pub(crate) struct Decomposed {
    pub(crate) factors: Factors,
    /// Output of `W + scale · B A` for what dropout left: [T, out].
    pub(crate) product: Tensor,
}

impl Decomposed {
    /// Adds the gradient of the magnitudes and returns `dy` times magnitude over norm: [T, out].
    pub(super) fn backward(&self, lora: &Lora, dy: &Tensor) -> Result<Tensor> {
        let grad = lora
            .dora
            .as_ref()
            .and_then(|dora| dora.magnitude.grad.as_ref());
        if let Some(grad) = grad {
            let dots = Tensor::zeros_like(grad)?;
            ops::column_dots(&dots, dy, &self.product)?;
            let row = |x: &Tensor| x.reshape((1, x.elem_count()));
            ops::columns(&row(grad)?, &row(&dots)?, &self.factors.inverse_norms, true)?;
        }
        let scaled = ops::unwritten_tensor(self.product.dims())?;
        ops::columns(&scaled, dy, &self.factors.of_magnitude, false)?;
        Ok(scaled)
    }

    /// `dy` times magnitude over norm, less `dy`: what goes back through the base's weight beside the plain path.
    pub(super) fn without_base(&self, dy: &Tensor) -> Result<Tensor> {
        let out = ops::unwritten_tensor(self.product.dims())?;
        ops::columns(&out, dy, &(&self.factors.of_magnitude - 1.0)?, false)?;
        Ok(out)
    }
}

/// The seed of the mask of the adapter whose A has this name, in a forward with this seed.
pub(crate) fn mask_seed(name: &str, seed: u64) -> u64 {
    let name = name
        .bytes()
        .fold(0u64, |hash, byte| ops::seed_of(&[hash, u64::from(byte)]));
    ops::seed_of(&[seed, name])
}

impl Lora {
    /// The seed of this layer's mask, where there is one. Each adapter draws its own.
    pub(super) fn mask(&self, pass: Pass) -> Option<u64> {
        let seed = pass.dropout.filter(|_| self.dropout > 0.0)?;
        Some(mask_seed(&self.a.name, seed))
    }

    pub(super) fn dropped(&self, x: &Tensor, pass: Pass) -> Result<Option<Tensor>> {
        self.mask(pass)
            .map(|seed| Ok(ops::dropout(x, self.dropout, seed)?))
            .transpose()
    }

    /// Adds the bias of B to the outputs `y` [T, out], where there is one.
    pub(super) fn add_bias(&self, y: &Tensor) -> Result<()> {
        match &self.bias {
            Some(bias) => Ok(ops::add_bias(y, &(&bias.value * f64::from(self.scale))?)?),
            None => Ok(()),
        }
    }

    /// Adds the gradient of the bias of B, given that of the outputs.
    pub(super) fn add_bias_gradient(&self, dy: &Tensor) -> Result<()> {
        let Some(grad) = self.bias.as_ref().and_then(|bias| bias.grad.as_ref()) else {
            return Ok(());
        };
        let sum = Tensor::zeros_like(grad)?;
        ops::add_row_sum(&sum, dy)?;
        Ok(ops::add_scaled(grad, &sum, self.scale)?)
    }

    /// Rows of `W + scale · B A` have these lengths: [out].
    pub(crate) fn norms(&self, weight: &Matrix) -> Result<Tensor> {
        let mut norms: Vec<f32> = Vec::with_capacity(weight.outputs());
        weight.panels(|from, panel| {
            let updated = ops::copy(panel)?;
            let b = self.b.value.narrow(0, from, panel.dims()[0])?;
            ops::matmul_into(&updated, &b, &self.a.value, self.scale, 1.0)?;
            norms.extend(ops::row_norms(&updated)?.to_vec1::<f32>()?);
            Ok(())
        })?;
        let count = norms.len();
        Ok(Tensor::from_vec(norms, count, &Device::Cpu)?)
    }

    /// As [`Self::norms`] for an embedding [V, H], whose update is `scale · (B A)ᵀ` with A [r, V] and B [H, r]: the lengths
    /// of its columns, [H].
    pub(crate) fn column_norms(&self, table: &Matrix) -> Result<Tensor> {
        let squares = Tensor::zeros(table.shape().1, candle_core::DType::F32, &Device::Cpu)?;
        table.panels(|from, panel| {
            let updated = ops::copy(panel)?;
            let a = self.a.value.narrow(1, from, panel.dims()[0])?;
            ops::matmul_into(&updated, &a.t()?, &self.b.value.t()?, self.scale, 1.0)?;
            Ok(ops::column_dots(&squares, &updated, &updated)?)
        })?;
        Ok(squares.sqrt()?)
    }

    /// What a decomposed update multiplies by; of an update that is not, ones.
    pub(super) fn factors(&self, weight: &Matrix) -> Result<Factors> {
        self.factors_of(|| self.norms(weight))
    }

    /// As [`Self::factors`], with norms found otherwise.
    pub(super) fn factors_of(&self, norms: impl FnOnce() -> Result<Tensor>) -> Result<Factors> {
        let fixed = self.dora.as_ref().and_then(|dora| dora.fixed_norms.clone());
        let norms = match fixed {
            Some(norms) => norms,
            None => norms()?,
        };
        let inverse_norms = norms.recip()?;
        let of_magnitude = match &self.dora {
            Some(dora) => (&dora.magnitude.value * &inverse_norms)?,
            None => inverse_norms.ones_like()?,
        };
        Ok(Factors {
            of_magnitude,
            inverse_norms,
        })
    }

    /// Its tensors.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        let magnitude = self.dora.as_ref().map(|dora| &dora.magnitude);
        let bias = self.bias.as_ref();
        [&self.a, &self.b].into_iter().chain(bias).chain(magnitude)
    }
}
