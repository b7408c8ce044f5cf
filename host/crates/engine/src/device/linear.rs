use super::adapters::{Adapters, Slot};
use super::machine::Element;
use super::matrix::{Matrix, dense};
use super::rows::{Device, Rows};
use super::vector::Vector;
use crate::Result;
use crate::model::{self, Pass, mask_seed};

/// A linear layer on a device: `y = x Wᵀ + b`, with a low-rank update beside it where there is an adapter.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Matrix,
    bias: Option<Vector>,
    lora: Option<Lora>,
    /// What PiSSA took out of the weight, which a pass without the adapter adds: A [r, in], B [out, r] and the scale.
    principal: Option<(Rows, Rows, f32)>,
    /// An adapter's own copy of weight and bias, and its own bias alone, as in [`model::Linear`].
    saved: Option<(Matrix, Option<Vector>)>,
    own_bias: Option<Vector>,
}

/// As [`model::Lora`], with its tensors' places.
#[derive(Debug)]
pub(super) struct Lora {
    /// [r, in].
    pub(super) a: Slot,
    /// [out, r].
    pub(super) b: Slot,
    pub(super) scale: f32,
    dropout: f64,
    /// The name that its dropout's mask is drawn by.
    name: String,
    /// [out], there with DoRA.
    pub(super) magnitude: Option<Slot>,
    /// Of B: [out].
    bias: Option<Slot>,
}

/// What an adapter's forward leaves for its backward.
#[derive(Debug)]
pub(crate) struct Kept {
    /// dropout(x) Aᵀ: [T, r].
    low: Rows,
    decomposed: Option<Decomposed>,
}

#[derive(Debug)]
struct Decomposed {
    /// Magnitude over norm, and 1 over the norm: [1, out], f32.
    factors: Rows,
    inverse: Rows,
    /// Output of the updated weight for what dropout left: [T, out].
    product: Rows,
}

impl Lora {
    pub(super) fn place(lora: &model::Lora, adapters: &Adapters) -> Result<Self> {
        let magnitude = lora.dora.as_ref().map(|dora| &dora.magnitude.name);
        let bias = lora.bias.as_ref().map(|bias| adapters.slot(&bias.name));
        Ok(Self {
            a: adapters.slot(&lora.a.name)?,
            b: adapters.slot(&lora.b.name)?,
            scale: lora.scale,
            dropout: lora.dropout,
            name: lora.a.name.clone(),
            magnitude: magnitude.map(|name| adapters.slot(name)).transpose()?,
            bias: bias.transpose()?,
        })
    }

    fn mask(&self, pass: Pass) -> Option<u64> {
        let seed = pass.dropout.filter(|_| self.dropout > 0.0)?;
        Some(mask_seed(&self.name, seed))
    }

    /// Adds the bias of B, times the scale, to the outputs `y`.
    fn add_bias(&self, device: &Device, adapters: &Adapters, y: &Rows) -> Result<()> {
        let Some(slot) = self.bias else { return Ok(()) };
        let own = adapters.exact(slot);
        let bias = device.zeros(1, own.len(), Element::F32)?;
        device.add_scaled(&bias, &own, 0.0, self.scale)?;
        device.add_bias(y, &bias)
    }

    /// Adds the gradient of the bias of B, given that of the outputs.
    fn add_bias_gradient(&self, device: &Device, adapters: &Adapters, dy: &Rows) -> Result<()> {
        let Some(slot) = self.bias else { return Ok(()) };
        let gradient = adapters.gradient(slot);
        let sums = device.zeros(1, gradient.len(), Element::F32)?;
        device.column_sums(&sums, dy)?;
        device.add_scaled(&gradient, &sums, 1.0, self.scale)
    }

    fn dropped(&self, device: &Device, x: &Rows, pass: Pass) -> Result<Option<Rows>> {
        let Some(seed) = self.mask(pass) else {
            return Ok(None);
        };
        let y = device.activations(x.rows, x.width)?;
        device.dropout(&y, x, self.dropout, seed, false)?;
        Ok(Some(y))
    }
}

