use super::adapters::Adapters;
use super::ops::NormShape;
use super::rows::{Device, Rows};
use super::vector::Vector;
use crate::Result;
use crate::model::{self, NormKind, Pass};

/// A norm over rows, or over pieces of them.
#[derive(Debug)]
pub(crate) struct Norm {
    weight: Vector,
    bias: Option<Vector>,
    offset: f32,
    eps: f32,
    /// A weight of ones and a bias of zeros, where the weight trains: the norm with them is what its gradient is made of.
    plain: Option<(Rows, Rows)>,
    /// An adapter's own copy, and its own bias alone, as in [`model::Norm`].
    saved: Option<Box<Norm>>,
    own_bias: Option<Vector>,
}

impl Norm {
    pub(crate) fn place(device: &Device, norm: &model::Norm, adapters: &Adapters) -> Result<Self> {
        let vector = |parameter| Vector::place(device, parameter, adapters);
        let weight = vector(&norm.weight)?;
        let width = weight.values.len();
        let plain = weight.gradient.as_ref().map(|_| {
            let all = |value: f32| device.floats(&vec![value; width]);
            Ok::<_, crate::Error>((all(1.0)?, all(0.0)?))
        });
        let saved = norm.saved.as_deref();
        let saved = saved.map(|saved| Self::place(device, saved, adapters));
        Ok(Self {
            weight,
            bias: norm.bias.as_ref().map(vector).transpose()?,
            offset: match norm.kind {
                NormKind::RmsPlusOne => 1.0,
                NormKind::Rms | NormKind::Layer => 0.0,
            },
            eps: norm.eps,
            plain: plain.transpose()?,
            saved: saved.transpose()?.map(Box::new),
            own_bias: norm.own_bias.as_ref().map(vector).transpose()?,
        })
    }

    fn in_use(&self, pass: Pass) -> &Norm {
        let saved = self.saved.as_deref().filter(|_| pass.adapter);
        saved.unwrap_or(self)
    }

    fn bias_in_use(&self, pass: Pass) -> Option<&Vector> {
        let own = self.own_bias.as_ref().filter(|_| pass.adapter);
        own.or(self.in_use(pass).bias.as_ref())
    }

    /// Whether something in it trains.
    pub(crate) fn trains(&self) -> bool {
        let trains = |vector: &Option<Vector>| {
            let vector = vector.as_ref();
            vector.is_some_and(|vector| vector.gradient.is_some())
        };
        let own = self.weight.gradient.is_some();
        own || trains(&self.bias)
            || trains(&self.own_bias)
            || self.saved.as_ref().is_some_and(|saved| saved.trains())
    }

    fn shape(&self, x: &Rows) -> NormShape {
        NormShape {
            pieces: x.width / self.weight.values.len().max(1),
            offset: self.offset,
            eps: self.eps,
        }
    }

    /// Writes the norm of `x` into `y`, which may be `x`.
    pub(crate) fn forward_into(
        &self,
        device: &Device,
        y: &Rows,
        x: &Rows,
        pass: Pass,
    ) -> Result<()> {
        let norm = self.in_use(pass);
        let bias = self.bias_in_use(pass).map(|bias| &bias.values);
        device.norm(y, x, &norm.weight.values, bias, norm.shape(x))
    }

    pub(crate) fn forward(&self, device: &Device, x: &Rows, pass: Pass) -> Result<Rows> {
        let y = device.activations(x.rows, x.width)?;
        self.forward_into(device, &y, x, pass)?;
        Ok(y)
    }

    /// Writes the gradient of `x` into `dx`, or adds it; `dx` may be `dy`. Adds the gradients of what trains.
    pub(crate) fn backward(
        &self,
        device: &Device,
        dx: &Rows,
        (x, dy): (&Rows, &Rows),
        add: bool,
        pass: Pass,
    ) -> Result<()> {
        let norm = self.in_use(pass);
        if let Some(bias) = self.bias_in_use(pass) {
            bias.add_bias_gradient(device, dy)?;
        }
        norm.add_gradients(device, x, dy)?;
        let weight = (&norm.weight.values, norm.bias.is_some());
        device.norm_backward(dx, (x, dy), weight, norm.shape(x), add)
    }

    /// Adds the gradient of the weight.
    fn add_gradients(&self, device: &Device, x: &Rows, dy: &Rows) -> Result<()> {
        let Some((gradient, (ones, zeros))) =
            self.weight.gradient.as_ref().zip(self.plain.as_ref())
        else {
            return Ok(());
        };
        let shape = NormShape {
            offset: 0.0,
            ..self.shape(x)
        };
        let normal = device.activations(x.rows, x.width)?;
        let bias = self.bias.as_ref().map(|_| zeros);
        device.norm(&normal, x, ones, bias, shape)?;
        if shape.pieces == 1 {
            return device.column_dots(gradient, ones, dy, &normal);
        }
        // Every piece of a row counts as a row.
        let (rows, width) = (x.rows * shape.pieces, ones.len());
        let dy = device.copy(dy)?.reshaped(rows, width);
        device.column_dots(gradient, ones, &dy, &normal.reshaped(rows, width))
    }
}
