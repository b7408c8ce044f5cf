use super::adapters::Adapters;
use super::block::{Block, Saved};
use super::machine::Element;
use super::matrix::Matrix;
use super::norm::Norm;
use super::ops::{HeadsArgument, Tiles, WIDEST_HEAD};
use super::rows::{Bytes, Device, Rows};
use super::setting::Setting;
use crate::distributed::Collective;
use crate::model::{self, Batch, Description, Pass, TokenLoss};
use crate::{Error, Result};

/// A decoder whose weights and adapter lie on a device.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(crate) device: Device,
    pub(crate) adapters: Adapters,
    pub(super) description: Description,
    embedding: Matrix,
    pub(super) positions: Option<Matrix>,
    pub(super) blocks: Vec<Block>,
    pub(super) norm: Norm,
    /// `None` where the head is the embedding.
    head: Option<Matrix>,
    /// The lowest layer with an adapter: below it no gradient is needed.
    lowest: usize,
    /// As [`model::Decoder::segment`].
    pub(crate) segment: usize,
}

/// A batch on a device, and what all layers need of it.
struct Placed {
    ids: Bytes,
    positions: Bytes,
    rows: Bytes,
    targets: Bytes,
    tiles: Tiles,
    heads: HeadsArgument,
    tables: Vec<(Rows, Rows)>,
}

/// Bytes of f32 logits that are held at a time.
const LOGITS: usize = 256 << 20;

/// What a device cannot do yet, by its setting's name.
fn refuse(decoder: &model::Decoder) -> Result<()> {
    let d = &decoder.description;
    let saved = decoder.saved_parameters().next().is_some();
    let ends = decoder.embedding_lora.is_some() || decoder.head_lora.is_some();
    let trains = decoder.base().iter().any(|stored| {
        stored
            .parameter()
            .is_some_and(|parameter| parameter.grad.is_some())
    });
    let cpu = "is not done on a GPU yet; set model.device = \"cpu\"";
    for (wrong, field, message) in [
        (saved, "lora.modules_to_save", cpu.to_owned()),
        (
            ends,
            "lora.target_modules",
            format!("with embedding or head {cpu}"),
        ),
        (trains, "train.method", format!("full {cpu}")),
        (
            decoder.neftune_noise_alpha > 0.0,
            "train.neftune_noise_alpha",
            cpu.to_owned(),
        ),
        (
            d.head_dim > WIDEST_HEAD,
            "model.path",
            format!(
                "has a head_dim of {}; a GPU takes {WIDEST_HEAD} at most",
                d.head_dim
            ),
        ),
    ] {
        if wrong {
            return Err(domain::FieldErrors::one(field, message).into());
        }
    }
    Ok(())
}

impl Decoder {
    /// Copies a decoder to a device.
    ///
    /// # Errors
    /// It holds what a device cannot do, by the setting's name, or does not fit into the memory there.
    pub(crate) fn place(device: Device, decoder: &model::Decoder) -> Result<Self> {
        refuse(decoder)?;
        let adapters = Adapters::place(&device, &decoder.adapter_parameters())?;
        let matrix = |matrix: &model::Matrix| Matrix::place(&device, matrix);
        let blocks = decoder
            .blocks
            .iter()
            .map(|block| Block::place(&device, block, &adapters));
        let adapted = |block: &model::Block| block.linears().any(|linear| linear.lora.is_some());
        Ok(Self {
            blocks: blocks.collect::<Result<_>>()?,
            description: decoder.description.clone(),
            embedding: matrix(&decoder.embedding)?,
            positions: decoder.positions.as_ref().map(matrix).transpose()?,
            norm: Norm::place(&device, &decoder.norm)?,
            head: decoder.head.as_ref().map(matrix).transpose()?,
            lowest: decoder
                .blocks
                .iter()
                .position(adapted)
                .unwrap_or(decoder.blocks.len()),
            segment: decoder.segment,
            adapters,
            device,
        })
    }

    /// Adds up the adapters' gradients over all processes: among the machines, or by way of the host.
    pub(crate) fn sum_gradients(&self, group: &dyn Collective) -> Result<()> {
        let gradients = &self.adapters.gradients;
        match self.device.machine.peers() {
            // SAFETY: all processes have the same adapter, which they compared at the start, and make the same calls.
            Ok(peers) if peers.joined() => unsafe { peers.sum(gradients.address, gradients.width) },
            _ => self.adapters.change_gradients(|all| group.sum_all(all)),
        }
    }

