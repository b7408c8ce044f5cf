//! `codetune bench plugins`: what the plugin host costs, against wasmtime alone in the same run.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use plugin_host::{HostConfig, PluginHost, bench};
use serde_json::json;

use crate::config::Config;

/// Arguments of `codetune bench plugins`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  codetune bench plugins --compute tests/plugins/compute/compute.wasm --json"
)]
pub(crate) struct BenchPluginsArgs {
    /// Calls to take the median of
    #[arg(long, default_value_t = 2000)]
    calls: usize,
    /// The built `tests/plugins/compute`: compares guests with the same code compiled natively
    #[arg(long, value_name = "FILE")]
    compute: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Turns of each kind of work for the comparison with native code.
const TURNS: usize = 30;
/// The small plugin that is called.
const PLUGIN: &str = "source-stats";

/// Measures and prints.
///
/// # Errors
/// When the shipped plugins are not there or cannot be called.
pub(crate) fn run(args: &BenchPluginsArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let shipped = HostConfig {
        plugins_dir: config.paths.plugins.clone(),
        cache_dir: folder.path().join("cache"),
        // As the studio has it.
        remembers: true,
    };
    let host = PluginHost::open(shipped.clone())?;
    let component = config
        .paths
        .plugins
        .join(PLUGIN)
        .join(format!("{PLUGIN}.wasm"));
    let input =
        json!({ "code": "def f(x):\n    return x + 1  # one more\n", "language": "python" });
    let fresh = bench::fresh_call(&host, PLUGIN, &component, &input, args.calls.max(10))?;
    drop(host);
    let warm = bench::warm_open(&shipped, 20)?;
    let kill = bench::kill(100, 10)?;
    let compute = match &args.compute {
        Some(component) => bench::guest_compute(component, TURNS)?,
        None => Vec::new(),
    };
    let reload_ms = save_to_answer(&component, folder.path())?;
    if args.json {
        let report = json!({
            "fresh_call": fresh, "warm_open": warm, "kill": kill, "save_to_answer_ms": reload_ms,
            "guest_compute": compute,
        });
        println!("{report}");
    } else {
        println!(
            "fresh instance and call   {:.1} us; wasmtime with the same limits {:.1} us, ratio {:.2}; \
             without any {:.1} us, ratio {:.2}",
            fresh.host_us, fresh.bounded_us, fresh.ratio_to_bounded, fresh.bare_us, fresh.ratio
        );
        println!(
            "warm open of {} plugins    {:.1} ms",
            warm.plugins, warm.open_ms
        );
        println!(
            "deadline of {} ms        ended between {:.1} and {:.1} ms; the system ended a native loop by {:.1} ms",
            kill.deadline_ms, kill.earliest_ms, kill.latest_ms, kill.system_latest_ms
        );
        println!("save to new answers       {reload_ms:.0} ms (median)");
        for work in compute {
            println!(
                "guest over native code    {}: {:.2} with epochs, {:.2} with fuel too",
                work.work, work.epochs_ratio, work.fuel_ratio
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Median time in milliseconds from saving a new component to the host's answering from it, compilation included.
fn save_to_answer(component: &std::path::Path, folder: &std::path::Path) -> anyhow::Result<f64> {
    let bytes = std::fs::read(component)?;
    let plugins_dir = folder.join("plugins");
    std::fs::create_dir_all(plugins_dir.join(PLUGIN))?;
    let manifest = format!("name = \"{PLUGIN}\"\ncomponent = \"{PLUGIN}.wasm\"\n");
    std::fs::write(plugins_dir.join(PLUGIN).join("plugin.toml"), manifest)?;
    let place = plugins_dir.join(PLUGIN).join(format!("{PLUGIN}.wasm"));
    std::fs::write(&place, &bytes)?;
    let host = PluginHost::open(HostConfig {
        plugins_dir,
        cache_dir: folder.join("cache-reload"),
        remembers: false,
    })?;
    let _watcher = host.watch()?;
    let mut times = Vec::new();
    for round in 0..5_u8 {
        // A custom section at the end: another digest, so everything is checked and compiled anew.
        let mut changed = bytes.clone();
        changed.extend([0, 3, 1, b'n', round]);
        let before = host.get(PLUGIN).context("the plugin loads")?.digest;
        let generation = host.generation();
        let beside = folder.join("beside.wasm");
        std::fs::write(&beside, &changed)?;
        let started = Instant::now();
        std::fs::rename(&beside, &place)?;
        host.wait_past(generation, Duration::from_secs(60))
            .context("the change is not seen")?;
        let answer = host.run(PLUGIN, &json!({ "code": "x" }))?;
        anyhow::ensure!(answer.digest != before, "the old version still answers");
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
