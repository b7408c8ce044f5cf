use candle_core::{Device, Tensor};

use crate::Result;
use crate::model::{Decoder, Pass, Setting, rotary_table, thirds};
use crate::ops::{self, Heads, Span};

/// Keys and values of what was read and written so far, so that each token is computed once.
pub(super) struct Cache {
    /// Keys and values of each layer: [capacity, kv_heads · D].
    layers: Vec<(Tensor, Tensor)>,
    len: usize,
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
        Ok(Self { layers, len: 0 })
    }

    /// Takes in `tokens` and returns the logits of the one after the last.
    pub(super) fn step(
        &mut self,
        decoder: &Decoder,
        tokens: &[u32],
        adapter: bool,
    ) -> Result<Vec<f32>> {
        let mut last = None;
        for chunk in tokens.chunks(CHUNK) {
            last = Some(self.forward(decoder, chunk, adapter)?);
        }
        let x = last.expect("there is always a token to take in");
        let row = x.narrow(0, x.dims()[0] - 1, 1)?;
        let normed = ops::rms_norm(&row, &decoder.norm.value, decoder.description.norm_eps)?;
        let logits = ops::unwritten_tensor(&[1, decoder.description.vocab])?;
        decoder.head_weight().product(&logits, &normed, 1.0, 0.0)?;
        Ok(logits.flatten_all()?.to_vec1()?)
    }

    fn forward(&mut self, decoder: &Decoder, tokens: &[u32], adapter: bool) -> Result<Tensor> {
        let new = tokens.len();
        let heads = decoder.heads([Span { start: 0, len: new }].into());
        let table = rotary_table(decoder.frequencies(), self.len, new)?;
        let positions = Tensor::from_vec((0..new as u32).collect::<Vec<_>>(), new, &Device::Cpu)?;
        let pass = Pass {
            adapter,
            dropout: None,
        };
        let setting = Setting {
            heads: &heads,
            table: &table,
            positions: &positions,
            pass,
        };
        let ids = Tensor::from_vec(tokens.to_vec(), new, &Device::Cpu)?;
        let mut x = decoder.embedding.gather(&ids)?;
        for (block, (keys, values)) in decoder.blocks.iter().zip(&self.layers) {
            let (qkv, _) = block.project(&x, &setting)?;
            let attended = attend(&qkv, keys, values, self.len, &heads)?;
            x = block.finish(&x, &attended, pass)?.0;
        }
        self.len += new;
        Ok(x)
    }
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
        for case in ["llama-tied", "llama3-rope-scaled", "qwen2"] {
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
                    let logits = cache.step(&decoder, tokens, adapter).unwrap();
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
}