    pub(super) fn head(&self) -> &Matrix {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Refuses tokens beyond the vocabulary: a kernel would read whatever lies behind the table.
    pub(super) fn check(&self, tokens: impl IntoIterator<Item = u32>) -> Result<()> {
        let (largest, vocab) = (
            tokens.into_iter().max().unwrap_or(0),
            self.description.vocab,
        );
        match (largest as usize) < vocab {
            true => Ok(()),
            false => Err(Error::Compute(format!(
                "token {largest} in a vocabulary of {vocab}"
            ))),
        }
    }

    fn put(&self, batch: &Batch) -> Result<Placed> {
        let (d, device) = (&self.description, &self.device);
        let ids = |ids: &candle_core::Tensor| device.ids(&ids.to_vec1::<u32>()?);
        for tokens in [&batch.ids, &batch.targets] {
            self.check(tokens.to_vec1::<u32>()?)?;
        }
        let table = |table: &candle_core::Tensor| {
            let (rows, width) = table.dims2()?;
            let on = device.unwritten(rows, width, Element::F32)?;
            on.write(&table.flatten_all()?.to_vec1::<f32>()?)?;
            Ok::<_, Error>(on)
        };
        let tables = d.rotaries.iter().map(|rotary| {
            let made = rotary.table(0, batch.longest, batch.longest)?;
            Ok((table(&made.cos)?, table(&made.sin)?))
        });
        Ok(Placed {
            ids: ids(&batch.ids)?,
            positions: ids(&batch.positions)?,
            rows: ids(&batch.rows)?,
            targets: ids(&batch.targets)?,
            tiles: device.tiles(&batch.spans, d.head_dim)?,
            heads: self.heads(batch.tokens),
            tables: tables.collect::<Result<_>>()?,
        })
    }

    /// Heads of that many tokens, without a window.
    pub(super) fn heads(&self, tokens: usize) -> HeadsArgument {
        let d = &self.description;
        HeadsArgument {
            heads: d.heads as i32,
            kv_heads: d.kv_heads as i32,
            dim: d.head_dim as i32,
            tokens: tokens as i32,
            scale: d.attention_scale,
            cap: d.score_cap.unwrap_or(0.0),
            window: 0,
        }
    }

    fn setting<'a>(&'a self, placed: &'a Placed, pass: Pass) -> Setting<'a> {
        Setting {
            device: &self.device,
            adapters: &self.adapters,
            heads: placed.heads,
            tiles: &placed.tiles,
            tables: &placed.tables,
            positions: &placed.positions,
            pass,
        }
    }

    /// What the first layer is given of so many ids and their positions: [T, H].
    pub(super) fn embed(&self, ids: &Bytes, positions: &Bytes, tokens: usize) -> Result<Rows> {
        let (device, scale) = (&self.device, self.description.embedding_scale);
        let x = self.embedding.gather(device, ids, tokens, scale)?;
        if let Some(table) = &self.positions {
            let positions = table.gather(device, positions, tokens, 1.0)?;
            device.add_scaled(&x, &positions, 1.0, 1.0)?;
        }
        Ok(x)
    }

    /// Rows of `x` whose next token is supervised, behind the final norm, with what the norm was given.
    fn chosen(&self, x: &Rows, placed: &Placed, batch: &Batch) -> Result<(Rows, Rows)> {
        let chosen = self.device.activations(batch.supervised, x.width)?;
        if batch.supervised > 0 {
            self.device
                .gather(&chosen, x, placed.rows.address(), 1.0, false)?;
        }
        Ok((self.norm.forward(&self.device, &chosen)?, chosen))
    }

    /// Calls `f` with the logits of some rows at a time and the first row's index.
    fn head_chunks(
        &self,
        normed: &Rows,
        mut f: impl FnMut(usize, &Rows) -> Result<()>,
    ) -> Result<()> {
        let vocab = self.description.vocab;
        let chunk = (LOGITS / 4 / vocab).clamp(16, normed.rows.max(16));
        let buffer = self
            .device
            .unwritten(chunk.min(normed.rows), vocab, Element::F32)?;
        for from in (0..normed.rows).step_by(chunk) {
            let len = chunk.min(normed.rows - from);
            let logits = buffer.rows(0, len);
            let scale = self.description.logits_scale;
            self.head()
                .product(&self.device, &logits, &normed.rows(from, len), scale, 0.0)?;
            f(from, &logits)?;
        }
        Ok(())
    }

    fn logits_cap(&self) -> f32 {
        self.description.logits_cap.unwrap_or(0.0)
    }

    /// The loss of each supervised token, in the batch's order of rows.
    pub(crate) fn token_losses(&self, batch: &Batch, adapter: bool) -> Result<Vec<TokenLoss>> {
        let pass = Pass {
            adapter,
            dropout: None,
        };
        let placed = self.put(batch)?;
        let setting = self.setting(&placed, pass);
        let mut x = self.embed(&placed.ids, &placed.positions, batch.tokens)?;
        for block in &self.blocks {
            x = block.forward(x, &setting)?.0;
        }
        let (normed, _) = self.chosen(&x, &placed, batch)?;
        let mut losses = Vec::with_capacity(batch.supervised);
        self.head_chunks(&normed, |from, logits| {
            let targets = placed.targets.address() + 4 * from as u64;
            let statistics = self
                .device
                .cross_entropy(logits, targets, self.logits_cap())?
                .read()?;
            losses.extend(statistics.as_chunks::<3>().0.iter().map(|row| TokenLoss {
                loss: row[0],
                likeliest: row[2] == 1.0,
            }));
            Ok(())
        })?;
        Ok(losses)
    }

    /// As [`model::Decoder::loss_and_gradient`].
    pub(crate) fn loss_and_gradient(
        &self,
        batch: &Batch,
        scale: f32,
        dropout: Option<u64>,
    ) -> Result<f64> {
        let device = &self.device;
        let pass = Pass {
            adapter: true,
            dropout,
        };
        let placed = self.put(batch)?;
        let setting = self.setting(&placed, pass);
        let mut x = self.embed(&placed.ids, &placed.positions, batch.tokens)?;
        for block in &self.blocks[..self.lowest] {
            x = block.forward(x, &setting)?.0;
        }
        let trained = &self.blocks[self.lowest..];
        let segment = match self.segment {
            0 => trained.len().max(1),
            layers => layers,
        };
        // Of all segments but the last only the input is kept.
        let mut borders = Vec::new();
        let mut saved: Vec<Saved> = Vec::new();
        for (number, blocks) in trained.chunks(segment).enumerate() {
            let keeps = (number + 1) * segment >= trained.len();
            if !keeps {
                borders.push(x.clone());
            }
            for block in blocks {
                let (out, keep) = block.forward(x, &setting)?;
                x = out;
                if keeps {
                    saved.push(keep);
                }
            }
        }

        let (normed, chosen) = self.chosen(&x, &placed, batch)?;
        drop(x);
        let d_normed = device.activations(normed.rows, normed.width)?;
        let losses = self.head_gradient((&normed, &d_normed), &placed, scale)?;
        drop(normed);
        let dx = device.zeros(batch.tokens, self.description.hidden, device.element)?;
        if batch.supervised > 0 {
            self.norm
                .backward(device, &d_normed, (&chosen, &d_normed), false)?;
            device.scatter(&dx, &d_normed, placed.rows.address())?;
        }
        drop((chosen, d_normed));

        for (number, blocks) in trained.chunks(segment).enumerate().rev() {
            if saved.is_empty()
                && let Some(mut x) = borders.pop()
            {
                for block in blocks {
                    let (out, keep) = block.forward(x, &setting)?;
                    x = out;
                    saved.push(keep);
                }
            }
            for (index, block) in blocks.iter().enumerate().rev() {
                let Some(keep) = saved.pop() else { break };
                block.backward(&dx, keep, &setting, number + index > 0)?;
            }
        }
        // Read last: until here nothing has waited for the device.
        let mut loss = 0f64;
        for statistics in losses {
            let rows = statistics.read()?;
            loss += rows
                .as_chunks::<3>()
                .0
                .iter()
                .map(|row| f64::from(row[0]))
                .sum::<f64>();
        }
        Ok(loss)
    }

    /// Fills `d_normed`; the losses are in what it returns, still on the device.
    fn head_gradient(
        &self,
        (normed, d_normed): (&Rows, &Rows),
        placed: &Placed,
        scale: f32,
    ) -> Result<Vec<Rows>> {
        let (device, cap) = (&self.device, self.logits_cap());
        let weights = device.floats(&vec![scale; normed.rows])?;
        let mut losses = Vec::new();
        self.head_chunks(normed, |from, logits| {
            let targets = placed.targets.address() + 4 * from as u64;
            let weights = weights.columns(from, logits.rows).address;
            let statistics = device.cross_entropy(logits, targets, cap)?;
            let d_logits = device.activations(logits.rows, logits.width)?;
            let given = (logits, &statistics);
            // The factor belongs to the product below: what is stored then has the size of a probability.
            device.cross_entropy_gradient(&d_logits, given, (targets, weights), cap, 1.0)?;
            let d_normed = d_normed.rows(from, logits.rows);
            let factor = self.description.logits_scale;
            self.head()
                .product_back(device, &d_normed, &d_logits, factor, 0.0)?;
            losses.push(statistics);
            Ok(())
        })?;
        Ok(losses)
    }
}
