use candle_core::Tensor;

use super::lora::{Decomposed, Lora};
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
    /// What PiSSA took out of the weight.
    pub(crate) principal: Option<Principal>,
}

/// The part of a weight that an adapter began with (PiSSA): a pass without the adapter puts it back.
#[derive(Debug)]
pub(crate) struct Principal {
    /// [r, in].
    pub(crate) a: Tensor,
    /// [out, r].
    pub(crate) b: Tensor,
    pub(crate) scale: f32,
}

/// What an adapter's forward leaves for its backward.
#[derive(Debug)]
pub(crate) struct Kept {
    /// dropout(x) Aᵀ: [T, r].
    low: Tensor,
    /// There with DoRA alone.
    decomposed: Option<Decomposed>,
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
    /// Writes the output for `x` [T, in] into `y` [T, out], or adds it. Returns what the backward pass needs of an
    /// adapter.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        y: &Tensor,
        add: bool,
        pass: Pass,
    ) -> Result<Option<Kept>> {
        let lora = self.lora.as_ref().filter(|_| pass.adapter);
        if let Some(lora) = lora.filter(|lora| lora.dora.is_some()) {
            return self.forward_decomposed(lora, x, y, add, pass).map(Some);
        }
        self.weight.product(y, x, 1.0, f32::from(u8::from(add)))?;
        self.add_bias(y)?;
        let Some(lora) = lora else {
            if let Some(Principal { a, b, scale }) =
                self.principal.as_ref().filter(|_| !pass.adapter)
            {
                ops::matmul_into(y, &ops::matmul(x, &a.t()?)?, &b.t()?, *scale, 1.0)?;
            }
            return Ok(None);
        };
        let dropped = lora.dropped(x, pass)?;
        let low = ops::matmul(dropped.as_ref().unwrap_or(x), &lora.a.value.t()?)?;
        ops::matmul_into(y, &low, &lora.b.value.t()?, lora.scale, 1.0)?;
        Ok(Some(Kept {
            low,
            decomposed: None,
        }))
    }

    /// As PEFT computes DoRA: the base's output, and the update of it, each times magnitude over norm. Only the update
    /// sees what dropout leaves.
    fn forward_decomposed(
        &self,
        lora: &Lora,
        x: &Tensor,
        y: &Tensor,
        add: bool,
        pass: Pass,
    ) -> Result<Kept> {
        let factors = lora.factors(&self.weight)?;
        let product = ops::unwritten_tensor(&[x.dims()[0], self.weight.outputs()])?;
        let dropped = lora.dropped(x, pass)?;
        let seen = dropped.as_ref().unwrap_or(x);
        self.weight.product(&product, seen, 1.0, 0.0)?;
        if dropped.is_some() {
            self.weight.product(y, x, 1.0, f32::from(u8::from(add)))?;
            let minus_one = (factors.of_magnitude.ones_like()? * -1.0)?;
            ops::columns(y, &product, &minus_one, true)?;
        }
        let low = ops::matmul(seen, &lora.a.value.t()?)?;
        ops::matmul_into(&product, &low, &lora.b.value.t()?, lora.scale, 1.0)?;
        let add = add || dropped.is_some();
        ops::columns(y, &product, &factors.of_magnitude, add)?;
        self.add_bias(y)?;
        let decomposed = Some(Decomposed { factors, product });
        Ok(Kept { low, decomposed })
    }

    fn add_bias(&self, y: &Tensor) -> Result<()> {
        match &self.bias {
            Some(bias) => Ok(ops::add_bias(y, &bias.value)?),
            None => Ok(()),
        }
    }

    /// Adds the gradients of what trains, given `x`, what [`Self::forward`] returned and the gradient `dy` [T, out].
    /// Writes the gradient of `x` into `dx`, or adds it, where the layers below need one.
    pub(crate) fn backward(
        &self,
        x: &Tensor,
        kept: Option<&Kept>,
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
        let adapter = self.lora.as_ref().zip(kept);
        let Some((lora, kept)) = adapter else {
            return self.backward_base(dy, dx, add);
        };
        let scaled = match &kept.decomposed {
            Some(decomposed) => Some(decomposed.backward(lora, dy)?),
            None => None,
        };
        // What the low-rank update gets back: with DoRA the gradient times magnitude over norm.
        let d_update = scaled.as_ref().unwrap_or(dy);
        let mask = lora.mask(pass);
        match (&scaled, mask) {
            (Some(scaled), None) => self.backward_base(scaled, dx, add)?,
            _ => self.backward_base(dy, dx, add)?,
        }
        let d_low = ops::matmul(d_update, &lora.b.value)?;
        if let Some(grad) = &lora.b.grad {
            ops::matmul_into(grad, &d_update.t()?, &kept.low, lora.scale, 1.0)?;
        }
        if let Some(grad) = &lora.a.grad {
            let dropped = lora.dropped(x, pass)?;
            let seen = dropped.as_ref().unwrap_or(x);
            ops::matmul_into(grad, &d_low.t()?, seen, lora.scale, 1.0)?;
        }
        let Some(dx) = dx else { return Ok(()) };
        let Some(seed) = mask else {
            return Ok(ops::matmul_into(
                dx,
                &d_low,
                &lora.a.value,
                lora.scale,
                1.0,
            )?);
        };
        let through = ops::unwritten_tensor(dx.dims())?;
        ops::matmul_into(&through, &d_low, &lora.a.value, lora.scale, 0.0)?;
        if let Some(decomposed) = &kept.decomposed {
            let difference = decomposed.without_base(dy)?;
            self.weight.product_back(&through, &difference, 1.0, 1.0)?;
        }
        Ok(ops::add(dx, &ops::dropout(&through, lora.dropout, seed)?)?)
    }

    fn backward_base(&self, dy: &Tensor, dx: Option<&Tensor>, add: bool) -> Result<()> {
        match dx {
            Some(dx) => self
                .weight
                .product_back(dx, dy, 1.0, f32::from(u8::from(add))),
            None => Ok(()),
        }
    }
}