impl Linear {
    /// Copies a layer's weight to a device and finds its adapter there.
    pub(crate) fn place(
        device: &Device,
        linear: &model::Linear,
        adapters: &Adapters,
    ) -> Result<Self> {
        let placed = |weight: &model::Matrix, bias: Option<&model::Parameter>| {
            let bias = bias.map(|bias| Vector::place(device, bias, adapters));
            Ok::<_, crate::Error>((Matrix::place(device, weight, adapters)?, bias.transpose()?))
        };
        let saved = linear.saved.as_ref();
        let saved = saved.map(|saved| placed(&saved.weight, saved.bias.as_ref()));
        let (weight, bias) = placed(&linear.weight, linear.bias.as_ref())?;
        let own_bias = linear.own_bias.as_ref();
        let own_bias = own_bias.map(|bias| Vector::place(device, bias, adapters));
        let principal = linear.principal.as_ref().map(|split| {
            let (a, b) = (dense(device, &split.a)?, dense(device, &split.b)?);
            Ok::<_, crate::Error>((a, b, split.scale))
        });
        Ok(Self {
            bias,
            principal: principal.transpose()?,
            saved: saved.transpose()?,
            own_bias: own_bias.transpose()?,
            ..Self::adapted(weight, linear.lora.as_ref(), adapters)?
        })
    }

    /// A layer without a bias whose weight may be another's: the head.
    pub(crate) fn adapted(
        weight: Matrix,
        lora: Option<&model::Lora>,
        adapters: &Adapters,
    ) -> Result<Self> {
        let lora = lora.map(|lora| Lora::place(lora, adapters)).transpose()?;
        Ok(Self {
            weight,
            bias: None,
            lora,
            principal: None,
            saved: None,
            own_bias: None,
        })
    }

    fn in_use(&self, pass: Pass) -> (&Matrix, Option<&Vector>) {
        match self.saved.as_ref().filter(|_| pass.adapter) {
            Some((weight, bias)) => (weight, bias.as_ref()),
            None => {
                let own = self.own_bias.as_ref().filter(|_| pass.adapter);
                (&self.weight, own.or(self.bias.as_ref()))
            }
        }
    }

    /// Writes the output for `x` [T, in] into `y` [T, out], or adds it.
    pub(crate) fn forward(
        &self,
        device: &Device,
        adapters: &Adapters,
        (x, y): (&Rows, &Rows),
        add: bool,
        pass: Pass,
    ) -> Result<Option<Kept>> {
        let beta = f32::from(u8::from(add));
        let Some(lora) = self.lora.as_ref().filter(|_| pass.adapter) else {
            let (weight, bias) = self.in_use(pass);
            weight.product(device, y, x, 1.0, beta)?;
            add_bias(device, y, bias)?;
            if let Some((a, b, scale)) = self.principal.as_ref().filter(|_| !pass.adapter) {
                let low = device.activations(x.rows, a.rows)?;
                device.product(&low, (x, false), (a, true), 1.0, 0.0)?;
                device.product(y, (&low, false), (b, true), *scale, 1.0)?;
            }
            return Ok(None);
        };
        let dropped = lora.dropped(device, x, pass)?;
        let seen = dropped.as_ref().unwrap_or(x);
        let a = adapters.value(lora.a);
        let low = device.activations(x.rows, a.rows)?;
        device.product(&low, (seen, false), (&a, true), 1.0, 0.0)?;
        let b = adapters.value(lora.b);
        let Some(magnitude) = lora.magnitude else {
            self.weight.product(device, y, x, 1.0, beta)?;
            device.product(y, (&low, false), (&b, true), lora.scale, 1.0)?;
            add_bias(device, y, self.in_use(pass).1)?;
            lora.add_bias(device, adapters, y)?;
            return Ok(Some(Kept {
                low,
                decomposed: None,
            }));
        };
        // As PEFT computes DoRA: the base's output, and the update of it, each times magnitude over norm; only the update
        // sees what dropout leaves.
        let (factors, inverse) = adapters.derived(magnitude, || {
            self.factors(device, adapters, lora, magnitude)
        })?;
        // Logits are f32 whatever the element type is.
        let product = device.unwritten(x.rows, self.weight.outputs(), y.element)?;
        self.weight.product(device, &product, seen, 1.0, 0.0)?;
        if dropped.is_some() {
            self.weight.product(device, y, x, 1.0, beta)?;
            device.add_scaled(y, &product, 1.0, -1.0)?;
        }
        device.product(&product, (&low, false), (&b, true), lora.scale, 1.0)?;
        device.times_columns(y, &product, &factors, 0.0, add || dropped.is_some())?;
        add_bias(device, y, self.in_use(pass).1)?;
        let product = device.as_activations(product)?;
        let decomposed = Some(Decomposed {
            factors,
            inverse,
            product,
        });
        Ok(Some(Kept { low, decomposed }))
    }

