//! Texts that are written on a device: their keys and values stay there, and a step computes one token of each.

use super::decoder::Decoder;
use super::machine::Element;
use super::ops::{HeadsArgument, KeptRows, NewRows, Tiles};
use super::rows::{Device, Rows};
use super::setting::Setting;
use crate::generate::TextModel;
use crate::model::{Description, Pass};
use crate::ops::Span;
use crate::{Error, Result};

/// Keys and values of one text on a device, in the element type.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Of each layer `capacity` rows: [layers · capacity, 2 · kv_heads · D].
    memory: Rows,
    len: usize,
    capacity: usize,
}

impl Cache {
    fn kept(&self) -> KeptRows<'_> {
        KeptRows {
            memory: &self.memory,
            capacity: self.capacity,
        }
    }

    /// The first `len` rows of a layer.
    fn rows(&self, layer: usize, len: usize) -> Rows {
        self.memory.rows(layer * self.capacity, len)
    }
}

/// Tokens of a prompt that are computed at once: bounds what activations need.
const CHUNK: usize = if cfg!(test) { 24 } else { 2048 };

/// New tokens of a text from which on they go through attention by tiles, as in training; fewer go row by row.
const TILED: usize = 16;

/// New tokens of some texts, one behind the other, on their way through the layers.
struct New<'a> {
    device: &'a Device,
    rows: NewRows,
    /// Where there is one text with many new tokens: it, and their tiles.
    tiled: Option<(&'a Cache, &'a Tiles)>,
}

impl New<'_> {
    /// Keeps keys and values, and gives what attention makes of these and of all before them: [T, heads · D].
    fn attend(&self, layer: usize, qkv: Rows, heads: HeadsArgument) -> Result<Rows> {
        let device = self.device;
        device.keep(&qkv, &self.rows, layer, heads)?;
        let Some((cache, tiles)) = self.tiled else {
            return device.attention_step(&qkv, &self.rows, layer, heads);
        };
        let past = cache.len;
        if past == 0 {
            return Ok(device.attention(&qkv, tiles, heads)?.0);
        }
        // The tiles begin behind the past, whose queries nobody reads and nobody has.
        let all = device.activations(past + qkv.rows, qkv.width)?;
        let queries = (heads.heads * heads.dim) as usize;
        let before = all.rows(0, past).columns(queries, qkv.width - queries);
        device.place(&before, &cache.rows(layer, past))?;
        device.place(&all.rows(past, qkv.rows), &qkv)?;
        let heads = HeadsArgument {
            tokens: all.rows as i32,
            ..heads
        };
        let (attended, _) = device.attention(&all, tiles, heads)?;
        Ok(attended.rows(past, qkv.rows))
    }
}

