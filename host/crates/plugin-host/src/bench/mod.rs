//! What the host costs, measured against wasmtime alone in the same run, and what a guest computes against native code.

mod bare;
mod compute;
mod work;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use domain::{ExecutionOutcome, PluginLimits};
use serde::Serialize;
use serde_json::{Value, json};
use wasmtime::component::Component;

use self::bare::{Bare, Metering};
use crate::call::{Terms, call};
use crate::kind::tool::Tool;
use crate::runtime::Runtime;
use crate::{Error, HostConfig, PluginHost};

pub use self::compute::{GuestCompute, guest_compute};

/// A component whose `execute` never ends, made by `tests/it/hostile/limits.rs`.
const ENDLESS: &[u8] = include_bytes!("../endless.wasm");

/// One call on a fresh pooled instance, from JSON to checked JSON, and the same two guest calls by wasmtime alone.
#[derive(Debug, Clone, Serialize)]
pub struct FreshCall {
    /// The plugin.
    pub plugin: String,
    /// Calls of each.
    pub calls: usize,
    /// Median of the host's call in microseconds.
    pub host_us: f64,
    /// Median of bare wasmtime's: pooled, without fuel, epochs, limits, schemas, digest and log.
    pub bare_us: f64,
    /// The first by the second.
    pub ratio: f64,
    /// Median of wasmtime's alone with the engine, the linked WASI and the limits of the host: fuel, epochs, memory.
    pub bounded_us: f64,
    /// The host's by that.
    pub ratio_to_bounded: f64,
    /// 99th percentile of the host's call.
    pub host_p99_us: f64,
}

/// Calls on one instance that stays.
#[derive(Debug, Clone, Serialize)]
pub struct WarmCall {
    /// Calls.
    pub calls: usize,
    /// Median in microseconds, of the two guest calls of one answer.
    pub median_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// Fuel of the last one; an instance that remembers may use another amount each time.
    pub fuel: u64,
}

/// Opening a host whose plugins are all in the cache.
#[derive(Debug, Clone, Serialize)]
pub struct WarmOpen {
    /// Plugins that are ready.
    pub plugins: usize,
    /// Median in milliseconds, engine and threads included.
    pub open_ms: f64,
    /// Median of a reload that finds nothing new: reading and hashing the files.
    pub rescan_ms: f64,
}

/// Ending a plugin that never ends.
#[derive(Debug, Clone, Serialize)]
pub struct Kill {
    /// What it was given.
    pub deadline_ms: u64,
    /// Shortest time until it was gone.
    pub earliest_ms: f64,
    /// Median.
    pub median_ms: f64,
    /// Longest.
    pub latest_ms: f64,
    /// Longest that the system took, in the same turns, to end a loop of native code from a thread that slept until then: what
    /// a machine with other work adds by itself.
    pub system_latest_ms: f64,
}

/// Measures `plugin` with an input that it answers; `component` is the file that it came from.
///
/// # Errors
/// When the plugin cannot be called, or wasmtime alone cannot.
pub fn fresh_call(
    host: &PluginHost,
    plugin: &str,
    component: &Path,
    input: &Value,
    calls: usize,
) -> Result<FreshCall, Error> {
    let admitted = host.admitted(plugin)?;
    let (version, terms) = (&admitted.version, &admitted.terms);
    let runtime = host.runtime();
    let bytes = std::fs::read(component).map_err(Error::io(component))?;
    let failed = |error: wasmtime::Error| Error::Engine(format!("{error:#}"));
    let bare = Bare::new(&bytes, Metering::None).map_err(failed)?;
    let text = input.to_string();
    runtime.on_guest_thread(|| {
        let (mut ours, mut theirs) = (Vec::with_capacity(calls), Vec::with_capacity(calls));
        let mut bounded = Vec::with_capacity(calls);
        // In turns, so that whatever else the machine does hits both.
        for round in 0..calls + calls / 10 {
            let started = Instant::now();
            let execution = version.run(runtime, terms, input);
            let host_time = started.elapsed();
            if let ExecutionOutcome::Failed { message, .. } = execution.outcome {
                return Err(Error::Broken {
                    name: plugin.to_owned(),
                    message,
                });
            }
            let started = Instant::now();
            let answer = bare.execute(&text).map_err(failed)?;
            let bare_time = started.elapsed();
            if let Err(message) = answer {
                return Err(Error::Broken {
                    name: plugin.to_owned(),
                    message,
                });
            }
            let started = Instant::now();
            let answer = version.guest_alone(runtime, &text).map_err(failed)?;
            let bounded_time = started.elapsed();
            if let Err(failure) = answer {
                return Err(Error::Broken {
                    name: plugin.to_owned(),
                    message: failure.message,
                });
            }
            if round >= calls / 10 {
                ours.push(host_time);
                theirs.push(bare_time);
                bounded.push(bounded_time);
            }
        }
        let [host_us, bare_us, bounded_us] =
            [&mut ours, &mut theirs, &mut bounded].map(|times| micros(quantile(times, 0.5)));
        Ok(FreshCall {
            plugin: plugin.to_owned(),
            calls,
            host_us,
            bare_us,
            ratio: host_us / bare_us,
            bounded_us,
            ratio_to_bounded: host_us / bounded_us,
            host_p99_us: micros(quantile(&mut ours, 0.99)),
        })
    })
}