    /// Magnitude over norm, and 1 over the norm, of the rows of `W + scale · B A`.
    fn factors(
        &self,
        device: &Device,
        adapters: &Adapters,
        lora: &Lora,
        magnitude: Slot,
    ) -> Result<(Rows, Rows)> {
        let outputs = self.weight.outputs();
        let factors = device.unwritten(1, outputs, Element::F32)?;
        let inverse = device.unwritten(1, outputs, Element::F32)?;
        let (a, b) = (adapters.value(lora.a), adapters.value(lora.b));
        let magnitudes = adapters.exact(magnitude);
        self.weight.panels(device, |from, panel| {
            let updated = device.copy(panel)?;
            let b = b.rows(from, panel.rows);
            device.product(&updated, (&b, false), (&a, false), lora.scale, 1.0)?;
            let part = |all: &Rows| all.columns(from, panel.rows);
            device.row_norms(
                &part(&inverse),
                &part(&factors),
                &part(&magnitudes),
                &updated,
            )
        })?;
        Ok((factors, inverse))
    }

    /// Adds the gradients of what trains, given `x`, what [`Self::forward`] left and the gradient `dy` [T, out]; writes the
    /// gradient of `x` into `dx`, or adds it, where the layers below need one.
    pub(crate) fn backward(
        &self,
        device: &Device,
        adapters: &Adapters,
        (x, kept, dy): (&Rows, Option<&Kept>, &Rows),
        dx: Option<&Rows>,
        add: bool,
        pass: Pass,
    ) -> Result<()> {
        let beta = f32::from(u8::from(add));
        let (weight, bias) = self.in_use(pass);
        weight.add_gradient(device, x, dy, 1.0)?;
        if let Some(bias) = bias {
            bias.add_bias_gradient(device, dy)?;
        }
        let Some((lora, kept)) = self.lora.as_ref().zip(kept) else {
            return match dx {
                Some(dx) => weight.product_back(device, dx, dy, 1.0, beta),
                None => Ok(()),
            };
        };
        let mut scaled = None;
        if let (Some(decomposed), Some(magnitude)) = (&kept.decomposed, lora.magnitude) {
            let grad = adapters.gradient(magnitude);
            device.column_dots(&grad, &decomposed.inverse, dy, &decomposed.product)?;
            let out = device.activations(dy.rows, dy.width)?;
            device.times_columns(&out, dy, &decomposed.factors, 0.0, false)?;
            scaled = Some(out);
        }
        // What the low-rank update gets back: with DoRA the gradient times magnitude over norm.
        let d_update = scaled.as_ref().unwrap_or(dy);
        lora.add_bias_gradient(device, adapters, dy)?;
        let (a, b) = (adapters.value(lora.a), adapters.value(lora.b));
        let d_low = device.activations(dy.rows, a.rows)?;
        device.product(&d_low, (d_update, false), (&b, false), 1.0, 0.0)?;
        let mask = lora.mask(pass);
        if let Some(dx) = dx {
            let through_base = if mask.is_some() { dy } else { d_update };
            self.weight
                .product_back(device, dx, through_base, 1.0, beta)?;
            if mask.is_none() {
                device.product(dx, (&d_low, false), (&a, false), lora.scale, 1.0)?;
            }
        }
        let d_b = adapters.gradient(lora.b);
        device.product(&d_b, (d_update, true), (&kept.low, false), lora.scale, 1.0)?;
        let dropped = lora.dropped(device, x, pass)?;
        let seen = dropped.as_ref().unwrap_or(x);
        let d_a = adapters.gradient(lora.a);
        device.product(&d_a, (&d_low, true), (seen, false), lora.scale, 1.0)?;
        let (Some(dx), Some(seed)) = (dx, mask) else {
            return Ok(());
        };
        let through = device.activations(dx.rows, dx.width)?;
        device.product(&through, (&d_low, false), (&a, false), lora.scale, 0.0)?;
        if let Some(decomposed) = &kept.decomposed {
            let difference = device.activations(dy.rows, dy.width)?;
            device.times_columns(&difference, dy, &decomposed.factors, -1.0, false)?;
            self.weight
                .product_back(device, &through, &difference, 1.0, 1.0)?;
        }
        device.dropout(dx, &through, lora.dropout, seed, true)
    }
}

fn add_bias(device: &Device, y: &Rows, bias: Option<&Vector>) -> Result<()> {
    match bias {
        Some(bias) => device.add_bias(y, &bias.values),
        None => Ok(()),
    }
}
