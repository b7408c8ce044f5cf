//! `codetune devices`: the GPUs that runs can have.

use std::process::ExitCode;

use clap::Args;
use engine::gpu::Gpu;

use crate::config::Config;
use crate::gpu;

/// Arguments of `codetune devices`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  codetune devices --json")]
pub(crate) struct DevicesArgs {
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Lists them, or says what is missing: exit code 1 where there is none.
pub(crate) fn run(args: &DevicesArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let devices = gpu::devices(config);
    if args.json {
        println!("{}", serde_json::to_string(&devices)?);
    } else {
        devices
            .gpus
            .iter()
            .for_each(|gpu| println!("{}", line(gpu)));
        if let Some(missing) = &devices.missing {
            println!("no GPU: {missing}");
        }
    }
    Ok(ExitCode::from(u8::from(devices.missing.is_some())))
}

/// One GPU in a line.
pub(super) fn line(gpu: &Gpu) -> String {
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let mut line = format!(
        "cuda:{} {}, {:.1} GiB, {:.1} GiB free, compute capability {}",
        gpu.index,
        gpu.name,
        gib(gpu.memory_total),
        gib(gpu.memory_free),
        gpu.compute_capability
    );
    let figures = [
        gpu.temperature.map(|degrees| format!("{degrees} °C")),
        gpu.power.map(|watts| format!("{watts:.0} W")),
        gpu.utilization.map(|percent| format!("{percent} % busy")),
    ];
    for figure in figures.into_iter().flatten() {
        line.push_str(", ");
        line.push_str(&figure);
    }
    // Whoever starts a run now has the rest.
    if gpu.memory_free < gpu.memory_total / 2 {
        let held = gib(gpu.memory_total - gpu.memory_free);
        line.push_str(&format!(
            ", {held:.1} GiB held by other processes: nvidia-smi lists them"
        ));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_whose_memory_others_hold_is_told_as_one() {
        let mut gpu = Gpu {
            index: 1,
            name: "A card".into(),
            compute_capability: "9.0".into(),
            memory_total: 80 << 30,
            memory_free: 78 << 30,
            temperature: None,
            power: None,
            utilization: Some(99),
        };
        assert!(!line(&gpu).contains("other processes"), "{}", line(&gpu));
        gpu.memory_free = 2 << 30;
        let told = "99 % busy, 78.0 GiB held by other processes: nvidia-smi lists them";
        assert!(line(&gpu).ends_with(told), "{}", line(&gpu));
    }
}
