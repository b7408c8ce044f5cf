//! The two ends that attention and feed-forward share: the way in from the residual stream, and the way back.

use candle_core::Tensor;

use super::linear::Kept;
use super::{Linear, Norm, Pass};
use crate::Result;
use crate::ops;

/// A norm, where there is one, then linear layers whose outputs lie side by side.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) norm: Option<Norm>,
    pub(crate) linears: Vec<Linear>,
}

impl Entry {
    /// Columns of what [`Self::forward`] returns.
    pub(crate) fn width(&self) -> usize {
        self.linears
            .iter()
            .map(|linear| linear.weight.outputs())
            .sum()
    }

    /// `x` [T, H] to [T, width], with what the adapters keep for their backward pass.
    pub(crate) fn forward(&self, x: &Tensor, pass: Pass) -> Result<(Tensor, Vec<Option<Kept>>)> {
        let normed = self.normed(x, pass)?;
        let out = ops::unwritten_tensor(&[x.dims()[0], self.width()])?;
        let mut kept = Vec::with_capacity(self.linears.len());
        for (linear, y) in self.parts(&out)? {
            kept.push(linear.forward(&normed, &y, false, pass)?);
        }
        Ok((out, kept))
    }

    /// Adds to `dx` [T, H] the gradient of the input `x`, given the gradient `dy` [T, width] of the output, and the
    /// gradients of what trains. With `below` false nothing under this needs a gradient, and `dx` stays as it is.
    pub(crate) fn backward(
        &self,
        x: &Tensor,
        kept: &[Option<Kept>],
        dy: &Tensor,
        dx: &Tensor,
        below: bool,
        pass: Pass,
    ) -> Result<()> {
        let normed = self.normed(x, pass)?;
        let needed = below || self.norm.as_ref().is_some_and(Norm::trains);
        let d_normed = needed
            .then(|| ops::unwritten_tensor(x.dims()))
            .transpose()?;
        for (index, (linear, dy)) in self.parts(dy)?.into_iter().enumerate() {
            let (kept, add) = (kept[index].as_ref(), index > 0);
            linear.backward(&normed, kept, &dy, d_normed.as_ref(), add, pass)?;
        }
        drop(normed);
        match (&self.norm, d_normed) {
            (Some(norm), Some(d_normed)) => norm.backward(dx, x, &d_normed, pass),
            (None, Some(d_normed)) => Ok(ops::add(dx, &d_normed)?),
            (_, None) => Ok(()),
        }
    }

    fn normed(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        match &self.norm {
            Some(norm) => norm.forward(x, pass),
            None => Ok(x.clone()),
        }
    }

    /// Each linear layer with its columns.
    fn parts(&self, all: &Tensor) -> Result<Vec<(&Linear, Tensor)>> {
        let mut from = 0;
        let mut parts = Vec::with_capacity(self.linears.len());
        for linear in &self.linears {
            let width = linear.weight.outputs();
            parts.push((linear, all.narrow(1, from, width)?));
            from += width;
        }
        Ok(parts)
    }
}

/// A linear layer, a norm where there is one, and a factor; added to the residual stream.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) linear: Linear,
    pub(crate) norm: Option<Norm>,
    /// Granite's `residual_multiplier`, 1 elsewhere.
    pub(crate) factor: f32,
}

/// What an exit's backward pass needs.
#[derive(Debug)]
pub(crate) struct SavedExit {
    kept: Option<Kept>,
    /// What the norm was given.
    raw: Option<Tensor>,
}

impl Exit {
    /// `x` plus what becomes of `inner` [T, I]: [T, H].
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        inner: &Tensor,
        pass: Pass,
    ) -> Result<(Tensor, SavedExit)> {
        let out = ops::copy(x)?;
        if self.is_plain() {
            let kept = self.linear.forward(inner, &out, true, pass)?;
            return Ok((out, SavedExit { kept, raw: None }));
        }
        let raw = ops::unwritten_tensor(x.dims())?;
        let kept = self.linear.forward(inner, &raw, false, pass)?;
        let raw = match &self.norm {
            Some(norm) => {
                ops::add_scaled(&out, &norm.forward(&raw, pass)?, self.factor)?;
                Some(raw)
            }
            None => {
                ops::add_scaled(&out, &raw, self.factor)?;
                None
            }
        };
        Ok((out, SavedExit { kept, raw }))
    }

    /// Gradient of `inner`, given the gradient `dy` [T, H] of the sum, which is also that of the residual stream. Adds
    /// the gradients of what trains.
    pub(crate) fn backward(
        &self,
        inner: &Tensor,
        saved: &SavedExit,
        dy: &Tensor,
        pass: Pass,
    ) -> Result<Tensor> {
        let d_inner = ops::unwritten_tensor(inner.dims())?;
        let kept = saved.kept.as_ref();
        if self.is_plain() {
            self.linear
                .backward(inner, kept, dy, Some(&d_inner), false, pass)?;
            return Ok(d_inner);
        }
        let mut d_raw = ops::copy(dy)?;
        ops::scale(&d_raw, self.factor)?;
        if let (Some(norm), Some(raw)) = (&self.norm, &saved.raw) {
            let before = Tensor::zeros_like(raw)?;
            norm.backward(&before, raw, &d_raw, pass)?;
            d_raw = before;
        }
        self.linear
            .backward(inner, kept, &d_raw, Some(&d_inner), false, pass)?;
        Ok(d_inner)
    }

    fn is_plain(&self) -> bool {
        self.norm.is_none() && self.factor == 1.0
    }
}
