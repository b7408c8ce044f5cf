use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

use crate::generate::{Held, Placement};
use crate::model::{Decoder, Loading};
use crate::{Error, Result, memory, ops};

/// What to measure.
#[derive(Debug, Clone)]
pub struct BenchGenerate {
    /// A Hugging Face folder; it needs no tokenizer, and without weights it has random ones.
    pub model: PathBuf,
    /// Texts that are written together.
    pub batch_size: usize,
    /// Tokens of each prompt.
    pub prompt_tokens: usize,
    /// Tokens that each text gets.
    pub new_tokens: usize,
    /// Times it is done; the first is not counted.
    pub rounds: usize,
    /// Where to write, and how the weights are held there.
    pub placement: Placement,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct BenchGenerateReport {
    /// New tokens of all texts over the median round, prompts included in its time.
    pub tokens_per_second: f64,
    /// The median round.
    pub seconds: f64,
    /// Most memory that the process held, its loading included.
    pub peak_rss_bytes: u64,
    /// Most memory of the GPU that was in use; null on the CPU.
    pub peak_device_bytes: Option<u64>,
    /// `cpu`, or the GPU: `cuda:0`.
    pub device: String,
    /// Threads.
    pub threads: usize,
    /// As asked.
    pub batch_size: usize,
    /// As asked.
    pub prompt_tokens: usize,
    /// As asked.
    pub new_tokens: usize,
}

/// Writes greedily after prompts of random tokens, with keys and values kept; nothing ends a text early.
///
/// # Errors
/// The model cannot be read or placed, or a size is 0 or beyond the model.
pub fn generate(bench: &BenchGenerate) -> Result<BenchGenerateReport> {
    memory::keep_freed_memory();
    let sizes = [bench.batch_size, bench.prompt_tokens, bench.new_tokens];
    if sizes.contains(&0) || bench.rounds < 2 {
        return Err(Error::Input(
            "batch-size, prompt-tokens and new-tokens must be at least 1, rounds at least 2".into(),
        ));
    }
    let loading = Loading {
        random: super::train::is_shape(&bench.model).then_some(0),
        ..bench.placement.loading()
    };
    let decoder = Decoder::load(&bench.model, loading)?;
    let positions = decoder.description.max_positions;
    if bench.prompt_tokens + bench.new_tokens > positions {
        return Err(Error::Input(format!(
            "prompt-tokens and new-tokens: the model has {positions} positions"
        )));
    }
    let vocab = decoder.description.vocab as u64;
    let prompts: Vec<Vec<u32>> = (0..bench.batch_size as u64)
        .map(|text| {
            (0..bench.prompt_tokens as u64)
                .map(|at| (ops::seed_of(&[text, at]) % vocab) as u32)
                .collect()
        })
        .collect();
    let held = Held::place(decoder, &bench.placement)?;
    let mut seconds = Vec::with_capacity(bench.rounds);
    for _ in 0..bench.rounds {
        let begun = Instant::now();
        held.greedy(&prompts, bench.new_tokens)?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    let seconds = super::train::median(&seconds[1..]);
    Ok(BenchGenerateReport {
        tokens_per_second: (bench.batch_size * bench.new_tokens) as f64 / seconds,
        seconds,
        peak_rss_bytes: memory::peak_rss_bytes(),
        peak_device_bytes: held.peak_device_bytes()?,
        device: held.name(),
        threads: rayon::current_num_threads(),
        batch_size: bench.batch_size,
        prompt_tokens: bench.prompt_tokens,
        new_tokens: bench.new_tokens,
    })
}
