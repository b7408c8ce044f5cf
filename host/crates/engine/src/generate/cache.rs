use candle_core::{Device, Tensor};

use super::TextModel;
use crate::Result;
use crate::model::{Decoder, Description, Pass, Setting, thirds};
use crate::ops::{self, Heads, Span};

/// Keys and values of what one text read and wrote so far, so that each token is computed once.
pub(crate) struct Cache {
    /// Keys and values of each layer: [capacity, kv_heads · D].
    layers: Vec<(Tensor, Tensor)>,
    len: usize,
    capacity: usize,
}

/// Tokens of a prompt that are computed at once: bounds what activations need.
const CHUNK: usize = 512;

impl TextModel for Decoder {
    type Cache = Cache;

    fn description(&self) -> &Description {
        &self.description
    }

    fn cache(&self, capacity: usize) -> Result<Cache> {
        let width = self.description.kv_heads * self.description.head_dim;
        let one = || ops::unwritten_tensor(&[capacity, width]);
        let layers = self
            .blocks
            .iter()
            .map(|_| Ok((one()?, one()?)))
            .collect::<Result<_>>()?;
        Ok(Cache {
            layers,
            len: 0,
            capacity,
        })
    }

    fn copied(&self, cache: &Cache) -> Result<Cache> {
        let mut copy = self.cache(cache.capacity)?;
        for ((keys, values), (from_keys, from_values)) in copy.layers.iter().zip(&cache.layers) {
            for (to, from) in [(keys, from_keys), (values, from_values)] {
                ops::assign(&to.narrow(0, 0, cache.len)?, &from.narrow(0, 0, cache.len)?)?;
            }
        }
        copy.len = cache.len;
        Ok(copy)
    }

    fn forget(&self, cache: &mut Cache) {
        cache.len = 0;
    }

    fn read(&self, cache: &mut Cache, tokens: &[u32], adapter: bool) -> Result<Vec<f32>> {
        let mut last = None;
        let total = cache.len + tokens.len();
        for chunk in tokens.chunks(CHUNK) {
            last = Some(forward(self, &mut [cache], &[chunk], total, adapter)?);
        }
        let x = last.expect("there is always a token to take in");
        let row = x.narrow(0, x.dims()[0] - 1, 1)?;
        let mut logits = head(self, &row, adapter)?;
        Ok(logits.swap_remove(0))
    }

    fn step(
        &self,
        caches: &mut [&mut Cache],
        tokens: &[u32],
        adapter: bool,
    ) -> Result<Vec<Vec<f32>>> {
        let rotaries = &self.description.rotaries;
        if caches.len() > 1 && rotaries.iter().any(|rotary| rotary.changes_with_length()) {
            // Each text has angles of its own: together they would get the longest one's.
            return caches
                .iter_mut()
                .zip(tokens)
                .map(|(cache, token)| self.read(cache, &[*token], adapter))
                .collect();
        }
        let longest = caches.iter().map(|cache| cache.len + 1).max().unwrap_or(0);
        let tokens: Vec<&[u32]> = tokens.chunks(1).collect();
        let x = forward(self, caches, &tokens, longest, adapter)?;
        head(self, &x, adapter)
    }
}

/// Logits of rows of the last layer's output: [N, H] to N times [V].
fn head(decoder: &Decoder, x: &Tensor, adapter: bool) -> Result<Vec<Vec<f32>>> {
    let logits = ops::unwritten_tensor(&[x.dims()[0], decoder.description.vocab])?;
    let pass = Pass {
        adapter,
        dropout: None,
    };
    decoder.head_forward(&decoder.norm.forward(x, pass)?, &logits, pass)?;
    Ok(logits.to_vec2()?)
}

/// Output of the last layer for new tokens of several texts, one behind the other: [T, H]. The longest text has `total`
/// tokens once all of it is read, which a chunk of a prompt is not the end of.
fn forward(
    decoder: &Decoder,
    caches: &mut [&mut Cache],
    tokens: &[&[u32]],
    total: usize,
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
    let tables = decoder.tables(first, last, total)?;
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
                let mut cache = decoder.cache(100).unwrap();
                let mut check = |upto: usize, tokens: &[u32]| {
                    let logits = decoder.read(&mut cache, tokens, adapter).unwrap();
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

    /// A model whose angles change with the length beyond 20 positions.
    fn stretched(folder: &Path) -> std::path::PathBuf {
        let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/goldens");
        let stretched = folder.join("dynamic");
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
        stretched
    }

    #[test]
    fn a_prompt_of_several_chunks_has_the_angles_of_its_whole_length() {
        let folder = tempfile::tempdir().unwrap();
        let model = stretched(folder.path());
        let decoder = Decoder::load(&model, Loading::frozen(DType::F32)).unwrap();
        let ids: Vec<u32> = (0..CHUNK as u32 + 40)
            .map(|i| (i * 37 + 11) % 320)
            .collect();
        let sample = Sample {
            labels: vec![-100; ids.len()],
            input_ids: ids.clone(),
        };
        let batch = Batch::new([&sample]).unwrap();
        let whole: Vec<Vec<f32>> = decoder.logits(&batch, false).unwrap().to_vec2().unwrap();
        let mut cache = decoder.cache(ids.len()).unwrap();
        let logits = decoder.read(&mut cache, &ids, false).unwrap();
        for (got, expected) in logits.iter().zip(&whole[ids.len() - 1]) {
            assert!((got - expected).abs() < 1e-4, "{got}, expected {expected}");
        }
    }

    #[test]
    fn texts_of_different_lengths_get_together_what_each_gets_alone() {
        let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/goldens");
        let folder = tempfile::tempdir().unwrap();
        // Windows of 16 keys, and angles that change beyond 20 positions.
        for model in [goldens.join("gemma2/model"), stretched(folder.path())] {
            let decoder = Decoder::load(&model, Loading::frozen(DType::F32)).unwrap();
            let prompts: Vec<Vec<u32>> = [5, 30, 17]
                .map(|len| (0..len).map(|i| (i * 37 + 11) % 320).collect())
                .into();
            let read = || -> Vec<Cache> {
                let read = |prompt: &Vec<u32>| {
                    let mut cache = decoder.cache(60).unwrap();
                    decoder.read(&mut cache, prompt, false).unwrap();
                    cache
                };
                prompts.iter().map(read).collect()
            };
            let (mut alone, mut together) = (read(), read());
            for token in 0..20 {
                let tokens = [token, token + 40, token + 80];
                let mut all: Vec<&mut Cache> = together.iter_mut().collect();
                let got = decoder.step(&mut all, &tokens, false).unwrap();
                for ((cache, token), got) in alone.iter_mut().zip(tokens).zip(got) {
                    let expected = decoder.read(cache, &[token], false).unwrap();
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
