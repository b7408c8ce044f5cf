//! The two ends of a decoder on a device, embedding and head, with their adapters: as in `model`.

use super::adapters::{Adapters, Slot};
use super::linear::{Kept, Linear, Lora};
use super::machine::Element;
use super::matrix::Matrix;
use super::ops::Along;
use super::rows::{Bytes, Device, Rows};
use super::tokens::{Found, TokenRows};
use crate::Result;
use crate::model::{self, Batch, Pass};

/// Embedding, learned positions and head, each with what an adapter has in its place or beside it.
#[derive(Debug)]
pub(super) struct Ends {
    embedding: Matrix,
    pub(super) positions: Option<Matrix>,
    /// The embedding's weight where the model has no head of its own.
    head: Matrix,
    saved_embedding: Option<Matrix>,
    saved_positions: Option<Matrix>,
    saved_head: Option<Matrix>,
    /// A [r, V] and B [H, r]: rows of the embedding get `scale · A[:, id]ᵀ Bᵀ`, and with DoRA [H] magnitudes.
    embedding_lora: Option<Lora>,
    /// The head with its adapter.
    adapted_head: Option<Linear>,
    embedding_tokens: Option<TokenRows>,
    /// The embedding's where the head is the embedding and has no others.
    head_tokens: Option<TokenRows>,
    embedding_scale: f32,
    logits_scale: f32,
    padding: Option<u32>,
}

/// Ids of a batch on a device, and those among them whose rows an adapter has.
#[derive(Debug)]
pub(super) struct Ids {
    all: Bytes,
    own: Option<Found>,
}

/// A device, and what trains on it.
type On<'a> = (&'a Device, &'a Adapters);

/// Columns of the embedding adapter's A: [T, r].
fn low((device, adapters): On<'_>, lora: &Lora, ids: &Bytes, tokens: usize) -> Result<Rows> {
    device.gather_columns(&adapters.value(lora.a), ids.address(), tokens)
}

impl Ends {
    pub(super) fn place(
        device: &Device,
        decoder: &model::Decoder,
        adapters: &Adapters,
    ) -> Result<Self> {
        let matrix = |matrix: &model::Matrix| Matrix::place(device, matrix, adapters);
        let maybe = |held: &Option<model::Matrix>| held.as_ref().map(matrix).transpose();
        let embedding = matrix(&decoder.embedding)?;
        let head = maybe(&decoder.head)?.unwrap_or_else(|| embedding.clone());
        let adapted_head = decoder.head_lora.as_ref();
        let adapted_head =
            adapted_head.map(|lora| Linear::adapted(head.clone(), Some(lora), adapters));
        let embedding_lora = decoder.embedding_lora.as_ref();
        let embedding_lora = embedding_lora.map(|lora| Lora::place(lora, adapters));
        let token_rows = |tokens| TokenRows::place((device, adapters), tokens);
        let embedding_tokens = decoder.embedding_tokens.as_ref().map(token_rows);
        let head_tokens = decoder.head_tokens_in_use().map(token_rows);
        Ok(Self {
            positions: maybe(&decoder.positions)?,
            saved_embedding: maybe(&decoder.saved_embedding)?,
            saved_positions: maybe(&decoder.saved_positions)?,
            saved_head: match decoder.ties_saved {
                true => maybe(&decoder.saved_embedding)?,
                false => maybe(&decoder.saved_head)?,
            },
            embedding_lora: embedding_lora.transpose()?,
            adapted_head: adapted_head.transpose()?,
            embedding_tokens: embedding_tokens.transpose()?,
            head_tokens: head_tokens.transpose()?,
            embedding_scale: decoder.description.embedding_scale,
            logits_scale: decoder.description.logits_scale,
            padding: decoder.description.padding,
            embedding,
            head,
        })
    }

    fn embedding_in_use(&self, adapter: bool) -> &Matrix {
        let saved = self.saved_embedding.as_ref().filter(|_| adapter);
        saved.unwrap_or(&self.embedding)
    }

    fn positions_in_use(&self, adapter: bool) -> Option<&Matrix> {
        let saved = self.saved_positions.as_ref().filter(|_| adapter);
        saved.or(self.positions.as_ref())
    }

