use candle_core::{Device, Tensor};

use crate::Result;
use crate::model::{Decoder, Pass, Setting, thirds};
use crate::ops::{self, Heads, Span};

/// Keys and values of what one text read and wrote so far, so that each token is computed once.
pub(super) struct Cache {
    /// Keys and values of each layer: [capacity, kv_heads · D].
    layers: Vec<(Tensor, Tensor)>,
    len: usize,
    capacity: usize,
}

/// Tokens of a prompt that are computed at once: bounds what activations need.
const CHUNK: usize = 512;

impl Cache {
    pub(super) fn new(decoder: &Decoder, capacity: usize) -> Result<Self> {
        let width = decoder.description.kv_heads * decoder.description.head_dim;
        let one = || ops::unwritten_tensor(&[capacity, width]);
        let layers = decoder
            .blocks
            .iter()
            .map(|_| Ok((one()?, one()?)))
            .collect::<Result<_>>()?;
        Ok(Self {
            layers,
            len: 0,
            capacity,
        })
    }

    /// Another one with the same tokens.
    pub(super) fn copied(&self, decoder: &Decoder) -> Result<Self> {
        let mut copy = Self::new(decoder, self.capacity)?;
        for ((keys, values), (from_keys, from_values)) in copy.layers.iter().zip(&self.layers) {
            for (to, from) in [(keys, from_keys), (values, from_values)] {
                ops::assign(&to.narrow(0, 0, self.len)?, &from.narrow(0, 0, self.len)?)?;
            }
        }
        copy.len = self.len;
        Ok(copy)
    }

    /// Takes in the tokens of one text and returns the logits of the one after the last.
    pub(super) fn read(
        &mut self,
        decoder: &Decoder,
        tokens: &[u32],
        adapter: bool,
    ) -> Result<Vec<f32>> {
        let mut last = None;
        for chunk in tokens.chunks(CHUNK) {
            last = Some(forward(decoder, &mut [self], &[chunk], adapter)?);
        }
        let x = last.expect("there is always a token to take in");
        let row = x.narrow(0, x.dims()[0] - 1, 1)?;
        let mut logits = head(decoder, &row, adapter)?;
        Ok(logits.swap_remove(0))
    }

    /// Takes in one token of each text and returns the logits of the ones after them: the weights are read once for
    /// all texts, whose lengths may differ, and nothing is padded.
    pub(super) fn step(
        decoder: &Decoder,
        caches: &mut [&mut Self],
        tokens: &[u32],
        adapter: bool,
    ) -> Result<Vec<Vec<f32>>> {
        let rotaries = &decoder.description.rotaries;
        if caches.len() > 1 && rotaries.iter().any(|rotary| rotary.changes_with_length()) {
            // Each text has angles of its own: together they would get the longest one's.
            return caches
                .iter_mut()
                .zip(tokens)
                .map(|(cache, token)| cache.read(decoder, &[*token], adapter))
                .collect();
        }
        let tokens: Vec<&[u32]> = tokens.chunks(1).collect();
        let x = forward(decoder, caches, &tokens, adapter)?;
        head(decoder, &x, adapter)
    }
}

/// Logits of rows of the last layer's output: [N, H] to N times [V].
fn head(decoder: &Decoder, x: &Tensor, adapter: bool) -> Result<Vec<Vec<f32>>> {
    let logits = ops::unwritten_tensor(&[x.dims()[0], decoder.description.vocab])?;
    let pass = Pass {
        adapter,
        dropout: None,
    };
    decoder.head_forward(&decoder.norm.forward(x)?, &logits, pass)?;
    Ok(logits.to_vec2()?)
}

/// Output of the last layer for new tokens of several texts, one behind the other: [T, H].
fn forward(
    decoder: &Decoder,
    caches: &mut [&mut Cache],
    tokens: &[&[u32]],
    adapter: bool,
) -> Result<Tensor> {
    let new: usize = tokens.iter().map(|tokens| tokens.len()).sum();
    // The table holds the positions between the shortest text and the longest.
    let first = caches.iter().map(|cache| cache.len).min().unwrap_or(0);
    let (mut positions, mut last) = (Vec::with_capacity(new), 0);
    for (cache, tokens) in caches.iter().zip(tokens) {
        let from = cache.len - first;
        positions.extend((from..from + tokens.len()).map(|position| position as u32));
        last = last.max(from + tokens.len());
    }
    let tables = decoder.tables(first, last, first + last)?;
    let heads = decoder.heads([Span { start: 0, len: new }].into());
    let places: Vec<u32> = positions.iter().map(|at| at + first as u32).collect();
    let positions = Tensor::from_vec(positions, new, &Device::Cpu)?;
    let pass = Pass {
        adapter,
        dropout: None,
    };
    let setting = Setting {
        heads: &heads,
        tables: &tables,
        positions: &positions,
        pass,
    };
    let ids = Tensor::from_vec(tokens.concat(), new, &Device::Cpu)?;
    let mut x = decoder.embed(&ids, &Tensor::from_vec(places, new, &Device::Cpu)?, adapter)?;
    for (layer, block) in decoder.blocks.iter().enumerate() {
        let attention = &block.attention;
        let qkv = attention.project(&x, &setting)?.qkv;
        let heads = attention.heads(&setting);
        if let [cache] = caches {
            let (keys, values) = &cache.layers[layer];
            let attended = attend(&qkv, keys, values, cache.len, &heads)?;
            x = block.finish(&x, &attended, pass)?;
            continue;
        }
        let attended = ops::unwritten_tensor(&[new, heads.q_width()])?;
        let mut start = 0;
        for (cache, tokens) in caches.iter().zip(tokens) {
            let (keys, values) = &cache.layers[layer];
            let len = tokens.len();
            let own = attend(&qkv.narrow(0, start, len)?, keys, values, cache.len, &heads)?;
            ops::assign(&attended.narrow(0, start, len)?, &own)?;
            start += len;
        }
        x = block.finish(&x, &attended, pass)?;
    }
    for (cache, tokens) in caches.iter_mut().zip(tokens) {
        cache.len += tokens.len();
    }
    Ok(x)
}

