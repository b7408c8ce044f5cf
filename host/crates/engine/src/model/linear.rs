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
    /// An adapter's own copy of weight and bias, where it trains the layer whole (PEFT's `modules_to_save`).
    pub(crate) saved: Option<SavedLinear>,
    /// An adapter's own bias, where it trains biases (PEFT's `bias`): [out].
    pub(crate) own_bias: Option<Parameter>,
}

/// Weight and bias of a layer that an adapter trains and saves whole.
#[derive(Debug)]
pub(crate) struct SavedLinear {
    /// [out, in].
    pub(crate) weight: Matrix,
    /// [out].
    pub(crate) bias: Option<Parameter>,
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
    fn layer(&self, pass: Pass) -> Layer<'_> {
        let (weight, bias) = match self.saved.as_ref().filter(|_| pass.adapter) {
            Some(saved) => (&saved.weight, &saved.bias),
            None => (&self.weight, &self.bias),
        };
        let own_bias = self.own_bias.as_ref().filter(|_| pass.adapter);
        Layer {
            weight,
            bias: own_bias.or(bias.as_ref()),
            lora: self.lora.as_ref(),
            principal: self.principal.as_ref(),
        }
    }

    /// Whether something in it trains.
    pub(crate) fn trains(&self) -> bool {
        let base = self.weight.parameter().into_iter().chain(&self.bias);
        let lora = self.lora.iter().flat_map(Lora::parameters);
        let mut all = base.chain(lora).chain(self.saved_parameters());
        all.any(|parameter| parameter.grad.is_some())
    }

    /// The tensors of the adapter's own copy.
    pub(crate) fn saved_parameters(&self) -> impl Iterator<Item = &Parameter> {
        let saved = self.saved.iter();
        saved
            .flat_map(|saved| saved.weight.parameter().into_iter().chain(&saved.bias))
            .chain(&self.own_bias)
    }

    /// As [`Layer::forward`].
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        y: &Tensor,
        add: bool,
        pass: Pass,
    ) -> Result<Option<Kept>> {
        self.layer(pass).forward(x, y, add, pass)
    }

    /// As [`Layer::backward`].
    pub(crate) fn backward(
        &self,
        x: &Tensor,
        kept: Option<&Kept>,
        dy: &Tensor,
        dx: Option<&Tensor>,
        add: bool,
        pass: Pass,
    ) -> Result<()> {
        self.layer(pass).backward(x, kept, dy, dx, add, pass)
    }
}

/// A linear layer whose weight may be another's: the head of a model that has none of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer<'a> {
    /// [out, in].
    pub(crate) weight: &'a Matrix,
    /// [out].
    pub(crate) bias: Option<&'a Parameter>,
    pub(crate) lora: Option<&'a Lora>,
    pub(crate) principal: Option<&'a Principal>,
}