    fn head_in_use(&self, adapter: bool) -> &Matrix {
        let saved = self.saved_head.as_ref().filter(|_| adapter);
        saved.unwrap_or(&self.head)
    }

    /// Copies ids to a device.
    pub(super) fn ids(&self, device: &Device, ids: &[u32]) -> Result<Ids> {
        let own = self.embedding_tokens.as_ref();
        Ok(Ids {
            all: device.ids(ids)?,
            own: own.map(|tokens| tokens.find(device, ids)).transpose()?,
        })
    }

    /// What the first layer is given of so many ids and their positions: [T, H].
    pub(super) fn embed(
        &self,
        on: On<'_>,
        ids: &Ids,
        positions: &Bytes,
        tokens: usize,
        adapter: bool,
    ) -> Result<Rows> {
        let (device, factor) = (on.0, self.embedding_scale);
        let table = self.embedding_in_use(adapter);
        let x = match self.embedding_lora.as_ref().filter(|_| adapter) {
            None => table.gather(device, &ids.all, tokens, factor)?,
            Some(lora) => {
                let low = low(on, lora, &ids.all, tokens)?;
                let mut x = self.updated(on, lora, &low, &ids.all)?;
                if let Some(magnitude) = lora.magnitude {
                    let (factors, _) = self.column_factors(on, lora, magnitude)?;
                    let decomposed = device.activations(x.rows, x.width)?;
                    device.times_columns(&decomposed, &x, &factors, 0.0, false)?;
                    x = decomposed;
                }
                scale(device, &x, factor)?;
                x
            }
        };
        let own = self.embedding_tokens.as_ref().filter(|_| adapter);
        if let Some((own, found)) = own.zip(ids.own.as_ref()) {
            own.put(on, &x, found, factor)?;
        }
        if let Some(table) = self.positions_in_use(adapter) {
            let positions = table.gather(device, positions, tokens, 1.0)?;
            device.add_scaled(&x, &positions, 1.0, 1.0)?;
        }
        Ok(x)
    }

    /// Rows of the embedding with their update: [T, H].
    fn updated(
        &self,
        (device, adapters): On<'_>,
        lora: &Lora,
        low: &Rows,
        ids: &Bytes,
    ) -> Result<Rows> {
        let x = self.embedding.gather(device, ids, low.rows, 1.0)?;
        let b = adapters.value(lora.b);
        device.product(&x, (low, false), (&b, true), lora.scale, 1.0)?;
        Ok(x)
    }

    /// Magnitude over length, and 1 over the length, of the columns of the updated embedding.
    fn column_factors(
        &self,
        (device, adapters): On<'_>,
        lora: &Lora,
        magnitude: Slot,
    ) -> Result<(Rows, Rows)> {
        adapters.derived(magnitude, || {
            let (a, b) = (adapters.value(lora.a), adapters.value(lora.b));
            let width = adapters.value(lora.b).rows;
            let squares = device.zeros(1, width, Element::F32)?;
            let ones = device.floats(&vec![1.0; width])?;
            self.embedding.panels(device, |from, panel| {
                let updated = device.copy(panel)?;
                let a = a.columns(from, panel.rows);
                device.product(&updated, (&a, true), (&b, true), lora.scale, 1.0)?;
                device.column_dots(&squares, &ones, &updated, &updated)
            })?;
            let factors = device.unwritten(1, width, Element::F32)?;
            let inverse = device.unwritten(1, width, Element::F32)?;
            device.root_factors(&inverse, &factors, &adapters.exact(magnitude), &squares)?;
            Ok((factors, inverse))
        })
    }

