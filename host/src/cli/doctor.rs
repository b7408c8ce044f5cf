use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::config::Config;

/// Arguments of `codetune doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  codetune doctor --json")]
pub(crate) struct DoctorArgs {
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

/// Checks the folders, the processor and the memory; exit code 1 when something needed is missing.
pub(crate) fn run(args: &DoctorArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        checks: vec![
            data_folder(config),
            plugins_folder(config),
            processor(),
            memory(),
            gpus(config),
        ],
    };
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("codetune {}", report.version);
        for check in &report.checks {
            let mark = if check.ok { "ok     " } else { "missing" };
            println!("{mark}  {:<10}  {}", check.name, check.detail);
        }
    }
    let ok = report.checks.iter().all(|check| check.ok);
    Ok(ExitCode::from(u8::from(!ok)))
}

fn data_folder(config: &Config) -> Check {
    let path = &config.paths.data;
    let written =
        std::fs::create_dir_all(path).and_then(|()| tempfile::tempfile_in(path).map(drop));
    Check {
        name: "data",
        ok: written.is_ok(),
        detail: match written {
            Ok(()) => format!("{} can be written", path.display()),
            Err(error) => format!(
                "{} cannot be written ({error}); set CODETUNE_DATA_DIR to a folder that can",
                path.display()
            ),
        },
    }
}

fn plugins_folder(config: &Config) -> Check {
    let path = &config.paths.plugins;
    Check {
        name: "plugins",
        ok: path.is_dir(),
        detail: if path.is_dir() {
            format!("{}", path.display())
        } else {
            format!(
                "{} is no folder; set CODETUNE_PLUGINS_DIR to the folder with the plugins",
                path.display()
            )
        },
    }
}

fn processor() -> Check {
    let mut system = match sysinfo::System::new() {
        Ok(system) => system,
        Err(error) => return unreadable("processor", &error),
    };
    system.refresh_cpu_all();
    let name = system
        .cpus()
        .first()
        .map_or_else(String::new, |cpu| cpu.brand().to_owned());
    Check {
        name: "processor",
        ok: true,
        detail: format!(
            "{} threads, {name}, {}",
            system.cpus().len(),
            vector_units()
        ),
    }
}

#[cfg(target_arch = "x86_64")]
fn vector_units() -> String {
    let mut units = Vec::new();
    for (name, present) in [
        ("AVX2", is_x86_feature_detected!("avx2")),
        ("FMA", is_x86_feature_detected!("fma")),
        ("AVX-512", is_x86_feature_detected!("avx512f")),
        ("AVX-512 BF16", is_x86_feature_detected!("avx512bf16")),
    ] {
        if present {
            units.push(name);
        }
    }
    if units.is_empty() {
        "no AVX2: training will be slow".to_owned()
    } else {
        units.join(", ")
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vector_units() -> String {
    std::env::consts::ARCH.to_owned()
}

fn memory() -> Check {
    let mut system = match sysinfo::System::new() {
        Ok(system) => system,
        Err(error) => return unreadable("memory", &error),
    };
    system.refresh_memory();
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    Check {
        name: "memory",
        ok: true,
        detail: format!(
            "{:.1} GiB, {:.1} GiB free",
            gib(system.total_memory()),
            gib(system.available_memory())
        ),
    }
}

/// Runs do without a GPU: what is missing for one is said, and is no fault.
fn gpus(config: &Config) -> Check {
    let devices = crate::gpu::devices(config);
    let lines: Vec<String> = devices.gpus.iter().map(super::devices::line).collect();
    Check {
        name: "gpu",
        ok: true,
        detail: match devices.missing {
            Some(missing) => format!("runs have the CPU: {missing}"),
            None => lines.join("; "),
        },
    }
}

/// The system does not tell; nothing that the studio needs depends on it.
fn unreadable(name: &'static str, error: &sysinfo::Error) -> Check {
    Check {
        name,
        ok: true,
        detail: format!("unknown: {error}"),
    }
}
