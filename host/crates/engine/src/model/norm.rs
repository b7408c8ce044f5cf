use candle_core::Tensor;

use super::Parameter;
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
}

impl Norm {
    /// The norm of every row of `x` [.., N].
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = self.factors()?;
        Ok(match &self.bias {
            Some(bias) => ops::layer_norm(x, &weight, &bias.value, self.eps)?,
            None => ops::rms_norm(x, &weight, self.eps)?,
        })
    }

    /// Adds to `dx` the gradient of the input `x`, given the gradient `dy` of the output, and the gradients of what
    /// trains.
    pub(crate) fn backward(&self, dx: &Tensor, x: &Tensor, dy: &Tensor) -> Result<()> {
        let weight = self.factors()?;
        match &self.bias {
            Some(bias) => {
                ops::layer_norm_backward(dx, x, &weight, dy, self.eps)?;
                if let Some(grad) = &bias.grad {
                    ops::add_row_sum(grad, dy)?;
                }
                if let Some(grad) = &self.weight.grad {
                    ops::layer_norm_weight_gradient(grad, x, dy, self.eps)?;
                }
            }
            None => {
                ops::rms_norm_backward(dx, x, &weight, dy, self.eps)?;
                if let Some(grad) = &self.weight.grad {
                    ops::rms_norm_weight_gradient(grad, x, dy, self.eps)?;
                }
            }
        }
        Ok(())
    }

    /// Whether something in it trains.
    pub(crate) fn trains(&self) -> bool {
        self.weight.grad.is_some()
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