    /// Adds the gradients of embedding, learned positions and the embedding's adapter, given that of what [`Self::embed`]
    /// returned, which is changed.
    pub(super) fn embed_back(&self, on: On<'_>, dx: &Rows, ids: &Ids, batch: &Batch) -> Result<()> {
        let (device, adapters) = on;
        let positions = self.positions_in_use(true);
        if let Some(gradient) = positions.and_then(|table| table.gradient.as_ref()) {
            let positions = batch.positions.to_vec1::<u32>()?;
            let groups = device.groups(positions.into_iter().map(Some))?;
            device.add_groups(gradient, Along::Rows, dx, &groups, 1.0)?;
        }
        let table = self.embedding_in_use(true).gradient.as_ref();
        let tokens = self.embedding_tokens.as_ref();
        if table.is_none() && self.embedding_lora.is_none() && tokens.is_none() {
            return Ok(());
        }
        let all = batch.ids.to_vec1::<u32>()?;
        scale(device, dx, self.embedding_scale)?;
        if let Some(tokens) = tokens {
            return tokens.put_back(on, dx, &all, self.padding);
        }
        // PyTorch's embeddings keep the padding's row as it is.
        let kept = |id: u32| Some(id).filter(|_| Some(id) != self.padding);
        let groups = device.groups(all.into_iter().map(kept))?;
        if let Some(gradient) = table {
            device.add_groups(gradient, Along::Rows, dx, &groups, 1.0)?;
        }
        let Some(lora) = &self.embedding_lora else {
            return Ok(());
        };
        let low = low(on, lora, &ids.all, dx.rows)?;
        let mut scaled = None;
        if let Some(magnitude) = lora.magnitude {
            let product = self.updated(on, lora, &low, &ids.all)?;
            let (factors, inverse) = self.column_factors(on, lora, magnitude)?;
            let gradient = adapters.gradient(magnitude);
            device.column_dots(&gradient, &inverse, dx, &product)?;
            device.times_columns(&product, dx, &factors, 0.0, false)?;
            scaled = Some(product);
        }
        let dy = scaled.as_ref().unwrap_or(dx);
        let d_b = adapters.gradient(lora.b);
        device.product(&d_b, (dy, true), (&low, false), lora.scale, 1.0)?;
        let b = adapters.value(lora.b);
        let d_low = device.activations(dy.rows, b.width)?;
        device.product(&d_low, (dy, false), (&b, false), 1.0, 0.0)?;
        let d_a = adapters.gradient(lora.a);
        device.add_groups(&d_a, Along::Columns, &d_low, &groups, lora.scale)
    }

    /// Logits before their cap of rows behind the final norm, into `logits` [N, V] in f32. Returns what the backward pass needs
    /// of an adapter.
    pub(super) fn head_forward(
        &self,
        (device, adapters): On<'_>,
        normed: &Rows,
        logits: &Rows,
        pass: Pass,
    ) -> Result<Option<Kept>> {
        let factor = self.logits_scale;
        let Some(head) = self.adapted_head.as_ref().filter(|_| pass.adapter) else {
            let head = self.head_in_use(pass.adapter);
            head.product(device, logits, normed, factor, 0.0)?;
            if let Some(tokens) = self.head_tokens.as_ref().filter(|_| pass.adapter) {
                tokens.head((device, adapters), normed, logits, factor)?;
            }
            return Ok(None);
        };
        let kept = head.forward(device, adapters, (normed, logits), false, pass)?;
        scale(device, logits, factor)?;
        Ok(kept)
    }

    /// Writes the gradient of `normed` [N, H] and adds the head's, given that of the logits [N, V], which is changed.
    pub(super) fn head_backward(
        &self,
        (device, adapters): On<'_>,
        (normed, kept): (&Rows, Option<&Kept>),
        d_logits: &Rows,
        d_normed: &Rows,
        pass: Pass,
    ) -> Result<()> {
        let factor = self.logits_scale;
        let Some(head) = self.adapted_head.as_ref().filter(|_| kept.is_some()) else {
            let head = self.head_in_use(pass.adapter);
            let tokens = self.head_tokens.as_ref().filter(|_| pass.adapter);
            let own = tokens.map(|tokens| tokens.head_back(device, d_logits));
            let own = own.transpose()?;
            head.add_gradient(device, normed, d_logits, factor)?;
            // The factor belongs to the product: what is stored has the size of a probability.
            head.product_back(device, d_normed, d_logits, factor, 0.0)?;
            return match tokens.zip(own) {
                Some((tokens, own)) => {
                    tokens.head_gradient((device, adapters), (normed, &own), d_normed, factor)
                }
                None => Ok(()),
            };
        };
        scale(device, d_logits, factor)?;
        let given = (normed, kept, d_logits);
        head.backward(device, adapters, given, Some(d_normed), false, pass)
    }
}

fn scale(device: &Device, x: &Rows, factor: f32) -> Result<()> {
    match factor == 1.0 {
        true => Ok(()),
        false => device.add_scaled(x, x, 0.0, factor),
    }
}
