use std::path::PathBuf;
use std::time::Instant;

use domain::{DataConfig, DataFormat};
use serde::Serialize;
use serde_json::Value;

use crate::{Error, Result, data, memory};

/// What to measure.
#[derive(Debug, Clone)]
pub struct BenchData {
    /// A Hugging Face folder; it needs no weights.
    pub model: PathBuf,
    /// A dataset, or a folder of source code.
    pub path: PathBuf,
    /// Format of its rows.
    pub format: DataFormat,
    /// Tokens of a packed row.
    pub max_seq_length: u32,
    /// Times it is done; the first is not counted.
    pub rounds: usize,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct BenchDataReport {
    /// Bytes of the texts over the median round, in megabytes of 10^6.
    pub megabytes_per_second: f64,
    /// Tokens over the median round.
    pub tokens_per_second: f64,
    /// The median round: reading, tokenizing, cutting, looking for duplicates and packing.
    pub seconds: f64,
    /// Bytes of the rows' texts.
    pub bytes: u64,
    /// Rows.
    pub rows: usize,
    /// Tokens of what is trained on.
    pub tokens: usize,
    /// Rows of `max_seq_length` tokens that they fill.
    pub packed_rows: usize,
    /// Most memory that the process held.
    pub peak_rss_bytes: u64,
    /// Threads; `RAYON_NUM_THREADS=1` measures one core.
    pub threads: usize,
}

/// Does all that a run does with its data before the first step, with packing, and nothing cut off: longer rows are split.
///
/// # Errors
/// Data or a tokenizer that cannot be used.
pub fn data(bench: &BenchData) -> Result<BenchDataReport> {
    if bench.rounds < 2 {
        return Err(Error::Input("rounds must be at least 2".into()));
    }
    let config = DataConfig {
        path: Some(bench.path.display().to_string()),
        format: bench.format,
        max_seq_length: bench.max_seq_length,
        overflow: domain::Overflow::Split,
        packing: true,
        ..DataConfig::default()
    };
    let mut bytes = 0;
    for row in data::rows(&config)? {
        let (fields, _) = row?;
        bytes += fields
            .iter()
            .filter(|(name, _)| !["path", "repo"].contains(&name.as_str()))
            .map(|(_, value)| text_bytes(value))
            .sum::<u64>();
    }
    let mut seconds = Vec::with_capacity(bench.rounds);
    let mut report = None;
    for _ in 0..bench.rounds {
        let begun = Instant::now();
        let loaded = data::load(&config, &bench.model, 0)?;
        seconds.push(begun.elapsed().as_secs_f64());
        report = Some(loaded.report);
    }
    let report = report.expect("two rounds at least");
    let seconds = super::train::median(&seconds[1..]);
    Ok(BenchDataReport {
        megabytes_per_second: bytes as f64 / 1e6 / seconds,
        tokens_per_second: report.tokens as f64 / seconds,
        seconds,
        bytes,
        rows: report.rows,
        tokens: report.tokens,
        packed_rows: report.packed_rows.unwrap_or(0),
        peak_rss_bytes: memory::peak_rss_bytes(),
        threads: rayon::current_num_threads(),
    })
}

fn text_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(map) => map.values().map(text_bytes).sum(),
        _ => 0,
    }
}
