//! WASI as plugins see it: there, because language runtimes import it, and empty but for what the user granted (`lent`).
//!
//! No environment, no arguments, no files, no network; standard input is at its end, standard output and error go to the
//! call's log; clocks stand still and chance is a fixed seed, so that the same input gives the same answer; nothing sleeps.

use std::time::{Duration, Instant};

use domain::Capability;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::{
    Deterministic, HostMonotonicClock, HostWallClock, ResourceTable, WasiCtx, WasiCtxBuilder,
    WasiCtxView, WasiView,
};

use crate::call::CallState;
use crate::lent::{Lent, folders, http};
use crate::log::CallLog;

/// Interfaces of WASI 0.2 that a component may import; each in any 0.2 version.
pub(crate) const ALLOWED: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// Random bytes that one host call may ask for.
const MAX_RANDOM_BYTES: u64 = 64 << 10;
/// Handles that one call may hold.
const MAX_HANDLES: usize = 1000;

/// The empty world of one call; made when the plugin first asks WASI for something, which most never do.
pub(crate) struct Wasi {
    ctx: WasiCtx,
    pub(crate) table: ResourceTable,
}

impl Wasi {
    fn new(log: &CallLog, lent: Option<&Lent>) -> Box<Self> {
        let seed = *b"codetune: the same input gives the same answer, always and anywhere";
        let mut builder = WasiCtxBuilder::new();
        builder
            .stdout(log.clone())
            .stderr(log.clone())
            .secure_random(Deterministic::new(seed.to_vec()))
            .insecure_random(Deterministic::new(seed.to_vec()))
            .insecure_random_seed(0)
            .max_random_size(MAX_RANDOM_BYTES)
            .wall_clock(StoppedClock)
            .monotonic_clock(StoppedClock)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        if let Some(lent) = lent {
            folders::preopen(&mut builder, lent, log);
        }
        let ctx = builder.build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        Box::new(Self { ctx, table })
    }
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self
            .wasi
            .get_or_insert_with(|| Wasi::new(&self.log, self.lent.as_deref()));
        WasiCtxView {
            ctx: &mut wasi.ctx,
            table: &mut wasi.table,
        }
    }
}

/// A pause between two requests, no longer than the call's time.
struct Pause(Instant);

#[wasmtime_wasi::async_trait]
impl Pollable for Pause {
    async fn ready(&mut self) {
        tokio::time::sleep_until(tokio::time::Instant::from_std(self.0)).await;
    }
}

struct StoppedClock;

impl HostWallClock for StoppedClock {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for StoppedClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        0
    }
}

/// Links WASI, then replaces what could hold a thread: the host's calls do not see the deadline, so a plugin that sleeps
/// an hour would keep its thread an hour. Who talks to hosts may pause before the next try, within its call's time.
pub(crate) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    folders::add_to_linker(linker)?;
    http::add_to_linker(linker)?;
    linker.allow_shadowing(true);
    let mut clock = linker.instance("wasi:clocks/monotonic-clock@0.2.12")?;
    clock.func_wrap(
        "subscribe-instant",
        |_, (_,): (u64,)| -> wasmtime::Result<(Resource<DynPollable>,)> {
            Err(wasmtime::Error::msg("plugins cannot sleep"))
        },
    )?;
    clock.func_wrap(
        "subscribe-duration",
        |mut store: StoreContextMut<'_, CallState>,
         (nanoseconds,): (u64,)|
         -> wasmtime::Result<(Resource<DynPollable>,)> {
            let state = store.data_mut();
            let until = state
                .lent
                .as_ref()
                .filter(|lent| lent.lending.allows(Capability::Http))
                .map(|lent| lent.until)
                .ok_or_else(|| wasmtime::Error::msg("plugins cannot sleep"))?;
            let wanted = Instant::now().checked_add(Duration::from_nanos(nanoseconds));
            let pause = Pause(wanted.map_or(until, |wanted| wanted.min(until)));
            let table = state.ctx().table;
            let pause = table.push(pause)?;
            Ok((subscribe(table, pause)?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
