use super::adapters::Adapters;
use super::block::{Block, Saved};
use super::ends::{Ends, Ids};
use super::linear::Kept;
use super::machine::Element;
use super::norm::Norm;
use super::ops::{HeadsArgument, Sums, Tiles, WIDEST_HEAD};
use super::rows::{Bytes, Device, Rows};
use super::setting::Setting;
use super::tables::Tables;
use crate::distributed::Collective;
use crate::estimate::DEVICE_LOGITS as LOGITS;
use crate::model::{self, Batch, Description, Parameter, Pass, TokenLoss, Weigh};
use crate::{Error, Result, ops};

/// A decoder whose weights and adapter lie on a device: its parts and its step here, the ends in `ends`.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(crate) device: Device,
    pub(crate) adapters: Adapters,
    pub(super) description: Description,
    pub(super) ends: Ends,
    pub(super) blocks: Vec<Block>,
    pub(super) norm: Norm,
    pub(super) tables: Tables,
    /// The lowest layer with something that trains: below it no gradient is needed.
    lowest: usize,
    embedding_trains: bool,
    neftune_noise_alpha: f64,
    /// As [`model::Decoder::segment`].
    pub(crate) segment: usize,
}

/// A batch on a device, and what all layers need of it.
struct Placed {
    ids: Ids,
    positions: Bytes,
    rows: Bytes,
    targets: Bytes,
    tiles: Tiles,
    heads: HeadsArgument,
    tables: Vec<(Rows, Rows)>,
}

/// Numbers that are told of a row's loss.
const STATISTICS: usize = 3;

/// Rows that a product on tensor cores takes at once: a few more cost as much as all of them.
const ROWS_AT_ONCE: usize = 128;

/// What a device cannot do, by its setting's name.
fn refuse(decoder: &model::Decoder) -> Result<()> {
    let description = &decoder.description;
    if description.head_dim <= WIDEST_HEAD {
        return Ok(());
    }
    let message = format!(
        "has a head_dim of {}; a GPU takes {WIDEST_HEAD} at most",
        description.head_dim
    );
    Err(domain::FieldErrors::one("model.path", message).into())
}

/// What lies in [`Adapters`]: the base's tensors that train, and all of the adapter.
fn parameters(decoder: &model::Decoder) -> Vec<&Parameter> {
    let base = decoder.base();
    let base = base.iter().filter_map(|stored| stored.parameter());
    let mut all: Vec<_> = base.filter(|parameter| parameter.grad.is_some()).collect();
    all.extend(decoder.adapter_parameters());
    all
}

impl Decoder {
    /// Copies a decoder to a device.
    ///
    /// # Errors
    /// It holds what a device cannot do, by the setting's name, or does not fit into the memory there.
    pub(crate) fn place(device: Device, decoder: &model::Decoder) -> Result<Self> {
        refuse(decoder)?;
        let adapters = Adapters::place(&device, &parameters(decoder))?;
        let blocks = decoder
            .blocks
            .iter()
            .map(|block| Block::place(&device, block, &adapters));
        Ok(Self {
            blocks: blocks.collect::<Result<_>>()?,
            description: decoder.description.clone(),
            ends: Ends::place(&device, decoder, &adapters)?,
            norm: Norm::place(&device, &decoder.norm, &adapters)?,
            tables: Tables::default(),
            lowest: decoder.lowest_trainable(),
            embedding_trains: decoder.embedding_trains(),
            neftune_noise_alpha: decoder.neftune_noise_alpha,
            segment: decoder.segment,
            adapters,
            device,
        })
    }

