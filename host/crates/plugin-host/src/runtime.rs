//! What all plugins share: the engines, the clock of the deadlines, and threads with room for deep recursion.

use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use domain::PluginLimits;
use rayon::{ThreadPool, ThreadPoolBuilder};
use wasmtime::Engine;

use crate::Error;
use crate::call::Terms;
use crate::clock::Clock;
use crate::machine::{Machine, Machines, WASM_STACK};

/// Stack of a thread that calls guests: the guest's and the host's own.
const THREAD_STACK: usize = WASM_STACK + (4 << 20);

/// Shared by every plugin of a host.
pub(crate) struct Runtime {
    machines: Machines,
    threads: ThreadPool,
    /// Apart from the callers, whom a compilation shall not hold up.
    loaders: ThreadPool,
    clock: Clock,
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
        let cores = thread::available_parallelism().map_or(2, usize::from);
        let callers = (2 * cores).clamp(4, 64);
        let loaders = cores.min(8);
        let machines = Machines::new(callers + loaders)
            .map_err(|error| Error::Engine(format!("{error:#}")))?;
        let pool = |name: &'static str, threads| {
            ThreadPoolBuilder::new()
                .num_threads(threads)
                .stack_size(THREAD_STACK)
                .thread_name(move |index| format!("{name}-{index}"))
                .build()
                .map_err(|error| Error::Engine(error.to_string()))
        };
        let (threads, loaders) = (pool("plugin", callers)?, pool("plugin-load", loaders)?);
        let clock = Clock::start(&machines.counting().engine)
            .map_err(|error| Error::Engine(format!("no thread for the deadlines: {error}")))?;
        Ok(Self {
            machines,
            threads,
            loaders,
            clock,
            half: callers / 2,
            places: (Mutex::new(callers / 2), Condvar::new()),
        })
    }

    /// What runs plugins with these limits.
    ///
    /// # Errors
    /// One sentence, when a second engine is needed and cannot be started.
    pub(crate) fn machine(&self, limits: &PluginLimits) -> Result<&Machine, String> {
        let made = |engine: &Engine| self.clock.also(engine);
        self.machines.of(limits, made)
    }

    /// What runs plugins whose fuel is counted.
    pub(crate) fn counting(&self) -> &Machine {
        self.machines.counting()
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

    /// What ends calls at their deadlines.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }
}
