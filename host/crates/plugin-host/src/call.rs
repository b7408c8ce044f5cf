//! One call: a fresh store from a prepared component, bounded, and dropped whatever happens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::PluginLimits;
use serde_json::Value;
use wasmtime::Store;

use crate::clock::Due;
use crate::lent::http::Http;
use crate::lent::secrets::{Said, Secrets};
use crate::lent::{Lending, Lent};
use crate::limiter::Limiter;
use crate::log::CallLog;
use crate::machine::counts_fuel;
use crate::outcome::{Failure, failure};
use crate::runtime::Runtime;
use crate::version::while_loading;
use crate::wasi::Wasi;

/// What the host keeps for a guest while it runs.
pub(crate) struct CallState {
    pub(crate) due: Arc<Due>,
    pub(crate) limiter: Limiter,
    pub(crate) log: CallLog,
    pub(crate) wasi: Option<Box<Wasi>>,
    /// The user's values, when the plugin may read them.
    pub(crate) config: Option<Arc<BTreeMap<String, Value>>>,
    /// Whether the plugin may write to its log.
    pub(crate) may_log: bool,
    /// What it is lent, when it asks for any of that.
    pub(crate) lent: Option<Box<Lent>>,
    pub(crate) http: Option<Box<Http>>,
}

/// What a call may do and use.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) limits: PluginLimits,
    pub(crate) config: Option<Arc<BTreeMap<String, Value>>>,
    pub(crate) may_log: bool,
    /// None for plugins that ask for nothing beyond the sandbox, and for versions that are only tried out.
    pub(crate) lending: Option<Arc<Lending>>,
}

impl Terms {
    /// The same for a version that does not answer anybody yet.
    pub(crate) fn while_loading(&self) -> Self {
        Self {
            limits: while_loading(self.limits),
            ..self.clone()
        }
    }
}

/// What a call came to.
pub(crate) struct Called<R> {
    result: Result<R, Failure>,
    pub(crate) duration: Duration,
    /// What it took; 0 where that is not counted.
    pub(crate) fuel: u64,
    pub(crate) peak_memory: u64,
    pub(crate) log: String,
    /// Those that the answer must not hold.
    secrets: Secrets,
}

impl<R> Called<R> {
    /// A call that was not made.
    pub(crate) fn refused(failure: Failure) -> Self {
        Self {
            result: Err(failure),
            duration: Duration::ZERO,
            fuel: 0,
            peak_memory: 0,
            log: String::new(),
            secrets: Secrets::default(),
        }
    }

    /// What `check` makes of the answer, without the secrets that the plugin was given. `check` gets them too, for what it
    /// quotes or cuts.
    pub(crate) fn finish<T: Said>(
        self,
        check: impl FnOnce(R, &Secrets) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let secrets = self.secrets;
        secrets.clean(self.result.and_then(|answer| check(answer, &secrets)))
    }

    /// The answer as it is, of a call that nothing was lent to.
    pub(crate) fn unlent(self) -> Result<R, Failure> {
        self.result
    }
}

/// A store that ends whatever goes over the limits.
pub(crate) fn bounded(runtime: &Runtime, terms: &Terms, log: &CallLog) -> Store<CallState> {
    let limits = &terms.limits;
    let state = CallState {
        due: Due::within(time(limits)),
        limiter: Limiter::new(*limits),
        log: log.clone(),
        wasi: None,
        config: terms.config.clone(),
        may_log: terms.may_log,
        lent: terms
            .lending
            .as_ref()
            .map(|lending| Lent::new(lending, limits)),
        http: None,
    };
    let machine = runtime.machine(limits).expect("a version was loaded by it");
    let mut store = Store::new(&machine.engine, state);
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(usize::try_from(limits.output_bytes).unwrap_or(usize::MAX));
    store.set_max_component_handles(1000);
    Due::end(&mut store, |state| &*state.due);
    refuel(&mut store, limits);
    store
}

/// Runs `work` in a store of its own. It must be called on a guest thread.
///
/// `work` instantiates and calls; its outer error is the engine's, its inner one what the plugin or the host found wrong.
pub(crate) fn call<R>(
    runtime: &Runtime,
    terms: &Terms,
    work: impl FnOnce(&mut Store<CallState>) -> wasmtime::Result<Result<R, Failure>>,
) -> Called<R> {
    let started = Instant::now();
    let limits = &terms.limits;
    let log = CallLog::new(limits.log_bytes);
    let mut store = bounded(runtime, terms, &log);
    let result = {
        let _watched = runtime.clock().watch(&store.data().due);
        work(&mut store)
    };
    let fuel = limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0));
    let limiter = &store.data().limiter;
    let (peak_memory, refused) = (limiter.peak_memory(), limiter.refused);
    let lent = store.data_mut().lent.take();
    drop(store);
    if let Some(lent) = &lent {
        lent.settle();
    }
    let secrets = lent.map(|lent| lent.secrets).unwrap_or_default();
    let log = log.take(&secrets);
    let result = match result {
        Ok(result) => result.map_err(|failure| secrets.clean_failure(failure)),
        Err(error) => Err(secrets.clean_failure(failure(&error, refused, limits, &log))),
    };
    Called {
        result,
        duration: started.elapsed(),
        fuel,
        peak_memory,
        log,
        secrets,
    }
}

/// Full fuel, where it is counted, full budgets, and a deadline from now on.
pub(crate) fn rearm(store: &mut Store<CallState>, limits: &PluginLimits) {
    refuel(store, limits);
    let state = store.data_mut();
    state.due.extend(time(limits));
    // What a call before was refused, and lived with, is not what ends this one.
    state.limiter.refused = None;
    if let Some(lent) = &mut state.lent {
        lent.rearm(limits);
    }
}

fn refuel(store: &mut Store<CallState>, limits: &PluginLimits) {
    if counts_fuel(limits) {
        store.set_fuel(limits.fuel).expect("the engine counts fuel");
    }
}

fn time(limits: &PluginLimits) -> Duration {
    Duration::from_millis(limits.time_ms)
}