    /// Adds up the adapters' gradients over all processes: among the machines, or by way of the host.
    pub(crate) fn sum_gradients(&self, group: &dyn Collective) -> Result<()> {
        let gradients = &self.adapters.gradients;
        match self.device.machine.peers() {
            Ok(peers) if peers.joined() => {
                let look = &mut || group.look();
                // SAFETY: all processes have the same adapter, which they compared at the start, and make the same calls.
                unsafe { peers.sum(gradients.address, gradients.width, look) }
            }
            _ => self.adapters.change_gradients(|all| group.sum_all(all)),
        }
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
        let tokens = batch.ids.to_vec1::<u32>()?;
        self.check(tokens.iter().copied())?;
        self.check(batch.targets.to_vec1::<u32>()?)?;
        Ok(Placed {
            ids: self.ends.ids(device, &tokens)?,
            positions: ids(&batch.positions)?,
            rows: ids(&batch.rows)?,
            targets: ids(&batch.targets)?,
            tiles: device.tiles(&batch.spans, d.head_dim)?,
            heads: self.heads(batch.tokens),
            tables: self.tables.of(device, d, batch.longest)?,
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
    pub(super) fn embed(
        &self,
        ids: &Ids,
        positions: &Bytes,
        tokens: usize,
        pass: Pass,
    ) -> Result<Rows> {
        let on = self.on();
        self.ends.embed(on, ids, positions, tokens, pass.adapter)
    }

    pub(super) fn on(&self) -> (&Device, &Adapters) {
        (&self.device, &self.adapters)
    }

    /// Rows of `x` whose next token is supervised, behind the final norm, with what the norm was given.
    fn chosen(&self, x: &Rows, placed: &Placed, batch: &Batch, pass: Pass) -> Result<(Rows, Rows)> {
        let chosen = self.device.activations(batch.supervised, x.width)?;
        if batch.supervised > 0 {
            self.device
                .gather(&chosen, x, placed.rows.address(), 1.0, false)?;
        }
        Ok((self.norm.forward(&self.device, &chosen, pass)?, chosen))
    }

    /// Calls `f` with some rows behind the final norm at a time, and their logits.
    fn head_chunks(
        &self,
        normed: &Rows,
        pass: Pass,
        mut f: impl FnMut(HeadChunk) -> Result<()>,
    ) -> Result<()> {
        let vocab = self.description.vocab;
        let chunk = match LOGITS / 4 / vocab {
            rows @ ROWS_AT_ONCE.. => rows / ROWS_AT_ONCE * ROWS_AT_ONCE,
            rows => rows.max(16),
        };
        let buffer = self
            .device
            .unwritten_apart(chunk.min(normed.rows), vocab, Element::F32)?;
        for from in (0..normed.rows).step_by(chunk) {
            let len = chunk.min(normed.rows - from);
            let (normed, logits) = (normed.rows(from, len), buffer.rows(0, len));
            // Each chunk drops other elements of its rows, as on the processor.
            let pass = Pass {
                dropout: pass.dropout.map(|seed| ops::seed_of(&[seed, from as u64])),
                ..pass
            };
            let kept = self.ends.head_forward(self.on(), &normed, &logits, pass)?;
            f(HeadChunk {
                from,
                normed,
                logits,
                kept,
                pass,
            })?;
        }
        Ok(())
    }

    fn logits_cap(&self) -> f32 {
        self.description.logits_cap.unwrap_or(0.0)
    }

    /// Losses of rows behind the final norm.
    fn head_losses(&self, normed: &Rows, placed: &Placed, pass: Pass) -> Result<Vec<TokenLoss>> {
        let statistics = self.statistics(normed.rows)?;
        self.head_chunks(normed, pass, |chunk| {
            self.cross_entropy(&statistics, &chunk, placed).map(drop)
        })?;
        let statistics = statistics.read()?;
        let rows = statistics.as_chunks::<3>().0.iter();
        let losses = rows.map(|row| TokenLoss {
            loss: row[0],
            likeliest: row[2] == 1.0,
        });
        Ok(losses.collect())
    }

    /// What is told of so many rows' losses: [N, 3].
    fn statistics(&self, rows: usize) -> Result<Rows> {
        self.device.unwritten(rows, STATISTICS, Element::F32)
    }

    /// Writes the statistics of a chunk among those of all rows; where they are, and the chunk's targets.
    fn cross_entropy(&self, all: &Rows, chunk: &HeadChunk, placed: &Placed) -> Result<(Rows, u64)> {
        let own = all.rows(chunk.from, chunk.logits.rows);
        let targets = placed.targets.address() + 4 * chunk.from as u64;
        let cap = self.logits_cap();
        self.device
            .cross_entropy(&own, &chunk.logits, targets, cap)?;
        Ok((own, targets))
    }

    /// The loss of each supervised token, in the batch's order of rows.
    pub(crate) fn token_losses(&self, batch: &Batch, adapter: bool) -> Result<Vec<TokenLoss>> {
        let pass = Pass {
            adapter,
            dropout: None,
        };
        let placed = self.put(batch)?;
        let setting = self.setting(&placed, pass);
        let mut x = self.embed(&placed.ids, &placed.positions, batch.tokens, pass)?;
        for block in &self.blocks {
            x = block.forward(x, &setting)?.0;
        }
        let (normed, _) = self.chosen(&x, &placed, batch, pass)?;
        self.head_losses(&normed, &placed, pass)
    }

    /// Adds the gradient of a batch's weighted losses, as [`model::Decoder::weighted_loss_and_gradient`] does, and their sum to
    /// one of the `losses`. Weights that hang on the losses wait for these; otherwise nothing here waits for the device.
    pub(crate) fn add_gradient(
        &self,
        batch: &Batch,
        weigh: &mut Weigh<'_>,
        dropout: Option<u64>,
        losses: Option<(&Sums, usize)>,
    ) -> Result<()> {
        let device = &self.device;
        let pass = Pass {
            adapter: true,
            dropout,
        };
        let placed = self.put(batch)?;
        let setting = self.setting(&placed, pass);
        let mut x = self.embed(&placed.ids, &placed.positions, batch.tokens, pass)?;
        if let Some(seed) = dropout {
            self.add_noise(&x, batch, seed)?;
        }
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

        let (normed, chosen) = self.chosen(&x, &placed, batch, pass)?;
        drop(x);
        let d_normed = device.activations(normed.rows, normed.width)?;
        let statistics = self.head_gradient((&normed, &d_normed), &placed, weigh, pass)?;
        if let Some((sums, at)) = losses {
            device.add_up(sums, at, &statistics, STATISTICS)?;
        }
        drop((normed, statistics));
        let dx = device.zeros(batch.tokens, self.description.hidden, device.element)?;
        if batch.supervised > 0 {
            self.norm
                .backward(device, &d_normed, (&chosen, &d_normed), false, pass)?;
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
                let below = number + index > 0 || self.embedding_trains;
                block.backward(&dx, keep, &setting, below)?;
            }
        }
        if self.embedding_trains {
            self.ends.embed_back(self.on(), &dx, &placed.ids, batch)?;
        }
        Ok(())
    }

    /// As [`ops::add_noise`] does for a training pass, if the run wants noise.
    fn add_noise(&self, x: &Rows, batch: &Batch, seed: u64) -> Result<()> {
        if self.neftune_noise_alpha <= 0.0 {
            return Ok(());
        }
        let bound = |len: usize| ops::noise_bound(self.neftune_noise_alpha, len, x.width);
        let mut bounds = vec![0f32; x.rows];
        for span in batch.spans.iter() {
            bounds[span.start..span.start + span.len].fill(bound(span.len));
        }
        let bounds = self.device.floats(&bounds)?;
        self.device.add_noise(x, &bounds, ops::noise_seed(seed))
    }

    /// Fills `d_normed` and adds the head's gradient; returns the losses' statistics, still on the device.
    fn head_gradient(
        &self,
        (normed, d_normed): (&Rows, &Rows),
        placed: &Placed,
        weigh: &mut Weigh<'_>,
        pass: Pass,
    ) -> Result<Rows> {
        let (device, cap) = (&self.device, self.logits_cap());
        // Weights by losses need all losses first; the logits are computed again rather than kept.
        let weights = match weigh {
            Weigh::Evenly(scale) => vec![*scale; normed.rows],
            Weigh::ByLosses(weigh) => {
                let losses = self.head_losses(normed, placed, pass)?;
                weigh(&losses.iter().map(|token| token.loss).collect::<Vec<_>>())?
            }
        };
        let weights = device.floats(&weights)?;
        let statistics = self.statistics(normed.rows)?;
        self.head_chunks(normed, pass, |chunk| {
            let logits = &chunk.logits;
            let weights = weights.columns(chunk.from, logits.rows).address;
            let (own, targets) = self.cross_entropy(&statistics, &chunk, placed)?;
            let d_logits = device.unwritten_apart(logits.rows, logits.width, device.element)?;
            let given = (logits, &own);
            device.cross_entropy_gradient(&d_logits, given, (targets, weights), cap, 1.0)?;
            let d_normed = d_normed.rows(chunk.from, logits.rows);
            let given = (&chunk.normed, chunk.kept.as_ref());
            self.ends
                .head_backward(self.on(), given, &d_logits, &d_normed, chunk.pass)
        })?;
        Ok(statistics)
    }
}

/// Some rows behind the final norm, and their logits before the cap.
struct HeadChunk {
    from: usize,
    /// [n, H].
    normed: Rows,
    /// [n, V], in f32.
    logits: Rows,
    /// Of the head's adapter.
    kept: Option<Kept>,
    pass: Pass,
}
