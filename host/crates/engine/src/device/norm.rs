use super::matrix::vector;
use super::ops::NormShape;
use super::rows::{Device, Rows};
use crate::Result;
use crate::model::{self, NormKind};

/// A norm over rows, or over pieces of them.
#[derive(Debug)]
pub(crate) struct Norm {
    weight: Rows,
    bias: Option<Rows>,
    offset: f32,
    eps: f32,
}

impl Norm {
    pub(crate) fn place(device: &Device, norm: &model::Norm) -> Result<Self> {
        Ok(Self {
            weight: vector(device, &norm.weight)?,
            bias: norm
                .bias
                .as_ref()
                .map(|bias| vector(device, bias))
                .transpose()?,
            offset: match norm.kind {
                NormKind::RmsPlusOne => 1.0,
                NormKind::Rms | NormKind::Layer => 0.0,
            },
            eps: norm.eps,
        })
    }

    fn shape(&self, x: &Rows) -> NormShape {
        NormShape {
            pieces: x.width / self.weight.len().max(1),
            offset: self.offset,
            eps: self.eps,
        }
    }

    /// Writes the norm of `x` into `y`, which may be `x`.
    pub(crate) fn forward_into(&self, device: &Device, y: &Rows, x: &Rows) -> Result<()> {
        device.norm(y, x, &self.weight, self.bias.as_ref(), self.shape(x))
    }

    pub(crate) fn forward(&self, device: &Device, x: &Rows) -> Result<Rows> {
        let y = device.activations(x.rows, x.width)?;
        self.forward_into(device, &y, x)?;
        Ok(y)
    }

    /// Writes the gradient of `x` into `dx`, or adds it; `dx` may be `dy`.
    pub(crate) fn backward(
        &self,
        device: &Device,
        dx: &Rows,
        (x, dy): (&Rows, &Rows),
        add: bool,
    ) -> Result<()> {
        let weight = (&self.weight, self.bias.is_some());
        device.norm_backward(dx, (x, dy), weight, self.shape(x), add)
    }
}