/// Calls one instance of `plugin` again and again with an input that it answers.
///
/// # Errors
/// When the plugin cannot be called, or does not answer.
pub fn warm_call(
    host: &PluginHost,
    plugin: &str,
    input: &Value,
    calls: usize,
) -> Result<WarmCall, Error> {
    let admitted = host.admitted(plugin)?;
    let (version, terms) = (&admitted.version, &admitted.terms);
    let runtime = host.runtime();
    let text = input.to_string();
    let (mut times, mut last) = (Vec::with_capacity(calls), 0);
    let warm_up = calls / 10;
    let called = runtime.on_guest_thread(|| {
        version.guest_again(
            runtime,
            terms,
            &text,
            calls.max(1) + warm_up,
            |time, fuel| {
                times.push(time);
                last = fuel;
            },
        )
    });
    called.map_err(|failure| Error::Broken {
        name: plugin.to_owned(),
        message: failure.message,
    })?;
    let times = &mut times[warm_up..];
    Ok(WarmCall {
        calls: times.len(),
        median_us: micros(quantile(times, 0.5)),
        p99_us: micros(quantile(times, 0.99)),
        fuel: last,
    })
}

/// Opens the host again and again, after once to fill the cache.
///
/// # Errors
/// When it cannot be opened.
pub fn warm_open(config: &HostConfig, times: usize) -> Result<WarmOpen, Error> {
    let mut host = PluginHost::open(config.clone())?;
    let (mut opens, mut rescans) = (Vec::new(), Vec::new());
    for _ in 0..times.max(1) {
        drop(host);
        let started = Instant::now();
        host = PluginHost::open(config.clone())?;
        opens.push(started.elapsed());
        let started = Instant::now();
        host.reload()?;
        rescans.push(started.elapsed());
    }
    let ready = host
        .list()
        .iter()
        .filter(|plugin| plugin.metadata.is_some())
        .count();
    Ok(WarmOpen {
        plugins: ready,
        open_ms: micros(quantile(&mut opens, 0.5)) / 1e3,
        rescan_ms: micros(quantile(&mut rescans, 0.5)) / 1e3,
    })
}

/// Lets an endless loop run into its deadline, in turns with one that the host has nothing to do with.
///
/// # Errors
/// When the engine cannot start.
pub fn kill(deadline_ms: u64, times: usize) -> Result<Kill, Error> {
    let runtime = Runtime::new()?;
    let failed = |error: wasmtime::Error| Error::Engine(format!("{error:#}"));
    let component = Component::from_binary(&runtime.counting().engine, ENDLESS).map_err(failed)?;
    let tool = runtime
        .counting()
        .linker
        .instantiate_pre(&component)
        .and_then(Tool::new)
        .map_err(failed)?;
    let limits = PluginLimits {
        time_ms: deadline_ms,
        fuel: u64::MAX,
        ..PluginLimits::default()
    };
    let terms = Terms {
        limits,
        config: None,
        may_log: false,
        lending: None,
    };
    let input = json!({}).to_string();
    let (mut ours, mut systems) = (Vec::new(), Vec::new());
    for _ in 0..times.max(1) {
        let called =
            runtime.on_guest_thread(|| call(&runtime, &terms, |store| tool.execute(store, &input)));
        ours.push(called.duration);
        systems.push(native_kill(Duration::from_millis(deadline_ms)));
    }
    let millis = |times: &mut [Duration], fraction| micros(quantile(times, fraction)) / 1e3;
    Ok(Kill {
        deadline_ms,
        earliest_ms: millis(&mut ours, 0.0),
        median_ms: millis(&mut ours, 0.5),
        latest_ms: millis(&mut ours, 1.0),
        system_latest_ms: millis(&mut systems, 1.0),
    })
}

/// How long a loop runs that a thread ends which slept until then.
fn native_kill(deadline: Duration) -> Duration {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let started = Instant::now();
        scope.spawn(|| {
            thread::sleep(deadline);
            is_over.store(true, Ordering::Relaxed);
        });
        while !is_over.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        started.elapsed()
    })
}

fn quantile(times: &mut [Duration], fraction: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * fraction).round() as usize]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
