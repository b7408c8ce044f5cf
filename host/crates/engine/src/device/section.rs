//! The two ends that attention and feed-forward share, as in `model`.

use super::adapters::Adapters;
use super::linear::{Kept, Linear};
use super::norm::Norm;
use super::rows::{Device, Rows};
use super::setting::Setting;
use crate::Result;
use crate::model;

/// A norm, where there is one, then linear layers whose outputs lie side by side.
#[derive(Debug)]
pub(crate) struct Entry {
    norm: Option<Norm>,
    linears: Vec<Linear>,
}

impl Entry {
    pub(crate) fn place(
        device: &Device,
        (norm, linears): (Option<&model::Norm>, &[model::Linear]),
        adapters: &Adapters,
    ) -> Result<Self> {
        let linears = linears
            .iter()
            .map(|linear| Linear::place(device, linear, adapters));
        Ok(Self {
            norm: norm
                .map(|norm| Norm::place(device, norm, adapters))
                .transpose()?,
            linears: linears.collect::<Result<_>>()?,
        })
    }

    fn normed(&self, x: &Rows, s: &Setting<'_>) -> Result<Rows> {
        match &self.norm {
            Some(norm) => norm.forward(s.device, x, s.pass),
            None => Ok(x.clone()),
        }
    }

    /// Each linear layer with its columns.
    fn parts<'a>(&'a self, all: &'a Rows) -> impl Iterator<Item = (&'a Linear, Rows)> {
        let mut from = 0;
        self.linears.iter().map(move |linear| {
            let part = all.columns(from, linear.weight.outputs());
            from += part.width;
            (linear, part)
        })
    }

    pub(crate) fn forward(&self, x: &Rows, s: &Setting<'_>) -> Result<(Rows, Vec<Option<Kept>>)> {
        let normed = self.normed(x, s)?;
        let width = self
            .linears
            .iter()
            .map(|linear| linear.weight.outputs())
            .sum();
        let out = s.device.activations(x.rows, width)?;
        let kept = self
            .parts(&out)
            .map(|(linear, y)| linear.forward(s.device, s.adapters, (&normed, &y), false, s.pass))
            .collect::<Result<_>>()?;
        Ok((out, kept))
    }

    /// Adds the gradient of `x` to `dx`, unless nothing below needs one, and those of what trains.
    pub(crate) fn backward(
        &self,
        (x, kept, dy): (&Rows, &[Option<Kept>], &Rows),
        dx: &Rows,
        below: bool,
        s: &Setting<'_>,
    ) -> Result<()> {
        let normed = self.normed(x, s)?;
        let needed = below || self.norm.as_ref().is_some_and(Norm::trains);
        let d_normed = needed
            .then(|| s.device.activations(x.rows, x.width))
            .transpose()?;
        for (index, (linear, dy)) in self.parts(dy).enumerate() {
            let given = (&normed, kept[index].as_ref(), &dy);
            linear.backward(
                s.device,
                s.adapters,
                given,
                d_normed.as_ref(),
                index > 0,
                s.pass,
            )?;
        }
        match (&self.norm, d_normed) {
            (Some(norm), Some(d_normed)) => {
                norm.backward(s.device, dx, (x, &d_normed), true, s.pass)
            }
            (None, Some(d_normed)) => s.device.add_scaled(dx, &d_normed, 1.0, 1.0),
            (_, None) => Ok(()),
        }
    }
}

/// A linear layer, a norm where there is one, and a factor; added to the residual stream.
#[derive(Debug)]
pub(crate) struct Exit {
    linear: Linear,
    norm: Option<Norm>,
    factor: f32,
}

pub(crate) struct SavedExit {
    kept: Option<Kept>,
    raw: Option<Rows>,
}

impl Exit {
    pub(crate) fn place(
        device: &Device,
        (linear, norm, factor): (&model::Linear, Option<&model::Norm>, f32),
        adapters: &Adapters,
    ) -> Result<Self> {
        Ok(Self {
            linear: Linear::place(device, linear, adapters)?,
            norm: norm
                .map(|norm| Norm::place(device, norm, adapters))
                .transpose()?,
            factor,
        })
    }

    fn is_plain(&self) -> bool {
        self.norm.is_none() && self.factor == 1.0
    }

    pub(crate) fn forward(
        &self,
        x: &Rows,
        inner: &Rows,
        s: &Setting<'_>,
    ) -> Result<(Rows, SavedExit)> {
        let out = s.device.copy(x)?;
        if self.is_plain() {
            let kept = self
                .linear
                .forward(s.device, s.adapters, (inner, &out), true, s.pass)?;
            return Ok((out, SavedExit { kept, raw: None }));
        }
        let raw = s.device.activations(x.rows, x.width)?;
        let kept = self
            .linear
            .forward(s.device, s.adapters, (inner, &raw), false, s.pass)?;
        let Some(norm) = &self.norm else {
            s.device.add_scaled(&out, &raw, 1.0, self.factor)?;
            return Ok((out, SavedExit { kept, raw: None }));
        };
        let normed = norm.forward(s.device, &raw, s.pass)?;
        s.device.add_scaled(&out, &normed, 1.0, self.factor)?;
        let raw = Some(raw);
        Ok((out, SavedExit { kept, raw }))
    }

    /// Gradient of `inner`, given that of the sum.
    pub(crate) fn backward(
        &self,
        inner: &Rows,
        saved: &SavedExit,
        dy: &Rows,
        s: &Setting<'_>,
    ) -> Result<Rows> {
        let d_inner = s.device.activations(inner.rows, inner.width)?;
        let mut d_raw = dy.clone();
        if !self.is_plain() {
            d_raw = s.device.activations(dy.rows, dy.width)?;
            s.device.add_scaled(&d_raw, dy, 0.0, self.factor)?;
            if let (Some(norm), Some(raw)) = (&self.norm, &saved.raw) {
                norm.backward(s.device, &d_raw, (raw, &d_raw), false, s.pass)?;
            }
        }
        let given = (inner, saved.kept.as_ref(), &d_raw);
        self.linear
            .backward(s.device, s.adapters, given, Some(&d_inner), false, s.pass)?;
        Ok(d_inner)
    }
}
