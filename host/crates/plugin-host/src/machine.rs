//! What compiles and runs components: an engine, and what they may import from it.
//!
//! There are two. One counts what a guest executes, which costs a guest that computes up to a fifth of its time; the other, made
//! when the first plugin asks for it, leaves it to the clock to end a call.

use std::borrow::Cow;
use std::sync::OnceLock;

use domain::PluginLimits;
use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, Engine, PoolingAllocationConfig};

use crate::call::CallState;
use crate::{kind, lent, wasi};

/// Stack of a guest. A parser needs about 2 KiB for each nested parenthesis, so this is some thousand levels.
pub(crate) const WASM_STACK: usize = 8 << 20;
/// Address space for one memory; most that one can grow to.
const MEMORY_RESERVATION: usize = 4 << 30;

/// See the module.
pub(crate) struct Machine {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<CallState>,
}

/// Both, by what a plugin's limits say.
pub(crate) struct Machines {
    counting: Machine,
    timed: OnceLock<Result<Machine, String>>,
    /// Calls at once.
    places: usize,
}

/// Whether a plugin's instructions are counted.
pub(crate) fn counts_fuel(limits: &PluginLimits) -> bool {
    limits.fuel > 0
}

/// Under which name the code of a component is kept for these limits: each engine has code of its own.
pub(crate) fn code_key<'a>(digest: &'a str, limits: &PluginLimits) -> Cow<'a, str> {
    match counts_fuel(limits) {
        true => Cow::Borrowed(digest),
        false => Cow::Owned(format!("{digest}-timed")),
    }
}

impl Machines {
    /// # Errors
    /// When the system does not give an engine what it needs.
    pub(crate) fn new(places: usize) -> wasmtime::Result<Self> {
        Ok(Self {
            counting: Machine::new(places, true)?,
            timed: OnceLock::new(),
            places,
        })
    }

    /// The one that counts.
    pub(crate) fn counting(&self) -> &Machine {
        &self.counting
    }

    /// The one for plugins with these limits; `made` hears of a new engine.
    ///
    /// # Errors
    /// One sentence, when the second engine cannot be started.
    pub(crate) fn of(
        &self,
        limits: &PluginLimits,
        made: impl FnOnce(&Engine),
    ) -> Result<&Machine, String> {
        if counts_fuel(limits) {
            return Ok(&self.counting);
        }
        let timed = self.timed.get_or_init(|| {
            let machine = Machine::new(self.places, false)
                .map_err(|error| format!("no engine that does not count fuel: {error:#}"))?;
            made(&machine.engine);
            Ok(machine)
        });
        timed.as_ref().map_err(Clone::clone)
    }
}

impl Machine {
    fn new(places: usize, counts_fuel: bool) -> wasmtime::Result<Self> {
        let engine = Engine::new(&config(Some(places), counts_fuel))
            // A machine that does not give so much address space still runs plugins, if slower.
            .or_else(|error| {
                tracing::warn!("plugins run without a pool of instances: {error:#}");
                Engine::new(&config(None, counts_fuel))
            })?;
        let mut linker = Linker::new(&engine);
        wasi::add_to_linker(&mut linker)?;
        kind::tool::add_to_linker(&mut linker)?;
        lent::generate::add_to_linker(&mut linker)?;
        Ok(Self { engine, linker })
    }
}

/// `callers` calls at once from a pool, or each instance mapped anew.
fn config(callers: Option<usize>, counts_fuel: bool) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(counts_fuel)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        // Guests run on the caller's stack; wasmtime only wants this to be no smaller.
        .async_stack_size(WASM_STACK)
        // Four times faster calls; guests that need component-model-async will want an engine of their own.
        .concurrency_support(false)
        .wasm_memory64(false)
        .relaxed_simd_deterministic(true)
        // Frames of stripped guests say nothing, and tables for them make loading slower.
        .wasm_backtrace_max_frames(None)
        .native_unwind_info(cfg!(windows))
        .generate_address_map(false)
        .memory_reservation(MEMORY_RESERVATION as u64);
    if let Some(callers) = callers {
        let callers = u32::try_from(callers).unwrap_or(64);
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(callers)
            // As many as all callers may use at once: only address space is reserved.
            .total_core_instances(callers * 64)
            .total_memories(callers * 16)
            .total_tables(callers * 32)
            .total_stacks(1)
            .max_core_instances_per_component(64)
            .max_memories_per_component(16)
            .max_tables_per_component(32)
            .max_memory_size(MEMORY_RESERVATION)
            .max_core_instance_size(4 << 20)
            .max_component_instance_size(4 << 20)
            .table_elements(200_000)
            .max_unused_warm_slots(callers)
            .table_keep_resident(64 << 10);
        // Where the kernel says which pages a call has touched (Linux 6.7), only those are cleared, in place. Elsewhere
        // clearing in place would write a megabyte of untouched guest stack at each call. Four megabytes hold what a batch
        // of an analyzer takes; to give pages back and get them again costs more than to clear them.
        if PoolingAllocationConfig::is_pagemap_scan_available() {
            pool.pagemap_scan(Enabled::Yes)
                .linear_memory_keep_resident(4 << 20);
        }
        config.allocation_strategy(pool);
    }
    config
}
