use candle_core::Tensor;

use super::{Parameter, Pass};
use crate::Result;
use crate::ops;

/// How the rows of a layer's input are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// Root mean square, times the weight.
    Rms,
    /// Root mean square, times one plus the weight (Gemma).
    RmsPlusOne,
    /// Mean and variance, times the weight, plus a bias.
    Layer,
}

/// A norm over the last dimension.
#[derive(Debug)]
pub(crate) struct Norm {
    pub(crate) kind: NormKind,
    /// [N].
    pub(crate) weight: Parameter,
    /// [N]; there with [`NormKind::Layer`] alone.
    pub(crate) bias: Option<Parameter>,
    pub(crate) eps: f32,
    /// An adapter's own copy of it, where it trains it whole (PEFT's `modules_to_save`).
    pub(crate) saved: Option<Box<Norm>>,
    /// An adapter's own bias, where it trains the biases of all modules (PEFT's `bias`).
    pub(crate) own_bias: Option<Parameter>,
}

impl Norm {
    /// The norm of every row of `x` [.., N].
    pub(crate) fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let norm = self.in_use(pass);
        let weight = norm.factors()?;
        Ok(match self.bias_in_use(pass) {
            Some(bias) => ops::layer_norm(x, &weight, &bias.value, norm.eps)?,
            None => ops::rms_norm(x, &weight, norm.eps)?,
        })
    }

    /// Adds to `dx` the gradient of the input `x`, given the gradient `dy` of the output, and the gradients of what
    /// trains.
    pub(crate) fn backward(&self, dx: &Tensor, x: &Tensor, dy: &Tensor, pass: Pass) -> Result<()> {
        let norm = self.in_use(pass);
        let (weight, eps) = (norm.factors()?, norm.eps);
        match self.bias_in_use(pass) {
            Some(bias) => {
                ops::layer_norm_backward(dx, x, &weight, dy, eps)?;
                if let Some(grad) = &bias.grad {
                    ops::add_row_sum(grad, dy)?;
                }
                if let Some(grad) = &norm.weight.grad {
                    ops::layer_norm_weight_gradient(grad, x, dy, eps)?;
                }
            }
            None => {
                ops::rms_norm_backward(dx, x, &weight, dy, eps)?;
                if let Some(grad) = &norm.weight.grad {
                    ops::rms_norm_weight_gradient(grad, x, dy, eps)?;
                }
            }
        }
        Ok(())
    }

    /// Whether something in it trains.
    pub(crate) fn trains(&self) -> bool {
        let mut all = self.parameters().chain(self.saved_parameters());
        all.any(|parameter| parameter.grad.is_some())
    }

    fn in_use(&self, pass: Pass) -> &Norm {
        let saved = self.saved.as_deref().filter(|_| pass.adapter);
        saved.unwrap_or(self)
    }

    fn bias_in_use(&self, pass: Pass) -> Option<&Parameter> {
        let own = self.own_bias.as_ref().filter(|_| pass.adapter);
        own.or(self.in_use(pass).bias.as_ref())
    }

    /// The tensors of the adapter's own copy.
    pub(crate) fn saved_parameters(&self) -> impl Iterator<Item = &Parameter> {
        let saved = self.saved.iter().flat_map(|saved| saved.parameters());
        saved.chain(&self.own_bias)
    }

    /// Its tensors.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        std::iter::once(&self.weight).chain(&self.bias)
    }

    fn factors(&self) -> Result<Tensor> {
        Ok(match self.kind {
            NormKind::RmsPlusOne => (&self.weight.value + 1.0)?,
            NormKind::Rms | NormKind::Layer => self.weight.value.clone(),
        })
    }
}
