use candle_core::Tensor;

use super::{Matrix, Parameter};
use crate::Result;
use crate::ops;

/// `y = x Wᵀ + b`, with a low-rank update `scale · dropout(x) Aᵀ Bᵀ` beside it where there is an adapter.
#[derive(Debug)]
pub(crate) struct Linear {
    /// The module's path, as PEFT matches it: `model.layers.0.self_attn.q_proj`.
    pub(crate) name: String,
    /// [out, in].
    pub(crate) weight: Matrix,
    /// [out].
    pub(crate) bias: Option<Parameter>,
    pub(crate) lora: Option<Lora>,
}

/// The low-rank update of one linear layer (arXiv 2106.09685).
#[derive(Debug)]
pub(crate) struct Lora {
    /// [r, in].
    pub(crate) a: Parameter,
    /// [out, r].
    pub(crate) b: Parameter,
    pub(crate) scale: f32,
    /// Share of `x` that a training step drops.
    pub(crate) dropout: f64,
}

/// How a forward pass runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    /// Whether adapters take part.
    pub(crate) adapter: bool,
    /// Seed of this forward's dropout; `None` outside training.
    pub(crate) dropout: Option<u64>,
}

impl Linear {
    /// Writes the output for `x` [T, in] into `y` [T, out], or adds it. Returns dropout(x) Aᵀ [T, r] for the
    /// backward pass.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        y: &Tensor,
        add: bool,
        pass: Pass,
    ) -> Result<Option<Tensor>> {
        self.weight.product(y, x, 1.0, f32::from(u8::from(add)))?;
        if let Some(bias) = &self.bias {
            ops::add_bias(y, &bias.value)?;
        }
        let Some(lora) = self.lora.as_ref().filter(|_| pass.adapter) else {
            return Ok(None);
        };
        let low = match lora.dropped(x, pass)? {
            Some(x) => ops::matmul(&x, &lora.a.value.t()?)?,
            None => ops::matmul(x, &lora.a.value.t()?)?,
        };
        ops::matmul_into(y, &low, &lora.b.value.t()?, lora.scale, 1.0)?;
        Ok(Some(low))
    }

    /// Adds the gradients of what trains, given `x`, what [`Self::forward`] returned and the gradient `dy` [T, out].
    /// Writes the gradient of `x` into `dx`, or adds it, where the layers below need one.
    pub(crate) fn backward(
        &self,
        x: &Tensor,
        low: Option<&Tensor>,
        dy: &Tensor,
        dx: Option<&Tensor>,
        add: bool,
        pass: Pass,
    ) -> Result<()> {
        if let Some(grad) = self.weight.grad() {
            ops::matmul_into(grad, &dy.t()?, x, 1.0, 1.0)?;
        }
        if let Some(grad) = self.bias.as_ref().and_then(|bias| bias.grad.as_ref()) {
            ops::add_row_sum(grad, dy)?;
        }
        if let Some(dx) = dx {
            self.weight
                .product_back(dx, dy, 1.0, f32::from(u8::from(add)))?;
        }
        let (Some(lora), Some(low)) = (&self.lora, low) else {
            return Ok(());
        };
        let d_low = ops::matmul(dy, &lora.b.value)?;
        if let Some(grad) = &lora.b.grad {
            ops::matmul_into(grad, &dy.t()?, low, lora.scale, 1.0)?;
        }
        if let Some(grad) = &lora.a.grad {
            let dropped = lora.dropped(x, pass)?;
            ops::matmul_into(
                grad,
                &d_low.t()?,
                dropped.as_ref().unwrap_or(x),
                lora.scale,
                1.0,
            )?;
        }
        if let Some(dx) = dx {
            match lora.mask(pass) {
                None => ops::matmul_into(dx, &d_low, &lora.a.value, lora.scale, 1.0)?,
                Some(seed) => {
                    let through = ops::unwritten_tensor(dx.dims())?;
                    ops::matmul_into(&through, &d_low, &lora.a.value, lora.scale, 0.0)?;
                    ops::add(dx, &ops::dropout(&through, lora.dropout, seed)?)?;
                }
            }
        }
        Ok(())
    }
}

impl Lora {
    /// The seed of this layer's mask, where there is one. Each adapter draws its own.
    fn mask(&self, pass: Pass) -> Option<u64> {
        let seed = pass.dropout.filter(|_| self.dropout > 0.0)?;
        let name = self
            .a
            .name
            .bytes()
            .fold(0u64, |hash, byte| ops::seed_of(&[hash, u64::from(byte)]));
        Some(ops::seed_of(&[seed, name]))
    }

    fn dropped(&self, x: &Tensor, pass: Pass) -> Result<Option<Tensor>> {
        self.mask(pass)
            .map(|seed| Ok(ops::dropout(x, self.dropout, seed)?))
            .transpose()
    }
}
