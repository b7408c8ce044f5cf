//! What the same Rust code takes natively and in a guest.

use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::bare::{Bare, Metering};
use super::{micros, quantile, work};
use crate::Error;

/// One kind of work.
#[derive(Debug, Clone, Serialize)]
pub struct GuestCompute {
    /// What is done.
    pub work: &'static str,
    /// Median of native code, in microseconds.
    pub native_us: f64,
    /// A guest that nobody keeps account of, over native code.
    pub bare_ratio: f64,
    /// One that can be ended at a deadline, over native code.
    pub epochs_ratio: f64,
    /// The same with its instructions counted, as plugins run.
    pub fuel_ratio: f64,
}

#[derive(Deserialize)]
struct Answer {
    result: u64,
}

/// Does each kind of work natively and in `component`, in turns: `tests/plugins/compute`, a tool that does what `work.rs` says.
///
/// # Errors
/// When the guest cannot be called or comes to another result than native code.
pub fn guest_compute(component: &Path, turns: usize) -> Result<Vec<GuestCompute>, Error> {
    let bytes = std::fs::read(component).map_err(Error::io(component))?;
    let failed = |error: wasmtime::Error| Error::Engine(format!("{error:#}"));
    let guests = [Metering::None, Metering::Epochs, Metering::EpochsAndFuel]
        .into_iter()
        .map(|metering| Bare::new(&bytes, metering).map_err(failed))
        .collect::<Result<Vec<_>, _>>()?;
    let mut found = Vec::new();
    for (work, run) in work::KINDS {
        let input = json!({ "work": work, "seed": work::SEED }).to_string();
        let mut native = Vec::new();
        let mut times = vec![Vec::new(); guests.len()];
        for _ in 0..turns.max(1) {
            let started = Instant::now();
            let expected = run(std::hint::black_box(work::SEED));
            native.push(started.elapsed());
            for (guest, times) in guests.iter().zip(&mut times) {
                let started = Instant::now();
                let answer = guest.execute(&input).map_err(failed)?;
                times.push(started.elapsed());
                let result = answer.and_then(|answer| {
                    let answer: Result<Answer, _> = serde_json::from_str(&answer);
                    answer.map_err(|error| error.to_string())
                });
                let result = result.map_err(Error::Engine)?.result;
                if result != expected {
                    let message = format!("{work}: the guest comes to {result}, not {expected}");
                    return Err(Error::Engine(message));
                }
            }
        }
        let native_us = micros(quantile(&mut native, 0.5));
        let mut ratios = times
            .iter_mut()
            .map(|times| micros(quantile(times, 0.5)) / native_us);
        let mut next = || ratios.next().unwrap_or(f64::NAN);
        found.push(GuestCompute {
            work,
            native_us,
            bare_ratio: next(),
            epochs_ratio: next(),
            fuel_ratio: next(),
        });
    }
    Ok(found)
}