fn attend(
    qkv: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    past: usize,
    heads: &Heads,
) -> Result<Tensor> {
    let new = qkv.dims()[0];
    let [q, k, v] = thirds(qkv, heads)?;
    ops::assign(&keys.narrow(0, past, new)?, &k)?;
    ops::assign(&values.narrow(0, past, new)?, &v)?;
    let queries = ops::unwritten_tensor(&[new, heads.q_width()])?;
    ops::assign(&queries, &q)?;
    let (keys, values) = (
        keys.narrow(0, 0, past + new)?,
        values.narrow(0, 0, past + new)?,
    );
    Ok(ops::attention_cached(&queries, &keys, &values, heads)?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::DType;

    use super::*;
    use crate::data::Sample;
    use crate::lora::read_adapter;
    use crate::model::{Batch, Loading};

    #[test]
    fn token_by_token_gives_the_logits_of_the_whole_sequence() {
        for case in [
            "llama-tied",
            "qwen2",
            "qwen3",
            "starcoder2",
            "gemma2",
            "phi3",
            "llama-dora",
        ] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../../../tests/fixtures/goldens")
                .join(case);
            let loading = Loading::frozen(DType::F32);
            let mut decoder = Decoder::load(&folder.join("model"), loading).unwrap();
            read_adapter(&mut decoder, &folder.join("adapter_init"), false).unwrap();
            let ids: Vec<u32> = (0..100).map(|i| (i * 37 + 11) % 320).collect();
            let sample = Sample {
                labels: vec![-100; ids.len()],
                input_ids: ids.clone(),
            };
            let batch = Batch::new([&sample]).unwrap();
            for adapter in [false, true] {
                let whole: Vec<Vec<f32>> =
                    decoder.logits(&batch, adapter).unwrap().to_vec2().unwrap();
                let mut cache = Cache::new(&decoder, 100).unwrap();
                let mut check = |upto: usize, tokens: &[u32]| {
                    let logits = cache.read(&decoder, tokens, adapter).unwrap();
                    for (got, expected) in logits.iter().zip(&whole[upto - 1]) {
                        assert!(
                            (got - expected).abs() < 1e-4,
                            "{case} at {upto}: {got}, expected {expected}"
                        );
                    }
                };
                check(67, &ids[..67]);
                check(70, &ids[67..70]);
                for at in 70..100 {
                    check(at + 1, &ids[at..=at]);
                }
            }
        }
    }

    #[test]
    fn texts_of_different_lengths_get_together_what_each_gets_alone() {
        let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/goldens");
        let folder = tempfile::tempdir().unwrap();
        let stretched = folder.path().join("dynamic");
        std::fs::create_dir(&stretched).unwrap();
        let source = goldens.join("llama-tied/model");
        std::fs::copy(
            source.join("model.safetensors"),
            stretched.join("model.safetensors"),
        )
        .unwrap();
        let text = std::fs::read_to_string(source.join("config.json")).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        config["max_position_embeddings"] = 20.into();
        config["rope_scaling"] = serde_json::json!({ "rope_type": "dynamic", "factor": 4.0 });
        std::fs::write(stretched.join("config.json"), config.to_string()).unwrap();
        // Windows of 16 keys, and angles that change beyond 20 positions.
        for model in [goldens.join("gemma2/model"), stretched] {
            let decoder = Decoder::load(&model, Loading::frozen(DType::F32)).unwrap();
            let prompts: Vec<Vec<u32>> = [5, 30, 17]
                .map(|len| (0..len).map(|i| (i * 37 + 11) % 320).collect())
                .into();
            let read = || -> Vec<Cache> {
                let read = |prompt: &Vec<u32>| {
                    let mut cache = Cache::new(&decoder, 60).unwrap();
                    cache.read(&decoder, prompt, false).unwrap();
                    cache
                };
                prompts.iter().map(read).collect()
            };
            let (mut alone, mut together) = (read(), read());
            for token in 0..20 {
                let tokens = [token, token + 40, token + 80];
                let mut all: Vec<&mut Cache> = together.iter_mut().collect();
                let got = Cache::step(&decoder, &mut all, &tokens, false).unwrap();
                for ((cache, token), got) in alone.iter_mut().zip(tokens).zip(got) {
                    let expected = cache.read(&decoder, &[token], false).unwrap();
                    for (got, expected) in got.iter().zip(expected) {
                        assert!(
                            (got - expected).abs() < 1e-4,
                            "{}: {got}, {expected}",
                            model.display()
                        );
                    }
                }
            }
        }
    }
}
