//! wasmtime with nothing around it but the pool.

use wasmtime::component::{Component, ComponentExportIndex, Instance, InstancePre, Linker};
use wasmtime::{Config, Enabled, Engine, PoolingAllocationConfig, Store};
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};

/// How an engine keeps account of what a guest does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Metering {
    /// Not at all.
    None,
    /// It can be ended at a deadline.
    Epochs,
    /// The same, and every instruction is counted, as for plugins.
    EpochsAndFuel,
}

/// WASI for guests whose runtime asks for it, made at the first question: most never ask.
#[derive(Default)]
struct BareState(Option<Box<(WasiCtx, ResourceTable)>>);

impl WasiView for BareState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let made = || Box::new((WasiCtx::builder().build(), ResourceTable::new()));
        let (ctx, table) = &mut **self.0.get_or_insert_with(made);
        WasiCtxView { ctx, table }
    }
}

/// See the module.
pub(super) struct Bare {
    engine: Engine,
    metering: Metering,
    pre: InstancePre<BareState>,
    validate: ComponentExportIndex,
    execute: ComponentExportIndex,
}

impl Bare {
    pub(super) fn new(component: &[u8], metering: Metering) -> wasmtime::Result<Self> {
        let mut config = Config::new();
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(8)
            .total_core_instances(128)
            .total_memories(32)
            .total_tables(64);
        pool.table_keep_resident(64 << 10).max_unused_warm_slots(8);
        if PoolingAllocationConfig::is_pagemap_scan_available() {
            pool.pagemap_scan(Enabled::Yes)
                .linear_memory_keep_resident(1 << 20);
        }
        config
            .allocation_strategy(pool)
            .concurrency_support(false)
            .epoch_interruption(metering != Metering::None)
            .consume_fuel(metering == Metering::EpochsAndFuel)
            .wasm_backtrace_max_frames(None);
        let engine = Engine::new(&config)?;
        let component = Component::from_binary(&engine, component)?;
        let mut linker = Linker::<BareState>::new(&engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
        linker
            .instance("codetune:plugin/config@0.1.0")?
            .func_wrap("get", |_, (_,): (String,)| Ok((None::<String>,)))?;
        linker
            .instance("codetune:plugin/log@0.1.0")?
            .func_new("write", |_, _, _, _| Ok(()))?;
        let missing = || wasmtime::Error::msg("no export codetune:plugin/tool");
        let tool = component
            .get_export_index(None, "codetune:plugin/tool@0.1.0")
            .ok_or_else(missing)?;
        let index = |name| {
            component
                .get_export_index(Some(&tool), name)
                .ok_or_else(missing)
        };
        let (validate, execute) = (index("validate-inputs")?, index("execute")?);
        let pre = linker.instantiate_pre(&component).or_else(|_| {
            // Only then: a trap for `wasi:…@0.2.6` hides the function that stands there as `@0.2.12`.
            linker.define_unknown_imports_as_traps(&component)?;
            linker.instantiate_pre(&component)
        })?;
        Ok(Self {
            engine,
            metering,
            pre,
            validate,
            execute,
        })
    }

    pub(super) fn execute(&self, input: &str) -> wasmtime::Result<Result<String, String>> {
        let mut store = Store::new(&self.engine, BareState::default());
        // Limits that nothing reaches: it is the account that costs.
        if self.metering != Metering::None {
            store.set_epoch_deadline(u64::MAX / 2);
        }
        if self.metering == Metering::EpochsAndFuel {
            store.set_fuel(u64::MAX)?;
        }
        let instance: Instance = self.pre.instantiate(&mut store)?;
        let validate = instance
            .get_typed_func::<(&str,), (Result<(), String>,)>(&mut store, &self.validate)?;
        let execute = instance
            .get_typed_func::<(&str,), (Result<String, String>,)>(&mut store, &self.execute)?;
        if let (Err(message),) = validate.call(&mut store, (input,))? {
            return Ok(Err(message));
        }
        Ok(execute.call(&mut store, (input,))?.0)
    }
}
