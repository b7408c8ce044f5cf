use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use domain::{LoraConfig, ModelDtype, Quantize, RunConfig};
use serde::Serialize;

use crate::data::Sample;
use crate::estimate::Shape;
use crate::lora::{Settings, attach};
use crate::model::{Batch, Decoder, Loading, Work};
use crate::optim::{Optimizer, clip_factor};
use crate::train::{Chosen, Compute};
use crate::{Error, Result, memory, ops};

/// What to measure.
#[derive(Debug, Clone)]
pub struct BenchTrain {
    /// A Hugging Face folder; it needs no tokenizer, and without weights it has random ones.
    pub model: PathBuf,
    /// Sequences in one step.
    pub batch_size: usize,
    /// Tokens of each.
    pub seq_len: usize,
    /// Steps; the first is not counted.
    pub steps: usize,
    /// Type in which the frozen weights are held.
    pub dtype: ModelDtype,
    /// Where to compute: `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Rank of the adapter on every linear layer.
    pub lora_r: u32,
    /// Packing of the frozen weights.
    pub quantize: Option<Quantize>,
    /// Bytes of a GPU's memory that a step is to stay under, by computing activations twice.
    pub device_memory_limit: Option<u64>,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct BenchTrainReport {
    /// Tokens of a step over the median step.
    pub tokens_per_second: f64,
    /// The median step.
    pub seconds_per_step: f64,
    /// Most memory that the process held, its loading included.
    pub peak_rss_bytes: u64,
    /// Most memory of the GPU that was in use; null on the CPU.
    pub peak_device_bytes: Option<u64>,
    /// Best rate of a large f32 matrix product on this machine, in 10^9 operations a second, by the kernels that the step
    /// uses: those of AMX where it has them, which multiply f32 faster than its vector units can. On a GPU the rate of cuBLAS
    /// there, in the type of the activations.
    pub gemm_gflops: f64,
    /// Operations that the step needs, over what `gemm_gflops` would do in its time.
    pub model_flops_utilization: f64,
    /// 10^9 operations that the step needs: forward and input gradients of frozen weights, all three of the adapter,
    /// causal attention; nothing that is computed twice.
    pub gflop_per_step: f64,
    /// Each step's seconds, the first included.
    pub seconds: Vec<f64>,
    /// Loss of the first and of the last step.
    pub losses: [f64; 2],
    /// Threads.
    pub threads: usize,
    /// `cpu`, or the GPU: `cuda:0`.
    pub device: String,
    /// As asked.
    pub batch_size: usize,
    /// As asked.
    pub seq_len: usize,
    /// As asked.
    pub lora_r: u32,
    /// Parameters that train.
    pub trainable_parameters: u64,
    /// Parameters of model and adapter.
    pub all_parameters: u64,
}

/// Trains an all-linear LoRA adapter on random tokens, all supervised: forward, backward, clipping, AdamW.
///
/// # Errors
/// The model cannot be read, or a size is 0 or beyond the model.
pub fn train(bench: &BenchTrain) -> Result<BenchTrainReport> {
    memory::keep_freed_memory();
    if bench.batch_size == 0 || bench.seq_len < 2 || bench.steps < 2 {
        return Err(Error::Input(
            "batch-size must be at least 1, seq-len and steps at least 2".into(),
        ));
    }
    let dtype = match bench.dtype {
        ModelDtype::F32 => DType::F32,
        ModelDtype::F16 => DType::F16,
        ModelDtype::Bf16 => DType::BF16,
    };
    let loading = Loading {
        quantize: bench.quantize,
        random: is_shape(&bench.model).then_some(0),
        ..Loading::frozen(dtype)
    };
    let mut decoder = Decoder::load(&bench.model, loading)?;
    let lora = LoraConfig {
        r: bench.lora_r,
        ..LoraConfig::default()
    };
    attach(&mut decoder, &Settings::of_run(&lora), 0)?;
    let trainable = decoder.trainable();
    let trainable_parameters = trainable
        .iter()
        .map(|parameter| parameter.len())
        .sum::<u64>();
    let samples = samples(bench, decoder.description.vocab);
    let mut config = RunConfig::default();
    config.model.device.clone_from(&bench.device);
    config.model.dtype = bench.dtype;
    let mut optimizer = Optimizer::new(&config, &trainable)?;
    let chosen = Chosen::of_run(&config, None)?;
    let mut compute = Compute::of_run(&config, &decoder, &optimizer, chosen, &mut |_| {})?;
    compute.fit(&decoder, bench.device_memory_limit, 0, || {
        Shape::of_batch(bench.batch_size, bench.seq_len)
    })?;
    let (mut seconds, mut losses) = (Vec::new(), Vec::new());
    for _ in 0..bench.steps {
        let begun = Instant::now();
        compute.zero(&trainable)?;
        let batch = Batch::new(&samples)?;
        let scale = 1.0 / batch.supervised as f32;
        let mut losses_of_step = compute.losses(1)?;
        compute.loss_and_gradient(&decoder, &batch, scale, 0, &mut losses_of_step)?;
        let measured = compute.measured(losses_of_step, Some(&trainable))?;
        let (loss, norm) = (measured.losses[0], measured.norm.unwrap_or(f64::NAN));
        compute.update(&mut optimizer, &trainable, 1e-4, clip_factor(norm, 1.0))?;
        seconds.push(begun.elapsed().as_secs_f64());
        losses.push(loss / batch.supervised as f64);
    }
    let peak_device_bytes = compute.peak_device_bytes()?;
    let peak_rss_bytes = memory::peak_rss_bytes();
    let seconds_per_step = median(&seconds[1..]);
    let sequences = std::iter::repeat_n(bench.seq_len, bench.batch_size);
    let tokens = bench.batch_size * bench.seq_len;
    let gflop_per_step = decoder.operations(Work::of(sequences, tokens)) / 1e9;
    let gemm_gflops = match compute.product_rate()? {
        Some(rate) => rate / 1e9,
        None => matmul_rate()?,
    };
    Ok(BenchTrainReport {
        tokens_per_second: tokens as f64 / seconds_per_step,
        seconds_per_step,
        peak_rss_bytes,
        peak_device_bytes,
        gemm_gflops,
        model_flops_utilization: gflop_per_step / seconds_per_step / gemm_gflops,
        gflop_per_step,
        losses: [losses[0], losses[losses.len() - 1]],
        seconds,
        threads: rayon::current_num_threads(),
        device: compute.name(),
        batch_size: bench.batch_size,
        seq_len: bench.seq_len,
        lora_r: bench.lora_r,
        trainable_parameters,
        all_parameters: decoder.description.parameters() + trainable_parameters,
    })
}

/// Whether a folder has a `config.json` and no weights: any weights will do then.
pub(super) fn is_shape(folder: &Path) -> bool {
    let mut names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let weights = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        name.to_string_lossy().contains(".safetensors")
    };
    folder.join("config.json").is_file() && !names.any(weights)
}