impl Decoder {
    /// Logits of the tokens after the new ones of each text: of the last one where it is one text, else of one each. With
    /// each cache come its new tokens and the length of its text once all of it is read.
    fn written(
        &self,
        texts: &mut [(&mut Cache, &[u32], usize)],
        adapter: bool,
    ) -> Result<Vec<Vec<f32>>> {
        let (d, device) = (&self.description, &self.device);
        let (mut ids, mut positions, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for (cache, tokens, _) in texts.iter() {
            for (at, id) in (cache.len..).zip(*tokens) {
                ids.push(*id);
                positions.push(at as u32);
                places.push((cache.kept(), at));
            }
        }
        self.check(ids.iter().copied())?;
        let last = positions.iter().max().map_or(0, |last| *last as usize);
        if self.ends.positions.is_some() && last >= d.max_positions {
            return Err(Error::Compute(format!(
                "position {last} of {}",
                d.max_positions
            )));
        }
        let (new, count) = (ids.len(), texts.len());
        let rows = device.new_rows(&places)?;
        let tables = self.angles(texts, new)?;
        let tiled = match &*texts {
            [(cache, tokens, _)] if tokens.len() >= TILED => Some(&**cache),
            _ => None,
        };
        let spans = tiled.map(|cache| Span {
            start: 0,
            len: cache.len + new,
        });
        let past = tiled.map_or(0, |cache| cache.len);
        let tiles = device.tiles_behind(spans.as_slice(), past, d.head_dim)?;
        // The tables have a row for each new token.
        let in_tables: Vec<u32> = (0..new as u32).collect();
        let setting = Setting {
            device,
            adapters: &self.adapters,
            heads: self.heads(new),
            tiles: &tiles,
            tables: &tables,
            positions: &device.ids(&in_tables)?,
            pass: Pass {
                adapter,
                dropout: None,
            },
        };
        let on_way = New {
            device,
            rows,
            tiled: tiled.map(|cache| (cache, &tiles)),
        };
        let mut x = self.embed(
            &self.ends.ids(device, &ids)?,
            &device.ids(&positions)?,
            new,
            setting.pass,
        )?;
        for (layer, block) in self.blocks.iter().enumerate() {
            x = block.write(&x, &setting, |qkv, heads| on_way.attend(layer, qkv, heads))?;
        }
        for (cache, tokens, _) in texts.iter_mut() {
            cache.len += tokens.len();
        }
        self.logits(&x.rows(new - count, count), setting.pass)
    }

    /// Cosines and sines of every new token, one pair for each rotary embedding: each text's angles hang on its own length.
    fn angles(
        &self,
        texts: &[(&mut Cache, &[u32], usize)],
        new: usize,
    ) -> Result<Vec<(Rows, Rows)>> {
        let rotaries = self.description.rotaries.iter();
        let tables = rotaries.map(|rotary| {
            let (mut cos, mut sin) = (Vec::new(), Vec::new());
            for (cache, tokens, total) in texts {
                let table = rotary.table(cache.len, tokens.len(), *total)?;
                cos.extend(table.cos.flatten_all()?.to_vec1::<f32>()?);
                sin.extend(table.sin.flatten_all()?.to_vec1::<f32>()?);
            }
            let put = |values: &[f32]| {
                let table = self.device.floats(values)?;
                Ok::<_, Error>(table.reshaped(new, values.len() / new))
            };
            Ok((put(&cos)?, put(&sin)?))
        });
        tables.collect()
    }

    /// Logits of rows of the last layer's output: [N, H] to N times [V].
    fn logits(&self, x: &Rows, pass: Pass) -> Result<Vec<Vec<f32>>> {
        let (d, device) = (&self.description, &self.device);
        let normed = self.norm.forward(device, x, pass)?;
        let logits = device.unwritten(x.rows, d.vocab, Element::F32)?;
        self.ends.head_forward(self.on(), &normed, &logits, pass)?;
        if let Some(cap) = d.logits_cap {
            device.soft_cap(&logits, cap)?;
        }
        let all = logits.read()?;
        Ok(all.chunks(d.vocab).map(<[f32]>::to_vec).collect())
    }
}

impl TextModel for Decoder {
    type Cache = Cache;

    fn description(&self) -> &Description {
        &self.description
    }

    fn cache(&self, capacity: usize) -> Result<Cache> {
        let d = &self.description;
        let rows = self.blocks.len() * capacity;
        Ok(Cache {
            memory: self.device.activations(rows, 2 * d.kv_heads * d.head_dim)?,
            len: 0,
            capacity,
        })
    }

    fn copied(&self, cache: &Cache) -> Result<Cache> {
        let mut copy = self.cache(cache.capacity)?;
        for layer in 0..self.blocks.len() {
            let (to, from) = (copy.rows(layer, cache.len), cache.rows(layer, cache.len));
            self.device.place(&to, &from)?;
        }
        copy.len = cache.len;
        Ok(copy)
    }

    fn forget(&self, cache: &mut Cache) {
        cache.len = 0;
    }

    fn read(&self, cache: &mut Cache, tokens: &[u32], adapter: bool) -> Result<Vec<f32>> {
        let total = cache.len + tokens.len();
        let mut last = Vec::new();
        for chunk in tokens.chunks(CHUNK) {
            last = self.written(&mut [(&mut *cache, chunk, total)], adapter)?;
        }
        Ok(last.swap_remove(0))
    }

    fn step(
        &self,
        caches: &mut [&mut Cache],
        tokens: &[u32],
        adapter: bool,
    ) -> Result<Vec<Vec<f32>>> {
        let mut texts: Vec<(&mut Cache, &[u32], usize)> = caches
            .iter_mut()
            .zip(tokens.chunks(1))
            .map(|(cache, token)| {
                let total = cache.len + 1;
                (&mut **cache, token, total)
            })
            .collect();
        self.written(&mut texts, adapter)
    }
}
