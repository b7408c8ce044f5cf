//! What all plugins share: one engine, one linker, the clock of the deadlines, and threads with room for deep recursion.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use rayon::{ThreadPool, ThreadPoolBuilder};
use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, Engine, EngineWeak, PoolingAllocationConfig};

use crate::Error;
use crate::call::{CallState, Terms};
use crate::{kind, lent, wasi};

/// How exactly deadlines are kept.
pub(crate) const TICK: Duration = Duration::from_millis(5);
/// Stack of a guest. A parser needs about 2 KiB for each nested parenthesis, so this is some thousand levels.
const WASM_STACK: usize = 8 << 20;
/// Stack of a thread that calls guests: the guest's and the host's own.
const THREAD_STACK: usize = WASM_STACK + (4 << 20);
/// Address space for one memory; most that one can grow to.
const MEMORY_RESERVATION: usize = 4 << 30;

/// Shared by every plugin of a host.
pub(crate) struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<CallState>,
    threads: ThreadPool,
    /// Apart from the callers, whom a compilation shall not hold up.
    loaders: ThreadPool,
    ticker: Arc<Ticker>,
    /// Half of the callers: as many as one plugin, or all calls that wait for somebody else, may have at once.
    pub(crate) half: usize,
    /// Places for calls that may wait for somebody else, so that the others are never held up.
    places: (Mutex<usize>, Condvar),
}

/// The place of a call that may wait.
pub(crate) struct Place<'a>(&'a (Mutex<usize>, Condvar));

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.1.notify_one();
    }
}

impl Runtime {
    pub(crate) fn new() -> Result<Self, Error> {
        let failed = |error: wasmtime::Error| Error::Engine(format!("{error:#}"));
        let cores = thread::available_parallelism().map_or(2, usize::from);
        let callers = (2 * cores).clamp(4, 64);
        let loaders = cores.min(8);
        let engine = Engine::new(&config(Some(callers + loaders)))
            // A machine that does not give so much address space still runs plugins, if slower.
            .or_else(|error| {
                tracing::warn!("plugins run without a pool of instances: {error:#}");
                Engine::new(&config(None))
            })
            .map_err(failed)?;
        let mut linker = Linker::new(&engine);
        wasi::add_to_linker(&mut linker).map_err(failed)?;
        kind::tool::add_to_linker(&mut linker).map_err(failed)?;
        lent::generate::add_to_linker(&mut linker).map_err(failed)?;
        let pool = |name: &'static str, threads| {
            ThreadPoolBuilder::new()
                .num_threads(threads)
                .stack_size(THREAD_STACK)
                .thread_name(move |index| format!("{name}-{index}"))
                .build()
                .map_err(|error| Error::Engine(error.to_string()))
        };
        let (threads, loaders) = (pool("plugin", callers)?, pool("plugin-load", loaders)?);
        let ticker = Ticker::start(engine.weak());
        Ok(Self {
            engine,
            linker,
            threads,
            loaders,
            ticker,
            half: callers / 2,
            places: (Mutex::new(callers / 2), Condvar::new()),
        })
    }

    /// Runs a call within these terms on such a thread; one that may wait for somebody else (a model, a host) when it has a
    /// place.
    pub(crate) fn on_guest_thread_for<R: Send>(
        &self,
        terms: &Terms,
        work: impl FnOnce() -> R + Send,
    ) -> R {
        if terms.lending.is_none() {
            return self.on_guest_thread(work);
        }
        // A thread of another pool takes up other work of that pool while it waits here; with a place in its hand it could
        // then wait for a place for ever.
        if rayon::current_thread_index().is_some() {
            return self.on_guest_thread(|| {
                let _place = self.wait_place();
                work()
            });
        }
        let _place = self.wait_place();
        self.on_guest_thread(work)
    }

    fn wait_place(&self) -> Place<'_> {
        let free = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .places
            .1
            .wait_while(free, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        drop(free);
        Place(&self.places)
    }

    /// Runs `work` on a thread with room for a guest's stack; at once when this is one.
    ///
    /// There are as many such threads as slots in the pool of instances, so that a call waits for a slot here and does
    /// not fail for want of one.
    pub(crate) fn on_guest_thread<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.threads.install(work)
    }

    /// The same for compiling and trying a new version; the compiler spreads its work over these threads.
    pub(crate) fn on_loader_thread<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.loaders.install(work)
    }

    /// Keeps the deadlines' clock going while it lives.
    pub(crate) fn clock(&self) -> Ticking<'_> {
        self.ticker.start_call();
        Ticking(&self.ticker)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.ticker.stop.store(true, Ordering::Relaxed);
        self.ticker.wake();
    }
}

/// `callers` calls at once from a pool, or each instance mapped anew.
fn config(callers: Option<usize>) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
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

/// Moves the engine's epoch while calls are running, and sleeps otherwise.
struct Ticker {
    calls: AtomicUsize,
    parked: AtomicBool,
    stop: AtomicBool,
    thread: std::sync::OnceLock<Thread>,
}

/// Idle ticks before the clock goes to sleep, so that call after call does not wake it each time.
const IDLE_TICKS: u32 = 200;

impl Ticker {
    fn start(engine: EngineWeak) -> Arc<Self> {
        let ticker = Arc::new(Self {
            calls: AtomicUsize::new(0),
            parked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            thread: std::sync::OnceLock::new(),
        });
        let shared = Arc::clone(&ticker);
        let handle = thread::Builder::new()
            .name("plugin-clock".to_owned())
            .spawn(move || shared.run(&engine))
            .expect("the system gives a thread");
        let _ = ticker.thread.set(handle.thread().clone());
        ticker
    }

    fn run(&self, engine: &EngineWeak) {
        let mut idle = 0;
        while !self.stop.load(Ordering::Relaxed) {
            thread::sleep(TICK);
            let Some(engine) = engine.upgrade() else {
                return;
            };
            engine.increment_epoch();
            idle = if self.calls.load(Ordering::SeqCst) == 0 {
                idle + 1
            } else {
                0
            };
            if idle < IDLE_TICKS {
                continue;
            }
            drop(engine);
            self.parked.store(true, Ordering::SeqCst);
            // A call that came in between has seen `parked` or is seen here.
            while self.calls.load(Ordering::SeqCst) == 0 && !self.stop.load(Ordering::Relaxed) {
                thread::park();
            }
            self.parked.store(false, Ordering::SeqCst);
            idle = 0;
        }
    }

    fn start_call(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.parked.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// A call that the clock ticks for.
pub(crate) struct Ticking<'a>(&'a Ticker);

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
    }
}