fn samples(bench: &BenchTrain, vocab: usize) -> Vec<Sample> {
    let mut state = 1u64;
    (0..bench.batch_size)
        .map(|_| {
            let ids = (0..bench.seq_len).map(|_| {
                state = ops::seed_of(&[state]);
                (state % vocab as u64) as u32
            });
            let input_ids: Vec<u32> = ids.collect();
            let labels = input_ids.iter().map(|&id| i64::from(id)).collect();
            Sample { input_ids, labels }
        })
        .collect()
}

fn matmul_rate() -> Result<f64> {
    const N: usize = 2048;
    let matrix = |seed: u64| {
        let values: Vec<f32> = (0..N * N)
            // No values that bf16 holds: those of a real matrix take more products on tiles.
            .map(|i| ((i as u64 * 31 + seed) % 17) as f32 / 17.0 - 0.45)
            .collect();
        Tensor::from_vec(values, (N, N), &Device::Cpu)
    };
    let (a, b) = (matrix(1)?, matrix(2)?);
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        let begun = Instant::now();
        std::hint::black_box(ops::matmul(&a, &b)?);
        best = best.min(begun.elapsed().as_secs_f64());
    }
    Ok(2.0 * (N as f64).powi(3) / best / 1e9)
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::bench;
    use crate::device::{Emulated, plug};

    #[test]
    fn under_a_limit_a_step_takes_less_of_a_device_and_learns_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        let shape = bench::Shape {
            hidden_size: 32,
            intermediate_size: 64,
            num_hidden_layers: 6,
            num_attention_heads: 2,
            num_key_value_heads: 1,
            vocab_size: 48,
            max_position_embeddings: 64,
            tie_word_embeddings: true,
            seed: 0,
        };
        bench::make_model(&shape, &model).unwrap();
        let step = |device_memory_limit: Option<u64>| {
            plug(Some(Arc::new(Emulated::default())));
            let report = train(&BenchTrain {
                model: model.clone(),
                batch_size: 2,
                seq_len: 48,
                steps: 2,
                dtype: ModelDtype::F32,
                device: "cuda".into(),
                lora_r: 4,
                quantize: None,
                device_memory_limit,
            });
            plug(None);
            let report = report.unwrap();
            (report.peak_device_bytes.unwrap(), report.losses)
        };
        let (roomy, losses) = step(None);
        let limit = roomy - 1;
        let (held, same) = step(Some(limit));
        assert!(held <= limit, "{held} of {limit}");
        assert_eq!(same, losses);
    }
}