impl Layer<'_> {
    /// Writes the output for `x` [T, in] into `y` [T, out], or adds it. Returns what the backward pass needs of an
    /// adapter.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        y: &Tensor,
        add: bool,
        pass: Pass,
    ) -> Result<Option<Kept>> {
        let lora = self.lora.filter(|_| pass.adapter);
        if let Some(lora) = lora.filter(|lora| lora.dora.is_some()) {
            return self.forward_decomposed(lora, x, y, add, pass).map(Some);
        }
        let beta = f32::from(u8::from(add));
        let Some(lora) = lora else {
            self.weight.product(y, x, 1.0, beta)?;
            self.add_bias(y)?;
            if let Some(Principal { a, b, scale }) = self.principal.filter(|_| !pass.adapter) {
                ops::matmul_into(y, &ops::matmul(x, &a.t()?)?, &b.t()?, *scale, 1.0)?;
            }
            return Ok(None);
        };
        let dropped = lora.dropped(x, pass)?;
        let low = ops::matmul(dropped.as_ref().unwrap_or(x), &lora.a.value.t()?)?;
        let update = ops::Update {
            a: &low,
            b: &lora.b.value.t()?,
            factor: lora.scale,
        };
        self.weight.product_with(y, x, Some(update), 1.0, beta)?;
        self.add_bias(y)?;
        lora.add_bias(y)?;
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
        let factors = lora.factors(self.weight)?;
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
        match self.bias {
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
        if let Some(grad) = self.bias.and_then(|bias| bias.grad.as_ref()) {
            ops::add_row_sum(grad, dy)?;
        }
        let adapter = self.lora.zip(kept);
        let Some((lora, kept)) = adapter else {
            return self.backward_base(dy, dx, add, None);
        };
        let scaled = match &kept.decomposed {
            Some(decomposed) => Some(decomposed.backward(lora, dy)?),
            None => None,
        };
        // What the low-rank update gets back: with DoRA the gradient times magnitude over norm.
        let d_update = scaled.as_ref().unwrap_or(dy);
        let mask = lora.mask(pass);
        let d_low = ops::matmul(d_update, &lora.b.value)?;
        let update = ops::Update {
            a: &d_low,
            b: &lora.a.value,
            factor: lora.scale,
        };
        match mask {
            // Without dropout both go back the same way.
            None => self.backward_base(d_update, dx, add, Some(update))?,
            Some(_) => self.backward_base(dy, dx, add, None)?,
        }
        if let Some(grad) = &lora.b.grad {
            ops::matmul_into(grad, &d_update.t()?, &kept.low, lora.scale, 1.0)?;
        }
        lora.add_bias_gradient(dy)?;
        if let Some(grad) = &lora.a.grad {
            let dropped = lora.dropped(x, pass)?;
            let seen = dropped.as_ref().unwrap_or(x);
            ops::matmul_into(grad, &d_low.t()?, seen, lora.scale, 1.0)?;
        }
        let (Some(dx), Some(seed)) = (dx, mask) else {
            return Ok(());
        };
        let through = ops::unwritten_tensor(dx.dims())?;
        ops::matmul_into(&through, &d_low, &lora.a.value, lora.scale, 0.0)?;
        if let Some(decomposed) = &kept.decomposed {
            let difference = decomposed.without_base(dy)?;
            self.weight.product_back(&through, &difference, 1.0, 1.0)?;
        }
        Ok(ops::add(dx, &ops::dropout(&through, lora.dropout, seed)?)?)
    }

    fn backward_base(
        &self,
        dy: &Tensor,
        dx: Option<&Tensor>,
        add: bool,
        update: Option<ops::Update<'_>>,
    ) -> Result<()> {
        let Some(dx) = dx else { return Ok(()) };
        let beta = f32::from(u8::from(add));
        self.weight.product_back_with(dx, dy, update, 1.0, beta)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::{Dora, named_generator, normal};

    fn random(name: &str, shape: (usize, usize)) -> Tensor {
        let values = normal(&mut named_generator(4, name), shape.0 * shape.1, 1.0);
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn trainable(name: &str, value: &Tensor) -> Parameter {
        Parameter::trainable(name.into(), value).unwrap()
    }

    const PASS: Pass = Pass {
        adapter: true,
        dropout: Some(9),
    };

    /// A layer of 7 inputs and 5 outputs with a decomposed update and dropout. Its norms are fixed, as the backward pass
    /// takes them for.
    fn layer() -> Linear {
        let weight = random("w", (5, 7));
        let mut lora = Lora {
            a: trainable("a", &random("a", (3, 7))),
            b: trainable("b", &random("b", (5, 3))),
            bias: None,
            scale: 0.7,
            dropout: 0.4,
            dora: None,
        };
        let weight = Matrix::new("w".into(), weight, false).unwrap();
        let norms = lora.norms(&weight).unwrap();
        let magnitude = random("m", (1, 5)).reshape(5).unwrap();
        lora.dora = Some(Dora {
            magnitude: trainable("m", &magnitude),
            fixed_norms: Some(norms),
        });
        let bias = random("bias", (1, 5)).reshape(5).unwrap();
        Linear {
            name: "q_proj".into(),
            weight,
            bias: Some(Parameter::frozen("bias".into(), bias)),
            lora: Some(lora),
            principal: None,
            saved: None,
            own_bias: None,
        }
    }

    fn output(layer: &Linear, x: &Tensor) -> Tensor {
        let y = Tensor::zeros((x.dims()[0], 5), x.dtype(), x.device()).unwrap();
        layer.forward(x, &y, false, PASS).unwrap();
        y
    }

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn dropout_under_dora_thins_the_update_and_its_share_of_the_base_as_in_peft() {
        let layer = layer();
        let (lora, x) = (layer.lora.as_ref().unwrap(), random("x", (6, 7)));
        let dropped = ops::dropout(&x, 0.4, lora.mask(PASS).unwrap()).unwrap();
        assert!(values(&dropped).contains(&0.0));
        let (weight, dora) = (layer.weight.dense().unwrap(), lora.dora.as_ref().unwrap());
        let through = |x: &Tensor, weight: &Tensor| x.matmul(&weight.t().unwrap()).unwrap();
        let m = (&dora.magnitude.value / dora.fixed_norms.as_ref().unwrap()).unwrap();
        // PEFT: base(x) + (m - 1) · W dropout(x) + m · scale · B A dropout(x).
        let update = lora.b.value.matmul(&lora.a.value).unwrap();
        let update = (through(&dropped, &update) * f64::from(lora.scale)).unwrap();
        let base = through(&x, &weight);
        let base = base
            .broadcast_add(&layer.bias.as_ref().unwrap().value)
            .unwrap();
        let share = through(&dropped, &weight)
            .broadcast_mul(&(&m - 1.0).unwrap())
            .unwrap();
        let update = update.broadcast_mul(&m).unwrap();
        let expected = (base + share).unwrap().add(&update).unwrap();
        for (got, expected) in values(&output(&layer, &x)).iter().zip(values(&expected)) {
            assert!((got - expected).abs() < 1e-5, "{got}, expected {expected}");
        }
    }

    #[test]
    fn the_gradient_under_dora_and_dropout_is_that_of_finite_differences() {
        let layer = layer();
        let (x, dy) = (random("x", (6, 7)), random("dy", (6, 5)));
        let loss = || -> f64 {
            let y = output(&layer, &x);
            let products = values(&y).into_iter().zip(values(&dy));
            products.map(|(y, dy)| f64::from(y) * f64::from(dy)).sum()
        };
        let y = Tensor::zeros((6, 5), x.dtype(), x.device()).unwrap();
        let kept = layer.forward(&x, &y, false, PASS).unwrap();
        let dx = Tensor::zeros_like(&x).unwrap();
        layer
            .backward(&x, kept.as_ref(), &dy, Some(&dx), false, PASS)
            .unwrap();
        let lora = layer.lora.as_ref().unwrap();
        let of = |parameter: &Parameter| (parameter.value.clone(), parameter.grad.clone().unwrap());
        let dora = lora.dora.as_ref().unwrap();
        for (value, grad) in [
            of(&lora.a),
            of(&lora.b),
            of(&dora.magnitude),
            (x.clone(), dx),
        ] {
            let (before, grad) = (values(&value), values(&grad));
            for (i, grad) in grad.iter().enumerate() {
                let with = |step: f32| {
                    let mut moved = before.clone();
                    moved[i] += step;
                    let moved = Tensor::from_vec(moved, (1, before.len()), &Device::Cpu).unwrap();
                    let flat = value.reshape((1, before.len())).unwrap();
                    ops::assign(&flat, &moved).unwrap();
                    loss()
                };
                let slope = (with(0.03) - with(-0.03)) / 0.06;
                with(0.0);
                assert!(
                    (slope - f64::from(*grad)).abs() < 2e-3,
                    "{i}: {grad}, slope {slope}"
                );
            }
        }
    }
}
